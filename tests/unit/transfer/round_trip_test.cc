// Trees go through the stream and come out equal, by the judge's word and the recipe's digest.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>

#include "hostile_tree.h"
#include "judge.h"
#include "scratch.h"
#include "transfer/tree.h"

namespace transship::transfer {
namespace {

// Sends `from` and receives it in `to`; the stream stays in `sink`.
struct Trip {
  MemorySink sink;
  Result<Summary> sent = Error{};
  Result<Received> received = Error{};
  Result<Summary> verified = Error{};
};

void travel(Trip& trip, int from, int to) {
  trip.sent = send_tree(from, trip.sink);
  ASSERT_TRUE(trip.sent.ok()) << trip.sent.error().message;
  MemorySource source(trip.sink.data());
  trip.received = receive_tree(to, source);
  ASSERT_TRUE(trip.received.ok()) << trip.received.error().message;
  trip.verified = verify_tree(to, trip.received->manifest);
  ASSERT_TRUE(trip.verified.ok()) << trip.verified.error().message;
}

void expect_same(const Trip& trip, const std::string& from, const std::string& to) {
  EXPECT_EQ(differences(from, to), "");
  EXPECT_EQ(trip.sent->digest, trip.received->summary.digest);
  EXPECT_EQ(trip.sent->digest, trip.verified->digest);
  EXPECT_EQ(trip.sent->totals, trip.received->summary.totals);
  EXPECT_EQ(trip.sent->totals, trip.verified->totals);
}

TEST(RoundTrip, AnEmptyTree) {
  const Scratch from;
  const Scratch to;
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  expect_same(trip, from.path(), to.path());
  EXPECT_EQ(trip.sent->totals, (TreeTotals{0, 1}));
  EXPECT_EQ(trip.sent->digest, recipe_digest(from.path()));
}

TEST(RoundTrip, AHostileTreeIsExact) {
  const Scratch from;
  const Scratch to;
  make_hostile_tree(from.path());
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  expect_same(trip, from.path(), to.path());
  auto scanned = scan_tree(from.open().get());
  ASSERT_TRUE(scanned.ok());
  EXPECT_EQ(*scanned, trip.sent->totals);
}

TEST(RoundTrip, TheDigestIsTheRecipes) {
  const Scratch from;
  const Scratch to;
  make_hostile_tree(from.path(), {.deep = false});  // sha256sum(1) cannot open such long paths
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  EXPECT_EQ(trip.sent->digest, recipe_digest(from.path()));
  EXPECT_EQ(trip.verified->digest, recipe_digest(to.path()));
  auto alone = digest_tree(from.open().get());
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ(alone->digest, trip.sent->digest);
}

TEST(RoundTrip, RandomTreesAreExact) {
  std::random_device device;
  for (int i = 0; i < 8; ++i) {
    const uint32_t seed = device();
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Scratch from;
    const Scratch to;
    make_random_tree(from.path(), seed);
    Trip trip;
    travel(trip, from.open().get(), to.open().get());
    expect_same(trip, from.path(), to.path());
    EXPECT_EQ(trip.sent->digest, recipe_digest(from.path()));
  }
}

TEST(RoundTrip, HolesStayHoles) {
  const Scratch from;
  const Scratch to;
  shell(from.path(),
        "truncate -s 100M sparse; echo data | dd of=sparse bs=1 seek=50M conv=notrunc");
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  expect_same(trip, from.path(), to.path());
  struct stat stat {};
  ASSERT_EQ(::stat(to.path("sparse").c_str(), &stat), 0);
  EXPECT_LT(stat.st_blocks * 512, 1 << 20);
  EXPECT_LT(trip.sink.data().size(), 1U << 20);
}

TEST(RoundTrip, SendingTwiceGivesTheSameStream) {
  const Scratch from;
  make_hostile_tree(from.path());
  MemorySink first;
  MemorySink second;
  ASSERT_TRUE(send_tree(from.open().get(), first).ok());
  ASSERT_TRUE(send_tree(from.open().get(), second).ok());
  EXPECT_EQ(first.data(), second.data());
}

TEST(RoundTrip, WhatTheDestinationHadDoesNotShow) {
  const Scratch from;
  const Scratch to;
  from.write("file", "x");
  shell(to.path(),
        "mkdir lost+found; chmod 2777 .; setfattr -n user.old -v 1 .; setfattr -n "
        "system.posix_acl_default -v 0x0200000001000700ffffffff04000700ffffffff20000700ffffffff .");
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  expect_same(trip, from.path(), to.path());
}

TEST(RoundTrip, AnEmptyLostAndFoundIsTakenOver) {
  const Scratch from;
  const Scratch to;
  shell(from.path(), "mkdir -m 700 lost+found; chown 5 lost+found; echo x >lost+found/#12");
  shell(to.path(), "mkdir lost+found");
  Trip trip;
  travel(trip, from.open().get(), to.open().get());
  expect_same(trip, from.path(), to.path());
}

TEST(RoundTrip, CopyTreeCopiesToAnotherFileSystem) {
  const Scratch from;
  Scratch to;
  if (!to.mount_tmpfs("size=64m,mode=755")) GTEST_SKIP() << "mounting needs privileges";
  // tmpfs has user.* only since Linux 6.6, and never holds what comes after its year limits.
  shell(from.path(), "mkdir d; echo x >d/f; ln d/f d/g; mkfifo p; ln -s d s; truncate -s 5M hole");
  auto copied = copy_tree(from.open().get(), to.open().get());
  ASSERT_TRUE(copied.ok()) << copied.error().message;
  EXPECT_EQ(differences(from.path(), to.path()), "");
  EXPECT_EQ(copied->digest, recipe_digest(from.path()));
}

TEST(RoundTrip, ProgressCountsToTheTotals) {
  const Scratch from;
  const Scratch to;
  make_hostile_tree(from.path());
  Progress sending;
  Progress receiving;
  MemorySink sink;
  auto sent = send_tree(from.open().get(), sink, {{}, &sending, nullptr});
  ASSERT_TRUE(sent.ok());
  MemorySource source(sink.data());
  auto received = receive_tree(to.open().get(), source, {{}, &receiving, {}});
  ASSERT_TRUE(received.ok());
  for (const Progress* progress : {&sending, &receiving}) {
    EXPECT_EQ(progress->bytes, sent->totals.bytes);
    EXPECT_EQ(progress->entries, sent->totals.entries);
  }
}

}  // namespace
}  // namespace transship::transfer
