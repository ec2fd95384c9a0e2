// Writes the corpora that fuzzing starts from: FOLDER/TARGET/NAME, valid files of every kind.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "formats/npy.h"
#include "formats/safetensors.h"
#include "sdk/stream/stream.h"
#include "tests/fuzz/models.h"

namespace {

namespace fs = std::filesystem;
using xst::formats::DType;

fs::path root;

void Put(const std::string& target, const std::string& name, const std::string& content) {
  fs::create_directories(root / target);
  xst::formats::test::WriteText((root / target / name).string(), content);
}

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Family {
  const char *name, *yaml;
};
constexpr Family kFamilies[] = {{"wrapped", xst::test::kWrapped},
                                {"lm", xst::test::kLm},
                                {"large", xst::test::kLarge},
                                {"tirex", xst::test::kTirex}};

void Models() {
  constexpr std::pair<const char*, DType> kTypes[] = {
      {"f32", DType::f32}, {"i16", DType::i16}, {"bf16", DType::bf16}, {"i8", DType::i8}};
  for (const Family& family : kFamilies) {
    for (const auto& [name, dtype] : kTypes) {
      Put("model", std::string(family.name) + "_" + name,
          xst::test::SmallModel(family.yaml, dtype));
    }
  }
}

void Snapshots() {
  for (const Family& family : kFamilies) {
    const auto model = xst::fuzz::OpenSmall(family.yaml);
    xst::Session session(model);
    Put("snapshot", std::string(family.name) + "_fresh", Text(session.save()));
    if (model->info().tokens) {
      std::vector<float> out(model->info().output_width);
      for (int64_t t = 0; t < 5; ++t) session.step(t, out);
      Put("snapshot", std::string(family.name) + "_stepped", Text(session.save()));
      continue;
    }
    xst::stream::Stream stream(model, {.name = "s"}, 7);
    std::vector<float> x(stream.info().input_width, 1);
    for (uint64_t i = 0; i < 8; ++i) {
      xst::stream::SampleHead head;
      head.has_t = head.has_seq = i % 2;
      head.seq = i;
      head.t = static_cast<double>(i) / 100;
      stream.Offer(head, x, {});
      while (stream.Turn()) {
      }
      stream.RequestCheckpoint();
      stream.Turn();
      std::vector<float> y(stream.info().output_width);
      xst::stream::OutputHead out;
      while (stream.Take(&out, y, x)) stream.MarkPublished();
      xst::formats::Checkpoint* checkpoint = stream.FetchCheckpoint();
      if (!checkpoint) std::abort();
      checkpoint->name = "s";
      checkpoint->generation = i + 1;
      std::vector<std::byte> bytes;
      WriteCheckpoint(*checkpoint, &bytes);
      const std::string name = std::string(family.name) + "_" + std::to_string(i);
      Put("checkpoint", name, Text(bytes));
      Put("snapshot", name, Text(checkpoint->session));
    }
  }
}

void Wire() {
  const char* messages[] = {
      "{\"t\": 1.5, \"x\": [1, null, -2.5e-3], \"seq\": 18446744073709551615}",
      "{\"x\": [0.1]}",
      "{\"seq\": 3, \"more\": {\"deep\": [[], {}]}, \"x\": [1, 2]}",
      "1,2,3,4",
      "1.6e9,nan,,inf,3.4e38",
      "7\n",
      "{\"t\": -0.0, \"x\": [1e-45, 16777217]}"};
  int n = 0;
  for (const char* message : messages) {
    for (char width = 0; width < 4; ++width) {
      Put("wire", std::to_string(n++), std::string(1, width) + message);
    }
  }
}

// Every configuration that the tests and the examples have.
void Configs(const fs::path& source) {
  int n = 0;
  for (const Family& family : kFamilies) Put("config", family.name, family.yaml);
  for (const char* folder : {"tests/vectors", "apps"}) {
    for (const auto& entry : fs::recursive_directory_iterator(source / folder)) {
      const std::string name = entry.path().filename();
      if (name != "config.yaml" && name != "config.json" && name != "xstd.yaml") continue;
      std::ifstream file(entry.path());
      Put(name == "xstd.yaml" ? "daemon_config" : "config", std::to_string(n++),
          {std::istreambuf_iterator<char>(file), {}});
    }
  }
  Put("daemon_config", "all",
      "publish: {endpoint: \"tcp://127.0.0.1:9872\", encoding: json}\n"
      "http: {endpoint: \"127.0.0.1:9873\"}\nstate_dir: state\nstreams:\n"
      "  - {name: a, model: m.xst, device: \"cpu:2\", queue: 16, on_full: drop_oldest,\n"
      "     source: {type: replay, file: a.csv, speed: 0.5}}\n"
      "  - {name: b, model: m.xst, source: {type: pull, endpoint: \"ipc:///tmp/b\"}}\n"
      "  - {name: c, model: m.xst, source: {type: sub, endpoint: \"tcp://h:1\", topic: x/}}\n"
      "  - name: d\n    model: m.xst\n    source: {type: stdin}\n");
}

void Tables() {
  const fs::path path = root / "made";
  const float floats[] = {1, -2, std::numeric_limits<float>::quiet_NaN(), 4, 5, 6};
  const int64_t integers[] = {1, -2, 3, 4};
  const auto keep = [&](const char* target, const char* name) {
    Put(target, name, xst::formats::test::ReadText(path));
    fs::remove(path);
  };
  xst::formats::WriteNpy(path, {2, 3}, floats);
  keep("npy", "f4");
  xst::formats::WriteNpy(path, {2, 2, 1}, integers);
  keep("npy", "i8");
  xst::formats::WriteNpy(path, {0}, floats);
  keep("npy", "empty");
  xst::formats::WriteCsv(path, {"t", "a", "b"}, 2, floats);
  keep("csv", "three");
  Put("csv", "quoted", "\"a\"\r\n1\r\n\r\nnan\r\n");
  xst::formats::WriteSafetensors(
      path, {{"a.weight", {2, 3}, {floats, floats + 6}}, {"b", {1}, {7}}, {"c", {0}, {}}});
  keep("safetensors", "three");
  const auto header = [](std::string json) {
    const uint64_t length = json.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + json;
  };
  Put("safetensors", "types",
      header("{\"__metadata__\":{\"format\":\"pt\"},"
             "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
             "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[4,8]},"
             "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[8,16]},"
             "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[16,24]}}") +
          "0123456789abcdefghijklmn");
  Put("safetensors", "index",
      "{\"metadata\": {\"total_size\": 8}, \"weight_map\": "
      "{\"a\": \"model-00001-of-00002.safetensors\", \"b\": "
      "\"model-00002-of-00002.safetensors\"}}");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  root = argv[2];
  fs::create_directories(root);
  Models();
  Snapshots();
  Wire();
  Configs(argv[1]);
  Tables();
}
