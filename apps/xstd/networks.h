// Address ranges: who may send.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace xstd {

struct Network {
  int family = 0;  // AF_INET, AF_INET6
  std::array<uint8_t, 16> address{};
  uint32_t prefix = 0;  // bits
  bool operator==(const Network&) const = default;
};

// "10.0.0.0/8", "fd00::/8", or one address. False: none.
bool ParseNetwork(const std::string& text, Network* network);

// Whether the address lies in one of them.
bool InNetworks(const sockaddr& address, const std::vector<Network>& networks);

// "HOST:PORT", "[HOST]:PORT", port "*" or 0 for any; "localhost" is 127.0.0.1. False: not one of
// numbers.
bool ParseAddress(const std::string& text, sockaddr_storage* address, socklen_t* length);
bool IsLoopback(const sockaddr& address);
std::string ToText(const sockaddr& address);  // as ParseAddress reads it

}  // namespace xstd
