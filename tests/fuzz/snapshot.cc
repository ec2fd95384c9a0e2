// Session snapshots, sealed again: a clean error that changes nothing, or a state that steps and is
// saved as the same bytes.
#include "formats/snapshot.h"

#include "tests/fuzz/models.h"
#include "tests/fuzz/target.h"

namespace {

using xst::fuzz::Require;

// Leaves the session as fresh as it found it.
void Load(xst::Session& session, std::span<const std::byte> bytes) {
  session.reset();
  const std::vector<std::byte> before = session.save();
  xst::Fault fault;
  if (session.load(bytes, {.allow_other_weights = true}, &fault) != xst::Status::ok) {
    Require(fault.message[0] != '\0');
    Require(session.save() == before);
    return;
  }
  const xst::ModelInfo& info = session.model()->info();
  std::vector<float> in(info.input_width, 0.5f), out(info.output_width);
  for (int64_t t = 0; t < 3; ++t) {
    const xst::Status s = info.tokens ? session.step(t, out) : session.step(in, out);
    Require(s == xst::Status::ok || s == xst::Status::held);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static xst::Session sessions[] = {xst::Session(xst::fuzz::OpenSmall(xst::test::kWrapped)),
                                    xst::Session(xst::fuzz::OpenSmall(xst::test::kLm)),
                                    xst::Session(xst::fuzz::OpenSmall(xst::test::kLarge))};
  const xst::formats::test::AlignedBytes copy(std::as_bytes(std::span(data, size)));
  xst::fuzz::SealEnd(copy.bytes());
  xst::formats::SnapshotHeader header;
  std::span<const std::byte> values;
  xst::Fault fault;
  if (ReadSnapshot(copy.bytes(), &header, &values, &fault) == xst::Status::ok) {
    Require(values.size() == header.count * sizeof(float));
    std::vector<std::byte> again(xst::formats::SnapshotBytes(header.count));
    const auto to = xst::formats::SnapshotValues(again);
    if (!values.empty()) std::memcpy(to.data(), values.data(), values.size());
    SealSnapshot(header, again);
    Require(std::equal(again.begin(), again.end(), copy.bytes().begin(), copy.bytes().end()));
  } else {
    Require(fault.message[0] != '\0');
  }
  for (xst::Session& session : sessions) Load(session, copy.bytes());
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return xst::fuzz::MutateInPlace(data, size, max_size, seed);
}
