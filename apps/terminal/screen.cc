#include "apps/terminal/screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string_view>

namespace xst::terminal {
namespace {

volatile std::sig_atomic_t stop_asked = 0;
volatile std::sig_atomic_t window_changed = 0;

void OnStop(int) { stop_asked = 1; }
void OnWindow(int) { window_changed = 1; }

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

void Put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?25h\x1b[?1049l";

}  // namespace

Screen::Screen() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) Handle(signal, OnStop);
  live_ = isatty(STDOUT_FILENO) == 1;
  if (!live_) return;
  Handle(SIGWINCH, OnWindow);
  Measure();
  // Typed characters must not land in the picture, and there is nothing to suspend to.
  if (isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
      tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    quiet.c_cc[VSUSP] = _POSIX_VDISABLE;
    keys_ = tcsetattr(STDIN_FILENO, TCSANOW, &quiet) == 0;
  }
  Put(kEnter);
}

Screen::~Screen() {
  if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  if (live_) Put(kLeave);
}

void Screen::Measure() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    columns_ = std::max(size.ws_col - 1, 20);
    rows_ = size.ws_row;
  }
}

void Screen::Present(const std::vector<std::string>& lines) {
  if (!live_) return;
  if (window_changed) {
    window_changed = 0;
    Measure();
    Put("\x1b[2J");
    return;
  }
  std::string frame = "\x1b[H";
  const size_t count = std::min(lines.size(), static_cast<size_t>(rows_));
  for (size_t i = 0; i < count; ++i) {
    frame += lines[i];
    frame += i + 1 < static_cast<size_t>(rows_) ? "\x1b[K\r\n" : "\x1b[K";
  }
  if (count < static_cast<size_t>(rows_)) frame += "\x1b[J";
  Put(frame);
}

bool Screen::Stopping() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (keys_ && poll(&input, 1, 0) == 1 && (input.revents & POLLIN)) {
    char key = 0;
    if (read(STDIN_FILENO, &key, 1) == 1 && key == 'q') stop_asked = 1;
  }
  return stop_asked != 0;
}

}  // namespace xst::terminal
