#include <span>

#include "bindings/c/last_error.h"
#include "bindings/c/model.h"
#include "bindings/c/snapshot.h"
#include "sdk/forecast.h"

using xst::Status;
using xst::c::Done;
using xst::c::FailNull;
using xst::c::FailQuietly;

struct xst_forecaster {
  xst::Forecaster forecaster;
};

namespace {

xst_status CheckOut(const xst_forecaster* f, uint32_t horizon, size_t out_count) {
  const uint64_t want = uint64_t{horizon} * f->forecaster.quantiles();
  return out_count == want ? xst_status{XST_OK}
                           : FailQuietly(Status::shape_mismatch, "out_count", want, out_count);
}

}  // namespace

xst_status xst_forecaster_create(const xst_model* model, xst_forecaster** forecaster) {
  if (!model || !forecaster) {
    return FailNull("xst_forecaster_create: expected objects and buffers, got null");
  }
  return xst::c::Guarded("xst_forecaster_create: expected memory, got none", [&] {
    *forecaster = new xst_forecaster{xst::Forecaster(model->model)};
    return xst_status{XST_OK};
  });
}

void xst_forecaster_destroy(xst_forecaster* forecaster) { delete forecaster; }

uint32_t xst_forecaster_quantiles(const xst_forecaster* f) {
  return f ? static_cast<uint32_t>(f->forecaster.quantiles()) : 0;
}

uint32_t xst_forecaster_context(const xst_forecaster* f) {
  return f ? f->forecaster.config().context : 0;
}

uint32_t xst_forecaster_horizon(const xst_forecaster* f) {
  return f ? f->forecaster.config().forecast.horizon : 0;
}

xst_status xst_forecaster_forecast(xst_forecaster* forecaster, const float* series, size_t count,
                                   uint32_t horizon, uint32_t rollout, float* out,
                                   size_t out_count) {
  if (!forecaster || (!series && count > 0) || !out) {
    return FailNull("xst_forecaster_forecast: expected objects and buffers, got null");
  }
  if (horizon == 0) return FailQuietly(Status::invalid_argument, "horizon", "at least ", 1, 0);
  if (rollout == 0) return FailQuietly(Status::invalid_argument, "rollout", "at least ", 1, 0);
  if (const xst_status s = CheckOut(forecaster, horizon, out_count); s != XST_OK) return s;
  return Done(forecaster->forecaster.forecast({series, count}, horizon, rollout, {out, out_count}),
              "forecast");
}

xst_status xst_forecaster_push(xst_forecaster* forecaster, float sample) {
  if (!forecaster) return FailNull("xst_forecaster_push: expected objects and buffers, got null");
  forecaster->forecaster.push(sample);
  return XST_OK;
}

uint32_t xst_forecaster_due(const xst_forecaster* f) { return f && f->forecaster.due(); }

xst_status xst_forecaster_forecast_live(xst_forecaster* forecaster, float* out, size_t out_count) {
  if (!forecaster || !out) {
    return FailNull("xst_forecaster_forecast_live: expected objects and buffers, got null");
  }
  const uint32_t horizon = forecaster->forecaster.config().forecast.horizon;
  if (const xst_status s = CheckOut(forecaster, horizon, out_count); s != XST_OK) return s;
  return Done(forecaster->forecaster.forecast({out, out_count}), "forecast");
}

xst_status xst_forecaster_reset(xst_forecaster* forecaster) {
  if (!forecaster) return FailNull("xst_forecaster_reset: expected objects and buffers, got null");
  forecaster->forecaster.reset();
  return XST_OK;
}

uint64_t xst_forecaster_snapshot_bytes(const xst_forecaster* f) {
  return f ? f->forecaster.snapshot_bytes() : 0;
}

xst_status xst_forecaster_save(const xst_forecaster* forecaster, void* snapshot, size_t bytes) {
  if (!forecaster || !snapshot) {
    return FailNull("xst_forecaster_save: expected objects and buffers, got null");
  }
  return xst::c::Save(forecaster->forecaster.snapshot_bytes(), snapshot, bytes, "forecast",
                      [&](auto to) { return forecaster->forecaster.save(to); });
}

xst_status xst_forecaster_load(xst_forecaster* forecaster, const void* snapshot, size_t bytes,
                               uint32_t flags) {
  if (!forecaster || !snapshot) {
    return FailNull("xst_forecaster_load: expected objects and buffers, got null");
  }
  return xst::c::Load(snapshot, bytes, flags, [&](auto from, const auto& options, auto* fault) {
    return forecaster->forecaster.load(from, options, fault);
  });
}
