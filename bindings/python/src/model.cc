#include "sdk/model.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "sdk/names.h"

namespace xst::python {
namespace {

using Channels = std::vector<std::pair<std::string, std::string>>;

Channels Zip(const std::vector<std::string>& names, const std::vector<std::string>& units) {
  Channels channels;
  for (size_t i = 0; i < names.size(); ++i) channels.emplace_back(names[i], units[i]);
  return channels;
}

Arithmetic ArithmeticOf(const std::string& name) {
  if (name == "automatic") return Arithmetic::automatic;
  if (name == "single") return Arithmetic::single;
  if (name == "wide") return Arithmetic::wide;
  throw Error(Status::invalid_argument,
              "arithmetic: expected automatic, single or wide, got '" + name + "'");
}

std::shared_ptr<const Model> Open(nb::handle source, const std::string& device, nb::handle isa,
                                  const std::string& arithmetic, bool resident, bool bf16_forward,
                                  bool check_full) {
  Options options;
  Fault fault;
  if (Device::Parse(device, &options.device, &fault) != Status::ok) throw Error(fault);
  if (!isa.is_none()) {
    options.isa = nb::cast<std::string>(isa);
    if (options.device.kind != Device::Kind::cpu) {
      throw Error(Status::invalid_argument, "isa: expected a cpu device with it, got " + device);
    }
  }
  options.arithmetic = ArithmeticOf(arithmetic);
  options.resident = resident;
  options.bf16_forward = bf16_forward;
  options.check_full = check_full;
  if (PyObject_CheckBuffer(source.ptr())) {
    const ByteView memory(source);
    const nb::gil_scoped_release released;
    return Model::open(memory.bytes(), options);
  }
  const std::string path = PathOf(source);
  const nb::gil_scoped_release released;
  return Model::open(path, options);
}

ProbeResult Verify(const ModelHandle& handle) {
  const std::shared_ptr<const Model> model = handle.get();
  const nb::gil_scoped_release released;
  return model->verify();
}

std::string Repr(const ModelHandle& handle) {
  if (handle.closed()) return "<xlstm_stream.Model closed>";
  const ModelInfo& info = handle.get()->info();
  return std::string("<xlstm_stream.Model ") + Name(info.config.family) + " " + Name(info.dtype) +
         ", " + std::to_string(info.input_width) + " -> " + std::to_string(info.output_width) +
         ", " + std::to_string(info.parameters) + " parameters on " + info.device +
         (info.isa.empty() ? "" : " " + info.isa) + ">";
}

// A read-only property of an open model.
template <class Get>
void Property(nb::class_<ModelHandle>& type, const char* name, Get get, const char* doc) {
  type.def_prop_ro(
      name, [get](const ModelHandle& m) { return get(m.get()->info()); }, doc);
}

void BindProbe(nb::module_& module) {
  nb::class_<ProbeResult>(module, "ProbeResult", "What replaying a model's packed probe showed.")
      .def_ro("steps", &ProbeResult::steps, "steps of the probe")
      .def_ro("error", &ProbeResult::error,
              "largest difference from the float64 reference on the stored weights")
      .def_ro("error_full", &ProbeResult::error_full,
              "the same from the reference on the weights before they were rounded")
      .def_ro("error_framework", &ProbeResult::error_framework,
              "the same from the training framework's own output; NaN if the file has none")
      .def_ro("largest", &ProbeResult::largest, "largest output of the reference")
      .def_ro("bound", &ProbeResult::bound, "what `error` may be on this kind of device")
      .def_prop_ro("passed", &ProbeResult::pass, "error <= bound")
      .def("__repr__", [](const ProbeResult& r) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "<ProbeResult %s: error %.3g, bound %.3g, largest %.3g, %u steps>",
                      r.pass() ? "passed" : "failed", r.error, r.bound, r.largest, r.steps);
        return std::string(text);
      });
}

