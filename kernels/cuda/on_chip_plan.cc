// Which stacks the chip can hold, and by how many CTAs.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/on_chip.h"

namespace xst::kernels::cuda {
namespace {

// Collects the shape of a stack; the blocks of a kind must be alike.
class ShapeBuilder {
 public:
  explicit ShapeBuilder(OnChipPlan* plan) : plan_(*plan), s_(plan->shape) {}

  bool Take(const Stack& stack) {
    if (stack.blocks.size() > kOnChipMaxBlocks) return Refuse("more than 64 blocks");
    s_.width = stack.width;
    s_.input_width = stack.input_width;
    s_.output_width = stack.output_width;
    s_.blocks = static_cast<uint32_t>(stack.blocks.size());
    s_.embed = stack.embed.has_value();
    s_.encoder = stack.encoder.has_value();
    s_.post_norm = stack.post_norm.has_value();
    s_.head = stack.head.has_value();
    if (!s_.embed && !s_.encoder && s_.input_width != s_.width) return Refuse("the input's width");
    if (!s_.head && s_.output_width != s_.width) return Refuse("the output's width");
    for (size_t i = 0; i < stack.blocks.size(); ++i) {
      const bool ok = std::visit([&](const auto& b) { return Add(b, i); }, stack.blocks[i]);
      if (!ok) return false;
    }
    if (stack.encoder) {
      s_.encoder_bias = stack.encoder->bias;
      Use(stack.encoder->w);
    }
    if (stack.post_norm) {
      if (!Plain(*stack.post_norm)) return Refuse("the post norm's kind");
      s_.post_eps = stack.post_norm->eps;
    }
    if (stack.head) {
      s_.head_bias = stack.head->bias;
      Use(stack.head->w);
    }
    plan_.weights = mixed_ || plan_.wide ? DType::f32 : type_.value_or(DType::f32);
    return true;
  }
  const std::string& why() const { return why_; }

 private:
  bool Refuse(const char* what) {
    why_ = std::string("not on the chip: ") + what;
    return false;
  }
  static bool Plain(const Norm& n) { return n.center && n.weight && !n.bias; }
  void Use(const Matrix& m) {
    if (type_ && *type_ != m.dtype) mixed_ = true;
    type_ = m.dtype;
  }
  // The first block of a kind sets a value, the others must have the same.
  template <class T, class U>
  void Same(T* to, const U& v, bool first) {
    if (first) *to = static_cast<T>(v);
    alike_ = alike_ && *to == static_cast<T>(v);
  }

  bool Add(const MlstmBlock& b, size_t i) {
    const bool first = !any_mlstm_;
    any_mlstm_ = true;
    const MlstmCell& c = b.cell;
    if (!Plain(b.norm) || c.gate_cap > 0 || !c.scale_key || c.dk != c.dv || b.out.sigmoid ||
        b.out.bias || !b.out.weight) {
      return Refuse("an mLSTM block of another kind");
    }
    if (!b.q.bias != !b.k.bias || !b.q.bias != !b.v.bias) return Refuse("biases of q, k and v");
    Same(&s_.inner, c.heads * c.dk, first);
    Same(&s_.heads, c.heads, first);
    Same(&s_.dim, c.dk, first);
    Same(&s_.block, b.q.w.cols, first);
    Same(&s_.block, b.k.w.cols, false);
    Same(&s_.block, b.v.w.cols, false);
    Same(&s_.kernel, b.conv ? b.conv->kernel : 0, first);
    Same(&s_.up_bias, b.up.bias != nullptr, first);
    Same(&s_.qkv_bias, b.q.bias != nullptr, first);
    Same(&s_.down_bias, b.down.bias != nullptr, first);
    Same(&s_.norm_eps, b.norm.eps, first);
    Same(&s_.cell_eps, c.eps, first);
    Same(&s_.head_eps, b.out.eps, first);
    Same(&plan_.stride_c, c.stride_c, first);
    Same(&plan_.stride_n, c.stride_n, first);
    Same(&plan_.stride_history, b.conv ? b.conv->stride : 0, first);
    Use(b.up.w);
    Use(b.down.w);
    plan_.slots[i] = {c.c, c.n, c.m, 0, b.conv ? b.conv->history : 0};
    return alike_ || Refuse("mLSTM blocks that differ");
  }

