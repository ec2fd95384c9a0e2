#include "apps/xstd/input_log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>

#include "formats/status.h"

namespace xstd {

using xst::Error;
using xst::Status;
using xst::stream::SampleHead;

namespace {

constexpr char kMagic[4] = {'X', 'S', 'T', 'G'};
constexpr uint16_t kMajor = 0, kMinor = 0;
constexpr size_t kHeader = 32, kDigits = 20;
constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of a file that is one of ours

template <class T>
std::byte* Put(std::byte* to, const T& value) {
  std::memcpy(to, &value, sizeof(T));
  return to + sizeof(T);
}

template <class T>
T Get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

[[noreturn]] void Fail(const std::string& path, const char* expected) {
  throw Error(Status::io_error, path + ": expected " + expected + ", got " + std::strerror(errno));
}

std::vector<std::byte> ReadWhole(const std::string& path, uint64_t size) {
  std::vector<std::byte> bytes(std::min(size, kMostBytes));
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail(path, "a readable log");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int number = errno;
      close(fd);
      errno = number;
      Fail(path, "a readable log");
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  close(fd);
  bytes.resize(done);
  return bytes;
}

}  // namespace

InputLog::InputLog(const std::string& folder, const std::string& stream, uint32_t width)
    : folder_(folder), stream_(stream), width_(width) {}

InputLog::InputLog(const std::string& folder, const std::string& stream, uint32_t width,
                   const xst::formats::Checkpoint* from)
    : InputLog(folder, stream, width) {  // so that an error closes what is open
  OpenFolder();
  Find();
  if (!from) {
    for (const Segment& s : segments_) {
      warning_ = s.path + ": expected a snapshot beside it, got none; it is removed";
      if (unlink(s.path.c_str()) != 0) Fail(s.path, "to remove it");
    }
    segments_.clear();
    return;
  }
  if (from->clock.has_seq) last_seq_ = from->clock.seq;
  const uint64_t next = Walk(from->position, [&](const SampleHead& head, std::span<const float>) {
    last_seq_ = head.seq;
    return true;
  });
  last_index_ = next - 1;
  // What lies behind a hole would later seem to follow what is kept from now on.
  while (!segments_.empty() && segments_.back().first > next) {
    warning_ = segments_.back().path + ": expected records from " + std::to_string(next) +
               " on, got a hole before it; it is dropped, its client may send it again";
    if (unlink(segments_.back().path.c_str()) != 0) Fail(segments_.back().path, "to remove it");
    segments_.pop_back();
  }
  for (const Segment& s : segments_) bytes_ += s.bytes;
}

InputLog::~InputLog() {
  Close();
  if (folder_fd_ >= 0) close(folder_fd_);
}

void InputLog::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::string InputLog::Path(uint64_t first) const {
  std::string digits = std::to_string(first);
  digits.insert(0, kDigits - digits.size(), '0');
  return folder_ + "/" + stream_ + ".log." + digits;
}

void InputLog::Find() {
  const std::string prefix = stream_ + ".log.";
  // Not by std::filesystem: its iterator ends the program when memory is short.
  const std::unique_ptr<DIR, int (*)(DIR*)> files(opendir(folder_.c_str()), closedir);
  if (!files) Fail(folder_, "a folder");
  for (;;) {
    errno = 0;
    const dirent* file = readdir(files.get());
    if (!file && errno != 0) Fail(folder_, "a folder that can be listed");
    if (!file) break;
    const std::string name = file->d_name;
    if (name.size() != prefix.size() + kDigits || name.rfind(prefix, 0) != 0) continue;
    Segment segment;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(end - kDigits, end, segment.first);
    if (parsed.ec != std::errc() || parsed.ptr != end || segment.first == 0) continue;
    segment.path = folder_ + "/" + name;
    struct stat info {};
    if (stat(segment.path.c_str(), &info) != 0) Fail(segment.path, "a log");
    segment.bytes = static_cast<uint64_t>(info.st_size);
    segments_.push_back(std::move(segment));
  }
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& a, const Segment& b) { return a.first < b.first; });
}

