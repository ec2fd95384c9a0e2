#include "formats/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "formats/status.h"

namespace xst::formats {
namespace {

constexpr size_t kReadChunk = size_t{1} << 20;

std::atomic<uint32_t> temporaries{0};

// Writes all; false with errno on failure.
bool WriteFully(int fd, const void* bytes, size_t size) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = write(fd, from, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

struct InputFd {
  int fd;
  bool owned;
  ~InputFd() {
    if (owned && fd >= 0) close(fd);
  }
};

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      throw Error(Status::io_error, path + ": expected a file to write, got a folder");
    }
    if (!S_ISREG(info.st_mode)) {
      fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd_ < 0) Fail("expected to open it for writing");
      return;
    }
    std::error_code ignored;  // a link keeps being one: its target is replaced
    const auto target = std::filesystem::canonical(path, ignored);
    if (!ignored) path_ = target.string();
  }
  for (int attempt = 0; fd_ < 0 && attempt < 100; ++attempt) {
    temporary_ = path_ + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(temporaries++);
    fd_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) {
    temporary_.clear();
    Fail("expected to create a file there");
  }
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::Fail(const char* what) const {
  throw Error(Status::io_error, path_ + ": " + what + ", got " + strerror(errno));
}

void OutputFile::Write(const void* bytes, size_t size) {
  if (!WriteFully(fd_, bytes, size)) Fail("expected to write");
}

void OutputFile::WriteAt(uint64_t offset, const void* bytes, size_t size) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = pwrite(fd_, from, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) Fail("expected to write");
    from += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
}

void OutputFile::Commit() {
  if (temporary_.empty()) return;
  if (fsync(fd_) != 0) Fail("expected to sync");
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) Fail("expected to close");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) Fail("expected to rename into place");
  temporary_.clear();
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int parent =
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent >= 0) {
    fsync(parent);  // the rename's own durability; not every file system supports it
    close(parent);
  }
}

std::string ReadAll(const std::string& path, uint64_t limit) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : path;
  const InputFd in{standard ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC), !standard};
  if (in.fd < 0) {
    throw Error(errno == ENOENT ? Status::not_found : Status::io_error,
                name + ": expected a readable file, got " + strerror(errno));
  }
  std::string text;
  struct stat info;
  if (fstat(in.fd, &info) == 0 && S_ISREG(info.st_mode)) {
    text.reserve(std::min<uint64_t>(static_cast<uint64_t>(info.st_size), limit) + 1);
  }
  for (;;) {
    const size_t have = text.size();
    text.resize(text.capacity() > have ? text.capacity() : have + kReadChunk);
    const ssize_t n = read(in.fd, text.data() + have, text.size() - have);
    if (n < 0 && errno != EINTR) {
      throw Error(Status::io_error, name + ": expected to read it, got " + strerror(errno));
    }
    text.resize(have + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (text.size() > limit) {
      throw Error(Status::truncated,
                  name + ": expected at most " + std::to_string(limit) + " bytes, got more");
    }
    if (n == 0) return text;
  }
}

void WriteStandardOutput(const void* bytes, size_t size) {
  if (!WriteFully(STDOUT_FILENO, bytes, size)) {
    throw Error(Status::io_error,
                std::string("standard output: expected to write, got ") + strerror(errno));
  }
}

}  // namespace xst::formats
