#include "tests/e2e/daemon.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "formats/npy.h"
#include "formats/pack.h"

extern char** environ;

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string TempFile() {
  std::string name = (fs::temp_directory_path() / "xst-e2e-XXXXXX").string();
  close(mkstemp(name.data()));
  return name;
}

pid_t Spawn(const std::string& program, const std::vector<std::string>& arguments, int in,
            const std::string& out, const std::string& err) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (in >= 0) posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_APPEND, 0);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_APPEND, 0);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error(program + ": " + std::strerror(error));
  return pid;
}

int StatusOf(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace

Workspace::Workspace() {
  std::string name = (fs::temp_directory_path() / "xst-e2e-XXXXXX").string();
  path_ = mkdtemp(name.data());
  for (const char* model : {"forecaster", "classifier"}) {
    formats::PackModel(std::string(XST_TEST_DATA) + "/stream/" + model,
                       path_ + "/" + model + ".xst", {});
  }
}

Workspace::~Workspace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string Workspace::Write(const std::string& name, const std::string& content) const {
  std::ofstream(path_ + "/" + name, std::ios::binary) << content;
  return path_ + "/" + name;
}

Finished RunProgram(const std::string& program, const std::vector<std::string>& arguments) {
  const std::string out = TempFile(), err = TempFile();
  const pid_t pid = Spawn(std::string(XST_BIN_DIR) + "/" + program, arguments, -1, out, err);
  int status = 0;
  waitpid(pid, &status, 0);
  Finished finished{StatusOf(status), ReadText(out), ReadText(err)};
  fs::remove(out);
  fs::remove(err);
  return finished;
}

Daemon::Daemon(const std::string& config, std::vector<std::string> arguments)
    : err_file_(TempFile()) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  arguments.insert(arguments.begin(), {"--config", config});
  pid_ = Spawn(std::string(XST_BIN_DIR) + "/xstd", arguments, ends[0], "/dev/null", err_file_);
  close(ends[0]);
  input_ = ends[1];
}

Daemon::~Daemon() {
  if (!ended_) {
    kill(pid_, SIGKILL);
    Wait();
  }
  CloseInput();
  fs::remove(err_file_);
}

bool Daemon::Ready() {
  for (;;) {
    const bool running = Running();
    std::istringstream lines(err());
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("ready ", 0) != 0 || lines.eof()) continue;
      std::istringstream words(line.substr(6));
      for (std::string word; words >> word;) {
        const size_t equals = word.find('=');
        endpoints_[word.substr(0, equals)] = word.substr(equals + 1);
      }
      return true;
    }
    if (!running) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
}

void Daemon::Input(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(input_, text.data() + done, text.size() - done);
    if (n < 0) throw std::runtime_error("write to xstd");
    done += static_cast<size_t>(n);
  }
}

void Daemon::CloseInput() {
  if (input_ >= 0) close(input_);
  input_ = -1;
}

void Daemon::Signal(int signal) { kill(pid_, signal); }

bool Daemon::Running() {
  int status = 0;
  if (!ended_ && waitpid(pid_, &status, WNOHANG) == pid_) {
    ended_ = true;
    status_ = StatusOf(status);
  }
  return !ended_;
}

int Daemon::Wait() {
  int status = 0;
  if (!ended_ && waitpid(pid_, &status, 0) == pid_) {
    ended_ = true;
    status_ = StatusOf(status);
  }
  return status_;
}

int Daemon::Stop() {
  Signal(SIGTERM);
  return Wait();
}

std::string Daemon::err() const { return ReadText(err_file_); }

Subscriber::Subscriber(zmq::context_t& context, const std::string& endpoint,
                       const std::string& topic)
    : context_(context), endpoint_(endpoint), topic_(topic) {
  thread_ = std::jthread([this](std::stop_token stop) {
    zmq::socket_t socket(context_, zmq::socket_type::sub);
    socket.set(zmq::sockopt::rcvhwm, 0);
    socket.set(zmq::sockopt::rcvtimeo, 20);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::subscribe, topic_);
    socket.connect(endpoint_);
    while (!stop.stop_requested()) {
      zmq::message_t frame;
      if (!socket.recv(frame)) continue;
      Message message;
      message.topic = frame.to_string();
      message.frames = 1;
      while (frame.more() && socket.recv(frame)) {
        message.payload = frame.to_string();
        ++message.frames;
      }
      message.json = nlohmann::json::parse(message.payload, nullptr, false);
      const std::lock_guard lock(mutex_);
      messages_.push_back(std::move(message));
    }
  });
}

Subscriber::~Subscriber() = default;

std::vector<Message> Subscriber::Get(size_t count, int quiet_ms) {
  size_t seen = 0;
  auto since = steady_clock::now();
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (messages_.size() >= count) return messages_;
      if (messages_.size() != seen) since = steady_clock::now();
      seen = messages_.size();
      if (steady_clock::now() - since > milliseconds(quiet_ms)) return messages_;
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

zmq::socket_t Pusher(zmq::context_t& context, const std::string& endpoint) {
  zmq::socket_t socket(context, zmq::socket_type::push);
  socket.set(zmq::sockopt::linger, 10000);
  socket.connect(endpoint);
  return socket;
}

void Push(zmq::socket_t& socket, const std::string& message) {
  socket.send(zmq::buffer(message), zmq::send_flags::none);
}

std::vector<float> Signal(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const auto t = static_cast<float>(i);
    values[i] = std::sin(0.21f * t) + 0.3f * std::sin(1.7f * t + 0.5f);
  }
  return values;
}

std::string JsonSample(uint64_t seq, float value, double rate_hz) {
  nlohmann::json x = nullptr;
  if (std::isfinite(value)) x = value;
  return nlohmann::json{{"t", static_cast<double>(seq) / rate_hz}, {"seq", seq}, {"x", {x}}}.dump();
}

std::vector<std::vector<float>> XstRun(const Workspace& work, const std::string& model,
                                       const std::vector<float>& samples) {
  const std::string in = work / "run-in.npy", out = work / "run-out.npy";
  formats::WriteNpy(in, {samples.size(), 1}, samples.data());
  const Finished run = RunProgram("xst", {"run", work / model, "--input", in, "--output", out});
  if (run.status != 0) throw std::runtime_error("xst run: " + run.err);
  const formats::Array y = formats::ReadNpy(out);
  const size_t width = y.shape.back();
  std::vector<std::vector<float>> rows;
  for (size_t i = 0; i < samples.size(); ++i) {
    rows.emplace_back(y.f32.begin() + static_cast<ptrdiff_t>(i * width),
                      y.f32.begin() + static_cast<ptrdiff_t>((i + 1) * width));
  }
  return rows;
}

bool SameValues(const Message& message, const std::vector<std::string>& names,
                const std::vector<float>& values) {
  if (!message.json.contains("y") || message.json["y"].size() != values.size()) return false;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!message.json["y"].contains(names[i])) return false;
    const auto& value = message.json["y"][names[i]];
    if (std::isfinite(values[i])) {
      if (!value.is_number() || value.get<float>() != values[i]) return false;
    } else if (!value.is_null()) {
      return false;
    }
  }
  return true;
}

}  // namespace xst::e2e
