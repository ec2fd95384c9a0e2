// Keys of CURVE, the encryption and authentication of ZeroMQ, and the files they lie in.
#pragma once

#include <string>
#include <vector>
#include <zmq.hpp>

namespace xst::zeromq {

// In Z85, 40 characters each.
struct KeyPair {
  std::string public_key, secret_key;
};

// Throws Error if this libzmq was built without CURVE.
void RequireCurve();

// A key file is one key on a line of its own; lines that start with # and empty ones are passed
// over. Throw Error, which never shows a key: no such file, no key in it, a secret that others than
// its owner may read.
std::string ReadPublicKey(const std::string& path);
KeyPair ReadSecretKey(const std::string& path);

// Every key of a file of many.
std::vector<std::string> ReadPublicKeys(const std::string& path);

// A client end: talks to the one server that has `server_key`, as the owner of `own`.
void UseKeys(zmq::socket_t& socket, const std::string& server_key, const KeyPair& own);

// The first characters of a key, to tell them apart in a log.
std::string Fingerprint(const std::string& public_key);

}  // namespace xst::zeromq
