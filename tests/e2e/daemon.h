// A running xstd, a client of it, and what `xst run` says about the same samples.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

namespace xst::e2e {

// A fresh folder, removed at the end, with the packed models of the tests.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const;  // its path

 private:
  std::string path_;
};

struct Finished {
  int status = -1;  // exit status; 128 + signal if killed
  std::string out, err;
};

// Runs a program of the build to its end.
Finished RunProgram(const std::string& program, const std::vector<std::string>& arguments);

class Daemon {
 public:
  // Starts `xstd --config CONFIG ARGUMENTS…`.
  Daemon(const std::string& config, std::vector<std::string> arguments = {});
  ~Daemon();  // kills it if it still runs
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Waits for the ready line; false: the daemon ended before. Endpoint "publish", or of a stream.
  bool Ready();
  const std::string& endpoint(const std::string& name) const { return endpoints_.at(name); }

  pid_t pid() const { return pid_; }
  void Input(const std::string& text);  // to its standard input
  void CloseInput();
  void Signal(int signal);
  bool Running();
  // Waits for the end (as long as the test may take) and gives the exit status.
  int Wait();
  int Stop();  // SIGTERM, then Wait
  std::string err() const;

 private:
  pid_t pid_ = -1;
  int input_ = -1, err_fd_ = -1;
  int status_ = -1;
  bool ended_ = false;
  std::string err_file_;
  std::map<std::string, std::string> endpoints_;
};

struct Message {
  std::string topic, payload;
  size_t frames = 0;
  nlohmann::json json;
};

// A subscriber that reads on a thread of its own from the start.
class Subscriber {
 public:
  Subscriber(zmq::context_t& context, const std::string& endpoint, const std::string& topic = "");
  ~Subscriber();

  // Waits until `count` messages are here, or none has come for `quiet_ms`.
  std::vector<Message> Get(size_t count, int quiet_ms = 10000);

 private:
  zmq::context_t& context_;
  std::string endpoint_, topic_;
  mutable std::mutex mutex_;
  std::vector<Message> messages_;
  std::jthread thread_;  // last: it ends before what it writes to
};

zmq::socket_t Pusher(zmq::context_t& context, const std::string& endpoint);
void Push(zmq::socket_t& socket, const std::string& message);

// Samples of the test signal, one channel, and the JSON message of one.
std::vector<float> Signal(size_t count);
std::string JsonSample(uint64_t seq, float value, double rate_hz);

// Outputs of `xst run` on one channel: [samples][values].
std::vector<std::vector<float>> XstRun(const Workspace& work, const std::string& model,
                                       const std::vector<float>& samples);

// Whether a message's "y" is exactly these values in the order of `names`; NaN is null.
bool SameValues(const Message& message, const std::vector<std::string>& names,
                const std::vector<float>& values);

}  // namespace xst::e2e
