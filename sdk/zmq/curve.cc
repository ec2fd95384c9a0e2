#include "sdk/zmq/curve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "formats/status.h"

namespace xst::zeromq {
namespace {

constexpr size_t kKeyChars = 40, kKeyBytes = 32, kMaxFile = 1 << 20;

[[noreturn]] void Fail(Status status, const std::string& path, const std::string& expected,
                       const std::string& got) {
  throw Error(status, path + ": expected " + expected + ", got " + got);
}

bool IsKey(std::string_view line) {
  std::array<uint8_t, kKeyBytes> bytes;
  return line.size() == kKeyChars && line.find(' ') == std::string_view::npos &&
         zmq_z85_decode(bytes.data(), std::string(line).c_str()) != nullptr;
}

std::string ReadFile(const std::string& path, bool secret) {
  const char* what = secret ? "a secret key file" : "a public key file";
  const std::string name = path.substr(path.find_last_of('/') + 1);
  if (IsKey(name)) Fail(Status::invalid_config, "key", what, "a key in place of its file's name");
  // Not blocking: a FIFO in its place is refused, not waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    Fail(errno == ENOENT ? Status::not_found : Status::io_error, path, what, std::strerror(errno));
  }
  struct stat info {};
  std::string text, fault;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    fault = "something that is no file";
  } else if (secret && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    fault = "one that its group or others may use (chmod 600 it)";
    what = "a secret key file of its owner alone";
  } else if ((info.st_mode & S_IWOTH) != 0) {
    fault = "one that everybody may write (chmod o-w it)";
  } else if (static_cast<uint64_t>(info.st_size) > kMaxFile) {
    fault = "more than 1 MiB";
  } else {
    text.resize(static_cast<size_t>(info.st_size));
    size_t done = 0;
    for (ssize_t n; done < text.size(); done += static_cast<size_t>(n)) {
      n = read(fd, text.data() + done, text.size() - done);
      if (n <= 0) break;
    }
    text.resize(done);
  }
  close(fd);
  if (!fault.empty()) Fail(Status::invalid_config, path, what, fault);
  return text;
}

std::vector<std::string> Keys(const std::string& path, bool secret) {
  const std::string text = ReadFile(path, secret);
  std::vector<std::string> keys;
  std::string_view rest = text;
  for (size_t number = 1; !rest.empty(); ++number) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;  // no key begins with it: 84 * 85^4 > 2^32
    if (!IsKey(line)) {
      Fail(Status::invalid_config, path + ":" + std::to_string(number),
           "a key of 40 characters (xst keygen), or a comment after #", "other text");
    }
    keys.emplace_back(line);
  }
  return keys;
}

std::string OneKey(const std::string& path, bool secret) {
  const auto keys = Keys(path, secret);
  if (keys.size() != 1) {
    Fail(Status::invalid_config, path, "one key (xst keygen)", std::to_string(keys.size()));
  }
  return keys[0];
}

}  // namespace

void RequireCurve() {
  if (zmq_has("curve") == 1) return;
  throw Error(Status::invalid_config,
              "curve: expected a libzmq with CURVE, got one that was built without it");
}

std::string ReadPublicKey(const std::string& path) { return OneKey(path, false); }

std::vector<std::string> ReadPublicKeys(const std::string& path) { return Keys(path, false); }

KeyPair ReadSecretKey(const std::string& path) {
  RequireCurve();
  KeyPair pair;
  pair.secret_key = OneKey(path, true);
  std::array<char, kKeyChars + 1> text{};
  if (zmq_curve_public(text.data(), pair.secret_key.c_str()) != 0) {
    Fail(Status::invalid_config, path, "a secret key", "one without a public key");
  }
  pair.public_key = text.data();
  return pair;
}

void UseKeys(zmq::socket_t& socket, const std::string& server_key, const KeyPair& own) {
  socket.set(zmq::sockopt::curve_serverkey, server_key);
  socket.set(zmq::sockopt::curve_publickey, own.public_key);
  socket.set(zmq::sockopt::curve_secretkey, own.secret_key);
}

std::string Fingerprint(const std::string& public_key) { return public_key.substr(0, 8); }

}  // namespace xst::zeromq
