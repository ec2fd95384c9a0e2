#include <xxhash.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "formats/checked.h"
#include "formats/model_decode.h"
#include "formats/model_header.h"
#include "formats/segment.h"

namespace xst::formats {
namespace {

unsigned long long N(uint64_t value) { return value; }

// The places a model's segments must have: each right behind the one before, aligned.
class Layouter {
 public:
  explicit Layouter(const ModelHeader& header) : header_(header), end_(header.payload_offset) {}

  // Whether a segment of `length` bytes lies at `offset`, in the file, with the end as the next
  // segment's place.
  bool Place(uint64_t offset, uint64_t length) {
    const Checked at = end_.AlignUp(kSegmentAlign);
    end_ = at + length;
    return at.Equals(offset) && end_.FitsIn(header_.file_bytes);
  }
  bool AtEnd() const { return end_.AlignUp(kSegmentAlign).Equals(header_.file_bytes); }

 private:
  const ModelHeader& header_;
  Checked end_;
};

Status CheckEntry(const fb::Tensor& t, const TensorSpec& spec, DType dtype, Layouter* places,
                  Fault* fault) {
  const char* name = spec.name.c_str();
  if (!t.name() || spec.name != std::string_view(t.name()->c_str(), t.name()->size())) {
    return fault->Set(Status::tensor_mismatch, "tensor %s: expected it here, got another", name);
  }
  if (t.rows() != spec.rows || t.cols() != spec.cols) {
    return fault->Set(Status::tensor_mismatch,
                      "tensor %s: expected shape [%llu][%llu], got [%llu][%llu]", name,
                      N(spec.rows), N(spec.cols), N(t.rows()), N(t.cols()));
  }
  if (static_cast<uint8_t>(t.layout()) != static_cast<uint8_t>(spec.layout)) {
    return fault->Set(Status::tensor_mismatch, "tensor %s: expected layout %u, got %u", name,
                      static_cast<unsigned>(spec.layout), static_cast<unsigned>(t.layout()));
  }
  const uint64_t length = TensorBytes(spec, dtype), scale_length = ScaleBytes(spec, dtype);
  if (static_cast<uint8_t>(t.dtype()) != static_cast<uint8_t>(dtype) || t.length() != length ||
      t.scale_length() != scale_length) {
    return fault->Set(Status::tensor_mismatch,
                      "tensor %s: expected dtype %u in %llu + %llu bytes, got %u in %llu + %llu",
                      name, static_cast<unsigned>(dtype), N(length), N(scale_length),
                      static_cast<unsigned>(t.dtype()), N(t.length()), N(t.scale_length()));
  }
  const bool placed =
      places->Place(t.offset(), length) &&
      (scale_length ? places->Place(t.scale_offset(), scale_length) : t.scale_offset() == 0);
  if (!placed) {
    return fault->Set(Status::corrupt,
                      "tensor %s: expected its bytes right behind the tensor before, in the file, "
                      "got offset %llu",
                      name, N(t.offset()));
  }
  return Status::ok;
}

Status CheckScales(const StoredTensor& t, Fault* fault) {
  const auto quanta = static_cast<float>(LargestQuantum(t.dtype));
  for (uint64_t r = 0; t.scale && r < t.spec.rows; ++r) {
    if (!(t.scale[r] >= 0 && std::isfinite(t.scale[r] * quanta))) {
      return fault->Set(Status::corrupt,
                        "tensor %s: expected scales that give finite weights, got %g in row %llu",
                        t.spec.name.c_str(), double{t.scale[r]}, N(r));
    }
  }
  return Status::ok;
}

// Every weight finite, every quantum in range, all padding zero.
Status CheckWeights(const StoredTensor& t, Fault* fault) {
  const uint64_t size = ElementSize(t.dtype);
  const uint64_t rows = PaddedRows(t.spec), cols = PaddedCols(t.spec, t.dtype);
  constexpr std::byte kZero[4] = {};
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t c = 0; c < cols; ++c) {
      const std::byte* at = t.data + ElementIndex(t.spec, t.dtype, r, c) * size;
      if (r >= t.spec.rows || c >= t.spec.cols) {
        if (std::memcmp(at, kZero, size) != 0) {
          return fault->Set(Status::corrupt, "tensor %s: expected zero padding, got another byte",
                            t.spec.name.c_str());
        }
        continue;
      }
      const float value = DecodeElement(at, t.dtype, 1);
      const bool good = HasScales(t.dtype) ? value >= -static_cast<float>(LargestQuantum(t.dtype))
                                           : std::isfinite(value);
      if (!good) {
        return fault->Set(Status::tensor_mismatch,
                          "tensor %s: expected finite weights, got %g in row %llu, column %llu",
                          t.spec.name.c_str(), double{value}, N(r), N(c));
      }
    }
  }
  return Status::ok;
}

