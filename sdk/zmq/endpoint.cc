#include "sdk/zmq/endpoint.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "formats/status.h"
#include "sdk/zmq/zap.h"

namespace xst::zeromq {
namespace {

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool IsIpv4Loopback(std::string_view host) {
  if (!StartsWith(host, "127.") || host.size() > 15) return false;
  return host.find_first_not_of("0123456789.") == std::string_view::npos;
}

// libzmq unlinks an existing ipc path before it binds, and so would take it from a running process.
bool AnswersOnPath(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool answers =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return answers;
}

}  // namespace

void KeepAlive(zmq::socket_t& socket) {
  socket.set(zmq::sockopt::heartbeat_ivl, 0);
  socket.set(zmq::sockopt::tcp_keepalive, 1);
  socket.set(zmq::sockopt::tcp_keepalive_idle, 30);
  socket.set(zmq::sockopt::tcp_keepalive_intvl, 10);
  socket.set(zmq::sockopt::tcp_keepalive_cnt, 3);
}

void Harden(zmq::socket_t& socket) {
  // A peer that is busy for a while is not dead: its answers wait behind what it has not yet read.
  constexpr int kHandshakeMs = 2000, kHeartbeatMs = 1000, kSilentMs = 30000;
  constexpr int64_t kMaxMessage = 64 * 1024;
  socket.set(zmq::sockopt::maxmsgsize, kMaxMessage);
  socket.set(zmq::sockopt::handshake_ivl, kHandshakeMs);
  socket.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
  socket.set(zmq::sockopt::heartbeat_timeout, kSilentMs);
}

std::string Bind(zmq::socket_t& socket, const std::string& endpoint, const std::string& what,
                 const CurveServer* curve) {
  std::string address = endpoint;
  if (StartsWith(endpoint, "tcp://")) {
    const size_t colon = endpoint.rfind(':');
    const std::string host = colon > 6 ? endpoint.substr(6, colon - 6) : "";
    if (host == "localhost") {
      address = "tcp://127.0.0.1" + endpoint.substr(colon);
    }
    if (StartsWith(host, "[")) socket.set(zmq::sockopt::ipv6, true);
    if (curve) {
      curve->Protect(socket);
    } else if (host != "localhost" && host != "[::1]" && !IsIpv4Loopback(host)) {
      throw Error(
          Status::invalid_argument,
          what + ": expected a loopback address (tcp://127.0.0.1:PORT) or ipc://PATH, got " +
              endpoint + " (an address of the network needs curve: {secret: FILE, clients: FILE})");
    }
  } else if (StartsWith(endpoint, "ipc://")) {
    struct stat info;
    if (lstat(endpoint.c_str() + 6, &info) == 0 && !S_ISSOCK(info.st_mode)) {
      throw Error(Status::io_error, what + ": expected a socket or no file at the path, got " +
                                        endpoint + ", which is another kind of file");
    }
    if (AnswersOnPath(endpoint.substr(6))) {
      throw Error(Status::io_error,
                  what + ": expected a free address, got " + endpoint + ": Address already in use");
    }
  } else {
    throw Error(Status::invalid_argument,
                what + ": expected tcp://127.0.0.1:PORT or ipc://PATH, got " + endpoint);
  }
  try {
    socket.bind(address);
  } catch (const zmq::error_t& e) {
    throw Error(Status::io_error,
                what + ": expected a free address, got " + endpoint + ": " + e.what());
  }
  return socket.get(zmq::sockopt::last_endpoint);
}

}  // namespace xst::zeromq
