#include "tests/unit/kernels/harness.h"
#include "tests/unit/kernels/weights.h"

namespace xst::kernels {
namespace {

using EmbedTest = OpTest;
XST_OP_TEST_SUITE(EmbedTest);

TEST_P(EmbedTest, EveryRow) {
  for (DType type : kTypes) {
    for (Layout layout : {Layout::panel, Layout::rows}) {
      for (uint32_t vocabulary : {1u, 15u, 16u, 17u, 50u}) {
        for (uint32_t size : Sizes()) {
          const std::vector<float> values = Random(vocabulary * size);
          const Weights w(values, vocabulary, size, type, layout);
          // Integers are rounded with their scale, the others are what they are.
          const bool scaled = type == DType::i16 || type == DType::i8;
          const double rounding = type == DType::i8     ? 1.0 / 254
                                  : type == DType::bf16 ? 1.0 / 512
                                                        : 1e-4;
          for (uint32_t token = 0; token < vocabulary; token += 7) {
            Frame frame(size % 4);
            const Slot id = frame.AddInput({static_cast<float>(token)});
            const Slot x = frame.AddOutput(size);
            frame.Check(Embed{w.matrix(), id, x}, table(), scaled ? 1e-7 : 0, Name(type));
            for (uint32_t i = 0; i < size; ++i) {
              const float expected = values[token * size + i];
              if (type == DType::f32) {
                ASSERT_EQ(frame.f[x + i], expected);
              } else {
                ASSERT_NEAR(frame.f[x + i], expected, rounding) << Name(type);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace xst::kernels