Status CheckGap(std::span<const std::byte> file, uint64_t from, Fault* fault) {
  for (uint64_t i = from; i % kSegmentAlign != 0 && i < file.size(); ++i) {
    if (file[i] != std::byte{0}) {
      return fault->Set(Status::corrupt,
                        "payload: expected zero bytes between tensors, got another at %llu", N(i));
    }
  }
  return Status::ok;
}

Status CheckPayload(std::span<const std::byte> file, const ModelHeader& header,
                    const std::vector<StoredTensor>& tensors, Fault* fault) {
  const auto payload = file.subspan(header.payload_offset);
  if (XXH3_64bits(payload.data(), payload.size()) != header.payload_xxh3) {
    return fault->Set(Status::corrupt, "payload: expected its checksum to match, got another");
  }
  for (const StoredTensor& t : tensors) {
    if (const Status s = CheckWeights(t, fault); s != Status::ok) return s;
    const auto offset = static_cast<uint64_t>(t.data - file.data());
    if (const Status s = CheckGap(file, offset + t.length, fault); s != Status::ok) return s;
    if (!t.scale) continue;
    const auto scales =
        static_cast<uint64_t>(reinterpret_cast<const std::byte*>(t.scale) - file.data());
    if (const Status s = CheckGap(file, scales + t.scale_length, fault); s != Status::ok) return s;
  }
  return Status::ok;
}

// The dtype of the rounded tensors: the first one tells, the others must agree.
Status FileDType(const fb::Directory& from, const std::vector<TensorSpec>& manifest, DType* out,
                 Fault* fault) {
  *out = DType::f32;
  for (uint32_t i = 0; i < manifest.size(); ++i) {
    if (!manifest[i].rounded) continue;
    const auto dtype = static_cast<uint8_t>(from.tensors()->Get(i)->dtype());
    if (dtype > static_cast<uint8_t>(DType::i8)) {
      return fault->Set(Status::corrupt, "tensor %s: expected a dtype up to %u, got %u",
                        manifest[i].name.c_str(), static_cast<unsigned>(DType::i8), dtype);
    }
    *out = static_cast<DType>(dtype);
    return Status::ok;
  }
  return Status::ok;
}

