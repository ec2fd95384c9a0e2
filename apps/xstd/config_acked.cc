#include "apps/xstd/config_acked.h"

namespace xstd {

void CheckAcked(const xst::formats::ConfigSource& file, const xst::formats::YamlNode& item,
                const std::string& path, const StreamConfig& stream, bool has_state_dir) {
  if (stream.source.type != SourceConfig::Type::acked) return;
  if (!has_state_dir) {
    xst::formats::FailAt(file.name, item,
                         path +
                             ".source: expected a state_dir at the top of the file, where an "
                             "acked source keeps what it acknowledges, got none");
  }
  if (stream.on_full != xst::stream::OnFull::block) {
    xst::formats::FailAt(file.name, item,
                         path +
                             ".on_full: expected block, for an acked source loses nothing, got "
                             "drop_oldest");
  }
}

}  // namespace xstd
