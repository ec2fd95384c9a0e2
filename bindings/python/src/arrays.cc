#include "arrays.h"

#include <nanobind/stl/string.h>

#include <cstring>
#include <string>

#include "formats/status.h"

namespace xst::python {
namespace {

// Resolved at the first use: building the stubs imports this module without NumPy.
struct Numpy {
  nb::object asarray, ascontiguousarray, empty, ndarray, float32, int64, uint8;
};

const Numpy& TheNumpy() {
  static Numpy* numpy = nullptr;
  if (!numpy) {
    const nb::module_ module = nb::module_::import_("numpy");
    const auto dtype = [&](const char* name) { return module.attr("dtype")(module.attr(name)); };
    numpy = new Numpy{module.attr("asarray"), module.attr("ascontiguousarray"),
                      module.attr("empty"),   module.attr("ndarray"),
                      dtype("float32"),       dtype("int64"),
                      dtype("uint8")};
  }
  return *numpy;
}

// The letter of a buffer's format; 0 where it is not one value in this machine's byte order.
char Letter(const char* format) {
  if (!format) return 'B';
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  return format[0] && !format[1] ? format[0] : '\0';
}

bool Fits(const Py_buffer& buffer, Element element) {
  const char letter = Letter(buffer.format);
  switch (element) {
    case Element::f32:
      return letter == 'f' && buffer.itemsize == 4;
    case Element::i64:
      return (letter == 'l' || letter == 'q') && buffer.itemsize == 8;
    case Element::mask:
      return (letter == '?' || letter == 'B' || letter == 'b') && buffer.itemsize == 1;
  }
  return false;
}

std::string ShapeText(const Py_ssize_t* shape, size_t axes) {
  std::string text = "(";
  for (size_t i = 0; i < axes; ++i) {
    text += (i ? ", " : "") + (shape[i] == kAny ? "T" : std::to_string(shape[i]));
  }
  return text + (axes == 1 ? ",)" : ")");
}

// What an object is, for "got …".
std::string KindOf(nb::handle object) {
  if (nb::isinstance(object, TheNumpy().ndarray)) return "dtype " + Text(object.attr("dtype"));
  return nb::type_name(object.type()).c_str();
}

constexpr const char* kWanted[] = {"float32 values", "int64 token ids", "one bool a lane"};
constexpr const char* kKinds[] = {"fiub", "iu", "biu"};

}  // namespace

std::string Text(nb::handle object) { return nb::str(object).c_str(); }

nb::object IntOf(nb::handle object) {
  if (!PyIndex_Check(object.ptr())) return {};
  nb::object number = nb::steal(PyNumber_Index(object.ptr()));
  if (!number.is_valid()) PyErr_Clear();
  return number;
}

uint64_t WholeNumber(const char* name, nb::handle object, uint64_t low, uint64_t high) {
  const nb::object number = IntOf(object);
  if (!number.is_valid()) {
    throw nb::type_error(
        (std::string(name) + ": expected an int, got " + nb::type_name(object.type()).c_str())
            .c_str());
  }
  const uint64_t value = PyLong_AsUnsignedLongLong(number.ptr());
  const bool beyond = PyErr_Occurred() != nullptr;
  PyErr_Clear();
  if (!beyond && value >= low && value <= high) return value;
  throw Error(Status::invalid_argument, std::string(name) + ": expected " + std::to_string(low) +
                                            " to " + std::to_string(high) + ", got " +
                                            Text(number));
}

nb::object ArrayOf(const char* name, nb::handle object) {
  try {
    return TheNumpy().asarray(object);
  } catch (nb::python_error& e) {
    throw nb::type_error(
        (std::string(name) + ": expected an array, got " + KindOf(object)).c_str());
  }
}

bool View::Take(nb::handle object, Element element, int flags) {
  if (!PyObject_CheckBuffer(object.ptr())) return false;
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) != 0) {
    PyErr_Clear();
    buffer_ = {};
    return false;
  }
  if (Fits(buffer_, element)) return true;
  PyBuffer_Release(&buffer_);
  buffer_ = {};
  return false;
}

void View::CheckShape(const char* name, Shape shape) const {
  bool same = buffer_.ndim == static_cast<int>(shape.size());
  for (int i = 0; same && i < buffer_.ndim; ++i) {
    const Py_ssize_t wanted = shape.begin()[i];
    same = wanted == kAny || wanted == buffer_.shape[i];
  }
  if (same) return;
  const std::string got = ShapeText(buffer_.shape, static_cast<size_t>(buffer_.ndim));
  throw nb::value_error((std::string(name) + ": expected shape " +
                         ShapeText(shape.begin(), shape.size()) + ", got " + got)
                            .c_str());
}

