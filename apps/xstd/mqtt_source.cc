#include "apps/xstd/mqtt_source.h"

#include <fcntl.h>
#include <mosquitto.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "apps/xstd/config_sources.h"
#include "formats/status.h"
#include "sdk/stream/records.h"

namespace xstd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using xst::Error;
using xst::Status;
using xst::stream::Records;

constexpr int kPollMs = 50, kKeepaliveS = 30;
constexpr milliseconds kFirstWait(200), kLongestWait(10000), kConnect(10000);

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::string ErrorText(int code) {
  return code == MOSQ_ERR_ERRNO ? std::strerror(errno) : mosquitto_strerror(code);
}

}  // namespace

std::string ReadSecret(const std::string& path, const std::string& what) {
  const auto fail = [&](const std::string& got) {
    throw Error(Status::io_error, what + " " + path +
                                      ": expected a file that only its owner may read (chmod 600), "
                                      "got " +
                                      got);
  };
  // Not blocking: a FIFO in its place is refused, not waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) fail(std::strerror(errno));
  struct stat info {};
  std::string text(1024, '\0');
  const bool known = fstat(fd, &info) == 0;
  const ssize_t n = known && S_ISREG(info.st_mode) ? read(fd, text.data(), text.size()) : -1;
  close(fd);
  if (!known || !S_ISREG(info.st_mode)) fail("another kind of file");
  if ((info.st_mode & 077) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof(mode), "%04o", info.st_mode & 07777u);
    fail(std::string("mode ") + mode);
  }
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  text.resize(std::min(text.size(), text.find_first_of("\r\n")));
  if (text.empty()) fail("an empty line");
  return text;
}

struct MqttSource::Callbacks {
  static void Connected(mosquitto* client, void* self, int code) {
    auto& source = *static_cast<MqttSource*>(self);
    if (code != 0) {
      source.Lost(mosquitto_connack_string(code));
      return;
    }
    const int sent = mosquitto_subscribe(client, nullptr, source.config_.topic.c_str(), 1);
    if (sent != MOSQ_ERR_SUCCESS) {
      source.Lost(ErrorText(sent));
      return;
    }
    source.connected_ = true;
    if (std::exchange(source.was_connected_, true)) ++source.reconnects_;
    spdlog::info("{}: subscribed to {} at {}", source.name_, source.config_.topic,
                 source.config_.endpoint);
    source.said_ = false;
  }
  static void Subscribed(mosquitto*, void* self, int, int count, const int* granted) {
    auto& source = *static_cast<MqttSource*>(self);
    if (count < 1 || granted[0] < 128) return;
    spdlog::error("{}: expected to subscribe to {}, got a refusal of the broker", source.name_,
                  source.config_.topic);
  }
  static void Message(mosquitto*, void* self, const mosquitto_message* message) {
    auto& source = *static_cast<MqttSource*>(self);
    if (message->retain) return;
    const auto size = static_cast<size_t>(std::max(message->payloadlen, 0));
    Records(*source.stream_).TakeLines({static_cast<const char*>(message->payload), size});
  }
};

MqttSource::MqttSource(const SourceConfig& config, const std::string& stream)
    : config_(config), name_(stream), client_(nullptr, mosquitto_destroy) {
  static const int ready = mosquitto_lib_init();
  (void)ready;
  ParseMqttEndpoint(config_.endpoint, !config_.cafile.empty(), &host_, &port_);
  const std::string id =
      config_.client_id.empty() ? "xstd-" + HostName() + "-" + stream : config_.client_id;
  client_.reset(mosquitto_new(id.c_str(), false, this));
  const auto check = [&](int code, const std::string& expected) {
    if (code != MOSQ_ERR_SUCCESS) {
      throw Error(Status::invalid_argument,
                  "source: expected " + expected + ", got " + ErrorText(code));
    }
  };
  if (!client_) throw Error(Status::out_of_memory, "source: expected an MQTT client, got none");
  check(mosquitto_sub_topic_check(config_.topic.c_str()),
        "a topic of MQTT (" + config_.topic + ")");
  if (!config_.username.empty()) {
    std::string password;
    if (!config_.password_file.empty()) {
      password = ReadSecret(config_.password_file, "source.password_file");
    }
    check(mosquitto_username_pw_set(client_.get(), config_.username.c_str(),
                                    password.empty() ? nullptr : password.c_str()),
          "a user name of MQTT");
  }
  if (!config_.cafile.empty()) {
    check(mosquitto_tls_set(client_.get(), config_.cafile.c_str(), nullptr, nullptr, nullptr,
                            nullptr),
          "certificates in cafile " + config_.cafile);
  }
  mosquitto_connect_callback_set(client_.get(), Callbacks::Connected);
  mosquitto_subscribe_callback_set(client_.get(), Callbacks::Subscribed);
  mosquitto_message_callback_set(client_.get(), Callbacks::Message);
}

MqttSource::~MqttSource() = default;

xst::stream::SourceCounts MqttSource::counts() const {
  xst::stream::SourceCounts counts;
  counts.reconnects = reconnects_;
  return counts;
}

void MqttSource::Lost(const std::string& why) {
  if (std::exchange(said_, true)) return;
  spdlog::warn("{}: expected a connection to {}, got {}; tries again", name_, config_.endpoint,
               why);
}

void MqttSource::Run(xst::stream::Stream& stream, std::stop_token stop) {
  stream_ = &stream;
  milliseconds wait = kFirstWait;
  int code = mosquitto_connect_async(client_.get(), host_.c_str(), port_, kKeepaliveS);
  auto begin = steady_clock::now();
  while (!stop.stop_requested()) {
    if (code == MOSQ_ERR_SUCCESS) code = mosquitto_loop(client_.get(), kPollMs, 1);
    if (code == MOSQ_ERR_SUCCESS && connected_) wait = kFirstWait;
    if (code == MOSQ_ERR_SUCCESS && !connected_ && steady_clock::now() - begin > kConnect) {
      code = MOSQ_ERR_CONN_LOST;
    }
    if (code == MOSQ_ERR_SUCCESS) continue;
    Lost(ErrorText(code));
    connected_ = false;
    const auto until = steady_clock::now() + wait;
    while (!stop.stop_requested() && steady_clock::now() < until) {
      std::this_thread::sleep_for(milliseconds(kPollMs));
    }
    wait = std::min(2 * wait, kLongestWait);
    if (stop.stop_requested()) break;
    code = mosquitto_reconnect_async(client_.get());
    begin = steady_clock::now();
  }
  mosquitto_disconnect(client_.get());
}

}  // namespace xstd
