#include "tests/unit/cuda/cuda_table.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "kernels/cuda/launch.h"
#include "tests/unit/kernels/harness.h"

namespace xst::kernels::cuda {
namespace {

constexpr size_t kCapacity = size_t{64} << 20;  // of everything one op needs
constexpr size_t kGap = 256;                    // between arrays
constexpr int kPoison = 0xff;                   // NaN as float, bf16 and double; -1 as i16 and i8

enum Lane : uint32_t { kBeside, kTested, kInactive, kAlone, kLanes };

// One block of device memory and its image on the host, filled anew for every op.
class Memory {
 public:
  Memory() {
    void *device, *image;
    Check(cudaMalloc(&device, kCapacity), "cudaMalloc");
    Check(cudaMallocHost(&image, kCapacity), "cudaMallocHost");
    device_ = static_cast<char*>(device);
    image_ = static_cast<char*>(image);
    Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  Memory(const Memory&) = delete;

  cudaStream_t stream() const { return stream_; }
  void Clear() { used_ = 0; }

  // Room for n elements of which the first `given` come from `from`; what surrounds them, and those
  // that are not given, is poison.
  template <class V>
  V* Place(const V* from, size_t given, size_t n) {
    const size_t size = (n * sizeof(V) + kGap - 1) / kGap * kGap + kGap;
    if (used_ + size > kCapacity) throw std::runtime_error("the op does not fit the test's memory");
    std::memset(image_ + used_, kPoison, size);
    if (from) std::memcpy(image_ + used_, from, given * sizeof(V));
    char* at = device_ + used_;
    used_ += size;
    return reinterpret_cast<V*>(at);
  }
  void Upload() const {
    Check(cudaMemcpyAsync(device_, image_, used_, cudaMemcpyHostToDevice, stream_), "upload");
  }
  void Download(void* to, const void* from, size_t bytes) const {
    Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
    Check(cudaStreamSynchronize(stream_), "the op");
  }

 private:
  char* device_ = nullptr;
  char* image_ = nullptr;
  size_t used_ = 0;
  cudaStream_t stream_ = nullptr;
};

Memory& TheMemory() {
  static Memory* memory = new Memory;  // never destroyed: the runtime may be gone by then
  return *memory;
}

size_t FileBytes(const Matrix& w) {
  const size_t size = SizeOf(w.dtype);
  if (w.layout == Layout::rows) return w.rows * RowStride(w.dtype, w.cols) * size;
  return size_t{RoundUp16(w.rows)} * ((w.cols * size + 3) / 4 * 4);
}

// An op's weights, brought to the device; matrices in layout `rows`.
class Upload {
 public:
  explicit Upload(Memory& memory) : memory_(memory) {}

  void Place(const float*& v, size_t n) {
    if (v) v = memory_.Place(v, n, n);
  }
  void Place(Matrix& w) {
    Matrix from = w;
    const size_t bytes = FileBytes(w);
    from.data = memory_.Place(static_cast<const char*>(w.data), bytes, bytes);
    Place(w.scale, RoundUp16(w.rows));
    const size_t repacked = w.rows * RowStride(w.dtype, w.cols) * SizeOf(w.dtype);
    void* to = memory_.Place<char>(nullptr, 0, repacked);
    w.data = to;
    w.layout = Layout::rows;
    repacks_.emplace_back(from, to);
  }
  // After the upload.
  void Repack() const {
    for (const auto& [from, to] : repacks_) {
      Check(cuda::Repack(from, to, memory_.stream()), "Repack");
    }
  }

