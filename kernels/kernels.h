// One table of kernels per instruction set, and the double-precision reference behind the same
// signatures.
#pragma once

#include "kernels/ops.h"

namespace xst::kernels {

// Memory that will be wanted soon: [begin, end) of each of `count` arrays of bytes. Products, which
// leave memory idle, ask for it while they compute.
struct Ahead {
  static constexpr size_t kLine = 64;

  const std::byte* const* arrays = nullptr;
  size_t count = 0, begin = 0, end = 0;
  size_t at = 0;  // in the first array

  // The next `lines` lines, or null where there are none; they may reach beyond the end.
  const std::byte* Take(size_t lines) {
    if (count == 0) return nullptr;
    const std::byte* const from = *arrays + begin + at;
    at += lines * kLine;
    if (begin + at >= end) {
      at = 0;
      ++arrays;
      --count;
    }
    return from;
  }
};

// Frames that one call works on, in this order. State may lie apart from the rest: Slots of state
// count from states[i], all others from frames[i]. Frames with the same state are steps of one
// stream.
template <class T>
struct Batch {
  T* const* frames;
  T* const* states;
  size_t count;
  Ahead* ahead = nullptr;  // what products ask of memory besides
};

// Consecutive steps of one stream, at most kSequence: frames `stride` elements apart.
template <class T>
struct Sequence {
  T* first;
  size_t stride, count;
  T* state;
  T* scratch;  // 64-byte aligned, SequenceScratch elements
};
inline constexpr size_t kSequence = 32;

// T is the frame's element: float or double on every CPU instruction set, double in the reference.
// Functions are thread-safe on distinct units of one frame, allocate nothing (the reference may)
// and never fail.
template <class T>
struct Kernels {
  const char* name;        // "scalar", "avx2", "avx512", "neon", "reference"
  const char* arithmetic;  // "single", "wide"; the reference is "double"
  void (*norm)(const Norm&, T* frame, Range);
  void (*linear)(const Linear&, T* frame, Range);
  void (*block_linear)(const BlockLinear&, T* frame, Range);
  void (*conv)(const Conv&, T* frame, Range);
  void (*mlstm_cell)(const MlstmCell&, T* frame, Range);
  void (*mlstm_out)(const MlstmOut&, T* frame, Range);
  void (*slstm_input)(const SlstmInput&, T* frame, Range);
  void (*slstm_cell)(const SlstmCell&, T* frame, Range);
  void (*slstm_out)(const SlstmOut&, T* frame, Range);
  void (*gated_act)(const GatedAct&, T* frame, Range);
  void (*pointwise)(const Pointwise&, T* frame, Range);
  void (*embed)(const Embed&, T* frame, Range);

  // The same bits for every frame of a batch, with weights read once for several; not in the
  // reference. Ops that are missing here have neither state nor weights to speak of.
  void (*linear_many)(const Linear&, const Batch<T>&, Range) = nullptr;
  void (*block_linear_many)(const BlockLinear&, const Batch<T>&, Range) = nullptr;
  void (*conv_many)(const Conv&, const Batch<T>&, Range) = nullptr;
  void (*mlstm_cell_many)(const MlstmCell&, const Batch<T>&, Range) = nullptr;
  void (*slstm_input_many)(const SlstmInput&, const Batch<T>&, Range) = nullptr;
  void (*slstm_cell_many)(const SlstmCell&, const Batch<T>&, Range) = nullptr;
  void (*slstm_out_many)(const SlstmOut&, const Batch<T>&, Range) = nullptr;

  // All steps of a sequence at once: h of each and the last state, within rounding.
  void (*mlstm_sequence)(const MlstmCell&, const Sequence<T>&, Range) = nullptr;

  void operator()(const Norm& o, T* f, Range r) const { norm(o, f, r); }
  void operator()(const Linear& o, T* f, Range r) const { linear(o, f, r); }
  void operator()(const BlockLinear& o, T* f, Range r) const { block_linear(o, f, r); }
  void operator()(const Conv& o, T* f, Range r) const { conv(o, f, r); }
  void operator()(const MlstmCell& o, T* f, Range r) const { mlstm_cell(o, f, r); }
  void operator()(const MlstmOut& o, T* f, Range r) const { mlstm_out(o, f, r); }
  void operator()(const SlstmInput& o, T* f, Range r) const { slstm_input(o, f, r); }
  void operator()(const SlstmCell& o, T* f, Range r) const { slstm_cell(o, f, r); }
  void operator()(const SlstmOut& o, T* f, Range r) const { slstm_out(o, f, r); }
  void operator()(const GatedAct& o, T* f, Range r) const { gated_act(o, f, r); }
  void operator()(const Pointwise& o, T* f, Range r) const { pointwise(o, f, r); }
  void operator()(const Embed& o, T* f, Range r) const { embed(o, f, r); }

  using B = Batch<T>;
  void operator()(const Linear& o, const B& b, Range r) const { linear_many(o, b, r); }
  void operator()(const BlockLinear& o, const B& b, Range r) const { block_linear_many(o, b, r); }
  void operator()(const Conv& o, const B& b, Range r) const { conv_many(o, b, r); }
  void operator()(const MlstmCell& o, const B& b, Range r) const { mlstm_cell_many(o, b, r); }
  void operator()(const SlstmInput& o, const B& b, Range r) const { slstm_input_many(o, b, r); }
  void operator()(const SlstmCell& o, const B& b, Range r) const { slstm_cell_many(o, b, r); }
  void operator()(const SlstmOut& o, const B& b, Range r) const { slstm_out_many(o, b, r); }
  template <class Op>
  void operator()(const Op& o, const B& b, Range r) const {
    for (size_t i = 0; i < b.count; ++i) (*this)(o, b.frames[i], r);
  }
};

// Runs units [r.begin, r.end) of an op on a frame.
template <class T>
void Run(const Kernels<T>& kernels, const Op& op, T* frame, Range r) {
  Visit([&](const auto& o) { kernels(o, frame, r); }, op);
}

// Runs a whole op.
template <class T>
void Run(const Kernels<T>& kernels, const Op& op, T* frame) {
  Visit([&](const auto& o) { kernels(o, frame, {0, Units(o)}); }, op);
}

// The same on every frame of a batch.
template <class T>
void Run(const Kernels<T>& kernels, const Op& op, const Batch<T>& batch, Range r) {
  Visit([&](const auto& o) { kernels(o, batch, r); }, op);
}

// Elements that a sequence's scratch needs for `o`.
inline size_t SequenceScratch(const MlstmCell& o) {
  return kSequence * (2 * size_t{RoundUp16(o.dk)} + kSequence);
}

// The table of `name` ("scalar", "avx2", "avx512", "neon"), or null if this build or this machine
// lacks it. Single (T = float) is what speed needs. Wide (T = double) takes double for everything
// but the weights: for models so small that it costs nothing, and then nearly exact.
template <class T>
const Kernels<T>* FindCpuKernels(const char* name);
template <>
const Kernels<float>* FindCpuKernels(const char* name);
template <>
const Kernels<double>* FindCpuKernels(const char* name);

// The names this machine has, best first, null-terminated.
const char* const* CpuKernelNames();

// Float64, written as the specification reads; slow.
const Kernels<double>& ReferenceKernels();

// Flushes denormals (FTZ/DAZ, FZ) on this thread while it lives; restores the caller's mode.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace xst::kernels
