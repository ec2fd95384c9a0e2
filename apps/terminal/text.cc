#include "apps/terminal/text.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace xst::terminal {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

std::string_view Escape(Style style) {
  static const bool colours = std::getenv("NO_COLOR") == nullptr;
  if (!colours) return "";
  switch (style) {
    case Style::plain:
      return "\x1b[0m";
    case Style::bold:
      return "\x1b[0;1m";
    case Style::dim:
      return "\x1b[0;2m";
    case Style::red:
      return "\x1b[0;31m";
    case Style::green:
      return "\x1b[0;32m";
    case Style::yellow:
      return "\x1b[0;33m";
    case Style::cyan:
      return "\x1b[0;36m";
  }
  return "";
}

int Cells(std::string_view text) {
  int cells = 0;
  for (const char c : text) cells += !IsContinuation(c);
  return cells;
}

Line& Line::Add(std::string_view text, Style style) {
  if (style != Style::plain) text_ += Escape(style);
  for (const char c : text) {
    if (!IsContinuation(c) && ++cells_ > width_) {
      cells_ = width_;
      break;
    }
    text_ += c;
  }
  if (style != Style::plain) text_ += Escape(Style::plain);
  return *this;
}

Line& Line::Fill(int cell) {
  for (; cells_ < cell && cells_ < width_; ++cells_) text_ += ' ';
  return *this;
}

Line& Line::Right(std::string_view text, Style style) {
  const int cells = Cells(text);
  if (cells_ + 1 + cells > width_) return *this;
  return Fill(width_ - cells).Add(text, style);
}

Line& Line::AddRendered(std::string_view text, int cells) {
  if (cells_ + cells > width_) return *this;
  text_ += text;
  cells_ += cells;
  return *this;
}

std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) c = '?';
  }
  return out;
}

std::string Number(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::fabs(value);
  const int decimals = size < 1 ? 3 : size < 10 ? 2 : size < 1000 ? 1 : 0;
  char text[48];
  if (size >= 1e6 || (size > 0 && size < 1e-3)) {
    std::snprintf(text, sizeof(text), "%.3g", value);
  } else {
    std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  }
  return text;
}

}  // namespace xst::terminal