Status ReadTensors(std::span<const std::byte> file, const ModelHeader& header,
                   const fb::Directory& from, Directory* out, Fault* fault) {
  std::vector<TensorSpec> manifest = Manifest(out->config);
  const uint64_t count = from.tensors() ? from.tensors()->size() : 0;
  if (count != manifest.size()) {
    return fault->Set(Status::tensor_mismatch, "tensors: expected %zu, got %llu", manifest.size(),
                      N(count));
  }
  if (const Status s = FileDType(from, manifest, &out->dtype, fault); s != Status::ok) return s;
  Layouter places(header);
  out->tensors.clear();
  out->tensors.reserve(manifest.size());
  for (uint32_t i = 0; i < manifest.size(); ++i) {
    const fb::Tensor& t = *from.tensors()->Get(i);
    const DType dtype = StoredDType(manifest[i], out->dtype);
    if (const Status s = CheckEntry(t, manifest[i], dtype, &places, fault); s != Status::ok) {
      return s;
    }
    StoredTensor& stored = out->tensors.emplace_back();
    stored.spec = std::move(manifest[i]);
    stored.dtype = dtype;
    stored.data = file.data() + t.offset();
    stored.length = t.length();
    stored.scale_length = t.scale_length();
    if (t.scale_length() > 0) {
      stored.scale = reinterpret_cast<const float*>(file.data() + t.scale_offset());
    }
    if (const Status s = CheckScales(stored, fault); s != Status::ok) return s;
  }
  if (!places.AtEnd()) {
    return fault->Set(Status::truncated,
                      "file: expected its end behind the last tensor, got other bytes");
  }
  return Status::ok;
}

Status Read(std::span<const std::byte> file, Check check, Directory* out, Fault* fault) {
  if (reinterpret_cast<uintptr_t>(file.data()) % kSegmentAlign != 0) {
    return fault->Set(Status::invalid_argument,
                      "file: expected memory aligned to %llu bytes, got other", N(kSegmentAlign));
  }
  ModelHeader header;
  if (const Status s = DecodeHeader(file, &header, fault); s != Status::ok) return s;
  const std::byte* dir = file.data() + kHeaderBytes;
  if (XXH3_64bits(dir, header.dir_bytes) != header.dir_xxh3) {
    return fault->Set(Status::corrupt, "directory: expected its checksum to match, got another");
  }
  flatbuffers::Verifier::Options limits;
  limits.max_depth = kMaxDepth;
  limits.max_tables = kMaxTables;
  const auto* bytes = reinterpret_cast<const uint8_t*>(dir);
  flatbuffers::Verifier verifier(bytes, header.dir_bytes, limits);
  if (!fb::VerifyDirectoryBuffer(verifier)) {
    return fault->Set(Status::corrupt,
                      "directory: expected a valid flatbuffer XSTD, got another structure");
  }
  const fb::Directory& from = *fb::GetDirectory(bytes);

  out->config = {};
  Status s = DecodeConfig(from, &out->config, fault);
  if (s == Status::ok) s = ValidateConfig(out->config, fault);
  if (s == Status::ok) s = DecodeProvenance(from, out, fault);
#ifndef XST_MINIMAL  // which takes the packer's word: no step depends on it
  if (s == Status::ok && out->arch_hash != ArchHash(out->config)) {
    s = fault->Set(Status::corrupt, "arch_hash: expected %s of the configuration, got %s",
                   Hex(ArchHash(out->config)).digits, Hex(out->arch_hash).digits);
  }
#endif
  if (s == Status::ok) s = ReadTensors(file, header, from, out, fault);
  if (s == Status::ok) s = DecodeProbe(from, out->config, &out->probe, fault);
  if (s == Status::ok && check == Check::full) {
    s = CheckPayload(file, header, out->tensors, fault);
  }
  out->file_hash = header.header_xxh3;
  return s;
}

}  // namespace

HexText Hex(const Hash128& h) {
  HexText text;
  std::snprintf(text.digits, sizeof text.digits, "%016llx%016llx", N(h.high), N(h.low));
  return text;
}

Status ReadModel(std::span<const std::byte> file, Check check, Directory* out, Fault* fault) {
  const Status s = CatchBadAlloc([&] { return Read(file, check, out, fault); });
  if (s != Status::out_of_memory) return s;
  return fault->Set(s, "directory: expected memory for it, got none");
}

const char* ConfigText(std::span<const std::byte> file) {
  const fb::Provenance* p = fb::GetDirectory(file.data() + kHeaderBytes)->provenance();
  return p->config_yaml() ? p->config_yaml()->c_str() : "";
}

}  // namespace xst::formats
