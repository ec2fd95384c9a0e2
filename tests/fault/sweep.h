// Runs an operation once for every allocation or file operation it makes, with that one failing.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <new>
#include <string>

#include "formats/status.h"
#include "tests/support/fault_hooks.h"

namespace xst::test {

inline size_t OpenFiles() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

struct Outcome {
  bool ok = true;
  std::string error;
};

// What the operation came to with `planned` armed. `*reached`: whether it got as far as to fail.
inline Outcome Attempt(const Failure& planned, const std::function<void()>& operation,
                       bool* reached) {
  Outcome outcome;
  failure = planned;
  try {
    operation();
    *reached = failure.allocations < 0 && failure.operations < 0;
    failure = {};
  } catch (const std::bad_alloc&) {
    *reached = failure.allocations < 0 && failure.operations < 0;
    failure = {};
    outcome = {false, "bad_alloc"};
  } catch (const std::exception& e) {
    *reached = failure.allocations < 0 && failure.operations < 0;
    failure = {};
    outcome = {false, e.what()};
    EXPECT_TRUE(dynamic_cast<const Error*>(&e)) << e.what();
  }
  return outcome;
}

// Fails the 1st, 2nd, … allocation of `operation` until there is none left; `check` looks at what
// is there after each. `prepare` runs before each, unharmed. Returns how many there were.
struct Sweep {
  std::function<void()> prepare = [] {};
  std::function<void()> operation;
  std::function<void(const Outcome&)> check = [](const Outcome&) {};

  long EveryAllocation() const { return Every(&Failure::allocations, Io::eio); }
  long EveryOperation(Io io) const { return Every(&Failure::operations, io); }

 private:
  long Every(long Failure::*counter, Io io) const {
    constexpr long kMost = 100'000;
    for (long n = 0; n < kMost; ++n) {
      prepare();
      const size_t files = OpenFiles();
      Failure planned;
      planned.io = io;
      planned.*counter = n;
      bool reached = false;
      const Outcome outcome = Attempt(planned, operation, &reached);
      SCOPED_TRACE("failure " + std::to_string(n + 1) + ": " +
                   (outcome.ok ? "success" : outcome.error));
      EXPECT_EQ(OpenFiles(), files);
      EXPECT_TRUE(reached || outcome.ok);
      // Interrupted and short transfers go on.
      if (io == Io::half) {
        EXPECT_TRUE(outcome.ok);
      }
      check(outcome);
      if (!reached || testing::Test::HasFailure()) return n;
    }
    ADD_FAILURE() << "more than " << kMost;
    return kMost;
  }
};

}  // namespace xst::test
