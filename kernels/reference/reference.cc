#include "kernels/kernels.h"
#include "kernels/reference/block_linear.h"
#include "kernels/reference/conv.h"
#include "kernels/reference/embed.h"
#include "kernels/reference/gated_act.h"
#include "kernels/reference/linear.h"
#include "kernels/reference/mlstm_cell.h"
#include "kernels/reference/mlstm_out.h"
#include "kernels/reference/norm.h"
#include "kernels/reference/pointwise.h"
#include "kernels/reference/slstm_cell.h"
#include "kernels/reference/slstm_input.h"
#include "kernels/reference/slstm_out.h"

namespace xst::kernels {

const Kernels<double>& ReferenceKernels() {
  using reference::Run;
  static constexpr Kernels<double> kTable = {"reference", "double", Run, Run, Run, Run, Run,
                                             Run,         Run,      Run, Run, Run, Run, Run};
  return kTable;
}

}  // namespace xst::kernels
