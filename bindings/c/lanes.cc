#include <optional>
#include <span>
#include <type_traits>

#include "bindings/c/last_error.h"
#include "bindings/c/model.h"
#include "bindings/c/snapshot.h"
#include "sdk/lanes.h"

using xst::Status;
using xst::c::Done;
using xst::c::FailNull;
using xst::c::FailQuietly;

struct xst_lanes {
  xst::Lanes lanes;
};

namespace {

xst_status FailLane(uint32_t lane) {
  return FailQuietly(Status::invalid_argument, "lane: expected one that is attached", nullptr, 0,
                     lane);
}

// What a call with rows checks before the lanes do; sets the steps of each lane, which are 1 where
// `one`.
template <class In>
xst_status CheckRows(const xst_lanes* lanes, std::span<const uint8_t> mask, std::span<const In> in,
                     std::span<const float> out, bool one, size_t* steps) {
  const xst::ModelInfo& info = lanes->lanes.model()->info();
  const size_t capacity = lanes->lanes.capacity();
  constexpr bool kTokens = std::is_same_v<In, int64_t>;
  if (info.tokens != kTokens) {
    return FailQuietly(Status::shape_mismatch, kTokens ? "in: expected samples, got tokens"
                                                       : "in: expected tokens, got samples");
  }
  if (mask.size() != capacity) {
    return FailQuietly(Status::shape_mismatch, "mask_count", capacity, mask.size());
  }
  const size_t in_row = capacity * info.input_width, out_row = capacity * info.output_width;
  *steps = one ? 1 : in.size() / in_row;
  if (in.size() != *steps * in_row) {
    return FailQuietly(Status::shape_mismatch, "in_count", *steps * in_row, in.size());
  }
  if (out.size() % out_row != 0 || out.size() / out_row != *steps) {
    return FailQuietly(Status::shape_mismatch, "out_count", *steps * out_row, out.size());
  }
  for (uint32_t lane = 0; lane < capacity; ++lane) {
    if (!mask[lane]) continue;
    if (!lanes->lanes.attached(lane)) return FailLane(lane);
    if constexpr (kTokens) {
      const xst_status s = xst::c::CheckTokens(info, in.subspan(lane * *steps, *steps));
      if (s != XST_OK) return s;
    }
  }
  if (xst::c::Overlap(in.data(), in.size_bytes(), out.data(), out.size_bytes())) {
    return FailQuietly(Status::invalid_argument, "in and out: expected apart, got overlapping");
  }
  return XST_OK;
}

template <class In>
xst_status Step(xst_lanes* lanes, const uint8_t* mask, size_t mask_count, const In* in,
                size_t in_count, float* out, size_t out_count) {
  if (!lanes || !mask || !in || !out) {
    return FailNull("lanes, mask, in or out: expected objects and buffers, got null");
  }
  const std::span<const In> rows(in, in_count);
  size_t steps = 0;
  const xst_status s =
      CheckRows<In>(lanes, {mask, mask_count}, rows, {out, out_count}, true, &steps);
  if (s != XST_OK) return s;
  return Done(lanes->lanes.step({mask, mask_count}, rows, {out, out_count}), "lanes");
}

template <class In>
xst_status Forward(xst_lanes* lanes, const uint8_t* mask, size_t mask_count, const In* in,
                   size_t in_count, float* out, size_t out_count) {
  if (lanes && mask && in_count == 0 && out_count == 0) return XST_OK;
  if (!lanes || !mask || !in || !out) {
    return FailNull("lanes, mask, in or out: expected objects and buffers, got null");
  }
  const std::span<const In> rows(in, in_count);
  size_t steps = 0;
  const xst_status s =
      CheckRows<In>(lanes, {mask, mask_count}, rows, {out, out_count}, false, &steps);
  if (s != XST_OK) return s;
  return Done(lanes->lanes.forward({mask, mask_count}, rows, {out, out_count}), "lanes");
}

}  // namespace

