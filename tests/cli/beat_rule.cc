// beat_rule RULE RATE < probabilities > "R time, declaration" lines, in seconds.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "apps/demos/ecg/beat_detector.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const double rate = std::atof(argv[2]);
    xst::ecg::BeatDetector detector(xst::ecg::ReadBeatRule(argv[1]), rate);
    std::string p;
    for (uint64_t n = 0; std::getline(std::cin, p); ++n) {
      if (const auto beat = detector.Step(n, std::strtod(p.c_str(), nullptr))) {
        std::printf("%.17g %.17g\n", detector.RTime(*beat),
                    static_cast<double>(beat->declared) / rate);
      }
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
