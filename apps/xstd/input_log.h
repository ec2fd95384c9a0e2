// The input log of one acked stream: what was acknowledged and no checkpoint is behind yet.
//
// Files NAME.log.FIRST beside the stream's slots, FIRST the index of the first record in 20 digits;
// indices count a stream's samples from 1 and are the positions of its checkpoints. Little-endian:
// a header (magic "XSTG", u16 major, u16 minor, u32 channels, u32 0, u64 first index, u64 xxh3 of
// all before) and records of one size (u64 seq, f64 t, u32 flags (1: t is the source's), f32
// channels…, u64 xxh3 of all before in the record with its index as the seed).
//
// A record counts if every one before it does, so a torn tail ends at the first bad record: it was
// not acknowledged, for that comes behind the fsync. Every start, and every failed write (after a
// failed fsync nobody knows what of a file is on disk), begins a new file; where files overlap the
// later one counts.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "sdk/stream/sample_log.h"

namespace xstd {

class InputLog : public xst::stream::SampleLog {
 public:
  static constexpr uint64_t kSegment = 1 << 20;          // bytes, then a new file
  static constexpr uint64_t kWantCheckpoint = 16 << 20;  // log behind the last one
  static constexpr uint64_t kMost = 256 << 20;           // then nothing more is kept

  // `from`: the checkpoint that the stream goes on from; null: it is fresh, and what an earlier one
  // left is removed. Throws xst::Error if the log cannot be read or is of another model.
  InputLog(const std::string& folder, const std::string& stream, uint32_t width,
           const xst::formats::Checkpoint* from);
  ~InputLog() override;
  InputLog(const InputLog&) = delete;
  InputLog& operator=(const InputLog&) = delete;

  // About what the start passed over; empty: nothing.
  const std::string& warning() const { return warning_; }
  uint64_t kept() const { return last_index_; }  // before the source runs

  void Replay(uint64_t position,
              const std::function<bool(const xst::stream::SampleHead&, std::span<const float>)>&
                  take) override;
  std::optional<uint64_t> last_seq() const override { return last_seq_; }
  bool Commit(std::span<xst::stream::SampleHead> heads, std::span<const float> x) override;

  // --- control thread
  // A checkpoint at `newest` is on disk and one at `oldest` is the other: what is behind neither is
  // removed.
  void Truncate(uint64_t oldest, uint64_t newest);
  // The log has grown, or its folder was lost and only a checkpoint makes up for it.
  bool WantsCheckpoint() const { return wants_; }
  uint64_t errors() const { return errors_; }
  std::string last_error() const;

 private:
  struct Segment {
    uint64_t first = 0, bytes = 0;
    std::string path;
  };

  InputLog(const std::string& folder, const std::string& stream, uint32_t width);
  size_t RecordBytes() const { return 28 + 4 * size_t{width_}; }
  std::string Path(uint64_t first) const;
  void Find();
  uint64_t Walk(uint64_t position,
                const std::function<bool(const xst::stream::SampleHead&, std::span<const float>)>&
                    take) const;
  bool ReadHeader(const std::vector<std::byte>& bytes, const Segment& segment) const;
  static bool EndsBefore(const std::vector<std::byte>& bytes, const Segment& segment,
                         uint64_t next);
  void Encode(std::span<xst::stream::SampleHead> heads, std::span<const float> x);
  void NewSegment();
  void Write(const void* from, size_t bytes);
  void OpenFolder();
  void CheckFolder();
  void Close();

  const std::string folder_, stream_;
  const uint32_t width_;
  std::string warning_;

  mutable std::mutex mutex_;  // of all below
  std::vector<Segment> segments_;
  int fd_ = -1;  // of the last segment, once one was begun
  uint64_t last_index_ = 0;
  std::optional<uint64_t> last_seq_;
  uint64_t bytes_ = 0, since_checkpoint_ = 0;  // of all segments; written since the newest
  int folder_fd_ = -1;                         // of the one the log is in
  std::optional<uint64_t> lost_at_;            // the folder went away when so much was kept
  std::vector<std::byte> buffer_;
  std::string error_;
  std::atomic<bool> wants_{false};
  std::atomic<uint64_t> errors_{0};
};

}  // namespace xstd
