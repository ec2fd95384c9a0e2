#include "sdk/lanes.h"

#include <algorithm>
#include <new>

#include "sdk/device_steps.h"
#include "sdk/lane_batch.h"

namespace xst {

struct Lanes::Streams {
  std::shared_ptr<const Model> model;
  std::unique_ptr<DeviceStreams> device;  // null on the CPU
  std::optional<LaneBatch> batch;         // on the CPU
  Memory frames;
  std::vector<SessionCore> lanes;
  std::vector<std::byte*> active;  // frames of the step under way
  std::vector<uint8_t> attached;
  std::vector<Status> begun;  // of the step under way

  const ModelCore& core() const { return model->core(); }
  uint32_t capacity() const { return static_cast<uint32_t>(lanes.size()); }

  // f(lane) for the lanes of a mask, or those of `count` lanes; the first error ends it.
  template <class F>
  Status ForEach(std::span<const uint8_t> mask, const F& f) {
    return ForEach(mask, 0, capacity(), f);
  }
  template <class F>
  Status ForEach(std::span<const uint8_t> mask, uint32_t first, uint32_t count, const F& f) {
    Status status = Status::ok;
    for (uint32_t lane = first; lane < std::min(first + count, capacity()); ++lane) {
      if (!mask[lane]) continue;
      const Status s = f(lane);
      if (s != Status::ok && s != Status::held) return s;
      if (s == Status::held) status = s;
    }
    return status;
  }
  Status Check(std::span<const uint8_t> mask) {
    if (mask.size() != lanes.size()) return Status::shape_mismatch;
    return ForEach(mask, [&](uint32_t lane) {
      return attached[lane] ? Status::ok : Status::invalid_argument;
    });
  }
  Status CheckTokens(std::span<const uint8_t> mask, std::span<const int64_t> tokens,
                     uint64_t steps) {
    const int64_t vocabulary = formats::VocabSize(model->info().config);
    return ForEach(mask, [&](uint32_t lane) {
      const auto row = tokens.subspan(lane * steps, steps);
      const bool good = std::all_of(
          row.begin(), row.end(), [&](int64_t token) { return token >= 0 && token < vocabulary; });
      return good ? Status::ok : Status::invalid_argument;
    });
  }
  void Activate(std::span<const uint8_t> mask) {
    std::copy(mask.begin(), mask.end(), device->active());
  }

  // One step of checked lanes; `row` gives a lane's input.
  template <class Row>
  Status Step(std::span<const uint8_t> mask, std::span<float> out, const Row& row) {
    const uint32_t width = core().output_width();
    if (core().on_reference()) {
      return ForEach(mask, [&](uint32_t lane) {
        return lanes[lane].Step(row(lane), out.subspan(lane * size_t{width}, width));
      });
    }
    const kernels::FlushDenormals flush;
    if (batch) return StepBatch(mask, out, row);
    Activate(mask);
    const uint32_t size = device->group_lanes(), groups = (capacity() + size - 1) / size;
    Status status = Status::ok;
    for (uint32_t group = 0; group < groups; ++group) {
      ForEach(mask, group * size, size, [&](uint32_t lane) {
        begun[lane] = lanes[lane].Begin(row(lane));
        if (begun[lane] == Status::held) status = Status::held;
        return begun[lane];
      });
      if (const Status s = device->Start(group); s != Status::ok) return s;
    }
    for (uint32_t group = 0; group < groups; ++group) {
      if (const Status s = device->Finish(group); s != Status::ok) return s;
      ForEach(mask, group * size, size, [&](uint32_t lane) {
        lanes[lane].End(begun[lane], out.subspan(lane * size_t{width}, width));
        return Status::ok;
      });
    }
    return status;
  }

  template <class Row>
  Status StepBatch(std::span<const uint8_t> mask, std::span<float> out, const Row& row) {
    const uint32_t width = core().output_width();
    size_t count = 0;
    const Status status = ForEach(mask, [&](uint32_t lane) {
      active[count++] = lanes[lane].frame();
      return begun[lane] = lanes[lane].Begin(row(lane));
    });
    batch->Run(std::span(active).first(count));
    ForEach(mask, [&](uint32_t lane) {
      lanes[lane].End(begun[lane], out.subspan(lane * size_t{width}, width));
      return Status::ok;
    });
    return status;
  }

