// step MODEL.xst < samples.txt: a row of numbers in, a row of numbers out.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "sdk/session.h"

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  const auto model = xst::Model::open(argv[1]);
  xst::Session session(model);
  std::vector<float> in(model->info().input_width), out(model->info().output_width);
  for (std::string number;;) {
    for (float& x : in) {
      if (!(std::cin >> number)) return 0;
      x = std::strtof(number.c_str(), nullptr);  // "nan" too: a missing value
    }
    session.step(in, out);
    for (size_t i = 0; i < out.size(); ++i) std::printf(i ? " %.9g" : "%.9g", out[i]);
    std::putchar('\n');
  }
} catch (const xst::Error& e) {
  std::fprintf(stderr, "step: %s\n", e.what());
  return 1;
}
