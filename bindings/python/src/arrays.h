// NumPy arrays as spans, without a copy where type and layout are already what a step takes.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace xst::python {

namespace nb = nanobind;

using Shape = std::initializer_list<Py_ssize_t>;
inline constexpr Py_ssize_t kAny = -1;  // an axis of any length

// What an argument is read as. A C-contiguous array of that type is used in place; other numbers
// are converted once: any real type to float32, any integer type to int64 and uint8 (a mask, bool).
enum class Element { f32, i64, mask };

// A buffer of a Python object, held until the end. Only created and destroyed with the GIL.
class View {
 public:
  View() = default;
  ~View() {
    if (buffer_.obj) PyBuffer_Release(&buffer_);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  // Throws TypeError for other elements, ValueError for another shape, naming `name`, what was
  // expected and what was given.
  void Read(const char* name, nb::handle object, Element element, Shape shape);
  // A float32 array to write to: never converted, so it must fit as it is.
  void Write(const char* name, nb::handle object, Shape shape);
  // The same for one that is made here; returns it.
  nb::object Make(Shape shape);

  Py_ssize_t axis(int i) const { return buffer_.shape[i]; }
  std::span<const float> floats() const { return {data<const float>(), count(sizeof(float))}; }
  std::span<float> writable() const { return {data<float>(), count(sizeof(float))}; }
  std::span<const int64_t> tokens() const {
    return {data<const int64_t>(), count(sizeof(int64_t))};
  }
  std::span<const uint8_t> mask() const { return {data<const uint8_t>(), count(1)}; }
  bool Overlaps(const View& other) const;
  // Moves what is read out of the way of what is written.
  void Detach();

 private:
  template <class T>
  T* data() const {
    return static_cast<T*>(buffer_.buf);
  }
  size_t count(size_t size) const { return static_cast<size_t>(buffer_.len) / size; }
  bool Take(nb::handle object, Element element, int flags);
  void CheckShape(const char* name, Shape shape) const;

  Py_buffer buffer_ = {};
};

// A whole number of `low` to `high`. Throws TypeError for another type and ArgumentError for
// another number, "NAME: expected LOW to HIGH, got NUMBER"; it may be any that Python holds.
uint64_t WholeNumber(const char* name, nb::handle object, uint64_t low, uint64_t high);
// The int of an object, or nothing valid where it is none.
nb::object IntOf(nb::handle object);
// What str() says.
std::string Text(nb::handle object);
// The array that NumPy makes of an argument; throws TypeError where it can make none.
nb::object ArrayOf(const char* name, nb::handle object);

// `out` if it is given, else a new array; either is what a call returns.
nb::object WriteOrMake(View* view, nb::handle out, Shape shape);

}  // namespace xst::python
