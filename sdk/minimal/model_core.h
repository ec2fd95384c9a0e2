// The Model of a minimal build: what a step and the questions about a model need, in a caller's
// memory.
#pragma once

#include <cstdint>
#include <span>

#include "formats/model_file.h"
#include "formats/snapshot.h"
#include "sdk/device_backend.h"
#include "sdk/minimal/arena.h"
#include "sdk/model_parts.h"
#include "sdk/team_plan.h"

namespace xst {

// As far as a SessionCore asks, this is the ModelCore of the full library.
struct ModelCore : StepParts {
  struct Info {
    formats::Family family = formats::Family::block_stack;
    formats::DType dtype = formats::DType::f32;
    uint32_t probe_steps = 0;
    double rate_hz = 0;
    uint64_t parameters = 0, file_bytes = 0, session_bytes = 0, snapshot_bytes = 0;
    formats::HexText arch_hash = {}, source_hash = {};
    char file_hash[17] = "";
    const char* config_yaml = "";  // in the file
  };

  formats::Hash128 arch_hash, source_hash;
  Info info;

  formats::SnapshotHeader Origin(uint64_t steps) const {
    return {arch_hash, source_hash, steps, plan.state_values};
  }
  static constexpr bool on_reference() { return false; }
  static constexpr uint32_t away() { return 0; }
  static constexpr const TeamPlan* split_plan() { return nullptr; }
  template <class T>
  void RunSplit(T*) const {}
  const char* isa() const { return wide ? wide_kernels->name : single_kernels->name; }
  const char* arithmetic() const {
    return wide ? wide_kernels->arithmetic : single_kernels->arithmetic;
  }
};

// Opens `file`, which is 64-byte aligned and outlives the model, into the front of `arena`. False
// where the arena does not hold it; else `status`, with a fault that says what is wrong.
bool OpenInArena(std::span<const std::byte> file, Arithmetic arithmetic, Arena* arena,
                 ModelCore* out, Status* status, Fault* fault);

}  // namespace xst
