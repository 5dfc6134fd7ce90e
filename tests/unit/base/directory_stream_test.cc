#include "base/directory_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/unique_fd.h"

namespace transship {
namespace {

class DirectoryStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "transship-list-" + std::string(6, 'X');
    ASSERT_NE(::mkdtemp(path_.data()), nullptr);
    directory_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(directory_.valid());
  }
  void TearDown() override {
    ::rmdir((path_ + "/a").c_str());
    ::rmdir((path_ + "/b").c_str());
    ::rmdir(path_.c_str());
  }

  std::string path_;
  UniqueFd directory_;
};

TEST_F(DirectoryStreamTest, AllNamesAreListedAsOftenAsAsked) {
  ASSERT_EQ(::mkdirat(directory_.get(), "a", 0700), 0);
  ASSERT_EQ(::mkdirat(directory_.get(), "b", 0700), 0);
  for (int i = 0; i < 2; ++i) {
    auto names = list_directory(directory_.get());
    ASSERT_TRUE(names.ok()) << names.error().message;
    std::sort(names->begin(), names->end());
    EXPECT_EQ(*names, (std::vector<std::string>{"a", "b"}));
  }
}

TEST_F(DirectoryStreamTest, ADirectoryThatIsGoneIsEmptyToWhoHasItOpen) {
  ASSERT_EQ(::rmdir(path_.c_str()), 0);
  auto names = list_directory(directory_.get());
  ASSERT_TRUE(names.ok()) << names.error().message;
  EXPECT_TRUE(names->empty());
}

}  // namespace
}  // namespace transship
