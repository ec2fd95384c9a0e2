// What the service manager hears: readiness, state and the watchdog (sd_notify(3)).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xstd {

// Speaks to $NOTIFY_SOCKET; says nothing where there is none. One thread.
class ServiceManager {
 public:
  ServiceManager();  // reads the environment
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  bool present() const { return socket_ >= 0; }
  // The watchdog's period if it watches this process.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

  void Ready() { Send("READY=1"); }
  void Reloading();  // until the next Ready()
  void Stopping() { Send("STOPPING=1"); }
  void FeedWatchdog() { Send("WATCHDOG=1"); }
  void Status(const std::string& line);  // only when it is a new one

 private:
  void Send(const std::string& message);

  int socket_ = -1;
  std::string address_;  // as in the environment
  std::optional<std::chrono::microseconds> watchdog_;
  std::string status_;
};

// Where a stream's work stands.
struct Progress {
  std::string name;
  uint64_t moved = 0;  // grows with every sample, output and published record
  bool waits = false;  // something lies in a ring
};

// Decides whether the daemon is alive: every stream in which something waits has moved since it was
// last found alive.
class StepWatch {
 public:
  bool Alive(const std::vector<Progress>& streams);

 private:
  std::map<std::string, uint64_t> moved_;  // when last alive
};

}  // namespace xstd