// Whether records may follow. A header that does not check was cut short when it was written.
bool InputLog::ReadHeader(const std::vector<std::byte>& bytes, const Segment& segment) const {
  const std::byte* at = bytes.data();
  if (bytes.size() < kHeader || std::memcmp(at, kMagic, 4) != 0 ||
      XXH3_64bits(at, kHeader - 8) != Get<uint64_t>(at + kHeader - 8) ||
      Get<uint64_t>(at + 16) != segment.first) {
    return false;
  }
  if (Get<uint16_t>(at + 4) != kMajor) {
    throw Error(Status::unsupported_version, segment.path + ": expected version " +
                                                 std::to_string(kMajor) + ", got " +
                                                 std::to_string(Get<uint16_t>(at + 4)));
  }
  if (Get<uint32_t>(at + 8) != width_) {
    throw Error(Status::shape_mismatch,
                segment.path + ": expected samples of " + std::to_string(width_) +
                    " channels, got " + std::to_string(Get<uint32_t>(at + 8)) + "; give stream " +
                    stream_ + " its former model, or remove its files");
  }
  return true;
}

// Whether nothing in it, whatever its width, is from `next` on.
bool InputLog::EndsBefore(const std::vector<std::byte>& bytes, const Segment& segment,
                          uint64_t next) {
  if (bytes.size() < kHeader) return true;
  const uint64_t record = 28 + 4 * uint64_t{Get<uint32_t>(bytes.data() + 8)};
  return segment.first + (bytes.size() - kHeader) / record <= next;
}

// Gives every record behind `position` up to the first that is missing or bad, or as long as `take`
// wants; returns the index behind the last given.
uint64_t InputLog::Walk(
    uint64_t position,
    const std::function<bool(const SampleHead&, std::span<const float>)>& take) const {
  std::vector<Segment> segments;
  {
    const std::lock_guard lock(mutex_);
    segments = segments_;  // Truncate removes only what was stepped, hence given before
  }
  uint64_t next = position + 1;
  std::vector<float> x(width_);
  const size_t record = RecordBytes();
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const uint64_t limit = i + 1 < segments.size() ? segments[i + 1].first : UINT64_MAX;
    if (limit <= next) continue;
    if (segment.first > next) break;
    const std::vector<std::byte> bytes = ReadWhole(segment.path, segment.bytes);
    if (EndsBefore(bytes, segment, next) || !ReadHeader(bytes, segment)) continue;
    const uint64_t end = std::min(limit, segment.first + (bytes.size() - kHeader) / record);
    for (; next < end; ++next) {
      const std::byte* at = bytes.data() + kHeader + (next - segment.first) * record;
      if (XXH3_64bits_withSeed(at, record - 8, next) != Get<uint64_t>(at + record - 8)) break;
      SampleHead head;
      head.has_seq = head.historical = true;
      head.seq = Get<uint64_t>(at);
      head.t = Get<double>(at + 8);
      head.has_t = (Get<uint32_t>(at + 16) & 1) != 0;
      head.position = next;
      head.receive_ns = xst::stream::NowNs();
      std::memcpy(x.data(), at + 20, 4 * x.size());
      if (!take(head, x)) return next + 1;
    }
  }
  return next;
}

void InputLog::Replay(uint64_t position,
                      const std::function<bool(const SampleHead&, std::span<const float>)>& take) {
  Walk(position, take);
}

void InputLog::Encode(std::span<SampleHead> heads, std::span<const float> x) {
  const size_t record = RecordBytes();
  buffer_.resize(heads.size() * record);
  for (size_t i = 0; i < heads.size(); ++i) {
    heads[i].position = last_index_ + 1 + i;
    std::byte* const begin = buffer_.data() + i * record;
    std::byte* at = Put(begin, heads[i].seq);
    at = Put(at, heads[i].t);
    at = Put(at, uint32_t{heads[i].has_t});
    std::memcpy(at, x.data() + i * width_, 4 * size_t{width_});
    Put(begin + record - 8, uint64_t{XXH3_64bits_withSeed(begin, record - 8, heads[i].position)});
  }
}

