// .npy arrays: a clean error, or exactly as many values as the shape says.
#include "formats/npy.h"

#include <vector>

#include "formats/status.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy(data, data + size);
  try {
    const auto array = xst::formats::ParseNpy(copy.data(), copy.size(), "a.npy");
    xst::fuzz::Require(array.size() == (array.is_f32 ? array.f32.size() : array.i64.size()));
  } catch (const xst::Error&) {
  }
  return 0;
}
