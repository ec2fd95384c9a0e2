#include "apps/demos/ecg/view_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/terminal/text.h"

namespace xst::ecg {
namespace {

using terminal::Axes;
using terminal::Canvas;
using terminal::Line;
using terminal::Style;

constexpr int kAxisCells = 10;
constexpr int kSurpriseRows = 3;
constexpr int kOtherRows = 7;  // title, numbers, two gaps, marks, time axis, foot
constexpr double kLeastSpan = 1;

std::string Fixed(double value, int decimals) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return std::isfinite(value) ? text : "–";
}

// A label that ends where the plot begins.
void Label(Line* line, const std::string& text) {
  line->Fill(kAxisCells - 1 - terminal::Cells(text)).Add(text, Style::dim).Fill(kAxisCells);
}

void Plot(const Canvas& canvas, int width, const std::string& top, const std::string& bottom,
          std::vector<std::string>* picture) {
  for (int row = 0; row < canvas.rows(); ++row) {
    Line line(width);
    Label(&line, row == 0 ? top : row == canvas.rows() - 1 ? bottom : "");
    line.AddRendered(canvas.Row(row), canvas.columns());
    picture->push_back(line.str());
  }
}

std::string Marks(const ViewState& state, const Axes& axes, int width, int plot_columns) {
  std::vector<bool> marked(static_cast<size_t>(plot_columns));
  for (const double t : state.beats()) {
    const int column = terminal::ColumnOf(t, axes, plot_columns);
    if (column >= 0) marked[static_cast<size_t>(column)] = true;
  }
  Line line(width);
  Label(&line, "beats");
  for (int column = 0; column < plot_columns; ++column) {
    if (marked[static_cast<size_t>(column)]) line.Fill(kAxisCells + column).Add("▼", Style::red);
  }
  return line.str();
}

std::string TimeAxis(int width, int plot_columns) {
  Line line(width);
  Label(&line, "");
  for (int s = static_cast<int>(kWindowSeconds); s >= 1; --s) {
    const double right = 1 - s / kWindowSeconds;
    line.Fill(kAxisCells + static_cast<int>(right * plot_columns))
        .Add(Fixed(-s, 0) + " s", Style::dim);
  }
  line.Right("now", Style::dim);
  return line.str();
}

std::string Numbers(const ViewState& state, int width) {
  const Outputs& outputs = state.outputs();
  Line line(width);
  line.Add(" ♥ ", Style::red).Add(Fixed(state.heart_rate(), 0), Style::bold).Add(" per minute");
  // What does not fit as a whole is left out.
  const auto add = [&](const std::string& name, const std::string& value, const std::string& unit,
                       Style style = Style::bold) {
    const std::string before = "   " + name + " ", after = unit.empty() ? "" : " " + unit;
    const int cells = terminal::Cells(before) + terminal::Cells(value) + terminal::Cells(after);
    if (line.cells() + cells <= width) line.Add(before).Add(value, style).Add(after);
  };
  add("beats", std::to_string(state.beat_count()), "");
  const auto& x = state.last().x;
  add(outputs.input, Fixed(x.empty() ? NAN : double{x[0].second}, 2), outputs.unit);
  add("surprise", Fixed(double{state.last().Find(outputs.surprise)}, 1), "nat");
  add("latency", Fixed(state.mean_latency_us(), 0), "µs");
  if (state.late() > 0) add("late", std::to_string(state.late()), "", Style::yellow);
  return line.str();
}

std::string Foot(const ViewState& state, int width, const std::string& endpoint) {
  Line line(width);
  line.Add(" ── ", Style::green).Add(state.outputs().input);
  line.Add("  ── ", Style::cyan)
      .Add("predicted " + Fixed(1e3 * state.outputs().ahead_s, 0) + " ms ahead");
  line.Right(endpoint + "  q quits", Style::dim);
  return line.str();
}

}  // namespace

std::vector<std::string> Picture(const ViewState& state, int columns, int rows,
                                 const std::string& endpoint, bool connected) {
  const Outputs& outputs = state.outputs();
  const int plot_columns = columns - kAxisCells;
  const double now = state.last().timestamp;
  std::vector<std::string> picture;

  Line title(columns);
  title.Add(" xlstm-stream", Style::bold)
      .Add("  " + outputs.input + " at " + Fixed(outputs.rate_hz, 0) + " Hz");
  if (state.last().quality) {
    title.Add("  " + terminal::QualityNames(state.last().quality), Style::yellow);
  }
  if (!connected) title.Add("  waiting for the daemon", Style::yellow);
  title.Right("t " + Fixed(now, 1) + " s", Style::dim);
  picture.push_back(title.str());
  picture.push_back(Numbers(state, columns));
  picture.emplace_back();

  const double from = now - kWindowSeconds, to = now + outputs.ahead_s;
  Axes axes = terminal::Fit(state.trace().points(), from, to, kLeastSpan);
  picture.push_back(Marks(state, axes, columns, plot_columns));
  Canvas trace(plot_columns, std::max(rows - kOtherRows - kSurpriseRows, 3));
  trace.Draw(state.prediction().points(), axes, Style::cyan);
  trace.Draw(state.trace().points(), axes, Style::green);
  Plot(trace, columns, Fixed(axes.high, 2) + " " + outputs.unit,
       Fixed(axes.low, 2) + " " + outputs.unit, &picture);

  axes = terminal::Fit(state.surprise().points(), from, to, kLeastSpan);
  Canvas surprise(plot_columns, kSurpriseRows);
  surprise.Draw(state.surprise().points(), axes, Style::yellow);
  picture.emplace_back();
  Plot(surprise, columns, "surprise", Fixed(axes.low, 1) + " nat", &picture);
  picture.push_back(TimeAxis(columns, plot_columns));
  picture.push_back(Foot(state, columns, endpoint));
  return picture;
}

std::string PlainLine(const ViewState& state) {
  const Outputs& outputs = state.outputs();
  const auto& x = state.last().x;
  std::string text =
      "t " + Fixed(state.last().timestamp, 1) + " s  " + outputs.input + " " +
      Fixed(x.empty() ? NAN : double{x[0].second}, 2) + " " + outputs.unit + "  heart rate " +
      Fixed(state.heart_rate(), 0) + "/min  beats " + std::to_string(state.beat_count()) +
      "  surprise " + Fixed(double{state.last().Find(outputs.surprise)}, 1) + " nat  latency " +
      Fixed(state.mean_latency_us(), 0) + " us  deadlines missed " + std::to_string(state.late());
  if (state.last().quality) text += "  " + terminal::QualityNames(state.last().quality);
  return text;
}

}  // namespace xst::ecg
