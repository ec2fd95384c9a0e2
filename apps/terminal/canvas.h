// Curves in a terminal: a grid of braille characters, each 2 dots wide and 4 high.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/terminal/text.h"

namespace xst::terminal {

struct Point {
  double t;
  float value;  // NaN: a hole in the curve
};

// The recent points of a curve.
class Series {
 public:
  void Add(double t, float value) { points_.push_back({t, value}); }
  // Forgets points before t; the memory of what is kept is reused.
  void Trim(double t);
  void Clear() { points_.clear(), first_ = 0; }
  std::span<const Point> points() const { return std::span(points_).subspan(first_); }

 private:
  std::vector<Point> points_;
  size_t first_ = 0;
};

// Ranges of a plot: t grows to the right, values upwards.
struct Axes {
  double t_from, t_to;
  double low, high;
};

class Canvas {
 public:
  Canvas(int columns, int rows);

  int columns() const { return columns_; }
  int rows() const { return rows_; }

  // Draws points in order of time. Where several fall on one dot's width the curve is as tall as
  // they are, so that no peak is lost. A cell has the colour of what was drawn into it last.
  void Draw(std::span<const Point> points, const Axes& axes, Style style);

  // One row of cells, from the top, with its escapes.
  std::string Row(int row) const;

 private:
  struct Cell {
    uint8_t dots = 0;
    Style style = Style::plain;
  };

  void Vertical(int x, int y_from, int y_to, Style style);

  int columns_, rows_;
  std::vector<Cell> cells_;
};

// Low and high that enclose the finite values within [t_from, t_to], never closer than `least`.
Axes Fit(std::span<const Point> points, double t_from, double t_to, double least);

// Column of cells where time t lies, for marks above or below a plot; -1 outside.
int ColumnOf(double t, const Axes& axes, int columns);

}  // namespace xst::terminal
