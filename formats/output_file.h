// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace xst::formats {

// Writes to a temporary in the target's folder; Commit syncs and renames it, destruction without
// Commit removes it. A target that exists and is no regular file (a device, a pipe) is written
// directly. Every failure throws Error{io_error}.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void Write(const void* bytes, size_t size);
  void WriteAt(uint64_t offset, const void* bytes, size_t size);
  void Commit();
  // Where the bytes are before Commit.
  const std::string& written_path() const { return temporary_.empty() ? path_ : temporary_; }

 private:
  [[noreturn]] void Fail(const char* what) const;

  std::string path_, temporary_;  // temporary_ is empty when written directly
  int fd_ = -1;
};

// All of standard input or of a file; Error{not_found, io_error}. More than `limit` bytes:
// Error{truncated}.
std::string ReadAll(const std::string& path, uint64_t limit);
// To standard output.
void WriteStandardOutput(const void* bytes, size_t size);

}  // namespace xst::formats
