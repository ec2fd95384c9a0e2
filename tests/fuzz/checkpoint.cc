// A stream's checkpoints, sealed again: a clean error, or one that is written back as it was and
// from which a stream goes on.
#include "formats/checkpoint.h"

#include "sdk/stream/stream.h"
#include "tests/fuzz/models.h"
#include "tests/fuzz/target.h"

namespace {

using xst::fuzz::Require;

void GoOn(xst::stream::Stream& stream, const xst::formats::Checkpoint& checkpoint) {
  try {
    stream.Restore(checkpoint);
  } catch (const xst::Error&) {
    return;
  }
  std::vector<float> in(stream.info().input_width, 0.5f), y(stream.info().output_width);
  for (uint64_t i = 1; i <= 3; ++i) {
    xst::stream::SampleHead head;
    head.has_t = head.has_seq = true;
    head.seq = checkpoint.clock.seq + i;
    head.t = checkpoint.clock.t + static_cast<double>(i);
    Require(stream.Offer(head, in, {}));
    xst::stream::OutputHead out;
    std::vector<float> x(in.size());
    while (stream.Turn()) {
      while (stream.Take(&out, y, x)) stream.MarkPublished();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static xst::stream::Stream streams[] = {
      {xst::fuzz::OpenSmall(xst::test::kWrapped), {.name = "s", .queue = 4}, 1},
      {xst::fuzz::OpenSmall(xst::test::kTirex), {.name = "s", .queue = 4}, 1}};
  const xst::formats::test::AlignedBytes copy(std::as_bytes(std::span(data, size)));
  xst::fuzz::SealEnd(copy.bytes());
  xst::formats::Checkpoint checkpoint;
  xst::Fault fault;
  if (ReadCheckpoint(copy.bytes(), "fuzz", &checkpoint, &fault) != xst::Status::ok) {
    Require(fault.message[0] != '\0');
    return 0;
  }
  std::vector<std::byte> again;
  WriteCheckpoint(checkpoint, &again);
  xst::formats::Checkpoint second;
  Require(ReadCheckpoint(again, "again", &second, &fault) == xst::Status::ok);
  Require(second.name == checkpoint.name && second.session == checkpoint.session &&
          second.seq == checkpoint.seq && second.position == checkpoint.position);
  for (xst::stream::Stream& stream : streams) GoOn(stream, checkpoint);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return xst::fuzz::MutateInPlace(data, size, max_size, seed);
}
