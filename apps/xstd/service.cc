#include "apps/xstd/service.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace xstd {
namespace {

std::optional<uint64_t> Number(const char* name) {
  const char* const text = std::getenv(name);
  if (!text) return std::nullopt;
  const char* const end = text + std::strlen(text);
  uint64_t value = 0;
  const auto result = std::from_chars(text, end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

}  // namespace

ServiceManager::ServiceManager() {
  const char* const address = std::getenv("NOTIFY_SOCKET");
  if (!address || (address[0] != '/' && address[0] != '@')) return;
  if (std::strlen(address) >= sizeof(sockaddr_un::sun_path)) return;
  address_ = address;
  socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const auto period = Number("WATCHDOG_USEC");
  const auto pid = Number("WATCHDOG_PID");
  if (period && *period > 0 && (!pid || *pid == static_cast<uint64_t>(getpid()))) {
    watchdog_ = std::chrono::microseconds(*period);
  }
}

ServiceManager::~ServiceManager() {
  if (socket_ >= 0) close(socket_);
}

// A full or missing socket is no reason to stop: the manager then acts as if nothing was said.
void ServiceManager::Send(const std::string& message) {
  if (socket_ < 0) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';  // the abstract namespace
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  sendto(socket_, message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to),
         size);
}

void ServiceManager::Reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t us = static_cast<uint64_t>(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
  Send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(us));
}

void ServiceManager::Status(const std::string& line) {
  if (line == status_) return;
  status_ = line;
  Send("STATUS=" + line);
}

bool StepWatch::Alive(const std::vector<Progress>& streams) {
  for (const Progress& stream : streams) {
    const auto before = moved_.find(stream.name);
    if (stream.waits && before != moved_.end() && before->second == stream.moved) return false;
  }
  moved_.clear();
  for (const Progress& stream : streams) moved_[stream.name] = stream.moved;
  return true;
}

}  // namespace xstd
