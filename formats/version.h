// The version in front of model files and snapshots.
//
// Readers take their own major version with any minor up to their own, for ever: files of 1.0 under
// tests/golden/ are opened by every build's tests. A minor version adds what older readers would
// misread, a major version replaces the layout. Version 0 was never released and changed under way.
#pragma once

#include <cstdint>

#include "formats/status.h"

namespace xst::formats {

struct FormatVersion {
  uint16_t major = 0, minor = 0;
};

// Whether a reader of `own` may go on with what `got` says of itself.
inline Status CheckVersion(const char* what, FormatVersion own, FormatVersion got, Fault* fault) {
  if (got.major == own.major && got.minor <= own.minor) return Status::ok;
  const bool older = got.major < own.major;
  return fault->Set(
      Status::unsupported_version, "%s: expected format %u.%u, got %u.%u, %s", what, own.major,
      own.minor, got.major, got.minor,
      older ? "from before the first release: make it again" : "which a newer version reads");
}

}  // namespace xst::formats
