#include "sdk/stream/ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace xst::stream {
namespace {

struct Head {
  uint64_t number = 0;
};

TEST(Ring, KeepsOrderAndValuesThroughManyTurns) {
  Ring<Head> ring(3, 2);
  uint64_t in = 0, out = 0;
  for (int round = 0; round < 100; ++round) {
    while (true) {
      const float x[] = {static_cast<float>(in), -static_cast<float>(in)};
      if (!ring.Push({in}, x)) break;
      ++in;
    }
    EXPECT_EQ(ring.size(), 3u);
    EXPECT_FALSE(ring.HasRoom());
    Head head;
    float x[2];
    for (int i = 0; i < 1 + round % 3; ++i) {
      ASSERT_TRUE(ring.Pop(&head, x));
      EXPECT_EQ(head.number, out);
      EXPECT_EQ(x[0], static_cast<float>(out));
      EXPECT_EQ(x[1], -static_cast<float>(out));
      ++out;
    }
    EXPECT_TRUE(ring.HasRoom());
  }
}

TEST(Ring, EmptyGivesNothing) {
  Ring<Head> ring(4, 1);
  Head head;
  float x[1];
  EXPECT_FALSE(ring.Pop(&head, x));
  EXPECT_FALSE(ring.DropOldest());
  EXPECT_EQ(ring.size(), 0u);
}

TEST(Ring, JoinsTwoSpansOfValues) {
  Ring<Head> ring(2, 3);
  const float a[] = {1, 2}, b[] = {3};
  ASSERT_TRUE(ring.Push({7}, a, b));
  Head head;
  float x[3];
  ASSERT_TRUE(ring.Pop(&head, x));
  EXPECT_EQ(std::vector<float>(x, x + 3), (std::vector<float>{1, 2, 3}));
}

TEST(Ring, DropOldestFreesTheOldest) {
  Ring<Head> ring(2, 1);
  const float x[] = {0};
  ASSERT_TRUE(ring.Push({0}, x));
  ASSERT_TRUE(ring.Push({1}, x));
  ASSERT_FALSE(ring.Push({2}, x));
  ASSERT_TRUE(ring.DropOldest());
  ASSERT_TRUE(ring.Push({2}, x));
  Head head;
  float y[1];
  ASSERT_TRUE(ring.Pop(&head, y));
  EXPECT_EQ(head.number, 1u);
  ASSERT_TRUE(ring.Pop(&head, y));
  EXPECT_EQ(head.number, 2u);
}

TEST(Ring, TwoThreadsLoseNothing) {
  constexpr uint64_t kRecords = 200000;
  Ring<Head> ring(8, 3);
  std::thread producer([&] {
    for (uint64_t i = 0; i < kRecords; ++i) {
      const auto v = static_cast<float>(i % 1000);
      const float x[] = {v, v, v};
      while (!ring.Push({i}, x)) std::this_thread::yield();
    }
  });
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kRecords; ++i) {
    Head head;
    float x[3];
    while (!ring.Pop(&head, x)) std::this_thread::yield();
    const auto v = static_cast<float>(i % 1000);
    wrong += head.number != i || x[0] != v || x[1] != v || x[2] != v;
  }
  producer.join();
  EXPECT_EQ(wrong, 0u);
}

TEST(Ring, DroppingBesideAReaderTearsNothing) {
  constexpr uint64_t kRecords = 200000;
  Ring<Head> ring(4, 4);
  std::atomic<bool> done{false};
  uint64_t dropped = 0;
  std::thread producer([&] {
    for (uint64_t i = 0; i < kRecords; ++i) {
      const auto v = static_cast<float>(i % 1000);
      const float x[] = {v, v, v, v};
      while (!ring.Push({i}, x)) dropped += ring.DropOldest();
    }
    done = true;
  });
  uint64_t taken = 0, wrong = 0;
  int64_t last = -1;
  for (;;) {
    const bool was_done = done;
    Head head;
    float x[4];
    if (ring.Pop(&head, x)) {
      const auto v = static_cast<float>(head.number % 1000);
      wrong += static_cast<int64_t>(head.number) <= last || x[0] != v || x[3] != v;
      last = static_cast<int64_t>(head.number);
      ++taken;
    } else if (was_done) {
      break;
    }
  }
  producer.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(taken + dropped, kRecords);
  EXPECT_EQ(last, static_cast<int64_t>(kRecords) - 1);
}

}  // namespace
}  // namespace xst::stream
