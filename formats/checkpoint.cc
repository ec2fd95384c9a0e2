#include "formats/checkpoint.h"

#include <xxhash.h>

#include <bit>
#include <cmath>
#include <cstring>

namespace xst::formats {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[4] = {'X', 'S', 'T', 'K'};
constexpr uint16_t kMajor = 0, kMinor = 0;
constexpr size_t kHead = 4 + 2 + 2 + 4 * 8 + 4 + 8 + 8 + 4 + 8, kTail = 8;
constexpr size_t kMaxName = 256;

class Writer {
 public:
  explicit Writer(std::byte* to) : to_(to) {}
  template <class T>
  void Put(const T& value) {
    Put(&value, sizeof(T));
  }
  void Put(const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to_, from, bytes);
    to_ += bytes;
  }

 private:
  std::byte* to_;
};

template <class T>
T Get(const std::byte** from) {
  T value;
  std::memcpy(&value, *from, sizeof(T));
  *from += sizeof(T);
  return value;
}

}  // namespace

void WriteCheckpoint(const Checkpoint& checkpoint, std::vector<std::byte>* out) {
  out->resize(kHead + checkpoint.name.size() + checkpoint.session.size() + kTail);
  const ClockState& clock = checkpoint.clock;
  Writer w(out->data());
  w.Put(kMagic);
  w.Put(kMajor);
  w.Put(kMinor);
  w.Put(checkpoint.generation);
  w.Put(checkpoint.epoch);
  w.Put(checkpoint.seq);
  w.Put(checkpoint.position);
  w.Put(static_cast<uint32_t>(clock.started * 1 + clock.has_t * 2 + clock.has_seq * 4));
  w.Put(clock.t);
  w.Put(clock.seq);
  w.Put(static_cast<uint32_t>(checkpoint.name.size()));
  w.Put(static_cast<uint64_t>(checkpoint.session.size()));
  w.Put(checkpoint.name.data(), checkpoint.name.size());
  w.Put(checkpoint.session.data(), checkpoint.session.size());
  w.Put(static_cast<uint64_t>(XXH3_64bits(out->data(), out->size() - kTail)));
}

Status ReadCheckpoint(std::span<const std::byte> bytes, const std::string& what, Checkpoint* out,
                      Fault* fault) {
  const char* name = what.c_str();
  if (bytes.size() < kHead + kTail) {
    return fault->Set(Status::truncated, "%s: expected at least %zu bytes, got %zu", name,
                      kHead + kTail, bytes.size());
  }
  if (std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) {
    return fault->Set(Status::corrupt, "%s: expected the magic XSTK, got other bytes", name);
  }
  const std::byte* at = bytes.data() + sizeof(kMagic);
  const auto major = Get<uint16_t>(&at);
  if (major != kMajor) {
    return fault->Set(Status::unsupported_version, "%s: expected version %u, got %u", name, kMajor,
                      major);
  }
  const std::byte* tail = bytes.data() + bytes.size() - kTail;
  if (XXH3_64bits(bytes.data(), bytes.size() - kTail) != Get<uint64_t>(&tail)) {
    return fault->Set(Status::corrupt, "%s: expected its checksum, got another (a torn write?)",
                      name);
  }
  Get<uint16_t>(&at);  // minor
  out->generation = Get<uint64_t>(&at);
  out->epoch = Get<uint64_t>(&at);
  out->seq = Get<uint64_t>(&at);
  out->position = Get<uint64_t>(&at);
  const auto flags = Get<uint32_t>(&at);
  out->clock = {(flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
  out->clock.t = Get<double>(&at);
  out->clock.seq = Get<uint64_t>(&at);
  const uint64_t name_bytes = Get<uint32_t>(&at), session_bytes = Get<uint64_t>(&at);
  const uint64_t rest = bytes.size() - kHead - kTail;
  if (name_bytes > kMaxName || name_bytes > rest || session_bytes != rest - name_bytes) {
    return fault->Set(Status::corrupt, "%s: expected %zu bytes of name and session, got %zu", name,
                      static_cast<size_t>(rest), static_cast<size_t>(name_bytes + session_bytes));
  }
  if (flags > 7 || !std::isfinite(out->clock.t)) {
    return fault->Set(Status::corrupt, "%s: expected a finite clock, got flags %u, t %g", name,
                      flags, out->clock.t);
  }
  out->name.assign(reinterpret_cast<const char*>(at), name_bytes);
  out->session.assign(at + name_bytes, at + rest);
  return Status::ok;
}

}  // namespace xst::formats
