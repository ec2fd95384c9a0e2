#include "apps/demos/ecg/beat_detector.h"

#include <yaml-cpp/yaml.h>

#include "formats/status.h"

namespace xst::ecg {

std::optional<Beat> BeatDetector::Step(uint64_t n, double p) {
  const auto now = static_cast<double>(n);
  if (p >= rule_.threshold && p > best_ && now - last_n_ >= rule_.refractory_s * rate_hz_) {
    best_ = p;
    best_n_ = n;
  } else if (best_ > 0 && p < rule_.release * best_) {
    best_ = 0;
    last_n_ = static_cast<double>(best_n_);
    return Beat{best_n_, n};
  }
  return std::nullopt;
}

BeatRule ReadBeatRule(const std::string& path) {
  BeatRule rule;
  try {
    const YAML::Node file = YAML::LoadFile(path);
    const auto read = [&](const char* key, double* value) {
      if (!file.IsMap() || !file[key]) {
        throw Error(Status::invalid_config, path + ": expected a number " + key + ", got none");
      }
      *value = file[key].as<double>();
    };
    read("threshold", &rule.threshold);
    read("release", &rule.release);
    read("refractory_s", &rule.refractory_s);
    read("delay_s", &rule.delay_s);
  } catch (const YAML::Exception& error) {
    throw Error(Status::invalid_config, path + ": expected a beat rule, got: " + error.what());
  }
  return rule;
}

}  // namespace xst::ecg
