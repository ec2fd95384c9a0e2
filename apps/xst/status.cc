// xst status: how a running daemon does, asked at its HTTP port.
#include <httplib.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/xst/commands.h"
#include "formats/text.h"

namespace xst::cli {
namespace {

using nlohmann::json;

struct StatusArgs {
  std::string endpoint = "127.0.0.1:9873";
  bool as_json = false;
};

constexpr size_t kMaxBytes = 64 << 20;

std::string Ask(const std::string& endpoint) {
  const std::string address = endpoint.rfind("http://", 0) == 0 ? endpoint.substr(7) : endpoint;
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  if (port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string::npos || std::stoi(port) > 65535) {
    throw UsageError("endpoint: expected HOST:PORT, got " + formats::Printable(endpoint));
  }
  httplib::Client client("http://" + address);
  client.set_connection_timeout(2);
  client.set_read_timeout(5);
  std::string text;
  const auto answer = client.Get("/status", [&](const char* bytes, size_t size) {
    text.append(bytes, size);
    return text.size() <= kMaxBytes;
  });
  if (!answer) {
    throw std::runtime_error(endpoint +
                             ": expected a daemon with this http endpoint, got no answer (" +
                             httplib::to_string(answer.error()) + ")");
  }
  if (answer->status != 200) {
    throw std::runtime_error(endpoint + ": expected the status of a daemon, got HTTP status " +
                             std::to_string(answer->status));
  }
  return text;
}

std::string Count(const json& value) {
  const std::string digits = std::to_string(value.get<uint64_t>());
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string Micros(const json& value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value.get<double>());
  return text;
}

std::string Uptime(double seconds) {
  const auto s = static_cast<long>(seconds);
  char text[64];
  std::snprintf(text, sizeof(text), "%ld d %02ld:%02ld:%02ld", s / 86400, s / 3600 % 24,
                s / 60 % 60, s % 60);
  return text;
}

// Of a stream: what it lost, by name.
std::string Losses(const json& counts) {
  std::string text;
  for (const auto& [name, value] : counts.items()) {
    if (name == "samples" || name == "outputs" || name == "snapshots" || value == 0) continue;
    if (!text.empty()) text += ", ";
    text += formats::Printable(name) + " " + Count(value);
  }
  return text.empty() ? "none" : text;
}

std::string State(const json& stream) {
  if (stream.at("failed").get<bool>()) return "failed";
  for (const json& alarm : stream.at("alarms")) {
    if (alarm.at("active").get<bool>()) return "ALARM";
  }
  return stream.at("ended").get<bool>() ? "ended" : "up";
}

// Columns as wide as their widest cell; the last as it is.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      const bool left = i < 2 || i + 1 == row.size();  // names, not figures
      line += left ? row[i] + (i + 1 == row.size() ? "" : space) : space + row[i];
      if (i + 1 < row.size()) line += "  ";
    }
    std::printf("%s\n", line.c_str());
  }
}

void Print(const json& status) {
  std::printf("xstd %s  up %s  %.1f MiB  %s  publishes at %s\n\n",
              formats::Printable(status.at("version").get<std::string>()).c_str(),
              Uptime(status.at("uptime_s").get<double>()).c_str(),
              status.at("rss_bytes").get<double>() / (1 << 20),
              status.at("healthy").get<bool>() ? "healthy" : "NOT HEALTHY: steps stand still",
              formats::Printable(status.at("publish").get<std::string>()).c_str());
  std::vector<std::vector<std::string>> rows = {{"stream", "state", "outputs", "queue",
                                                 "step us p50", "p99", "latency us p99",
                                                 "losses and marks"}};
  for (const json& s : status.at("streams")) {
    const json& queue = s.at("queue");
    rows.push_back({formats::Printable(s.at("name").get<std::string>()), State(s),
                    Count(s.at("counts").at("outputs")),
                    Count(queue.at("fill")) + "/" + Count(queue.at("capacity")),
                    Micros(s.at("step_us").at("p50")), Micros(s.at("step_us").at("p99")),
                    Micros(s.at("latency_us").at("p99")), Losses(s.at("counts"))});
  }
  PrintTable(rows);
}

void ShowStatus(const StatusArgs& args) {
  const std::string text = Ask(args.endpoint);
  const json status = json::parse(text, nullptr, false);
  try {
    if (status.is_discarded()) throw std::runtime_error("");
    if (args.as_json) {
      std::printf("%s\n", status.dump(2).c_str());
    } else {
      Print(status);
    }
  } catch (const std::exception&) {
    throw std::runtime_error(args.endpoint + ": expected the status of a daemon, got other text");
  }
}

}  // namespace

void AddStatus(CLI::App* app) {
  auto args = std::make_shared<StatusArgs>();
  CLI::App* command =
      app->add_subcommand("status", "Say how a running daemon does; it must have an http endpoint");
  command->add_option("endpoint", args->endpoint, "the daemon's http endpoint")
      ->type_name("HOST:PORT");
  command->add_flag("--json", args->as_json, "as JSON");
  command->callback([args] { ShowStatus(*args); });
}

}  // namespace xst::cli
