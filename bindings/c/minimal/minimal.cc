// The minimal build's part of xst.h: one model after the other from memory, sessions, snapshots. No
// files, threads, devices, logs or heap.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <new>

#include "bindings/c/xst.h"
#include "formats/model_header.h"
#include "sdk/minimal/model_core.h"
#include "sdk/names.h"
#include "sdk/session_core.h"

using xst::Arena;
using xst::Fault;
using xst::ModelCore;
using xst::Status;

struct xst_model {
  ModelCore core;
  mutable Arena arena;  // what is left of it is for sessions
};

struct xst_session {
  xst::SessionCore core;
};

namespace {

// Of an arena, what opening a model takes at first guess, and for each byte of its directory.
constexpr uint64_t kOpeningBytes = 4096, kOpeningBytesPerByte = 8;

// The process's last error: no thread has one of its own here.
Fault last;

xst_status ToC(Status status) { return static_cast<xst_status>(status); }

xst_status Fail(Status status, const char* what) { return ToC(last.Set(status, "%s", what)); }
xst_status FailCount(const char* what, uint64_t expected, uint64_t got) {
  return ToC(last.Set(Status::shape_mismatch, "%s: expected %" PRIu64 ", got %" PRIu64, what,
                      expected, got));
}
xst_status CheckSize(const char* what, size_t struct_bytes) {
  if (struct_bytes >= sizeof(size_t)) return XST_OK;
  return ToC(last.Set(Status::invalid_argument, "%s.struct_bytes: expected at least %zu, got %zu",
                      what, sizeof(size_t), struct_bytes));
}
xst_status FailNull(const char* call) {
  return ToC(
      last.Set(Status::invalid_argument, "%s: expected objects and buffers, got null", call));
}
xst_status Done(Status status, const char* what) {
  if (status == Status::ok || status == Status::held) return ToC(status);
  return ToC(last.Set(status, "%s: %s", what, xst::Describe(status)));
}

xst_status Convert(const xst_model_options* from, xst_model_options* to) {
  if (!from) return Fail(Status::invalid_argument, "options: expected them, got null");
  if (const xst_status s = CheckSize("options", from->struct_bytes); s != XST_OK) return s;
  std::memcpy(to, from, std::min(from->struct_bytes, sizeof *to));
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (size_t i = sizeof *to; i < from->struct_bytes; ++i) {
    if (bytes[i] != 0) {
      return ToC(last.Set(Status::invalid_argument,
                          "options.struct_bytes: expected up to %zu, got %zu", sizeof *to,
                          from->struct_bytes));
    }
  }
  if (to->device && std::strcmp(to->device, "cpu") != 0) {
    return Fail(Status::no_device, "device: expected cpu, which is all that a minimal build has");
  }
  if (to->isa && std::strcmp(to->isa, *xst::kernels::CpuKernelNames()) != 0) {
    last.Set(Status::no_instruction_set, "isa: expected %s, for which this was built, got '%s'",
             *xst::kernels::CpuKernelNames(), to->isa);
    return XST_NO_INSTRUCTION_SET;
  }
  if (to->arithmetic > XST_ARITHMETIC_WIDE || to->resident || to->bf16_forward) {
    return Fail(Status::invalid_argument, "options: expected those of the CPU, got others");
  }
  if (!to->arena) {
    return Fail(Status::invalid_argument, "options.arena: expected memory, got none");
  }
  return XST_OK;
}

// The arena does not hold the model. What would is known when it is open: until then a guess, and
// twice as much for a caller whose arena had that.
xst_status FailArena(const xst_model_options& given, const void* bytes, size_t count) {
  xst::formats::ModelHeader header;
  const std::span file(static_cast<const std::byte*>(bytes), count);
  if (DecodeHeader(file, &header, &last) != Status::ok) return ToC(last.status);
  const uint64_t guess =
      Arena::AnywhereFor(kOpeningBytes + kOpeningBytesPerByte * header.dir_bytes +
                         (given.in_place ? 0 : count + Arena::kAlign));
  const uint64_t enough = std::max(guess, 2 * uint64_t{given.arena_bytes});
  return ToC(last.Set(Status::out_of_memory,
                      "arena: expected %" PRIu64 " bytes to open this model, got %zu", enough,
                      given.arena_bytes));
}

// Bytes that a session takes behind a boundary of Arena::kAlign.
size_t FrameOffset() {
  return (sizeof(xst_session) + Arena::kAlign - 1) / Arena::kAlign * Arena::kAlign;
}

xst_status Make(const xst_model& model, void* at, xst_session** out) {
  auto* frame = static_cast<std::byte*>(at) + FrameOffset();
  auto* session = new (at) xst_session{xst::SessionCore(model.core, frame)};
  if (session->core.Start(&last) != Status::ok) return ToC(last.status);
  *out = session;
  return XST_OK;
}

xst_status CheckStep(const xst_session* session, const void* in, const float* out, bool tokens,
                     size_t out_count) {
  if (!session || !in || !out) return FailNull("step");
  const ModelCore& model = session->core.model();
  if (model.plan.tokens != tokens) {
    return Fail(Status::shape_mismatch,
                tokens ? "in: expected samples, got tokens" : "in: expected tokens, got samples");
  }
  if (out_count != model.output_width()) {
    return FailCount("out_count", model.output_width(), out_count);
  }
  return XST_OK;
}

}  // namespace

