#include "sdk/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace xst {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr uint64_t kMost = std::numeric_limits<size_t>::max() - 2 * kHugePage;

struct File {
  int fd;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

Memory::~Memory() {
  if (base_) munmap(base_, mapped_);
}

Memory::Memory(Memory&& other) noexcept { *this = std::move(other); }

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(base_, other.base_);
  std::swap(mapped_, other.mapped_);
  std::swap(mapped_file_, other.mapped_file_);
  return *this;
}

Status Memory::Allocate(uint64_t wanted, Memory* out, Fault* fault) {
  if (wanted > kMost) {
    return fault->Set(Status::out_of_memory, "memory: expected %llu bytes, got %zu-bit addresses",
                      static_cast<unsigned long long>(wanted), 8 * sizeof(size_t));
  }
  const auto bytes = static_cast<size_t>(wanted);
  // A huge page only pays for what fills most of one.
  const bool huge = bytes >= kHugePage / 2;
  const size_t whole = huge ? (bytes + kHugePage - 1) / kHugePage * kHugePage : bytes;
  const size_t mapped = huge ? whole + kHugePage : std::max<size_t>(whole, 1);
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    return fault->Set(Status::out_of_memory, "memory: expected %zu bytes, got %s", bytes,
                      strerror(errno));
  }
  Memory m;
  m.base_ = base;
  m.mapped_ = mapped;
  m.data_ = static_cast<std::byte*>(base);
  m.size_ = bytes;
  if (huge) {
    const auto at = reinterpret_cast<uintptr_t>(base);
    m.data_ = reinterpret_cast<std::byte*>((at + kHugePage - 1) / kHugePage * kHugePage);
    madvise(m.data_, whole, MADV_HUGEPAGE);  // best effort
  }
  memset(m.data_, 0, bytes);  // makes every page present
  *out = std::move(m);
  return Status::ok;
}

Memory Memory::View(std::span<const std::byte> bytes) {
  Memory m;
  m.data_ = const_cast<std::byte*>(bytes.data());
  m.size_ = bytes.size();
  return m;
}

Status Memory::ReadFile(const std::string& path, size_t copy_below, Memory* out, Fault* fault) {
  const File file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) {
    return fault->Set(errno == ENOENT ? Status::not_found : Status::io_error,
                      "%s: expected a model file, got %s", path.c_str(), strerror(errno));
  }
  struct stat info;
  if (fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return fault->Set(Status::io_error, "%s: expected a regular file, got something else",
                      path.c_str());
  }
  if (static_cast<uint64_t>(info.st_size) > kMost) {
    return fault->Set(Status::out_of_memory,
                      "%s: expected a file for %zu-bit addresses, got %lld bytes", path.c_str(),
                      8 * sizeof(size_t), static_cast<long long>(info.st_size));
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    return fault->Set(Status::truncated, "%s: expected a model file, got an empty file",
                      path.c_str());
  }
  if (size >= copy_below) {
    void* base = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (base == MAP_FAILED) {
      return fault->Set(Status::io_error, "%s: expected to map %zu bytes, got %s", path.c_str(),
                        size, strerror(errno));
    }
    Memory m;
    m.base_ = base;
    m.data_ = static_cast<std::byte*>(base);
    m.size_ = m.mapped_ = size;
    m.mapped_file_ = true;
    *out = std::move(m);
    return Status::ok;
  }
  Memory m;
  if (const Status s = Allocate(size, &m, fault); s != Status::ok) return s;
  for (size_t done = 0; done < size;) {
    const ssize_t n = read(file.fd, m.data_ + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return fault->Set(n < 0 ? Status::io_error : Status::truncated,
                        "%s: expected %zu bytes, got %zu (%s)", path.c_str(), size, done,
                        n < 0 ? strerror(errno) : "end of file");
    }
    done += static_cast<size_t>(n);
  }
  *out = std::move(m);
  return Status::ok;
}

}  // namespace xst
