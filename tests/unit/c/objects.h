// The objects of the C interface as the tests hold them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/c/xst.h"
#include "tests/support/vectors.h"

namespace xst::test {

template <auto kDestroy>
struct Destroy {
  template <class T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};
using ModelPtr = std::unique_ptr<xst_model, Destroy<xst_model_destroy>>;
using SessionPtr = std::unique_ptr<xst_session, Destroy<xst_session_destroy>>;
using LanesPtr = std::unique_ptr<xst_lanes, Destroy<xst_lanes_destroy>>;
using ForecasterPtr = std::unique_ptr<xst_forecaster, Destroy<xst_forecaster_destroy>>;

inline xst_model_options Defaults() {
  xst_model_options options = {};
  options.struct_bytes = sizeof options;
  return options;
}

inline ModelPtr Open(const std::string& name, const char* device = nullptr) {
  xst_model_options options = Defaults();
  options.device = device;
  xst_model* model = nullptr;
  EXPECT_EQ(xst_model_open(PackedCase(name).c_str(), &options, &model), XST_OK) << xst_last_error();
  return ModelPtr(model);
}

inline SessionPtr MakeSession(const xst_model* model) {
  xst_session* session = nullptr;
  EXPECT_EQ(xst_session_create(model, &session), XST_OK) << xst_last_error();
  return SessionPtr(session);
}

inline xst_model_info Info(const xst_model* model) {
  xst_model_info info = {};
  info.struct_bytes = sizeof info;
  EXPECT_EQ(xst_model_get_info(model, &info), XST_OK);
  return info;
}

inline std::vector<float> Sample(uint32_t width, uint32_t t) {
  std::vector<float> x(width);
  for (uint32_t i = 0; i < width; ++i) x[i] = static_cast<float>((t * 31 + i * 17) % 23) / 8 - 1;
  return x;
}

inline std::vector<float> Steps(xst_session* session, const xst_model_info& info, uint32_t first,
                                uint32_t count) {
  std::vector<float> all(size_t{count} * info.output_width);
  for (uint32_t t = 0; t < count; ++t) {
    float* out = all.data() + size_t{t} * info.output_width;
    const std::vector<float> in = Sample(info.input_width, first + t);
    const xst_status s =
        info.tokens ? xst_session_step_token(session, (first + t) % info.output_width, out,
                                             info.output_width)
                    : xst_session_step(session, in.data(), in.size(), out, info.output_width);
    EXPECT_EQ(s, XST_OK) << xst_last_error();
  }
  return all;
}

inline std::vector<std::byte> Save(const xst_session* session, const xst_model_info& info) {
  std::vector<std::byte> bytes(info.snapshot_bytes);
  EXPECT_EQ(xst_session_save(session, bytes.data(), bytes.size()), XST_OK) << xst_last_error();
  return bytes;
}

}  // namespace xst::test
