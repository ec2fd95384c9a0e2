#include "arrays.h"
#include "bindings.h"
#include "sdk/generate.h"

namespace xst::python {
namespace {

class PySampler {
 public:
  PySampler(nb::handle vocabulary, double temperature, nb::handle top_k, double top_p,
            nb::handle seed)
      : vocabulary_(static_cast<Py_ssize_t>(WholeNumber("vocabulary", vocabulary, 1, UINT32_MAX))),
        sampler_(static_cast<uint32_t>(vocabulary_),
                 {temperature, WholeNumber("top_k", top_k, 0, UINT64_MAX), top_p,
                  WholeNumber("seed", seed, 0, UINT64_MAX)}) {}

  uint32_t Next(nb::handle logits) {
    const Turn turn(&taken_, "sampler");
    View in;
    in.Read("logits", logits, Element::f32, {vocabulary_});
    uint32_t token = 0;
    Status status;
    {
      const nb::gil_scoped_release released;
      status = sampler_.Next(in.floats(), &token);
    }
    if (status == Status::invalid_argument) {
      throw Error(status, "logits: expected finite values, got another");
    }
    ThrowUnlessDone(status, "sampler");
    return token;
  }

 private:
  Py_ssize_t vocabulary_;
  Sampler sampler_;
  std::atomic<bool> taken_ = false;
};

}  // namespace

void BindSampler(nb::module_& module) {
  nb::class_<PySampler>(module, "Sampler",
                        R"(Chooses the next token of a language model from its logits.

temperature 0 is greedy; then top_k (0: all), then top_p, then one draw, as Hugging Face's generate.
The same logits give the same tokens for a seed. ArgumentError for an option outside its range.)",
                        nb::is_weak_referenceable(), nb::type_slots(kWeakSlots))
      .def(nb::init<nb::handle, double, nb::handle, double, nb::handle>(),
           nb::arg("vocabulary").none(), nb::kw_only(), nb::arg("temperature") = 0.0,
           nb::arg("top_k").none() = 0, nb::arg("top_p") = 1.0, nb::arg("seed").none() = 0,
           nb::sig("def __init__(self, vocabulary: int, *, temperature: float = 0.0, top_k: int = "
                   "0, top_p: float = 1.0, seed: int = 0) -> None"))
      .def("next", &PySampler::Next, nb::arg("logits").none(),
           nb::sig("def next(self, logits: numpy.typing.ArrayLike) -> int"),
           "The next token id from logits (vocabulary,) float32.");
}

}  // namespace xst::python
