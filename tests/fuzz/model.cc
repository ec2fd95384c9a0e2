// Model files with all hashes made right again: a clean error, or a model that verifies, steps,
// saves and goes on.
#include <vector>

#include "sdk/forecast.h"
#include "sdk/session.h"
#include "tests/fault/reseal.h"
#include "tests/fuzz/target.h"
#include "tests/unit/formats/support.h"

namespace {

using xst::fuzz::Require;

void Step(const std::shared_ptr<const xst::Model>& model) {
  xst::Session session(model);
  const xst::ModelInfo& info = model->info();
  std::vector<float> in(info.input_width, 0.5f), out(info.output_width);
  for (int64_t t = 0; t < 3; ++t) {
    const xst::Status s = info.tokens ? session.step(t % 2, out) : session.step(in, out);
    Require(s == xst::Status::ok || s == xst::Status::held ||
            (info.tokens && s == xst::Status::invalid_argument));  // a vocabulary of one
  }
  const std::vector<std::byte> snapshot = session.save();
  Require(snapshot.size() == info.snapshot_bytes);
  xst::Session(model).load(snapshot);
}

void Forecast(const std::shared_ptr<const xst::Model>& model) {
  xst::Forecaster forecaster(model);
  const size_t values = forecaster.config().forecast.horizon * forecaster.quantiles();
  if (values > 4096) return;  // a matter of time, not of safety
  std::vector<float> out(values);
  for (int t = 0; t < 3; ++t) forecaster.push(static_cast<float>(t));
  Require(forecaster.forecast(out) == xst::Status::ok);
  const auto snapshot = forecaster.save();
  xst::Forecaster(model).load(snapshot);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const xst::formats::test::AlignedBytes file(std::as_bytes(std::span(data, size)));
  const std::span<std::byte> bytes = file.bytes();
  if (size >= 64) xst::test::StoreU64(bytes, 8, size);
  xst::test::ResealWithArchHash(bytes);
  xst::formats::Directory directory;
  xst::Fault fault;
  const auto status = ReadModel(bytes, xst::formats::Check::full, &directory, &fault);
  Require((status == xst::Status::ok) == (fault.status == xst::Status::ok));
  Require(status == xst::Status::ok || fault.message[0] != '\0');
  if (status != xst::Status::ok) return 0;
  try {
    const auto model = xst::Model::open(bytes);
    Step(model);
    if (model->info().config.family == xst::formats::Family::tirex) Forecast(model);
  } catch (const xst::Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return xst::fuzz::MutateInPlace(data, size, max_size, seed);
}
