#include "apps/terminal/canvas.h"

#include <algorithm>
#include <cmath>

namespace xst::terminal {
namespace {

// Bits of the dots of a braille character, [row][column] (Unicode block U+2800).
constexpr uint8_t kDots[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

}  // namespace

void Series::Trim(double t) {
  while (first_ < points_.size() && points_[first_].t < t) ++first_;
  if (first_ < 1024 || first_ < points_.size() / 2) return;
  points_.erase(points_.begin(), points_.begin() + static_cast<std::ptrdiff_t>(first_));
  first_ = 0;
}

Canvas::Canvas(int columns, int rows)
    : columns_(std::max(columns, 0)),
      rows_(std::max(rows, 0)),
      cells_(static_cast<size_t>(columns_) * static_cast<size_t>(rows_)) {}

void Canvas::Vertical(int x, int y_from, int y_to, Style style) {
  if (y_from > y_to) std::swap(y_from, y_to);
  for (int y = std::max(y_from, 0); y <= std::min(y_to, rows_ * 4 - 1); ++y) {
    Cell& cell = cells_[static_cast<size_t>((y / 4) * columns_ + x / 2)];
    cell.dots |= kDots[y % 4][x % 2];
    cell.style = style;
  }
}

void Canvas::Draw(std::span<const Point> points, const Axes& axes, Style style) {
  const int width = columns_ * 2, height = rows_ * 4;
  if (width == 0 || height == 0 || !(axes.t_to > axes.t_from) || !(axes.high > axes.low)) return;
  bool joined = false;  // the curve comes from (last_x, last_y)
  int last_x = 0, last_y = 0;
  for (const Point& point : points) {
    const double right = (point.t - axes.t_from) / (axes.t_to - axes.t_from);
    if (!(right >= 0 && right <= 1)) continue;
    if (!std::isfinite(point.value)) {
      joined = false;
      continue;
    }
    const int x = std::min(static_cast<int>(right * width), width - 1);
    const double up = (double{point.value} - axes.low) / (axes.high - axes.low);
    const int y = static_cast<int>(std::lround((1 - std::clamp(up, 0.0, 1.0)) * (height - 1)));
    if (!joined) {
      Vertical(x, y, y, style);
    } else {
      // A straight line from the last point, column by column.
      const int start = std::min(last_x, x - 1);
      for (int column = start + 1, from = last_y; column <= x; ++column) {
        const int to = last_y + (y - last_y) * (column - start) / (x - start);
        Vertical(column, from, to, style);
        from = to;
      }
    }
    joined = true;
    last_x = x;
    last_y = y;
  }
}

std::string Canvas::Row(int row) const {
  std::string text;
  Style style = Style::plain;
  for (int column = 0; column < columns_; ++column) {
    const Cell& cell = cells_[static_cast<size_t>(row * columns_ + column)];
    if (cell.dots == 0) {
      text += ' ';
      continue;
    }
    if (cell.style != style) text += Escape(style = cell.style);
    text += '\xE2';
    text += static_cast<char>(0xA0 | cell.dots >> 6);
    text += static_cast<char>(0x80 | (cell.dots & 0x3F));
  }
  if (style != Style::plain) text += Escape(Style::plain);
  return text;
}

Axes Fit(std::span<const Point> points, double t_from, double t_to, double least) {
  double low = INFINITY, high = -INFINITY;
  for (const Point& point : points) {
    if (point.t < t_from || point.t > t_to || !std::isfinite(point.value)) continue;
    low = std::min(low, double{point.value});
    high = std::max(high, double{point.value});
  }
  if (!(low <= high)) low = high = 0;
  if (high - low < least) {
    const double middle = 0.5 * (low + high);
    low = middle - 0.5 * least;
    high = middle + 0.5 * least;
  }
  return {t_from, t_to, low, high};
}

int ColumnOf(double t, const Axes& axes, int columns) {
  const double right = (t - axes.t_from) / (axes.t_to - axes.t_from);
  if (!(right >= 0 && right < 1)) return -1;
  return static_cast<int>(right * columns);
}

}  // namespace xst::terminal
