// One CTA's part of a step: what the blocks share.
#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/on_chip.h"
#include "kernels/cuda/on_chip_rows.cuh"
#include "kernels/cuda/slstm_point.cuh"

namespace xst::kernels::cuda {

// A shape that is only known at run time.
struct AnyShape {
  static constexpr bool kFixed = false;
  static constexpr uint32_t kThreads = kOnChipThreads;
  static __device__ __forceinline__ const OnChipShape& Get(const OnChipShape& s) { return s; }
};

template <class RealType, class WeightType, class ExchangeType, class P>
class Cta {
 public:
  using Real = RealType;
  using W = WeightType;
  static constexpr bool kCluster = ExchangeType::kCluster, kFixed = P::kFixed;
  static constexpr uint32_t kThreads = P::kThreads;

  __device__ __forceinline__ Cta(const OnChipArgs<Real>& args, uint8_t* shared)
      : args_(args), sm_(shared), rank_(blockIdx.x), ex_(args.exchange, shared, S().barriers) {
    const auto& s = S();
    if (s.inner) {
      first_ = s.First(rank_, s.own, s.inner);
      count_ = s.Count(rank_, s.own, s.inner);
      head_begin_ = s.HeadBegin(first_, s.dim);
      heads_ = s.HeadEnd(first_, count_, s.dim) - head_begin_;
      // The fixed shape makes v where it needs it, and sends g1 and g2 apart.
      expect_[kToCell] = (2 * heads_ * s.dim + 2 * heads_ * s.ctas + (P::kFixed ? 0 : count_)) *
                         uint32_t(sizeof(Real));
      expect_[kToScale] = P::kFixed ? 2 * s.inner * uint32_t(sizeof(Real)) : 0;
      expect_[kToDown] = (P::kFixed ? 1 : 3) * s.inner * uint32_t(sizeof(Real));
    }
    x_at_ = s.x;
    row_ = s.First(rank_, s.rows, s.width);
    rows_ = s.Count(rank_, s.rows, s.width);
    if (s.slstm) {
      conv_begin_ = s.HeadBegin(row_, s.s_dim) * s.s_dim;
      conv_count_ = s.HeadEnd(row_, rows_, s.s_dim) * s.s_dim - conv_begin_;
      expect_[kToNorm] = s.width * uint32_t(sizeof(Real));
      expect_[kToFeedForward] = s.ff * uint32_t(sizeof(Real));
    }
    expect_[kToBlock] = s.width * uint32_t(sizeof(Real));
    expect_[kToFirst] = s.encoder ? s.width * uint32_t(sizeof(Real)) : 0;
    expect_[kToAll] = args.mailbox && rank_ != 0
                          ? (OnChipShape::Pad4(s.input_width) + 4) * uint32_t(sizeof(Real))
                          : 0;
  }

  __device__ __forceinline__ const OnChipArgs<Real>& args() const { return args_; }
  __device__ __forceinline__ decltype(auto) S() const { return P::Get(args_.shape); }
  __device__ __forceinline__ uint32_t rank() const { return rank_; }
  __device__ __forceinline__ ExchangeType& exchange() { return ex_; }
  __device__ __forceinline__ const uint32_t* expect() const { return expect_; }

  // Arrays of this CTA.
  __device__ __forceinline__ Real* At(uint32_t offset) const {
    return reinterpret_cast<Real*>(sm_ + offset);
  }
  __device__ __forceinline__ uint8_t* Bytes(uint32_t offset) const { return sm_ + offset; }
  __device__ __forceinline__ Real* X() const { return At(P::kFixed ? x_at_ : S().x); }

  // The image and state of the next block.
  __device__ __forceinline__ void Rewind() {
#ifdef XST_ON_CHIP_STAMPS
    stamp_block_ = 0;
#endif
    block_ = S().image_at + S().first_block;
    state_ = S().first_state;
  }
  // Of the fixed shape: the first block reads x where the input lies.
  __device__ __forceinline__ void StartAtInput() { x_at_ = S().input; }
  // Of the fixed shape: own rows of the last step's output go to out + row once there is time.
  __device__ __forceinline__ void Owe(Real* out) { due_ = out; }
  __device__ __forceinline__ void Flip() { parity_ ^= 1; }
  __device__ __forceinline__ uint32_t parity() const { return parity_; }

