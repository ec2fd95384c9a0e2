// The C interface with every n-th allocation failing once: an error, never the end of the process.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bindings/c/xst.h"
#include "tests/support/vectors.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XST_SANITIZED 1
#endif

namespace {
thread_local long until_failure = -1;  // allocations; negative: none fails
bool Fails() { return until_failure >= 0 && until_failure-- == 0; }
}  // namespace

#ifndef XST_SANITIZED
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

void* malloc(size_t n) { return Fails() ? nullptr : __libc_malloc(n); }
void* calloc(size_t n, size_t size) { return Fails() ? nullptr : __libc_calloc(n, size); }
void* realloc(void* p, size_t n) { return Fails() ? nullptr : __libc_realloc(p, n); }
}
#endif

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
    until_failure = n;
    const xst_status s = Everything(path.c_str(), bytes);
    const bool all = until_failure >= 0;
    until_failure = -1;
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
