#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

using EmbedTest = OpTest;
XST_OP_TEST_SUITE(EmbedTest);

TEST_P(EmbedTest, EveryRow) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    for (uint32_t vocabulary : {1u, 15u, 16u, 17u, 50u}) {
      for (uint32_t size : Sizes()) {
        const std::vector<float> values = Random(vocabulary * size);
        const Aligned w(Pack(values, vocabulary, size, layout));
        for (uint32_t token = 0; token < vocabulary; token += 7) {
          Frame frame(size % 4);
          const Slot id = frame.AddInput({static_cast<float>(token)});
          const Slot x = frame.AddOutput(size);
          frame.Check(Embed{{w.data(), nullptr, vocabulary, size, DType::f32, layout}, id, x},
                      table(), 0);
          for (uint32_t i = 0; i < size; ++i) {
            ASSERT_EQ(frame.f[x + i], values[token * size + i]);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace xst::kernels
