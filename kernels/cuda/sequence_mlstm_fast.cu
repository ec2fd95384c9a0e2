// The chunkwise mLSTM with bf16 factors and float32 sums.
#include "kernels/cuda/sequence_mlstm_fast.cuh"
#include "kernels/cuda/sequence_mlstm_steps.cuh"

namespace xst::kernels::cuda::sequence {
namespace {

struct Walk {
  int slices;   // of dv
  bool vector;  // see InVectors
  Work work;
};

// A block walks over the chunks of kSlice columns of one head. C lies in registers as float, and in
// shared memory as bf16 for the next chunk to read. Warp w has columns of half w / 4, and of the
// rows of C every fourth 16 from 16 (w % 4) on.
template <int kBlocks>
__global__ void __launch_bounds__(kChunkThreads, 1)
    FastKernel(MlstmCell o, Sequence<float> s, Walk walk) {
  using Mem = FastMemory<kBlocks>;
  constexpr int kDk = Mem::kDk, kStrideQ = Mem::kStrideQ;
  extern __shared__ __align__(16) unsigned char shared_fast[];
  auto& mem = *reinterpret_cast<Mem*>(shared_fast);
  const int slice = blockIdx.x % walk.slices, head = blockIdx.x / walk.slices % o.heads;
  const size_t lane = blockIdx.x / walk.slices / o.heads;
  if (!IsActive(s.state, lane)) return;
  const int thread = threadIdx.x, dk = o.dk;
  const int i8 = thread % 32 / 8, r8 = thread % 8;  // of an ldmatrix address
  const int columns = min(kSlice, static_cast<int>(o.dv) - slice * kSlice);
  const int steps = s.steps, chunks = (steps + kChunk - 1) / kChunk;
  const size_t stride = s.tokens.stride, task = lane * o.heads + head;
  float* frame = s.state.data + lane * s.state.stride;
  float* tokens = s.tokens.data + lane * s.steps * stride;
  const float* v = tokens + o.v + head * o.dv + slice * kSlice;
  float* h = tokens + o.h + head * o.dv + slice * kSlice;
  float* state_c = frame + o.c + size_t{o.stride_c} * (head * dk) + slice * kSlice;
  float* state_n = frame + o.n + head * o.stride_n;
  const ChunkGates* all_gates = walk.work.gates + task * chunks;
  const Bf16* all_qk = walk.work.qk + task * chunks * (2 * kChunk * kDk);
  const float root = 1 / sqrtf(static_cast<float>(dk));
  const float key_scale = o.scale_key ? root : 1, query_scale = o.scale_key ? 1 : root;
  const WarpPart part;

  const auto issue = [&](int chunk) {
    if (chunk < chunks) {
      const Bf16* from = all_qk + size_t(chunk) * (2 * kChunk * kDk);
      constexpr int kVectors = kDk / 8;
#pragma unroll 4
      for (int n = 0; n < 2 * kChunk * kVectors / kChunkThreads; ++n) {
        const int i = n * kChunkThreads + thread;
        const int row = i / kVectors, column = i % kVectors * 8;
        CopyAsync<16>(mem.qk[chunk % 2][0] + row * kStrideQ + column, from + row * kDk + column,
                      true);
      }
      CopyGates(&mem.gates[chunk % 3], all_gates + chunk);
    }
    CommitCopies();
  };
  // v on its way through registers: four columns of two rows.
  const int v_row = thread / 8, v_column = thread % 8 * 4;
  float4 staged[2];
  const auto fetch = [&](int chunk) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int t = chunk * kChunk + v_row + 32 * e;
      staged[e] = {};
      if (t >= steps) continue;
      const float* at = v + t * stride + v_column;
      if (walk.vector) {
        if (v_column < columns) staged[e] = *reinterpret_cast<const float4*>(at);
      } else {
        if (v_column < columns) staged[e].x = at[0];
        if (v_column + 1 < columns) staged[e].y = at[1];
        if (v_column + 2 < columns) staged[e].z = at[2];
        if (v_column + 3 < columns) staged[e].w = at[3];
      }
    }
  };

