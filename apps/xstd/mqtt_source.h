// Samples from an MQTT broker.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "apps/xstd/config.h"
#include "sdk/stream/source.h"

struct mosquitto;
struct mosquitto_message;

namespace xstd {

// Subscribes at QoS 1 in a session of its own name, which the broker keeps and fills while xstd is
// away. A broker that is not there or goes away is waited for. A retained message is an old value
// and no sample.
class MqttSource : public xst::stream::Source {
 public:
  // Reads the password. Throws xst::Error.
  MqttSource(const SourceConfig& config, const std::string& stream);
  ~MqttSource() override;

  void Run(xst::stream::Stream& stream, std::stop_token stop) override;
  xst::stream::SourceCounts counts() const override;

 private:
  struct Callbacks;

  void Lost(const std::string& why);

  const SourceConfig config_;
  const std::string name_;  // of the stream
  std::string host_;
  int port_ = 0;
  std::unique_ptr<mosquitto, void (*)(mosquitto*)> client_;
  xst::stream::Stream* stream_ = nullptr;
  bool connected_ = false, was_connected_ = false;
  bool said_ = false;  // that the broker is not there
  std::atomic<uint64_t> reconnects_{0};
};

// The first line of a file that only its owner may read. Throws xst::Error, never with its content.
std::string ReadSecret(const std::string& path, const std::string& what);

}  // namespace xstd
