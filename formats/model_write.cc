#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "formats/checked.h"
#include "formats/model_file.h"
#include "formats/model_header.h"
#include "formats/output_file.h"
#include "formats/segment.h"
#include "formats/text.h"
#include "model_generated.h"

#ifndef XST_VERSION
#error "the build defines XST_VERSION"
#endif

namespace xst::formats {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
constexpr size_t kSpareTables = 64;  // beyond tensors, inputs and outputs

struct Place {
  uint64_t offset = 0, scale_offset = 0;
};

using Builder = flatbuffers::FlatBufferBuilder;

flatbuffers::Offset<fb::BlockStack> AddBlockStack(Builder& b, const BlockStackConfig& c) {
  flatbuffers::Offset<fb::Mlstm> mlstm;
  if (c.mlstm) {
    mlstm = fb::CreateMlstm(b, c.mlstm->heads, c.mlstm->conv_kernel, c.mlstm->inner,
                            c.mlstm->qkv_block);
  }
  flatbuffers::Offset<fb::Slstm> slstm;
  if (c.slstm) {
    flatbuffers::Offset<fb::FeedForward> feedforward;
    if (const auto& f = c.slstm->feedforward) {
      feedforward =
          fb::CreateFeedForward(b, f->inner, static_cast<fb::Activation>(f->act), f->bias);
    }
    slstm = fb::CreateSlstm(b, c.slstm->heads, c.slstm->conv_kernel, c.slstm->group_norm_weight,
                            c.slstm->lstm, feedforward);
  }
  return fb::CreateBlockStack(b, c.embedding_dim, c.post_blocks_norm, c.bias,
                              b.CreateVector(c.is_slstm), mlstm, slstm, c.vocab_size,
                              c.tie_weights);
}

flatbuffers::Offset<fb::Large> AddLarge(Builder& b, const LargeConfig& c) {
  return fb::CreateLarge(b, c.embedding_dim, c.heads, c.num_blocks, c.vocab_size, c.qk, c.value,
                         c.ffn, c.bias, c.out_norm, c.tie_weights, c.fused, c.norm_eps, c.eps,
                         c.gate_cap, c.logit_cap);
}

flatbuffers::Offset<fb::Tirex> AddTirex(Builder& b, const TirexConfig& c) {
  return fb::CreateTirex(b, c.patch, c.context, c.embedding_dim, c.heads, c.num_blocks, c.ffn,
                         c.patch_ffn, b.CreateVector(c.quantiles), c.forecast.every,
                         c.forecast.horizon, c.forecast.rollout);
}

flatbuffers::Offset<fb::Stream> AddStream(Builder& b, const StreamConfig& s) {
  std::vector<flatbuffers::Offset<fb::Input>> inputs;
  for (const StreamInput& in : s.inputs) {
    inputs.push_back(fb::CreateInput(b, b.CreateString(in.name), b.CreateString(in.unit), in.mean,
                                     in.std, static_cast<fb::Missing>(in.missing)));
  }
  std::vector<flatbuffers::Offset<fb::Output>> outputs;
  for (const StreamOutput& o : s.outputs) {
    outputs.push_back(fb::CreateOutput(b, static_cast<fb::OutputKind>(o.kind),
                                       b.CreateVectorOfStrings(o.names), b.CreateString(o.unit),
                                       o.horizon, o.of, o.residual));
  }
  return fb::CreateStream(b, s.rate_hz, b.CreateVector(inputs), s.encoder, s.encoder_bias, s.head,
                          s.head_bias, b.CreateVector(outputs),
                          static_cast<fb::GapPolicy>(s.gap_policy), s.gap_max_s,
                          static_cast<fb::GapThen>(s.gap_then), s.warmup);
}

// The directory for these places; its size does not depend on them.
void BuildDirectory(const WriteRequest& request, const Probe& p,
                    const std::vector<TensorSpec>& manifest, const std::vector<Place>& places,
                    Builder* builder) {
  Builder& b = *builder;
  b.Clear();
  b.ForceDefaults(true);
  const Family family = request.config.family;
  flatbuffers::Offset<fb::BlockStack> block_stack;
  flatbuffers::Offset<fb::Large> large;
  flatbuffers::Offset<fb::Tirex> tirex;
  if (family == Family::large) {
    large = AddLarge(b, request.config.large);
  } else if (family == Family::tirex) {
    tirex = AddTirex(b, request.config.tirex);
  } else {
    block_stack = AddBlockStack(b, request.config.block_stack);
  }
  flatbuffers::Offset<fb::Stream> stream;
  if (request.config.stream) stream = AddStream(b, *request.config.stream);
  std::vector<flatbuffers::Offset<fb::Tensor>> tensors;
  for (size_t i = 0; i < manifest.size(); ++i) {
    const TensorSpec& spec = manifest[i];
    const DType dtype = StoredDType(spec, request.dtype);
    tensors.push_back(fb::CreateTensor(b, b.CreateString(spec.name), static_cast<fb::DType>(dtype),
                                       static_cast<fb::Layout>(spec.layout), spec.rows, spec.cols,
                                       places[i].offset, TensorBytes(spec, dtype),
                                       places[i].scale_offset, ScaleBytes(spec, dtype)));
  }
  flatbuffers::Offset<fb::Probe> probe;
  if (p.steps > 0) {
    probe = fb::CreateProbe(b, p.steps, b.CreateVector(p.input), b.CreateVector(p.expected),
                            b.CreateVector(p.expected_stored), p.bound_cpu, p.bound_cuda,
                            b.CreateVector(p.framework));
  }
  const std::string source = IsUtf8(request.source) ? request.source : Printable(request.source);
  const auto provenance =
      fb::CreateProvenance(b, b.CreateString("xst " XST_VERSION), b.CreateString(source),
                           b.CreateString(request.config_yaml));
  const Hash128 arch = ArchHash(request.config);
  const fb::Hash128 arch_hash(arch.low, arch.high);
  const fb::Hash128 source_hash(request.source_hash.low, request.source_hash.high);
  const auto all_tensors = b.CreateVector(tensors);
  fb::FinishDirectoryBuffer(
      b, fb::CreateDirectory(b, static_cast<fb::Family>(family), block_stack, large, tirex, stream,
                             all_tensors, &arch_hash, &source_hash, probe, provenance));
}

class PayloadWriter {
 public:
  PayloadWriter(OutputFile* file, uint64_t offset)
      : file_(*file), at_(offset), hash_(XXH3_createState()) {
    if (!hash_) throw std::bad_alloc();
    XXH3_64bits_reset(hash_.get());
  }

