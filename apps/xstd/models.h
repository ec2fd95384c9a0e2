// The models of a configuration, each opened once, and the batches their streams share.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "apps/xstd/config.h"
#include "sdk/model.h"
#include "sdk/stream/batch.h"

namespace xstd {

class ModelSet {
 public:
  // Opens what a configuration names. What `former` (may be null) has of an unchanged file is kept;
  // every other model must then verify its probe. Throws xst::Error that names the stream.
  static ModelSet Open(const DaemonConfig& config, const ModelSet* former);
  // Measures which streams to batch, where `former` has not.
  void Decide(const ModelSet* former);

  const std::shared_ptr<const xst::Model>& Of(const StreamConfig& stream) const;
  // Null: streams of this model step one by one, or it is not here.
  std::shared_ptr<xst::stream::Batch> BatchOf(const StreamConfig& stream,
                                              const std::shared_ptr<const xst::Model>& model) const;

 private:
  struct Entry {
    std::shared_ptr<const xst::Model> model;
    std::string header;    // of the file, which seals all of it
    uint32_t streams = 0;  // that `batch` was decided for
    std::shared_ptr<xst::stream::Batch> batch;
  };

  std::map<std::string, Entry> entries_;
};

}  // namespace xstd
