#include "runtime/failure_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace transship::runtime {
namespace {

using nlohmann::json;

class FailureLog : public testing::Test {
 protected:
  FailureLog() { arguments_.log = testing::TempDir() + "log." + std::to_string(::getpid()); }
  ~FailureLog() override { std::filesystem::remove(arguments_.log); }
  [[nodiscard]] std::string text() const {
    std::ifstream file(arguments_.log);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Arguments arguments_;
};

TEST_F(FailureLog, IsJsonLinesAfterRuncs) {
  std::ofstream(arguments_.log) << R"({"level":"error","msg":"runc's"})"
                                << "\n";
  arguments_.json_log = true;
  write_log(arguments_, "error", "a \"quoted\"\nline, and \xff");
  std::istringstream lines(text());
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(json::parse(line)["msg"], "runc's");
  std::getline(lines, line);
  const json entry = json::parse(line);
  EXPECT_EQ(entry["level"], "error");
  EXPECT_EQ(entry["msg"], "transship: a \"quoted\"\nline, and \xEF\xBF\xBD");
  EXPECT_THAT(entry["time"].get<std::string>(), testing::EndsWith("Z"));
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(FailureLog, IsTextWhereRuncsIs) {
  write_log(arguments_, "warning", "odd");
  EXPECT_THAT(text(), testing::HasSubstr(R"(level=warning msg="transship: odd")"));
}

}  // namespace
}  // namespace transship::runtime
