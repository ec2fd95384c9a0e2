#include "apps/xstd/serial_source.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "formats/status.h"
#include "sdk/stream/records.h"

namespace xstd {
namespace {

using std::chrono::milliseconds;
using xst::Error;
using xst::Status;
using xst::stream::Records;

constexpr milliseconds kPoll(50), kFirstWait(100), kLongestWait(3000);

struct Baud {
  uint32_t rate;
  speed_t code;
};
constexpr Baud kBauds[] = {{1200, B1200},       {2400, B2400},       {4800, B4800},
                           {9600, B9600},       {19200, B19200},     {38400, B38400},
                           {57600, B57600},     {115200, B115200},   {230400, B230400},
                           {460800, B460800},   {500000, B500000},   {576000, B576000},
                           {921600, B921600},   {1000000, B1000000}, {1152000, B1152000},
                           {1500000, B1500000}, {2000000, B2000000}, {2500000, B2500000},
                           {3000000, B3000000}, {3500000, B3500000}, {4000000, B4000000}};

const Baud* FindBaud(uint32_t rate) {
  const auto* at = std::find_if(std::begin(kBauds), std::end(kBauds),
                                [rate](const Baud& b) { return b.rate == rate; });
  return at == std::end(kBauds) ? nullptr : at;
}

// A device that is absent, not one that is wrong.
bool MayComeBack(int number) {
  return number == ENOENT || number == ENXIO || number == ENODEV || number == EIO ||
         number == EBUSY;
}

bool SetLine(int fd, uint32_t baud) {
  termios line{};
  if (tcgetattr(fd, &line) != 0) return false;
  cfmakeraw(&line);  // 8 bits, no parity
  line.c_cflag |= CLOCAL | CREAD;
  line.c_cflag &= ~static_cast<tcflag_t>(CSTOPB | CRTSCTS);
  const Baud* speed = FindBaud(baud);
  if (!speed || cfsetspeed(&line, speed->code) != 0) return false;
  return tcsetattr(fd, TCSANOW, &line) == 0;
}

}  // namespace

bool IsBaudRate(uint32_t baud) { return FindBaud(baud) != nullptr; }

SerialSource::SerialSource(std::string device, uint32_t baud)
    : device_(std::move(device)), baud_(baud), buffer_(2 * Records::kMaxBytes) {
  Open();
}

SerialSource::~SerialSource() { Close(); }

xst::stream::SourceCounts SerialSource::counts() const {
  xst::stream::SourceCounts counts;
  counts.reconnects = reconnects_;
  return counts;
}

void SerialSource::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

// False: the device is not there.
bool SerialSource::Open() {
  fd_ = open(device_.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  const bool set = fd_ >= 0 && SetLine(fd_, baud_);
  const int number = errno;
  if (set) {
    ioctl(fd_, TIOCEXCL);  // another reader would take bytes
    at_line_start_ = false;
    size_ = 0;
    was_open_ = true;
    return true;
  }
  Close();
  why_ = std::strerror(number);
  // Once it was there, whatever keeps it away may end: udev sets owner and group after the node.
  if (was_open_ || MayComeBack(number)) return false;
  throw Error(number == ENOTTY ? Status::invalid_argument : Status::io_error,
              "source.device: expected a serial device, got " + device_ + ": " + why_);
}

bool SerialSource::Read() {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(kPoll.count())) <= 0) return true;
  const ssize_t n = read(fd_, buffer_.data() + size_, buffer_.size() - size_);
  if (n > 0) {
    size_ += static_cast<size_t>(n);
    return true;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  why_ = n == 0 ? "hung up" : std::strerror(errno);
  return false;
}

void SerialSource::TakeLines(xst::stream::Stream& stream) {
  Records records(stream);
  size_t begin = 0;
  for (;;) {
    const auto* end =
        static_cast<const char*>(std::memchr(buffer_.data() + begin, '\n', size_ - begin));
    if (!end) break;
    const auto next = static_cast<size_t>(end - buffer_.data()) + 1;
    if (at_line_start_) records.TakeLines({buffer_.data() + begin, next - begin - 1});
    at_line_start_ = true;
    begin = next;
  }
  size_ -= begin;
  std::memmove(buffer_.data(), buffer_.data() + begin, size_);
  if (size_ > Records::kMaxBytes) {
    if (at_line_start_) stream.Reject("line: expected at most 64 KiB, got more");
    at_line_start_ = false;
    size_ = 0;
  }
}

void SerialSource::Run(xst::stream::Stream& stream, std::stop_token stop) {
  const std::string& name = stream.options().name;
  bool said = false, counted = fd_ >= 0;
  milliseconds wait = kFirstWait;
  while (!stop.stop_requested()) {
    if (fd_ >= 0) {
      const size_t before = size_;
      if (Read()) {
        if (size_ > before) {
          if (std::exchange(said, false)) spdlog::info("{}: {} is back", name, device_);
          wait = kFirstWait;
          TakeLines(stream);
        }
        continue;
      }
      Close();
    }
    if (!std::exchange(said, true)) {
      spdlog::warn("{}: expected data from {}, got {}; waits for the device", name, device_, why_);
    }
    for (milliseconds slept(0); slept < wait && !stop.stop_requested(); slept += kPoll) {
      std::this_thread::sleep_for(kPoll);
    }
    wait = std::min(2 * wait, kLongestWait);
    if (stop.stop_requested() || !Open()) continue;
    if (counted) ++reconnects_;
    counted = true;
  }
}

}  // namespace xstd
