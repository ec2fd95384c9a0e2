// One stream split over several threads: bit for bit the stream of one thread.
#include "sdk/team.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "formats/pack.h"
#include "sdk/bench.h"
#include "sdk/lanes.h"
#include "sdk/model_core.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

constexpr char kReadme[] = "block_stack/readme_config";

#ifdef __SANITIZE_THREAD__  // slow: the same paths, fewer times
constexpr uint32_t kThreads[] = {2, 5};
std::vector<std::string> Isas() { return {AvailableIsas().front()}; }
#else
constexpr uint32_t kThreads[] = {2, 3, 4, 5, 6, 7, 8};
std::vector<std::string> Isas() { return AvailableIsas(); }
#endif

std::string Cpu(uint32_t threads) { return "cpu:" + std::to_string(threads); }

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Steps [begin, end) on made-up input, some of it missing.
std::vector<float> StepMany(Session& session, int begin, int end) {
  const ModelInfo& info = session.model()->info();
  std::vector<float> in(info.input_width), all, out(info.output_width);
  for (int t = begin; t < end; ++t) {
    for (uint32_t i = 0; i < info.input_width; ++i) {
      in[i] = t % 7 == 3 && i % 3 == 0 ? NAN : static_cast<float>((t * 31 + i * 5) % 17) / 8 - 1;
    }
    const Status s = info.tokens ? session.step(t % formats::VocabSize(info.config), out)
                                 : session.step(in, out);
    EXPECT_TRUE(s == Status::ok || s == Status::held);
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

// Opens a case on cpu:N whose team never leaves a step to one thread.
std::shared_ptr<const Model> OpenTeam(const std::string& name, uint32_t threads,
                                      const std::string& isa = "",
                                      Arithmetic arithmetic = Arithmetic::automatic) {
  auto model = test::OpenCase(name, isa, Cpu(threads), arithmetic);
  if (model->core().team) model->core().team->set_gives_up(false);
  return model;
}

// The workers' sleep comes by itself.
void AwaitSleep(const Model& model) {
  while (model.core().team->asleep() < model.core().team->members() - 1) std::this_thread::yield();
}

class EveryCase : public testing::TestWithParam<std::string> {};

TEST_P(EveryCase, IsBitEqualToOneThreadOnAnyNumber) {
  const Case c = test::LoadCase(GetParam());
  for (const Arithmetic arithmetic : {Arithmetic::single, Arithmetic::wide}) {
    for (const std::string& isa : Isas()) {
      Session one(test::OpenCase(c.name, isa, "cpu", arithmetic));
      const auto want = test::StepColumn(one, c, 0, 0, c.steps);
      const auto state = one.save();
      for (const uint32_t threads : kThreads) {
        const auto model = OpenTeam(c.name, threads, isa, arithmetic);
        EXPECT_EQ(model->info().device, Cpu(threads));
        Session team(model);
        ASSERT_TRUE(SameBits(test::StepColumn(team, c, 0, 0, c.steps), want))
            << isa << " " << threads << " threads";
        ASSERT_EQ(team.save(), state) << isa << " " << threads << " threads";
      }
    }
  }
}

TEST_P(EveryCase, ContinuesOneThreadsStreamAndTheOtherWayRound) {
  const Case c = test::LoadCase(GetParam());
  const auto one = test::OpenCase(c.name, "", "cpu", Arithmetic::single);
  const auto model = OpenTeam(c.name, 3, "", Arithmetic::single);
  Session whole(one), first(model), second(one), moved(model);
  const auto want = test::StepColumn(whole, c, 0, 0, c.steps);
  const uint64_t third = c.steps / 3;
  auto got = test::StepColumn(first, c, 0, 0, third);
  second.load(first.save());
  for (float v : test::StepColumn(second, c, 0, third, 2 * third)) got.push_back(v);
  moved.load(second.save());
  Session clone = moved.clone();
  moved.reset();
  EXPECT_EQ(moved.save(), Session(one).save());
  moved = std::move(clone);
  for (float v : test::StepColumn(moved, c, 0, 2 * third, c.steps)) got.push_back(v);
  EXPECT_TRUE(SameBits(got, want));
  EXPECT_EQ(moved.save(), whole.save());
}

INSTANTIATE_TEST_SUITE_P(Vectors, EveryCase, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

class EveryType : public testing::TestWithParam<const char*> {};

TEST_P(EveryType, IsBitEqualToOneThread) {
  for (const auto dtype :
       {formats::DType::f32, formats::DType::i16, formats::DType::bf16, formats::DType::i8}) {
    const std::string path = test::PackedCase(GetParam()) + ".typed";
    formats::PackOptions pack;
    pack.dtype = dtype;
    formats::PackModel(std::string(XST_TEST_DATA) + "/" + GetParam(), path, pack);
    for (const std::string& isa : Isas()) {
      Options options;
      options.isa = isa;
      options.arithmetic = Arithmetic::single;
      Session one(Model::open(path, options));
      const auto want = StepMany(one, 0, 40);
      for (const uint32_t threads : kThreads) {
        options.device.threads = threads;
        const auto model = Model::open(path, options);
        if (model->core().team) model->core().team->set_gives_up(false);
        Session team(model);
        EXPECT_TRUE(SameBits(StepMany(team, 0, 40), want))
            << isa << " " << threads << " threads, dtype " << static_cast<int>(dtype);
        EXPECT_EQ(team.save(), one.save());
      }
    }
    std::filesystem::remove(path);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryType,
                         testing::Values(kReadme, "block_stack/odd_sizes", "block_stack/lm_tied",
                                         "large/03_odd_sizes_ffn_width", "stream/classifier",
                                         "tirex/01_small"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

TEST(TeamOfModel, FinishesWithMoreThreadsThanCpus) {
  Session one(test::OpenCase(kReadme)), team(OpenTeam(kReadme, 16));
  EXPECT_TRUE(SameBits(StepMany(team, 0, 50), StepMany(one, 0, 50)));
  Session most(OpenTeam(kReadme, 64));
  Session again(test::OpenCase(kReadme));
  EXPECT_TRUE(SameBits(StepMany(most, 0, 5), StepMany(again, 0, 5)));
}

TEST(TeamOfModel, LeavesStepsToOneThreadWhereThreadsHaveNoCpu) {
  const auto model = test::OpenCase(kReadme, "", "cpu:64");
  Session one(test::OpenCase(kReadme)), team(model);
  EXPECT_TRUE(SameBits(StepMany(team, 0, 2000), StepMany(one, 0, 2000)));
  EXPECT_EQ(team.save(), one.save());
}

TEST(TeamOfModel, WorksOnOneCpuToo) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  Session team(OpenTeam(kReadme, 3)), alone(test::OpenCase(kReadme));
  EXPECT_TRUE(SameBits(StepMany(team, 0, 30), StepMany(alone, 0, 30)));
  sched_setaffinity(0, sizeof before, &before);
}

TEST(TeamOfModel, SleepsAndWakes) {
  const auto model = OpenTeam(kReadme, 3);
  Session team(model), one(test::OpenCase(kReadme));
  for (int t = 0; t < 20; ++t) {
    AwaitSleep(*model);
    EXPECT_TRUE(SameBits(StepMany(team, t, t + 1), StepMany(one, t, t + 1)));
  }
}

TEST(TeamOfModel, EndsAsleepAndAwake) {
  for (int i = 0; i < 10; ++i) {
    auto model = OpenTeam(kReadme, 4);
    Session session(model);
    if (i % 2 == 0) AwaitSleep(*model);
    StepMany(session, 0, i % 3);
    if (i % 4 == 0) AwaitSleep(*model);
  }
}

TEST(TeamOfModel, ServesSessionsOfManyThreadsAtOnce) {
  const auto model = OpenTeam(kReadme, 2);
  Session one(test::OpenCase(kReadme));
  const auto want = StepMany(one, 0, 100);
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> got(4);
  for (auto& out : got) {
    threads.emplace_back([&] {
      Session session(model);
      out = StepMany(session, 0, 100);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& out : got) EXPECT_TRUE(SameBits(out, want));
}

TEST(TeamOfModel, MovesBetweenThreads) {
  Session one(test::OpenCase(kReadme)), team(OpenTeam(kReadme, 2));
  const auto want = StepMany(one, 0, 30);
  std::vector<float> got;
  for (int t = 0; t < 30; t += 10) {
    std::thread([&] {
      for (float v : StepMany(team, t, t + 10)) got.push_back(v);
    }).join();
  }
  EXPECT_TRUE(SameBits(got, want));
}

TEST(TeamOfModel, IsAloneInAForkedChild) {
  const auto model = OpenTeam(kReadme, 2);
  Session one(test::OpenCase(kReadme));
  const auto want = StepMany(one, 0, 20);
  const pid_t child = fork();
  if (child == 0) {
    bool same = false;
    {
      Session session(model);
      same = SameBits(StepMany(session, 0, 20), want);
    }
    _exit(same ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  Session here(model);
  EXPECT_TRUE(SameBits(StepMany(here, 0, 20), want));
}

TEST(TeamOfModel, KeepsDenormalsFlushedOnEveryMember) {
  const auto model = test::OpenCase(kReadme, "", "cpu:3", Arithmetic::single);
  struct Sums {
    float of[3] = {1, 1, 1};
  } sums;
  const kernels::FlushDenormals flush;
  ASSERT_TRUE(model->core().team->Run(
      [](Team&, uint32_t member, void* arg) {
        volatile float tiny = 1e-30f;
        static_cast<Sums*>(arg)->of[member] = tiny * 1e-10f;
      },
      &sums));
  for (float v : sums.of) EXPECT_EQ(v, 0);
}

TEST(TeamOfModel, MeasuresTheLimitOnItsThreads) {
  for (uint32_t streams : {1, 3}) {
    LimitMeter meter(OpenTeam(kReadme, 2), streams);
    EXPECT_TRUE(meter.Evict());
    EXPECT_GT(meter.Micros(), 0);
  }
  EXPECT_EQ(CallerCpu(*test::OpenCase(kReadme)), -1);
}

TEST(TeamOfModel, LanesAreBitEqualToSessions) {
  const auto model = OpenTeam(kReadme, 2);
  Session session(model);
  Lanes lanes(model, 2);
  lanes.attach();
  lanes.attach();
  const std::vector<uint8_t> mask = {0, 1};
  const uint32_t width = model->info().input_width;
  std::vector<float> in(2 * width), out(2 * width), want(width);
  for (int t = 0; t < 10; ++t) {
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>((t + i) % 5) - 2;
    lanes.step(mask, in, out);
    session.step(std::span(in).last(width), want);
    EXPECT_TRUE(SameBits({out.begin() + width, out.end()}, want));
  }
  EXPECT_EQ(lanes.save(1), session.save());
}

// A job of many exchanges: each member sees what all others wrote before the last one.
TEST(Team, ExchangesInOrder) {
  for (uint32_t members : {2, 3, 8}) {
    std::unique_ptr<Team> team;
    Fault fault;
    ASSERT_EQ(Team::Create(members, &team, &fault), Status::ok);
    team->set_gives_up(false);
    struct Job {
      std::vector<uint64_t> values;
      uint64_t wrong = 0;
    } job;
    job.values.resize(members * 16);
    for (uint64_t run = 1; run <= 5; ++run) {
      ASSERT_TRUE(team->Run(
          [](Team& t, uint32_t member, void* arg) {
            Job& j = *static_cast<Job*>(arg);
            uint64_t& mine = j.values[member * 16];
            for (uint32_t point = 1; point <= 40; point += 2) {
              ++mine;
              t.Publish(member, point);
              t.Wait(member, point);
              for (uint32_t m = 0; m < t.members(); ++m) {
                if (j.values[m * 16] != mine && member == 0) ++j.wrong;
              }
              t.Publish(member, point + 1);
              t.Wait(member, point + 1);
            }
          },
          &job));
      for (uint32_t m = 0; m < members; ++m) EXPECT_EQ(job.values[m * 16], run * 20);
    }
    EXPECT_EQ(job.wrong, 0u);
  }
}

TEST(Team, RunsOneJobAtATime) {
  std::unique_ptr<Team> team;
  Fault fault;
  ASSERT_EQ(Team::Create(2, &team, &fault), Status::ok);
  ASSERT_TRUE(team->Run(
      [](Team& t, uint32_t, void*) {
        EXPECT_FALSE(t.Run([](Team&, uint32_t, void*) { ADD_FAILURE(); }, nullptr));
      },
      nullptr));
}

}  // namespace
}  // namespace xst