  bool Add(const SlstmBlock& b, size_t i) {
    const bool first = s_.slstm == 0;
    s_.slstm |= uint64_t{1} << i;
    const SlstmCell& c = b.cell;
    if (!Plain(b.norm)) return Refuse("an sLSTM block of another kind");
    const FeedForward* ff = b.feedforward ? &*b.feedforward : nullptr;
    if (ff && !Plain(ff->norm)) return Refuse("a feed-forward of another kind");
    Same(&s_.s_heads, c.channels / c.dim, first);
    Same(&s_.s_dim, c.dim, first);
    Same(&s_.s_kernel, b.conv ? b.conv->kernel : 0, first);
    Same(&s_.ff, ff ? ff->act.size : 0, first);
    Same(&s_.lstm, c.lstm, first);
    Same(&s_.forget_cap, c.forget_cap, first);
    Same(&s_.s_norm_eps, b.norm.eps, first);
    Same(&s_.group_eps, b.out.eps, first);
    Same(&plan_.s_stride_history, b.conv ? b.conv->stride : 0, first);
    Use(b.input.w);
    Use(c.r);
    if (ff) {
      Same(&s_.act, ff->act.act, first);
      Same(&s_.ff_up_bias, ff->up.bias != nullptr, first);
      Same(&s_.ff_down_bias, ff->down.bias != nullptr, first);
      Same(&s_.ff_eps, ff->norm.eps, first);
      Use(ff->up.w);
      Use(ff->down.w);
    }
    plan_.slots[i] = {c.c, c.n, c.m, c.y, b.conv ? b.conv->history : 0};
    return alike_ || Refuse("sLSTM blocks that differ");
  }

  OnChipPlan& plan_;
  OnChipShape& s_;
  std::string why_;
  std::optional<DType> type_;
  bool mixed_ = false, alike_ = true, any_mlstm_ = false;
};

// Nobody may be idle: a CTA without rows or channels would not be waited for.
bool Divides(const OnChipShape& s) {
  const uint32_t last = s.ctas - 1;
  return s.Count(last, s.rows, s.width) > 0 && (!s.inner || s.Count(last, s.own, s.inner) > 0);
}

}  // namespace

std::optional<OnChipPlan> PlanOnChip(const Stack& stack, bool wide, const OnChipDevice& device,
                                     const OnChipWish& wish, std::string* why) {
  OnChipPlan plan;
  plan.wide = wide;
  plan.stack = stack;
  plan.slots.resize(stack.blocks.size());
  ShapeBuilder builder(&plan);
  if (!builder.Take(stack)) {
    *why = builder.why();
    return std::nullopt;
  }
  const uint32_t real = wide ? 8 : 4;
  const bool scaled = plan.weights == DType::i16 || plan.weights == DType::i8;
  uint32_t least = 0;
  struct Choice {
    OnChipBody body;
    uint32_t ctas;
  };
  static constexpr Choice kChoices[] = {
      {OnChipBody::cluster, 16}, {OnChipBody::cluster, 8}, {OnChipBody::cluster, 4},
      {OnChipBody::cluster, 2},  {OnChipBody::single, 1},  {OnChipBody::grid, 2},
      {OnChipBody::grid, 4},     {OnChipBody::grid, 8},    {OnChipBody::grid, 16},
      {OnChipBody::grid, 32},    {OnChipBody::grid, 64}};
  // More CTAs divide the work, but every exchange takes longer: below 8 rows of x each they did not
  // pay (measured for widths of 32 and 64).
  for (const bool any : {false, true}) {
    for (const Choice& c : kChoices) {
      if (wish.body && *wish.body != c.body) continue;
      if (wish.ctas && wish.ctas != c.ctas) continue;
      if (c.body == OnChipBody::cluster && !device.clusters) continue;
      if (c.body == OnChipBody::grid && (!device.cooperative || c.ctas > device.multiprocessors)) {
        continue;
      }
      OnChipShape& s = plan.shape;
      s.ctas = c.ctas;
      s.Complete(SizeOf(plan.weights), scaled, real);
      if (!Divides(s)) continue;
      least = least ? std::min(least, s.bytes) : s.bytes;
      if (s.bytes > device.shared_bytes) continue;
      if (!any && !wish.ctas && c.ctas > 1 && s.rows < 8) continue;
      plan.body = c.body;
      plan.image_bytes = size_t{s.image} * s.ctas;
      if (c.body == OnChipBody::grid) {
        plan.exchange_bytes = 4 * kOnChipMaxCtas + size_t{s.bytes} * s.ctas;
      }
      return plan;
    }
  }
  *why = least ? "not on the chip: needs " + std::to_string(least) +
                     " bytes of shared memory in each of its CTAs, of " +
                     std::to_string(device.shared_bytes)
               : std::string("not on the chip: no number of CTAs divides it");
  return std::nullopt;
}

}  // namespace xst::kernels::cuda
