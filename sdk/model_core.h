// The exception-free core of Model: the file's bytes, their directory, the Plan and the kernels
// that run it.
#pragma once

#include <memory>
#include <string>

#include "formats/model_file.h"
#include "formats/snapshot.h"
#include "sdk/device_backend.h"
#include "sdk/memory.h"
#include "sdk/model_parts.h"
#include "sdk/team.h"
#include "sdk/team_plan.h"

namespace xst {

struct ModelCore : StepParts {
  Memory file;
  formats::Directory directory;  // points into `file`
  Device device;
  std::unique_ptr<DeviceModel> device_model;  // on a device with memory of its own
  ModelInfo info;
  // On cpu:N, unless the model is too small: who runs the steps of all streams, one at a time, and
  // how.
  TeamPlan team_plan;
  std::unique_ptr<Team> team;

  // What a snapshot of a stream after `steps` steps says in front.
  formats::SnapshotHeader Origin(uint64_t steps) const {
    return {directory.arch_hash, directory.source_hash, steps, plan.state_values};
  }
  bool on_reference() const { return device.kind == Device::Kind::reference; }
  // Of a frame: elements that the sdk does not keep in its own memory, and bytes of one that it
  // does.
  uint32_t away() const { return device_model ? plan.ops_state_size : 0; }
  // Of a stored tensor: what a step reads of it and its scales.
  uint64_t StepBytes(const formats::StoredTensor& t) const;
  // How several threads share a step; null where one runs it.
  const TeamPlan* split_plan() const { return team ? &team_plan : nullptr; }
  // A step's ops, split over the team; by this thread alone while the team is busy with another
  // stream, or not in this process.
  template <class T>
  void RunSplit(T* frame) const;
};

// Takes the file's bytes over. `name` starts the message of a Fault.
Status OpenCore(Memory file, const std::string& name, const Options& options,
                std::unique_ptr<const ModelCore>* out, Fault* fault);

}  // namespace xst
