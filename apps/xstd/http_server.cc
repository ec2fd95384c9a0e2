#include "apps/xstd/http_server.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "formats/status.h"

namespace xstd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Threads that come with a connection and go with it. Full: the accepting thread waits.
class Workers : public httplib::TaskQueue {
 public:
  void enqueue(std::function<void()> task) override {
    {
      std::unique_lock lock(state_->mutex);
      state_->ended.wait(lock, [&] { return state_->running < HttpServer::kMaxConnections; });
      ++state_->running;
    }
    const auto run = [state = state_, task] {
      try {
        task();
      } catch (const std::exception&) {  // out of memory: this client has no answer
      }
      const std::lock_guard lock(state->mutex);
      --state->running;
      state->ended.notify_all();
    };
    try {
      std::thread(run).detach();
    } catch (const std::system_error&) {  // no more threads: the accepting one serves
      run();
    }
  }
  void shutdown() override {
    std::unique_lock lock(state_->mutex);
    state_->ended.wait(lock, [&] { return state_->running == 0; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable ended;
    size_t running = 0;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();  // outlives the queue
};

// One connection. The request's head is read by the server before this is parsed: no parser waits
// for a client, and there is nothing behind the head.
class Connection : public httplib::Stream {
 public:
  explicit Connection(socket_t socket) : socket_(socket) {}

  // 0, or the status that answers what is not a request.
  int ReadHead() {
    const auto end = steady_clock::now() + HttpServer::kRequestTime;
    while (head_.find("\r\n\r\n") == std::string::npos) {
      if (head_.size() >= HttpServer::kMaxRequest) return 431;
      if (!Wait(POLLIN, end)) return 408;
      char bytes[2048];
      const ssize_t n =
          recv(socket_, bytes, std::min(sizeof(bytes), HttpServer::kMaxRequest - head_.size()),
               MSG_DONTWAIT);
      if (n == 0) return 400;
      if (n < 0 && errno != EAGAIN && errno != EINTR) return 400;
      if (n > 0) head_.append(bytes, static_cast<size_t>(n));
    }
    head_.resize(head_.find("\r\n\r\n") + 4);
    return 0;
  }
  // An event stream lives as long as its reader reads.
  void LetLive() { endless_ = true; }

  bool is_readable() const override { return at_ < head_.size(); }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, size_t size) override {
    const size_t n = std::min(size, head_.size() - at_);
    std::copy_n(head_.data() + at_, n, out);
    at_ += n;
    return static_cast<ssize_t>(n);
  }
  ssize_t write(const char* bytes, size_t size) override {
    size_t done = 0;
    while (done < size) {
      const auto silence = steady_clock::now() + HttpServer::kSilence;
      if (!Wait(POLLOUT, endless_ ? silence : std::min(silence, end_))) return -1;
      const ssize_t n = send(socket_, bytes + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR) return -1;
      if (n > 0) done += static_cast<size_t>(n);
    }
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool Wait(short events, steady_clock::time_point end) const {
    for (;;) {
      const auto left = std::chrono::ceil<milliseconds>(end - steady_clock::now()).count();
      if (left <= 0) return false;
      pollfd fd{socket_, events, 0};
      const int n = poll(&fd, 1, static_cast<int>(left));
      if (n > 0) return true;
      if (n == 0 || errno != EINTR) return false;
    }
  }

  const socket_t socket_;
  std::string head_;
  size_t at_ = 0;
  bool endless_ = false;
  const steady_clock::time_point end_ = steady_clock::now() + HttpServer::kResponseTime;
};

// Whether a Host header names this machine by a name that no one else can point here.
bool IsLocal(std::string host) {
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) host.resize(colon);
  std::transform(host.begin(), host.end(), host.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

}  // namespace

HttpServer::HttpServer(const HttpConfig& config, Handler handler) : handler_(std::move(handler)) {
  new_task_queue = [] { return new Workers; };
  set_pre_routing_handler(
      [this](const auto& request, auto& response) { return Route(request, response); });
  set_tcp_nodelay(true);
  // Not the default of httplib, SO_REUSEPORT: two daemons would share a port.
  set_socket_options([](socket_t socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  const bool v6 = config.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + config.host + "]" : config.host;
  errno = 0;
  const int port = config.port == 0                         ? bind_to_any_port(config.host)
                   : bind_to_port(config.host, config.port) ? config.port
                                                            : -1;
  if (port <= 0) {
    throw xst::Error(xst::Status::io_error, "http endpoint " + host + ":" +
                                                std::to_string(config.port) +
                                                ": expected an address to bind, got " +
                                                (errno ? std::strerror(errno) : "an error"));
  }
  endpoint_ = host + ":" + std::to_string(port);
}

HttpServer::~HttpServer() { Stop(); }

void HttpServer::Start() {
  thread_ = std::thread([this] {
    listen_after_bind();
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (!stopping_)
      spdlog::error("http: expected to accept connections, got an error of the system");
  });
}

void HttpServer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const socket_t socket : open_) shutdown(socket, SHUT_RDWR);
  }
  stopped_.notify_all();
  if (!thread_.joinable()) return;
  while (!is_running() && !ended_) std::this_thread::sleep_for(milliseconds(1));
  stop();
  thread_.join();
}

bool HttpServer::WaitFor(milliseconds time) {
  std::unique_lock lock(mutex_);
  return !stopped_.wait_for(lock, time, [this] { return stopping_; });
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      close(socket);
      return false;
    }
    open_.insert(socket);
  }
  const int kSendBuffer = 128 << 10;  // what a slow reader may have in flight
  setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
  Connection connection(socket);
  const int status = connection.ReadHead();
  if (status != 0) {
    connection.write_format("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                            status, status == 431 ? "Request Header Fields Too Large" : "Bad");
  } else {
    bool closed = false;
    process_request(connection, true, closed, [&](httplib::Request& request) {
      // Nothing here is worth a compressor or a part of an answer.
      request.headers.erase("Accept-Encoding");
      request.ranges.clear();
      if (request.path == "/events") connection.LetLive();
    });
  }
  const std::lock_guard lock(mutex_);
  open_.erase(socket);
  shutdown(socket, SHUT_RDWR);
  close(socket);
  return status == 0;
}

httplib::Server::HandlerResponse HttpServer::Route(const httplib::Request& request,
                                                   httplib::Response& response) const {
  response.headers = {{"X-Content-Type-Options", "nosniff"},
                      {"X-Frame-Options", "DENY"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Cache-Control", "no-store"}};
  const auto refuse = [&](int status, const char* why) {
    response.status = status;
    response.set_content(std::string(why) + "\n", "text/plain");
  };
  if (!IsLocal(request.get_header_value("Host"))) {
    refuse(403, "host: expected localhost, 127.0.0.1 or [::1]");
  } else if (request.method != "GET" && request.method != "HEAD") {
    refuse(405, "method: expected GET");
  } else {
    response.status = 200;
    handler_(request, response);
  }
  return HandlerResponse::Handled;
}

}  // namespace xstd
