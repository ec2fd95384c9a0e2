// Which addresses a socket of ours may bind.
#pragma once

#include <string>
#include <zmq.hpp>

namespace xst::zeromq {

// Binds `socket` and returns the address as bound ("tcp://127.0.0.1:*" gets a free port). Only
// ipc:// and loopback addresses are allowed: anything else would be open to the network, without
// authentication. `what` names the setting in an error. Throws Error{invalid_argument} for an
// address that is not allowed, Error{io_error} if it cannot be bound (a port in use).
std::string BindLoopback(zmq::socket_t& socket, const std::string& endpoint,
                         const std::string& what);

// Settings of every socket: bounded messages, handshake and silence (libzmq's defaults are
// unbounded, 30 s and none).
void Harden(zmq::socket_t& socket);

}  // namespace xst::zeromq