  uint64_t hash() const { return XXH3_64bits_digest(hash_.get()); }

  void Write(const void* bytes, size_t size) {
    file_.Write(bytes, size);
    XXH3_64bits_update(hash_.get(), bytes, size);
    at_ += size;
  }
  void Align() {
    constexpr std::byte kZeros[kSegmentAlign] = {};
    Write(kZeros, (kSegmentAlign - at_ % kSegmentAlign) % kSegmentAlign);
  }

 private:
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };

  OutputFile& file_;
  uint64_t at_;
  std::unique_ptr<XXH3_state_t, FreeState> hash_;
};

void CheckValues(const TensorSpec& spec, DType dtype, const TensorValues& values) {
  if (values.size() != spec.rows * spec.cols) {
    throw Error(Status::shape_mismatch, "tensor " + spec.name + ": expected " +
                                            std::to_string(spec.rows * spec.cols) +
                                            " values, got " + std::to_string(values.size()));
  }
  for (const float v : values) {
    const bool fits =
        std::isfinite(v) && (dtype != DType::bf16 || (RoundToBf16(v) & 0x7F80) != 0x7F80);
    if (!fits) {
      throw Error(
          Status::tensor_mismatch,
          "tensor " + spec.name + ": expected values finite in its type, got " + std::to_string(v));
    }
  }
}

