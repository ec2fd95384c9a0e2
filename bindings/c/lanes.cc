#include <optional>
#include <span>

#include "bindings/c/last_error.h"
#include "bindings/c/model.h"
#include "sdk/lanes.h"

using xst::Status;
using xst::c::FailQuietly;

struct xst_lanes {
  xst::Lanes lanes;
};

namespace {

xst_status Done(Status status, const char* what) {
  if (status == Status::ok || status == Status::held) return xst::c::ToC(status);
  return FailQuietly(status, what);
}

// What step and step_tokens check before the lanes do.
xst_status CheckStep(const xst_lanes* lanes, size_t mask, size_t in, size_t in_width, size_t out) {
  const size_t capacity = lanes->lanes.capacity();
  const size_t out_width = lanes->lanes.model()->info().output_width;
  if (mask != capacity) return FailQuietly(Status::shape_mismatch, "mask_count", capacity, mask);
  if (in != capacity * in_width) {
    return FailQuietly(Status::shape_mismatch, "in_count", capacity * in_width, in);
  }
  if (out != capacity * out_width) {
    return FailQuietly(Status::shape_mismatch, "out_count", capacity * out_width, out);
  }
  return XST_OK;
}

}  // namespace

xst_status xst_lanes_create(const xst_model* model, uint32_t capacity, xst_lanes** lanes) {
  if (!model || !lanes) return FailQuietly(Status::invalid_argument, "xst_lanes_create: null");
  return xst::c::Guarded("xst_lanes_create: expected memory, got none", [&] {
    *lanes = new xst_lanes{xst::Lanes(model->model, capacity)};
    return xst_status{XST_OK};
  });
}

void xst_lanes_destroy(xst_lanes* lanes) { delete lanes; }

xst_status xst_lanes_attach(xst_lanes* lanes, uint32_t* lane) {
  if (!lanes || !lane) return FailQuietly(Status::invalid_argument, "xst_lanes_attach: null");
  const std::optional<uint32_t> got = lanes->lanes.attach();
  if (!got) return FailQuietly(Status::invalid_argument, "a free lane, got none");
  *lane = *got;
  return XST_OK;
}

xst_status xst_lanes_detach(xst_lanes* lanes, uint32_t lane) {
  if (!lanes) return FailQuietly(Status::invalid_argument, "xst_lanes_detach: null");
  lanes->lanes.detach(lane);
  return XST_OK;
}

xst_status xst_lanes_step(xst_lanes* lanes, const uint8_t* mask, size_t mask_count, const float* in,
                          size_t in_count, float* out, size_t out_count) {
  if (!lanes || !mask || !in || !out) {
    return FailQuietly(Status::invalid_argument, "xst_lanes_step: null");
  }
  const size_t width = lanes->lanes.model()->info().input_width;
  if (const xst_status s = CheckStep(lanes, mask_count, in_count, width, out_count); s != XST_OK) {
    return s;
  }
  return Done(lanes->lanes.step({mask, mask_count}, std::span(in, in_count), {out, out_count}),
              "lanes: a masked lane that is not attached, or samples for a model of tokens");
}

xst_status xst_lanes_step_tokens(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                 const int64_t* tokens, size_t token_count, float* out,
                                 size_t out_count) {
  if (!lanes || !mask || !tokens || !out) {
    return FailQuietly(Status::invalid_argument, "xst_lanes_step_tokens: null");
  }
  if (const xst_status s = CheckStep(lanes, mask_count, token_count, 1, out_count); s != XST_OK) {
    return s;
  }
  return Done(
      lanes->lanes.step({mask, mask_count}, std::span(tokens, token_count), {out, out_count}),
      "lanes: a masked lane that is not attached, a token out of range, or a model of samples");
}

xst_status xst_lanes_forward(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                             const float* in, size_t in_count, float* out, size_t out_count) {
  if (!lanes || !mask || !in || !out) {
    return FailQuietly(Status::invalid_argument, "xst_lanes_forward: null");
  }
  return Done(lanes->lanes.forward({mask, mask_count}, std::span(in, in_count), {out, out_count}),
              "xst_lanes_forward");
}

xst_status xst_lanes_forward_tokens(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                    const int64_t* tokens, size_t token_count, float* out,
                                    size_t out_count) {
  if (!lanes || !mask || !tokens || !out) {
    return FailQuietly(Status::invalid_argument, "xst_lanes_forward_tokens: null");
  }
  return Done(
      lanes->lanes.forward({mask, mask_count}, std::span(tokens, token_count), {out, out_count}),
      "xst_lanes_forward_tokens");
}

uint32_t xst_lanes_quality(const xst_lanes* lanes, uint32_t lane) {
  return lanes ? lanes->lanes.quality(lane) : 0;
}

uint64_t xst_lanes_steps(const xst_lanes* lanes, uint32_t lane) {
  return lanes ? lanes->lanes.steps(lane) : 0;
}

xst_status xst_lanes_reset(xst_lanes* lanes, uint32_t lane) {
  if (!lanes) return FailQuietly(Status::invalid_argument, "xst_lanes_reset: null");
  lanes->lanes.reset(lane);
  return XST_OK;
}

xst_status xst_lanes_save(const xst_lanes* lanes, uint32_t lane, void* snapshot, size_t bytes) {
  if (!lanes || !snapshot) return FailQuietly(Status::invalid_argument, "xst_lanes_save: null");
  if (const uint64_t want = lanes->lanes.model()->info().snapshot_bytes; bytes != want) {
    return FailQuietly(Status::shape_mismatch, "bytes for a snapshot", want, bytes);
  }
  return Done(lanes->lanes.save(lane, {static_cast<std::byte*>(snapshot), bytes}), "lane");
}

xst_status xst_lanes_load(xst_lanes* lanes, uint32_t lane, const void* snapshot, size_t bytes,
                          uint32_t flags) {
  if (!lanes || !snapshot) return FailQuietly(Status::invalid_argument, "xst_lanes_load: null");
  if (flags > XST_LOAD_OTHER_WEIGHTS) {
    return FailQuietly(Status::invalid_argument, "flags", XST_LOAD_OTHER_WEIGHTS, flags);
  }
  xst::Fault fault;
  const Status status =
      lanes->lanes.load(lane, {static_cast<const std::byte*>(snapshot), bytes},
                        {.allow_other_weights = flags == XST_LOAD_OTHER_WEIGHTS}, &fault);
  if (status == Status::ok) return XST_OK;
  return fault.message[0] ? xst::c::Fail(fault) : FailQuietly(status, "lane");
}
