// The words for enumerated properties of a model.
#pragma once

#include "formats/config.h"
#include "formats/manifest.h"

namespace xst {

inline const char* Name(formats::DType dtype) {
  switch (dtype) {
    case formats::DType::f32:
      return "f32";
    case formats::DType::i16:
      return "i16";
    case formats::DType::bf16:
      return "bf16";
    case formats::DType::i8:
      return "i8";
  }
  return "?";
}

inline const char* Name(formats::Family family) {
  switch (family) {
    case formats::Family::block_stack:
      return "block_stack";
    case formats::Family::lm:
      return "lm";
    case formats::Family::large:
      return "large";
    case formats::Family::tirex:
      return "tirex";
  }
  return "?";
}

inline const char* Name(formats::Layout layout) {
  return layout == formats::Layout::panel ? "panel" : "rows";
}

}  // namespace xst
