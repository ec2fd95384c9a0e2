// How one stream of a block stack is laid out over the cooperating CTAs that hold it on the chip.
//
// Every CTA has the same layout: the arrays that the others write into, scratch, a copy of its
// slice of the weights (its *image*), its slice of the state. Offsets are bytes from the start of
// its shared memory. CTA r of N owns consecutive channels (of an mLSTM whole blocks of q, k and v)
// and rows; the last ones may own fewer, or none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

#ifdef __CUDACC__
#define XST_HOST_DEVICE __host__ __device__
#else
#define XST_HOST_DEVICE
#endif

namespace xst::kernels::cuda {

inline constexpr uint32_t kOnChipThreads = 256;
inline constexpr uint32_t kOnChipMaxBlocks = 64;
inline constexpr uint32_t kOnChipMaxCtas = 64;

// The exchanges of a step, each with its own arrays.
enum Exchange : uint32_t {
  kToCell,         // mLSTM: what the cell needs
  kToScale,        // mLSTM: g1, g2, where they have an exchange of their own
  kToDown,         // mLSTM: what the down projection needs
  kToBlock,        // the residual stream
  kToNorm,         // sLSTM: outputs
  kToFeedForward,  // its activations
  kToFirst,        // the encoder's output
  kToAll,          // a request from the mailbox
  kExchanges
};

struct OnChipShape {
  // What the model is.
  uint32_t ctas = 1, width = 0, input_width = 0, output_width = 0;
  uint32_t blocks = 0;
  uint64_t slstm = 0;  // bit b: block b is an sLSTM
  bool embed = false, encoder = false, encoder_bias = false, post_norm = false, head = false,
       head_bias = false;
  float norm_eps = 0, post_eps = 0;
  // mLSTM blocks.
  uint32_t inner = 0, heads = 1, dim = 1, block = 1, kernel = 0;
  bool up_bias = false, qkv_bias = false, down_bias = false;
  float cell_eps = 0, head_eps = 0;
  // sLSTM blocks.
  uint32_t s_heads = 1, s_dim = 1, s_kernel = 0, ff = 0;  // ff 0: no feed-forward
  bool lstm = false, ff_up_bias = false, ff_down_bias = false;
  float forget_cap = 0, s_norm_eps = 0, group_eps = 0, ff_eps = 0;
  Activation act = Activation::gelu;

  // What follows from it (Complete). Most channels, rows and heads of one CTA:
  uint32_t own = 0;                  // channels of an mLSTM
  uint32_t own_heads = 0;            // heads these lie in
  uint32_t rows = 0;                 // of x; also channels of an sLSTM
  uint32_t own_ff = 0, own_out = 0;  // feed-forward elements, outputs
  uint32_t own_conv = 0;             // channels of the heads of an sLSTM's own channels
  // Offsets. Images, from the block's:
  struct MlstmImage {
    uint32_t norm, up, up_sum, up_scale, up_bias, conv, conv_bias, qkv, qkv_bias, gate, gate_bias,
        head_norm, skip, down, down_scale, down_bias, bytes;
    friend constexpr bool operator==(const MlstmImage&, const MlstmImage&) = default;
  } m{};
  struct SlstmImage {
    uint32_t norm, conv, conv_bias, w, w_scale, r, r_scale, bias, group_norm, ff_norm, up, up_sum,
        up_scale, up_bias, down, down_scale, down_bias, bytes;
    friend constexpr bool operator==(const SlstmImage&, const SlstmImage&) = default;
  } s{};
  uint32_t post = 0, out = 0, out_sum = 0, out_scale = 0, out_bias = 0;  // from the image's start
  uint32_t enc = 0, enc_scale = 0, enc_bias = 0;
  uint32_t first_block = 0;
  uint32_t image = 0, image_at = 0;  // bytes; where it begins
  // State, from the block's; parity: the copies that even and odd steps read.
  struct MlstmState {
    uint32_t c, n, n_parity, m, m_parity, history, bytes;
    friend constexpr bool operator==(const MlstmState&, const MlstmState&) = default;
  } ms{};
  struct SlstmStateAt {
    uint32_t y, y_parity, c, n, m, history, bytes;
    friend constexpr bool operator==(const SlstmStateAt&, const SlstmStateAt&) = default;
  } ss{};
  uint32_t first_state = 0;
  // Received: what each exchange brings.
  // kToCell: q, k [own_heads][dim4], gate sums [2][own_heads][ctas4], own channels of v.
  uint32_t qk = 0, k_from_q = 0, gates = 0, own_v = 0;
  uint32_t g1 = 0, g2 = 0, h = 0;            // kToDown: [inner] each
  uint32_t x = 0;                            // kToBlock
  uint32_t p = 0;                            // kToFeedForward
  uint32_t encoded = 0;                      // kToFirst
  uint32_t input = 0;                        // kToAll: inputs and a control word
  uint32_t own_c = 0, own_a = 0, own_g = 0;  // scratch: own channels of an mLSTM
  uint32_t u = 0, conv_u = 0;                // own_conv channels of an sLSTM
  uint32_t barriers = 0, bytes = 0;          // bytes: all of it

