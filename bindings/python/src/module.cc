// The extension module xlstm_stream._core.
#include "bindings.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  module.doc() = "The C++ library behind xlstm_stream; use the names of the package.";
  module.attr("version") = XST_VERSION;
#ifdef NDEBUG
  nb::set_leak_warnings(false);  // what a program still holds as it ends is no fault of its user
#endif
  xst::python::RegisterErrors();
  xst::python::BindModel(module);
  xst::python::BindSession(module);
  xst::python::BindLanes(module);
  xst::python::BindForecaster(module);
  xst::python::BindSampler(module);
  xst::python::BindPack(module);
}
