#include "apps/xstd/networks.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace xstd {
namespace {

bool ParseNumber(std::string_view text, uint32_t most, uint32_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value <= most;
}

// The bytes of an address; none for another family.
std::pair<const uint8_t*, size_t> BytesOf(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    return {reinterpret_cast<const uint8_t*>(&in.sin_addr), 4};
  }
  if (address.sa_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    return {reinterpret_cast<const uint8_t*>(&in.sin6_addr), 16};
  }
  return {nullptr, 0};
}

}  // namespace

bool ParseNetwork(const std::string& text, Network* network) {
  const size_t slash = text.find('/');
  const std::string host = text.substr(0, slash);
  *network = {};
  uint32_t bits = 32;
  if (inet_pton(AF_INET, host.c_str(), network->address.data()) == 1) {
    network->family = AF_INET;
  } else if (inet_pton(AF_INET6, host.c_str(), network->address.data()) == 1) {
    network->family = AF_INET6;
    bits = 128;
  } else {
    return false;
  }
  network->prefix = bits;
  return slash == std::string::npos ||
         ParseNumber(std::string_view(text).substr(slash + 1), bits, &network->prefix);
}

bool InNetworks(const sockaddr& address, const std::vector<Network>& networks) {
  const auto [bytes, size] = BytesOf(address);
  if (!bytes) return false;
  const auto same = [bytes = bytes](const Network& n) {
    const size_t whole = n.prefix / 8;
    if (std::memcmp(bytes, n.address.data(), whole) != 0) return false;
    if (n.prefix % 8 == 0) return true;
    const int shift = 8 - static_cast<int>(n.prefix % 8);
    return bytes[whole] >> shift == n.address[whole] >> shift;
  };
  return std::any_of(networks.begin(), networks.end(),
                     [&](const Network& n) { return n.family == address.sa_family && same(n); });
}

bool ParseAddress(const std::string& text, sockaddr_storage* address, socklen_t* length) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  std::string host = text.substr(0, colon);
  const std::string port_text = text.substr(colon + 1);
  uint32_t port = 0;
  if (port_text != "*" && !ParseNumber(port_text, 65535, &port)) return false;
  if (host == "localhost") host = "127.0.0.1";
  *address = {};
  auto* v4 = reinterpret_cast<sockaddr_in*>(address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(address);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    *length = sizeof(*v4);
    return true;
  }
  if (host.size() < 2 || host.front() != '[' || host.back() != ']') return false;
  *address = {};
  if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) != 1) {
    return false;
  }
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(static_cast<uint16_t>(port));
  *length = sizeof(*v6);
  return true;
}

bool IsLoopback(const sockaddr& address) {
  static const std::vector<Network> loopback = [] {
    std::vector<Network> list(2);
    ParseNetwork("127.0.0.0/8", &list[0]);
    ParseNetwork("::1", &list[1]);
    return list;
  }();
  return InNetworks(address, loopback);
}

std::string ToText(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  const auto [bytes, size] = BytesOf(address);
  if (!bytes || !inet_ntop(address.sa_family, bytes, text, sizeof(text))) return "?";
  const bool v6 = address.sa_family == AF_INET6;
  const uint16_t port = v6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                           : reinterpret_cast<const sockaddr_in&>(address).sin_port;
  std::string out = v6 ? "[" : "";
  out.append(text).append(v6 ? "]:" : ":").append(std::to_string(ntohs(port)));
  return out;
}

}  // namespace xstd
