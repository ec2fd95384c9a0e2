// xst watch: everything a running daemon publishes, live in the terminal.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "apps/terminal/canvas.h"
#include "apps/terminal/feed.h"
#include "apps/terminal/screen.h"
#include "apps/terminal/text.h"
#include "apps/xst/commands.h"

namespace xst::cli {
namespace {

using std::chrono::milliseconds;
using terminal::Canvas;
using terminal::Line;
using terminal::Number;
using terminal::Record;
using terminal::Style;
using Clock = std::chrono::steady_clock;

constexpr double kWindowSeconds = 10;  // of the source's time
constexpr milliseconds kFrame{50};
constexpr int kLabelCells = 28, kValueCells = 10;
constexpr int kTallest = 8;  // rows of one curve

struct WatchArgs {
  std::string endpoint = "tcp://127.0.0.1:9872";
  double seconds = 0;  // 0: until a signal
  KeyArgs keys;
};

// What has arrived of one topic.
class Topic {
 public:
  void Take(const Record& record) {
    // A new epoch, or a source that starts over, is another curve.
    if (record.epoch != last_.epoch || record.timestamp < last_.timestamp) curves_.clear();
    size_t place = 0;
    for (const auto* group : {&record.y, &record.x}) {
      for (const auto& [name, value] : *group) {
        Curve& curve = Find(place++, group == &record.x ? "in " + name : name);
        curve.series.Add(record.timestamp, value);
        curve.last = value;
        curve.series.Trim(record.timestamp - kWindowSeconds);
      }
    }
    last_ = record;
    ++count_;
  }

  // To be called once a second.
  void Tick(double seconds) {
    rate_ = static_cast<double>(count_ - counted_) / seconds;
    counted_ = count_;
  }

  size_t curves() const { return curves_.size(); }

  void Draw(int width, int rows_each, size_t shown, std::vector<std::string>* picture) const {
    Line title(width);
    title.Add(last_.topic, Style::bold);
    title.Add("  " + Number(rate_) + "/s  seq " + std::to_string(last_.seq) + "  latency " +
              Number(last_.latency_us) + " µs  t " + Number(last_.timestamp) + " s");
    if (last_.quality) title.Add("  " + terminal::QualityNames(last_.quality), Style::yellow);
    picture->push_back(title.str());
    for (size_t i = 0; i < shown; ++i) DrawCurve(curves_[i], width, rows_each, picture);
  }

  std::string PlainLine() const {
    std::string text = last_.topic + " t=" + Number(last_.timestamp) +
                       " seq=" + std::to_string(last_.seq) + " rate=" + Number(rate_) +
                       "/s latency=" + Number(last_.latency_us) + "us";
    if (last_.quality) text += " quality=" + terminal::QualityNames(last_.quality);
    for (const Curve& curve : curves_) text += " " + curve.name + "=" + Number(curve.last);
    return text;
  }

 private:
  struct Curve {
    std::string name;
    terminal::Series series;
    float last = 0;
  };

  // A daemon sends its values in one order: look there first.
  Curve& Find(size_t place, const std::string& name) {
    if (place < curves_.size() && curves_[place].name == name) return curves_[place];
    const auto at = std::find_if(curves_.begin(), curves_.end(),
                                 [&](const Curve& c) { return c.name == name; });
    return at != curves_.end() ? *at : curves_.emplace_back(Curve{name, {}, 0});
  }

  void DrawCurve(const Curve& curve, int width, int rows, std::vector<std::string>* picture) const {
    const auto points = curve.series.points();
    const terminal::Axes axes =
        terminal::Fit(points, last_.timestamp - kWindowSeconds, last_.timestamp, 1e-6);
    Canvas canvas(width - kLabelCells, rows);
    canvas.Draw(points, axes, curve.name.starts_with("in ") ? Style::green : Style::cyan);
    for (int row = 0; row < rows; ++row) {
      Line line(width);
      if (row == 0) {
        const std::string value = Number(curve.last);
        const Line name = Line(kLabelCells - kValueCells).Add(" " + curve.name);
        line.AddRendered(name.str(), name.cells());
        line.Fill(kLabelCells - 1 - terminal::Cells(value)).Add(value, Style::bold);
      } else if (row == 1 || row == rows - 1) {
        const std::string bound = Number(row == rows - 1 ? axes.low : axes.high);
        line.Fill(kLabelCells - 1 - terminal::Cells(bound)).Add(bound, Style::dim);
      }
      line.Fill(kLabelCells).AddRendered(canvas.Row(row), canvas.columns());
      picture->push_back(line.str());
    }
  }