  issue(0);
  issue(1);
  fetch(0);
  Tile c[kBlocks][kTiles];
  float n[kBlocks][2];  // of half 1, in threads with t = 0: rows g and g + 8
  const auto row_of = [&](int block) { return block * 64 + part.row + part.g; };
  const auto column_of = [&](int i) { return part.half * (kSlice / 2) + i * 8 + 2 * part.t; };
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = row_of(b) + e / 2 * 8;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const int column = column_of(i) + e % 2;
        const bool real = row < dk && column < columns;
        c[b][i][e] = real ? state_c[size_t(row) * o.stride_c + column] : 0;
      }
      if (e % 2 == 0) n[b][e / 2] = row < dk ? state_n[row] : 0;
    }
  }
  const auto publish = [&] {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = row_of(b) + 8 * e;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          *reinterpret_cast<uint32_t*>(mem.c + row * kStrideV + column_of(i)) =
              PackBf16(c[b][i][2 * e], c[b][i][2 * e + 1]);
        }
        if (part.half == 1 && part.t == 0) mem.n[row] = __float2bfloat16(n[b][e]);
      }
    }
  };
  publish();

  for (int chunk = 0; chunk < chunks; ++chunk) {
    const ChunkGates& gates = mem.gates[chunk % 3];
    const Bf16* q = mem.qk[chunk % 2][0];
    const Bf16* k = mem.qk[chunk % 2][1];
    WaitForCopies<1>();
    __syncthreads();  // and v, P and so on of the chunk before are done with
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = v_row + 32 * e;
      const float w = gates.last[row] * key_scale;
      const float4 f = staged[e];
      *reinterpret_cast<uint2*>(mem.v + row * kStrideV + v_column) = {PackBf16(f.x, f.y),
                                                                      PackBf16(f.z, f.w)};
      *reinterpret_cast<uint2*>(mem.weighted + row * kStrideV + v_column) = {
          PackBf16(w * f.x, w * f.y), PackBf16(w * f.z, w * f.w)};
    }
    if (thread < kChunk) mem.last[thread] = __float2bfloat16(gates.last[thread] * key_scale);
    __syncthreads();
    if (chunk + 1 < chunks) fetch(chunk + 1);

    Tile sums[4] = {}, out[kTiles] = {}, dot = {};
    switch (PairsBelow(part) + 3 * part.half) {
      case 1:
        Query<kDk, 1, false>(part, q, k, mem.c, mem.n, sums, out, dot);
        break;
      case 2:
        Query<kDk, 2, false>(part, q, k, mem.c, mem.n, sums, out, dot);
        break;
      case 3:
        Query<kDk, 0, true>(part, q, k, mem.c, mem.n, sums, out, dot);
        break;
      case 4:
        Query<kDk, 1, true>(part, q, k, mem.c, mem.n, sums, out, dot);
        break;
      default:
        Query<kDk, 2, true>(part, q, k, mem.c, mem.n, sums, out, dot);
    }
    float row_sums[2];
    SetP(part, gates, root, sums, row_sums, [&](int row, int column, float p0, float p1) {
      *reinterpret_cast<uint32_t*>(mem.p + row * kStrideP + column) = PackBf16(p0, p1);
    });
    if (part.t == 0) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = part.row + part.g + 8 * e;
        mem.sums[part.half][row] = row_sums[e];
        if (part.half == 1) mem.dots[row] = dot[2 * e];
      }
    }

    const float decay = gates.decay;
    const Bf16* keys = k + (i8 / 2 * 8 + r8) * kStrideQ + part.row + i8 % 2 * 8;
    if (part.half == 0) {
      Gain<kBlocks, false>(part, keys, mem.weighted, mem.last, decay, c, n);
    } else {
      Gain<kBlocks, true>(part, keys, mem.weighted, mem.last, decay, c, n);
    }
    __syncthreads();  // P is there; nobody reads q, k, C and n any more
    issue(chunk + 2);
    publish();

