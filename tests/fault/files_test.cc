// Every allocation and every file operation of reading, packing, stepping and keeping state fails
// once: an error or success, and what was there before is still there.
#include <gtest/gtest.h>

#include <cstring>

#include "apps/xstd/config.h"
#include "apps/xstd/input_log.h"
#include "apps/xstd/state_dir.h"
#include "formats/npy.h"
#include "formats/output_file.h"
#include "sdk/memory.h"
#include "sdk/stream/stream.h"
#include "tests/fault/small_models.h"
#include "tests/fault/sweep.h"

namespace xst {
namespace {

using formats::test::ScratchFolder;
using test::Io;
using test::Outcome;
using test::Sweep;

constexpr Io kKinds[] = {Io::eio, Io::enospc, Io::eintr, Io::half};

// Both sweeps; a program under a sanitizer keeps its malloc.
void All(const Sweep& sweep) {
#ifndef XST_SANITIZED
  const long allocations = sweep.EveryAllocation();
  EXPECT_GT(allocations, 0);
  std::printf("%ld allocations", allocations);
#endif
  for (const Io io : kKinds) {
    if (testing::Test::HasFailure()) return;
    std::printf(", %ld operations", sweep.EveryOperation(io));
  }
  std::printf("\n");
}

class Files : public testing::TestWithParam<const char*> {
 protected:
  Files() { formats::test::WriteText(folder_ / "m.xst", bytes_); }
  std::vector<float> Outputs(const std::shared_ptr<const Model>& model) {
    Session session(model);
    std::vector<float> in(model->info().input_width, 0.5f), out(model->info().output_width), all;
    for (int64_t t = 0; t < 3; ++t) {
      EXPECT_EQ(model->info().tokens ? session.step(t, out) : session.step(in, out), Status::ok);
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

  const std::string bytes_ = test::SmallModel(GetParam(), formats::DType::f32);
  const ScratchFolder folder_;
};

TEST_P(Files, AModelOpensAndStepsOrSaysWhyNot) {
  const std::vector<float> want = Outputs(Model::open(folder_ / "m.xst"));
  std::vector<float> got;
  All({.prepare = [&] { got.clear(); },
       .operation = [&] { got = Outputs(Model::open(folder_ / "m.xst")); },
       .check =
           [&](const Outcome& o) {
             EXPECT_TRUE(!o.ok ||
                         std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
           }});
}

TEST_P(Files, AFailedPackLeavesTheFormerFile) {
  const formats::ModelConfig config = formats::ParseConfig(GetParam(), "c", nullptr);
  const ScratchFolder source;
  WriteSafetensors(source / "weights.safetensors", formats::test::RandomCheckpoint(config, 3));
  formats::test::WriteText(source / "config.yaml", GetParam());
  const std::string target = folder_ / "m.xst";
  formats::PackModel(source.path(), target, {});
  const std::string packed = formats::test::ReadText(target);
  All({.prepare = [&] { formats::test::WriteText(target, "the former file"); },
       .operation = [&] { formats::PackModel(source.path(), target, {}); },
       .check =
           [&](const Outcome& o) {
             const std::string now = formats::test::ReadText(target);
             EXPECT_TRUE(o.ok ? now == packed : now == packed || now == "the former file");
             EXPECT_EQ(folder_.files(), 1u);
           }});
}

TEST_P(Files, WeightsAreUnpackedWholeOrNotAtAll) {
  const std::string to = folder_ / "w.safetensors";
  All({.prepare = [&] { std::filesystem::remove(to); },
       .operation = [&] { formats::UnpackModel(folder_ / "m.xst", to); },
       .check =
           [&](const Outcome& o) {
             EXPECT_TRUE(std::filesystem::exists(to) || !o.ok);
             EXPECT_EQ(folder_.files(), std::filesystem::exists(to) ? 2u : 1u);
             if (std::filesystem::exists(to)) {
               EXPECT_FALSE(formats::Safetensors(to).entries().empty());
             }
           }});
}

TEST_P(Files, SnapshotsOnDisk) {
  const auto model = Model::open(folder_ / "m.xst");
  Session session(model);
  const std::vector<std::byte> fresh = session.save();
  const std::string path = folder_ / "s.state";
  const auto read = [&] { return formats::ReadAll(path, 1 << 20); };
  const auto is = [&](const std::string& text, const std::vector<std::byte>& bytes) {
    return text.size() == bytes.size() && std::memcmp(text.data(), bytes.data(), bytes.size()) == 0;
  };
  const std::vector<std::byte> other(fresh.size(), std::byte{7});
  All({.prepare =
           [&] {
             formats::OutputFile file(path);
             file.Write(other.data(), other.size());
             file.Commit();
             session.reset();
           },
       .operation =
           [&] {
             const std::vector<std::byte> now = session.save();
             formats::OutputFile file(path);
             file.Write(now.data(), now.size());
             file.Commit();
             const std::string back = read();
             session.load(std::as_bytes(std::span(back)));
           },
       .check =
           [&](const Outcome& o) {
             const std::string now = read();
             EXPECT_TRUE(is(now, fresh) || (!o.ok && is(now, other)));
             EXPECT_EQ(session.save(), fresh);
             EXPECT_EQ(folder_.files(), 2u);
           }});
}

std::string NameOf(const testing::TestParamInfo<const char*>& instance) {
  constexpr const char* kNames[] = {"wrapped", "lm", "large", "tirex"};
  return kNames[instance.index];
}
INSTANTIATE_TEST_SUITE_P(Models, Files,
                         testing::Values(test::kWrapped, test::kLm, test::kLarge, test::kTirex),
                         NameOf);

TEST(FilesOfAnyKind, ArraysAndTables) {
  const ScratchFolder folder;
  const float values[] = {1, 2, 3, 4};
  const std::string npy = folder / "a.npy", csv = folder / "a.csv";
  formats::WriteNpy(npy, {2, 2}, values);
  formats::WriteCsv(csv, {"a", "b"}, 2, values);
  std::vector<float> got;
  All({.operation =
           [&] {
             formats::WriteNpy(npy, {2, 2}, values);
             formats::WriteCsv(csv, {"a", "b"}, 2, values);
             got = formats::ReadNpy(npy).f32;
             std::vector<std::string> columns;
             const auto table = formats::ReadCsv(csv, &columns);
             got.insert(got.end(), table.f32.begin(), table.f32.end());
           },
       .check =
           [&](const Outcome& o) {
             if (o.ok) {
               EXPECT_EQ(got, (std::vector<float>{1, 2, 3, 4, 1, 2, 3, 4}));
             }
             EXPECT_EQ(formats::ReadNpy(npy).f32, (std::vector<float>{1, 2, 3, 4}));
             EXPECT_EQ(formats::ReadCsv(csv, nullptr).f32, (std::vector<float>{1, 2, 3, 4}));
             EXPECT_EQ(folder.files(), 2u);
           }});
}

TEST(FilesOfAnyKind, ALargeModelIsMapped) {
  const ScratchFolder folder;
  formats::test::WriteText(folder / "m", std::string(5000, 'x'));
  All({.operation = [&] {
    Memory memory;
    Fault fault;
    if (Memory::ReadFile(folder / "m", 1, &memory, &fault) != Status::ok) throw Error(fault);
    EXPECT_EQ(std::to_integer<char>(memory.bytes()[4999]), 'x');
  }});
}

formats::Checkpoint Some(uint64_t seq) {
  formats::Checkpoint c;
  c.epoch = 99;
  c.seq = seq;
  c.clock = {true, true, false, 2.5, 8};
  c.session.assign(1000, std::byte{static_cast<unsigned char>(seq)});
  return c;
}

// With `afresh` every write is the first into a new folder, else one of a long row.
void FailWrites(bool afresh) {
  const ScratchFolder folder;
  auto state = std::make_unique<xstd::StateDir>(folder / "s");
  uint64_t seq = 0;  // of the newest that was written without an error
  uint64_t next = 0;
  All({.prepare =
           [&] {
             if (afresh) {
               state.reset();
               std::filesystem::remove_all(folder / "s");
               state = std::make_unique<xstd::StateDir>(folder / "s");
               seq = 0;
             }
             ++next;
           },
       .operation =
           [&] {
             formats::Checkpoint c = Some(next);
             state->Write("ecg", &c);
           },
       .check =
           [&](const Outcome& o) {
             // What a next daemon would find; this one goes on.
             std::filesystem::remove_all(folder / "copy");
             std::filesystem::copy(folder / "s", folder / "copy");
             const auto found = xstd::StateDir(folder / "copy").Read("ecg");
             ASSERT_TRUE(found.checkpoint || (seq == 0 && !o.ok));
             if (found.checkpoint) {
               const uint64_t got = found.checkpoint->seq;
               EXPECT_TRUE(got == next || (!o.ok && got == seq)) << got;
               EXPECT_EQ(found.checkpoint->session, Some(got).session);
             }
             formats::Checkpoint c = Some(++next);
             state->Write("ecg", &c);
             EXPECT_EQ(state->Read("ecg").checkpoint->seq, next);
             seq = next;
           }});
}

TEST(StateDirFaults, AFailedFirstWrite) { FailWrites(true); }
TEST(StateDirFaults, AFailedWriteLeavesTheFormerState) { FailWrites(false); }

TEST(StateDirFaults, OpeningAndReading) {
  const ScratchFolder folder;
  for (uint64_t seq = 1; seq <= 3; ++seq) {
    xstd::StateDir state(folder / "s");
    state.Read("ecg");
    formats::Checkpoint c = Some(seq);
    state.Write("ecg", &c);
  }
  uint64_t seq = 0;
  All({.prepare = [&] { seq = 0; },
       .operation =
           [&] {
             xstd::StateDir state(folder / "s");
             seq = state.Read("ecg").checkpoint->seq;
           },
       .check =
           [&](const Outcome& o) {
             if (o.ok) {
               EXPECT_EQ(seq, 3u);  // never an older one by accident
             }
             xstd::StateDir state(folder / "s");
             EXPECT_EQ(state.Read("ecg").checkpoint->seq, 3u);
           }});
}

// What a log kept, from its begin; each sample is its own number.
uint64_t Kept(const std::string& folder) {
  const formats::Checkpoint begin;
  xstd::InputLog log(folder, "ecg", 2, &begin);
  uint64_t kept = 0;
  log.Replay(0, [&](const stream::SampleHead& head, std::span<const float> x) {
    EXPECT_EQ(head.seq, kept);
    EXPECT_EQ(x[1], static_cast<float>(kept));
    ++kept;
    return true;
  });
  return kept;
}

TEST(InputLogFaults, WhatWasAcknowledgedIsKept) {
  const ScratchFolder folder;
  uint64_t acknowledged = 0, offered = 0;
  All({.prepare =
           [&] {
             acknowledged = offered = 0;
             std::filesystem::remove_all(folder / "s");
             std::filesystem::create_directory(folder / "s");
           },
       .operation =
           [&] {
             xstd::InputLog log(folder / "s", "ecg", 2, nullptr);
             for (int tries = 0; tries < 5 && acknowledged < 6; ++tries) {
               stream::SampleHead heads[2];
               float x[4] = {};
               for (uint64_t i = 0; i < 2; ++i) {
                 heads[i].seq = acknowledged + i;
                 x[2 * i + 1] = static_cast<float>(acknowledged + i);
               }
               offered = acknowledged + 2;
               if (log.Commit(heads, x)) acknowledged += 2;  // else the client sends it again
             }
           },
       .check =
           [&](const Outcome& o) {
             EXPECT_TRUE(!o.ok || acknowledged == 6);
             const uint64_t kept = Kept(folder / "s");
             EXPECT_TRUE(kept >= acknowledged && kept <= offered) << kept << " " << acknowledged;
           }});
}

TEST(InputLogFaults, ReadingItBack) {
  const ScratchFolder folder;
  {
    xstd::InputLog log(folder.path(), "ecg", 2, nullptr);
    for (uint64_t i = 0; i < 5; ++i) {
      stream::SampleHead head;
      head.seq = i;
      const float x[] = {0, static_cast<float>(i)};
      ASSERT_TRUE(log.Commit({&head, 1}, x));
    }
  }
  uint64_t kept = 0;
  All({.operation = [&] { kept = Kept(folder.path()); },
       .check =
           [&](const Outcome& o) {
             EXPECT_TRUE(!o.ok || kept == 5u) << kept;
             EXPECT_EQ(Kept(folder.path()), 5u);
           }});
}

// From opening the model to a stream that resumed from its own state on disk.
TEST(StreamFaults, AWholeLife) {
  const ScratchFolder folder;
  formats::test::WriteText(folder / "m.xst", test::SmallModel(test::kWrapped, formats::DType::f32));
  uint64_t seq = 0;
  All({.prepare =
           [&] {
             seq = 0;
             std::filesystem::remove_all(folder / "s");
           },
       .operation =
           [&] {
             const auto model = Model::open(folder / "m.xst");
             for (int life = 0; life < 2; ++life) {
               xstd::StateDir state(folder / "s");
               stream::Stream stream(model, {.name = "ecg", .queue = 8}, 7);
               if (auto found = state.Read("ecg"); found.checkpoint) {
                 stream.Restore(*found.checkpoint);
               }
               const std::vector<float> x(stream.info().input_width, 0.5f);
               for (int i = 0; i < 4; ++i) stream.Offer({}, x, {});
               while (stream.Turn()) {
               }
               stream::OutputHead head;
               std::vector<float> y(stream.info().output_width), seen(x.size());
               while (stream.Take(&head, y, seen)) stream.MarkPublished();
               stream.RequestCheckpoint();
               stream.Turn();
               state.Write("ecg", stream.FetchCheckpoint());
               seq = head.seq;
             }
           },
       .check =
           [&](const Outcome& o) {
             if (o.ok) {
               EXPECT_EQ(seq, 7u);
             }
             xstd::StateDir state(folder / "s");
             const auto found = state.Read("ecg");
             if (found.checkpoint) {
               EXPECT_TRUE(found.checkpoint->seq == 4 || found.checkpoint->seq == 8);
             }
           }});
}

TEST(StreamFaults, ADaemonsConfiguration) {
  All({.operation = [] {
    const auto config = xstd::ParseConfig(
        "state_dir: s\nstreams: [{name: a, model: m.xst, source: {type: stdin}}]\n", "c", "");
    EXPECT_EQ(config.streams.size(), 1u);
  }});
}

}  // namespace
}  // namespace xst
