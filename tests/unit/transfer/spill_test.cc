// Memory beyond the bound is a file's, as much of it as there is space for.
#include "transfer/spill.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "scratch.h"
#include "transfer/inventory.h"

namespace transship::transfer {
namespace {

class SpillTest : public ::testing::Test {
 protected:
  void TearDown() override {
    spill_.configure({});
    EXPECT_EQ(spill_.use().in_memory + spill_.use().in_file, 0U);
  }

  void configure(size_t bound) {
    spill_.configure({bound,
                      [path = scratch_.path()]() -> Result<UniqueFd> {
                        UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                        if (!fd.valid()) return errno_error("open " + path, errno);
                        return fd;
                      },
                      scratch_.path()});
  }

  Scratch scratch_;
  Spill& spill_ = Spill::of_process();
};

TEST_F(SpillTest, OnlyWhatIsBeyondTheBoundIsInTheFile) {
  configure(16 << 20);
  SpillVector<char> first(8 << 20);
  EXPECT_EQ(spill_.use().in_file, 0U);
  SpillVector<char> second(8 << 20);
  EXPECT_EQ(spill_.use().in_file, 0U);
  SpillVector<char> third(8 << 20);
  EXPECT_EQ(spill_.use().in_memory, size_t{16} << 20U);
  EXPECT_EQ(spill_.use().in_file, size_t{8} << 20U);
  first = SpillVector<char>();
  SpillVector<char> fourth(8 << 20);
  EXPECT_EQ(spill_.use().in_file, size_t{8} << 20U);
  EXPECT_EQ(shell(scratch_.path(), "ls -A").output, "");
}

// Pieces of all sizes, given back in any order: nobody else writes into one that somebody has.
TEST_F(SpillTest, APieceIsItsOwnersAlone) {
  configure(8 << 20);
  struct Piece {
    unsigned char* at = nullptr;
    size_t bytes = 0;
    unsigned char fill = 0;
  };
  std::vector<Piece> pieces;
  std::mt19937 random(1);
  const auto check_and_give_back = [&](size_t index) {
    Piece& piece = pieces[index];
    for (size_t i = 0; i < piece.bytes; ++i) ASSERT_EQ(piece.at[i], piece.fill);
    spill_.give_back(piece.at, piece.bytes);
    piece = pieces.back();
    pieces.pop_back();
  };
  for (int turn = 0; turn < 20000; ++turn) {
    if (pieces.size() > 500 || (!pieces.empty() && random() % 3 == 0)) {
      ASSERT_NO_FATAL_FAILURE(check_and_give_back(random() % pieces.size()));
      continue;
    }
    const size_t most = size_t{1} << (random() % 20);
    Piece piece{nullptr, 1 + random() % most, static_cast<unsigned char>(random())};
    piece.at = static_cast<unsigned char*>(spill_.take(piece.bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece.at) % 16, 0U);
    std::memset(piece.at, piece.fill, piece.bytes);
    pieces.push_back(piece);
  }
  EXPECT_GT(spill_.use().in_file, 0U);
  while (!pieces.empty()) ASSERT_NO_FATAL_FAILURE(check_and_give_back(0));
  const Status checked = spill_.check();
  EXPECT_TRUE(checked.ok()) << checked.error().message;
}

TEST_F(SpillTest, AFullDirectoryIsAnErrorUntilAllIsGivenBack) {
  if (!scratch_.mount_tmpfs("size=8m")) GTEST_SKIP() << "no tmpfs of its own";
  configure(0);
  {
    std::vector<SpillVector<char>> pieces;
    while (spill_.check().ok() && pieces.size() < 100)
      pieces.emplace_back(1 << 20, 'x');  // written to: SIGBUS where there is no page
    const Status full = spill_.check();
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, ErrorCode::kNoSpace);
    EXPECT_NE(full.error().message.find(scratch_.path()), std::string::npos);
    EXPECT_LE(spill_.use().in_memory, size_t{1} << 20U);
    for (const auto& piece : pieces) EXPECT_EQ(piece.front(), 'x');
  }
  EXPECT_TRUE(spill_.check().ok());
}

TEST_F(SpillTest, ADirectoryThatIsNotThereIsAnError) {
  configure(0);
  shell(scratch_.path(), "rmdir .");
  shell("/", "rmdir " + scratch_.path());
  const SpillVector<char> piece(1 << 20);
  const Status failed = spill_.check();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kNotFound);
}

TEST_F(SpillTest, AnInventoryOutOfMemoryIsTheSame) {
  const auto fill = [](Inventory& inventory) {
    const NodeId directory = inventory.add();
    inventory.at(directory).mode = S_IFDIR | 0755;
    inventory.at(directory).more();
    inventory.add_child(kRootNode, inventory.keep("directory"), directory);
    for (int i = 0; i < 20000; ++i) {
      const NodeId node = inventory.add();
      const std::vector<Xattr> xattrs = {{"user.number", std::to_string(i)}};
      inventory.at(node).mode = i % 2 == 0 ? S_IFREG | 0644 : S_IFLNK | 0777;
      if (i % 3 == 0) inventory.at(node).more().xattrs = xattrs;
      if (i % 2 == 1) inventory.at(node).more().link_target = "target " + std::to_string(i);
      inventory.add_child(directory, inventory.keep("name " + std::to_string(i)), node);
    }
    inventory.sort_children(directory);
    inventory.sort_children(kRootNode);
    return inventory.summary();
  };
  configure(size_t{512} << 20U);
  Inventory kept;
  const Summary wanted = fill(kept);
  EXPECT_EQ(spill_.use().in_file, 0U);
  configure(0);
  Inventory spilled;
  const Summary found = fill(spilled);
  EXPECT_GT(spill_.use().in_file, 0U);
  EXPECT_EQ(found.digest, wanted.digest);
  EXPECT_EQ(found.rest, wanted.rest);
  EXPECT_EQ(found.totals, wanted.totals);
  const Inventory moved = std::move(spilled);
  EXPECT_EQ(moved.summary().digest, wanted.digest);
}

}  // namespace
}  // namespace transship::transfer