  static XST_HOST_DEVICE constexpr uint32_t DivUp(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
  }
  static XST_HOST_DEVICE constexpr uint32_t Pad4(uint32_t n) { return (n + 3) & ~3u; }
  static XST_HOST_DEVICE constexpr uint32_t Min(uint32_t a, uint32_t b) { return a < b ? a : b; }

  XST_HOST_DEVICE constexpr uint32_t First(uint32_t rank, uint32_t per, uint32_t all) const {
    return Min(rank * per, all);
  }
  XST_HOST_DEVICE constexpr uint32_t Count(uint32_t rank, uint32_t per, uint32_t all) const {
    return First(rank + 1, per, all) - First(rank, per, all);
  }
  // Heads [HeadBegin, HeadEnd) hold the channels of CTA `rank`.
  static XST_HOST_DEVICE constexpr uint32_t HeadBegin(uint32_t first, uint32_t dim) {
    return first / dim;
  }
  static XST_HOST_DEVICE constexpr uint32_t HeadEnd(uint32_t first, uint32_t count, uint32_t dim) {
    return count ? (first + count - 1) / dim + 1 : first / dim;
  }
  XST_HOST_DEVICE constexpr uint32_t MostHeads(uint32_t per, uint32_t all,
                                               uint32_t head_dim) const {
    uint32_t most = 0;
    for (uint32_t r = 0; r < ctas; ++r) {
      const uint32_t first = First(r, per, all), count = Count(r, per, all);
      const uint32_t heads_of = HeadEnd(first, count, head_dim) - HeadBegin(first, head_dim);
      most = most > heads_of ? most : heads_of;
    }
    return most;
  }

  friend constexpr bool operator==(const OnChipShape&, const OnChipShape&) = default;

