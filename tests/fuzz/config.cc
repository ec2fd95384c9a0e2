// Model configurations as YAML and as a hub checkpoint's JSON: a clean error, or a valid
// configuration with a list of tensors and a hash.
#include "formats/config_yaml.h"
#include "formats/manifest.h"
#include "formats/model_file.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const char* name : {"c.yaml", "c.json"}) {
    try {
      std::vector<std::string> remarks;
      const auto config = xst::formats::ParseConfig(xst::fuzz::Text(data, size), name, &remarks);
      xst::Fault fault;
      xst::fuzz::Require(ValidateConfig(config, &fault) == xst::Status::ok);
      xst::fuzz::Require(!Manifest(config).empty());
      ArchHash(config);
    } catch (const xst::Error& e) {
      xst::fuzz::Require(e.what()[0] != '\0');
    }
  }
  return 0;
}
