#include "sdk/session.h"

#include <nanobind/stl/string.h>

#include <utility>

#include "arrays.h"
#include "bindings.h"

namespace xst::python {
namespace {

class PySession {
 public:
  explicit PySession(nb::object model)
      : model_(std::move(model)), info_(&handle().get()->info()), session_(Create()) {}
  PySession(nb::object model, Session session)
      : model_(std::move(model)), info_(&session.model()->info()), session_(std::move(session)) {}

  nb::object Step(nb::handle x, nb::handle out) {
    const Turn turn(&taken_, kWhat);
    Session& session = Open();
    View in, result;
    if (info_->tokens) return StepToken(session, x, out);
    in.Read("x", x, Element::f32, {info_->input_width});
    nb::object returned = WriteOrMake(&result, out, {info_->output_width});
    if (in.Overlaps(result)) in.Detach();
    Status status;
    {
      const nb::gil_scoped_release released;
      status = session.step(in.floats(), result.writable());
    }
    ThrowUnlessDone(status, "step");
    return returned;
  }

  nb::object Forward(nb::handle x, nb::handle out, bool last) {
    const Turn turn(&taken_, kWhat);
    Session& session = Open();
    if (info_->tokens) return ForwardTokens(session, x, out, last);
    if (last) {
      throw Error(Status::invalid_argument,
                  "last: expected a model of tokens with it, got one of samples");
    }
    View in, result;
    in.Read("x", x, Element::f32, {kAny, info_->input_width});
    nb::object returned = WriteOrMake(&result, out, {in.axis(0), info_->output_width});
    if (in.Overlaps(result)) in.Detach();
    Status status;
    {
      const nb::gil_scoped_release released;
      status = session.forward(in.floats(), result.writable());
    }
    ThrowUnlessDone(status, "forward");
    return returned;
  }

  uint32_t quality() {
    const Turn turn(&taken_, kWhat);
    return Open().quality();
  }
  uint64_t steps() {
    const Turn turn(&taken_, kWhat);
    return Open().steps();
  }

  void Reset() {
    const Turn turn(&taken_, kWhat);
    Open().reset();
  }

  nb::object Save() {
    const Turn turn(&taken_, kWhat);
    Session& session = Open();
    Status status = Status::ok;
    nb::object bytes = MakeBytes(info_->snapshot_bytes,
                                 [&](std::span<std::byte> to) { status = session.save(to); });
    ThrowUnlessDone(status, "save");
    return bytes;
  }

  void Load(nb::handle snapshot, bool allow_other_weights) {
    const Turn turn(&taken_, kWhat);
    Session& session = Open();
    const ByteView view(snapshot);
    const nb::gil_scoped_release released;
    session.load(view.bytes(), LoadOptions{allow_other_weights});
  }

  PySession* Clone() {
    const Turn turn(&taken_, kWhat);
    Session& session = Open();
    std::optional<Session> copy;
    {
      const nb::gil_scoped_release released;
      copy.emplace(session.clone());
    }
    return new PySession(model_, std::move(*copy));
  }

  void Close() {
    const Turn turn(&taken_, kWhat);
    session_.reset();
  }
  bool closed() const { return !session_; }
  nb::object model() const { return model_; }
  nb::object take_model() { return std::exchange(model_, nb::none()); }

 private:
  static constexpr char kWhat[] = "session";

  const ModelHandle& handle() const { return ModelOf(model_); }

  std::optional<Session> Create() const {
    std::shared_ptr<const Model> model = handle().get();
    const nb::gil_scoped_release released;
    return std::optional<Session>(std::in_place, std::move(model));
  }

  Session& Open() {
    if (!session_) ThrowClosed(kWhat);
    return *session_;
  }

  nb::object StepToken(Session& session, nb::handle x, nb::handle out) const {
    int64_t token = 0;
    if (PyLong_CheckExact(x.ptr())) {
      int overflow = 0;
      token = PyLong_AsLongLongAndOverflow(x.ptr(), &overflow);
      if (overflow) ThrowToken(Text(x));
    } else {
      View in;
      in.Read("x", x, Element::i64, {});
      token = in.tokens()[0];
    }
    View result;
    nb::object returned = WriteOrMake(&result, out, {info_->output_width});
    CheckToken(token);
    Status status;
    {
      const nb::gil_scoped_release released;
      status = session.step(token, result.writable());
    }
    ThrowUnlessDone(status, "step");
    return returned;
  }

