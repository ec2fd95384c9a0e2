#include "sdk/bench.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "kernels/memory_probe.h"
#include "sdk/model_core.h"

namespace xst {

double LimitMicros(const Model& model, uint32_t streams, int passes) {
  const ModelCore& core = model.core();
  if (core.on_reference()) return std::numeric_limits<double>::quiet_NaN();
  struct Probe {
    const ModelInfo& info;
    uint64_t streams, members;
    int passes;
    std::vector<double> micros;
    void Measure(uint64_t member) noexcept {
      try {
        micros[member] = kernels::StreamLimitMicros(info.weight_bytes / members,
                                                    info.state_bytes * streams / members,
                                                    info.isa.c_str(), passes);
      } catch (const std::bad_alloc&) {
        micros[member] = -1;
      }
    }
  };
  const size_t members = core.team ? core.team->members() : 1;
  Probe probe{core.info, streams, members, passes, std::vector<double>(members)};
  if (!core.team) {
    probe.Measure(0);
  } else if (!core.team->Run([](Team&, uint32_t member,
                                void* arg) { static_cast<Probe*>(arg)->Measure(member); },
                             &probe, true)) {
    return std::numeric_limits<double>::quiet_NaN();  // it steps a stream
  }
  const auto [least, most] = std::minmax_element(probe.micros.begin(), probe.micros.end());
  return *least < 0 ? -1 : *most;
}

int CallerCpu(const Model& model) { return model.core().team ? model.core().team->home() : -1; }

}  // namespace xst
