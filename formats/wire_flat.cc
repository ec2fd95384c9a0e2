#include "formats/wire_flat.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "wire_generated.h"

namespace xst::formats {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

int64_t Nanoseconds(double seconds) {
  constexpr double kRange = 9.2e9;  // s, some 291 years
  if (std::isnan(seconds)) return 0;
  if (seconds >= kRange) return std::numeric_limits<int64_t>::max();
  if (seconds <= -kRange) return std::numeric_limits<int64_t>::min();
  const double whole = std::floor(seconds);  // apart: the product would lose the last digits
  return static_cast<int64_t>(whole) * 1'000'000'000 +
         static_cast<int64_t>(std::nearbyint((seconds - whole) * 1e9));
}

template <class T>
std::vector<float> Floats(const T* values) {
  return values ? std::vector<float>(values->begin(), values->end()) : std::vector<float>();
}

bool Strings(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* from,
             size_t count, std::vector<std::string>* out) {
  out->clear();
  if ((from ? from->size() : 0) != count) return false;
  size_t total = 0;  // many offsets may point at one long string
  for (size_t i = 0; i < count; ++i) {
    const auto* name = from->Get(static_cast<flatbuffers::uoffset_t>(i));
    if ((total += name->size()) > kMaxBytes) return false;
    out->push_back(name->str());
  }
  return true;
}

Status Parse(std::span<const std::byte> payload, FlatOutput* out, Fault* fault) {
  if (payload.size() > kMaxBytes || !IsOutputFlat(payload)) {
    return fault->Set(Status::corrupt,
                      "record: expected a flatbuffer of at most 1 MiB with "
                      "identifier XSTO, got other bytes");
  }
  std::vector<uint64_t> aligned((payload.size() + 7) / 8);  // a message may lie anywhere
  std::memcpy(aligned.data(), payload.data(), payload.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(aligned.data());
  constexpr flatbuffers::uoffset_t kDepth = 4, kTables = 4;
  flatbuffers::Verifier verifier(bytes, payload.size(), kDepth, kTables);
  if (!wire::VerifyOutputBuffer(verifier)) {
    return fault->Set(Status::corrupt, "record: expected a valid flatbuffer, got a damaged one");
  }
  const wire::Output& in = *wire::GetOutput(bytes);
  out->seq = in.seq();
  out->epoch = in.epoch();
  out->t_source = in.t_source();
  out->t_receive = in.t_receive();
  out->t_publish = in.t_publish();
  out->quality = in.quality();
  out->latency_us = in.latency_us();
  out->gap_s = in.gap_s();
  out->y = Floats(in.y());
  out->x = Floats(in.x());
  out->has_names = in.names() != nullptr;
  if (out->has_names && (!Strings(in.names()->y(), out->y.size(), &out->names.y) ||
                         !Strings(in.names()->x(), out->x.size(), &out->names.x))) {
    return fault->Set(Status::corrupt, "names: expected as many as values, got another number");
  }
  return Status::ok;
}

}  // namespace

void WriteOutputFlat(const OutputRecord& record, const std::vector<std::string>* y_names,
                     const std::vector<std::string>* x_names, std::string* out) {
  flatbuffers::FlatBufferBuilder builder(1024);
  flatbuffers::Offset<wire::Names> names;
  if (y_names && x_names) {
    const auto y = builder.CreateVectorOfStrings(*y_names);
    names = wire::CreateNames(builder, y, builder.CreateVectorOfStrings(*x_names));
  }
  const auto y = builder.CreateVector(record.y.data(), record.y.size());
  const auto x = builder.CreateVector(record.x.data(), record.x.size());
  builder.Finish(
      wire::CreateOutput(builder, record.epoch, record.seq, Nanoseconds(record.timestamp),
                         record.t_receive_ns, record.t_publish_ns, record.quality,
                         record.latency_us, record.gap_s, y, x, names),
      wire::OutputIdentifier());
  out->append(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
}

bool IsOutputFlat(std::span<const std::byte> payload) {
  constexpr size_t kHead = 8;  // root offset, identifier
  return payload.size() >= kHead &&
         std::memcmp(payload.data() + 4, wire::OutputIdentifier(), 4) == 0;
}

Status ParseOutputFlat(std::span<const std::byte> payload, FlatOutput* out, Fault* fault) {
  try {
    return Parse(payload, out, fault);
  } catch (const std::bad_alloc&) {
    return fault->Set(Status::out_of_memory, "record: expected memory for it, got none");
  }
}

}  // namespace xst::formats
