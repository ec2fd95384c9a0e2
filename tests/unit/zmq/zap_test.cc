#include "sdk/zmq/zap.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "formats/status.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

namespace fs = std::filesystem;

// A folder of keys: server.secret, clients/*.public.
class Keys {
 public:
  Keys() {
    std::string name = (fs::temp_directory_path() / "xst-zap-XXXXXX").string();
    path_ = mkdtemp(name.data());
    fs::create_directory(path_ + "/clients");
    server_ = Make();
    Write("server.secret", "# a comment\n\n" + server_.secret_key + "\n");
    chmod((path_ + "/server.secret").c_str(), 0600);
  }
  ~Keys() { fs::remove_all(path_); }

  static KeyPair Make() {
    char open[41], secret[41];
    zmq_curve_keypair(open, secret);
    return {open, secret};
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const KeyPair& server() const { return server_; }

 private:
  std::string path_;
  KeyPair server_;
};

bool Within(std::chrono::seconds time, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

constexpr std::chrono::seconds kPatience(60);

TEST(CurveServer, LetsInWhoIsOnTheListAndReadsItAgain) {
  const Keys keys;
  zmq::context_t server_context, client_context;
  CurveServer curve(server_context, keys / "server.secret", keys / "clients");
  EXPECT_EQ(curve.clients(), 0u);
  EXPECT_EQ(curve.keys().public_key, keys.server().public_key);
  zmq::socket_t push(server_context, zmq::socket_type::push);
  push.set(zmq::sockopt::linger, 0);
  const std::string endpoint = Bind(push, "tcp://0.0.0.0:*", "test", &curve);
  const std::string near = "tcp://127.0.0.1" + endpoint.substr(endpoint.rfind(':'));

  const KeyPair own = Keys::Make();
  zmq::socket_t pull(client_context, zmq::socket_type::pull);
  pull.set(zmq::sockopt::linger, 0);
  UseKeys(pull, keys.server().public_key, own);
  pull.connect(near);
  ASSERT_TRUE(Within(kPatience, [&] { return curve.refused() > 0; }));
  EXPECT_EQ(curve.last_refused().find(own.public_key.substr(0, 8) + "… from 127.0.0.1"), 0u);
  EXPECT_EQ(curve.last_refused().find(own.public_key), std::string::npos);
  EXPECT_FALSE(push.send(zmq::str_buffer("x"), zmq::send_flags::dontwait));

  keys.Write("clients/own.public", "# ours\n" + own.public_key + "\n");
  keys.Write("clients/notes.txt", "not a key");
  curve.ReloadClients();
  EXPECT_EQ(curve.clients(), 1u);

  // A bad list is refused whole, and the old one stays.
  keys.Write("clients/bad.public", "junk");
  EXPECT_THROW(curve.ReloadClients(), Error);
  EXPECT_EQ(curve.clients(), 1u);

  zmq::socket_t again(client_context, zmq::socket_type::pull);
  again.set(zmq::sockopt::linger, 0);
  UseKeys(again, keys.server().public_key, own);
  again.connect(near);
  ASSERT_TRUE(Within(kPatience, [&] {
    return push.send(zmq::str_buffer("x"), zmq::send_flags::dontwait).has_value();
  }));
  EXPECT_GE(curve.accepted(), 1u);
}

TEST(CurveServer, AListIsAFileOfKeysToo) {
  const Keys keys;
  const KeyPair a = Keys::Make(), b = Keys::Make();
  keys.Write("list", "# two\r\n" + a.public_key + "\r\n#\n" + b.public_key + "\n" + a.public_key);
  zmq::context_t context;
  CurveServer curve(context, keys / "server.secret", keys / "list");
  EXPECT_EQ(curve.clients(), 2u);
}

TEST(CurveServer, ItsHandlerEndsWithTheContextToo) {
  const Keys keys;
  zmq::context_t context;
  CurveServer curve(context, keys / "server.secret", keys / "clients");
  context.shutdown();
}

TEST(KeyFiles, SaysWhatIsWrong) {
  const Keys keys;
  EXPECT_THROW(ReadPublicKey(keys / "none"), Error);
  EXPECT_THROW(ReadPublicKey(keys / "clients"), Error);
  keys.Write("two", keys.server().public_key + "\n" + keys.server().public_key + "\n");
  EXPECT_THROW(ReadPublicKey(keys / "two"), Error);
  keys.Write("open", keys.server().secret_key);
  chmod((keys / "open").c_str(), 0644);
  try {
    ReadSecretKey(keys / "open");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("chmod 600"), std::string::npos);
    EXPECT_EQ(std::string(e.what()).find(keys.server().secret_key), std::string::npos);
  }
}

TEST(Bind, OnlyLoopbackWithoutKeys) {
  zmq::context_t context;
  for (const char* endpoint : {"tcp://*:*", "tcp://0.0.0.0:*", "tcp://[::]:*", "tcp://eth0:*",
                               "tcp://192.168.1.1:5", "tcp://127.0.0.1.example.org:5"}) {
    zmq::socket_t socket(context, zmq::socket_type::pub);
    EXPECT_THROW(Bind(socket, endpoint, "test", nullptr), Error) << endpoint;
  }
  for (const char* endpoint : {"tcp://127.0.0.1:*", "tcp://localhost:*", "tcp://127.0.0.2:*"}) {
    zmq::socket_t socket(context, zmq::socket_type::pub);
    EXPECT_NO_THROW(Bind(socket, endpoint, "test", nullptr)) << endpoint;
  }
}

}  // namespace
}  // namespace xst::zeromq
