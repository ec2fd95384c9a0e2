// Who may connect: the bound ends of CURVE with their list of clients (ZAP, ZeroMQ's RFC 27).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "sdk/zmq/curve.h"

namespace xst::zeromq {

// Answers libzmq's question about every client of a protected socket, on a thread of its own. One a
// context; it must outlive every socket it protects, for without it libzmq lets any key in.
class CurveServer {
 public:
  // `secret`: the server's key file. `clients`: a file of public keys, or a folder of *.public
  // files. Throws Error.
  CurveServer(zmq::context_t& context, const std::string& secret, std::string clients);
  ~CurveServer();
  CurveServer(const CurveServer&) = delete;
  CurveServer& operator=(const CurveServer&) = delete;

  // To be called before the socket binds.
  void Protect(zmq::socket_t& socket) const;

  const KeyPair& keys() const { return keys_; }

  // Reads the clients again; any thread. Throws Error and keeps the list it has. A client that is
  // connected stays so.
  void ReloadClients();

  // Any thread.
  size_t clients() const;
  uint64_t accepted() const { return accepted_.load(std::memory_order_relaxed); }
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
  std::string last_refused() const;  // "FINGERPRINT… from ADDRESS"

 private:
  using Key = std::array<uint8_t, 32>;

  void Run() noexcept;
  bool Answer();  // false: time to end
  bool Allows(const zmq::message_t& key, const zmq::message_t& address);

  zmq::context_t& context_;
  const KeyPair keys_;
  const std::string clients_path_;
  mutable std::mutex mutex_;
  std::set<Key> clients_;
  std::string last_refused_;
  std::atomic<uint64_t> accepted_{0}, refused_{0};
  zmq::socket_t socket_;
  std::thread thread_;
};

}  // namespace xst::zeromq
