#include "formats/pack.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "sdk/probe.h"

namespace xst::python {
namespace {

formats::DType DTypeOf(const std::string& name) {
  if (name == "f32") return formats::DType::f32;
  if (name == "i16") return formats::DType::i16;
  if (name == "bf16") return formats::DType::bf16;
  if (name == "i8") return formats::DType::i8;
  throw Error(Status::invalid_argument,
              "dtype: expected f32, i16, bf16, i8 or lossless, got '" + name + "'");
}

// Tokens are one axis of integers, samples two of floats.
formats::Array ProbeOf(nb::handle given) {
  formats::Array array;
  const nb::object probe = ArrayOf("probe", given);
  View view;
  array.is_f32 = nb::cast<int>(probe.attr("ndim")) != 1;
  if (array.is_f32) {
    view.Read("probe", probe, Element::f32, {kAny, kAny});
    array.shape = {static_cast<uint64_t>(view.axis(0)), static_cast<uint64_t>(view.axis(1))};
    array.f32.assign(view.floats().begin(), view.floats().end());
  } else {
    view.Read("probe", probe, Element::i64, {kAny});
    array.shape = {static_cast<uint64_t>(view.axis(0))};
    array.i64.assign(view.tokens().begin(), view.tokens().end());
  }
  return array;
}

// Ends a pack where everything has been checked and nothing is written yet.
class Stop : public formats::ProbeMaker {
 public:
  void Begin(const formats::ModelConfig&, formats::Probe*) override { throw *this; }
  void Finish(const std::string&, formats::Probe*) override {}
};

void Check(nb::handle source) {
  const std::string from = PathOf(source);
  const nb::gil_scoped_release released;
  Stop stop;
  formats::PackOptions options;
  options.probe = &stop;
  try {
    formats::PackModel(from, "", options);
  } catch (const Stop&) {
  }
}

formats::Remarks Pack(nb::handle source, nb::handle path, const std::string& dtype,
                      nb::handle config, nb::handle probe, nb::handle framework) {
  formats::PackOptions options;
  const bool lossless = dtype == "lossless";
  if (!lossless) options.dtype = DTypeOf(dtype);
  if (!config.is_none()) options.config = PathOf(config);
  std::optional<formats::Array> input;
  if (!probe.is_none()) input = ProbeOf(probe);
  std::vector<float> output;
  if (!framework.is_none()) {
    View view;
    view.Read("framework", framework, Element::f32, {kAny, kAny});
    output.assign(view.floats().begin(), view.floats().end());
  }
  const std::string from = PathOf(source), to = PathOf(path);
  const nb::gil_scoped_release released;
  if (lossless) options.dtype = formats::LosslessDType(from, options);
  return PackWithProbe(from, to, options, input ? &*input : nullptr, output);
}

}  // namespace

void BindPack(nb::module_& module) {
  module.def(
      "pack", &Pack, nb::arg("source"), nb::arg("path"), nb::arg("dtype") = "f32",
      nb::arg("config") = nb::none(), nb::arg("probe") = nb::none(),
      nb::arg("framework") = nb::none(),
      nb::sig("def pack(source: str | os.PathLike[str], path: str | os.PathLike[str], dtype: "
              "str = 'f32', config: str | os.PathLike[str] | None = None, probe: "
              "numpy.typing.ArrayLike | None = None, framework: numpy.typing.ArrayLike | None = "
              "None) -> list[str]"),
      R"(Packs a checkpoint, as `xst pack` does, and returns its remarks.

source: a .safetensors file or a folder that `xst pack` takes. config: another configuration file.
dtype: f32, i16, bf16, i8, or lossless (bf16 for a checkpoint of bf16 tensors, else f32).
probe: (T, input_width) float32 or (T,) int64; default 16 random steps, 2 of a large model.
framework: the training framework's output for it, (T, output_width). DataError names everything that
is missing, unused, mis-shaped or not finite; nothing is left at `path` then.)");
  module.def("check", &Check, nb::arg("source"),
             nb::sig("def check(source: str | os.PathLike[str]) -> None"),
             "Raises what pack() would raise for the configuration and tensors of a folder.");
  module.def(
      "unpack",
      [](nb::handle model, nb::handle path) {
        const std::string from = PathOf(model), to = PathOf(path);
        const nb::gil_scoped_release released;
        formats::UnpackModel(from, to);
      },
      nb::arg("model"), nb::arg("path"),
      nb::sig("def unpack(model: str | os.PathLike[str], path: str | os.PathLike[str]) -> None"),
      "Writes the stored weights as float32 safetensors under official names.");
}

}  // namespace xst::python
