#include "apps/xstd/web.h"

#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "apps/xstd/status_text.h"

namespace xstd {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFrame(50), kStatusEvery(1000);
constexpr char kJson[] = "application/json";

std::string Nonce() {
  constexpr char kHex[] = "0123456789abcdef";
  std::random_device device;
  std::string nonce;
  for (int i = 0; i < 4; ++i) {
    uint32_t word = device();
    for (int digit = 0; digit < 8; ++digit, word >>= 4) nonce += kHex[word & 15];
  }
  return nonce;
}

void ServePage(httplib::Response* response) {
  const std::string nonce = Nonce();
  std::string page = kLivePage;
  constexpr std::string_view kMark = "@NONCE@";
  for (size_t at = 0; (at = page.find(kMark, at)) != std::string::npos;) {
    page.replace(at, kMark.size(), nonce);
  }
  response->set_header("Content-Security-Policy",
                       "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'nonce-" +
                           nonce +
                           "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action "
                           "'none'; frame-ancestors 'none'");
  response->set_content(page, "text/html; charset=utf-8");
}

// What one open page is sent: its stream's series whenever they change, the status every second,
// points as they come.
class Events {
 public:
  Events(const StatusBoard& board, const LiveSink& live, std::string stream)
      : board_(board), live_(live), stream_(std::move(stream)) {}

  // What is new; empty: nothing.
  std::string Next() {
    std::string out;
    const auto now = steady_clock::now();
    if (now >= next_status_) {
      next_status_ = now + kStatusEvery;
      const auto status = board_.Get();
      const StreamStatus* stream = status->Find(stream_);
      if (!stream && !status->streams.empty()) stream = &status->streams.front();
      if (stream) {
        if (stream->name != stream_) cursor_ = 0;
        stream_ = stream->name;
        std::string series = SeriesJson(*stream);
        if (series != series_) Add("series", series_ = std::move(series), &out);
        Add("status", PageStatusJson(*status, board_.Healthy(), *stream), &out);
      }
    }
    while (out.size() < kMaxFrame && live_.Read(stream_, &cursor_, &batch_)) {
      Add("points", PointsJson(batch_), &out);
    }
    return out;
  }

 private:
  static constexpr size_t kMaxFrame = 1 << 20;

  static void Add(const char* event, const std::string& data, std::string* out) {
    *out += std::string("event: ") + event + "\ndata: " + data + "\n\n";
  }

  const StatusBoard& board_;
  const LiveSink& live_;
  std::string stream_, series_;
  uint64_t cursor_ = 0;
  LiveBatch batch_;
  steady_clock::time_point next_status_{};
};

}  // namespace

Web::Web(const HttpConfig& config, const StatusBoard* board, const LiveSink* live)
    : board_(*board),
      live_(*live),
      server_(config, [this](const auto& request, auto& response) { Serve(request, response); }) {}

void Web::Serve(const httplib::Request& request, httplib::Response& response) {
  const std::string& path = request.path;
  if (path == "/") {
    ServePage(&response);
  } else if (path == "/events" && request.method == "GET") {
    ServeEvents(request, response);
  } else if (path == "/status") {
    response.set_content(StatusJson(*board_.Get(), board_.Healthy()), kJson);
  } else if (path == "/metrics") {
    response.set_content(
        Metrics(*board_.Get(), board_.Healthy(), static_cast<uint64_t>(viewers_.load())),
        "text/plain; version=0.0.4; charset=utf-8");
  } else if (path == "/healthz") {
    const bool healthy = board_.Healthy();
    response.status = healthy ? 200 : 503;
    response.set_content(healthy ? "ok\n" : "samples wait and no step moves\n", "text/plain");
  } else {
    response.status = 404;
    response.set_content("path: expected /, /status, /metrics or /healthz\n", "text/plain");
  }
}

void Web::ServeEvents(const httplib::Request& request, httplib::Response& response) {
  if (viewers_.fetch_add(1) >= kMaxViewers) {
    viewers_.fetch_sub(1);
    response.status = 503;
    response.set_header("Retry-After", "10");
    response.set_content("events: expected at most 8 viewers at a time\n", "text/plain");
    return;
  }
  auto events = std::make_shared<Events>(board_, live_, request.get_param_value("stream"));
  response.set_content_provider(
      "text/event-stream",
      [this, events](size_t, httplib::DataSink& sink) {
        const std::string text = events->Next();
        if (!text.empty() && !sink.write(text.data(), text.size())) return false;
        return server_.WaitFor(kFrame);
      },
      [this](bool) { viewers_.fetch_sub(1); });
}

}  // namespace xstd