  nb::object ForwardTokens(Session& session, nb::handle x, nb::handle out, bool last) const {
    View in, result;
    in.Read("x", x, Element::i64, {kAny});
    nb::object returned;
    if (!last) {
      returned = WriteOrMake(&result, out, {in.axis(0), info_->output_width});
    } else if (in.axis(0) > 0) {
      returned = WriteOrMake(&result, out, {info_->output_width});
    } else {
      throw nb::value_error("x: expected at least one token with last, got none");
    }
    for (const int64_t token : in.tokens()) CheckToken(token);
    Status status;
    {
      const nb::gil_scoped_release released;
      status = session.forward(in.tokens(), result.writable());
    }
    ThrowUnlessDone(status, "forward");
    return returned;
  }

  void CheckToken(int64_t token) const {
    const uint32_t vocabulary = formats::VocabSize(info_->config);
    if (token < 0 || token >= vocabulary) ThrowToken(std::to_string(token));
  }
  [[noreturn]] void ThrowToken(const std::string& got) const {
    const uint32_t vocabulary = formats::VocabSize(info_->config);
    throw Error(Status::invalid_argument, "x: expected token ids from 0 to " +
                                              std::to_string(vocabulary - 1) + ", got " + got);
  }

  nb::object model_;
  const ModelInfo* info_;  // of the model that session_ keeps
  std::optional<Session> session_;
  std::atomic<bool> taken_ = false;
};

}  // namespace

void BindSession(nb::module_& module) {
  nb::class_<PySession>(module, "Session", R"(One stream of a model: its state and its step.

One thread at a time: a call while another thread's runs raises RuntimeError. Different sessions of
one model may run in different threads; step and forward release the GIL. Raises MachineError where
memory or the device are missing. A context manager: its end is close().)",
                        nb::is_weak_referenceable(), nb::type_slots(kCycleSlots<PySession>))
      .def(nb::init<nb::object>(), nb::arg("model").none(),
           nb::sig("def __init__(self, model: Model) -> None"))
      .def(
          "step", &PySession::Step, nb::arg("x").none(), nb::arg("out") = nb::none(),
          nb::sig("def step(self, x: numpy.typing.ArrayLike, out: "
                  "numpy.typing.NDArray[numpy.float32] | None = None) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          R"(One step. x: (input_width,) float32, in raw units for a model with a `stream:` section, NaN
where a value is missing; or a token id. Returns (output_width,) float32: `out`, or a new array.

A C-contiguous float32 x is read in place, other real numbers are converted. `out` must be writable,
C-contiguous float32. TypeError and ValueError say what was expected and what was given; the state
is then as before. A value that is not finite or beyond 1e30 is replaced, and `quality` says so.)")
      .def(
          "forward", &PySession::Forward, nb::arg("x").none(), nb::arg("out") = nb::none(),
          nb::kw_only(), nb::arg("last") = false,
          nb::sig("def forward(self, x: numpy.typing.ArrayLike, out: "
                  "numpy.typing.NDArray[numpy.float32] | None = None, *, last: bool = False) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          R"(T steps. x: (T, input_width) float32, or (T,) int64 token ids. Returns (T, output_width)
float32, the same outputs and final state as T calls of step(), within rounding. last: only the
last step's logits, (output_width,). Arrays as in step(). On a GPU one launch does many steps.)")
      .def("reset", &PySession::Reset, "Back to a fresh stream.")
      .def("save", &PySession::Save, nb::sig("def save(self) -> bytes"),
           "The state as snapshot bytes, the same on every device; model.snapshot_bytes of them.")
      .def("load", &PySession::Load, nb::arg("snapshot").none(),
           nb::arg("allow_other_weights") = false,
           nb::sig("def load(self, snapshot: bytes | bytearray | memoryview, allow_other_weights: "
                   "bool = False) -> None"),
           "Goes on from a snapshot. DataError, with the state as before, for bytes that are none "
           "or of another architecture; of other weights unless allow_other_weights.")
      .def("clone", &PySession::Clone, nb::rv_policy::take_ownership,
           nb::sig("def clone(self) -> Session"), "A second stream in the same state.")
      .def_prop_ro("quality", &PySession::quality,
                   "Bits of the last output: Quality.held, .warming, .reset.")
      .def_prop_ro("steps", &PySession::steps, "Steps since the last reset.")
      .def_prop_ro("model", &PySession::model, nb::sig("def model(self) -> Model"))
      .def("close", &PySession::Close, "Frees the stream; any further call raises RuntimeError.")
      .def_prop_ro("closed", &PySession::closed)
      .def(
          "__enter__", [](nb::object self) { return self; },
          nb::sig("def __enter__(self) -> Session"))
      .def(
          "__exit__", [](PySession& self, nb::args) { self.Close(); },
          nb::sig("def __exit__(self, *args: object) -> None"));
}

}  // namespace xst::python
