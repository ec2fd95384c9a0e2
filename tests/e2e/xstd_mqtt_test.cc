// MQTT through a real broker: the session that the broker keeps, restarts of either, credentials.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mosquitto.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/daemon.h"
#include "tests/e2e/sources.h"

extern char** environ;

namespace xst::e2e {
namespace {

constexpr char kBroker[] = "/usr/sbin/mosquitto";

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  close(fd);
  return ntohs(address.sin_port);
}

// A client that publishes at QoS 1.
class Publisher {
 public:
  Publisher(int port, const std::string& user, const std::string& password)
      : client_(mosquitto_new(nullptr, true, this), mosquitto_destroy) {
    mosquitto_publish_callback_set(client_.get(), [](mosquitto*, void* self, int) {
      ++static_cast<Publisher*>(self)->acked_;
    });
    if (!user.empty()) mosquitto_username_pw_set(client_.get(), user.c_str(), password.c_str());
    while (mosquitto_connect(client_.get(), "127.0.0.1", port, 60) != MOSQ_ERR_SUCCESS) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the broker comes up
    }
  }
  // Returns when the broker has it.
  void Publish(const std::string& message, bool retain = false) {
    const size_t before = acked_;
    ASSERT_EQ(mosquitto_publish(client_.get(), nullptr, "sensors/ecg",
                                static_cast<int>(message.size()), message.data(), 1, retain),
              MOSQ_ERR_SUCCESS);
    while (acked_ == before) ASSERT_EQ(mosquitto_loop(client_.get(), 10, 1), MOSQ_ERR_SUCCESS);
  }

 private:
  std::unique_ptr<mosquitto, void (*)(mosquitto*)> client_;
  size_t acked_ = 0;
};

class XstdMqtt : public SourcesTest {
 protected:
  void SetUp() override {
    if (access(kBroker, X_OK) != 0) GTEST_SKIP() << "mosquitto is not installed";
    mosquitto_lib_init();
    port_ = FreePort();
  }
  void TearDown() override { StopBroker(); }

  void StartBroker(const std::string& more = "allow_anonymous true\n") {
    const std::string config = work_.Write(
        "broker.conf", "listener " + std::to_string(port_) + " 127.0.0.1\nuser root\n" +
                           "persistence true\npersistence_location " + work_.path() + "/\n" + more);
    std::vector<char*> argv = {const_cast<char*>(kBroker), const_cast<char*>("-c"),
                               const_cast<char*>(config.c_str()), nullptr};
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    ASSERT_EQ(posix_spawn(&broker_, kBroker, &quiet, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&quiet);
  }
  void StopBroker() {
    if (broker_ <= 0) return;
    kill(broker_, SIGTERM);
    waitpid(broker_, nullptr, 0);
    broker_ = -1;
  }
  std::string Source(const std::string& more = "") {
    return "{type: mqtt, endpoint: \"mqtt://127.0.0.1:" + std::to_string(port_) +
           "\", topic: sensors/ecg" + more + "}";
  }
  void Publish(const std::vector<float>& samples, size_t begin, size_t end) {
    Publisher publisher(port_, "", "");
    for (size_t i = begin; i < end; ++i) publisher.Publish(Record(i, samples[i]));
  }

  int port_ = 0;
  pid_t broker_ = -1;
};

TEST_F(XstdMqtt, TheBrokerKeepsWhatComesWhileXstdIsAway) {
  const auto samples = Signal(60);
  const std::string config = Config(Source(), "", "state_dir: state\n");
  StartBroker();
  std::vector<Message> all;
  Publisher(port_, "", "").Publish(Record(1000, 1), true);  // retained: an old value, no sample
  for (const size_t until : {20, 40, 60}) {
    Daemon daemon(config, kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    WaitFor(daemon, "subscribed to sensors/ecg");
    const size_t half = until - 10;
    if (all.empty()) Publish(samples, 0, half);
    Publish(samples, half, until);
    for (const Message& m : subscriber.Get(until - all.size())) all.push_back(m);
    ASSERT_EQ(all.size(), until);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    if (until < 60) Publish(samples, until, until + 10);  // to nobody
  }
  ExpectRun(all, samples);
}

TEST_F(XstdMqtt, ABrokerThatRestartsIsFoundAgain) {
  const auto samples = Signal(30);
  Daemon daemon(Config(Source()), kWait);  // before there is one
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  WaitFor(daemon, "tries again");
  StartBroker();
  WaitFor(daemon, "subscribed to");
  Publish(samples, 0, 10);
  ASSERT_EQ(subscriber.Get(10).size(), 10u);
  StopBroker();
  StartBroker();
  Publish(samples, 10, 30);  // kept for the session until xstd is back
  ExpectRun(subscriber.Get(30), samples);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdMqtt, CredentialsComeFromAFileOfTheOwnerAndAreNotSaid) {
  work_.Write("users", "");
  const std::string make = "mosquitto_passwd -b " + (work_ / "users") + " me s3cret-word";
  ASSERT_EQ(std::system(make.c_str()), 0);
  StartBroker("password_file " + (work_ / "users") + "\n");
  const std::string config = Config(Source(", username: me, password_file: pw"));
  const std::string file = work_.Write("pw", "s3cret-word\n");
  chmod(file.c_str(), 0644);
  const Finished open = RunProgram("xstd", {"--check-config", "--config", config});
  EXPECT_EQ(open.status, 1);
  EXPECT_NE(open.err.find("got mode 0644"), std::string::npos) << open.err;
  EXPECT_EQ(open.err.find("s3cret"), std::string::npos);

  chmod(file.c_str(), 0600);
  Daemon daemon(config, kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  WaitFor(daemon, "subscribed to");
  Publisher(port_, "me", "s3cret-word").Publish(Record(0, 1));
  ExpectRun(subscriber.Get(1), {1});
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_EQ(daemon.err().find("s3cret"), std::string::npos);

  work_.Write("pw", "wr0ng-word\n");
  Daemon wrong(config, {"--wait-subscriber", "0"});
  ASSERT_TRUE(wrong.Ready()) << wrong.err();
  WaitFor(wrong, "tries again");
  EXPECT_EQ(wrong.Stop(), 0);
  EXPECT_EQ(wrong.err().find("wr0ng"), std::string::npos) << wrong.err();
}

TEST_F(XstdMqtt, TlsToTheBrokerOfTheCertificateAndToNoOther) {
  if (access("/usr/bin/openssl", X_OK) != 0) GTEST_SKIP() << "openssl is not installed";
  for (const std::string name : {"broker", "other"}) {
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-days 2 -subj /CN=" +
        name + " -addext subjectAltName=IP:127.0.0.1 " + "-keyout " + (work_ / name) +
        ".key -out " + (work_ / name) + ".pem 2>/dev/null";
    ASSERT_EQ(std::system(make.c_str()), 0);
  }
  StartBroker("allow_anonymous true\ncertfile " + (work_ / "broker.pem") + "\nkeyfile " +
              (work_ / "broker.key") + "\n");
  Daemon daemon(Config(Source(", cafile: broker.pem")), {"--wait-subscriber", "0"});
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  WaitFor(daemon, "subscribed to");
  EXPECT_EQ(daemon.Stop(), 0);
  Daemon wrong(Config(Source(", cafile: other.pem")), {"--wait-subscriber", "0"});
  ASSERT_TRUE(wrong.Ready()) << wrong.err();
  WaitFor(wrong, "tries again");
  EXPECT_EQ(wrong.Stop(), 0);
  EXPECT_EQ(wrong.err().find("subscribed"), std::string::npos) << wrong.err();
}

}  // namespace
}  // namespace xst::e2e