  __device__ __forceinline__ void WaitForX() {
    if (!x_on_its_way_) return;
    x_on_its_way_ = false;
    Stamp(0);
    if constexpr (P::kFixed) {
      ex_.Await(kToBlock);
      x_just_came_ = true;
    } else {
      ex_.Wait(kToBlock, S().x, OnChipShape::Pad4(S().width) * uint32_t(sizeof(Real)),
               expect_[kToBlock]);
    }
    Stamp(1);
  }
  // Of the fixed shape: what WaitForX leaves for when the block's first numbers are sent; the next
  // x cannot come before this warp sends more.
  __device__ __forceinline__ void AfterX() {
    if (!x_just_came_) return;
    x_just_came_ = false;
    ex_.Rearm(kToBlock, expect_[kToBlock]);
    if (!due_) return;
    const Real y = OwnOutput();
    const uint32_t i = threadIdx.x - kOutputThread;
    if (ex_.ok() && i < S().rows) due_[row_ + i] = y;
    due_ = nullptr;
  }
  // The threads of a group of kLanes, all holding it, give everyone row `row_ + i` of the new x.
  template <int kLanes>
  __device__ __forceinline__ void SendRow(uint32_t i, Real v, uint32_t lane) {
    if (i >= RowCount()) return;
    for (uint32_t p = lane; p < S().ctas; p += kLanes) {
      ex_.Send(kToBlock, p, S().x + (row_ + i) * uint32_t(sizeof(Real)), v);
    }
  }
  __device__ __forceinline__ void CloseX() {
    ex_.Close(kToBlock);
    x_on_its_way_ = true;
    x_at_ = S().x;
#ifdef XST_ON_CHIP_STAMPS
    Stamp(8);
    ++stamp_block_;
#endif
  }

  __device__ void Load();
  __device__ void Save();
  __device__ void Encode();
  __device__ __forceinline__ void Mlstm();
  __device__ __forceinline__ void Slstm();
  template <class Put>
  __device__ __forceinline__ void Output(const Put& put);
  // Of the fixed shape without a head: the output of own row threadIdx.x - kOutputThread, if there
  // is one. By a warp that sends something in every exchange.
  static constexpr uint32_t kOutputThread = 64;
  __device__ __forceinline__ Real OwnOutput() const {
    if (threadIdx.x / 32 != kOutputThread / 32) return 0;
    const auto& s = S();
    const uint32_t i = row_ + threadIdx.x % s.rows;
    const Real x = At(s.x)[i];
    if (!s.post_norm) return x;
    const Real weight = AtEnd(s.post)[i];
    const NormStats<Real> stats = StatsByLanes<16>(At(s.x), s.width, s.post_eps, threadIdx.x % 16);
    return (x - stats.shift - stats.delta) * stats.scale * weight;
  }

 private:
  template <class F>
  __device__ void EachState(const F& f);
  __device__ __forceinline__ void MlstmProject();
  __device__ __forceinline__ void MlstmSpread();
  __device__ __forceinline__ void MlstmMemory();
  __device__ __forceinline__ void MlstmDown();
  __device__ __forceinline__ void SlstmConvolve();
  __device__ __forceinline__ void SlstmCells();
  __device__ __forceinline__ void SlstmNorm();
  __device__ __forceinline__ void SlstmFeedForward();

  __device__ __forceinline__ void MlstmFixed();
  __device__ __forceinline__ void SlstmFixed();

  // Of the image, outside the blocks.
  __device__ __forceinline__ const uint8_t* End(uint32_t offset) const {
    return sm_ + S().image_at + offset;
  }
  __device__ __forceinline__ const Real* AtEnd(uint32_t offset) const {
    return At(S().image_at + offset);
  }

  // Own channels of an mLSTM, own rows of x.
  __device__ __forceinline__ uint32_t Channels() const { return P::kFixed ? S().own : count_; }
  __device__ __forceinline__ uint32_t RowCount() const { return P::kFixed ? S().rows : rows_; }
  __device__ __forceinline__ uint32_t OwnerOf(uint32_t channel) const { return channel / S().own; }
  __device__ __forceinline__ const Real* Image(uint32_t offset) const {
    return At(block_ + offset);
  }
  __device__ __forceinline__ Real* State(uint32_t offset) const { return At(state_ + offset); }
  __device__ __forceinline__ const Real* ImageIf(bool there, uint32_t offset) const {
    return there ? At(block_ + offset) : nullptr;
  }

