// The C interface with every n-th allocation failing once: an error, never the end of the process.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bindings/c/xst.h"
#include "tests/support/fault_hooks.h"
#include "tests/support/vectors.h"

namespace {

// One of everything that allocates; the first status that is an error, or XST_OK.
xst_status Everything(const char* path, const std::string& bytes) {
  xst_model *model = nullptr, *again = nullptr;
  xst_session *session = nullptr, *clone = nullptr;
  xst_lanes* lanes = nullptr;
  xst_forecaster* forecaster = nullptr;
  xst_status status = XST_OK;
  const auto next = [&](auto&& call) {
    if (status != XST_OK) return;
    status = call();
    // An untouched thread's first failure has to find its words too.
    if (status != XST_OK && xst_last_error()[0] == '\0') std::abort();
  };
  xst_model_info info = {};
  info.struct_bytes = sizeof info;
  xst_probe_result probe = {};
  probe.struct_bytes = sizeof probe;
  next([&] { return xst_model_open(path, nullptr, &model); });
  next([&] { return xst_model_open_memory(bytes.data(), bytes.size(), nullptr, &again); });
  next([&] { return xst_model_get_info(model, &info); });
  next([&] { return xst_session_create(model, &session); });
  next([&] { return xst_session_clone(session, &clone); });
  next([&] { return xst_lanes_create(model, 3, &lanes); });
  next([&] {
    const xst_status s = xst_model_verify(model, &probe);
    return s == XST_NOT_FOUND ? XST_OK : s;
  });
  if (info.family && std::string_view(info.family) == "tirex") {
    next([&] { return xst_forecaster_create(model, &forecaster); });
  }
  xst_forecaster_destroy(forecaster);
  xst_lanes_destroy(lanes);
  xst_session_destroy(clone);
  xst_session_destroy(session);
  xst_model_destroy(again);
  xst_model_destroy(model);
  return status;
}

class CMemory : public testing::TestWithParam<const char*> {};

TEST_P(CMemory, AnyAllocationMayFail) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  const std::string path = xst::test::PackedCase(GetParam());
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  ASSERT_EQ(Everything(path.c_str(), bytes), XST_OK);
  long n = 0, shortages = 0;
  for (; n < 100'000; ++n) {
    xst::test::failure.allocations = n;
    const xst_status s = Everything(path.c_str(), bytes);
    const bool all = xst::test::failure.allocations >= 0;
    xst::test::failure = {};
    if (all) break;
    EXPECT_TRUE(s == XST_OK || s == XST_OUT_OF_MEMORY) << n << ": " << s << " " << xst_last_error();
    shortages += s == XST_OUT_OF_MEMORY;
  }
  EXPECT_GT(shortages, 50);
  std::printf("%ld allocations, %ld shortages\n", n, shortages);
#endif
}

INSTANTIATE_TEST_SUITE_P(Models, CMemory,
                         testing::Values("block_stack/odd_sizes", "block_stack/lm_tied",
                                         "stream/forecaster", "large/01_single_defaults",
                                         "tirex/01_small"));

}  // namespace
