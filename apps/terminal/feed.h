// The outputs of a running daemon, as its subscribers see them (specification stream.md section 4).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "formats/notices.h"
#include "formats/wire_flat.h"

namespace xst::terminal {

// Throws Error{invalid_argument} for an address no socket can connect to.
void ConnectTo(zmq::socket_t& socket, const std::string& endpoint);

// Whether somebody answers at the other end of a connecting socket. Made before the connect, on
// the socket's thread.
class ConnectionWatch {
 public:
  ConnectionWatch(zmq::context_t& context, zmq::socket_t& socket);
  ~ConnectionWatch();
  ConnectionWatch(const ConnectionWatch&) = delete;
  ConnectionWatch& operator=(const ConnectionWatch&) = delete;

  bool connected();
  uint64_t losses();                              // connections that ended
  int descriptor() const { return descriptor_; }  // of the connection that stands

 private:
  void Drain();

  void* watched_;
  zmq::socket_t events_;
  bool connected_ = false;
  int descriptor_ = -1;
  uint64_t losses_ = 0;
};

// One output record. Values that are not finite on the wire are NaN.
struct Record {
  std::string topic;
  double timestamp = 0;  // seconds
  uint64_t seq = 0, epoch = 0;
  uint32_t quality = 0;
  double latency_us = 0;
  std::vector<std::pair<std::string, float>> y, x;

  float Find(const std::string& output) const;  // NaN if there is none of this name
};

// False for a payload that is not such a record in JSON; nothing throws.
bool ParseRecord(const char* payload, size_t size, Record* out);

// Names of the bits of a quality (section 2), with spaces between.
std::string QualityNames(uint32_t bits);

class Feed {
 public:
  using Prepare = std::function<void(zmq::socket_t&)>;
  using TakeAlarm = std::function<void(const std::string& topic, const formats::AlarmRecord&)>;

  // Connects now or whenever the daemon comes up. `topic` is a prefix, empty for all. `prepare`
  // sees the socket before it connects. Throws Error.
  Feed(const std::string& endpoint, const std::string& topic, const Prepare& prepare = {});

  void OnAlarm(TakeAlarm take) { take_alarm_ = std::move(take); }

  // Hands over what arrives within `wait` at the latest, or what is there already.
  void Poll(std::chrono::milliseconds wait, const std::function<void(const Record&)>& take);

  bool connected() { return connection_.connected(); }
  // Whether a connection that stood has ended and no other came.
  bool ended() { return connection_.losses() > 0 && !connection_.connected(); }
  uint64_t malformed() const { return malformed_; }
  // Whether the last thing that the daemon said was that it stops.
  bool bye() const { return bye_; }

 private:
  void Take(const std::string& topic, const zmq::message_t& payload,
            const std::function<void(const Record&)>& take);
  bool TakeFlat(const std::string& topic, const zmq::message_t& payload,
                const std::function<void(const Record&)>& take);

  zmq::context_t context_;
  zmq::socket_t socket_;
  ConnectionWatch connection_;
  Record record_;
  formats::FlatOutput flat_;
  std::map<std::string, formats::OutputNames> names_;  // of flatbuffer records, by topic
  TakeAlarm take_alarm_;
  uint64_t malformed_ = 0;
  bool bye_ = false;
};

}  // namespace xst::terminal