  // Debugging builds: when thread 0 passes point k of the block.
  __device__ __forceinline__ void Stamp(uint32_t k) {
#ifdef XST_ON_CHIP_STAMPS
    if (threadIdx.x == 0 && args_.failed) {
      reinterpret_cast<long long*>(args_.failed + 16)[(rank_ * 64 + stamp_block_) * 16 + k] =
          clock64();
    }
#endif
  }
#ifdef XST_ON_CHIP_STAMPS
  uint32_t stamp_block_ = 0;
#endif

  const OnChipArgs<Real>& args_;
  uint8_t* sm_;
  uint32_t rank_;
  ExchangeType ex_;
  uint32_t first_ = 0, count_ = 0, head_begin_ = 0, heads_ = 0;    // own channels of an mLSTM
  uint32_t row_ = 0, rows_ = 0, conv_begin_ = 0, conv_count_ = 0;  // own rows of x
  uint32_t expect_[kExchanges] = {};
  uint32_t block_ = 0, state_ = 0;  // offsets of the current block's image and state
  uint32_t parity_ = 0;             // of the step
  uint32_t x_at_ = 0;               // offset of x
  bool x_on_its_way_ = false, x_just_came_ = false;
  Real* due_ = nullptr;
};

// x = encoder(input), rows split. Not straight into x: others may still read the last step's.
template <class Real, class W, class E, class P>
__device__ void Cta<Real, W, E, P>::Encode() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const ImageMatrix<Real> m = {End(s.enc),
                               AtEnd(s.enc_scale),
                               s.encoder_bias ? AtEnd(s.enc_bias) : nullptr,
                               nullptr,
                               nullptr,
                               0};
  Rows<W, 8>(m, At(s.input), s.input_width, rows_, [&](uint32_t i, Real v, uint32_t lane) {
    if (i >= rows_) return;
    for (uint32_t p = lane; p < s.ctas; p += 8) {
      ex_.Send(kToFirst, p, s.encoded + (row_ + i) * kReal, v);
    }
  });
  ex_.Close(kToFirst);
  ex_.Wait(kToFirst, s.encoded, OnChipShape::Pad4(s.width) * kReal, expect_[kToFirst]);
  for (uint32_t i = threadIdx.x; i < s.width; i += kThreads) X()[i] = At(s.encoded)[i];
  __syncthreads();
}

// put(output's index, value): by one thread of one CTA for each.
template <class Real, class W, class E, class P>
template <class Put>
__device__ __forceinline__ void Cta<Real, W, E, P>::Output(const Put& put) {
  const auto& s = S();
  if (__builtin_expect(s.head, 0)) {
    const uint32_t first = s.First(rank_, s.own_out, s.output_width);
    const uint32_t count = s.Count(rank_, s.own_out, s.output_width);
    const ImageMatrix<Real> m = {End(s.out),
                                 AtEnd(s.out_scale),
                                 s.head_bias ? AtEnd(s.out_bias) : nullptr,
                                 s.post_norm ? AtEnd(s.out_sum) : nullptr,
                                 s.post_norm ? AtEnd(s.post) : nullptr,
                                 s.post_eps};
    WaitForX();
    NormedRows<W>(m, X(), s.width, count, [&](uint32_t i, Real v, uint32_t lane) {
      if (lane == 0 && i < count) put(first + i, v);
    });
    return;
  }
  WaitForX();
  const Real* x = X();
  NormStats<Real> stats{0, 0, 1};
  if (threadIdx.x / 32 * 32 >= rows_) return;
  if (s.post_norm) stats = StatsByLanes<8>(x, s.width, s.post_eps, threadIdx.x & 7);
  for (uint32_t i = threadIdx.x; i < rows_; i += kThreads) {
    Real y = x[row_ + i];
    if (s.post_norm) y = (y - stats.shift - stats.delta) * stats.scale * AtEnd(s.post)[row_ + i];
    put(row_ + i, y);
  }
}

}  // namespace xst::kernels::cuda
