#include "formats/model_decode.h"

#include <algorithm>
#include <cmath>

#include "formats/text.h"

namespace xst::formats {
namespace {

constexpr size_t kMaxText = 128, kMaxSource = 4096, kMaxYaml = size_t{1} << 20;

using FloatVector = flatbuffers::Vector<float>;

// Copies a text of bounded length; absent is empty.
Status Text(const char* what, const flatbuffers::String* from, size_t limit, std::string* out,
            Fault* fault) {
  out->clear();
  if (!from) return Status::ok;
  const std::string_view text(from->c_str(), from->size());
  if (text.size() > limit || !IsUtf8(text)) {
    return fault->Set(Status::corrupt,
                      "directory: expected at most %zu bytes of UTF-8 as %s, got others", limit,
                      what);
  }
  out->assign(text);
  return Status::ok;
}

Status NoTable(const char* what, Fault* fault) {
  return fault->Set(Status::corrupt, "directory: expected a %s table, got none", what);
}

Status TooMany(const char* what, uint64_t limit, Fault* fault) {
  return fault->Set(Status::corrupt, "directory: expected at most %llu %s, got more",
                    static_cast<unsigned long long>(limit), what);
}

// Every block has tensors: what follows is bounded by the directory's own size.
Status CheckBlocks(uint64_t blocks, uint64_t tensors, Fault* fault) {
  if (blocks <= std::min<uint64_t>(kMaxBlocks, tensors)) return Status::ok;
  return fault->Set(Status::corrupt, "directory: expected blocks, fewer than tensors, got others");
}

Status DecodeLarge(const fb::Large& from, uint64_t tensors, LargeConfig* out, Fault* fault) {
  out->embedding_dim = from.embedding_dim();
  out->heads = from.heads();
  out->num_blocks = from.num_blocks();
  out->vocab_size = from.vocab_size();
  out->qk = from.qk();
  out->value = from.value();
  out->ffn = from.ffn();
  out->bias = from.bias();
  out->out_norm = from.out_norm();
  out->tie_weights = from.tie_weights();
  out->fused = from.fused();
  out->norm_eps = from.norm_eps();
  out->eps = from.eps();
  out->gate_cap = from.gate_cap();
  out->logit_cap = from.logit_cap();
  return CheckBlocks(out->num_blocks, tensors, fault);
}

Status DecodeTirex(const fb::Tirex& from, uint64_t tensors, TirexConfig* out, Fault* fault) {
  out->patch = from.patch();
  out->context = from.context();
  out->embedding_dim = from.embedding_dim();
  out->heads = from.heads();
  out->num_blocks = from.num_blocks();
  out->ffn = from.ffn();
  out->patch_ffn = from.patch_ffn();
  out->forecast = {from.every(), from.horizon(), from.rollout()};
  if (!from.quantiles()) return NoTable("quantiles", fault);
  if (from.quantiles()->size() > kMaxQuantiles) return TooMany("quantiles", kMaxQuantiles, fault);
  out->quantiles.assign(from.quantiles()->begin(), from.quantiles()->end());
  return CheckBlocks(out->num_blocks, tensors, fault);
}

Status DecodeBlockStack(const fb::BlockStack& from, uint64_t tensors, BlockStackConfig* out,
                        Fault* fault) {
  out->embedding_dim = from.embedding_dim();
  out->post_blocks_norm = from.post_blocks_norm();
  out->bias = from.bias();
  out->vocab_size = from.vocab_size();
  out->tie_weights = from.tie_weights();
  const auto* blocks = from.is_slstm();
  if (!blocks) return NoTable("blocks", fault);
  if (const Status s = CheckBlocks(blocks->size(), tensors, fault); s != Status::ok) return s;
  out->is_slstm.assign(blocks->begin(), blocks->end());
  out->mlstm.reset();
  if (const auto* m = from.mlstm()) {
    out->mlstm = {m->heads(), m->conv_kernel(), m->inner(), m->qkv_block()};
  }
  out->slstm.reset();
  if (const auto* s = from.slstm()) {
    SlstmConfig slstm{s->heads(), s->conv_kernel(), s->group_norm_weight(), s->lstm(), {}};
    if (const auto* f = s->feedforward()) {
      slstm.feedforward = {f->inner(), static_cast<Activation>(f->act()), f->bias()};
    }
    out->slstm = slstm;
  }
  return Status::ok;
}

Status DecodeInputs(const fb::Stream& from, StreamConfig* out, Fault* fault) {
  if (!from.inputs()) return NoTable("stream inputs", fault);
  if (from.inputs()->size() > kMaxChannels) return TooMany("inputs", kMaxChannels, fault);
  out->inputs.reserve(from.inputs()->size());
  for (const auto* in : *from.inputs()) {
    StreamInput input;
    if (Text("an input's name", in->name(), kMaxText, &input.name, fault) != Status::ok ||
        Text("an input's unit", in->unit(), kMaxText, &input.unit, fault) != Status::ok) {
      return fault->status;
    }
    input.mean = in->mean();
    input.std = in->std();
    input.missing = static_cast<Missing>(in->missing());
    out->inputs.push_back(std::move(input));
  }
  return Status::ok;
}

Status DecodeOutputs(const fb::Stream& from, StreamConfig* out, Fault* fault) {
  if (!from.outputs()) return Status::ok;
  if (from.outputs()->size() > kMaxChannels) return TooMany("outputs", kMaxChannels, fault);
  out->outputs.reserve(from.outputs()->size());
  size_t names = 0;
  for (const auto* o : *from.outputs()) {
    StreamOutput output;
    output.kind = static_cast<OutputKind>(o->kind());
    if (!o->names()) return NoTable("names of an output", fault);
    names += o->names()->size();
    if (names > kMaxChannels) return TooMany("names of outputs", kMaxChannels, fault);
    output.names.reserve(o->names()->size());
    for (const auto* name : *o->names()) {
      if (Text("an output's name", name, kMaxText, &output.names.emplace_back(), fault) !=
          Status::ok) {
        return fault->status;
      }
    }
    if (Text("an output's unit", o->unit(), kMaxText, &output.unit, fault) != Status::ok) {
      return fault->status;
    }
    output.horizon = o->horizon();
    output.of = o->of();
    output.residual = o->residual();
    out->outputs.push_back(std::move(output));
  }
  return Status::ok;
}

Status DecodeStream(const fb::Stream& from, StreamConfig* out, Fault* fault) {
  out->rate_hz = from.rate_hz();
  out->encoder = from.encoder();
  out->encoder_bias = from.encoder_bias();
  out->head = from.head();
  out->head_bias = from.head_bias();
  out->gap_policy = static_cast<GapPolicy>(from.gap_policy());
  out->gap_max_s = from.gap_max_s();
  out->gap_then = static_cast<GapThen>(from.gap_then());
  out->warmup = from.warmup();
  const Status s = DecodeInputs(from, out, fault);
  return s == Status::ok ? DecodeOutputs(from, out, fault) : s;
}

// Whether a model may be given this input value.
bool ProbeInputOk(const ModelConfig& config, float value) {
  if (const uint32_t vocabulary = VocabSize(config)) {
    return value >= 0 && value < static_cast<float>(vocabulary) && value == std::floor(value);
  }
  return config.stream || std::isfinite(value);
}

}  // namespace

Status DecodeConfig(const fb::Directory& from, ModelConfig* config, Fault* fault) {
  config->family = static_cast<Family>(from.family());
  const uint64_t tensors = from.tensors() ? from.tensors()->size() : 0;
  Status s = Status::ok;
  if (config->family == Family::large) {
    if (!from.large()) return NoTable("large", fault);
    s = DecodeLarge(*from.large(), tensors, &config->large, fault);
  } else if (config->family == Family::tirex) {
    if (!from.tirex()) return NoTable("tirex", fault);
    s = DecodeTirex(*from.tirex(), tensors, &config->tirex, fault);
  } else {
    if (!from.block_stack()) return NoTable("block_stack", fault);
    s = DecodeBlockStack(*from.block_stack(), tensors, &config->block_stack, fault);
  }
  if (s != Status::ok || !from.stream()) return s;
  return DecodeStream(*from.stream(), &config->stream.emplace(), fault);
}

Status DecodeProvenance(const fb::Directory& from, Directory* out, Fault* fault) {
  const fb::Provenance* p = from.provenance();
  if (!p) return NoTable("provenance", fault);
  if (Text("packer", p->packer(), kMaxText, &out->packer, fault) != Status::ok ||
      Text("source", p->source(), kMaxSource, &out->source, fault) != Status::ok ||
      Text("config_yaml", p->config_yaml(), kMaxYaml, &out->config_yaml, fault) != Status::ok) {
    return fault->status;
  }
  if (!from.arch_hash() || !from.source_hash()) return NoTable("hash", fault);
  out->arch_hash = {from.arch_hash()->low(), from.arch_hash()->high()};
  out->source_hash = {from.source_hash()->low(), from.source_hash()->high()};
  return Status::ok;
}

Status DecodeProbe(const fb::Directory& from, const ModelConfig& config, Probe* probe,
                   Fault* fault) {
  *probe = {};
  const fb::Probe* p = from.probe();
  if (!p) return Status::ok;
  if (p->steps() == 0 || p->steps() > kMaxProbeSteps) {
    return fault->Set(Status::corrupt, "probe: expected 1 to %u steps, got %u", kMaxProbeSteps,
                      p->steps());
  }
  const uint64_t inputs = uint64_t{p->steps()} * InputWidth(config);
  const uint64_t outputs = uint64_t{p->steps()} * OutputWidth(config);
  const auto take = [&](const char* what, const FloatVector* values, uint64_t size, bool optional,
                        [[maybe_unused]] std::vector<float>* out) {
    const uint64_t have = values ? values->size() : 0;
    if (optional && have == 0) return true;
    if (have != size) {
      fault->Set(Status::corrupt, "probe %s: expected %llu values, got %llu", what,
                 static_cast<unsigned long long>(size), static_cast<unsigned long long>(have));
      return false;
    }
#ifndef XST_MINIMAL  // which replays no probe
    out->assign(values->begin(), values->end());
#endif
    return true;
  };
  if (!take("input", p->input(), inputs, false, &probe->input) ||
      !take("expected", p->expected(), outputs, false, &probe->expected) ||
      !take("expected_stored", p->expected_stored(), outputs, false, &probe->expected_stored) ||
      !take("framework", p->framework(), outputs, true, &probe->framework)) {
    return fault->status;
  }
  for (const float value : *p->input()) {
    if (!ProbeInputOk(config, value)) {
      return fault->Set(Status::corrupt, "probe input: expected what the model takes, got %g",
                        double{value});
    }
  }
  for (const float bound : {p->bound_cpu(), p->bound_cuda()}) {
    if (!std::isfinite(bound) || bound < 0) {
      return fault->Set(Status::corrupt, "probe bound: expected a finite number, 0 or more, got %g",
                        double{bound});
    }
  }
  probe->bound_cpu = p->bound_cpu();
  probe->bound_cuda = p->bound_cuda();
  probe->steps = p->steps();
  return Status::ok;
}

}  // namespace xst::formats
