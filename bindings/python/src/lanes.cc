#include "sdk/lanes.h"

#include <nanobind/stl/optional.h>

#include "arrays.h"
#include "bindings.h"

namespace xst::python {
namespace {

class PyLanes {
 public:
  PyLanes(nb::object model, uint32_t capacity) : model_(std::move(model)) {
    std::shared_ptr<const Model> opened = ModelOf(model_).get();
    info_ = &opened->info();
    const nb::gil_scoped_release released;
    lanes_.emplace(std::move(opened), capacity);
  }

  nb::object Step(nb::handle mask, nb::handle x, nb::handle out) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    View chosen, in, result;
    const Py_ssize_t n = lanes.capacity();
    chosen.Read("mask", mask, Element::mask, {n});
    nb::object returned;
    if (info_->tokens) {
      in.Read("x", x, Element::i64, {n});
    } else {
      in.Read("x", x, Element::f32, {n, info_->input_width});
    }
    returned = WriteOrMake(&result, out, {n, info_->output_width});
    if (out.is_none()) Blank(result);
    if (!info_->tokens && in.Overlaps(result)) in.Detach();
    Status status;
    {
      const nb::gil_scoped_release released;
      status = info_->tokens ? lanes.step(chosen.mask(), in.tokens(), result.writable())
                             : lanes.step(chosen.mask(), in.floats(), result.writable());
    }
    ThrowUnlessDone(status, "step");
    return returned;
  }

  nb::object Forward(nb::handle mask, nb::handle x, nb::handle out) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    View chosen, in, result;
    const Py_ssize_t n = lanes.capacity();
    chosen.Read("mask", mask, Element::mask, {n});
    if (info_->tokens) {
      in.Read("x", x, Element::i64, {n, kAny});
    } else {
      in.Read("x", x, Element::f32, {n, kAny, info_->input_width});
    }
    nb::object returned = WriteOrMake(&result, out, {n, in.axis(1), info_->output_width});
    if (out.is_none()) Blank(result);
    if (!info_->tokens && in.Overlaps(result)) in.Detach();
    Status status;
    {
      const nb::gil_scoped_release released;
      status = info_->tokens ? lanes.forward(chosen.mask(), in.tokens(), result.writable())
                             : lanes.forward(chosen.mask(), in.floats(), result.writable());
    }
    ThrowUnlessDone(status, "forward");
    return returned;
  }

  std::optional<uint32_t> Attach() {
    const Turn turn(&taken_, kWhat);
    return Open().attach();
  }
  void Detach(uint32_t lane) {
    const Turn turn(&taken_, kWhat);
    Open().detach(lane);
  }
  void Reset(uint32_t lane) {
    const Turn turn(&taken_, kWhat);
    Open().reset(lane);
  }
  nb::object Save(uint32_t lane) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    Status status = Status::ok;
    nb::object bytes = MakeBytes(info_->snapshot_bytes,
                                 [&](std::span<std::byte> to) { status = lanes.save(lane, to); });
    ThrowUnlessDone(status, "save");
    return bytes;
  }
  void Load(uint32_t lane, nb::handle snapshot, bool allow_other_weights) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    const ByteView view(snapshot);
    const nb::gil_scoped_release released;
    lanes.load(lane, view.bytes(), LoadOptions{allow_other_weights});
  }

  uint32_t capacity() { return Open().capacity(); }
  uint32_t attached() {
    const Turn turn(&taken_, kWhat);
    return Open().attached();
  }
  uint32_t quality(uint32_t lane) {
    const Turn turn(&taken_, kWhat);
    return Open().quality(lane);
  }
  uint64_t steps(uint32_t lane) {
    const Turn turn(&taken_, kWhat);
    return Open().steps(lane);
  }
  nb::object model() const { return model_; }
  void Close() {
    const Turn turn(&taken_, kWhat);
    lanes_.reset();
  }
  bool closed() const { return !lanes_; }

 private:
  static constexpr char kWhat[] = "lanes";

  Lanes& Open() {
    if (!lanes_) ThrowClosed(kWhat);
    return *lanes_;
  }
  // Rows of lanes that are not stepped must not look like results.
  static void Blank(const View& view) {
    for (float& v : view.writable()) v = std::numeric_limits<float>::quiet_NaN();
  }

  nb::object model_;
  const ModelInfo* info_ = nullptr;
  std::optional<Lanes> lanes_;
  std::atomic<bool> taken_ = false;
};

}  // namespace

