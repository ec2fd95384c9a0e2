#include "sdk/recording.h"

#include <algorithm>
#include <string>

#include "formats/model_file.h"
#include "formats/status.h"
#include "sdk/session.h"

namespace xst {
namespace {

std::string ShapeText(const formats::Array& array) {
  std::string text = array.is_f32 ? "float32 [" : "int64 [";
  for (size_t i = 0; i < array.shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(array.shape[i]);
  }
  return text + "]";
}

std::vector<float> TakeTokens(const std::string& what, uint32_t vocabulary,
                              const formats::Array& array) {
  std::vector<float> tokens;
  for (const int64_t token : array.i64) {
    if (token < 0 || token >= vocabulary) {
      throw Error(Status::invalid_argument, what + ": expected token ids below " +
                                                std::to_string(vocabulary) + ", got " +
                                                std::to_string(token));
    }
    tokens.push_back(static_cast<float>(token));
  }
  return tokens;
}

}  // namespace

std::vector<float> TakeRecording(const char* what, const formats::ModelConfig& config,
                                 const formats::Array& array) {
  const std::string name = what;
  const uint32_t vocabulary = formats::VocabSize(config), width = formats::InputWidth(config);
  const size_t axes = vocabulary > 0 ? 1 : 2;
  if (array.is_f32 == (vocabulary > 0) || array.shape.size() != axes || array.shape[0] == 0 ||
      array.shape[0] > formats::kMaxProbeSteps || (axes == 2 && array.shape[1] != width)) {
    throw Error(Status::shape_mismatch,
                name + ": expected " +
                    (vocabulary > 0 ? std::string("int64 token ids [T]")
                                    : "float32 [T, " + std::to_string(width) + "]") +
                    " with T from 1 to " + std::to_string(formats::kMaxProbeSteps) + ", got " +
                    ShapeText(array));
  }
  if (vocabulary > 0) return TakeTokens(name, vocabulary, array);
  const auto bad = std::find_if_not(array.f32.begin(), array.f32.end(), IsUsable);
  if (config.stream || bad == array.f32.end()) return array.f32;
  throw Error(Status::invalid_argument, name + ": expected finite values for a bare model, got " +
                                            std::to_string(*bad) + " at index " +
                                            std::to_string(bad - array.f32.begin()));
}

}  // namespace xst
