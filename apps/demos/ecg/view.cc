// ecg-view: the running ECG stream in the terminal, and its summary afterwards.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "apps/demos/ecg/view_picture.h"
#include "apps/terminal/screen.h"
#include "formats/output_file.h"

namespace xst::ecg {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kFrame{50};
constexpr int kFirstSampleSeconds = 30;  // patience for the daemon to come up

struct LiveArgs {
  std::string model, rule, totals;
  std::string endpoint = "tcp://127.0.0.1:9872", topic = "ecg/";
  double seconds = 0;  // 0: to the stream's end
};

struct SummaryArgs {
  std::string daemon, totals;
};

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// Until the time is up, the daemon goes away or somebody wants to stop.
void Follow(const LiveArgs& args, ViewState* state) {
  terminal::Feed feed(args.endpoint, args.topic);
  terminal::Screen screen;
  auto start = Clock::now(), last_frame = start, last_line = start;
  bool ended = false;
  while (!ended && !screen.Stopping()) {
    const bool waiting = state->seen() == 0;
    ended = feed.ended();  // asked first: what arrived before the end is still taken below
    feed.Poll(kFrame / 2, [&](const terminal::Record& record) { state->Take(record); });
    const auto now = Clock::now();
    if (waiting && state->seen() > 0) start = last_line = now;
    if (state->seen() == 0 && Seconds(now - start) > kFirstSampleSeconds) {
      throw Error(Status::not_found, args.endpoint + ": expected samples of " + args.topic +
                                         " within " + std::to_string(kFirstSampleSeconds) +
                                         " s, got none");
    }
    if (args.seconds > 0 && state->seen() > 0 && Seconds(now - start) >= args.seconds) break;
    if (screen.live() && now - last_frame >= kFrame) {
      screen.Present(
          Picture(*state, screen.columns(), screen.rows(), args.endpoint, feed.connected()));
      last_frame = now;
    }
    if (!screen.live() && state->seen() > 0 && Seconds(now - last_line) >= 1) {
      std::printf("%s\n", PlainLine(*state).c_str());
      std::fflush(stdout);
      last_line = now;
    }
  }
}

void Live(const LiveArgs& args) {
  ViewState state(FindOutputs(Model::open(args.model)->info()), ReadBeatRule(args.rule),
                  kWindowSeconds);
  Follow(args, &state);
  const double rate = state.heart_rate();
  const Json totals = {{"stream", args.topic.substr(0, args.topic.find('/'))},
                       {"seen", state.seen()},
                       {"beats", state.beat_count()},
                       {"heart_rate", std::isfinite(rate) ? Json(rate) : Json(nullptr)},
                       {"rate_hz", state.outputs().rate_hz}};
  if (args.totals.empty()) {
    std::printf("%llu samples seen, %llu beats\n", static_cast<unsigned long long>(state.seen()),
                static_cast<unsigned long long>(state.beat_count()));
    return;
  }
  formats::OutputFile file(args.totals);
  const std::string text = totals.dump() + "\n";
  file.Write(text.data(), text.size());
  file.Commit();
}

Json ReadJson(const std::string& path) {
  try {
    return Json::parse(formats::ReadAll(path, 1 << 20));
  } catch (const Json::exception& error) {
    throw Error(Status::corrupt, path + ": expected JSON, got: " + error.what());
  }
}

// What the daemon did and what the view saw of it, side by side.
void Summary(const SummaryArgs& args) {
  const Json view = ReadJson(args.totals), all = ReadJson(args.daemon);
  for (const Json& stream : all.at("streams")) {
    if (stream.at("name") != view.at("stream")) continue;
    const double rate_hz = view.at("rate_hz");
    const uint64_t samples = stream.at("samples");
    std::printf("samples           %llu (%.1f s at %g Hz), %llu of them seen by the view\n",
                static_cast<unsigned long long>(samples), static_cast<double>(samples) / rate_hz,
                rate_hz, view.at("seen").get<unsigned long long>());
    std::printf("beats             %llu", view.at("beats").get<unsigned long long>());
    if (view.at("heart_rate").is_number()) {
      std::printf(", the last ones at %.0f per minute", view.at("heart_rate").get<double>());
    }
    const Json& step = stream.at("step_us");
    std::printf("\nstep time         p50 %.1f us, p99 %.1f us, max %.1f us\n",
                step.at("p50").get<double>(), step.at("p99").get<double>(),
                step.at("max").get<double>());
    std::printf("deadlines missed  %llu of %llu (one sample period, %.0f us)\n",
                stream.at("late").get<unsigned long long>(),
                stream.at("outputs").get<unsigned long long>(), 1e6 / rate_hz);
    return;
  }
  throw Error(Status::corrupt, args.daemon + ": expected a stream named " +
                                   view.at("stream").get<std::string>() + ", got others");
}

void AddLive(CLI::App* app) {
  auto args = std::make_shared<LiveArgs>();
  CLI::App* command = app->add_subcommand("live", "Follow the stream until it ends");
  command->add_option("--model", args->model, "the model that the daemon runs (.xst)")->required();
  command->add_option("--rule", args->rule, "the model's beat rule (beats.yaml)")->required();
  command->add_option("--endpoint", args->endpoint, "where the daemon publishes");
  command->add_option("--topic", args->topic, "the stream's topic");
  command->add_option("--seconds", args->seconds, "end so long after the first sample")
      ->check(CLI::PositiveNumber)
      ->default_str("");
  command->add_option("--totals", args->totals, "write what was seen as JSON to this file");
  command->callback([args] { Live(*args); });
}

void AddSummary(CLI::App* app) {
  auto args = std::make_shared<SummaryArgs>();
  CLI::App* command = app->add_subcommand("summary", "Print what a finished run did");
  command->add_option("--daemon", args->daemon, "what xstd --summary wrote")->required();
  command->add_option("--totals", args->totals, "what live --totals wrote")->required();
  command->callback([args] { Summary(*args); });
}

}  // namespace
}  // namespace xst::ecg

int main(int argc, char** argv) {
  CLI::App app{"The ECG demo in the terminal.", "ecg-view"};
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  xst::ecg::AddLive(&app);
  xst::ecg::AddSummary(&app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "ecg-view: error: command line: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ecg-view: error: %s\n", error.what());
    return 1;
  }
}