void WriteTensor(const TensorSpec& spec, DType dtype, TensorValues values, Rounder* rounder,
                 PayloadWriter* out) {
  CheckValues(spec, dtype, values);
  std::vector<float> scales;
  if (HasScales(dtype)) {
    for (uint64_t r = 0; r < spec.rows; ++r) {
      scales.push_back(RowScale({&values[r * spec.cols], spec.cols}, dtype));
    }
    if (rounder) rounder->Round(spec, dtype, scales, &values);
  }
  const uint64_t row_bytes = PaddedCols(spec, dtype) * ElementSize(dtype);
  const uint64_t step = std::max(kChunkBytes / row_bytes / kPanelRows, uint64_t{1}) * kPanelRows;
  std::vector<std::byte> chunk;
  for (uint64_t first = 0; first < spec.rows; first += step) {
    const uint64_t count = std::min(step, spec.rows - first);
    const uint64_t padded = std::min(step, PaddedRows(spec) - first);
    chunk.assign(padded * row_bytes, std::byte{0});
    const auto of_chunk = scales.empty() ? std::span<const float>()
                                         : std::span<const float>(scales).subspan(first, count);
    EncodeRows(spec, dtype, values, first, count, of_chunk, chunk.data());
    out->Write(chunk.data(), chunk.size());
  }
  out->Align();
  if (scales.empty()) return;
  out->Write(scales.data(), scales.size() * sizeof(float));
  out->Align();
}

// Every segment's place, and the file's size.
uint64_t PlaceAll(const std::vector<TensorSpec>& manifest, DType file_dtype, uint64_t payload,
                  std::vector<Place>* places) {
  Checked at = payload;
  for (size_t i = 0; i < manifest.size(); ++i) {
    const DType dtype = StoredDType(manifest[i], file_dtype);
    Place& place = (*places)[i];
    place.offset = at.value();
    at = (at + TensorBytes(manifest[i], dtype)).AlignUp(kSegmentAlign);
    if (!HasScales(dtype)) continue;
    place.scale_offset = at.value();
    at = (at + ScaleBytes(manifest[i], dtype)).AlignUp(kSegmentAlign);
  }
  if (!at.valid()) {
    throw Error(Status::invalid_config, "model: expected a file size below 2^64 bytes, got more");
  }
  return at.value();
}

// Header and directory of a file whose payload is there.
void WriteHead(const Builder& builder, ModelHeader header, OutputFile* file) {
  header.dir_xxh3 = XXH3_64bits(builder.GetBufferPointer(), builder.GetSize());
  file->WriteAt(kHeaderBytes, builder.GetBufferPointer(), builder.GetSize());
  const auto sealed = EncodeHeader(header);
  file->WriteAt(0, sealed.data(), sealed.size());
}

}  // namespace

void WriteModel(const std::string& path, const WriteRequest& request,
                const std::function<TensorValues(const TensorSpec&)>& values,
                const std::function<void(const std::string& file, Probe*)>& prove) {
  Fault fault;
  if (ValidateConfig(request.config, &fault) != Status::ok) throw Error(fault);
  const std::vector<TensorSpec> manifest = Manifest(request.config);
  size_t tables = manifest.size() + kSpareTables;
  if (const auto& s = request.config.stream) tables += s->inputs.size() + s->outputs.size();
  if (tables > kMaxTables) {
    throw Error(Status::invalid_config, "model: expected at most " + std::to_string(kMaxTables) +
                                            " tensors and channels, got " + std::to_string(tables));
  }
  Probe probe = request.probe;
  if (prove) {  // sized now, filled in later: the directory's size stays
    probe.expected.assign(size_t{probe.steps} * OutputWidth(request.config), 0);
    probe.expected_stored = probe.expected;
  }
  std::vector<Place> places(manifest.size());
  Builder builder;
  BuildDirectory(request, probe, manifest, places, &builder);
  ModelHeader header;
  header.dir_bytes = builder.GetSize();
  header.payload_offset = Checked(kHeaderBytes + header.dir_bytes).AlignUp(kSegmentAlign).value();
  header.file_bytes = PlaceAll(manifest, request.dtype, header.payload_offset, &places);
  BuildDirectory(request, probe, manifest, places, &builder);

  OutputFile file(path);
  const std::vector<std::byte> head(header.payload_offset);
  file.Write(head.data(), head.size());
  PayloadWriter payload(&file, header.payload_offset);
  for (const TensorSpec& spec : manifest) {
    WriteTensor(spec, StoredDType(spec, request.dtype), values(spec), request.rounder, &payload);
  }
  header.payload_xxh3 = payload.hash();
  WriteHead(builder, header, &file);
  if (prove) {
    prove(file.written_path(), &probe);
    BuildDirectory(request, probe, manifest, places, &builder);
    WriteHead(builder, header, &file);
  }
  file.Commit();
}

}  // namespace xst::formats
