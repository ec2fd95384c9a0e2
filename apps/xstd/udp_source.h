// Samples from UDP datagrams.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "apps/xstd/networks.h"
#include "sdk/stream/source.h"

namespace xstd {

// One or more records a datagram. What the socket's buffer could not hold is counted as lost, what
// others than `allow` send is dropped and counted as refused.
class UdpSource : public xst::stream::Source {
 public:
  // Binds. An empty `allow` lets everyone send who reaches the address. Throws xst::Error.
  UdpSource(const std::string& endpoint, std::vector<Network> allow);
  ~UdpSource() override;

  void Run(xst::stream::Stream& stream, std::stop_token stop) override;
  std::string endpoint() const override { return endpoint_; }
  xst::stream::SourceCounts counts() const override;

 private:
  enum class Received { datagram, refused, none };
  Received Receive(size_t* size, bool* cut);

  const std::vector<Network> allow_;
  int fd_ = -1;
  std::string endpoint_;  // as bound
  std::vector<char> buffer_;
  std::atomic<uint64_t> refused_{0}, lost_{0};
};

}  // namespace xstd