uint32_t xst_version(void) {
  return XST_VERSION_MAJOR * 1000000 + XST_VERSION_MINOR * 1000 + XST_VERSION_PATCH;
}
const char* xst_version_string(void) { return XST_VERSION; }
const char* xst_status_string(xst_status status) {
  return xst::Describe(static_cast<Status>(status));
}
const char* xst_last_error(void) { return last.message; }

xst_status xst_model_open_memory(const void* bytes, size_t count, const xst_model_options* options,
                                 xst_model** model) {
  if (!bytes || !model) return FailNull("xst_model_open_memory");
  xst_model_options given = {};
  if (const xst_status s = Convert(options, &given); s != XST_OK) return s;
  Arena arena(given.arena, given.arena_bytes);
  void* const at = arena.TakeFront(sizeof(xst_model));
  void* const copy = given.in_place ? nullptr : arena.TakeFront(count);
  if (!at || (!given.in_place && !copy)) return FailArena(given, bytes, count);
  if (copy) std::memcpy(copy, bytes, count);
  auto* made = new (at) xst_model{{}, arena};
  const std::span file(static_cast<const std::byte*>(given.in_place ? bytes : copy), count);
  const auto arithmetic = static_cast<xst::Arithmetic>(given.arithmetic);
  Status status;
  if (!OpenInArena(file, arithmetic, &made->arena, &made->core, &status, &last)) {
    return FailArena(given, bytes, count);
  }
  if (status != Status::ok) return ToC(status);
  *model = made;
  return XST_OK;
}

void xst_model_destroy(xst_model*) {}

xst_status xst_model_get_info(const xst_model* model, xst_model_info* info) {
  if (!model || !info) return FailNull("xst_model_get_info");
  if (const xst_status s = CheckSize("info", info->struct_bytes); s != XST_OK) return s;
  const ModelCore& core = model->core;
  const ModelCore::Info& m = core.info;
  const xst_model_info all = {
      .struct_bytes = info->struct_bytes,
      .tokens = core.plan.tokens,
      .input_width = core.input_width(),
      .output_width = core.output_width(),
      .probe_steps = m.probe_steps,
      .rate_hz = m.rate_hz,
      .parameters = m.parameters,
      .flops = core.plan.flops,
      .weight_bytes = 0,
      .state_bytes = core.plan.state_values * sizeof(float),
      .session_bytes = Arena::kAlign - 1 + FrameOffset() + m.session_bytes,
      .snapshot_bytes = m.snapshot_bytes,
      .file_bytes = m.file_bytes,
      .family = xst::Name(m.family),
      .dtype = xst::Name(m.dtype),
      .device = "cpu",
      .isa = core.isa(),
      .arithmetic = core.arithmetic(),
      .arch_hash = m.arch_hash.digits,
      .source_hash = m.source_hash.digits,
      .file_hash = m.file_hash,
      .config_yaml = m.config_yaml,
      .arena_bytes = model->arena.enough(),
  };
  std::memcpy(info, &all, std::min(info->struct_bytes, sizeof all));
  return XST_OK;
}

