#include "runtime/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace transship::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Arguments parse(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream in(line);
  for (std::string word; in >> word;) words.push_back(word);
  return parse_arguments(words);
}

TEST(Arguments, CreateAsTheShimSaysIt) {
  const auto arguments = parse(
      "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json "
      "create --bundle /b --pid-file /b/init.pid --console-socket /tmp/s 0a1b");
  EXPECT_EQ(arguments.root, "/run/containerd/runc/k8s.io");
  EXPECT_EQ(arguments.log, "/b/log.json");
  EXPECT_TRUE(arguments.json_log);
  EXPECT_EQ(arguments.command, "create");
  EXPECT_EQ(arguments.bundle, "/b");
  EXPECT_EQ(arguments.pid_file, "/b/init.pid");
  EXPECT_EQ(arguments.console_socket, "/tmp/s");
  EXPECT_FALSE(arguments.no_pivot);
  EXPECT_EQ(arguments.unknown, "");
  EXPECT_EQ(arguments.id(), "0a1b");
  EXPECT_THAT(arguments.global, ElementsAre("--root", "/run/containerd/runc/k8s.io", "--log",
                                            "/b/log.json", "--log-format", "json"));
}

TEST(Arguments, OptionsAsGoReadsThem) {
  const auto arguments = parse(
      "-root=/r --debug --systemd-cgroup create -b /b --no-pivot "
      "--preserve-fds 2 --pid-file=/p 0a1b");
  EXPECT_EQ(arguments.root, "/r");
  EXPECT_EQ(arguments.bundle, "/b");
  EXPECT_EQ(arguments.pid_file, "/p");
  EXPECT_TRUE(arguments.no_pivot);
  EXPECT_EQ(arguments.id(), "0a1b");
  EXPECT_THAT(arguments.global, ElementsAre("-root=/r", "--debug", "--systemd-cgroup"));
}

TEST(Arguments, TheBundleIsTheWorkingDirectoryUnlessItIsNamed) {
  EXPECT_EQ(parse("create 0a1b").bundle, ".");
}

TEST(Arguments, AnOptionNobodyKnowsYetIsNamed) {
  const auto arguments = parse("create --bundle /b --new-in-runc-2 value 0a1b");
  EXPECT_EQ(arguments.unknown, "--new-in-runc-2");
  EXPECT_EQ(arguments.bundle, "/b");
  EXPECT_EQ(arguments.command, "create");
}

TEST(Arguments, AGlobalOptionNobodyKnowsYetLeavesTheCommandOpen) {
  EXPECT_EQ(parse("--new-in-runc-2 create 0a1b").command, "");
}

TEST(Arguments, OperandsOfTheOtherCommands) {
  EXPECT_EQ(parse("--root /r start 0a1b").id(), "0a1b");
  EXPECT_THAT(parse("kill --all 0a1b 9").operands, ElementsAre("0a1b", "9"));
  EXPECT_THAT(parse("kill 0a1b KILL").operands, ElementsAre("0a1b", "KILL"));
  EXPECT_EQ(parse("delete --force 0a1b").id(), "0a1b");
}

TEST(Arguments, WhatMeansNothingHereIsNotRead) {
  for (const char* line : {"--version", "-v", "--help", "", "--root"}) {
    EXPECT_EQ(parse(line).command, "") << line;
  }
  const auto exec = parse("exec --process /p 0a1b");
  EXPECT_EQ(exec.command, "exec");
  EXPECT_THAT(exec.operands, IsEmpty());
}

}  // namespace
}  // namespace transship::runtime
