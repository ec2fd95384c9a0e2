#include "sdk/zmq/zap.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/status.h"

namespace xst::zeromq {
namespace {

constexpr char kAddress[] = "inproc://zeromq.zap.01", kStop[] = "stop";

}  // namespace

CurveServer::CurveServer(zmq::context_t& context, const std::string& secret, std::string clients)
    : context_(context),
      keys_(ReadSecretKey(secret)),
      clients_path_(std::move(clients)),
      socket_(context, zmq::socket_type::router) {
  ReloadClients();
  socket_.set(zmq::sockopt::linger, 0);
  socket_.bind(kAddress);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "xst-zap");
    Run();
  });
}

CurveServer::~CurveServer() {
  try {
    zmq::socket_t stop(context_, zmq::socket_type::req);
    stop.connect(kAddress);
    stop.send(zmq::buffer(kStop, sizeof(kStop) - 1), zmq::send_flags::none);
    thread_.join();
  } catch (const zmq::error_t&) {  // the context ends: so has the thread
    thread_.join();
  }
}

void CurveServer::Protect(zmq::socket_t& socket) const {
  socket.set(zmq::sockopt::curve_server, true);
  socket.set(zmq::sockopt::curve_secretkey, keys_.secret_key);
  socket.set(zmq::sockopt::zap_domain, "xstd");
}

void CurveServer::ReloadClients() {
  namespace fs = std::filesystem;
  std::vector<std::string> texts;
  std::error_code error;
  if (fs::is_directory(clients_path_, error)) {
    if ((fs::status(clients_path_, error).permissions() & fs::perms::others_write) !=
        fs::perms::none) {
      throw Error(Status::invalid_config, clients_path_ +
                                              ": expected a folder that not everybody may write "
                                              "(chmod o-w it), got one that they may");
    }
    for (fs::directory_iterator at(clients_path_, error), end; !error && at != end;
         at.increment(error)) {
      if (at->path().extension() == ".public") texts.push_back(ReadPublicKey(at->path().string()));
    }
    if (error) {
      throw Error(Status::io_error,
                  clients_path_ + ": expected a folder of public keys, got " + error.message());
    }
  } else {
    texts = ReadPublicKeys(clients_path_);
  }
  std::set<Key> keys;
  for (const std::string& text : texts) {
    Key key;
    zmq_z85_decode(key.data(), text.c_str());
    keys.insert(key);
  }
  const std::lock_guard lock(mutex_);
  clients_ = std::move(keys);
}

size_t CurveServer::clients() const {
  const std::lock_guard lock(mutex_);
  return clients_.size();
}

std::string CurveServer::last_refused() const {
  const std::lock_guard lock(mutex_);
  return last_refused_;
}

void CurveServer::Run() noexcept {
  for (;;) {
    try {
      if (!Answer()) return;
    } catch (const zmq::error_t& e) {
      if (e.num() == ETERM) {
        socket_.close();
        return;
      }
    } catch (const std::exception&) {  // out of memory: this client is not answered, so not let in
    }
  }
}

bool CurveServer::Answer() {
  // A ROUTER: unlike a REP it is never stuck between a question and its answer. Frames: envelope
  // (2), version, request id, domain, address, routing id, mechanism, key.
  constexpr size_t kFrames = 9;
  std::vector<zmq::message_t> frames;
  do {
    zmq::message_t frame;
    if (!socket_.recv(frame)) return true;
    frames.push_back(std::move(frame));
  } while (frames.back().more());
  if (frames.back().to_string_view() == kStop) return false;
  if (frames.size() != kFrames || frames[2].to_string_view() != "1.0") return true;
  const bool allowed = frames[7].to_string_view() == "CURVE" && Allows(frames[8], frames[5]);
  ++(allowed ? accepted_ : refused_);
  // envelope, version, request id, status, its text, user, metadata
  const std::string_view reply[] = {frames[0].to_string_view(),
                                    "",
                                    "1.0",
                                    frames[3].to_string_view(),
                                    allowed ? "200" : "400",
                                    allowed ? "OK" : "unknown key",
                                    "",
                                    ""};
  for (const std::string_view& part : reply) {
    const bool last = &part == std::end(reply) - 1;
    socket_.send(zmq::buffer(part), last ? zmq::send_flags::none : zmq::send_flags::sndmore);
  }
  return true;
}

bool CurveServer::Allows(const zmq::message_t& key, const zmq::message_t& address) {
  Key bytes;
  if (key.size() != bytes.size()) return false;
  std::memcpy(bytes.data(), key.data(), bytes.size());
  const std::lock_guard lock(mutex_);
  if (clients_.contains(bytes)) return true;
  char text[41];
  zmq_z85_encode(text, bytes.data(), bytes.size());
  last_refused_ = Fingerprint(text) + "… from " + std::string(address.to_string_view());
  return false;
}

}  // namespace xst::zeromq
