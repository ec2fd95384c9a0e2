// Lines of a picture in a terminal: UTF-8, one cell a character, a few colours.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace xst::terminal {

enum class Style : uint8_t { plain, bold, dim, red, green, yellow, cyan };

// The escape sequence that switches to a style; empty where NO_COLOR is set.
std::string_view Escape(Style style);

// A line of at most `width` cells. What does not fit is cut, escapes are not counted.
class Line {
 public:
  explicit Line(int width) : width_(width) {}

  Line& Add(std::string_view text, Style style = Style::plain);
  Line& Fill(int cell);  // spaces up to this cell
  // Ends the line flush right; dropped if it does not fit behind what is there.
  Line& Right(std::string_view text, Style style = Style::plain);
  // Text that carries its own escapes and takes `cells` cells; dropped if that is too many.
  Line& AddRendered(std::string_view text, int cells);

  int cells() const { return cells_; }
  const std::string& str() const { return text_; }

 private:
  int width_, cells_ = 0;
  std::string text_;
};

// Characters of UTF-8 text.
int Cells(std::string_view text);

// Text from elsewhere without its control characters, which a terminal would obey.
std::string Printable(std::string_view text);

// A number with three or four digits: 0.012, -1.52, 83.1, 12345; "–" for what is not finite.
std::string Number(double value);

}  // namespace xst::terminal