void BindProperties(nb::class_<ModelHandle>& type) {
  using Info = const ModelInfo&;
  const auto add = [&](const char* name, auto get, const char* doc) {
    Property(type, name, get, doc);
  };
  add(
      "family", [](Info i) { return std::string(Name(i.config.family)); },
      "block_stack, lm, large or tirex");
  add(
      "dtype", [](Info i) { return std::string(Name(i.dtype)); },
      "type of the stored weights: f32, i16, bf16 or i8");
  add(
      "tokens", [](Info i) { return i.tokens; }, "whether a step takes a token id");
  add(
      "vocabulary", [](Info i) { return formats::VocabSize(i.config); },
      "token ids that a step takes, 0 for a model of samples");
  add(
      "input_width", [](Info i) { return i.input_width; }, "values a step takes");
  add(
      "output_width", [](Info i) { return i.output_width; }, "values a step gives");
  add(
      "inputs", [](Info i) { return Zip(i.input_names, i.input_units); },
      "(name, unit) of each input channel; empty without a `stream:` section");
  add(
      "outputs", [](Info i) { return Zip(i.output_names, i.output_units); },
      "(name, unit) of each output value; empty without a `stream:` section");
  add(
      "input_names", [](Info i) { return i.input_names; }, "names of `inputs`");
  add(
      "input_units", [](Info i) { return i.input_units; }, "units of `inputs`");
  add(
      "output_names", [](Info i) { return i.output_names; }, "names of `outputs`");
  add(
      "output_units", [](Info i) { return i.output_units; }, "units of `outputs`");
  add(
      "rate_hz", [](Info i) { return i.rate_hz; }, "samples a second, 0 without a clock");
  add(
      "parameters", [](Info i) { return i.parameters; }, "number of weights");
  add(
      "flops", [](Info i) { return i.flops; }, "floating point operations of a step");
  add(
      "weight_bytes", [](Info i) { return i.weight_bytes; }, "bytes of weights a step reads");
  add(
      "state_bytes", [](Info i) { return i.state_bytes; }, "bytes of state of one stream");
  add(
      "session_bytes", [](Info i) { return i.session_bytes; }, "bytes of memory of a Session");
  add(
      "snapshot_bytes", [](Info i) { return i.snapshot_bytes; }, "bytes that save() gives");
  add(
      "file_bytes", [](Info i) { return i.file_bytes; }, "bytes of the model file");
  add(
      "probe_steps", [](Info i) { return i.probe_steps; }, "steps of the packed probe, or 0");
  add(
      "arch_hash", [](Info i) { return i.arch_hash; }, "of the configuration, hexadecimal");
  add(
      "source_hash", [](Info i) { return i.source_hash; }, "of the weights before rounding");
  add(
      "file_hash", [](Info i) { return i.file_hash; }, "of this very file");
  add(
      "config_yaml", [](Info i) { return i.config_yaml; }, "the configuration it was packed from");
  add(
      "packer", [](Info i) { return i.packer; }, "what packed it");
  add(
      "source", [](Info i) { return i.source; }, "what it was packed from");
  add(
      "device", [](Info i) { return i.device; }, "where it is computed");
  add(
      "isa", [](Info i) { return i.isa; }, "CPU instruction set, empty elsewhere");
  add(
      "arithmetic", [](Info i) { return i.arithmetic; }, "what sums are made in");
}

}  // namespace

const ModelHandle& ModelOf(nb::handle object) {
  if (!nb::isinstance<ModelHandle>(object)) {
    throw nb::type_error(
        (std::string("model: expected a Model, got ") + nb::type_name(object.type()).c_str())
            .c_str());
  }
  return nb::cast<const ModelHandle&>(object);
}

std::string PathOf(nb::handle path) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) nb::raise_python_error();
  std::string text(PyBytes_AS_STRING(bytes), static_cast<size_t>(PyBytes_GET_SIZE(bytes)));
  Py_DECREF(bytes);
  return text;
}

void BindModel(nb::module_& module) {
  BindProbe(module);
  nb::class_<ModelHandle> model(
      module, "Model",
      R"(A model file, open: weights shared by any number of streams, in any number of threads.

path_or_bytes: a .xst file, or its content. device: cpu, cpu:N (threads), cuda:K or reference
(double precision, slow). isa: scalar, avx2, avx512 or neon (default: the best here).
arithmetic: automatic, single or wide. resident, bf16_forward: see Options in sdk/model.h.
check_full: verify every weight of a file of 64 MiB and more too.
Raises DataError for a bad file, MachineError where device or instruction set are missing.
A context manager: its end is close().)",
      nb::is_weak_referenceable(), nb::type_slots(kWeakSlots));
  model.def(
      "__init__",
      [](ModelHandle* self, nb::object source, const std::string& device, nb::object isa,
         const std::string& arithmetic, bool resident, bool bf16_forward, bool check_full) {
        new (self)
            ModelHandle(Open(source, device, isa, arithmetic, resident, bf16_forward, check_full));
      },
      nb::arg("path_or_bytes"), nb::arg("device") = "cpu", nb::arg("isa") = nb::none(),
      nb::kw_only(), nb::arg("arithmetic") = "automatic", nb::arg("resident") = false,
      nb::arg("bf16_forward") = false, nb::arg("check_full") = false,
      nb::sig("def __init__(self, path_or_bytes: str | os.PathLike[str] | bytes | bytearray | "
              "memoryview, device: str = 'cpu', isa: str | None = None, *, arithmetic: str = "
              "'automatic', resident: bool = False, bf16_forward: bool = False, check_full: bool = "
              "False) -> None"));
  BindProperties(model);
  model
      .def("verify", &Verify,
           "Replays the packed probe in a fresh stream; DataError if the file has none.")
      .def("close", &ModelHandle::close,
           "Lets go of the model. Streams of it go on; anything else raises RuntimeError.")
      .def_prop_ro("closed", &ModelHandle::closed)
      .def(
          "__enter__", [](nb::object self) { return self; },
          nb::sig("def __enter__(self) -> Model"))
      .def(
          "__exit__", [](ModelHandle& self, nb::args) { self.close(); },
          nb::sig("def __exit__(self, *args: object) -> None"))
      .def("__repr__", &Repr);
  module.def("available_isas", &AvailableIsas,
             "Instruction sets that this CPU and build have, best first.");
}

}  // namespace xst::python
