#include "runtime/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace transship::runtime {
namespace {

using testing::HasSubstr;

class SettingsFile : public testing::Test {
 protected:
  ~SettingsFile() override { std::filesystem::remove(path_); }
  Result<Settings> with(const std::string& text) {
    std::ofstream(path_) << text;
    return read_settings(path_);
  }
  std::string path_ = testing::TempDir() + "runtime." + std::to_string(::getpid()) + ".json";
};

TEST_F(SettingsFile, NeedNotBeThere) {
  const auto settings = read_settings(path_);
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  EXPECT_EQ(settings->runc, "runc");
  EXPECT_EQ(settings->criu, "");
  EXPECT_EQ(settings->claims, "/var/lib/transship/claims");
  EXPECT_THAT(settings->self, HasSubstr("unit_runtime"));
}

TEST_F(SettingsFile, NamesPrograms) {
  const auto settings = with(R"({"runc": "/usr/bin/crun", "criu": "/opt/criu"})");
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  EXPECT_EQ(settings->runc, "/usr/bin/crun");
  EXPECT_EQ(settings->criu, "/opt/criu");
}

TEST_F(SettingsFile, SaysHowLongARestoreMayTake) {
  EXPECT_EQ(read_settings(path_)->restore_deadline, std::chrono::seconds(100));
  const auto settings = with(R"({"restoreSeconds": 600})");
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  EXPECT_EQ(settings->restore_deadline, std::chrono::seconds(600));
}

TEST_F(SettingsFile, WhatIsWrongIsNamed) {
  struct Row {
    const char* text;
    const char* why;
  };
  for (const Row& row :
       {Row{"{", "parse error"}, Row{"[1]", "no setting"}, Row{R"({"runk": "x"})", "runk"},
        Row{R"({"runc": 1})", "type"}, Row{R"({"restoreSeconds": 0})", "restoreSeconds"},
        Row{R"({"restoreSeconds": -1})", "restoreSeconds"},
        Row{R"({"restoreSeconds": 1.5})", "restoreSeconds"},
        Row{R"({"restoreSeconds": 1e300})", "restoreSeconds"},
        Row{R"({"restoreSeconds": "9"})", "type"}, Row{R"({"runc": ""})", "empty"},
        Row{R"({"criu": "criu"})", "absolute"}}) {
    const auto settings = with(row.text);
    ASSERT_FALSE(settings.ok()) << row.text;
    EXPECT_THAT(settings.error().message, HasSubstr(row.why));
    EXPECT_THAT(settings.error().message, HasSubstr(path_));
  }
}

}  // namespace
}  // namespace transship::runtime