  Status StepAlone(uint32_t lane, std::span<const float> in, std::span<float> out) {
    if (!device) return lanes[lane].Step(in, out);
    const kernels::FlushDenormals flush;
    std::fill_n(device->active(), capacity(), uint8_t{0});
    device->active()[lane] = 1;
    const Status status = lanes[lane].Begin(in);
    const uint32_t group = lane / device->group_lanes();
    if (const Status s = device->Start(group); s != Status::ok) return s;
    if (const Status s = device->Finish(group); s != Status::ok) return s;
    lanes[lane].End(status, out);
    return status;
  }

  // `steps` steps of checked lanes on the device.
  Status Forward(std::span<const uint8_t> mask, std::span<const float> in,
                 std::span<const int64_t> tokens, uint64_t steps, std::span<float> out) {
    const size_t in_width = tokens.empty() ? core().input_width() * steps : 0;
    const size_t out_width = core().output_width() * steps;
    try {
      std::vector<LaneSteps> steps_of;
      for (uint32_t i = 0; i < capacity(); ++i) {
        if (!mask[i]) continue;
        steps_of.push_back({&lanes[i], i, in.subspan(i * in_width, in_width),
                            tokens.empty() ? tokens : tokens.subspan(i * steps, steps),
                            out.subspan(i * out_width, out_width)});
      }
      Activate(mask);
      return RunStepsOf(*device, core(), steps_of, steps);
    } catch (const std::bad_alloc&) {
      return Status::out_of_memory;
    }
  }
};

Lanes::Lanes(std::shared_ptr<const Model> model, uint32_t capacity) {
  if (capacity == 0) throw Error(Status::invalid_argument, "lanes: expected at least 1, got 0");
  const ModelCore& core = model->core();
  Fault fault;
  try {
    streams_ = std::make_unique<Streams>();
    streams_->model = std::move(model);
    if (core.device_model &&
        core.device_model->MakeStreams(capacity, &streams_->device, &fault) != Status::ok) {
      throw Error(fault);
    }
    if (!core.device_model && !core.on_reference()) streams_->batch.emplace(core, capacity);
    const size_t bytes = OddLines(core.info.session_bytes);
    if (Memory::Allocate(uint64_t{bytes} * capacity, &streams_->frames, &fault) != Status::ok) {
      throw Error(fault);
    }
    streams_->lanes.reserve(capacity);
    for (uint32_t lane = 0; lane < capacity; ++lane) {
      streams_->lanes.emplace_back(core, streams_->frames.bytes().data() + lane * bytes,
                                   streams_->device.get(), lane);
      if (streams_->lanes.back().Start(&fault) != Status::ok) throw Error(fault);
    }
    streams_->attached.resize(capacity);
    streams_->begun.resize(capacity);
    streams_->active.resize(capacity);
  } catch (const std::bad_alloc&) {
    throw Error(Status::out_of_memory,
                "lanes: expected memory for " + std::to_string(capacity) + " streams, got none");
  }
}

Lanes::~Lanes() = default;
Lanes::Lanes(Lanes&&) noexcept = default;
Lanes& Lanes::operator=(Lanes&&) noexcept = default;

uint32_t Lanes::capacity() const noexcept { return streams_->capacity(); }

uint32_t Lanes::attached() const noexcept {
  return static_cast<uint32_t>(
      std::count(streams_->attached.begin(), streams_->attached.end(), uint8_t{1}));
}

std::optional<uint32_t> Lanes::attach() noexcept {
  auto& attached = streams_->attached;
  const auto free = std::find(attached.begin(), attached.end(), uint8_t{0});
  if (free == attached.end()) return std::nullopt;
  const auto lane = static_cast<uint32_t>(free - attached.begin());
  if (streams_->lanes[lane].Reset() != Status::ok) return std::nullopt;
  *free = 1;
  return lane;
}

Status Lanes::detach(uint32_t lane) noexcept {
  if (!attached(lane)) return Status::invalid_argument;
  streams_->attached[lane] = 0;
  return Status::ok;
}

bool Lanes::attached(uint32_t lane) const noexcept {
  return lane < capacity() && streams_->attached[lane];
}

Status Lanes::step(std::span<const uint8_t> mask, std::span<const float> in,
                   std::span<float> out) noexcept {
  const ModelCore& core = streams_->core();
  const uint32_t width = core.input_width();
  if (core.plan.tokens || in.size() != size_t{capacity()} * width ||
      out.size() != size_t{capacity()} * core.output_width()) {
    return Status::shape_mismatch;
  }
  if (const Status s = streams_->Check(mask); s != Status::ok) return s;
  return streams_->Step(mask, out,
                        [&](uint32_t lane) { return in.subspan(lane * size_t{width}, width); });
}

Status Lanes::step(std::span<const uint8_t> mask, std::span<const int64_t> tokens,
                   std::span<float> out) noexcept {
  const ModelCore& core = streams_->core();
  if (!core.plan.tokens || tokens.size() != capacity() ||
      out.size() != size_t{capacity()} * core.output_width()) {
    return Status::shape_mismatch;
  }
  if (const Status s = streams_->Check(mask); s != Status::ok) return s;
  if (const Status s = streams_->CheckTokens(mask, tokens, 1); s != Status::ok) return s;
  return streams_->Step(mask, out, [&](uint32_t lane) { return tokens[lane]; });
}

Status Lanes::step(uint32_t lane, std::span<const float> in, std::span<float> out) noexcept {
  const ModelCore& core = streams_->core();
  if (!attached(lane)) return Status::invalid_argument;
  if (core.plan.tokens || in.size() != core.input_width() || out.size() != core.output_width()) {
    return Status::shape_mismatch;
  }
  return streams_->StepAlone(lane, in, out);
}

Status Lanes::forward(std::span<const uint8_t> mask, std::span<const float> in,
                      std::span<float> out) noexcept {
  const ModelCore& core = streams_->core();
  const size_t in_row = core.input_width(), out_row = core.output_width();
  const size_t steps = out.size() / (out_row * capacity());
  if (core.plan.tokens || steps * out_row * capacity() != out.size() ||
      steps * in_row * capacity() != in.size()) {
    return Status::shape_mismatch;
  }
  if (const Status s = streams_->Check(mask); s != Status::ok) return s;
  if (streams_->device) return streams_->Forward(mask, in, {}, steps, out);
  return streams_->ForEach(mask, [&](uint32_t lane) {
    return streams_->lanes[lane].Forward(in.subspan(lane * steps * in_row, steps * in_row),
                                         out.subspan(lane * steps * out_row, steps * out_row));
  });
}

Status Lanes::forward(std::span<const uint8_t> mask, std::span<const int64_t> tokens,
                      std::span<float> out) noexcept {
  const ModelCore& core = streams_->core();
  const size_t out_row = core.output_width(), steps = tokens.size() / capacity();
  if (!core.plan.tokens || steps * capacity() != tokens.size() ||
      steps * out_row * capacity() != out.size()) {
    return Status::shape_mismatch;
  }
  if (const Status s = streams_->Check(mask); s != Status::ok) return s;
  if (const Status s = streams_->CheckTokens(mask, tokens, steps); s != Status::ok) return s;
  if (streams_->device) return streams_->Forward(mask, {}, tokens, steps, out);
  return streams_->ForEach(mask, [&](uint32_t lane) {
    return streams_->lanes[lane].Forward(tokens.subspan(lane * steps, steps),
                                         out.subspan(lane * steps * out_row, steps * out_row));
  });
}

uint32_t Lanes::quality(uint32_t lane) const noexcept {
  return attached(lane) ? streams_->lanes[lane].quality() : 0;
}
uint64_t Lanes::steps(uint32_t lane) const noexcept {
  return attached(lane) ? streams_->lanes[lane].steps() : 0;
}
Status Lanes::reset(uint32_t lane) noexcept {
  return attached(lane) ? streams_->lanes[lane].Reset() : Status::invalid_argument;
}

std::vector<std::byte> Lanes::save(uint32_t lane) const {
  std::vector<std::byte> bytes(model()->info().snapshot_bytes);
  if (const Status s = save(lane, bytes); s != Status::ok) {
    throw Error(s, std::string("save: ") + Describe(s));
  }
  return bytes;
}

Status Lanes::save(uint32_t lane, std::span<std::byte> out) const noexcept {
  return attached(lane) ? streams_->lanes[lane].Save(out) : Status::invalid_argument;
}

Status Lanes::load(uint32_t lane, std::span<const std::byte> snapshot, const LoadOptions& options,
                   Fault* fault) noexcept {
  if (!attached(lane)) {
    return fault->Set(Status::invalid_argument, "lane: expected one that is attached, got %u",
                      lane);
  }
  return streams_->lanes[lane].Load(snapshot, options, fault);
}

void Lanes::load(uint32_t lane, std::span<const std::byte> snapshot, const LoadOptions& options) {
  Fault fault;
  if (load(lane, snapshot, options, &fault) != Status::ok) throw Error(fault);
}

const std::shared_ptr<const Model>& Lanes::model() const noexcept { return streams_->model; }

}  // namespace xst
