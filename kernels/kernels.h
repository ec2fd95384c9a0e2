// One table of kernels per instruction set, and the double-precision reference behind the same
// signatures.
#pragma once

#include "kernels/ops.h"

namespace xst::kernels {

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