xst_status xst_session_create(const xst_model* model, xst_session** session) {
  if (!model || !session) return FailNull("xst_session_create");
  Arena& arena = model->arena;
  const uint64_t bytes = FrameOffset() + model->core.info.session_bytes;
  void* const at = bytes <= arena.given() ? arena.TakeFront(static_cast<size_t>(bytes)) : nullptr;
  if (!at) {
    return ToC(last.Set(
        Status::out_of_memory, "arena: expected %" PRIu64 " bytes for one more session, got %zu",
        std::max<uint64_t>(arena.enough(), Arena::AnywhereFor(arena.front_bytes() + bytes)),
        arena.given()));
  }
  return Make(*model, at, session);
}

xst_status xst_session_create_in(const xst_model* model, void* memory, size_t bytes,
                                 xst_session** session) {
  if (!model || !memory || !session) return FailNull("xst_session_create_in");
  const uint64_t least = Arena::kAlign - 1 + FrameOffset() + model->core.info.session_bytes;
  if (bytes < least) return FailCount("bytes for a session", least, bytes);
  return Make(*model, Arena(memory, bytes).TakeFront(0), session);
}

void xst_session_destroy(xst_session*) {}

xst_status xst_session_step(xst_session* session, const float* in, size_t in_count, float* out,
                            size_t out_count) {
  if (const xst_status s = CheckStep(session, in, out, false, out_count); s != XST_OK) return s;
  if (const size_t width = session->core.model().input_width(); in_count != width) {
    return FailCount("in_count", width, in_count);
  }
  return Done(session->core.Step({in, in_count}, {out, out_count}), "step");
}

xst_status xst_session_step_token(xst_session* session, int64_t token, float* out,
                                  size_t out_count) {
  if (const xst_status s = CheckStep(session, &token, out, true, out_count); s != XST_OK) return s;
  return Done(session->core.Step(token, {out, out_count}), "token");
}

uint32_t xst_session_quality(const xst_session* session) {
  return session ? session->core.quality() : 0;
}
uint64_t xst_session_steps(const xst_session* session) {
  return session ? session->core.steps() : 0;
}

xst_status xst_session_reset(xst_session* session) {
  if (!session) return FailNull("xst_session_reset");
  return Done(session->core.Reset(), "reset");
}

xst_status xst_session_save(const xst_session* session, void* snapshot, size_t bytes) {
  if (!session || !snapshot) return FailNull("xst_session_save");
  const uint64_t expected = session->core.model().info.snapshot_bytes;
  if (bytes != expected) return FailCount("bytes for a snapshot", expected, bytes);
  return Done(session->core.Save({static_cast<std::byte*>(snapshot), bytes}), "save");
}

xst_status xst_session_load(xst_session* session, const void* snapshot, size_t bytes,
                            uint32_t flags) {
  if (!session || !snapshot) return FailNull("xst_session_load");
  if (flags > XST_LOAD_OTHER_WEIGHTS) {
    return Fail(Status::invalid_argument, "flags: expected XST_LOAD_OTHER_WEIGHTS or 0");
  }
  return ToC(session->core.Load({static_cast<const std::byte*>(snapshot), bytes},
                                {.allow_other_weights = flags != 0}, &last));
}
