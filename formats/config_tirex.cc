// TiRex: the hyper_parameters of its checkpoint, and when a daemon forecasts.
#include <algorithm>
#include <cmath>

#include "formats/config_parts.h"

namespace xst::formats {
namespace {

void ReadQuantiles(MapReader& map, std::vector<double>* out) {
  const YamlNode& list = map.Require("quantiles");
  if (list.kind != YamlNode::Kind::sequence || list.items.size() > kMaxQuantiles) {
    map.Fail(list, "quantiles", "a list of at most " + std::to_string(kMaxQuantiles) + " numbers",
             list.Describe());
  }
  for (const YamlNode& item : list.items) {
    double quantile = 0;
    if (!item.IsNumber(&quantile) || !(quantile > 0 && quantile < 1)) {
      map.Fail(item, "quantiles", "numbers between 0 and 1", item.Describe());
    }
    out->push_back(quantile);
  }
  if (std::find(out->begin(), out->end(), 0.5) == out->end()) {
    map.Fail(list, "quantiles", "0.5 among them", "none");
  }
}

void ReadBlocks(MapReader map, TirexConfig* c) {
  for (const char* key : {"num_blocks", "embedding_dim", "num_heads"}) map.Require(key);
  map.Integer("num_blocks", 1, kMaxBlocks, &c->num_blocks);
  map.Integer("embedding_dim", 1, kMaxDim, &c->embedding_dim);
  map.Integer("num_heads", 1, kMaxDim, &c->heads);
  if (c->embedding_dim % c->heads != 0) {
    map.Fail(*map.Take("num_heads"), "num_heads",
             "a divisor of embedding_dim " + std::to_string(c->embedding_dim),
             std::to_string(c->heads));
  }
  c->ffn = ReadRoundedUpWidth(map, "ffn_proj_factor", 2.6667, 64, c->embedding_dim);
  map.FinishLeniently();
}

void ReadModel(MapReader map, TirexConfig* c) {
  uint32_t output_patch = 0;
  map.Require("input_patch_size");
  map.Integer("input_patch_size", 1, kMaxPatch, &c->patch);
  map.Require("output_patch_size");
  map.Integer("output_patch_size", 1, kMaxPatch, &output_patch);
  if (output_patch != c->patch) {
    map.Fail(*map.Take("output_patch_size"), "output_patch_size",
             "input_patch_size " + std::to_string(c->patch), std::to_string(output_patch));
  }
  ReadQuantiles(map, &c->quantiles);
  map.Require("input_ff_dim");
  map.Integer("input_ff_dim", 1, kMaxDim, &c->patch_ffn);
  map.Require("block_kwargs");
  ReadBlocks(*map.Map("block_kwargs", false), c);
  map.FinishLeniently();
}

// One key under our name or the package's.
void Either(MapReader& map, const char* ours, const char* theirs, uint32_t high, uint32_t* value) {
  const bool has = map.Integer(ours, 1, high, value);
  const YamlNode* other = map.Take(theirs);
  if (has && other) map.Fail(*other, theirs, std::string("it or ") + ours, "both");
  map.Integer(theirs, 1, high, value);
}

}  // namespace

void ReadTirex(MapReader& map, ModelConfig* out) {
  out->family = Family::tirex;
  TirexConfig& c = out->tirex;
  map.Require("model_config");
  ReadModel(*map.Map("model_config", false), &c);
  const YamlNode& context = map.Require("train_ctx_len");
  map.Integer("train_ctx_len", 1, kMaxContext, &c.context);
  if (c.context % c.patch != 0) {
    map.Fail(context, "train_ctx_len", "a multiple of the patch size " + std::to_string(c.patch),
             context.Describe());
  }
  c.forecast = {c.patch, c.patch, 1};
  map.FinishLeniently();
}

void ReadForecast(MapReader& map, ForecastConfig* out) {
  map.Integer("every", 1, kMaxHorizon, &out->every);
  Either(map, "horizon", "prediction_length", kMaxHorizon, &out->horizon);
  Either(map, "rollout", "max_accelerated_rollout_steps", kMaxHorizon, &out->rollout);
  map.Finish();
}

}  // namespace xst::formats
