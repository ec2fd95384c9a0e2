#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "formats/output_file.h"
#include "formats/pack.h"
#include "formats/placement.h"
#include "formats/safetensors.h"
#include "formats/segment.h"

namespace xst::formats {
namespace {

// A model file's bytes at a 64-byte boundary. They are mapped: a file of any size unpacks in
// bounded memory.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      throw Error(errno == ENOENT ? Status::not_found : Status::io_error,
                  path + ": expected a model file, got " + strerror(errno));
    }
    struct stat info;
    const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    const bool reachable = regular && static_cast<uint64_t>(info.st_size) <= PTRDIFF_MAX;
    size_ = reachable ? static_cast<size_t>(info.st_size) : 0;
    if (size_ > 0) data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (!regular) {
      throw Error(Status::io_error, path + ": expected a regular file, got something else");
    }
    if (!reachable) {
      throw Error(Status::out_of_memory,
                  path + ": expected a file for " + std::to_string(8 * sizeof(size_t)) +
                      "-bit addresses, got " + std::to_string(info.st_size) + " bytes");
    }
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      throw Error(Status::io_error, path + ": expected to map it, got " + strerror(errno));
    }
  }
  ~MappedFile() {
    if (data_) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

std::vector<float> Extract(const StoredTensor& t, const Source& source, const SlstmHeads& heads) {
  uint64_t size = 1;
  for (const uint64_t axis : source.shape) size *= axis;
  std::vector<float> values(size);
  ForEachElement(t.spec, source, heads, [&](uint64_t i, uint64_t at) {
    const uint64_t row = at / t.spec.cols, col = at % t.spec.cols;
    const std::byte* element =
        t.data + ElementIndex(t.spec, t.dtype, row, col) * ElementSize(t.dtype);
    values[i] = DecodeElement(element, t.dtype, t.scale ? t.scale[row] : 1);
  });
  return values;
}

}  // namespace

void UnpackModel(const std::string& model, const std::string& path) {
  const MappedFile file(model);
  Directory directory;
  Fault fault;
  if (ReadModel(file.bytes(), Check::full, &directory, &fault) != Status::ok) {
    throw Error(fault.status, model + ": " + fault.message);
  }
  std::vector<TensorHeader> headers;
  std::vector<std::pair<const StoredTensor*, const Source*>> places;
  for (const StoredTensor& t : directory.tensors) {
    for (const Source& source : t.spec.sources) {
      headers.push_back({source.name, source.shape});
      places.emplace_back(&t, &source);
    }
  }
  const SlstmHeads heads = HeadsOf(directory.config);
  WriteSafetensors(path, headers,
                   [&](size_t i) { return Extract(*places[i].first, *places[i].second, heads); });
}

}  // namespace xst::formats
