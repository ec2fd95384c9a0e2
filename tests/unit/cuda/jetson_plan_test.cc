// What the on-chip path would do on devices that are not here: plans are made on the host, from the
// numbers of a device.
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/pack.h"
#include "kernels/cuda/on_chip.h"
#include "sdk/model_core.h"
#include "sdk/plan.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using kernels::cuda::OnChipBody;
using kernels::cuda::OnChipDevice;
using kernels::cuda::OnChipPlan;

constexpr uint32_t kKib = 1024;
// Shared memory of a block, multiprocessors, clusters, cooperative launches.
constexpr OnChipDevice kOrin8{163 * kKib, 8, false, true};
constexpr OnChipDevice kOrin16{163 * kKib, 16, false, true};
constexpr OnChipDevice kThor{227 * kKib, 20, true, true};
constexpr OnChipDevice kH100{227 * kKib, 132, true, true};

class JetsonPlanTest : public testing::Test {
 protected:
  std::optional<OnChipPlan> Plan(formats::DType dtype, const OnChipDevice& device) {
    const std::string path = test::PackedCase("block_stack/readme_config") + ".plan";
    formats::PackOptions options;
    options.dtype = dtype;
    formats::PackModel(std::string(XST_TEST_DATA) + "/block_stack/readme_config", path, options);
    model_ = Model::open(path);
    const xst::Plan plan = BuildPlan(model_->core().directory);
    const auto stack = kernels::cuda::RecogniseStack(plan.ops, plan.ops_input, plan.input_width,
                                                     plan.output, plan.output_width);
    if (!stack) {
      ADD_FAILURE() << "the README configuration is no stack";
      return std::nullopt;
    }
    why_.clear();
    return kernels::cuda::PlanOnChip(*stack, false, device, {}, &why_);
  }
  // Body and number of CTAs, or what is in the way.
  void Expect(formats::DType dtype, const OnChipDevice& device, OnChipBody body, uint32_t ctas) {
    const auto plan = Plan(dtype, device);
    ASSERT_TRUE(plan) << why_;
    EXPECT_EQ(plan->body, body);
    EXPECT_EQ(plan->shape.ctas, ctas);
    EXPECT_LE(plan->shape.bytes, device.shared_bytes);
    RecordProperty("bytes_a_cta", static_cast<int>(plan->shape.bytes));
  }
  void ExpectNone(formats::DType dtype, const OnChipDevice& device) {
    const auto plan = Plan(dtype, device);
    EXPECT_FALSE(plan) << plan->shape.ctas << " CTAs of " << plan->shape.bytes << " bytes";
    EXPECT_NE(why_, "");
  }

 private:
  std::shared_ptr<const Model> model_;  // the plan points into it
  std::string why_;
};

TEST_F(JetsonPlanTest, AgxOrinHolds16BitWeights) {
  ExpectNone(formats::DType::f32, kOrin16);
  Expect(formats::DType::i16, kOrin16, OnChipBody::grid, 16);
  Expect(formats::DType::bf16, kOrin16, OnChipBody::grid, 16);
}

TEST_F(JetsonPlanTest, SmallOrinsHoldNoneOfIt) {
  for (const auto dtype :
       {formats::DType::f32, formats::DType::i16, formats::DType::bf16, formats::DType::i8}) {
    ExpectNone(dtype, kOrin8);
  }
}

TEST_F(JetsonPlanTest, ThorAndHopperHoldItInACluster) {
  for (const OnChipDevice& device : {kThor, kH100}) {
    Expect(formats::DType::f32, device, OnChipBody::cluster, 16);
    Expect(formats::DType::i16, device, OnChipBody::cluster, 16);
  }
}

}  // namespace
}  // namespace xst
