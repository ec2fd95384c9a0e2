// The classes of the extension module, one file each.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "errors.h"
#include "sdk/model.h"

namespace xst::python {

// A Python Model. Closing it lets go of the model; its streams keep what they step.
class ModelHandle {
 public:
  explicit ModelHandle(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  const std::shared_ptr<const Model>& get() const {
    if (!model_) ThrowClosed("model");
    return model_;
  }
  bool closed() const { return !model_; }
  void close() { model_.reset(); }

 private:
  std::shared_ptr<const Model> model_;
};

// The Model that a Python object is; throws TypeError for any other.
const ModelHandle& ModelOf(nb::handle object);

// For a class that can be referred to weakly and holds nothing of Python's. nanobind's own would
// read a subclass's __dict__ where Python 3.11 and later no longer keep it.
inline int TraverseType(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return 0;
}
inline PyType_Slot kWeakSlots[] = {{Py_tp_traverse, reinterpret_cast<void*>(TraverseType)},
                                   {0, nullptr}};

// What lets Python's collector find and end cycles through a stream's model, which may be of a
// subclass that holds the stream. T has model() and take_model(), which leaves None.
template <class T>
int TraverseModel(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  const nb::object model = nb::inst_ptr<T>(self)->model();
  Py_VISIT(model.ptr());
  return 0;
}
template <class T>
int ClearModel(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<T>(self)->take_model();
  return 0;
}
template <class T>
inline PyType_Slot kCycleSlots[] = {{Py_tp_traverse, reinterpret_cast<void*>(TraverseModel<T>)},
                                    {Py_tp_clear, reinterpret_cast<void*>(ClearModel<T>)},
                                    {0, nullptr}};

// Bytes of any object that has some.
class ByteView {
 public:
  explicit ByteView(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) nb::raise_python_error();
  }
  ~ByteView() { PyBuffer_Release(&buffer_); }
  ByteView(const ByteView&) = delete;
  ByteView& operator=(const ByteView&) = delete;
  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(buffer_.buf), static_cast<size_t>(buffer_.len)};
  }

 private:
  Py_buffer buffer_ = {};
};

// The path of a str or os.PathLike.
std::string PathOf(nb::handle path);

// New bytes that `fill` writes, with the GIL released.
template <class Fill>
nb::object MakeBytes(uint64_t size, Fill fill) {
  nb::object bytes = nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!bytes.is_valid()) nb::raise_python_error();
  auto* const data = reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes.ptr()));
  {
    const nb::gil_scoped_release released;
    fill(std::span<std::byte>(data, size));
  }
  return bytes;
}

void BindModel(nb::module_& module);
void BindSession(nb::module_& module);
void BindLanes(nb::module_& module);
void BindForecaster(nb::module_& module);
void BindSampler(nb::module_& module);
void BindPack(nb::module_& module);

}  // namespace xst::python