void BindLanes(nb::module_& module) {
  nb::class_<PyLanes>(module, "Lanes", R"(Up to `capacity` streams of one model, stepped together.

A lane's snapshots and those of a Session are the same bytes, and so are its results on the CPU.
One thread at a time. A context manager: its end is close().)")
      .def(nb::init<nb::object, uint32_t>(), nb::arg("model").none(), nb::arg("capacity"),
           nb::sig("def __init__(self, model: Model, capacity: int) -> None"))
      .def(
          "step", &PyLanes::Step, nb::arg("mask").none(), nb::arg("x").none(),
          nb::arg("out") = nb::none(),
          nb::sig("def step(self, mask: numpy.typing.ArrayLike, x: numpy.typing.ArrayLike, out: "
                  "numpy.typing.NDArray[numpy.float32] | None = None) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          R"(One step of the lanes whose mask is true; each must be attached. mask (capacity,) bool, x
(capacity, input_width) float32 or (capacity,) token ids. Returns (capacity, output_width) float32;
rows of other lanes are left alone in `out`, NaN in a new array. Arrays as in Session.step.)")
      .def("forward", &PyLanes::Forward, nb::arg("mask").none(), nb::arg("x").none(),
           nb::arg("out") = nb::none(),
           nb::sig("def forward(self, mask: numpy.typing.ArrayLike, x: numpy.typing.ArrayLike, "
                   "out: numpy.typing.NDArray[numpy.float32] | None = None) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "T steps of those lanes: x (capacity, T, input_width) or (capacity, T) token ids, "
           "returns (capacity, T, output_width).")
      .def("attach", &PyLanes::Attach,
           "The lowest free lane with a fresh stream; None if all are used.")
      .def("detach", &PyLanes::Detach, nb::arg("lane"), "Frees a lane.")
      .def("reset", &PyLanes::Reset, nb::arg("lane"), "Back to a fresh stream.")
      .def("save", &PyLanes::Save, nb::arg("lane"), nb::sig("def save(self, lane: int) -> bytes"),
           "As Session.save.")
      .def("load", &PyLanes::Load, nb::arg("lane"), nb::arg("snapshot").none(),
           nb::arg("allow_other_weights") = false,
           nb::sig("def load(self, lane: int, snapshot: bytes | bytearray | memoryview, "
                   "allow_other_weights: bool = False) -> None"),
           "As Session.load.")
      .def("quality", &PyLanes::quality, nb::arg("lane"), "As Session.quality; 0 if not attached.")
      .def("steps", &PyLanes::steps, nb::arg("lane"), "As Session.steps; 0 if not attached.")
      .def_prop_ro("capacity", &PyLanes::capacity, "lanes there are")
      .def_prop_ro("attached", &PyLanes::attached, "lanes in use")
      .def_prop_ro("model", &PyLanes::model, nb::sig("def model(self) -> Model"))
      .def("close", &PyLanes::Close, "Frees all streams; any further call raises RuntimeError.")
      .def_prop_ro("closed", &PyLanes::closed)
      .def(
          "__enter__", [](nb::object self) { return self; },
          nb::sig("def __enter__(self) -> Lanes"))
      .def(
          "__exit__", [](PyLanes& self, nb::args) { self.Close(); },
          nb::sig("def __exit__(self, *args: object) -> None"));
}

}  // namespace xst::python
