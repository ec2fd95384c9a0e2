// What the HTTP port serves: the live page and its events, status, metrics, health.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "apps/xstd/http_server.h"
#include "apps/xstd/live_sink.h"
#include "apps/xstd/status_board.h"

namespace xstd {

// Reads the board and the sink, which must outlive it, and nothing else of the daemon.
class Web {
 public:
  static constexpr int kMaxViewers = 8;  // open event streams

  // Binds. Throws xst::Error.
  Web(const HttpConfig& config, const StatusBoard* board, const LiveSink* live);

  const std::string& endpoint() const { return server_.endpoint(); }
  void Start() { server_.Start(); }
  void Stop() { server_.Stop(); }

 private:
  void Serve(const httplib::Request& request, httplib::Response& response);
  void ServeEvents(const httplib::Request& request, httplib::Response& response);

  const StatusBoard& board_;
  const LiveSink& live_;
  std::atomic<int> viewers_{0};
  HttpServer server_;  // last: its threads use the others
};

// The page, of page/: `@NONCE@` stands where its style and script carry the nonce of the policy.
extern const char* const kLivePage;

}  // namespace xstd
