// Checks that fill one Fault; the first that fails ends a chain of &&.
#pragma once

#include <cmath>
#include <string>

#include "formats/checked.h"
#include "formats/config.h"
#include "formats/status.h"

namespace xst::formats {

class Validator {
 public:
  explicit Validator(Fault* fault) : fault_(*fault) {}

  bool Range(const char* what, uint64_t value, uint64_t low, uint64_t high) {
    if (value >= low && value <= high) return true;
    return Fail("%s: expected %llu to %llu, got %llu", what, low, high, value);
  }
  bool Divides(const char* what, uint64_t divisor, const char* of, uint64_t value) {
    if (value % divisor == 0) return true;
    fault_.Set(Status::invalid_config, "%s: expected a divisor of %s %llu, got %llu", what, of,
               static_cast<unsigned long long>(value), static_cast<unsigned long long>(divisor));
    return false;
  }
  bool Expect(bool good, const char* message) {
    if (!good) fault_.Set(Status::invalid_config, "%s", message);
    return good;
  }
  bool Finite(const std::string& what, double value) {
    if (std::isfinite(value)) return true;
    fault_.Set(Status::invalid_config, "%s: expected a finite number, got %g", what.c_str(), value);
    return false;
  }

 private:
  bool Fail(const char* format, const char* what, uint64_t low, uint64_t high, uint64_t value) {
    fault_.Set(Status::invalid_config, format, what, static_cast<unsigned long long>(low),
               static_cast<unsigned long long>(high), static_cast<unsigned long long>(value));
    return false;
  }

  Fault& fault_;
};

// Every size, divisor and number of a family, and the values of one stream's state with rows padded
// to 16 as a session holds them.
bool ValidateLarge(Validator& v, const LargeConfig& c);
bool ValidateTirex(Validator& v, const TirexConfig& c);
Checked StateValues(const LargeConfig& c);
Checked StateValues(const TirexConfig& c);

}  // namespace xst::formats