void View::Read(const char* name, nb::handle object, Element element, Shape shape) {
  if (!Take(object, element, 0)) {
    const Numpy& numpy = TheNumpy();
    const auto index = static_cast<size_t>(element);
    const auto refuse = [&](const std::string& got) {
      throw nb::type_error(
          (std::string(name) + ": expected " + kWanted[index] + ", got " + got).c_str());
    };
    nb::object array;
    try {
      array = numpy.asarray(object);
    } catch (nb::python_error& e) {
      refuse(KindOf(object));
    }
    const std::string kind = nb::cast<std::string>(array.attr("dtype").attr("kind"));
    const bool empty = nb::cast<size_t>(array.attr("size")) == 0;  // whose type says nothing
    if (!std::strchr(kKinds[index], kind[0]) && !(empty && kind == "f")) {
      refuse(nb::isinstance(object, numpy.ndarray) ? KindOf(object)
                                                   : KindOf(object) + " of " + KindOf(array));
    }
    const nb::object& dtype = element == Element::f32   ? numpy.float32
                              : element == Element::i64 ? numpy.int64
                                                        : numpy.uint8;
    const nb::object source = element == Element::mask ? array.attr("astype")("bool") : array;
    if (element == Element::i64 && kind == "u" && !empty) {
      const nb::object largest = array.attr("max")();
      if (nb::cast<uint64_t>(largest.attr("item")()) > uint64_t{INT64_MAX}) {
        throw Error(Status::invalid_argument,
                    std::string(name) + ": expected " + kWanted[index] + ", got " + Text(largest));
      }
    }
    // Beyond float32 is infinite, that is missing, like everything no step can take.
    const nb::object converted = source.attr("astype")(dtype, nb::arg("order") = "C");
    if (!Take(converted, element, 0)) refuse(KindOf(object));
  }
  CheckShape(name, shape);
}

void View::Write(const char* name, nb::handle object, Shape shape) {
  if (Take(object, Element::f32, PyBUF_WRITABLE)) return CheckShape(name, shape);
  const std::string wanted =
      std::string(name) + ": expected a writable C-contiguous float32 array, got ";
  if (!nb::isinstance(object, TheNumpy().ndarray) ||
      !object.attr("dtype").equal(TheNumpy().float32)) {
    throw nb::type_error((wanted + KindOf(object)).c_str());
  }
  const bool writable = nb::cast<bool>(object.attr("flags").attr("writeable"));
  throw nb::value_error((wanted + (writable ? "strides" : "a read-only one")).c_str());
}

nb::object View::Make(Shape shape) {
  const Numpy& numpy = TheNumpy();
  nb::object size;
  if (shape.size() == 1) {
    size = nb::steal(PyLong_FromSsize_t(*shape.begin()));
  } else {
    size = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
    for (size_t i = 0; i < shape.size(); ++i) {
      PyTuple_SET_ITEM(size.ptr(), static_cast<Py_ssize_t>(i),
                       PyLong_FromSsize_t(shape.begin()[i]));
    }
  }
  PyObject* const arguments[] = {size.ptr(), numpy.float32.ptr()};
  nb::object array = nb::steal(PyObject_Vectorcall(numpy.empty.ptr(), arguments, 2, nullptr));
  if (!array.is_valid()) nb::raise_python_error();
  Take(array, Element::f32, PyBUF_WRITABLE);
  return array;
}

bool View::Overlaps(const View& other) const {
  const auto begin = reinterpret_cast<uintptr_t>(buffer_.buf);
  const auto first = reinterpret_cast<uintptr_t>(other.buffer_.buf);
  return begin < first + static_cast<size_t>(other.buffer_.len) &&
         first < begin + static_cast<size_t>(buffer_.len);
}

void View::Detach() {
  const nb::object array = nb::borrow(buffer_.obj);
  PyBuffer_Release(&buffer_);
  buffer_ = {};
  Take(TheNumpy().asarray(array).attr("copy")(), Element::f32, 0);
}

nb::object WriteOrMake(View* view, nb::handle out, Shape shape) {
  if (out.is_none()) return view->Make(shape);
  view->Write("out", out, shape);
  return nb::borrow(out);
}

}  // namespace xst::python