  Record last_;
  std::vector<Curve> curves_;
  uint64_t count_ = 0, counted_ = 0;
  double rate_ = 0;
};

using Topics = std::map<std::string, Topic>;
using ActiveAlarms = std::set<std::string>;  // "ecg: high"

std::vector<std::string> Picture(const Topics& topics, const ActiveAlarms& alarms,
                                 const terminal::Screen& screen, const std::string& endpoint,
                                 terminal::Feed& feed) {
  const int width = screen.columns();
  std::vector<std::string> picture;
  size_t curves = 0;
  for (const auto& [name, topic] : topics) curves += topic.curves();
  const int room = screen.rows() - 1 - static_cast<int>(topics.size());
  const int each = curves ? std::clamp(room / static_cast<int>(curves), 1, kTallest) : 1;
  int left = std::max(room, 0);
  size_t hidden = 0;
  for (const auto& [name, topic] : topics) {
    const size_t shown = std::min(topic.curves(), static_cast<size_t>(left / each));
    left -= static_cast<int>(shown) * each;
    hidden += topic.curves() - shown;
    topic.Draw(width, each, shown, &picture);
  }
  while (static_cast<int>(picture.size()) < screen.rows() - 1) picture.emplace_back();
  picture.resize(static_cast<size_t>(std::max(screen.rows() - 1, 0)));

  Line foot(width);
  foot.Add(endpoint, Style::dim);
  if (feed.bye()) {
    foot.Add("  the daemon has stopped", Style::yellow);
  } else if (!feed.connected()) {
    foot.Add("  waiting for a daemon", Style::yellow);
  } else if (topics.empty()) {
    foot.Add("  connected, nothing published yet", Style::yellow);
  }
  for (const std::string& alarm : alarms) foot.Add("  alarm " + alarm, Style::red);
  if (hidden) foot.Add("  " + std::to_string(hidden) + " more do not fit", Style::dim);
  if (const uint64_t malformed = feed.malformed()) {
    foot.Add("  " + std::to_string(malformed) + " messages not understood", Style::red);
  }
  foot.Right("last " + Number(kWindowSeconds) + " s  q quits", Style::dim);
  picture.push_back(foot.str());
  return picture;
}

void Watch(const WatchArgs& args) {
  terminal::Feed feed(args.endpoint, "", [&](auto& socket) { UseKeys(socket, args.keys); });
  terminal::Screen screen;
  Topics topics;
  ActiveAlarms alarms;
  feed.OnAlarm([&](const std::string& topic, const formats::AlarmRecord& alarm) {
    const std::string name = topic.substr(sizeof("alarm/") - 1) + alarm.name;
    if (alarm.active) {
      alarms.insert(name);
    } else {
      alarms.erase(name);
    }
    if (screen.live()) return;
    std::printf("%s %s %s: %s=%s\n", topic.c_str(), alarm.name.c_str(),
                alarm.active ? "raised" : "cleared", alarm.output.c_str(),
                Number(alarm.value).c_str());
  });
  bool said_bye = false;
  const auto start = Clock::now();
  auto last_frame = start, last_second = start;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  while (!screen.Stopping() &&
         (args.seconds == 0 || seconds(Clock::now() - start) < args.seconds)) {
    feed.Poll(kFrame / 2, [&](const Record& record) { topics[record.topic].Take(record); });
    if (feed.bye() && !said_bye && !screen.live()) std::printf("the daemon has stopped\n");
    said_bye = feed.bye();
    const auto now = Clock::now();
    if (seconds(now - last_second) >= 1) {
      for (auto& [name, topic] : topics) {
        topic.Tick(seconds(now - last_second));
        if (!screen.live()) std::printf("%s\n", topic.PlainLine().c_str());
      }
      std::fflush(stdout);
      last_second = now;
    }
    if (screen.live() && now - last_frame >= kFrame) {
      screen.Present(Picture(topics, alarms, screen, args.endpoint, feed));
      last_frame = now;
    }
  }
}

}  // namespace

void AddWatch(CLI::App* app) {
  auto args = std::make_shared<WatchArgs>();
  CLI::App* command =
      app->add_subcommand("watch", "Plot what a running daemon publishes, live in the terminal");
  command->add_option("endpoint", args->endpoint, "where the daemon publishes")
      ->type_name("ENDPOINT");
  command->add_option("--seconds", args->seconds, "end after this long (default: at Ctrl-C or q)")
      ->check(CLI::PositiveNumber)
      ->default_str("")
      ->type_name("N");
  AddKeyArgs(command, &args->keys);
  command->callback([args] { Watch(*args); });
}

}  // namespace xst::cli
