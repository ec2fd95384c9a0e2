// xst keygen: a key pair for sockets that leave this machine.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <zmq.hpp>

#include "apps/xst/commands.h"
#include "sdk/zmq/curve.h"

namespace xst::cli {
namespace {

// Never over a file that is there: its key may be in use.
void WriteNew(const std::string& path, const std::string& text, mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  bool good = fd >= 0;
  int error = errno;
  if (good) {
    good =
        write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
    error = errno;
    close(fd);
    if (!good) unlink(path.c_str());
  }
  if (!good) {
    throw Error(Status::io_error,
                path + ": expected to write a new file, got " +
                    (error == EEXIST ? "one that is there already" : std::strerror(error)));
  }
}

void Keygen(const std::string& name) {
  zeromq::RequireCurve();
  std::array<char, 41> public_key{}, secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    throw Error(Status::io_error,
                std::string("keygen: expected a key pair, got ") + zmq_strerror(zmq_errno()));
  }
  const std::string secret = name + ".secret", shared = name + ".public";
  WriteNew(secret,
           std::string("# Secret key of xst keygen: for this machine's eyes only.\n") +
               secret_key.data() + "\n",
           0600);
  try {
    WriteNew(shared, std::string("# Public key of xst keygen.\n") + public_key.data() + "\n", 0644);
  } catch (...) {
    unlink(secret.c_str());
    throw;
  }
  std::printf("%s\n%s\n", secret.c_str(), shared.c_str());
}

}  // namespace

void AddKeygen(CLI::App* app) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app->add_subcommand(
      "keygen", "Make a key pair: NAME.secret stays, NAME.public goes to the other end");
  command->add_option("-o,--output", *name, "where, without the ending")
      ->required()
      ->type_name("NAME");
  command->callback([name] { Keygen(*name); });
}

void AddKeyArgs(CLI::App* command, KeyArgs* keys) {
  auto* server = command->add_option("--server-key", keys->server, "public key file of the daemon")
                     ->default_str("")
                     ->type_name("FILE");
  auto* secret = command->add_option("--secret", keys->secret, "secret key file of ours")
                     ->default_str("")
                     ->type_name("FILE");
  server->needs(secret);
  secret->needs(server);
}

void UseKeys(zmq::socket_t& socket, const KeyArgs& keys) {
  if (keys.server.empty()) return;
  zeromq::UseKeys(socket, zeromq::ReadPublicKey(keys.server), zeromq::ReadSecretKey(keys.secret));
}

}  // namespace xst::cli