#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float before = gates.before[part.row + part.g + 8 * e] * query_scale;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        out[i][2 * e] *= before;
        out[i][2 * e + 1] *= before;
      }
    }
    for (int t = 0; t <= part.row; t += 16) {
      uint32_t a[4];
      LoadMatrices(a, mem.p + (part.row + i8 % 2 * 8 + r8) * kStrideP + t + i8 / 2 * 8);
      TwoTiles(mem.v, t, part.half * (kSlice / 2), a, out);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = part.row + part.g + 8 * e, t = chunk * kChunk + row;
      if (t >= steps) continue;
      const float scale = OutScale(gates, row, mem.dots[row] * query_scale,
                                   mem.sums[0][row] + mem.sums[1][row], o.eps);
      StoreOut<kSlice>(part, h + t * stride, e, scale, columns, walk.vector, out);
    }
  }

  float* end_n = walk.slices == 1 ? state_n : nullptr;
  double* end = walk.work.ends + task * (dk + 1);
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = row_of(b) + e / 2 * 8;
      if (row >= dk) continue;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const int column = column_of(i) + e % 2;
        if (column < columns) state_c[size_t(row) * o.stride_c + column] = c[b][i][e];
      }
      if (e % 2 == 1 || part.half == 0 || part.t != 0 || slice != 0) continue;
      if (end_n) end_n[row] = n[b][e / 2];
      if (!end_n) end[row] = n[b][e / 2];
    }
  }
  if (thread == 0 && slice == 0) {
    const float m = mem.gates[(chunks - 1) % 3].m;
    if (end_n) frame[o.m + head] = m;
    if (!end_n) end[dk] = m;
  }
}

int BlocksFor(const MlstmCell& o) { return o.dk <= 64 ? 1 : o.dk <= 128 ? 2 : kMostBlocks; }

template <int kBlocks>
cudaError_t LaunchBlocks(const MlstmCell& o, const Sequence<float>& s, const Work& work,
                         cudaStream_t stream) {
  const Walk walk{static_cast<int>((o.dv + kSlice - 1) / kSlice), InVectors(o, s), work};
  const int bytes = sizeof(FastMemory<kBlocks>);
  cudaError_t error =
      cudaFuncSetAttribute(FastKernel<kBlocks>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error == cudaSuccess) error = LaunchGates(o, s, work.gates, stream);
  if (error != cudaSuccess) return error;
  const uint32_t chunks = (s.steps + kChunk - 1) / kChunk;
  const uint32_t vectors = FastBytes(o, s.state.lanes, s.steps) / 16;
  ConvertKernel<64 * kBlocks>
      <<<(vectors + 255) / 256, 256, 0, stream>>>(o, s, chunks, walk.vector, vectors, work.qk);
  FastKernel<kBlocks>
      <<<s.state.lanes * o.heads * walk.slices, kChunkThreads, bytes, stream>>>(o, s, walk);
  error = cudaGetLastError();
  return error == cudaSuccess && walk.slices > 1 ? LaunchEnds(o, s, work.ends, stream) : error;
}

}  // namespace

bool FitsFast(const MlstmCell& o) {
  if (o.dk > 64 * kMostBlocks) return false;
  const int blocks = BlocksFor(o);
  const size_t bytes = blocks == 1   ? sizeof(FastMemory<1>)
                       : blocks == 2 ? sizeof(FastMemory<2>)
                                     : sizeof(FastMemory<kMostBlocks>);
  return bytes <= static_cast<size_t>(DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

size_t FastBytes(const MlstmCell& o, uint32_t lanes, uint32_t steps) {
  if (o.dk > 64 * kMostBlocks) return 0;
  const size_t chunks = (steps + kChunk - 1) / kChunk;
  return size_t{lanes} * o.heads * chunks * 2 * kChunk * (64 * BlocksFor(o)) * sizeof(Bf16);
}

cudaError_t LaunchFast(const MlstmCell& o, const Sequence<float>& s, const Work& work,
                       cudaStream_t stream) {
  switch (BlocksFor(o)) {
    case 1:
      return LaunchBlocks<1>(o, s, work, stream);
    case 2:
      return LaunchBlocks<2>(o, s, work, stream);
    default:
      return LaunchBlocks<kMostBlocks>(o, s, work, stream);
  }
}

}  // namespace xst::kernels::cuda::sequence
