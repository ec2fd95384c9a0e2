// The terminal as a screen that is redrawn as a whole, and the signals that end a live view.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

namespace xst::terminal {

// From construction SIGINT, SIGTERM and SIGHUP only set Stopping(). One in a process.
//
// On a terminal the picture is drawn on the alternate screen with the cursor hidden; destruction
// brings everything back. Without one live() is false and nothing is drawn.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  bool live() const { return live_; }
  // The size now; it follows the window. The last column stays free: erasing what is behind a
  // full line would take its last character.
  int columns() const { return columns_; }
  int rows() const { return rows_; }

  // Draws the first rows() lines, none longer than columns() cells. Takes up a new window size
  // first; a picture made for the old one is dropped.
  void Present(const std::vector<std::string>& lines);

  // Whether a signal, or the key q, asked to end.
  bool Stopping();

 private:
  void Measure();

  bool live_ = false, keys_ = false;
  int columns_ = 80, rows_ = 24;
  termios before_{};
};

}  // namespace xst::terminal
