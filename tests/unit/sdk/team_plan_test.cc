#include <gtest/gtest.h>

#include "sdk/model_core.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {
TEST(TeamPlan, Print) {
  const auto model = test::OpenCase("block_stack/readme_config", "", "cpu", Arithmetic::single);
  const auto team = BuildTeamPlan(model->core().plan, getenv("N") ? atoi(getenv("N")) : 2);
  for (size_t m = 0; m < team.members.size(); ++m) {
    printf("member %zu\n", m);
    int n = 0, waits = 0;
    for (const auto& s : team.members[m]) {
      const char* names[] = {"norm", "linear", "blocklinear", "conv", "cell", "out",
                             "sin",  "scell",  "sout",        "gact", "pw",   "embed"};
      if (n++ < 60)
        printf("  publish %u wait %u  %s [%u %u)\n", s.publish, s.wait, names[s.op.index()],
               s.units.begin, s.units.end);
      waits += s.wait > 0;
    }
    printf("waits %d\n", waits);
  }
}
}  // namespace
}  // namespace xst
