// The op set: everything a Plan can ask of a device, as plain records.
//
// A stream's memory is one array, its *frame*: [persistent state | activations of the current
// step]. Ops name arrays in it by Slot and weights by pointer, so one Plan serves every stream of a
// model, every instruction set, the double-precision reference (a frame of doubles) and a GPU (its
// own frame and weight pointers).
//
// Contract of every kernel: it reads and writes exactly the elements stated here (a vector load may
// touch up to 16 elements beyond an input, but they never influence a result); distinct arrays
// never overlap unless stated; a Slot may have any alignment. The work is cut into *units* (16 rows
// or channels, or one head); the result of a unit does not depend on which units the same call
// computes, so any split over threads gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

namespace xst::kernels {

using Slot = uint32_t;  // index of an array's first element in the frame

inline constexpr uint32_t kUnit = 16;  // rows of a panel, channels of a unit

constexpr uint32_t RoundUp16(uint32_t n) { return (n + 15u) & ~15u; }
constexpr uint32_t UnitsOf(uint32_t n) { return (n + 15u) / 16u; }

enum class DType : uint8_t { f32, i16, bf16, i8 };
enum class Layout : uint8_t { panel, rows };

// A weight matrix [rows][cols] as it lies in the model file.
//   panel: panels of 16 rows, k-major: f32 [panel][cols][16]; i16, bf16 [panel][cols/2][16][2];
//          i8 [panel][cols/4][16][4]; missing rows and columns are zero.
//   rows:  row-major, each row padded with zeros to a multiple of 64 bytes.
struct Matrix {
  const void* data = nullptr;    // 64-byte aligned
  const float* scale = nullptr;  // [rows], readable to the next multiple of 16, for i16 and i8;
                                 // else null
  uint32_t rows = 0;
  uint32_t cols = 0;
  DType dtype = DType::f32;
  Layout layout = Layout::panel;
};

struct Range {  // units [begin, end)
  uint32_t begin, end;
};

enum class Activation : uint8_t { gelu, relu, relu2, sigmoid, swish, selu };

// y = (x - mean(x)) / sqrt(var(x) + eps) * (weight + weight_offset) [+ bias]; var with divisor
// `size`. center = false: the RMS norm x / sqrt(mean(x^2) + eps) * .... One unit. y may equal x.
struct Norm {
  const float* weight;  // [size], null: 1 (weight_offset unused)
  const float* bias;    // [size] or null
  float weight_offset;  // 1 where the file stores scale minus 1
  float eps;
  uint32_t size;
  bool center;
  Slot x, y;  // [size]
};

// y = W x [+ bias], or y += W x [+ bias]. Unit: a panel of 16 rows, or one row in layout `rows`.
struct Linear {
  Matrix w;
  const float* bias;  // [rows] or null
  Slot x;             // [cols]
  Slot y;             // [rows]
  bool accumulate;
};

// Block-diagonal y[r] = sum_j W[r][j] x[(r / cols) * cols + j] [+ bias[r]]. Layout panel. Unit: 16
// rows.
struct BlockLinear {
  Matrix w;           // [channels][block]
  const float* bias;  // [rows] or null
  Slot x;             // [rows]
  Slot y;             // [rows]
};

// Causal depthwise convolution with SiLU: y[c] = silu(sum_j s[j][c] w[j][c] + bias[c]), s = the K-1
// inputs before this one, oldest first, then x; afterwards the history holds the last K-1 inputs.
// Unit: 16 channels.
struct Conv {
  const float* weight;                // [K][stride], tap K-1 meets x
  const float* bias;                  // [channels]
  uint32_t channels, kernel, stride;  // stride = RoundUp16(channels), of weight and history
  Slot history;                       // state [K-1][stride]
  Slot x, y;                          // [channels]
};

// The mLSTM cell (spec 4.2; large 4), one head h a unit, i~ = gates[h], f~ = gates[heads + h], each
// capped as cap * tanh(z / cap) if cap > 0:
//   lf = logsigmoid(f~); m' = max(lf + m, i~); F = exp(lf + m - m'); I = exp(i~ - m')
//   C' = F C + I k v^T; n' = F n + I k; h = q^T C' / (max(|q . n'|, exp(-m')) + eps)
// with k (scale_key) or q (otherwise) first divided by sqrt(dk).
struct MlstmCell {
  uint32_t heads, dk, dv;
  uint32_t stride_c;  // between rows of C: RoundUp16(dv)
  uint32_t stride_n;  // between heads of n: RoundUp16(dk)
  float eps, gate_cap;
  bool scale_key;
  Slot q, k;   // [heads * dk]
  Slot v, h;   // [heads * dv]
  Slot gates;  // [2 * heads]
  Slot c;      // state [heads][dk][stride_c]
  Slot n;      // state [heads][stride_n]
  Slot m;      // state [heads]
};

// y = (headnorm(h) (weight + weight_offset) [+ bias] [+ skip * c]) * gate(z), gate = sigmoid or
// silu, the head norm with eps over each head. Unit: one head.
struct MlstmOut {
  const float* weight;  // [heads * dim]
  const float* bias;    // [heads * dim] or null
  const float* skip;    // [heads * dim] or null; null: c is not read
  float weight_offset;  // 1 where the file stores scale minus 1
  bool sigmoid;         // of z; false: silu
  uint32_t heads, dim;
  float eps;
  Slot h, c, z, y;  // [heads * dim]
};

// The sLSTM's input-side products, no bias: for channel c of head c / dim and gate g in true order
// i, f, z, o:
//   wx[(c / 16) * 64 + g * 16 + c % 16] = sum_j W[same row][j] x_g[(c / dim) * dim + j]
// with x_i = x_f = `conv` and x_z = x_o = `u`. Unit: 16 channels.
struct SlstmInput {
  Matrix w;  // [4 * RoundUp16(channels)][dim], panel, rows in the order above; rows of missing
             // channels are zero
  uint32_t channels, dim;
  Slot conv, u;  // [channels]
  Slot wx;       // [4 * RoundUp16(channels)]
};

// The sLSTM cell (spec 4.3, 4.4): raw = wx + R y + bias in the row order of SlstmInput, then per
// channel
//   slstm: lfm = m + logsigmoid(min(f, forget_cap)); m' = n == 0 ? i : max(i, lfm); I = min(exp(i -
//   m'), 1);
//          F = min(exp(lfm - m'), 1); c' = F c + I tanh(z); n' = F n + I; out = sigmoid(o) c' / n'
//   lstm:  c' = sigmoid(f) c + sigmoid(i) tanh(z); out = sigmoid(o) tanh(c')
// y, the previous output, is read only: SlstmOut stores the new one. Unit: 16 channels.
struct SlstmCell {
  Matrix r;           // [4 * RoundUp16(channels)][dim], panel
  const float* bias;  // [4 * RoundUp16(channels)]
  uint32_t channels, dim;
  float forget_cap;  // +infinity: none
  bool lstm;         // n and m are not used
  Slot wx;           // [4 * RoundUp16(channels)]
  Slot y;            // state [channels]
  Slot c, n, m;      // state [channels]
  Slot out;          // [channels]
};

// y = out (the state of SlstmCell); x += headnorm(out) (1 + weight). Unit: one head.
struct SlstmOut {
  const float* weight;  // [heads * dim], null: 1
  uint32_t heads, dim;
  float eps;
  Slot out;  // [heads * dim]
  Slot y;    // state [heads * dim]
  Slot x;    // [heads * dim]
};

// y = act(gate) * linear. Unit: 16 elements. y may equal either input.
struct GatedAct {
  Activation act;
  uint32_t size;
  Slot gate, linear, y;  // [size]
};

// y = max(x, 0), or cap tanh(x / cap). Unit: 16 elements. y may equal x.
enum class PointwiseKind : uint8_t { relu, soft_cap };
struct Pointwise {
  PointwiseKind kind;
  float cap;  // of soft_cap
  uint32_t size;
  Slot x, y;  // [size]
};

// x = row `token` of the table; the token id lies in the frame as a number (ids are < 2^24). One
// unit.
struct Embed {
  Matrix table;  // [vocabulary][size], either layout
  Slot token;    // [1]
  Slot x;        // [cols]
};

using Op = std::variant<Norm, Linear, BlockLinear, Conv, MlstmCell, MlstmOut, SlstmInput, SlstmCell,
                        SlstmOut, GatedAct, Pointwise, Embed>;

// f(the op itself). What std::visit does, but inline: with 12 alternatives it calls through a
// table, which a small op feels.
template <class F>
void Visit(const F& f, const Op& op) {
  const auto visit = [&]<size_t... i>(std::index_sequence<i...>) {
    ((op.index() == i && (f(*std::get_if<i>(&op)), true)) || ...);
  };
  visit(std::make_index_sequence<std::variant_size_v<Op>>());
}

inline uint32_t Units(const Norm&) { return 1; }
inline uint32_t Units(const Linear& o) {
  return o.w.layout == Layout::panel ? UnitsOf(o.w.rows) : o.w.rows;
}
inline uint32_t Units(const BlockLinear& o) { return UnitsOf(o.w.rows); }
inline uint32_t Units(const Conv& o) { return UnitsOf(o.channels); }
inline uint32_t Units(const MlstmCell& o) { return o.heads; }
inline uint32_t Units(const MlstmOut& o) { return o.heads; }
inline uint32_t Units(const SlstmInput& o) { return UnitsOf(o.channels); }
inline uint32_t Units(const SlstmCell& o) { return UnitsOf(o.channels); }
inline uint32_t Units(const SlstmOut& o) { return o.heads; }
inline uint32_t Units(const GatedAct& o) { return UnitsOf(o.size); }
inline uint32_t Units(const Pointwise& o) { return UnitsOf(o.size); }
inline uint32_t Units(const Embed&) { return 1; }
inline uint32_t Units(const Op& op) {
  uint32_t units = 0;
  Visit([&](const auto& o) { units = Units(o); }, op);
  return units;
}

}  // namespace xst::kernels
