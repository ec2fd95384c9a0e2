#include "sdk/lanes.h"

#include <nanobind/stl/optional.h>

#include <limits>
#include <utility>

#include "arrays.h"
#include "bindings.h"

namespace xst::python {
namespace {

class PyLanes {
 public:
  PyLanes(nb::object model, nb::handle capacity) : model_(std::move(model)) {
    std::shared_ptr<const Model> opened = ModelOf(model_).get();
    info_ = &opened->info();
    const auto lanes = static_cast<uint32_t>(WholeNumber("capacity", capacity, 1, UINT32_MAX));
    const nb::gil_scoped_release released;
    lanes_.emplace(std::move(opened), lanes);
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
    CheckLanes(chosen.mask(), in);
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
    CheckLanes(chosen.mask(), in);
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
  void Detach(nb::handle given) {
    const Turn turn(&taken_, kWhat);
    const uint32_t lane = Attached(given);
    ThrowUnlessDone(Open().detach(lane), "lane");
  }
  void Reset(nb::handle given) {
    const Turn turn(&taken_, kWhat);
    const uint32_t lane = Attached(given);
    ThrowUnlessDone(Open().reset(lane), "lane");
  }
  nb::object Save(nb::handle given) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    const uint32_t lane = Attached(given);
    Status status = Status::ok;
    nb::object bytes = MakeBytes(info_->snapshot_bytes,
                                 [&](std::span<std::byte> to) { status = lanes.save(lane, to); });
    ThrowUnlessDone(status, "save");
    return bytes;
  }
  void Load(nb::handle given, nb::handle snapshot, bool allow_other_weights) {
    const Turn turn(&taken_, kWhat);
    Lanes& lanes = Open();
    const uint32_t lane = Attached(given);
    const ByteView view(snapshot);
    const nb::gil_scoped_release released;
    lanes.load(lane, view.bytes(), LoadOptions{allow_other_weights});
  }

  uint32_t capacity() { return Open().capacity(); }
  uint32_t attached() {
    const Turn turn(&taken_, kWhat);
    return Open().attached();
  }
  uint32_t quality(nb::handle lane) {
    const Turn turn(&taken_, kWhat);
    return Open().quality(LaneOf(lane).value_or(UINT32_MAX));
  }
  uint64_t steps(nb::handle lane) {
    const Turn turn(&taken_, kWhat);
    return Open().steps(LaneOf(lane).value_or(UINT32_MAX));
  }
  nb::object model() const { return model_; }
  nb::object take_model() { return std::exchange(model_, nb::none()); }
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
  // The lane of an int, nothing if there can be none of that number; throws TypeError for others.
  static std::optional<uint32_t> LaneOf(nb::handle given) {
    const nb::object number = IntOf(given);
    if (!number.is_valid()) {
      throw nb::type_error(
          (std::string("lane: expected an int, got ") + nb::type_name(given.type()).c_str())
              .c_str());
    }
    int overflow = 0;
    const int64_t lane = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow || lane < 0 || lane > UINT32_MAX) return std::nullopt;
    return static_cast<uint32_t>(lane);
  }
  uint32_t Attached(nb::handle given) {
    const std::optional<uint32_t> lane = LaneOf(given);
    if (!lane || !Open().attached(*lane)) ThrowLane(Text(given));
    return *lane;
  }
  [[noreturn]] static void ThrowLane(const std::string& got) {
    throw Error(Status::invalid_argument, "lane: expected one that is attached, got " + got);
  }
  // What a step refuses, by name.
  void CheckLanes(std::span<const uint8_t> mask, const View& in) {
    const int64_t vocabulary = formats::VocabSize(info_->config);
    for (uint32_t lane = 0; lane < mask.size(); ++lane) {
      if (!mask[lane]) continue;
      if (!Open().attached(lane)) ThrowLane(std::to_string(lane));
      if (!info_->tokens) continue;
      const size_t steps = in.tokens().size() / mask.size();
      for (const int64_t token : in.tokens().subspan(lane * steps, steps)) {
        if (token >= 0 && token < vocabulary) continue;
        throw Error(Status::invalid_argument, "x: expected token ids from 0 to " +
                                                  std::to_string(vocabulary - 1) + ", got " +
                                                  std::to_string(token));
      }
    }
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
One thread at a time. A context manager: its end is close().)",
                      nb::is_weak_referenceable(), nb::type_slots(kCycleSlots<PyLanes>))
      .def(nb::init<nb::object, nb::handle>(), nb::arg("model").none(), nb::arg("capacity").none(),
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
      .def("detach", &PyLanes::Detach, nb::arg("lane").none(),
           nb::sig("def detach(self, lane: int) -> None"),
           "Frees a lane; ArgumentError, here and below, for one that is not attached.")
      .def("reset", &PyLanes::Reset, nb::arg("lane").none(),
           nb::sig("def reset(self, lane: int) -> None"), "Back to a fresh stream.")
      .def("save", &PyLanes::Save, nb::arg("lane").none(),
           nb::sig("def save(self, lane: int) -> bytes"), "As Session.save.")
      .def("load", &PyLanes::Load, nb::arg("lane").none(), nb::arg("snapshot").none(),
           nb::arg("allow_other_weights") = false,
           nb::sig("def load(self, lane: int, snapshot: bytes | bytearray | memoryview, "
                   "allow_other_weights: bool = False) -> None"),
           "As Session.load.")
      .def("quality", &PyLanes::quality, nb::arg("lane").none(),
           nb::sig("def quality(self, lane: int) -> int"), "As Session.quality; 0 if not attached.")
      .def("steps", &PyLanes::steps, nb::arg("lane").none(),
           nb::sig("def steps(self, lane: int) -> int"), "As Session.steps; 0 if not attached.")
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
