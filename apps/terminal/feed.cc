#include "apps/terminal/feed.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "apps/terminal/text.h"
#include "formats/status.h"

namespace xst::terminal {
namespace {

constexpr int kReconnectMs = 20;
constexpr int kQueued = 100'000;  // messages a view may fall behind
constexpr int64_t kMaxMessage = 1 << 20;
constexpr size_t kBatch = 10'000;  // messages between two looks at the clock

// The values of an object of numbers and nulls, in its order.
bool Values(const nlohmann::ordered_json& object, std::vector<std::pair<std::string, float>>* out) {
  out->clear();
  for (const auto& [name, value] : object.items()) {
    if (!value.is_number() && !value.is_null()) return false;
    out->emplace_back(Printable(name), value.is_null() ? NAN : value.get<float>());
  }
  return true;
}

}  // namespace

void ConnectTo(zmq::socket_t& socket, const std::string& endpoint) {
  try {
    socket.connect(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error(Status::invalid_argument, "endpoint: expected tcp://HOST:PORT or ipc://PATH, got " +
                                              endpoint + " (" + error.what() + ")");
  }
}

ConnectionWatch::ConnectionWatch(zmq::context_t& context, zmq::socket_t& socket)
    : watched_(socket.handle()), events_(context, zmq::socket_type::pair) {
  static std::atomic<int> number{0};
  const std::string address = "inproc://connection-" + std::to_string(number++);
  if (zmq_socket_monitor(
          watched_, address.c_str(),
          ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0) {
    throw Error(Status::io_error,
                std::string("socket: expected its events, got: ") + zmq_strerror(zmq_errno()));
  }
  events_.connect(address);
}

ConnectionWatch::~ConnectionWatch() { zmq_socket_monitor(watched_, nullptr, 0); }

void ConnectionWatch::Drain() {
  // An event is two frames: a 16-bit number with a 32-bit value, and an address.
  zmq::message_t event, address;
  while (events_.recv(event, zmq::recv_flags::dontwait)) {
    if (events_.get(zmq::sockopt::rcvmore)) (void)events_.recv(address);
    uint16_t id = 0;
    int32_t value = 0;
    if (event.size() < sizeof(id) + sizeof(value)) continue;
    std::memcpy(&id, event.data(), sizeof(id));
    std::memcpy(&value, event.data<char>() + sizeof(id), sizeof(value));
    if (id == ZMQ_EVENT_CONNECTED) descriptor_ = value;
    if (id == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) connected_ = true;
    if (id == ZMQ_EVENT_DISCONNECTED && connected_) {
      connected_ = false;
      ++losses_;
    }
  }
}

bool ConnectionWatch::connected() {
  Drain();
  return connected_;
}

uint64_t ConnectionWatch::losses() {
  Drain();
  return losses_;
}

float Record::Find(const std::string& output) const {
  const auto at =
      std::find_if(y.begin(), y.end(), [&](const auto& v) { return v.first == output; });
  return at == y.end() ? NAN : at->second;
}

bool ParseRecord(const char* payload, size_t size, Record* out) {
  const auto json = nlohmann::ordered_json::parse(payload, payload + size, nullptr, false);
  if (!json.is_object()) return false;
  const auto number = [&](const char* key, auto* value) {
    const auto at = json.find(key);
    if (at == json.end() || !at->is_number()) return false;
    *value = at->template get<std::remove_pointer_t<decltype(value)>>();
    return true;
  };
  const auto y = json.find("y"), x = json.find("x");
  return number("timestamp", &out->timestamp) && number("seq", &out->seq) &&
         number("epoch", &out->epoch) && number("quality", &out->quality) &&
         number("latency_us", &out->latency_us) && y != json.end() && y->is_object() &&
         x != json.end() && x->is_object() && Values(*y, &out->y) && Values(*x, &out->x);
}

std::string QualityNames(uint32_t bits) {
  static constexpr const char* kNames[] = {"held", "gap", "warming", "late", "historical", "reset"};
  std::string text;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (!(bits >> i & 1)) continue;
    if (!text.empty()) text += ' ';
    text += kNames[i];
  }
  return text;
}

Feed::Feed(const std::string& endpoint, const std::string& topic, const Prepare& prepare)
    : socket_(context_, zmq::socket_type::sub), connection_(context_, socket_) {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::rcvhwm, kQueued);
  socket_.set(zmq::sockopt::maxmsgsize, kMaxMessage);
  socket_.set(zmq::sockopt::reconnect_ivl, kReconnectMs);
  socket_.set(zmq::sockopt::subscribe, topic);
  if (prepare) prepare(socket_);
  ConnectTo(socket_, endpoint);
}

void Feed::Take(const std::string& topic, const zmq::message_t& payload,
                const std::function<void(const Record&)>& take) {
  const char* data = payload.data<char>();
  if (topic == "_xstd/") {
    formats::Heartbeat heartbeat;
    if (formats::ParseHeartbeat(data, payload.size(), &heartbeat)) {
      bye_ = heartbeat.bye;
    } else {
      ++malformed_;
    }
    return;
  }
  bye_ = false;
  if (formats::AlarmRecord alarm;
      topic.starts_with("alarm/") && formats::ParseAlarm(data, payload.size(), &alarm)) {
    alarm.name = Printable(alarm.name);
    alarm.output = Printable(alarm.output);
    if (take_alarm_) take_alarm_(Printable(topic), alarm);
  } else if (formats::IsOutputFlat(std::as_bytes(std::span(data, payload.size())))) {
    if (!TakeFlat(topic, payload, take)) ++malformed_;
  } else if (ParseRecord(data, payload.size(), &record_)) {
    record_.topic = Printable(topic);
    take(record_);
  } else {
    ++malformed_;
  }
}

// A record comes before its names only to who has just connected: it is passed over.
bool Feed::TakeFlat(const std::string& topic, const zmq::message_t& payload,
                    const std::function<void(const Record&)>& take) {
  constexpr size_t kMostTopics = 10'000;
  Fault fault;
  const auto bytes = std::as_bytes(std::span(payload.data<char>(), payload.size()));
  if (formats::ParseOutputFlat(bytes, &flat_, &fault) != Status::ok) return false;
  if (flat_.has_names) {
    if (names_.size() >= kMostTopics) names_.clear();
    for (auto* list : {&flat_.names.y, &flat_.names.x}) {
      for (std::string& name : *list) name = Printable(name);
    }
    names_[topic] = flat_.names;
  }
  const auto names = names_.find(topic);
  if (names == names_.end()) return true;
  const auto pair = [](const std::vector<std::string>& from, const std::vector<float>& values,
                       std::vector<std::pair<std::string, float>>* out) {
    out->clear();
    for (size_t i = 0; i < values.size(); ++i) out->emplace_back(from[i], values[i]);
  };
  if (names->second.y.size() != flat_.y.size() || names->second.x.size() != flat_.x.size()) {
    return false;
  }
  pair(names->second.y, flat_.y, &record_.y);
  pair(names->second.x, flat_.x, &record_.x);
  record_.topic = Printable(topic);
  record_.timestamp = static_cast<double>(flat_.t_source) * 1e-9;
  record_.seq = flat_.seq;
  record_.epoch = flat_.epoch;
  record_.quality = flat_.quality;
  record_.latency_us = flat_.latency_us;
  take(record_);
  return true;
}

void Feed::Poll(std::chrono::milliseconds wait, const std::function<void(const Record&)>& take) {
  zmq_pollitem_t item = {socket_.handle(), 0, ZMQ_POLLIN, 0};
  if (zmq_poll(&item, 1, static_cast<long>(wait.count())) <= 0) return;  // also when interrupted
  zmq::message_t topic, payload;
  // A signal may cut a receive short; what is queued stays for the next call.
  try {
    for (size_t i = 0; i < kBatch && socket_.recv(topic, zmq::recv_flags::dontwait); ++i) {
      bool good = topic.more();
      if (good) {
        (void)socket_.recv(payload);
        for (zmq::message_t rest; socket_.get(zmq::sockopt::rcvmore); good = false) {
          (void)socket_.recv(rest);
        }
      }
      if (good) {
        Take(topic.to_string(), payload, take);
      } else {
        ++malformed_;
      }
    }
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
  }
}

}  // namespace xst::terminal
