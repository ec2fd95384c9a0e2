#include "kernels/cuda/gemv.h"

#include "kernels/cuda/gemv.cuh"

namespace xst::kernels::cuda {
namespace {

RowSet RowsOf(const Linear& o) {
  return {static_cast<const uint8_t*>(o.w.data), o.w.scale, o.bias, o.w.rows, o.y};
}

// The task of a Gemv that fits.
RowTask TaskOf(const Gemv& g) {
  const Matrix& w = g.linear.w;
  RowTask a = {};
  a.part[0] = RowsOf(g.linear);
  if (g.second) a.part[1] = RowsOf(*g.second);
  a.row_bytes = RowStride(w.dtype, w.cols) * SizeOf(w.dtype);
  a.chunks = static_cast<uint32_t>(a.row_bytes / 16);
  a.cols = w.cols;
  a.x = g.linear.x;
  a.has_norm = g.norm.has_value();
  a.has_out = g.mlstm_out.has_value();
  a.has_cell = g.cell.has_value();
  if (g.norm) a.norm = *g.norm;
  if (g.mlstm_out) a.out = *g.mlstm_out;
  if (g.cell) a.cell = *g.cell;
  if (g.act) a.act = *g.act;
  a.soft_cap = g.soft_cap;
  a.epilogue = g.act                 ? RowEpilogue::gated
               : g.linear.accumulate ? RowEpilogue::accumulate
               : g.soft_cap > 0      ? RowEpilogue::soft_cap
                                     : RowEpilogue::store;
  return a;
}

// Asked for what code is loaded.
__global__ void Nothing() {}

}  // namespace

cudaError_t GetDeviceShape(int device, DeviceShape* shape) {
  if (const cudaError_t e =
          cudaDeviceGetAttribute(&shape->multiprocessors, cudaDevAttrMultiProcessorCount, device)) {
    return e;
  }
  cudaFuncAttributes code;
  if (const cudaError_t e = cudaFuncGetAttributes(&code, Nothing)) return e;
  shape->major = code.binaryVersion / 10;
  if (code.ptxVersion < code.binaryVersion) shape->major = code.ptxVersion / 10;
  shape->early_start = shape->major >= 9;
  return cudaSuccess;
}

bool Fits(const Gemv& g) {
  const Matrix& w = g.linear.w;
  const auto heads_fit = [](uint32_t heads) { return heads <= kRowMaxHeads; };
  return w.layout == Layout::rows && w.rows > 0 && w.cols > 0 &&
         w.cols <= kWidePieces * kPieceColumns &&
         (!g.second || (g.second->w.layout == Layout::rows && g.second->w.dtype == w.dtype &&
                        g.second->w.cols == w.cols && !g.act && !g.linear.accumulate &&
                        !g.second->accumulate && g.soft_cap <= 0)) &&
         (!g.norm || g.norm->size == w.cols) && !(g.norm && g.mlstm_out) &&
         (!g.mlstm_out || (g.mlstm_out->heads * g.mlstm_out->dim == w.cols && !g.mlstm_out->skip &&
                           heads_fit(g.mlstm_out->heads))) &&
         (!g.act || (2 * g.act->size == w.rows && !g.linear.accumulate && g.soft_cap <= 0)) &&
         !(g.linear.accumulate && g.soft_cap > 0);
}

cudaError_t LaunchGemv(const Gemv& g, const Frames<float>& frames, const DeviceShape& device,
                       bool dependent, cudaStream_t stream) {
  if (!Fits(g)) return cudaErrorInvalidValue;
  const RowTask a = TaskOf(g);
  cudaError_t e = cudaSuccess;
  WithWeights(g.linear.w.dtype,
              [&]<class W>(W) { e = LaunchGemvOf<W>(a, frames, device, dependent, stream); });
  return e;
}

}  // namespace xst::kernels::cuda
