#include "apps/xstd/models.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <fstream>
#include <utility>

namespace xstd {

using xst::Error;
using xst::Status;

namespace {

constexpr size_t kHeaderBytes = 64;

std::string KeyOf(const StreamConfig& stream) {
  return stream.model + "\n" + stream.device.ToString();
}

std::string ReadHeader(const std::string& path) {
  std::string header(kHeaderBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  header.resize(static_cast<size_t>(file.gcount()));
  return header;
}

void Verify(const xst::Model& model, const std::string& path) {
  const xst::ProbeResult probe = model.verify();
  if (probe.pass()) return;
  char text[128];
  std::snprintf(text, sizeof(text), ": expected a probe error of at most %.3g on %s, got %.3g",
                probe.bound, model.info().device.c_str(), probe.error);
  throw Error(Status::corrupt, path + text);
}

}  // namespace

ModelSet ModelSet::Open(const DaemonConfig& config, const ModelSet* former) {
  ModelSet set;
  for (const StreamConfig& stream : config.streams) {
    try {
      Entry& entry = set.entries_[KeyOf(stream)];
      ++entry.streams;
      if (entry.model) continue;
      entry.header = ReadHeader(stream.model);  // before the file is opened: never newer than it
      if (former) {
        const auto found = former->entries_.find(KeyOf(stream));
        if (found != former->entries_.end() && found->second.header == entry.header) {
          entry.model = found->second.model;
          continue;
        }
      }
      xst::Options options;
      options.device = stream.device;
      options.check_full = former != nullptr;
      entry.model = xst::Model::open(stream.model, options);
      if (former) Verify(*entry.model, stream.model);
    } catch (const Error& e) {
      throw Error(e.code(), "stream " + stream.name + ": " + e.what());
    }
  }
  return set;
}

void ModelSet::Decide(const ModelSet* former) {
  for (auto& [key, entry] : entries_) {
    if (former) {
      const auto found = former->entries_.find(key);
      if (found != former->entries_.end() && found->second.model == entry.model &&
          found->second.streams >= entry.streams) {
        entry.streams = found->second.streams;
        entry.batch = found->second.batch;
        continue;
      }
    }
    try {
      entry.batch = xst::stream::Batch::MakeIfFaster(entry.model, entry.streams);
    } catch (const Error& e) {
      spdlog::warn("{} streams of one model step one by one: {}", entry.streams, e.what());
    }
  }
}

const std::shared_ptr<const xst::Model>& ModelSet::Of(const StreamConfig& stream) const {
  return entries_.at(KeyOf(stream)).model;
}

std::shared_ptr<xst::stream::Batch> ModelSet::BatchOf(
    const StreamConfig& stream, const std::shared_ptr<const xst::Model>& model) const {
  const auto found = entries_.find(KeyOf(stream));
  if (found == entries_.end() || found->second.model != model) return nullptr;
  return found->second.batch;
}

}  // namespace xstd
