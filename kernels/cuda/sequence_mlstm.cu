#include "kernels/cuda/sequence_mlstm.cuh"

#include <algorithm>

#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/sequence.h"
#include "kernels/cuda/sequence_mlstm_project.cuh"
#include "kernels/cuda/sequence_mlstm_steps.cuh"
#include "kernels/cuda/shared_memory.h"

namespace xst::kernels::cuda {
namespace sequence {
namespace {

// How the launcher cut the work: a block walks over the chunks of `kSlice` columns of one head.
struct Walk {
  int slices;   // of dv
  int tiles;    // of dk
  bool vector;  // see InVectors
  Work work;
};

// Shared memory: this, then q and k of kStages tiles, n, and C.
template <class A>
struct alignas(16) Memory {
  ChunkGates gates[2];     // of even and odd chunks
  float sums[2][kChunk];   // of each half of a row of P
  float dots[kChunk];      // q_t n
  float parts[4][kTileK];  // of what n gains
  alignas(16) float p[kChunk * A::kStrideP];
  alignas(16) float v[2][kChunk * A::kStrideV];  // of even and odd chunks
};

template <class A, int kStages>
constexpr size_t SharedBytes(size_t tiles) {
  return sizeof(Memory<A>) +
         sizeof(float) * (kStages * 2 * kChunk * A::kStrideQ + tiles * kTileK * (1 + A::kStrideC));
}

// The gates of every chunk of one head, a chunk a warp.
constexpr int kGateWarps = 32;

__global__ void __launch_bounds__(kGateWarps * 32)
    GatesKernel(MlstmCell o, Sequence<float> s, ChunkGates* gates) {
  __shared__ double b_last[kGateWarps], top_last[kGateWarps];
  const int warps = blockDim.x / 32, head = blockIdx.x % o.heads, warp = threadIdx.x / 32;
  const int steps = s.steps, chunks = (steps + kChunk - 1) / kChunk;
  const size_t lane = blockIdx.x / o.heads;
  WaitForPredecessor();
  LetSuccessorStart();
  const float* tokens = s.tokens.data + lane * s.steps * s.tokens.stride + o.gates + head;
  float m = s.state.data[lane * s.state.stride + o.m + head];
  gates += size_t{blockIdx.x} * chunks;
  for (int first = 0; first < chunks; first += warps) {
    const int begin = (first + warp) * kChunk;
    float raw[2][2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int t = begin + 2 * (threadIdx.x % 32) + e;
      const float* at = tokens + min(t, steps - 1) * s.tokens.stride;
      raw[e][0] = at[0];
      raw[e][1] = at[o.heads];
    }
    const LocalGates local = ScanGates(raw, steps - begin, o.gate_cap);
    if (threadIdx.x % 32 == 0) {
      b_last[warp] = local.b_last;
      top_last[warp] = local.top_last;
    }
    __syncthreads();
    float m_before = m;
    for (int j = 0; j < warps && first + j < chunks; ++j) {
      if (j == warp) m_before = m;
      m = LastM(b_last[j], top_last[j], m);
    }
    if (begin < steps) SetGates(gates + first + warp, local, steps - begin, m_before);
    __syncthreads();
  }
}

// A chunk's rows of one array of the tokens.
struct Rows {
  const float* first;
  size_t stride;
  int rows, columns;  // that exist
  bool vector;
};

template <int kColumns, int kStride>
__device__ void Copy(float* to, const Rows& from) {
  if (from.vector) {
#pragma unroll
    for (int n = 0; n < kChunk * kColumns / 4 / kChunkThreads; ++n) {
      const int i = n * kChunkThreads + threadIdx.x;
      const int row = i / (kColumns / 4), column = i % (kColumns / 4) * 4;
      const bool real = row < from.rows && column < from.columns;
      CopyAsync<16>(to + row * kStride + column,
                    real ? from.first + row * from.stride + column : from.first, real);
    }
  } else {
    for (int i = threadIdx.x; i < kChunk * kColumns; i += kChunkThreads) {
      const int row = i / kColumns, column = i % kColumns;
      const bool real = row < from.rows && column < from.columns;
      CopyAsync<4>(to + row * kStride + column,
                   real ? from.first + row * from.stride + column : from.first, real);
    }
  }
}

// kProject: q and k are made of what o.k names, v of what o.v does, by the blocks of `project`; dk
// is at most kTileK.
template <class A, int kSlice, int kStages, bool kProject>
__global__ void __launch_bounds__(kChunkThreads, kStages == 1 ? 2 : 1)
    ChunkKernel(const __grid_constant__ MlstmCell o, const __grid_constant__ Sequence<float> s,
                const __grid_constant__ Walk walk, const __grid_constant__ Projections project) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& mem = *reinterpret_cast<Memory<A>*>(shared);
  constexpr int kTileElements = kChunk * A::kStrideQ;
  auto* qk = reinterpret_cast<float*>(shared + sizeof(mem));
  float* n = qk + kStages * 2 * kTileElements;
  float* c = n + walk.tiles * kTileK;