 private:
  Memory& memory_;
  std::vector<std::pair<Matrix, void*>> repacks_;
};

void Place(Norm& o, Upload& w) {
  w.Place(o.weight, o.size);
  w.Place(o.bias, o.size);
}
void Place(Linear& o, Upload& w) {
  w.Place(o.w);
  w.Place(o.bias, o.w.rows);
}
void Place(BlockLinear& o, Upload& w) {
  w.Place(o.w);
  w.Place(o.bias, o.w.rows);
}
void Place(Conv& o, Upload& w) {
  w.Place(o.weight, size_t{o.kernel} * o.stride);
  w.Place(o.bias, o.channels);
}
void Place(MlstmCell&, Upload&) {}
void Place(MlstmOut& o, Upload& w) {
  for (const float** v : {&o.weight, &o.bias, &o.skip}) w.Place(*v, size_t{o.heads} * o.dim);
}
void Place(SlstmInput& o, Upload& w) { w.Place(o.w); }
void Place(SlstmCell& o, Upload& w) {
  w.Place(o.r);
  w.Place(o.bias, 4 * RoundUp16(o.channels));
}
void Place(SlstmOut& o, Upload& w) { w.Place(o.weight, size_t{o.heads} * o.dim); }
void Place(GatedAct&, Upload&) {}
void Place(Pointwise&, Upload&) {}
void Place(Embed& o, Upload& w) { w.Place(o.table); }

// Where an op's state lies: (slot, elements).
using Arrays = std::vector<std::pair<Slot, size_t>>;
template <class O>
Arrays StateOf(const O&) {
  return {};
}
Arrays StateOf(const Conv& o) { return {{o.history, size_t{o.kernel - 1} * o.stride}}; }
Arrays StateOf(const MlstmCell& o) {
  return {{o.c, size_t{o.heads} * o.dk * o.stride_c},
          {o.n, size_t{o.heads} * o.stride_n},
          {o.m, o.heads}};
}
Arrays StateOf(const SlstmCell& o) {
  Arrays arrays = {{o.y, o.channels}, {o.c, o.channels}};
  if (!o.lstm) arrays.insert(arrays.end(), {{o.n, o.channels}, {o.m, o.channels}});
  return arrays;
}
Arrays StateOf(const SlstmOut& o) { return {{o.y, size_t{o.heads} * o.dim}}; }

// A frame of nothing but NaN, which names a row of the table where it must.
template <class T, class O>
std::vector<T> NanFrame(const O& o, size_t size) {
  std::vector<T> frame(size, std::numeric_limits<T>::quiet_NaN());
  if constexpr (std::is_same_v<O, Embed>) frame[o.token] = 0;
  return frame;
}

template <class T>
bool Same(const T* a, const T* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(T)) == 0;
}

template <class T, class O>
void RunOp(O o, std::vector<float>& frame) {
  Memory& memory = TheMemory();
  memory.Clear();
  const size_t size = frame.size(), stride = (size + 63) / 32 * 32;
  const std::vector<T> before(frame.begin(), frame.end());
  std::vector<T> lanes(kLanes * stride, std::numeric_limits<T>::quiet_NaN());
  const auto lane = [&](uint32_t l) { return lanes.data() + l * stride; };
  for (uint32_t l = 0; l < kLanes; ++l) {
    const std::vector<T> content = l == kBeside ? NanFrame<T>(o, size) : before;
    std::copy(content.begin(), content.end(), lane(l));
  }
  T* data = memory.Place(lanes.data(), lanes.size(), lanes.size());
  const uint8_t active[] = {1, 1, 0};
  const Frames<T> together{data, stride, kInactive + 1, memory.Place(active, 3, 3)};
  const Frames<T> alone{data + kAlone * stride, stride, 1, nullptr};
  const Arrays state = StateOf(o);
  Upload weights(memory);
  Place(o, weights);
  memory.Upload();
  weights.Repack();
  Check(Launch(o, together, memory.stream()), "Launch, three lanes");
  Check(Launch(o, alone, memory.stream()), "Launch, one lane");
  memory.Download(lanes.data(), data, lanes.size() * sizeof(T));

  EXPECT_TRUE(Same(lane(kTested), lane(kAlone), stride)) << "the lanes beside it changed a lane";
  for (const auto& [slot, n] : state) {
    EXPECT_TRUE(Same(lane(kInactive) + slot, before.data() + slot, n))
        << "an inactive lane's state at slot " << slot << " changed";
  }
  std::transform(lane(kAlone), lane(kAlone) + size, frame.begin(),
                 [](T v) { return static_cast<float>(v); });
}

template <class T>
void Run(const Op& op, std::vector<float>& frame) {
  Visit([&](const auto& o) { RunOp<T>(o, frame); }, op);
}

}  // namespace

const DeviceTable kSingleTable = {"cuda_single", &Run<float>, &WhyNoDevice};
const DeviceTable kWideTable = {"cuda_wide", &Run<double>, &WhyNoDevice};

std::string WhyNoDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if ((error == cudaSuccess && count > 0) || std::getenv("XST_REQUIRE_CUDA")) return "";
  return std::string("NOT TESTED, no CUDA device: ") +
         (error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
}

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(error) + ", " +
                           cudaGetErrorString(error));
}

}  // namespace xst::kernels::cuda
