// Which addresses a socket of ours may bind.
#pragma once

#include <cstdint>
#include <string>
#include <zmq.hpp>

namespace xst::zeromq {

class CurveServer;

// Binds `socket` and returns the address as bound ("tcp://127.0.0.1:*" gets a free port). ipc:// is
// open to whom the file system lets in. A TCP address is protected by `curve`; without it (null)
// only a loopback one is allowed. `what` names the setting in an error. Throws
// Error{invalid_argument} for an address that is not allowed, Error{io_error} if it cannot be bound
// (a port in use).
std::string Bind(zmq::socket_t& socket, const std::string& endpoint, const std::string& what,
                 const CurveServer* curve);

// The largest message of a socket that hears topics alone: our own have at most 72 characters, and
// CURVE's handshake needs some hundred. It bounds what a subscription costs: some 30 bytes a
// letter.
inline constexpr int64_t kMaxRequest = 512;

// Settings of every socket: bounded messages, handshake and silence (libzmq's defaults are
// unbounded, 30 s and none).
void Harden(zmq::socket_t& socket);

// After Harden: the kernel's keepalive finds dead peers, in a minute, in place of heartbeats.
void KeepAlive(zmq::socket_t& socket);

}  // namespace xst::zeromq
