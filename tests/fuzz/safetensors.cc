// safetensors files and the index of shards: a clean error, or tensors that can be read whole.
#include "formats/safetensors.h"

#include "formats/source.h"
#include "formats/status.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static xst::fuzz::MemoryFile file;
  try {
    const xst::formats::Safetensors tensors(file.Hold(data, size));
    for (const auto& entry : tensors.entries()) {
      xst::fuzz::Require(entry.offset + entry.length <= size);
      xst::fuzz::Require(tensors.find(entry.name) == &entry);
      try {
        xst::fuzz::Require(tensors.read(entry).size() <= entry.length);
      } catch (const xst::Error& e) {  // a type of no weight
        xst::fuzz::Require(e.code() == xst::Status::tensor_mismatch);
      }
    }
  } catch (const xst::Error&) {
  }
  try {
    for (const auto& [tensor, shard] : xst::formats::ParseIndex(xst::fuzz::Text(data, size), "i")) {
      xst::fuzz::Require(shard.find('/') == std::string::npos);
    }
  } catch (const xst::Error&) {
  }
  return 0;
}
