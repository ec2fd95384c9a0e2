// A folder for what lives as long as a pack.
#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "formats/status.h"

namespace xst {

// A folder beside `path`, where there must be room, that is removed with everything in it.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& path) {
    std::string name = path + ".probe-XXXXXX";
    if (!mkdtemp(name.data())) {
      throw Error(
          Status::io_error,
          path + ": expected a folder for temporary files beside it, got " + std::strerror(errno));
    }
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace xst
