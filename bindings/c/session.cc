#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "bindings/c/last_error.h"
#include "bindings/c/model.h"
#include "bindings/c/snapshot.h"
#include "sdk/memory.h"
#include "sdk/session_core.h"

using xst::Fault;
using xst::Memory;
using xst::ModelCore;
using xst::Status;
using xst::c::Done;
using xst::c::Fail;
using xst::c::FailNull;
using xst::c::FailQuietly;
using xst::c::ToC;

struct xst_session {
  xst_session(std::shared_ptr<const xst::Model> of, std::unique_ptr<xst::DeviceStreams> on_device,
              Memory memory, std::byte* frame)
      : model(std::move(of)),
        device(std::move(on_device)),
        own(std::move(memory)),
        core(model->core(), frame, device.get(), 0, true) {}

  std::shared_ptr<const xst::Model> model;
  std::unique_ptr<xst::DeviceStreams> device;
  Memory own;  // empty in a caller's memory
  xst::SessionCore core;
};

namespace {

constexpr size_t kAlignment = 64;  // of a frame, and of the session in a caller's memory

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A session on the heap, or at `memory`.
xst_status Make(const char* short_of_memory, const std::shared_ptr<const xst::Model>& model,
                std::byte* memory, xst_session** out) {
  return xst::c::Guarded(short_of_memory, [&] {
    const ModelCore& core = model->core();
    std::unique_ptr<xst::DeviceStreams> device;
    Fault fault;
    if (core.device_model && core.device_model->MakeStreams(1, &device, &fault) != Status::ok) {
      return Fail(fault);
    }
    Memory own;
    std::byte* frame = memory + Aligned(sizeof(xst_session));
    if (!memory) {
      if (Memory::Allocate(core.info.session_bytes, &own, &fault) != Status::ok) return Fail(fault);
      frame = own.bytes().data();
    }
    auto* made = memory ? new (memory) xst_session(model, std::move(device), std::move(own), frame)
                        : new xst_session(model, std::move(device), std::move(own), frame);
    if (made->core.Start(&fault) != Status::ok) {
      xst_session_destroy(made);
      return Fail(fault);
    }
    *out = made;
    return xst_status{XST_OK};
  });
}

// What every call with rows checks before the core does.
xst_status CheckStep(const xst_session* session, const void* in, const void* out, bool tokens) {
  if (!session || !in || !out) {
    return FailNull("session, in or out: expected objects and buffers, got null");
  }
  if (session->core.model().plan.tokens != tokens) {
    return FailQuietly(Status::shape_mismatch, tokens ? "in: expected samples, got tokens"
                                                      : "in: expected tokens, got samples");
  }
  return XST_OK;
}

xst_status CheckSteps(const xst_session* session, size_t steps, size_t out_count) {
  const size_t width = session->core.model().output_width();
  if (out_count % width == 0 && out_count / width == steps) return XST_OK;
  return FailQuietly(Status::shape_mismatch, "out_count", steps * width, out_count);
}

xst_status CheckTokens(const xst_session* session, std::span<const int64_t> tokens) {
  return xst::c::CheckTokens(session->core.model().info, tokens);
}

xst_status CheckApart(const void* in, size_t in_bytes, const float* out, size_t out_count) {
  return xst::c::Overlap(in, in_bytes, out, out_count * sizeof(float))
             ? FailQuietly(Status::invalid_argument, "in and out: expected apart, got overlapping")
             : xst_status{XST_OK};
}

}  // namespace

uint64_t xst::c::SessionBytes(const ModelInfo& info) {
  return kAlignment - 1 + Aligned(sizeof(xst_session)) + info.session_bytes;
}

xst_status xst_session_create(const xst_model* model, xst_session** session) {
  if (!model || !session)
    return FailNull("xst_session_create: expected objects and buffers, got null");
  return Make("xst_session_create: expected memory, got none", model->model, nullptr, session);
}

xst_status xst_session_create_in(const xst_model* model, void* memory, size_t bytes,
                                 xst_session** session) {
  if (!model || !memory || !session) {
    return FailNull("xst_session_create_in: expected objects and buffers, got null");
  }
  const uint64_t least = xst::c::SessionBytes(model->model->info());
  if (bytes < least) {
    return FailQuietly(Status::shape_mismatch, "bytes for a session", least, bytes);
  }
  std::align(kAlignment, static_cast<size_t>(least) - kAlignment + 1, memory, bytes);
  return Make("xst_session_create_in: expected memory, got none", model->model,
              static_cast<std::byte*>(memory), session);
}

