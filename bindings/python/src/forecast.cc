#include "sdk/forecast.h"

#include <nanobind/stl/vector.h>

#include <utility>

#include "arrays.h"
#include "bindings.h"

namespace xst::python {
namespace {

class PyForecaster {
 public:
  explicit PyForecaster(nb::object model) {
    std::shared_ptr<const Model> opened = ModelOf(model).get();
    model_ = std::move(model);
    const nb::gil_scoped_release released;
    forecaster_.emplace(std::move(opened));
  }

  nb::object Forecast(nb::handle series, nb::handle horizon, nb::handle rollout, nb::handle out) {
    const Turn turn(&taken_, kWhat);
    Forecaster& forecaster = Open();
    const formats::ForecastConfig& packed = forecaster.config().forecast;
    const auto quantiles = static_cast<Py_ssize_t>(forecaster.quantiles());
    View in, result;
    if (series.is_none()) {
      if (!horizon.is_none() || !rollout.is_none()) {
        throw nb::value_error(
            "forecast: expected a series with horizon or rollout (pushed samples take the packed "
            "ones), got none");
      }
      nb::object returned = WriteOrMake(&result, out, {packed.horizon, quantiles});
      Status status;
      {
        const nb::gil_scoped_release released;
        status = forecaster.forecast(result.writable());
      }
      ThrowUnlessDone(status, kWhat);
      return returned;
    }
    in.Read("series", series, Element::f32, {kAny});
    const auto count = [](const char* name, nb::handle given, uint32_t otherwise) {
      return given.is_none() ? otherwise
                             : static_cast<uint32_t>(WholeNumber(name, given, 1, UINT32_MAX));
    };
    const uint32_t steps = count("horizon", horizon, packed.horizon);
    const uint32_t at_once = count("rollout", rollout, packed.rollout);
    nb::object returned = WriteOrMake(&result, out, {steps, quantiles});
    if (in.Overlaps(result)) in.Detach();
    Status status;
    {
      const nb::gil_scoped_release released;
      status = forecaster.forecast(in.floats(), steps, at_once, result.writable());
    }
    ThrowUnlessDone(status, kWhat);
    return returned;
  }

  void Push(float sample) {
    const Turn turn(&taken_, kWhat);
    Open().push(sample);
  }
  void Reset() {
    const Turn turn(&taken_, kWhat);
    Open().reset();
  }
  nb::object Save() {
    const Turn turn(&taken_, kWhat);
    Forecaster& forecaster = Open();
    Status status = Status::ok;
    nb::object bytes = MakeBytes(forecaster.snapshot_bytes(),
                                 [&](std::span<std::byte> to) { status = forecaster.save(to); });
    ThrowUnlessDone(status, "save");
    return bytes;
  }
  void Load(nb::handle snapshot, bool allow_other_weights) {
    const Turn turn(&taken_, kWhat);
    Forecaster& forecaster = Open();
    const ByteView view(snapshot);
    const nb::gil_scoped_release released;
    forecaster.load(view.bytes(), LoadOptions{allow_other_weights});
  }

  const formats::TirexConfig& config() { return Open().config(); }
  bool due() {
    const Turn turn(&taken_, kWhat);
    return Open().due();
  }
  uint64_t samples() {
    const Turn turn(&taken_, kWhat);
    return Open().samples();
  }
  nb::object model() const { return model_; }
  nb::object take_model() { return std::exchange(model_, nb::none()); }
  void Close() {
    const Turn turn(&taken_, kWhat);
    forecaster_.reset();
  }
  bool closed() const { return !forecaster_; }

 private:
  static constexpr char kWhat[] = "forecast";

  Forecaster& Open() {
    if (!forecaster_) ThrowClosed(kWhat);
    return *forecaster_;
  }

  nb::object model_;
  std::optional<Forecaster> forecaster_;
  std::atomic<bool> taken_ = false;
};

}  // namespace

void BindForecaster(nb::module_& module) {
  nb::class_<PyForecaster>(
      module, "Forecaster",
      R"(Quantile forecasts of a TiRex model: of a series, or of a live stream's last samples.

NaN, infinite and samples beyond 1e30 are missing. One thread at a time. ArgumentError for a model of
another family. A context manager: its end is close().)",
      nb::is_weak_referenceable(), nb::type_slots(kCycleSlots<PyForecaster>))
      .def(nb::init<nb::object>(), nb::arg("model").none(),
           nb::sig("def __init__(self, model: Model) -> None"))
      .def(
          "forecast", &PyForecaster::Forecast, nb::arg("series") = nb::none(),
          nb::arg("horizon") = nb::none(), nb::arg("rollout") = nb::none(),
          nb::arg("out") = nb::none(),
          nb::sig("def forecast(self, series: numpy.typing.ArrayLike | None = None, horizon: int "
                  "| None = None, rollout: int | None = None, out: "
                  "numpy.typing.NDArray[numpy.float32] | None = None) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          R"(Quantiles of the `horizon` samples behind `series` (T,) float32, or behind the samples pushed.
Returns (horizon, quantiles) float32, in the series' unit. horizon and rollout (patches from one
pass) default to the packed ones.)")
      .def("push", &PyForecaster::Push, nb::arg("sample"), "One sample of a live stream.")
      .def_prop_ro("due", &PyForecaster::due, "Whether the packed `every` says: forecast now.")
      .def_prop_ro("samples", &PyForecaster::samples, "Samples pushed since the last reset.")
      .def_prop_ro("quantiles", [](PyForecaster& f) { return f.config().quantiles; })
      .def_prop_ro(
          "patch", [](PyForecaster& f) { return f.config().patch; }, "samples of a patch")
      .def_prop_ro(
          "context", [](PyForecaster& f) { return f.config().context; }, "samples kept")
      .def_prop_ro("every", [](PyForecaster& f) { return f.config().forecast.every; })
      .def_prop_ro("horizon", [](PyForecaster& f) { return f.config().forecast.horizon; })
      .def_prop_ro("rollout", [](PyForecaster& f) { return f.config().forecast.rollout; })
      .def("reset", &PyForecaster::Reset, "Forgets the samples.")
      .def("save", &PyForecaster::Save, nb::sig("def save(self) -> bytes"),
           "The samples kept, as snapshot bytes.")
      .def("load", &PyForecaster::Load, nb::arg("snapshot").none(),
           nb::arg("allow_other_weights") = false,
           nb::sig("def load(self, snapshot: bytes | bytearray | memoryview, allow_other_weights: "
                   "bool = False) -> None"),
           "As Session.load.")
      .def_prop_ro("model", &PyForecaster::model, nb::sig("def model(self) -> Model"))
      .def("close", &PyForecaster::Close, "Frees the stream; any further call raises RuntimeError.")
      .def_prop_ro("closed", &PyForecaster::closed)
      .def(
          "__enter__", [](nb::object self) { return self; },
          nb::sig("def __enter__(self) -> Forecaster"))
      .def(
          "__exit__", [](PyForecaster& self, nb::args) { self.Close(); },
          nb::sig("def __exit__(self, *args: object) -> None"));
}

}  // namespace xst::python
