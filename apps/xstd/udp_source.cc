#include "apps/xstd/udp_source.h"

#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "formats/status.h"
#include "sdk/stream/records.h"

namespace xstd {
namespace {

using std::chrono::steady_clock;
using xst::Error;
using xst::Status;
using xst::stream::Records;

constexpr int kPollMs = 50;
constexpr std::chrono::seconds kDrain(1);

}  // namespace

UdpSource::UdpSource(const std::string& endpoint, std::vector<Network> allow)
    : allow_(std::move(allow)), buffer_(Records::kMaxBytes) {
  constexpr int kOn = 1, kReceiveBytes = 4 << 20;  // the kernel gives what it allows
  const std::string what = "source.endpoint: expected a free UDP address, got " + endpoint + ": ";
  sockaddr_storage address{};
  socklen_t length = 0;
  if (!ParseAddress(endpoint, &address, &length)) {
    throw Error(Status::invalid_argument, what + "not ADDRESS:PORT");
  }
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  fd_ = socket(generic->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) throw Error(Status::io_error, what + std::strerror(errno));
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof(kReceiveBytes));
  setsockopt(fd_, SOL_SOCKET, SO_RXQ_OVFL, &kOn, sizeof(kOn));
  if (generic->sa_family == AF_INET6) {
    setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &kOn, sizeof(kOn));
  }
  if (bind(fd_, generic, length) != 0) {
    const int number = errno;
    close(fd_);
    throw Error(Status::io_error, what + std::strerror(number));
  }
  getsockname(fd_, generic, &length);
  endpoint_ = ToText(*generic);
}

UdpSource::~UdpSource() { close(fd_); }

xst::stream::SourceCounts UdpSource::counts() const {
  xst::stream::SourceCounts counts;
  counts.refused = refused_;
  counts.lost = lost_;
  return counts;
}

UdpSource::Received UdpSource::Receive(size_t* size, bool* cut) {
  sockaddr_storage from{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(uint32_t))];
  iovec room{buffer_.data(), buffer_.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof(from);
  message.msg_iov = &room;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t n = recvmsg(fd_, &message, 0);
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED) return Received::none;
    throw Error(Status::io_error,
                "source: expected datagrams, got " + std::string(std::strerror(errno)));
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    uint32_t dropped;  // since the socket was made
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL) continue;
    std::memcpy(&dropped, CMSG_DATA(c), sizeof(dropped));
    lost_ += static_cast<uint32_t>(dropped - static_cast<uint32_t>(lost_.load()));
  }
  if (!allow_.empty() && !InNetworks(reinterpret_cast<const sockaddr&>(from), allow_)) {
    ++refused_;
    return Received::refused;
  }
  *size = static_cast<size_t>(n);
  *cut = (message.msg_flags & MSG_TRUNC) != 0;
  return Received::datagram;
}

void UdpSource::Run(xst::stream::Stream& stream, std::stop_token stop) {
  Records records(stream);
  steady_clock::time_point end{};  // of what arrived before the stop
  for (;;) {
    if (stop.stop_requested()) {
      if (end == steady_clock::time_point{}) end = steady_clock::now() + kDrain;
      if (steady_clock::now() > end) return;
    }
    size_t size = 0;
    bool cut = false;
    const Received received = Receive(&size, &cut);
    if (received == Received::datagram) {
      if (cut) {
        stream.Reject("datagram: expected at most 64 KiB, got more");
      } else {
        records.TakeLines({buffer_.data(), size});
      }
    } else if (received == Received::none) {
      if (stop.stop_requested()) return;
      pollfd ready{fd_, POLLIN, 0};
      poll(&ready, 1, kPollMs);
    }
  }
}

}  // namespace xstd
