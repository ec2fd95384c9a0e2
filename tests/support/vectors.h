// Conformance cases as the tests use them: packed once a process, opened on any device or
// instruction set.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "sdk/session.h"

namespace xst::test {

struct Case {
  std::string name;  // "block_stack/readme_config"
  uint64_t steps = 0, columns = 1;
  size_t in_width = 0, out_width = 0;  // of one column
  bool tokens = false;
  std::vector<float> input;          // [steps][columns][in_width]
  std::vector<int64_t> token_input;  // [steps][columns]
  std::vector<float> expected, official,
      forward;           // [steps][columns][out_width]; forward may be empty
  double suggested = 0;  // tolerance that the case itself names

  // The rule of the vectors: 4 times the official float32 error, at least 2e-6 of the largest
  // output and what the case suggests.
  double Tolerance() const;
  double ForwardTolerance() const;  // also the official forward's own distance
};

// Names of every case below XST_TEST_DATA that a Session steps, sorted.
std::vector<std::string> CaseNames();
Case LoadCase(const std::string& name);

// The packed file of a case (made on first use, removed at exit).
std::string PackedCase(const std::string& name, formats::DType dtype = formats::DType::f32);
std::shared_ptr<const Model> OpenCase(const std::string& name, const std::string& isa = "",
                                      const std::string& device = "cpu",
                                      Arithmetic arithmetic = Arithmetic::automatic,
                                      bool resident = false,
                                      formats::DType dtype = formats::DType::f32);

// Whether this build has the CUDA backend and this machine a device for it; if not, why.
bool HasCuda(std::string* why);

// Packs `weights` [name -> values] with `config_yaml` and opens the model on `device`.
std::shared_ptr<const Model> OpenSmall(const std::string& config_yaml,
                                       const std::vector<formats::NamedTensor>& weights,
                                       const std::string& device = "cpu");

// The model of tirex/01_small with another `forecast:` section, "{every: 5, horizon: 16}".
std::shared_ptr<const Model> OpenTirex(const std::string& forecast,
                                       const std::string& device = "cpu");

// One column of a case through `session`, steps [begin, end): [end - begin][out_width].
std::vector<float> StepColumn(Session& session, const Case& c, uint64_t column, uint64_t begin,
                              uint64_t end);
// The same in one call of forward().
std::vector<float> ForwardColumn(Session& session, const Case& c, uint64_t column);

// max |got - want| of one column; infinite where only one is NaN.
double ColumnError(const Case& c, uint64_t column, const std::vector<float>& got,
                   const std::vector<float>& want);

}  // namespace xst::test
