// UDP, a serial line (a pty), SUB and the clock rules through a running xstd.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/daemon.h"
#include "tests/e2e/sources.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;

class XstdSources : public SourcesTest {};

class UdpSender {
 public:
  UdpSender(const std::string& to, const char* from = "127.0.0.1")
      : fd_(socket(AF_INET, SOCK_DGRAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, from, &address.sin_addr);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(to.substr(to.rfind(':') + 1))));
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~UdpSender() { close(fd_); }
  void Send(const std::string& datagram) {
    EXPECT_EQ(send(fd_, datagram.data(), datagram.size(), 0),
              static_cast<ssize_t>(datagram.size()));
  }

 private:
  int fd_;
};

TEST_F(XstdSources, UdpDatagramsOfOneOrMoreRecords) {
  const auto samples = Signal(90);
  Daemon daemon(Config("{type: udp, endpoint: \"127.0.0.1:*\"}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  UdpSender sender(daemon.endpoint("ecg"));
  sender.Send("not a record");
  for (size_t i = 0; i < samples.size(); i += 3) {
    std::string lines;
    for (size_t k = i; k < i + 3; ++k) lines += Record(k, samples[k]) + "\n";
    sender.Send(lines);
    ASSERT_GE(subscriber.Get(i + 3).size(), i + 3);  // the socket's buffer is small
  }
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_NE(daemon.err().find("1 malformed messages"), std::string::npos) << daemon.err();
}

TEST_F(XstdSources, UdpOthersThanAllowedAreDroppedAndCounted) {
  Daemon daemon(Config("{type: udp, endpoint: \"127.0.0.1:0\", allow: [127.0.0.2/32]}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  UdpSender stranger(daemon.endpoint("ecg")), sender(daemon.endpoint("ecg"), "127.0.0.2");
  stranger.Send(Record(0, 9));
  stranger.Send(Record(1, 9));
  sender.Send(Record(0, 1));
  ExpectRun(subscriber.Get(1), {1});
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_NE(daemon.err().find("2 messages refused"), std::string::npos) << daemon.err();
}

TEST_F(XstdSources, UdpWhatTheSocketCannotHoldIsCounted) {
  Daemon daemon(Config("{type: udp, endpoint: \"127.0.0.1:0\"}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  UdpSender sender(daemon.endpoint("ecg"));
  sender.Send(Record(0, 1));
  ASSERT_EQ(subscriber.Get(1).size(), 1u);
  daemon.Signal(SIGSTOP);
  for (int i = 0; i < 300; ++i) sender.Send(std::string(60000, '?'));  // more than any buffer
  daemon.Signal(SIGCONT);
  for (size_t i = 1; subscriber.Get(2, 100).size() < 2; ++i) sender.Send(Record(i, 1));
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_NE(daemon.err().find("messages lost before they were read"), std::string::npos)
      << daemon.err();
}

TEST_F(XstdSources, UdpAddressesThatAreRefused) {
  const Finished open =
      RunProgram("xstd", {"--config", Config("{type: udp, endpoint: \"0.0.0.0:0\"}")});
  EXPECT_EQ(open.status, 1);
  EXPECT_NE(open.err.find("xstd.yaml:3:"), std::string::npos) << open.err;
  EXPECT_NE(open.err.find("says who may send"), std::string::npos) << open.err;
  Daemon daemon(Config("{type: udp, endpoint: \"127.0.0.1:0\"}"));
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  const Finished taken = RunProgram(
      "xstd", {"--config", Config("{type: udp, endpoint: \"" + daemon.endpoint("ecg") + "\"}")});
  EXPECT_EQ(taken.status, 1);
  EXPECT_NE(taken.err.find("expected a free UDP address"), std::string::npos) << taken.err;
}

// A serial device: a pty behind a link, which can be unplugged.
class Serial {
 public:
  explicit Serial(std::string path) : path_(std::move(path)) { Plug(); }
  ~Serial() { Unplug(); }
  void Plug() {
    char name[64];
    int slave = -1;
    ASSERT_EQ(openpty(&master_, &slave, name, nullptr, nullptr), 0);
    fcntl(master_, F_SETFD, FD_CLOEXEC);
    fs::create_symlink(name, path_);
    held_ = slave;
  }
  void Unplug() {
    fs::remove(path_);
    close(held_);
    close(master_);
  }
  void Send(const std::string& text) {
    ASSERT_EQ(write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

 private:
  std::string path_;
  int master_ = -1, held_ = -1;
};

TEST_F(XstdSources, ASerialDeviceIsUnpluggedAndComesBack) {
  const auto samples = Signal(30);
  Serial serial(work_ / "tty");
  Daemon daemon(Config("{type: serial, device: tty, baud: 115200}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  serial.Send("9\n");  // what comes before the first line end may be half a record
  for (size_t i = 0; i < 10; ++i) serial.Send(Record(i, samples[i]) + "\r\n");
  ASSERT_EQ(subscriber.Get(10).size(), 10u);
  serial.Send("{\"seq\": 10, \"x\": [");  // cut by the unplugging
  serial.Unplug();
  WaitFor(daemon, "waits for the device");
  serial.Plug();
  serial.Send("1]}\n");  // the end of a line whose beginning nobody saw
  for (size_t i = 13; i < 30; ++i) serial.Send(Record(i, samples[i]) + "\n");
  auto with_gap = samples;
  std::fill_n(with_gap.begin() + 10, 3, kNan);
  const auto messages = subscriber.Get(30);
  ExpectRun(messages, with_gap);  // and the gap is said
  EXPECT_NEAR(messages[13].json["gap_s"].get<double>(), 0.03, 1e-9);
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_NE(daemon.err().find("tty is back"), std::string::npos) << daemon.err();
  EXPECT_EQ(daemon.err().find("malformed"), std::string::npos) << daemon.err();
}

TEST_F(XstdSources, ASerialDeviceThatIsNotThereIsWaitedForAndAnotherFileRefused) {
  Daemon daemon(Config("{type: serial, device: tty}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  WaitFor(daemon, "waits for the device");
  Serial serial(work_ / "tty");
  serial.Send("\n1\n");
  EXPECT_EQ(subscriber.Get(1).size(), 1u);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  work_.Write("file", "1\n");
  const Finished run = RunProgram("xstd", {"--config", Config("{type: serial, device: file}")});
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.err.find("source.device: expected a serial device"), std::string::npos) << run.err;
}

// libzmq closes the socket before on a thread of its own.
bool BindWhenFree(zmq::socket_t& socket, const std::string& endpoint) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < end) {
    try {
      socket.bind(endpoint);
      return true;
    } catch (const zmq::error_t& e) {
      if (e.num() != EADDRINUSE) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  return false;
}

TEST_F(XstdSources, ASubscriptionOutlivesItsPublisherAndCountsWhatItMissed) {
  const auto samples = Signal(20);
  std::string endpoint = "tcp://127.0.0.1:*";
  std::unique_ptr<Daemon> daemon;
  std::unique_ptr<Subscriber> subscriber;
  for (const size_t begin : {0, 12}) {  // 10 and 11 are published to nobody
    zmq::socket_t publisher(context_, zmq::socket_type::xpub);
    publisher.set(zmq::sockopt::linger, 1000);
    ASSERT_TRUE(BindWhenFree(publisher, endpoint));
    endpoint = publisher.get(zmq::sockopt::last_endpoint);
    if (!daemon) {
      daemon =
          std::make_unique<Daemon>(Config("{type: sub, endpoint: \"" + endpoint + "\"}"), kWait);
      ASSERT_TRUE(daemon->Ready()) << daemon->err();
      subscriber = std::make_unique<Subscriber>(context_, daemon->endpoint("publish"));
    }
    zmq::message_t subscription;
    ASSERT_TRUE(publisher.recv(subscription));
    const size_t end = begin == 0 ? 10 : 20;
    for (size_t i = begin; i < end; ++i) {
      publisher.send(zmq::buffer(Record(i, samples[i])), zmq::send_flags::none);
    }
    ASSERT_EQ(subscriber->Get(end).size(), end);
  }
  auto with_gap = samples;
  std::fill_n(with_gap.begin() + 10, 2, kNan);
  ExpectRun(subscriber->Get(20), with_gap);
  EXPECT_EQ(daemon->Stop(), 0);
  EXPECT_NE(daemon->err().find("2 samples missing in 1 gaps"), std::string::npos) << daemon->err();
}

// --- clock rules

TEST_F(XstdSources, AnOrderWindowPutsSamplesInOrder) {
  const auto samples = Signal(200);
  Daemon daemon(Config("{type: pull, endpoint: \"tcp://127.0.0.1:*\"}", "clock: {order_window: 4}"),
                kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  std::mt19937 random(3);
  for (size_t i = 0; i < samples.size(); i += 4) {
    size_t order[] = {i, i + 1, i + 2, i + 3};
    std::shuffle(std::begin(order), std::end(order), random);
    for (const size_t k : order) Push(push, Record(k, samples[k]));
  }
  Push(push, Record(3, 9));  // long passed
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_NE(daemon.err().find("1 samples dropped, they came behind"), std::string::npos)
      << daemon.err();
}

TEST_F(XstdSources, ASilentSourceIsStaleUntilTheNextSample) {
  Daemon daemon(Config("{type: pull, endpoint: \"tcp://127.0.0.1:*\"}", "clock: {stale_s: 0.05}"),
                kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  WaitFor(daemon, "stale, no sample for 0.05 s");
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  for (size_t i = 0; daemon.err().find("samples again") == std::string::npos; ++i) {
    ASSERT_TRUE(daemon.Running());
    Push(push, Record(i, 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(daemon.Stop(), 0);
}

TEST_F(XstdSources, EventsAreNotResampled) {
  const std::string folder = work_ / "events";
  fs::copy(std::string(XST_TEST_DATA) + "/stream/forecaster", folder);
  std::ifstream in(folder + "/config.yaml");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::string rate = "rate_hz: 100";
  ASSERT_NE(text.find(rate), std::string::npos);
  text.replace(text.find(rate), rate.size(), "rate_hz: 0");
  fs::remove(folder + "/config.yaml");
  work_.Write("events/config.yaml", text);
  const Finished pack = RunProgram("xst", {"pack", folder, "-o", work_ / "forecaster.xst"});
  ASSERT_EQ(pack.status, 0) << pack.err;
  const Finished run = RunProgram(
      "xstd", {"--check-config", "--config", Config("{type: stdin}", "clock: {resample: hold}")});
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.err.find("xstd.yaml:3:"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("clock.resample: expected none"), std::string::npos) << run.err;
}

TEST_F(XstdSources, AResampledRecordingIsTheSameInOnePieceAndInParts) {
  // 70 Hz with jitter and out of order, onto the model's 100 Hz.
  std::mt19937 random(5);
  std::string rows[700];
  for (size_t i = 0; i < 700; ++i) {
    char row[64];
    std::snprintf(row, sizeof(row), "%.6f,%.6f\n",
                  (static_cast<double>(i) + static_cast<double>(random() % 100) / 300) / 70,
                  std::sin(0.1 * static_cast<double>(i)));
    rows[i] = row;
  }
  for (size_t i = 0; i + 1 < 700; i += 3) std::swap(rows[i], rows[i + 1]);
  std::string text = "t,ecg\n";
  for (const std::string& row : rows) text += row;
  work_.Write("ecg.csv", text);
  const std::string clock = "clock: {order_window: 2, resample: linear}";
  std::vector<Message> whole, parts;
  {
    Daemon daemon(Config("{type: replay, file: ecg.csv, speed: 0}", clock), kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
    whole = subscriber.Get(1000, 500);
  }
  ASSERT_GT(whole.size(), 990u);
  const std::string config =
      Config("{type: replay, file: ecg.csv, speed: 20}", clock, "state_dir: state\n");
  for (int run = 0; parts.size() < whole.size(); ++run) {
    ASSERT_LT(run, 20);
    Daemon daemon(config, kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    if (run < 3) {
      subscriber.Get(90 + 70 * static_cast<size_t>(run));
      EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    } else {
      EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
    }
    for (const Message& m : subscriber.Get(whole.size(), 500)) parts.push_back(m);
  }
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(parts[i].json["seq"], i);
    for (const char* key : {"timestamp", "x", "y"}) {
      ASSERT_EQ(parts[i].json[key].dump(), whole[i].json[key].dump()) << i;
    }
  }
}

}  // namespace
}  // namespace xst::e2e