  // Fills in everything that follows: `weight` bytes of an element of a matrix, a scale per row or
  // not, `real` bytes of a number of the arithmetic.
  XST_HOST_DEVICE constexpr void Complete(uint32_t weight, bool scaled, uint32_t real) {
    own = inner ? DivUp(inner / block, ctas) * block : 0;
    own_heads = inner ? MostHeads(own, inner, dim) : 0;
    rows = DivUp(width, ctas);
    own_ff = DivUp(ff, ctas);
    own_out = DivUp(output_width, ctas);
    own_conv = slstm ? MostHeads(rows, width, s_dim) * s_dim : 0;

    uint32_t at = 0;
    const auto take = [&](uint64_t bytes_of) {
      const uint32_t here = at;
      // Saturates, so that what is far too large is seen to be.
      const uint64_t next = at + ((bytes_of + 15) & ~uint64_t{15});
      at = next < 0x7fffff00u ? static_cast<uint32_t>(next) : 0x7fffff00u;
      return here;
    };
    const auto reals = [&](uint64_t n) { return take(n * real); };
    const auto matrix = [&](uint64_t n, uint32_t cols) { return take(n * Pad4(cols) * weight); };
    const auto scales = [&](uint64_t n) { return reals(scaled ? n : 0); };

    if (inner) {
      m.norm = reals(Pad4(width));
      m.up = matrix(2 * own, width);
      m.up_sum = reals(2 * own);
      m.up_scale = scales(2 * own);
      m.up_bias = reals(up_bias ? 2 * own : 0);
      m.conv = reals(uint64_t{own} * kernel);
      m.conv_bias = reals(kernel ? own : 0);
      m.qkv = take(uint64_t{3} * own * Pad4(block) * 4);
      m.qkv_bias = reals(qkv_bias ? 3 * own : 0);
      m.gate = reals(uint64_t{2} * heads * Pad4(2 * own));
      m.gate_bias = reals(2 * heads);
      m.head_norm = reals(own);
      m.skip = reals(own);
      m.down = matrix(rows, inner);
      m.down_scale = scales(rows);
      m.down_bias = reals(down_bias ? rows : 0);
      m.bytes = at;
    }
    if (slstm) {
      at = 0;
      s.norm = reals(Pad4(width));
      s.conv = reals(uint64_t{own_conv} * s_kernel);
      s.conv_bias = reals(s_kernel ? own_conv : 0);
      s.w = matrix(uint64_t{4} * rows, s_dim);
      s.w_scale = scales(4 * rows);
      s.r = matrix(uint64_t{4} * rows, s_dim);
      s.r_scale = scales(4 * rows);
      s.bias = reals(4 * rows);
      s.group_norm = reals(width);
      if (ff) {
        s.ff_norm = reals(Pad4(width));
        s.up = matrix(2 * own_ff, width);
        s.up_sum = reals(2 * own_ff);
        s.up_scale = scales(2 * own_ff);
        s.up_bias = reals(ff_up_bias ? 2 * own_ff : 0);
        s.down = matrix(rows, ff);
        s.down_scale = scales(rows);
        s.down_bias = reals(ff_down_bias ? rows : 0);
      }
      s.bytes = at;
    }
    const uint32_t dim4 = Pad4(dim);
    at = 0;
    if (inner) {
      ms.c = reals(uint64_t{own} * dim4);
      ms.n_parity = own_heads * dim4 * real;
      ms.n = reals(uint64_t{2} * own_heads * dim4);
      ms.m_parity = own_heads * real;
      ms.m = reals(2 * own_heads);
      ms.history = reals(kernel > 1 ? uint64_t{own} * (kernel - 1) : 0);
      ms.bytes = at;
    }
    at = 0;
    if (slstm) {
      ss.y_parity = Pad4(width) * real;
      ss.y = reals(uint64_t{2} * Pad4(width));
      ss.c = reals(rows);
      ss.n = reals(rows);
      ss.m = reals(rows);
      ss.history = reals(s_kernel > 1 ? uint64_t{own_conv} * (s_kernel - 1) : 0);
      ss.bytes = at;
    }
    at = 0;
    if (inner) {
      k_from_q = own_heads * dim4 * real;
      qk = reals(uint64_t{2} * own_heads * dim4);
      gates = reals(uint64_t{2} * own_heads * Pad4(ctas));
      own_v = reals(own);
      g1 = reals(Pad4(inner));
      g2 = reals(Pad4(inner));
      h = reals(Pad4(inner));
      own_c = reals(Pad4(2 * own));  // c, then a
      own_a = own_c + own * real;
      own_g = reals(own);
    }
    x = reals(Pad4(width));
    p = reals(Pad4(ff));
    u = reals(Pad4(own_conv));
    conv_u = s_kernel ? reals(Pad4(own_conv)) : u;
    barriers = take(8 * kExchanges);
    // h is not sent before everyone has taken what is encoded.
    encoded = inner >= width ? h : reals(encoder ? Pad4(width) : 0);
    input = reals(uint64_t{Pad4(input_width)} + 4);
    image_at = at;

    at = 0;
    if (post_norm || head) post = reals(Pad4(width));
    if (head) {
      out = matrix(own_out, width);
      out_sum = reals(own_out);
      out_scale = scales(own_out);
      out_bias = reals(head_bias ? own_out : 0);
    }
    if (encoder) {
      enc = matrix(rows, input_width);
      enc_scale = scales(rows);
      enc_bias = reals(encoder_bias ? rows : 0);
    }
    first_block = at;
    for (uint32_t b = 0; b < blocks; ++b) take(slstm >> b & 1 ? s.bytes : m.bytes);
    image = at;
    at = image_at;
    take(image);
    first_state = at;
    for (uint32_t b = 0; b < blocks; ++b) take(slstm >> b & 1 ? ss.bytes : ms.bytes);
    bytes = at;
  }
};

}  // namespace xst::kernels::cuda