xst_status xst_lanes_create(const xst_model* model, uint32_t capacity, xst_lanes** lanes) {
  if (!model || !lanes) return FailNull("xst_lanes_create: expected objects and buffers, got null");
  return xst::c::Guarded("xst_lanes_create: expected memory, got none", [&] {
    *lanes = new xst_lanes{xst::Lanes(model->model, capacity)};
    return xst_status{XST_OK};
  });
}

void xst_lanes_destroy(xst_lanes* lanes) { delete lanes; }

xst_status xst_lanes_attach(xst_lanes* lanes, uint32_t* lane) {
  if (!lanes || !lane) return FailNull("xst_lanes_attach: expected objects and buffers, got null");
  const std::optional<uint32_t> got = lanes->lanes.attach();
  if (!got && lanes->lanes.attached() == lanes->lanes.capacity()) {
    return FailQuietly(Status::invalid_argument, "lane: expected a free one, got none");
  }
  if (!got) return FailQuietly(Status::device_failed, "lane");
  *lane = *got;
  return XST_OK;
}

xst_status xst_lanes_detach(xst_lanes* lanes, uint32_t lane) {
  if (!lanes) return FailNull("xst_lanes_detach: expected objects and buffers, got null");
  return lanes->lanes.detach(lane) == Status::ok ? xst_status{XST_OK} : FailLane(lane);
}

xst_status xst_lanes_step(xst_lanes* lanes, const uint8_t* mask, size_t mask_count, const float* in,
                          size_t in_count, float* out, size_t out_count) {
  return Step(lanes, mask, mask_count, in, in_count, out, out_count);
}

xst_status xst_lanes_step_tokens(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                 const int64_t* tokens, size_t token_count, float* out,
                                 size_t out_count) {
  return Step(lanes, mask, mask_count, tokens, token_count, out, out_count);
}

xst_status xst_lanes_forward(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                             const float* in, size_t in_count, float* out, size_t out_count) {
  return Forward(lanes, mask, mask_count, in, in_count, out, out_count);
}

xst_status xst_lanes_forward_tokens(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                    const int64_t* tokens, size_t token_count, float* out,
                                    size_t out_count) {
  return Forward(lanes, mask, mask_count, tokens, token_count, out, out_count);
}

uint32_t xst_lanes_quality(const xst_lanes* lanes, uint32_t lane) {
  return lanes ? lanes->lanes.quality(lane) : 0;
}

uint64_t xst_lanes_steps(const xst_lanes* lanes, uint32_t lane) {
  return lanes ? lanes->lanes.steps(lane) : 0;
}

xst_status xst_lanes_reset(xst_lanes* lanes, uint32_t lane) {
  if (!lanes) return FailNull("xst_lanes_reset: expected objects and buffers, got null");
  if (!lanes->lanes.attached(lane)) return FailLane(lane);
  return Done(lanes->lanes.reset(lane), "lane");
}

xst_status xst_lanes_save(const xst_lanes* lanes, uint32_t lane, void* snapshot, size_t bytes) {
  if (!lanes || !snapshot)
    return FailNull("xst_lanes_save: expected objects and buffers, got null");
  const uint64_t expected = lanes->lanes.model()->info().snapshot_bytes;
  if (bytes == expected && !lanes->lanes.attached(lane)) return FailLane(lane);
  return xst::c::Save(expected, snapshot, bytes, "lane",
                      [&](auto to) { return lanes->lanes.save(lane, to); });
}

xst_status xst_lanes_load(xst_lanes* lanes, uint32_t lane, const void* snapshot, size_t bytes,
                          uint32_t flags) {
  if (!lanes || !snapshot)
    return FailNull("xst_lanes_load: expected objects and buffers, got null");
  return xst::c::Load(snapshot, bytes, flags, [&](auto from, const auto& options, auto* fault) {
    return lanes->lanes.load(lane, from, options, fault);
  });
}
