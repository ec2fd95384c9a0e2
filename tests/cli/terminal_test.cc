// What live views draw with: text, curves and the records of the wire.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "apps/terminal/canvas.h"
#include "apps/terminal/feed.h"
#include "apps/terminal/text.h"

namespace xst::terminal {
namespace {

// The dots of a canvas, row by row, '#' where one is set; escapes are left out.
std::vector<std::string> Dots(const Canvas& canvas) {
  static constexpr int kBits[4][2] = {{0, 3}, {1, 4}, {2, 5}, {6, 7}};
  std::vector<std::string> dots(static_cast<size_t>(canvas.rows()) * 4,
                                std::string(static_cast<size_t>(canvas.columns()) * 2, '.'));
  for (int row = 0; row < canvas.rows(); ++row) {
    const std::string text = canvas.Row(row);
    size_t column = 0;
    for (size_t i = 0; i < text.size();) {
      if (text[i] == '\x1b') {
        i = text.find('m', i) + 1;
      } else if (text[i] == ' ') {
        ++column, ++i;
      } else {
        const int bits = (text[i + 1] & 3) << 6 | (text[i + 2] & 0x3F);
        for (int y = 0; y < 4; ++y) {
          for (int x = 0; x < 2; ++x) {
            if (bits >> kBits[y][x] & 1) {
              dots[static_cast<size_t>(row * 4 + y)][column * 2 + static_cast<size_t>(x)] = '#';
            }
          }
        }
        ++column, i += 3;
      }
    }
    EXPECT_EQ(column, static_cast<size_t>(canvas.columns()));
  }
  return dots;
}

TEST(Canvas, DrawsARampFromCornerToCorner) {
  Canvas canvas(4, 2);
  const std::vector<Point> ramp = {{0, 0}, {1, 1}};
  canvas.Draw(ramp, {0, 1, 0, 1}, Style::plain);
  const auto dots = Dots(canvas);
  EXPECT_EQ(dots.front().back(), '#');
  EXPECT_EQ(dots.back().front(), '#');
  for (size_t x = 0; x < 8; ++x) {
    size_t set = 0;
    for (const auto& row : dots) set += row[x] == '#';
    EXPECT_GE(set, 1u) << "column " << x;
  }
}

TEST(Canvas, LosesNoPeakBetweenDots) {
  Canvas canvas(2, 2);
  std::vector<Point> points;
  for (int i = 0; i < 1000; ++i) points.push_back({i / 1000.0, i == 501 ? 1.0f : 0.0f});
  canvas.Draw(points, {0, 1, 0, 1}, Style::plain);
  EXPECT_EQ(Dots(canvas).front(), "..#.");
  EXPECT_EQ(Dots(canvas).back(), "####");
}

TEST(Canvas, LeavesHolesAndWhatIsOutside) {
  Canvas canvas(4, 1);
  const std::vector<Point> points = {{-1, 0}, {0, 0}, {0.2, NAN}, {0.9, 0}, {1.5, 0}, {NAN, 0}};
  canvas.Draw(points, {0, 1, 0, 1}, Style::plain);
  EXPECT_EQ(Dots(canvas).back(), "#......#");
}

TEST(Canvas, TakesAnySizeRangeAndOrder) {
  for (const int size : {-3, 0, 1, 5}) {
    Canvas canvas(size, size);
    const std::vector<Point> points = {{0.5, 1e30f}, {0.1, -1e30f}, {1, INFINITY},
                                       {0.2, 3},     {0.2, -3},     {1e300, 0}};
    canvas.Draw(points, {0, 1, 0, 1}, Style::red);
    canvas.Draw(points, {1, 0, 0, 1}, Style::red);
    canvas.Draw(points, {0, 1, 1, 1}, Style::red);
    canvas.Draw({}, {0, 1, 0, 1}, Style::red);
    EXPECT_EQ(Dots(canvas).size(), static_cast<size_t>(canvas.rows()) * 4);
  }
}

TEST(Fit, EnclosesWhatIsThere) {
  const std::vector<Point> points = {{0, 100}, {1, -1}, {2, NAN}, {3, 2}, {4, 100}};
  Axes axes = Fit(points, 1, 3, 0.5);
  EXPECT_EQ(axes.low, -1);
  EXPECT_EQ(axes.high, 2);
  axes = Fit(points, 3, 3, 0.5);
  EXPECT_EQ(axes.low, 1.75);
  EXPECT_EQ(axes.high, 2.25);
  axes = Fit({}, 0, 1, 2);
  EXPECT_EQ(axes.low, -1);
  EXPECT_EQ(axes.high, 1);
}

TEST(ColumnOf, IsInsideOrMinusOne) {
  const Axes axes = {10, 20, 0, 1};
  EXPECT_EQ(ColumnOf(10, axes, 5), 0);
  EXPECT_EQ(ColumnOf(19.99, axes, 5), 4);
  for (const double t : {9.99, 20.0, 1e300, -1e300, std::nan("")}) {
    EXPECT_EQ(ColumnOf(t, axes, 5), -1) << t;
  }
}

TEST(Series, ForgetsOnlyWhatIsOld) {
  Series series;
  for (int i = 0; i < 10000; ++i) {
    series.Add(i, static_cast<float>(i));
    series.Trim(i - 99);
    ASSERT_EQ(series.points().size(), static_cast<size_t>(std::min(i + 1, 100)));
    ASSERT_EQ(series.points().back().t, i);
    ASSERT_EQ(series.points().front().t, std::max(i - 99, 0));
  }
  series.Clear();
  EXPECT_TRUE(series.points().empty());
}

TEST(Line, CutsAndAlignsByCells) {
  EXPECT_EQ(Line(5).Add("µµµµµµµ").str(), "µµµµµ");
  EXPECT_EQ(Line(8).Add("ab").Right("xyz").str(), "ab   xyz");
  EXPECT_EQ(Line(5).Add("ab").Right("xyz").str(), "ab") << "no room for a space between";
  EXPECT_EQ(Line(5).Add("ab").Fill(4).Add("c").Fill(9).str(), "ab  c");
  EXPECT_EQ(Line(4).Add("ab").AddRendered("\x1b[1mcde", 3).cells(), 2);
}

TEST(Number, HasThreeOrFourDigits) {
  EXPECT_EQ(Number(0), "0.000");
  EXPECT_EQ(Number(-0.1234), "-0.123");
  EXPECT_EQ(Number(1.234), "1.23");
  EXPECT_EQ(Number(83.14), "83.1");
  EXPECT_EQ(Number(12345.6), "12346");
  EXPECT_EQ(Number(1.5e-5), "1.5e-05");
  EXPECT_EQ(Number(2e9), "2e+09");
  EXPECT_EQ(Number(NAN), "–");
  EXPECT_EQ(Number(-INFINITY), "–");
}

TEST(Printable, LeavesNothingThatATerminalObeys) {
  EXPECT_EQ(Printable("a\x1b[2J\r\n\x7f\tµ"), "a?[2J????µ");
}

bool Parse(const std::string& text, Record* record) {
  return ParseRecord(text.data(), text.size(), record);
}

TEST(ParseRecord, ReadsTheWireInItsOrder) {
  Record r;
  ASSERT_TRUE(Parse(R"({"timestamp": 1.5, "seq": 3, "epoch": 9007199254740991, "quality": 33,
                "y": {"z": 1.25, "a": null}, "x": {"in": -2}, "latency_us": 40.5, "gap_s": 1})",
                    &r));
  EXPECT_EQ(r.timestamp, 1.5);
  EXPECT_EQ(r.seq, 3u);
  EXPECT_EQ(r.epoch, 9007199254740991u);
  EXPECT_EQ(r.latency_us, 40.5);
  EXPECT_EQ(QualityNames(r.quality), "held reset");
  ASSERT_EQ(r.y.size(), 2u);
  EXPECT_EQ(r.y[0].first, "z");
  EXPECT_EQ(r.Find("z"), 1.25f);
  EXPECT_TRUE(std::isnan(r.Find("a")));
  EXPECT_TRUE(std::isnan(r.Find("none")));
  EXPECT_EQ(r.x[0].second, -2.0f);
}

TEST(ParseRecord, RefusesEverythingElse) {
  const std::string good =
      R"({"timestamp":1,"seq":3,"epoch":4,"quality":0,"y":{"a":1},"x":{"b":1},"latency_us":2})";
  Record r;
  ASSERT_TRUE(Parse(good, &r));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(Parse(good.substr(0, size), &r));
  for (const char* key : {"timestamp", "seq", "epoch", "quality", "\"y\"", "\"x\"", "latency_us"}) {
    std::string text = good;
    text[text.find(key) + 1] = '_';
    EXPECT_FALSE(Parse(text, &r)) << text;
  }
  for (const char* text : {"[]", "1", "null", "\"x\"", "{}", "\xff\xfe"})
    EXPECT_FALSE(Parse(text, &r));
  std::string text = good;
  text.replace(text.find("{\"a\":1}"), 7, "{\"a\":[]}");
  EXPECT_FALSE(Parse(text, &r));
  EXPECT_FALSE(Parse(std::string(100'000, '['), &r));
}

}  // namespace
}  // namespace xst::terminal