  const int slice = blockIdx.x % walk.slices, head = blockIdx.x / walk.slices % o.heads;
  const size_t lane = blockIdx.x / walk.slices / o.heads;
  if (!IsActive(s.state, lane)) return;
  const int thread = threadIdx.x, dk = o.dk;
  const int columns = min(kSlice, static_cast<int>(o.dv) - slice * kSlice);
  const int steps = s.steps, chunks = (steps + kChunk - 1) / kChunk;
  const size_t stride = s.tokens.stride;
  float* frame = s.state.data + lane * s.state.stride;
  float* tokens = s.tokens.data + lane * s.steps * stride;
  const float* q = tokens + o.q + head * dk;
  const float* k = tokens + o.k + head * dk;
  const float* v = tokens + o.v + head * o.dv + slice * kSlice;
  float* h = tokens + o.h + head * o.dv + slice * kSlice;
  float* state_c = frame + o.c + size_t{o.stride_c} * (head * dk) + slice * kSlice;
  float* state_n = frame + o.n + head * o.stride_n;
  const ChunkGates* all_gates = walk.work.gates + (lane * o.heads + head) * chunks;
  const float root = 1 / sqrtf(static_cast<float>(dk));
  const float key_scale = o.scale_key ? root : 1, query_scale = o.scale_key ? 1 : root;

  int next_chunk = 0, next_tile = 0, next_stage = 0;
  const auto issue = [&] {
    if (next_chunk < chunks) {
      const size_t first = size_t(next_chunk) * kChunk * stride;
      const int rows = min(kChunk, steps - next_chunk * kChunk), begin = next_tile * kTileK;
      float* to = qk + next_stage * 2 * kTileElements;
      if (!kProject) {
        Copy<kTileK, A::kStrideQ>(to, {q + first + begin, stride, rows, dk - begin, walk.vector});
      }
      Copy<kTileK, A::kStrideQ>(to + kTileElements,
                                {k + first + begin, stride, rows, dk - begin, walk.vector});
      if (next_tile == 0) {
        Copy<kSlice, A::kStrideV>(mem.v[next_chunk % 2],
                                  {v + first, stride, rows, columns, walk.vector});
        CopyGates(&mem.gates[next_chunk % 2], all_gates + next_chunk);
      }
      next_stage = next_stage + 1 == kStages ? 0 : next_stage + 1;
      if (++next_tile == walk.tiles) {
        next_tile = 0;
        ++next_chunk;
      }
    }
    CommitCopies();
  };

