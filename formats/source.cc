#include "formats/source.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "formats/output_file.h"
#include "formats/status.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxIndex = uint64_t{1} << 24;
constexpr size_t kMaxDepth = 16;
constexpr uint32_t kMaxShards = 4096;
constexpr char kIndexName[] = "model.safetensors.index.json";

// A name of a file beside the index, and of nothing else.
bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos &&
         name != "." && name != "..";
}

// {"metadata": anything, "weight_map": {"TENSOR": "FILE", ...}}
class IndexReader : public nlohmann::json_sax<json> {
 public:
  std::map<std::string, std::string> files;
  std::string error;
  bool found = false;

  bool null() override { return Other("null"); }
  bool boolean(bool) override { return Other("a boolean"); }
  bool number_integer(int64_t) override { return Other("a number"); }
  bool number_unsigned(uint64_t) override { return Other("a number"); }
  bool number_float(double, const std::string&) override { return Other("a number"); }
  bool binary(binary_t&) override { return Other("binary data"); }
  bool string(std::string& text) override {
    if (!InMap()) return Other("a string");
    if (!IsPlainName(text)) {
      return Fail(Printable(key_, 128) + ": expected the name of a file in the same folder, got " +
                  Printable(text, 128));
    }
    if (!files.emplace(key_, text).second) {
      return Fail(Printable(key_, 128) + ": expected the tensor once, got it twice");
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (depth_ == 1 && key_ == "weight_map") {
      if (found) return Fail("expected one weight_map, got two");
      found = in_map_ = true;
    } else if (!Other("an object")) {
      return false;
    }
    return Deeper();
  }
  bool end_object() override {
    if (--depth_ == 1) in_map_ = false;
    return true;
  }
  bool start_array(std::size_t) override { return Other("a list") && Deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(std::string& text) override {
    if (depth_ == 1 || InMap()) key_ = text;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return Fail("expected valid JSON, got other text at byte " + std::to_string(position));
  }

 private:
  bool InMap() const { return in_map_ && depth_ == 2; }
  bool Deeper() { return ++depth_ <= kMaxDepth || Fail("expected at most 16 levels, got more"); }
  // Anything is fine beside the weight_map, only file names in it.
  bool Other(const char* got) {
    const bool bad = in_map_ || (depth_ == 1 && key_ == "weight_map");
    return !bad || Fail(std::string("weight_map: expected file names by tensor, got ") + got);
  }
  bool Fail(const std::string& what) {
    error = what;
    return false;
  }

  size_t depth_ = 0;
  bool in_map_ = false;
  std::string key_;
};

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// model-00001-of-0000N.safetensors, all N; or model_0.safetensors and on. Empty if there is none.
std::vector<std::string> NumberedFiles(const fs::path& folder) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < kMaxShards; ++i) {
    const fs::path path = folder / ("model_" + std::to_string(i) + ".safetensors");
    if (!Exists(path)) break;
    names.push_back(path);
  }
  if (!names.empty()) return names;
  uint32_t total = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    uint32_t part, parts;
    int end = 0;
    const std::string name = entry.path().filename();
    if (std::sscanf(name.c_str(), "model-%5u-of-%5u.safetensors%n", &part, &parts, &end) == 2 &&
        static_cast<size_t>(end) == name.size() && parts <= kMaxShards) {
      total = std::max(total, parts);
    }
  }
  for (uint32_t i = 1; i <= total; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", i, total);
    names.push_back(folder / name);
  }
  return names;
}

void FindWeights(const fs::path& folder, SourceFiles* out) {
  if (const fs::path index = folder / kIndexName; Exists(index)) {
    std::set<std::string> files;
    for (const auto& [tensor, file] : ParseIndex(ReadAll(index, kMaxIndex), index)) {
      out->index[tensor] = folder / file;
      files.insert(folder / file);
    }
    out->weights.assign(files.begin(), files.end());
    return;
  }
  for (const char* name : {"weights.safetensors", "model.safetensors"}) {
    if (!Exists(folder / name)) continue;
    out->weights = {folder / name};
    return;
  }
  out->weights = NumberedFiles(folder);
  if (out->weights.empty()) {
    throw Error(Status::not_found, folder.string() +
                                       ": expected weights.safetensors, model.safetensors or "
                                       "shards of it, got none");
  }
}

}  // namespace

std::map<std::string, std::string> ParseIndex(std::string_view text, const std::string& name) {
  IndexReader reader;
  const bool parsed = json::sax_parse(text, &reader);
  if (parsed && (!reader.found || reader.files.empty())) {
    reader.error = "expected a weight_map with tensors, got none";
  }
  if (!reader.error.empty()) throw Error(Status::corrupt, name + ": " + reader.error);
  return std::move(reader.files);
}

SourceFiles FindSource(const std::string& source, const std::string& config) {
  std::error_code ignored;
  const fs::path path(source);
  const bool folder = fs::is_directory(path, ignored);
  const fs::path beside = folder ? path : path.parent_path();
  SourceFiles files;
  if (folder) {
    FindWeights(path, &files);
  } else {
    files.weights = {source};
  }
  if (!config.empty()) {
    files.config = config;
    return files;
  }
  for (const char* name : {"config.yaml", "config.json"}) {
    if (!Exists(beside / name)) continue;
    files.config = beside / name;
    return files;
  }
  throw Error(Status::not_found, (beside.empty() ? fs::path(".") : beside).string() +
                                     ": expected config.yaml or config.json there, or --config, "
                                     "got none");
}

SourceTensors::SourceTensors(const SourceFiles& files) {
  std::map<std::string, std::string> where;
  for (const std::string& path : files.weights) {
    files_.push_back(std::make_unique<Safetensors>(path));
    const Safetensors& file = *files_.back();
    for (const Safetensors::Entry& entry : file.entries()) {
      const std::string shown = Printable(entry.name, 128);
      const auto [at, fresh] = where.emplace(entry.name, path);
      if (!fresh) {
        throw Error(Status::tensor_mismatch, path + ": expected each tensor in one file, got " +
                                                 shown + " of " + at->second);
      }
      const auto listed = files.index.find(entry.name);
      if (!files.index.empty() && (listed == files.index.end() || listed->second != path)) {
        throw Error(Status::tensor_mismatch,
                    path + ": expected the tensors that the index says, got " + shown);
      }
      tensors_[entry.name] = {&file, &entry};
    }
  }
  for (const auto& [tensor, path] : files.index) {
    if (tensors_.count(tensor)) continue;
    throw Error(Status::tensor_mismatch, path + ": expected tensor " + Printable(tensor, 128) +
                                             ", which the index says is there, got none");
  }
}

const SourceTensors::Tensor* SourceTensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace xst::formats
