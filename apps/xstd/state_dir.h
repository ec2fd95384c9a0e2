// Checkpoints on disk: two slots a stream, NAME.a and NAME.b, so that a torn write leaves the
// other.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace xstd {

class StateDir {
 public:
  // Makes the folder if it is missing and locks it against a second daemon. Throws xst::Error.
  explicit StateDir(const std::string& path);
  ~StateDir();
  StateDir(const StateDir&) = delete;
  StateDir& operator=(const StateDir&) = delete;

  struct Found {
    std::optional<xst::formats::Checkpoint> checkpoint;
    std::string file;     // it came from, or where the first will go
    std::string warning;  // about a slot that was passed over; empty: none
  };
  // The newest valid checkpoint of a stream. Throws xst::Error if there were some and none can be
  // read: starting over would silently forget the stream's state.
  Found Read(const std::string& stream);

  // Writes over the older slot and waits for the disk. Sets checkpoint->generation and name. Throws
  // xst::Error (full disk, read-only disk); the newest valid slot is never touched.
  void Write(const std::string& stream, xst::formats::Checkpoint* checkpoint);

  const std::string& path() const { return path_; }
  // Slot 0 or 1: the file NAME.a or NAME.b.
  std::string SlotPath(const std::string& stream, int slot) const;

 private:
  struct Slots {
    uint64_t generation = 0;  // of the newest valid
    int next = 0;             // slot to write
    bool named[2] = {};       // its name is on disk
  };
  std::string path_;
  int folder_ = -1;  // descriptor, holds the lock
  std::map<std::string, Slots> slots_;
  std::vector<std::byte> bytes_;
};

}  // namespace xstd
