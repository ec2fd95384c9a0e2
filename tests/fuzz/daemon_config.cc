// The daemon's configuration file: a clean error with its place, or streams.
#include "apps/xstd/config.h"
#include "formats/status.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto config =
        xstd::ParseConfig(std::string(xst::fuzz::Text(data, size)), "xstd.yaml", "/nonexistent");
    xst::fuzz::Require(!config.streams.empty());
  } catch (const xst::Error& e) {
    xst::fuzz::Require(std::string_view(e.what()).starts_with("xstd.yaml"));
  }
  return 0;
}