  const HeadBlocks<A::kStrideQ> head_blocks = {qk, qk + kTileElements};
  const SliceBlocks<kSlice, A::kStrideV> slice_blocks = {mem.v[0]};
  if constexpr (kProject) {
    head_blocks.Fill(project, head * dk, dk);
    slice_blocks.Fill(project, head * o.dv + slice * kSlice, columns);
  }
#pragma unroll
  for (int i = 0; i < kStages; ++i) issue();
  for (int i = thread; i < walk.tiles * kTileK * kSlice; i += kChunkThreads) {
    const int row = i / kSlice, column = i % kSlice;
    const bool real = row < dk && column < columns;
    c[row * A::kStrideC + column] = real ? state_c[size_t(row) * o.stride_c + column] : 0;
  }
  for (int d = thread; d < walk.tiles * kTileK; d += kChunkThreads) n[d] = d < dk ? state_n[d] : 0;

  const WarpPart part;
  int stage = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const ChunkGates& gates = mem.gates[chunk % 2];
    const float* values = mem.v[chunk % 2];
    Tile sums[4] = {}, out[A::kTiles] = {};
    float dot = 0;
    for (int tile = 0; tile < walk.tiles; ++tile) {
      const float* tile_q = qk + stage * 2 * kTileElements;
      const float* tile_k = tile_q + kTileElements;
      stage = stage + 1 == kStages ? 0 : stage + 1;
      WaitForCopies<kStages - 1>();
      __syncthreads();
      if constexpr (kProject) {
        head_blocks.Project(project, head * dk, dk);
        slice_blocks.Project(project, head * o.dv + slice * kSlice, columns, mem.v[chunk % 2]);
        __syncthreads();
      }

      float* tile_c = c + tile * kTileK * A::kStrideC;
      float* tile_n = n + tile * kTileK;
      A::Query(part, tile_q, tile_k, tile_c, sums, out);
      Tile gain[A::kTiles] = {};
      A::Store(part, tile_k, values, gates.last, gain);
      // Four threads a step for q n, four a row for n.
#pragma unroll
      for (int i = 0; i < kTileK / 16; ++i) {
        const int d = i * 16 + thread % 4 * 4;
        const auto a = *reinterpret_cast<const float4*>(tile_q + thread / 4 * A::kStrideQ + d);
        const auto b = *reinterpret_cast<const float4*>(tile_n + d);
        dot = fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, dot))));
      }
      float gain_n = 0;
#pragma unroll
      for (int i = 0; i < kChunk / 4; ++i) {
        const int t = thread / kTileK * (kChunk / 4) + i;
        gain_n = fmaf(gates.last[t], tile_k[t * A::kStrideQ + thread % kTileK], gain_n);
      }
      mem.parts[thread / kTileK][thread % kTileK] = gain_n;
      __syncthreads();  // nobody reads q, k or this part of C and n any more

      issue();
      const float decay = gates.decay;
