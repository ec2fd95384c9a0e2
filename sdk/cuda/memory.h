// Owned memory of a device and pinned memory of the host, and CUDA's errors as ours.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "formats/status.h"

namespace xst::cuda {

// The status of a CUDA error; with a fault also its text, "cuda:K: expected WHAT, got ERROR".
inline Status StatusOf(cudaError_t error) {
  if (error == cudaSuccess) return Status::ok;
  cudaGetLastError();  // a failed allocation must not be reported by the next launch
  return error == cudaErrorMemoryAllocation ? Status::out_of_memory : Status::device_failed;
}
inline Status Check(cudaError_t error, uint32_t device, const char* what, Fault* fault) {
  if (error == cudaSuccess) return Status::ok;
  return fault->Set(StatusOf(error), "cuda:%u: expected %s, got: %s", device, what,
                    cudaGetErrorString(error));
}

// Makes `device` the calling thread's while it lives: a library leaves its caller's choice alone.
class OnDevice {
 public:
  explicit OnDevice(uint32_t device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != static_cast<int>(device)) {
      error_ = cudaSetDevice(static_cast<int>(device));
    }
    changed_ = error_ == cudaSuccess && before_ != static_cast<int>(device);
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  cudaError_t error_;
  bool changed_;
};

enum class Place { device, pinned };

// Uninitialised memory of the current device, or of the host where the device sees it too.
template <Place place, class T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() {
    if (place == Place::device) {
      cudaFree(data_);
    } else {
      cudaFreeHost(data_);
    }
  }
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  cudaError_t Allocate(size_t size) {
    Buffer b;
    void* data = nullptr;
    const cudaError_t error = place == Place::device
                                  ? cudaMalloc(&data, size * sizeof(T))
                                  : cudaHostAlloc(&data, size * sizeof(T), cudaHostAllocMapped);
    if (error != cudaSuccess) return error;
    b.data_ = static_cast<T*>(data);
    b.size_ = size;
    *this = std::move(b);
    return cudaSuccess;
  }

  T* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

template <class T>
using DeviceBuffer = Buffer<Place::device, T>;
template <class T>
using PinnedBuffer = Buffer<Place::pinned, T>;

}  // namespace xst::cuda
