// xst replay: a recording sent to a daemon as a live sensor would send it.
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "apps/terminal/feed.h"
#include "apps/xst/commands.h"
#include "formats/number.h"
#include "formats/text.h"

namespace xst::cli {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct ReplayArgs {
  std::string data, endpoint;
  KeyArgs keys;
  double rate = 0;
  bool fast = false;
};

// The fields of a CSV line, without quotes around them.
void Split(std::string_view line, std::vector<std::string_view>* fields) {
  fields->clear();
  formats::FieldReader reader(line);
  for (std::string_view field; reader.Next(&field);) {
    if (field.size() >= 2 && field.front() == '"' && field.back() == '"') {
      field = field.substr(1, field.size() - 2);
    }
    fields->push_back(field);
  }
}

// t, time or timestamp, as xstd's own recordings may call it.
bool IsTime(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "t" || lower == "time" || lower == "timestamp";
}

// A recording, read line by line: the first column may be a time, one named seq is a counter, every
// other is a channel in file order.
class Recording {
 public:
  explicit Recording(const std::string& path) : path_(path), file_(path) {
    std::string line;
    if (!file_) throw Error(Status::not_found, path + ": expected a CSV file, got none");
    if (!std::getline(file_, line)) Fail("a header line", "an empty file");
    if (line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // byte order mark
    std::vector<std::string_view> names;
    Split(line, &names);
    for (size_t i = 0; i < names.size(); ++i) {
      if (i == 0 && IsTime(names[i])) {
        time_ = i;
      } else if (names[i] == "seq") {
        seq_ = i;
      } else {
        channels_.push_back(i);
      }
    }
    columns_ = names.size();
    if (channels_.empty()) Fail("a column beside time and seq", line);
    float number;
    if (formats::ParseFloat(names[channels_[0]], &number)) Fail("a header line of names", line);
  }

  bool has_time() const { return time_.has_value(); }

  // The next sample as a message, and its time if there is one; false at the end.
  bool Next(std::string* message, double* t) {
    if (!std::getline(file_, line_)) {
      if (file_.bad()) Fail("to read on", "an input error");
      return false;
    }
    ++row_;
    Split(line_, &fields_);
    if (fields_.size() != columns_) {
      Fail(std::to_string(columns_) + " fields", std::to_string(fields_.size()));
    }
    *message = "{";
    if (time_) {
      if (!formats::ParseDouble(fields_[*time_], t) || !std::isfinite(*t)) {
        Fail("a time in seconds", fields_[*time_]);
      }
      *message += "\"t\":";
      formats::AppendNumber(*t, message);
      *message += ",";
    }
    if (seq_) {
      uint64_t seq = 0;
      const std::string_view field = fields_[*seq_];
      const auto [end, error] = std::from_chars(field.begin(), field.end(), seq);
      if (error != std::errc() || end != field.end()) Fail("a counter", field);
      *message += "\"seq\":" + std::to_string(seq) + ",";
    }
    *message += "\"x\":[";
    for (const size_t c : channels_) {
      if (c != channels_[0]) *message += ",";
      float value = NAN;
      if (!fields_[c].empty() && !formats::ParseFloat(fields_[c], &value)) {
        Fail("a number", fields_[c]);
      }
      if (std::isfinite(value)) {
        formats::AppendNumber(value, message);
      } else {
        *message += "null";
      }
    }
    *message += "]}";
    return true;
  }

 private:
  [[noreturn]] void Fail(const std::string& expected, std::string_view got) const {
    throw Error(Status::corrupt, path_ + ", line " + std::to_string(row_) + ": expected " +
                                     expected + ", got " + formats::Printable(got));
  }

  std::string path_;
  std::ifstream file_;
  std::optional<size_t> time_, seq_;
  std::vector<size_t> channels_;
  size_t columns_ = 0;
  uint64_t row_ = 1;
  std::string line_;
  std::vector<std::string_view> fields_;
};

// Holds samples back until somebody is there to take them.
void WaitForListener(terminal::ConnectionWatch& connection, const std::string& endpoint) {
  for (int waited = 0; !connection.connected(); ++waited) {
    if (waited == 100) {
      std::fprintf(stderr, "xst: waiting for a listener at %s\n", endpoint.c_str());
    }
    std::this_thread::sleep_for(10ms);
  }
}

// Until nothing is on its way to a listener that is busy. libzmq forgets what an ipc connection
// still holds when its sender closes it.
void WaitUntilTaken(terminal::ConnectionWatch& connection) {
  for (int quiet = 0; quiet < 5; ++quiet) {
    std::this_thread::sleep_for(10ms);
    int waiting = 0;
    if (!connection.connected() || ioctl(connection.descriptor(), SIOCOUTQ, &waiting) != 0) return;
    if (waiting > 0) quiet = -1;
  }
}

void Replay(const ReplayArgs& args) {
  Recording recording(args.data);
  if (!recording.has_time() && args.rate == 0 && !args.fast) {
    throw UsageError(args.data + ": expected a column t, or --rate or --fast, got neither");
  }
  zmq::context_t context;  // outlives the socket; leaving it waits until everything is sent
  zmq::socket_t socket(context, zmq::socket_type::push);
  socket.set(zmq::sockopt::immediate, true);
  UseKeys(socket, args.keys);
  terminal::ConnectionWatch connection(context, socket);
  terminal::ConnectTo(socket, args.endpoint);
  WaitForListener(connection, args.endpoint);

  const auto start = Clock::now();
  std::string message;
  double t = 0, first = 0;
  uint64_t sent = 0;
  for (; recording.Next(&message, &t); ++sent) {
    if (sent == 0) first = t;
    if (!args.fast) {
      const double due = args.rate > 0 ? static_cast<double>(sent) / args.rate : t - first;
      std::this_thread::sleep_until(
          start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due)));
    }
    socket.send(zmq::buffer(message), zmq::send_flags::none);
  }
  WaitUntilTaken(connection);
  std::printf("sent %llu samples in %.1f s\n", static_cast<unsigned long long>(sent),
              std::chrono::duration<double>(Clock::now() - start).count());
}

}  // namespace

void AddReplay(CLI::App* app) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* command = app->add_subcommand(
      "replay", "Send a recording to a daemon's pull source as a live sensor would");
  command
      ->add_option("data", args->data,
                   "CSV with a header: the first column may be t (seconds), one may be seq, every "
                   "other is a channel")
      ->required()
      ->type_name("DATA.csv");
  command->add_option("--to", args->endpoint, "where the daemon pulls, e.g. tcp://127.0.0.1:9871")
      ->required()
      ->type_name("ENDPOINT");
  CLI::Option* rate =
      command->add_option("--rate", args->rate, "samples per second (default: as column t says)")
          ->check(CLI::PositiveNumber)
          ->default_str("")
          ->type_name("R");
  command->add_flag("--fast", args->fast, "as fast as the daemon takes them")->excludes(rate);
  AddKeyArgs(command, &args->keys);
  command->callback([args] { Replay(*args); });
}

}  // namespace xst::cli
