#include "tests/support/vectors.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>

#include "formats/npy.h"
#include "formats/pack.h"
#include "sdk/probe.h"

namespace xst::test {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string name = fs::temp_directory_path() / "xst-test-XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<float> ReadFloats(const fs::path& path) {
  return fs::exists(path) ? formats::ReadNpy(path).f32 : std::vector<float>{};
}

// `suggested_abs_tolerance_f32` of a case.yaml, 0 without one.
double SuggestedTolerance(const fs::path& path) {
  const std::string key = "suggested_abs_tolerance_f32: ";
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key)) return std::stod(line.substr(key.size()));
  }
  return 0;
}

}  // namespace

double Case::Tolerance() const {
  return std::max(
      {4 * LargestDifference(official, expected), 2e-6 * LargestMagnitude(expected), suggested});
}

double Case::ForwardTolerance() const {
  return std::max(Tolerance(), forward.empty() ? 0 : LargestDifference(forward, expected));
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  for (const char* family : {"block_stack", "large", "stream"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(XST_TEST_DATA) / family)) {
      if (entry.is_directory()) {
        names.push_back(std::string(family) + "/" + entry.path().filename().string());
      }
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Case LoadCase(const std::string& name) {
  const fs::path folder = fs::path(XST_TEST_DATA) / name;
  Case c;
  c.name = name;
  const formats::Array in = formats::ReadNpy(folder / "input.npy");
  c.tokens = !in.is_f32;
  c.input = in.f32;
  c.token_input = in.i64;
  c.expected = ReadFloats(folder / "expected.npy");
  c.official = ReadFloats(folder / "official_f32.npy");
  c.forward = ReadFloats(folder / "forward_f32.npy");
  c.suggested = SuggestedTolerance(folder / "case.yaml");
  c.steps = in.shape[0];
  const size_t leading = c.tokens ? in.shape.size() : in.shape.size() - 1;
  c.columns = leading == 2 ? in.shape[1] : 1;
  c.in_width = c.tokens ? 1 : in.shape.back();
  c.out_width = c.expected.size() / (c.steps * c.columns);
  return c;
}

std::string PackedCase(const std::string& name, formats::DType dtype) {
  static Folder folder;
  static std::mutex mutex;
  static std::map<std::pair<std::string, formats::DType>, std::string> packed;
  const std::lock_guard lock(mutex);
  std::string& path = packed[{name, dtype}];
  if (path.empty()) {
    std::string file = name;
    std::replace(file.begin(), file.end(), '/', '.');
    path = folder.path() / (file + "." + std::to_string(static_cast<int>(dtype)) + ".xst");
    const std::string source = fs::path(XST_TEST_DATA) / name;
    formats::PackOptions options;
    options.dtype = dtype;
    formats::PackModel(source, path, options);
  }
  return path;
}

std::shared_ptr<const Model> OpenCase(const std::string& name, const std::string& isa,
                                      const std::string& device, Arithmetic arithmetic,
                                      bool resident, formats::DType dtype) {
  Options options;
  options.resident = resident;
  options.isa = isa;
  options.arithmetic = arithmetic;
  Fault fault;
  if (Device::Parse(device, &options.device, &fault) != Status::ok) throw Error(fault);
  return Model::open(PackedCase(name, dtype), options);
}

bool HasCuda(std::string* why) {
  static const std::string reason = [] {
    try {
      OpenCase("block_stack/kernel_one", "", "cuda:0");
    } catch (const Error& e) {
      // A device that is there but does not work is not a reason to skip.
      if (e.code() == Status::no_device) return std::string(e.what());
    }
    return std::string();
  }();
  *why = reason;
  return reason.empty();
}

std::shared_ptr<const Model> OpenSmall(const std::string& config_yaml,
                                       const std::vector<formats::NamedTensor>& weights,
                                       const std::string& device) {
  const Folder folder;
  std::ofstream(folder.path() / "config.yaml") << config_yaml;
  formats::WriteSafetensors(folder.path() / "weights.safetensors", weights);
  const std::string path = folder.path() / "small.xst";
  formats::PackModel(folder.path(), path, {});
  Options options;
  Fault fault;
  if (Device::Parse(device, &options.device, &fault) != Status::ok) throw Error(fault);
  return Model::open(path, options);
}

std::shared_ptr<const Model> OpenTirex(const std::string& forecast, const std::string& device) {
  const fs::path folder = fs::path(XST_TEST_DATA) / "tirex/01_small";
  std::ifstream file(folder / "config.yaml");
  std::string yaml{std::istreambuf_iterator<char>(file), {}};
  yaml = yaml.substr(0, yaml.find("forecast:")) + "forecast: " + forecast + "\n";
  const formats::Safetensors weights(folder / "weights.safetensors");
  std::vector<formats::NamedTensor> tensors;
  for (const auto& entry : weights.entries()) {
    tensors.push_back({entry.name, entry.shape, weights.read(entry)});
  }
  return OpenSmall(yaml, tensors, device);
}

std::vector<float> StepColumn(Session& session, const Case& c, uint64_t column, uint64_t begin,
                              uint64_t end) {
  std::vector<float> out((end - begin) * c.out_width);
  for (uint64_t t = begin; t < end; ++t) {
    const std::span<float> to(out.data() + (t - begin) * c.out_width, c.out_width);
    const uint64_t row = t * c.columns + column;
    if (c.tokens) {
      session.step(c.token_input[row], to);
    } else {
      session.step({c.input.data() + row * c.in_width, c.in_width}, to);
    }
  }
  return out;
}

std::vector<float> ForwardColumn(Session& session, const Case& c, uint64_t column) {
  std::vector<float> out(c.steps * c.out_width), in;
  std::vector<int64_t> tokens;
  for (uint64_t t = 0; t < c.steps; ++t) {
    const uint64_t row = t * c.columns + column;
    if (c.tokens) {
      tokens.push_back(c.token_input[row]);
    } else {
      in.insert(in.end(), c.input.begin() + row * c.in_width,
                c.input.begin() + (row + 1) * c.in_width);
    }
  }
  if (c.tokens) {
    session.forward(tokens, out);
  } else {
    session.forward(in, out);
  }
  return out;
}

double ColumnError(const Case& c, uint64_t column, const std::vector<float>& got,
                   const std::vector<float>& want) {
  std::vector<float> mine;
  for (uint64_t t = 0; t < c.steps; ++t) {
    const auto from = want.begin() + (t * c.columns + column) * c.out_width;
    mine.insert(mine.end(), from, from + c.out_width);
  }
  return LargestDifference(got, mine);
}

}  // namespace xst::test