void xst_session_destroy(xst_session* session) {
  if (!session) return;
  if (session->own.bytes().empty()) {
    session->~xst_session();
  } else {
    delete session;
  }
}

xst_status xst_session_step(xst_session* session, const float* in, size_t in_count, float* out,
                            size_t out_count) {
  if (const xst_status s = CheckStep(session, in, out, false); s != XST_OK) return s;
  if (const size_t width = session->core.model().input_width(); in_count != width) {
    return FailQuietly(Status::shape_mismatch, "in_count", width, in_count);
  }
  if (const xst_status s = CheckSteps(session, 1, out_count); s != XST_OK) return s;
  return Done(session->core.Step({in, in_count}, {out, out_count}), "step");
}

xst_status xst_session_step_token(xst_session* session, int64_t token, float* out,
                                  size_t out_count) {
  if (const xst_status s = CheckStep(session, &token, out, true); s != XST_OK) return s;
  if (const xst_status s = CheckSteps(session, 1, out_count); s != XST_OK) return s;
  if (const xst_status s = CheckTokens(session, {&token, 1}); s != XST_OK) return s;
  return Done(session->core.Step(token, {out, out_count}), "token");
}

xst_status xst_session_forward(xst_session* session, const float* in, size_t in_count, float* out,
                               size_t out_count) {
  if (session && in_count == 0 && out_count == 0 && !session->core.model().plan.tokens) {
    return XST_OK;
  }
  if (const xst_status s = CheckStep(session, in, out, false); s != XST_OK) return s;
  const size_t width = session->core.model().input_width();
  if (in_count % width != 0) {
    return FailQuietly(Status::shape_mismatch, "in_count", in_count / width * width, in_count);
  }
  if (const xst_status s = CheckSteps(session, in_count / width, out_count); s != XST_OK) return s;
  if (const xst_status s = CheckApart(in, in_count * sizeof *in, out, out_count); s != XST_OK) {
    return s;
  }
  return Done(session->core.Forward({in, in_count}, {out, out_count}), "forward");
}

xst_status xst_session_forward_tokens(xst_session* session, const int64_t* tokens,
                                      size_t token_count, float* out, size_t out_count) {
  if (session && token_count == 0 && out_count == 0 && session->core.model().plan.tokens) {
    return XST_OK;
  }
  if (const xst_status s = CheckStep(session, tokens, out, true); s != XST_OK) return s;
  const bool last = token_count > 0 && out_count == session->core.model().output_width();
  if (const xst_status s = CheckSteps(session, last ? 1 : token_count, out_count); s != XST_OK) {
    return s;
  }
  if (const xst_status s = CheckTokens(session, {tokens, token_count}); s != XST_OK) return s;
  if (const xst_status s = CheckApart(tokens, token_count * sizeof *tokens, out, out_count);
      s != XST_OK) {
    return s;
  }
  return Done(session->core.Forward(std::span(tokens, token_count), {out, out_count}), "forward");
}

uint32_t xst_session_quality(const xst_session* session) {
  return session ? session->core.quality() : 0;
}

uint64_t xst_session_steps(const xst_session* session) {
  return session ? session->core.steps() : 0;
}

xst_status xst_session_reset(xst_session* session) {
  if (!session) return FailNull("xst_session_reset: expected objects and buffers, got null");
  return Done(session->core.Reset(), "reset");
}

xst_status xst_session_save(const xst_session* session, void* snapshot, size_t bytes) {
  if (!session || !snapshot)
    return FailNull("xst_session_save: expected objects and buffers, got null");
  return xst::c::Save(session->core.model().info.snapshot_bytes, snapshot, bytes, "save",
                      [&](auto to) { return session->core.Save(to); });
}

xst_status xst_session_load(xst_session* session, const void* snapshot, size_t bytes,
                            uint32_t flags) {
  if (!session || !snapshot)
    return FailNull("xst_session_load: expected objects and buffers, got null");
  return xst::c::Load(snapshot, bytes, flags, [&](auto from, const auto& options, Fault* fault) {
    return session->core.Load(from, options, fault);
  });
}

xst_status xst_session_clone(const xst_session* session, xst_session** clone) {
  if (!session || !clone)
    return FailNull("xst_session_clone: expected objects and buffers, got null");
  xst_session* made = nullptr;
  if (const xst_status s =
          Make("xst_session_clone: expected memory, got none", session->model, nullptr, &made);
      s != XST_OK) {
    return s;
  }
  if (const Status s = made->core.CopyFrom(session->core); s != Status::ok) {
    xst_session_destroy(made);
    return FailQuietly(s, "xst_session_clone");
  }
  *clone = made;
  return XST_OK;
}
