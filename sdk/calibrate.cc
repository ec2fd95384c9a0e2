#include "sdk/calibrate.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "sdk/model_core.h"
#include "sdk/recording.h"
#include "sdk/row_rounder.h"
#include "sdk/scratch_folder.h"
#include "sdk/session_core.h"

namespace xst {
namespace {

using kernels::Slot;

constexpr uint64_t kMaxBytes = uint64_t{1} << 30;  // of all moments
constexpr uint64_t kMaxSamples = 4096;             // steps that enter the moments

}  // namespace

// Steps the full model and adds up the inputs of its matrices.
class Calibration::Collector {
 public:
  Collector(const ModelCore& model, Calibration* to) : model_(model), to_(*to) {
    for (const kernels::Op& op : model.plan.ops) {
      of_op_.push_back(nullptr);
      kernels::Visit([&](const auto& o) { Describe(o); }, op);
    }
    uint64_t bytes = 0;
    for (auto& [name, m] : to_.moments_) {
      bytes += uint64_t{m.inputs.size()} * m.cols * m.cols * sizeof(double);
    }
    if (bytes > kMaxBytes) {
      throw Error(Status::invalid_argument, "calibration: expected a model whose moments fit " +
                                                std::to_string(kMaxBytes >> 20) + " MiB, got " +
                                                std::to_string(bytes >> 20) + " MiB");
    }
    for (auto& [name, m] : to_.moments_) {
      m.products.assign(m.inputs.size(), std::vector<double>(size_t{m.cols} * m.cols));
    }
  }

  void Run(const std::vector<float>& input) {
    Memory frame;
    Fault fault;
    if (Memory::Allocate(model_.info.session_bytes, &frame, &fault) != Status::ok) {
      throw Error(fault);
    }
    SessionCore session(model_, frame.bytes().data());
    if (session.Start(&fault) != Status::ok) throw Error(fault);
    std::vector<float> out(model_.output_width());
    const uint32_t width = model_.input_width();
    const uint64_t steps = input.size() / width;
    const uint64_t every = (steps + kMaxSamples - 1) / kMaxSamples;
    const kernels::FlushDenormals flush;
    for (uint64_t t = 0; t < steps; ++t) {
      const auto row = std::span(input).subspan(t * width, width);
      const Status begun =
          model_.info.tokens ? session.Begin(static_cast<int64_t>(row[0])) : session.Begin(row);
      RunOps(reinterpret_cast<double*>(frame.bytes().data()), t % every == 0);
      session.End(begun, out);
    }
    for (const auto& [name, m] : to_.moments_) {
      for (const std::vector<double>& products : m.products) {
        if (std::all_of(products.begin(), products.end(),
                        [](double v) { return std::isfinite(v); }))
          continue;
        throw Error(Status::invalid_argument,
                    "calibration: expected finite inputs of " + name + ", got an overflow");
      }
    }
  }

 private:
  // The moments of a matrix, or null if it is not rounded or already known.
  Moments* New(const kernels::Matrix& w) {
    for (const formats::StoredTensor& t : model_.directory.tensors) {
      if (t.data != w.data || !t.spec.rounded) continue;
      const auto [at, fresh] = to_.moments_.try_emplace(t.spec.name);
      if (!fresh) return nullptr;
      at->second.cols = w.cols;
      at->second.input_of.resize(w.rows);
      return of_op_.back() = &at->second;
    }
    return nullptr;
  }