#pragma unroll
      for (int i = 0; i < A::kTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          auto* at = reinterpret_cast<float2*>(tile_c + (part.row + part.g + 8 * e) * A::kStrideC +
                                               part.half * (kSlice / 2) + i * 8 + 2 * part.t);
          const float2 old = *at;
          *at = {fmaf(decay, old.x, gain[i][2 * e] * key_scale),
                 fmaf(decay, old.y, gain[i][2 * e + 1] * key_scale)};
        }
      }
      if (thread < kTileK) {
        const float sum = (mem.parts[0][thread] + mem.parts[1][thread]) +
                          (mem.parts[2][thread] + mem.parts[3][thread]);
        tile_n[thread] = fmaf(decay, tile_n[thread], sum * key_scale);
      }
    }

    float row_sums[2];
    SetP(part, gates, root, sums, row_sums, [&](int row, int column, float p0, float p1) {
      *reinterpret_cast<float2*>(mem.p + row * A::kStrideP + column) = {p0, p1};
    });
    if (part.t == 0) {
      mem.sums[part.half][part.row + part.g] = row_sums[0];
      mem.sums[part.half][part.row + part.g + 8] = row_sums[1];
    }
    dot = SumOver<4>(dot);
    if (thread % 4 == 0) mem.dots[thread / 4] = dot;
    __syncthreads();
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float before = gates.before[part.row + part.g + 8 * e] * query_scale;
#pragma unroll
      for (int i = 0; i < A::kTiles; ++i) {
        out[i][2 * e] *= before;
        out[i][2 * e + 1] *= before;
      }
    }
    A::Values(part, mem.p, values, out);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = part.row + part.g + 8 * e, t = chunk * kChunk + row;
      if (t >= steps) continue;
      const float scale = OutScale(gates, row, mem.dots[row] * query_scale,
                                   mem.sums[0][row] + mem.sums[1][row], o.eps);
      StoreOut<kSlice>(part, h + t * stride, e, scale, columns, walk.vector, out);
    }
  }

  __syncthreads();
  for (int i = thread; i < dk * kSlice; i += kChunkThreads) {
    const int row = i / kSlice, column = i % kSlice;
    if (column < columns)
      state_c[size_t(row) * o.stride_c + column] = c[row * A::kStrideC + column];
  }
  const float m = mem.gates[(chunks - 1) % 2].m;
  double* end = walk.work.ends + (lane * o.heads + head) * (dk + 1);
  for (int d = thread; d < dk; d += kChunkThreads) {
    if (walk.slices == 1) state_n[d] = n[d];
    if (walk.slices > 1 && slice == 0) end[d] = n[d];
  }
  if (thread == 0) {
    if (walk.slices == 1) frame[o.m + head] = m;
    if (walk.slices > 1 && slice == 0) end[dk] = m;
  }
}

template <class A, int kSlice, int kStages>
cudaError_t LaunchChunks(const MlstmCell& o, const Projections* project, const Sequence<float>& s,
                         const Work& work, cudaStream_t stream) {
  Walk walk{static_cast<int>((o.dv + kSlice - 1) / kSlice),
            static_cast<int>((o.dk + kTileK - 1) / kTileK), InVectors(o, s), work};
  if (walk.tiles < kStages) return cudaErrorInvalidValue;  // v has two buffers, one chunk ahead
  const size_t bytes = SharedBytes<A, kStages>(walk.tiles);
  auto kernel = ChunkKernel<A, kSlice, kStages, false>;
  if constexpr (kStages == 1) {
    if (project) kernel = ChunkKernel<A, kSlice, kStages, true>;
  }
  cudaError_t error = AllowShared(kernel, bytes);
  if (error == cudaSuccess) error = LaunchGates(o, s, work.gates, stream);
  if (error != cudaSuccess) return error;
  // Not early: blocks that come while others leave would share one multiprocessor beside an idle
  // one.
  kernel<<<s.state.lanes * o.heads * walk.slices, kChunkThreads, bytes, stream>>>(
      o, s, walk, project ? *project : Projections{});
  error = cudaGetLastError();
  return error == cudaSuccess && walk.slices > 1 ? LaunchEnds(o, s, work.ends, stream) : error;
}

// By columns of C that a block takes; 0: none fits.
template <template <int> class A, int kStages>
int FittingSlice(const MlstmCell& o, uint32_t lanes) {
  const size_t tiles = (o.dk + kTileK - 1) / kTileK;
  const size_t room = DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (SharedBytes<A<32>, kStages>(tiles) > room) return 0;
  if (o.dv <= 32 || SharedBytes<A<64>, kStages>(tiles) > room) return 32;
  // Narrow slices repeat q k^T more often, but a device that is not full has the time.
  const uint32_t wide = lanes * o.heads * ((o.dv + 63) / 64);
  return 4 * wide <= 3u * DeviceAttribute(cudaDevAttrMultiProcessorCount) ? 32 : 64;
}

