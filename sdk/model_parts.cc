#include "sdk/model_parts.h"

namespace xst {
namespace {

// Up to this many parameters, and values of state, a step takes microseconds and may as well be in
// double: the result is then as close to exact as the float32 state of a snapshot allows.
constexpr uint64_t kWideParameters = uint64_t{1} << 17;

}  // namespace

uint64_t CountParameters(const formats::Directory& directory) {
  uint64_t count = 0;
  for (const formats::StoredTensor& t : directory.tensors) {
    for (const formats::Source& source : t.spec.sources) {
      uint64_t elements = 1;
      for (uint64_t n : source.shape) elements *= n;
      count += elements;
    }
  }
  return count;
}

bool TakesDouble(Arithmetic asked, uint64_t parameters, uint64_t state_values) {
  if (asked != Arithmetic::automatic) return asked == Arithmetic::wide;
  return parameters <= kWideParameters && state_values <= kWideParameters;
}

}  // namespace xst