void InputLog::Write(const void* from, size_t bytes) {
  Segment& segment = segments_.back();
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = pwrite(fd_, static_cast<const char*>(from) + done, bytes - done,
                             static_cast<off_t>(segment.bytes + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail(segment.path, "room for the input log");
    done += static_cast<size_t>(n);
  }
  if (fdatasync(fd_) != 0) Fail(segment.path, "the input log on disk");
  segment.bytes += bytes;
  bytes_ += bytes;
}

void InputLog::NewSegment() {
  Segment segment{last_index_ + 1, 0, Path(last_index_ + 1)};
  // One of that name holds nothing that counts.
  if (!segments_.empty() && segments_.back().first == segment.first) {
    bytes_ -= segments_.back().bytes;
    segments_.pop_back();
  }
  unlink(segment.path.c_str());
  fd_ = open(segment.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) Fail(segment.path, "a file for the input log");
  segments_.push_back(segment);
  std::byte header[kHeader];
  std::memcpy(header, kMagic, 4);
  std::byte* at = Put(header + 4, kMajor);
  at = Put(at, kMinor);
  at = Put(at, width_);
  at = Put(at, uint32_t{0});
  at = Put(at, segment.first);
  Put(at, uint64_t{XXH3_64bits(header, kHeader - 8)});
  Write(header, kHeader);
  // Not every file system syncs folders.
  if (fsync(folder_fd_) != 0 && errno != EINVAL) {
    Fail(folder_, "the name of the input log on disk");
  }
}

void InputLog::OpenFolder() {
  if (folder_fd_ >= 0) close(folder_fd_);
  folder_fd_ = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd_ < 0) Fail(folder_, "a folder");
}

// Files in a folder that was removed, moved or mounted over take writes that no restart would find,
// and in one that came back the snapshot is missing.
void InputLog::CheckFolder() {
  struct stat ours {};
  struct stat found {};
  struct stat file {};
  const bool there = fstat(folder_fd_, &ours) == 0 && stat(folder_.c_str(), &found) == 0 &&
                     ours.st_dev == found.st_dev && ours.st_ino == found.st_ino &&
                     (fd_ < 0 || (fstat(fd_, &file) == 0 && file.st_nlink > 0));
  if (!there && !lost_at_) {
    lost_at_ = last_index_;
    segments_.clear();
    bytes_ = 0;
    Close();
    wants_ = true;
  }
  if (lost_at_) {
    throw Error(Status::io_error,
                folder_ +
                    ": expected the input log in it, got a folder without; nothing is kept "
                    "until a snapshot could be written there");
  }
}

bool InputLog::Commit(std::span<SampleHead> heads, std::span<const float> x) {
  if (heads.empty()) return true;
  const std::lock_guard lock(mutex_);
  try {
    CheckFolder();
    if (bytes_ > kMost) {
      throw Error(Status::io_error, folder_ + ": expected at most " + std::to_string(kMost >> 20) +
                                        " MiB of input log behind the last snapshot, got more");
    }
    if (fd_ >= 0 && segments_.back().bytes >= kSegment) Close();
    if (fd_ < 0) NewSegment();
    Encode(heads, x);
    Write(buffer_.data(), buffer_.size());
  } catch (const std::exception& e) {  // a shortage of memory among them
    Close();
    error_ = e.what();
    ++errors_;
    return false;
  }
  last_index_ += heads.size();
  last_seq_ = heads.back().seq;
  since_checkpoint_ += buffer_.size();
  if (since_checkpoint_ > kWantCheckpoint) wants_ = true;
  return true;
}

void InputLog::Truncate(uint64_t oldest, uint64_t newest) {
  const std::lock_guard lock(mutex_);
  while (segments_.size() > 1 && segments_[1].first <= oldest + 1) {
    unlink(segments_.front().path.c_str());
    bytes_ -= segments_.front().bytes;
    segments_.erase(segments_.begin());
  }
  since_checkpoint_ = 0;
  if (lost_at_ && newest >= *lost_at_) {
    OpenFolder();
    lost_at_.reset();
  }
  wants_ = lost_at_.has_value();
}

std::string InputLog::last_error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

}  // namespace xstd