template <template <int> class A, int kStages>
cudaError_t LaunchSlices(int slice, const MlstmCell& o, const Projections* project,
                         const Sequence<float>& s, const Work& work, cudaStream_t stream) {
  return slice == 64 ? LaunchChunks<A<64>, 64, kStages>(o, project, s, work, stream)
                     : LaunchChunks<A<32>, 32, kStages>(o, project, s, work, stream);
}

cudaError_t Launch(const MlstmCell& o, const Sequence<float>& s, bool fast, const Work& work,
                   cudaStream_t stream) {
  if (fast && FitsFast(o)) return LaunchFast(o, s, work, stream);
  if (o.dk > kTileK) {
    const int slice = FittingSlice<Exact, 2>(o, s.state.lanes);
    if (slice > 0) return LaunchSlices<Exact, 2>(slice, o, nullptr, s, work, stream);
  }
  const int slice = FittingSlice<Exact, 1>(o, s.state.lanes);
  if (slice > 0) return LaunchSlices<Exact, 1>(slice, o, nullptr, s, work, stream);
  return LaunchSteps(o, s, work.ends, stream);
}

cudaError_t Launch(const MlstmCell& o, const Sequence<double>& s, bool, const Work& work,
                   cudaStream_t stream) {
  return LaunchSteps(o, s, work.ends, stream);
}

}  // namespace

cudaError_t LaunchGates(const MlstmCell& o, const Sequence<float>& s, ChunkGates* gates,
                        cudaStream_t stream) {
  const int warps = std::min<int>(kGateWarps, (s.steps + kChunk - 1) / kChunk);
  return LaunchChained(GatesKernel, s.state.lanes * o.heads, warps * 32, 0, stream, o, s, gates);
}

bool FitsProjected(const MlstmCell& o, const Projections& project, const Sequence<float>& s) {
  const auto fits = [](const BlockLinear& p) { return p.w.dtype == DType::f32 && p.w.cols == 4; };
  return o.dk <= kTileK && fits(project.q) && fits(project.k) && fits(project.v) &&
         InVectors(o, s) && FittingSlice<Exact, 1>(o, s.state.lanes) > 0;
}

cudaError_t LaunchProjected(const MlstmCell& o, const Projections& project,
                            const Sequence<float>& s, const Work& work, cudaStream_t stream) {
  const int slice = FittingSlice<Exact, 1>(o, s.state.lanes);
  return LaunchSlices<Exact, 1>(slice, o, &project, s, work, stream);
}

Work WorkIn(const MlstmCell& o, uint32_t lanes, uint32_t steps, void* workspace) {
  const size_t heads = size_t{lanes} * o.heads, chunks = (steps + kChunk - 1) / kChunk;
  const size_t ends = (heads * (size_t{o.dk} + 1) * sizeof(double) + 15) / 16 * 16;
  const size_t gates = heads * chunks * sizeof(ChunkGates);
  auto* at = static_cast<unsigned char*>(workspace);
  return {reinterpret_cast<double*>(at), reinterpret_cast<ChunkGates*>(at + ends),
          reinterpret_cast<__nv_bfloat16*>(at + ends + gates), ends + gates};
}

}  // namespace sequence

size_t SequenceWorkspace(const MlstmCell& o, uint32_t lanes, uint32_t steps, bool fast) {
  return sequence::WorkIn(o, lanes, steps, nullptr).bytes +
         (fast ? sequence::FastBytes(o, lanes, steps) : 0);
}

template <class T>
cudaError_t LaunchSequence(const MlstmCell& o, const Sequence<T>& s, bool fast, void* workspace,
                           cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  const auto work = sequence::WorkIn(o, s.state.lanes, s.steps, workspace);
  return sequence::Launch(o, s, fast, work, stream);
}

template cudaError_t LaunchSequence(const MlstmCell&, const Sequence<float>&, bool, void*,
                                    cudaStream_t);
template cudaError_t LaunchSequence(const MlstmCell&, const Sequence<double>&, bool, void*,
                                    cudaStream_t);

}  // namespace xst::kernels::cuda