  template <class T>
  void Describe(const T&) {}  // no matrix
  void Describe(const kernels::Linear& o) {
    if (Moments* m = New(o.w)) m->inputs = {o.x};
  }
  void Describe(const kernels::BlockLinear& o) {
    Moments* m = New(o.w);
    if (!m) return;
    for (uint32_t r = 0; r < o.w.rows; ++r) m->input_of[r] = r / o.w.cols;
    for (uint32_t x = 0; x < o.w.rows; x += o.w.cols) m->inputs.push_back(o.x + x);
  }
  void Describe(const kernels::SlstmInput& o) {
    Moments* m = New(o.w);
    if (!m) return;
    const uint32_t heads = o.channels / o.dim;
    for (const Slot from : {o.conv, o.u}) {
      for (uint32_t h = 0; h < heads; ++h) m->inputs.push_back(from + h * o.dim);
    }
    OfGates(heads, o.dim, true, m);
  }
  void Describe(const kernels::SlstmCell& o) {
    Moments* m = New(o.r);
    if (!m) return;
    const uint32_t heads = o.channels / o.dim;
    for (uint32_t h = 0; h < heads; ++h) m->inputs.push_back(o.y + h * o.dim);
    OfGates(heads, o.dim, false, m);
  }
  // The input of each row in sLSTM row order; gates z and o have their own if `two`.
  static void OfGates(uint32_t heads, uint32_t dim, bool two, Moments* m) {
    for (uint32_t r = 0; r < m->input_of.size(); ++r) {
      const uint32_t gate = r / 16 % 4, channel = r / 64 * 16 + r % 16;
      const uint32_t head = std::min(channel / dim, heads - 1);  // of padding rows any
      m->input_of[r] = (two && gate >= 2 ? heads : 0) + head;
    }
  }

  void RunOps(double* frame, bool sample) {
    for (size_t i = 0; i < model_.plan.ops.size(); ++i) {
      const kernels::Op& op = model_.plan.ops[i];
      if (sample && of_op_[i]) Add(frame, of_op_[i]);
      kernels::Run(*model_.wide_kernels, op, frame, {0, kernels::Units(op)});
    }
  }

  static void Add(const double* frame, Moments* m) {
    for (size_t k = 0; k < m->inputs.size(); ++k) {
      const double* const x = frame + m->inputs[k];
      for (uint32_t i = 0; i < m->cols; ++i) {
        double* const to = &m->products[k][size_t{i} * m->cols];
        for (uint32_t j = 0; j <= i; ++j) to[j] += x[i] * x[j];
      }
    }
  }

  const ModelCore& model_;
  Calibration& to_;
  std::vector<Moments*> of_op_;  // per op of the plan, or null
};

Calibration::Calibration(const std::string& source, const std::string& path,
                         const formats::PackOptions& options, const formats::Array& recording) {
  formats::PackOptions full = options;
  full.probe = nullptr;
  full.rounder = nullptr;
  full.dtype = formats::LosslessDType(source, options);
  const ScratchFolder scratch(path);
  formats::PackModel(source, scratch.file("full.xst"), full);
  Options wide;
  wide.arithmetic = Arithmetic::wide;
  const auto model = Model::open(scratch.file("full.xst"), wide);
  const ModelCore& core = model->core();
  if (core.info.config.family == formats::Family::tirex) {
    throw Error(Status::invalid_argument,
                "calibration: expected a model that steps samples or tokens, got tirex");
  }
  const std::vector<float> input = TakeRecording("calibration", core.info.config, recording);
  Collector(core, this).Run(input);
  // A row that is looked up is a result itself.
  for (const kernels::Op& op : core.plan.ops) {
    const auto* embed = std::get_if<kernels::Embed>(&op);
    for (const formats::StoredTensor& t : core.directory.tensors) {
      if (embed && embed->table.data == t.data) moments_.erase(t.spec.name);
    }
  }
}

void Calibration::Round(const formats::TensorSpec& spec, formats::DType dtype,
                        std::span<const float> scales, formats::TensorValues* values) {
  const auto at = moments_.find(spec.name);
  if (dtype != formats::DType::i8 || at == moments_.end()) return;
  const Moments& m = at->second;
  std::vector<std::unique_ptr<RowRounder>> rounders(m.inputs.size());
  for (uint64_t r = 0; r < spec.rows; ++r) {
    const uint32_t k = m.input_of[r];
    if (!rounders[k]) rounders[k] = std::make_unique<RowRounder>(m.products[k], m.cols);
    float* const row = &(*values)[r * spec.cols];
    rounders[k]->Round({row, spec.cols}, scales[r]);
  }
}

}  // namespace xst
