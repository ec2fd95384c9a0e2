// The extension module xlstm_stream._core.
#include "bindings.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  module.doc() = "The C++ library behind xlstm_stream; use the names of the package.";
  module.attr("version") = XST_VERSION;
  xst::python::RegisterErrors();
  xst::python::BindModel(module);
  xst::python::BindSession(module);
  xst::python::BindLanes(module);
  xst::python::BindForecaster(module);
  xst::python::BindSampler(module);
  xst::python::BindPack(module);
}
