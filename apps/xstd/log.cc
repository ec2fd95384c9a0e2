#include "apps/xstd/log.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

namespace xstd {
namespace {

struct State {
  std::mutex mutex;
  std::set<std::string, std::less<>> streams;
  bool json = false;
};

State& TheState() {
  static State state;
  return state;
}

std::string Time(std::chrono::system_clock::time_point at) {
  using std::chrono::microseconds;
  const auto us = std::chrono::duration_cast<microseconds>(at.time_since_epoch()).count();
  const auto seconds = static_cast<time_t>(us / 1000000);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  char text[48], all[64];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
  std::snprintf(all, sizeof(all), "%s.%06dZ", text, static_cast<int>(us % 1000000));
  return all;
}

std::string JsonLine(std::chrono::system_clock::time_point at, std::string_view level,
                     std::string_view message) {
  nlohmann::ordered_json line;
  line["time"] = Time(at);
  line["level"] = level;
  const size_t colon = message.find(": ");
  if (colon != std::string_view::npos) {
    State& state = TheState();
    const std::lock_guard lock(state.mutex);
    if (state.streams.count(message.substr(0, colon))) {
      line["stream"] = message.substr(0, colon);
      message.remove_prefix(colon + 2);
    }
  }
  line["message"] = message;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Print(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& out) override {
    const auto level = spdlog::level::to_string_view(msg.level);
    const std::string line =
        JsonLine(msg.time, {level.data(), level.size()}, {msg.payload.data(), msg.payload.size()});
    out.append(line.data(), line.data() + line.size());
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace

void SetLog(const LogConfig& config) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err};
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("xstd", std::move(sink));
  TheState().json = config.format == LogConfig::Format::json;
  if (TheState().json) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_pattern("xstd: %l: %v");
  }
  logger->set_level(kLevels[static_cast<size_t>(config.level)]);
  spdlog::set_default_logger(std::move(logger));
}

void SetLogStreams(const std::set<std::string>& names) {
  State& state = TheState();
  const std::lock_guard lock(state.mutex);
  state.streams.clear();
  state.streams.insert(names.begin(), names.end());
}

void Announce(const std::string& line) {
  Print(TheState().json ? JsonLine(std::chrono::system_clock::now(), "info", line) : line);
}

void LogFatal(const std::string& message) {
  Print(TheState().json ? JsonLine(std::chrono::system_clock::now(), "error", message)
                        : "xstd: error: " + message);
}

}  // namespace xstd
