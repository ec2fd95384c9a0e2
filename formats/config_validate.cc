// What every resolved configuration must satisfy, whether it comes from YAML or from a model file:
// after this check no size overflows, no divisor is 0 and no index is out of range.
#include <algorithm>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "formats/text.h"
#include "formats/validator.h"

namespace xst::formats {
namespace {

constexpr size_t kMaxUnit = 64;

bool Mlstm(Validator& v, const BlockStackConfig& c) {
  const MlstmConfig& m = *c.mlstm;
  return v.Range("mlstm inner dimension", m.inner, 1, kMaxDim) &&
         v.Range("mlstm.num_heads", m.heads, 1, m.inner) &&
         v.Divides("mlstm.num_heads", m.heads, "the inner dimension", m.inner) &&
         v.Range("mlstm.conv1d_kernel_size", m.conv_kernel, 1, kMaxKernel) &&
         v.Range("mlstm effective q, k, v block size", m.qkv_block, 1, m.inner) &&
         v.Divides("mlstm effective q, k, v block size", m.qkv_block, "the inner dimension",
                   m.inner);
}

bool Slstm(Validator& v, const BlockStackConfig& c) {
  const SlstmConfig& s = *c.slstm;
  if (!v.Range("slstm.num_heads", s.heads, 1, c.embedding_dim) ||
      !v.Divides("slstm.num_heads", s.heads, "embedding_dim", c.embedding_dim) ||
      !v.Range("slstm.conv1d_kernel_size", s.conv_kernel, 0, kMaxKernel)) {
    return false;
  }
  return !s.feedforward ||
         (v.Range("feedforward inner dimension", s.feedforward->inner, 1, kMaxDim) &&
          v.Range("feedforward.act_fn", uint64_t(s.feedforward->act), 0,
                  uint64_t(Activation::selu)));
}

// Whether no name comes twice; sorts them.
bool Once(Validator& v, const char* what, std::vector<std::string>* names) {
  std::sort(names->begin(), names->end());
  const auto twice = std::adjacent_find(names->begin(), names->end());
  return twice == names->end() || v.Expect(false, (what + (' ' + Printable(*twice)) +
                                                   ": expected a name used once, got it twice")
                                                      .c_str());
}

bool Inputs(Validator& v, const StreamConfig& s) {
  if (!v.Range("stream.inputs: their number", s.inputs.size(), 1, kMaxChannels)) return false;
  std::vector<std::string> names;
  for (const StreamInput& in : s.inputs) {
    const std::string what = "stream.inputs " + Printable(in.name);
    if (!v.Expect(IsName(in.name),
                  "stream.inputs: expected names of 1 to 128 bytes without control characters, "
                  "commas and quotes, got another") ||
        !v.Expect(in.unit.size() <= kMaxUnit && IsUtf8(in.unit),
                  (what + ": expected a unit of at most 64 bytes, got a longer one").c_str()) ||
        !v.Finite(what + " mean", in.mean) || !v.Finite(what + " std", in.std) ||
        !v.Expect(
            in.std > 0,
            (what + " std: expected a positive number, got " + std::to_string(in.std)).c_str()) ||
        !v.Range("stream.inputs missing", uint64_t(in.missing), 0, uint64_t(Missing::zero))) {
      return false;
    }
    names.push_back(in.name);
  }
  return Once(v, "stream.inputs", &names);
}

// `of`, `residual` and `horizon` of one output against what it refers to.
bool References(Validator& v, const StreamConfig& s, const StreamOutput& out,
                const std::string& what) {
  const bool predicts = out.kind == OutputKind::value || out.kind == OutputKind::gaussian;
  if (out.kind == OutputKind::surprise) {
    return v.Expect(out.of >= 0 && size_t(out.of) < s.outputs.size() &&
                        s.outputs[out.of].kind == OutputKind::gaussian && s.outputs[out.of].of >= 0,
                    (what + " of: expected a gaussian output with `of`, got another").c_str());
  }
  if (!v.Expect(out.of >= -1 && (out.of == -1 || (predicts && size_t(out.of) < s.inputs.size())),
                (what + " of: expected an input, got another").c_str())) {
    return false;
  }
  return v.Expect(!out.residual || out.of >= 0,
                  (what + " residual: expected `of` with it, got none").c_str());
}

bool Outputs(Validator& v, const StreamConfig& s) {
  if (!s.head) {
    return v.Expect(s.outputs.empty(), "stream.outputs: expected none with head none, got some");
  }
  if (!v.Range("stream.outputs: their number", s.outputs.size(), 1, kMaxChannels)) return false;
  std::vector<std::string> names;
  for (const StreamOutput& out : s.outputs) {
    const bool several = out.kind == OutputKind::softmax;
    if (!v.Range("stream.outputs: kind", uint64_t(out.kind), 0, uint64_t(OutputKind::raw)) ||
        !v.Range("stream.outputs: names of one", out.names.size(), 1, several ? kMaxChannels : 1)) {
      return false;
    }
    const std::string what = "stream.outputs " + Printable(out.names[0]);
    for (const std::string& name : out.names) {
      if (!v.Expect(IsName(name),
                    "stream.outputs: expected names of 1 to 128 bytes without control "
                    "characters, commas and quotes, got another")) {
        return false;
      }
      names.push_back(name);
      if (out.kind == OutputKind::gaussian) names.push_back(name + ".sigma");
    }
    if (!v.Expect(out.unit.size() <= kMaxUnit && IsUtf8(out.unit),
                  (what + ": expected a unit of at most 64 bytes, got a longer one").c_str()) ||
        !v.Range((what + " horizon").c_str(), out.horizon, 1, kMaxHorizon) ||
        !References(v, s, out, what)) {
      return false;
    }
  }
  return Once(v, "stream.outputs", &names) &&
         v.Range("stream.outputs: values", names.size(), 1, kMaxChannels) &&
         v.Range("stream.outputs: rows of the head", s.HeadRows(), 1, 2 * kMaxChannels);
}

bool Stream(Validator& v, const StreamConfig& s, uint32_t embedding_dim) {
  return v.Finite("stream.rate_hz", s.rate_hz) &&
         v.Expect(s.rate_hz >= 0, "stream.rate_hz: expected 0 or more, got a negative number") &&
         Inputs(v, s) &&
         v.Expect(s.encoder || s.inputs.size() == embedding_dim,
                  ("stream.encoder none: expected embedding_dim " + std::to_string(embedding_dim) +
                   " inputs, got " + std::to_string(s.inputs.size()))
                      .c_str()) &&
         Outputs(v, s) && v.Finite("stream.gaps.max_s", s.gap_max_s) &&
         v.Expect(s.gap_max_s >= 0, "stream.gaps.max_s: expected 0 or more, got less") &&
         v.Range("stream.gaps.policy", uint64_t(s.gap_policy), 0, uint64_t(GapPolicy::skip)) &&
         v.Range("stream.gaps.then", uint64_t(s.gap_then), 0, uint64_t(GapThen::skip)) &&
         v.Expect(!s.encoder_bias || s.encoder, "stream: expected an encoder with its bias") &&
         v.Expect(!s.head_bias || s.head, "stream: expected a head with its bias");
}

Checked StateValues(const ModelConfig& config) {
  const BlockStackConfig& c = config.block_stack;
  Checked total = 0, mlstm = 0, slstm = 0;
  if (c.mlstm) {
    const uint64_t heads = c.mlstm->heads, dim = c.mlstm->inner / heads;
    const Checked row = Checked(dim).AlignUp(16);
    mlstm = row * (Checked(heads) * dim) + row * heads + heads +
            Checked(c.mlstm->inner).AlignUp(16) * (c.mlstm->conv_kernel - 1);
  }
  if (c.slstm) {
    const uint64_t entries = c.slstm->conv_kernel > 0 ? c.slstm->conv_kernel - 1 : 0;
    slstm = Checked(c.embedding_dim).AlignUp(16) * (entries + 4);
  }
  for (const uint8_t is_slstm : c.is_slstm) total = total + (is_slstm ? slstm : mlstm);
  if (config.stream) {
    for (const StreamOutput& out : config.stream->outputs) {
      if (out.kind == OutputKind::surprise) {
        total = total + Checked(2) * config.stream->outputs[out.of].horizon;
      }
    }
  }
  return total;
}

bool BlockStack(Validator& v, const ModelConfig& config) {
  const BlockStackConfig& c = config.block_stack;
  const bool lm = config.family == Family::lm;
  if (!v.Range("embedding_dim", c.embedding_dim, 1, kMaxDim) ||
      !v.Range("num_blocks", c.is_slstm.size(), 1, kMaxBlocks)) {
    return false;
  }
  bool any_mlstm = false, any_slstm = false;
  for (const uint8_t is_slstm : c.is_slstm) {
    if (!v.Range("block kind", is_slstm, 0, 1)) return false;
    (is_slstm ? any_slstm : any_mlstm) = true;
  }
  return v.Expect(c.mlstm.has_value() == any_mlstm,
                  "mlstm_block: expected exactly where a block is an mLSTM, got otherwise") &&
         v.Expect(c.slstm.has_value() == any_slstm,
                  "slstm_block: expected exactly where a block is an sLSTM, got otherwise") &&
         (!c.mlstm || Mlstm(v, c)) && (!c.slstm || Slstm(v, c)) &&
         (lm ? v.Range("vocab_size", c.vocab_size, 1, kMaxVocab)
             : v.Expect(c.vocab_size == 0 && !c.tie_weights,
                        "vocab_size: expected none in a block_stack, got one")) &&
         (!config.stream || Stream(v, *config.stream, c.embedding_dim));
}

bool OfFamily(Validator& v, const ModelConfig& config, Checked* state) {
  switch (config.family) {
    case Family::block_stack:
    case Family::lm:
      if (!BlockStack(v, config)) return false;
      *state = StateValues(config);
      return true;
    case Family::large:
      if (!ValidateLarge(v, config.large)) return false;
      *state = StateValues(config.large);
      return true;
    case Family::tirex:
      if (!ValidateTirex(v, config.tirex)) return false;
      *state = StateValues(config.tirex);
      return true;
  }
  return v.Expect(
      false, "model: expected block_stack, lm, large or tirex, got a family of another version");
}

}  // namespace

Status ValidateConfig(const ModelConfig& config, Fault* fault) {
  Validator v(fault);
  Checked state = 0;
  if (!v.Expect(config.family == Family::block_stack || !config.stream,
                "stream: expected it around a block_stack, got another family") ||
      !OfFamily(v, config, &state)) {
    return fault->status;
  }
  if (!state.FitsIn(kMaxStateValues)) {
    return fault->Set(Status::invalid_config,
                      "state of one stream: expected at most %llu values, got more",
                      static_cast<unsigned long long>(kMaxStateValues));
  }
  return Status::ok;
}

}  // namespace xst::formats
