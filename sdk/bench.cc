#include "sdk/bench.h"

#include <limits>

#include "kernels/memory_probe.h"
#include "sdk/model_core.h"

namespace xst {

double LimitMicros(const Model& model, uint32_t streams, int passes) {
  const ModelCore& core = model.core();
  if (core.on_reference()) return std::numeric_limits<double>::quiet_NaN();
  return kernels::StreamLimitMicros(core.info.weight_bytes, core.info.state_bytes * streams,
                                    core.info.isa.c_str(), passes);
}

}  // namespace xst
