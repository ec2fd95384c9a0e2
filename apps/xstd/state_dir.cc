#include "apps/xstd/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "formats/status.h"

namespace xstd {
namespace {

using xst::Error;
using xst::Fault;
using xst::Status;
using xst::formats::Checkpoint;

constexpr off_t kMaxBytes = off_t{1} << 32;

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void Fail(const std::string& path, const std::string& expected, int number) {
  throw Error(Status::io_error, path + ": expected " + expected + ", got " + std::strerror(number));
}

// False: there is no such file. Throws if it is there and cannot be read.
bool ReadWhole(const std::string& path, std::vector<std::byte>* bytes) {
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd() < 0) {
    if (errno == ENOENT) return false;
    Fail(path, "a readable state file", errno);
  }
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) Fail(path, "a readable state file", errno);
  if (!S_ISREG(info.st_mode) || info.st_size > kMaxBytes) {
    throw Error(Status::corrupt, path + ": expected a state file of at most 4 GiB, got another");
  }
  bytes->resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < bytes->size()) {
    const ssize_t n = read(file.fd(), bytes->data() + done, bytes->size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail(path, "a readable state file", errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes->resize(done);
  return true;
}

// Writes in place: a file of the same size takes no new room, so that a full disk does not end it.
void WriteWhole(const std::string& path, const std::vector<std::byte>& bytes) {
  const File file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (file.fd() < 0) Fail(path, "a writable state file", errno);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(file.fd(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail(path, "room for " + std::to_string(bytes.size()) + " bytes of state", errno);
    done += static_cast<size_t>(n);
  }
  if (ftruncate(file.fd(), static_cast<off_t>(bytes.size())) != 0) {
    Fail(path, "a writable state file", errno);
  }
  if (fsync(file.fd()) != 0) Fail(path, "the state on disk", errno);
}

}  // namespace

StateDir::StateDir(const std::string& path) : path_(path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error && !std::filesystem::is_directory(path)) {
    throw Error(Status::io_error,
                "state_dir " + path + ": expected a folder, got " + error.message());
  }
  folder_ = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) Fail("state_dir " + path, "a folder", errno);
  if (flock(folder_, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    close(folder_);
    if (number != EWOULDBLOCK) Fail("state_dir " + path, "a folder that can be locked", number);
    throw Error(
        Status::io_error,
        "state_dir " + path + ": expected a folder of its own, got one that another xstd uses");
  }
}

StateDir::~StateDir() {
  if (folder_ >= 0) close(folder_);
}

std::string StateDir::SlotPath(const std::string& stream, int slot) const {
  return path_ + "/" + stream + (slot == 0 ? ".a" : ".b");
}

StateDir::Found StateDir::Read(const std::string& stream) {
  Found found;
  Slots slots;
  int files = 0;
  std::string broken;
  for (int slot = 0; slot < 2; ++slot) {
    const std::string path = SlotPath(stream, slot);
    if (!ReadWhole(path, &bytes_)) continue;
    ++files;
    Checkpoint checkpoint;
    Fault fault;
    Status status = xst::formats::ReadCheckpoint(bytes_, path, &checkpoint, &fault);
    if (status == Status::unsupported_version) throw Error(fault);
    if (status == Status::ok && checkpoint.name != stream) {
      status = fault.Set(Status::corrupt, "%s: expected the state of stream %s, got that of %s",
                         path.c_str(), stream.c_str(), checkpoint.name.c_str());
    }
    if (status != Status::ok) {
      broken = fault.message;
    } else if (!found.checkpoint || checkpoint.generation > slots.generation) {
      slots.generation = checkpoint.generation;
      slots.next = 1 - slot;
      found.checkpoint = std::move(checkpoint);
      found.file = path;
    }
  }
  // A single broken slot is a first write that was cut short: nothing had been kept before it.
  if (!found.checkpoint && files == 2) {
    throw Error(Status::corrupt, broken + "; neither slot is valid: remove " + SlotPath(stream, 0) +
                                     " and " + SlotPath(stream, 1) + " to start stream " + stream +
                                     " afresh");
  }
  if (found.file.empty()) found.file = SlotPath(stream, 0);
  found.warning = broken;
  slots_[stream] = slots;
  return found;
}

void StateDir::Write(const std::string& stream, Checkpoint* checkpoint) {
  Slots& slots = slots_[stream];
  checkpoint->name = stream;
  checkpoint->generation = slots.generation + 1;
  xst::formats::WriteCheckpoint(*checkpoint, &bytes_);
  const std::string path = SlotPath(stream, slots.next);
  bool& named = slots.named[slots.next];
  named = named && access(path.c_str(), F_OK) == 0;
  WriteWhole(path, bytes_);
  if (!named) {  // its name as well; `folder_` may be gone and another in its place
    const File folder(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Not every file system syncs folders.
    if (folder.fd() < 0 || (fsync(folder.fd()) != 0 && errno != EINVAL)) {
      Fail(path_, "the name on disk", errno);
    }
    named = true;
  }
  slots.generation = checkpoint->generation;
  slots.next = 1 - slots.next;
}

}  // namespace xstd
