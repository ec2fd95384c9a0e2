// An HTTP server for this machine that no client can hurt: one short GET a connection, few
// connections, deadlines on everything.
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "apps/xstd/config_ops.h"

namespace xstd {

class HttpServer : private httplib::Server {
 public:
  static constexpr size_t kMaxConnections = 24;  // more wait in the kernel's backlog
  static constexpr size_t kMaxRequest = 8192;    // bytes of a request line and its headers
  static constexpr std::chrono::seconds kRequestTime{5}, kResponseTime{20}, kSilence{2};

  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;

  // Binds; requests that name another host than this one never reach the handler (a web page
  // elsewhere could have its name point here). Throws xst::Error if the port is taken.
  HttpServer(const HttpConfig& config, Handler handler);
  ~HttpServer() override;  // stops

  const std::string& endpoint() const { return endpoint_; }  // "127.0.0.1:9873"
  void Start();
  void Stop();  // ends all connections
  // Waits in a handler's stream; false: it is to end.
  bool WaitFor(std::chrono::milliseconds time);

 private:
  bool process_and_close_socket(socket_t socket) override;
  HandlerResponse Route(const httplib::Request& request, httplib::Response& response) const;

  Handler handler_;
  std::string endpoint_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::atomic<bool> ended_{false};  // accepts no more
  std::set<socket_t> open_;
  std::thread thread_;
};

}  // namespace xstd
