// The ECG view as lines of a terminal.
#pragma once

#include <string>
#include <vector>

#include "apps/demos/ecg/view_state.h"

namespace xst::ecg {

inline constexpr double kWindowSeconds = 5;

// A whole screen of rows x columns cells.
std::vector<std::string> Picture(const ViewState& state, int columns, int rows,
                                 const std::string& endpoint, bool connected);

// The same numbers in one line, for where there is no terminal.
std::string PlainLine(const ViewState& state);

}  // namespace xst::ecg
