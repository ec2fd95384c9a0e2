#include "kernels/cuda/large_prefill.h"

#include <algorithm>

#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/large_decode.h"

namespace xst::kernels::cuda {
namespace {

using Half = __nv_bfloat16;

constexpr uint32_t kLeastTokens = 64;  // of a product: fewer are padded
constexpr uint32_t kLeastScratchRows = 1024;
constexpr uint32_t kLogitTokens = 256;  // at once, when all logits are wanted

constexpr uint32_t RoundUp32(uint32_t n) { return (n + 31u) & ~31u; }

// A block's cell over rows of [q k v o | gates].
struct Row {
  MlstmCell cell;
  uint32_t z, size;
};
Row RowOf(const LargeBlock& b) {
  Row r{b.cell, 0, 0};
  MlstmCell& c = r.cell;
  const uint32_t qk = c.heads * c.dk, value = c.heads * c.dv;
  c.q = 0, c.k = qk, c.v = 2 * qk, r.z = 2 * qk + value;
  c.gates = RoundUp32(2 * (qk + value));
  r.size = c.gates + RoundUp32(2 * c.heads);
  return r;
}

size_t HalfStride(uint32_t cols) { return RowStride(DType::bf16, cols); }

// What a shape of products is called by: X and D in rows `ld` apart.
template <class X, class D>
GemmShape ShapeOf(const Matrix& w, uint32_t rows, uint32_t tokens, X x, D d, bool accumulate) {
  return {.rows = rows,
          .columns = w.cols,
          .tokens = tokens,
          .ld_w = HalfStride(w.cols),
          .ld_x = x.ld,
          .ld_d = d.ld,
          .bf16_out = sizeof(*d.data) == sizeof(Half),
          .accumulate = accumulate};
}

}  // namespace

struct LargePrefill::Memory {
  void* gemm;
  TokenRows<float> x, row, logits, last;
  TokenRows<Half> u, y, up, z;
  Half* weights;
  void* cell;
  size_t bytes;
};

LargePrefill::~LargePrefill() = default;

LargePrefill::Memory LargePrefill::Arrays(void* workspace) const {
  Memory m = {};
  auto* base = static_cast<uint8_t*>(workspace);
  const auto take = [&](size_t bytes) {
    void* at = base ? base + m.bytes : nullptr;
    m.bytes += (bytes + 255) / 256 * 256;
    return at;
  };
  const size_t tokens = options_.max_tokens;
  const auto rows = [&]<class T>(TokenRows<T>* r, size_t count, size_t ld) {
    *r = {static_cast<T*>(take(count * ld * sizeof(T))), ld};
  };
  const LargeBlock& b = stack_.blocks[0];
  const uint32_t width = stack_.embed.table.cols;
  m.gemm = take(kGemmWorkspace);
  rows(&m.x, tokens, RoundUp32(width));
  rows(&m.u, tokens, HalfStride(width));
  rows(&m.row, tokens, RowOf(b).size);
  rows(&m.y, tokens, HalfStride(b.out.w.cols));
  rows(&m.up, tokens, HalfStride(b.up.w.rows));
  rows(&m.z, tokens, HalfStride(b.down.w.cols));
  rows(&m.last, options_.lanes, RoundUp32(width) + RoundUp32(stack_.head.w.rows));
  if (options_.all_logits) rows(&m.logits, logit_tokens_, RoundUp32(stack_.head.w.rows));
  size_t weights = 0;
  const auto copied = [&](const Matrix& w, uint32_t count) {
    if (w.dtype != DType::bf16) weights = std::max(weights, count * HalfStride(w.cols));
  };
  for (const LargeBlock& k : stack_.blocks) {
    for (const Linear* l : {&k.qkvo, &k.out, &k.up, &k.down}) copied(l->w, l->w.rows);
  }
  if (options_.all_logits) copied(stack_.head.w, scratch_rows_);
  m.weights = static_cast<Half*>(take(weights * sizeof(Half)));
  m.cell = take(chunks_->workspace_bytes());
  return m;
}

uint32_t LargePrefill::Padded(uint32_t tokens) const {
  uint32_t n = std::min(kLeastTokens, options_.max_tokens);
  while (n < tokens) n *= 2;
  return n;
}

cudaError_t LargePrefill::Create(const LargeStack& stack, const Options& options,
                                 const DeviceShape& device, std::unique_ptr<LargePrefill>* out) {
  if (options.lanes == 0 || options.max_tokens < options.lanes ||
      (options.max_tokens & (options.max_tokens - 1)) != 0 || options.max_tokens > 32768) {
    return cudaErrorInvalidValue;
  }
  if (!Fits(stack)) return cudaErrorNotSupported;
  for (const LargeBlock& b : stack.blocks) {
    const LargeBlock& first = stack.blocks[0];
    const bool alike = b.cell.heads == first.cell.heads && b.cell.dk == first.cell.dk &&
                       b.cell.dv == first.cell.dv && b.up.w.rows == first.up.w.rows &&
                       b.out.w.cols == first.out.w.cols;
    if (!alike || !NormTokensFits(b.norm.size)) return cudaErrorNotSupported;
  }
  std::unique_ptr<LargePrefill> made(new LargePrefill);
  made->stack_ = stack;
  made->options_ = options;
  made->device_ = device;
  made->logit_tokens_ = std::min(kLogitTokens, options.max_tokens);
  made->scratch_rows_ = std::min(stack.head.w.rows,
                                 RoundUp32(std::max(stack.blocks[0].up.w.rows, kLeastScratchRows)));
  made->chunks_ = std::make_unique<MlstmChunks>(stack.blocks[0].cell, options.lanes,
                                                options.max_tokens / options.lanes);
  made->bytes_ = made->Arrays(nullptr).bytes;
  if (const cudaError_t e = Bf16Gemms::Create(&made->gemms_)) return e;
  if (const cudaError_t e = made->Prepare()) return e;
  *out = std::move(made);
  return cudaSuccess;
}

cudaError_t LargePrefill::Prepare() {
  const Memory m = Arrays(nullptr);
  if (const cudaError_t e = chunks_->Prepare(gemms_.get())) return e;
  for (uint32_t n = Padded(1); n <= options_.max_tokens; n *= 2) {
    for (const LargeBlock& b : stack_.blocks) {
      for (const GemmShape& s : {ShapeOf(b.qkvo.w, b.qkvo.w.rows, n, m.u, m.row, false),
                                 ShapeOf(b.out.w, b.out.w.rows, n, m.y, m.x, true),
                                 ShapeOf(b.up.w, b.up.w.rows, n, m.u, m.up, false),
                                 ShapeOf(b.down.w, b.down.w.rows, n, m.z, m.x, true)}) {
        if (const cudaError_t e = gemms_->Prepare(s)) return e;
      }
    }
    if (!options_.all_logits || n > logit_tokens_) continue;
    const Matrix& w = stack_.head.w;
    const uint32_t rest = w.rows % scratch_rows_;
    for (const uint32_t rows : {w.dtype == DType::bf16 ? w.rows : scratch_rows_, rest}) {
      if (rows == 0) continue;
      const GemmShape s = ShapeOf(w, rows, n, m.u, m.logits, false);
      if (const cudaError_t e = gemms_->Prepare(s)) return e;
    }
  }
  return cudaSuccess;
}

cudaError_t LargePrefill::Tune(void* workspace, cudaStream_t stream) {
  const Memory m = Arrays(workspace);
  const LargeBlock& b = stack_.blocks[0];
  const uint32_t n = options_.max_tokens;
  const auto tune = [&](const Matrix& w, auto x, auto d, bool accumulate) {
    if (w.dtype != DType::bf16) {
      if (const cudaError_t e = ToBf16(w, 0, w.rows, m.weights, stream)) return e;
    }
    return gemms_->Tune(ShapeOf(w, w.rows, n, x, d, accumulate),
                        w.dtype == DType::bf16 ? w.data : m.weights, x.data, d.data, m.gemm,
                        stream);
  };
  cudaError_t e = tune(b.qkvo.w, m.u, m.row, false);
  if (e == cudaSuccess) e = tune(b.out.w, m.y, m.x, true);
  if (e == cudaSuccess) e = tune(b.up.w, m.u, m.up, false);
  if (e == cudaSuccess) e = tune(b.down.w, m.z, m.x, true);
  if (e == cudaSuccess) e = chunks_->Tune(gemms_.get(), m.gemm, m.cell, stream);
  return e;
}

template <class X, class D>
cudaError_t LargePrefill::Product(const Matrix& w, uint32_t first, uint32_t rows, uint32_t tokens,
                                  X x, D d, bool accumulate, const Memory& m,
                                  cudaStream_t stream) const {
  const void* weights = static_cast<const Half*>(w.data) + first * HalfStride(w.cols);
  if (w.dtype != DType::bf16) {
    if (const cudaError_t e = ToBf16(w, first, rows, m.weights, stream)) return e;
    weights = m.weights;
  }
  return gemms_->Run(ShapeOf(w, rows, Padded(tokens), x, d, accumulate), weights, x.data, d.data,
                     m.gemm, stream);
}

cudaError_t LargePrefill::Block(const LargeBlock& b, const Frames<float>& state, uint32_t steps,
                                const Memory& m, cudaStream_t stream) const {
  const uint32_t tokens = state.lanes * steps;
  const Row row = RowOf(b);
  const auto product = [&](const Linear& l, auto x, auto d) {
    return Product(l.w, 0, l.w.rows, tokens, x, d, l.accumulate, m, stream);
  };
  const auto add_bias = [&](const Linear& l, TokenRows<float> d) {
    return l.bias ? AddBiasTokens(l.bias, l.w.rows, tokens, d, stream) : cudaSuccess;
  };
  const TokenRows<float> gates{m.row.data + row.cell.gates, m.row.ld};
  const Sequence<float> sequence{state, {m.row.data, m.row.ld, tokens, nullptr}, steps};
  cudaError_t e = NormTokens(b.norm, tokens, m.x, m.u, &b.gates, gates, stream);
  const auto then = [&](const auto& step) {
    if (e == cudaSuccess) e = step();
  };
  then([&] { return product(b.qkvo, m.u, m.row); });
  then([&] { return add_bias(b.qkvo, m.row); });
  HeadRows h;
  then([&] { return chunks_->Run(row.cell, sequence, *gemms_, m.gemm, m.cell, &h, stream); });
  then([&] {
    return GateHeadTokens(b.mlstm_out, state.lanes, steps, h, {m.row.data + row.z, m.row.ld}, m.y,
                          stream);
  });
  then([&] { return product(b.out, m.y, m.x); });
  then([&] { return add_bias(b.out, m.x); });
  then([&] { return NormTokens(b.ffn_norm, tokens, m.x, m.u, nullptr, {}, stream); });
  then([&] { return product(b.up, m.u, m.up); });
  then([&] { return GatedActTokens(b.act, b.up.bias, tokens, {m.up.data, m.up.ld}, m.z, stream); });
  then([&] { return product(b.down, m.z, m.x); });
  then([&] { return add_bias(b.down, m.x); });
  return e;
}

// In float, as a step does it.
cudaError_t LargePrefill::LastLogits(const Prompt& p, uint32_t steps, const Memory& m,
                                     cudaStream_t stream) const {
  const uint32_t width = stack_.embed.table.cols, lanes = options_.lanes;
  const TokenRows<const float> x{m.x.data + (steps - 1) * m.x.ld, steps * m.x.ld};
  if (const cudaError_t e =
          CopyTokens(x, width, lanes, 0, 1, {m.last.ld, 0}, m.last.data, stream)) {
    return e;
  }
  Gemv head;
  head.linear = stack_.head;
  head.norm = stack_.out_norm;
  if (stack_.soft_cap) head.soft_cap = stack_.soft_cap->cap;
  head.linear.x = 0;
  if (head.norm) head.norm->x = 0;
  head.linear.y = RoundUp32(width);
  if (const cudaError_t e =
          LaunchGemv(head, {m.last.data, m.last.ld, lanes, nullptr}, device_, false, stream)) {
    return e;
  }
  return CopyTokens({m.last.data + head.linear.y, m.last.ld}, stack_.head.w.rows, lanes, 0, 1,
                    p.logits_at, p.logits, stream);
}

cudaError_t LargePrefill::AllLogits(const Prompt& p, uint32_t begin, uint32_t steps,
                                    const Memory& m, cudaStream_t stream) const {
  const Matrix& w = stack_.head.w;
  const uint32_t tokens = options_.lanes * steps;
  if (const cudaError_t e =
          stack_.out_norm ? NormTokens(*stack_.out_norm, tokens, m.x, m.u, nullptr, {}, stream)
                          : RoundTokens(w.cols, tokens, {m.x.data, m.x.ld}, m.u, stream)) {
    return e;
  }
  const uint32_t slice = w.dtype == DType::bf16 ? w.rows : scratch_rows_;
  for (uint32_t first = 0; first < tokens; first += logit_tokens_) {
    const uint32_t count = std::min(logit_tokens_, tokens - first);
    const TokenRows<Half> u{m.u.data + first * m.u.ld, m.u.ld};
    for (uint32_t row = 0; row < w.rows; row += slice) {
      const TokenRows<float> d{m.logits.data + row, m.logits.ld};
      if (const cudaError_t e =
              Product(w, row, std::min(slice, w.rows - row), count, u, d, false, m, stream)) {
        return e;
      }
    }
    if (stack_.head.bias) {
      if (const cudaError_t e = AddBiasTokens(stack_.head.bias, w.rows, count, m.logits, stream)) {
        return e;
      }
    }
    if (stack_.soft_cap) {
      if (const cudaError_t e =
              SoftCapTokens(stack_.soft_cap->cap, w.rows, count, m.logits, stream)) {
        return e;
      }
    }
    if (const cudaError_t e =
            CopyTokens({m.logits.data, m.logits.ld}, w.rows, count, first, steps, p.logits_at,
                       p.logits + begin * p.logits_at.step, stream)) {
      return e;
    }
  }
  return cudaSuccess;
}

cudaError_t LargePrefill::Run(const Frames<float>& state, const Prompt& p, void* workspace,
                              cudaStream_t stream) const {
  if (state.lanes != options_.lanes || (p.all_logits && !options_.all_logits)) {
    return cudaErrorInvalidValue;
  }
  const Memory m = Arrays(workspace);
  const uint32_t most = options_.max_tokens / options_.lanes;
  for (uint32_t begin = 0; begin < p.steps; begin += most) {
    const uint32_t steps = std::min(most, p.steps - begin);
    cudaError_t e = EmbedTokens(stack_.embed, p.ids + begin * p.ids_at.step, p.ids_at,
                                options_.lanes, steps, m.x, stream);
    for (const LargeBlock& b : stack_.blocks) {
      if (e == cudaSuccess) e = Block(b, state, steps, m, stream);
    }
    if (e == cudaSuccess && p.all_logits) e = AllLogits(p, begin, steps, m, stream);
    if (e == cudaSuccess && !p.all_logits && begin + steps == p.steps) {
      e = LastLogits(p, steps, m, stream);
    }
    if (e) return e;
  }
  return cudaSuccess;
}

std::string LargePrefill::Describe() const { return gemms_->Describe(); }

}  // namespace xst::kernels::cuda
