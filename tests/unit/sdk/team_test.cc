// One stream split over several threads: bit for bit the stream of one thread.
#include "sdk/team.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "sdk/model_core.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

std::string Cpu(uint32_t threads) { return "cpu:" + std::to_string(threads); }

class EveryCase : public testing::TestWithParam<std::string> {};

TEST_P(EveryCase, IsBitEqualToOneThreadOnAnyNumber) {
  const Case c = test::LoadCase(GetParam());
  for (const Arithmetic arithmetic : {Arithmetic::single, Arithmetic::wide}) {
    for (const std::string& isa : AvailableIsas()) {
      Session one(test::OpenCase(c.name, isa, "cpu", arithmetic));
      const auto want = test::StepColumn(one, c, 0, 0, c.steps);
      const auto state = one.save();
      for (uint32_t threads = 2; threads <= 8; ++threads) {
        const auto model = test::OpenCase(c.name, isa, Cpu(threads), arithmetic);
        Session team(model);
        const auto got = test::StepColumn(team, c, 0, 0, c.steps);
        ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0)
            << isa << " " << threads << " threads";
        ASSERT_EQ(team.save(), state) << isa << " " << threads << " threads";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, EveryCase, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

}  // namespace
}  // namespace xst
