// xstd: takes live samples through models and publishes what comes out.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "apps/xstd/config.h"
#include "apps/xstd/daemon.h"
#include "apps/xstd/log.h"

namespace {

constexpr int kFailure = 1, kUsage = 2;

int Fail(int code, const std::string& message) {
  xstd::LogFatal(message);
  return code;
}

// Connections, key-less ones too, and files share them: as many as are allowed.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Blocked before any thread starts, so that only Daemon::Run sees them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is a failed write
  return signals;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Steps trained xLSTM models on live streams and publishes their outputs.", "xstd"};
  std::string config_path;
  bool check = false;
  xstd::DaemonOptions options;
  app.add_option("--config", config_path, "Configuration file (YAML)")->required();
  app.add_flag("--check-config", check, "Read the configuration and open its models, then exit");
  app.add_option("--snapshot-every", options.snapshot_every_s, "Seconds between snapshots")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--wait-subscriber", options.wait_subscriber_s,
                 "Start the sources with the first subscriber, or after so many seconds; without "
                 "it, streams that lose nothing wait for 0.5 to 5 s")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--summary", options.summary, "Write what the run did as JSON to this file");
  app.set_version_flag("--version", "xstd " XSTD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return Fail(kUsage, std::string("usage: ") + e.what() + " (see xstd --help)");
  }

  xstd::SetLog({});
  try {
    const sigset_t signals = BlockSignals();
    RaiseFileLimit();
    const xstd::DaemonConfig config = xstd::ReadConfig(config_path);
    xstd::SetLog(config.log);
    if (check) {
      xstd::CheckModels(config);
      std::printf("%s: ok, %zu stream%s\n", config_path.c_str(), config.streams.size(),
                  config.streams.size() == 1 ? "" : "s");
      return 0;
    }
    options.config_path = config_path;
    return xstd::Daemon(config, options).Run(signals);
  } catch (const std::exception& e) {
    return Fail(kFailure, e.what());
  }
}
