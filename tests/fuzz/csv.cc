// CSV recordings: a clean error, or a table whose header and size fit.
#include "formats/npy.h"
#include "formats/status.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static xst::fuzz::MemoryFile file;
  try {
    std::vector<std::string> columns;
    const auto array = xst::formats::ReadCsv(file.Hold(data, size), &columns);
    xst::fuzz::Require(array.is_f32 && array.shape.size() == 2);
    xst::fuzz::Require(array.shape[1] == columns.size() && array.size() == array.f32.size());
  } catch (const xst::Error&) {
  }
  return 0;
}
