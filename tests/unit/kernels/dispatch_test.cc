#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

#include "kernels/kernels.h"
#include "kernels/memory_probe.h"

namespace xst::kernels {
namespace {

TEST(DispatchTest, NamesAndTablesAgree) {
  std::set<std::string> names;
  for (const char* const* name = CpuKernelNames(); *name; ++name) {
    const Kernels<float>* table = FindCpuKernels<float>(*name);
    ASSERT_NE(table, nullptr) << *name;
    EXPECT_STREQ(table->name, *name);
    EXPECT_TRUE(names.insert(*name).second) << *name;
  }
  EXPECT_TRUE(names.count("scalar"));
  EXPECT_EQ(FindCpuKernels<float>("reference"), nullptr);
  EXPECT_EQ(FindCpuKernels<float>(""), nullptr);
  EXPECT_STREQ(ReferenceKernels().name, "reference");
}

TEST(FlushDenormalsTest, FlushesWhileItLives) {
  volatile float small = 1e-38f, factor = 0.01f;
  EXPECT_NE(small * factor, 0);
  {
    FlushDenormals outer;
    EXPECT_EQ(small * factor, 0);
    { FlushDenormals inner; }
    EXPECT_EQ(small * factor, 0);
  }
  EXPECT_NE(small * factor, 0);
}

TEST(MemoryProbeTest, MeasuresEveryTable) {
  for (const char* const* name = CpuKernelNames(); *name; ++name) {
    const double us = StreamLimitMicros(100000, 20000, *name, 5);
    EXPECT_TRUE(us > 0 && us < 1e6) << *name << " " << us;
  }
  EXPECT_GE(StreamLimitMicros(0, 0, "scalar", 1), 0);
  EXPECT_EQ(StreamLimitMicros(1000, 1000, "no such table", 1), -1);
}

}  // namespace
}  // namespace xst::kernels
