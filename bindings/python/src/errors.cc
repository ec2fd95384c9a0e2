#include "errors.h"

#include <stdexcept>

namespace xst::python {

void RegisterErrors() {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& e) {
      const nb::object make = nb::module_::import_("xlstm_stream._errors").attr("make_error");
      // A file name in a message need not be UTF-8.
      const std::string text = e.what();
      const nb::object message = nb::steal(
          PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
      const nb::object exception = make(static_cast<int>(e.code()), message);
      PyErr_SetObject(exception.type().ptr(), exception.ptr());
    }
  });
}

void ThrowUnlessDone(Status status, const char* what) {
  if (status == Status::ok || status == Status::held) return;
  throw Error(status, std::string(what) + ": " + Describe(status));
}

void Turn::ThrowInUse(const char* what) {
  throw std::runtime_error(std::string(what) +
                           ": expected one thread at a time, got a call while another one runs");
}

void ThrowClosed(const char* what) {
  throw std::runtime_error(std::string(what) + ": expected an open one, got a closed one");
}

}  // namespace xst::python
