// The pieces of the installer that need no node.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/unique_fd.h"
#include "runtime/install/checkpoint_programs.h"
#include "runtime/install/command.h"
#include "runtime/install/install_command.h"
#include "runtime/install/pods_using.h"
#include "runtime/install/program_file.h"

namespace transship::runtime {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class InstallTest : public testing::Test {
 protected:
  InstallTest() {
    std::string pattern = testing::TempDir() + "install." + std::string(6, 'X');
    root_ = ::mkdtemp(pattern.data());
  }
  ~InstallTest() override { std::filesystem::remove_all(root_); }

  std::string write(const std::string& name, const std::string& text, mode_t mode = 0644) const {
    const std::string path = root_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(root_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  [[nodiscard]] Result<bool> install(const std::string& from) const {
    const UniqueFd source(::open((root_ + "/" + from).c_str(), O_RDONLY | O_CLOEXEC));
    return install_program(source.get(), root_ + "/bin/program");
  }
  std::string root_;
};

TEST(CheckpointPrograms, AVersionIsTheFirstDottedNumber) {
  EXPECT_EQ(version_in("Version: 4.2.1\nGitID: v4.2.1\n"), "4.2.1");
  EXPECT_EQ(version_in("runc version 1.3.6+ds1\nspec: 1.2.1"), "1.3.6");
  EXPECT_EQ(version_in("CRIU 4.2."), "4.2");
  EXPECT_EQ(version_in("2 things"), "");
  EXPECT_EQ(version_in(""), "");
}

TEST(CheckpointPrograms, NewKernelsNeedANewCriu) {
  const struct {
    const char* criu;
    const char* kernel;
    bool fits;
  } kCases[] = {{"4.2", "6.16.0", true},        {"4.2.1", "6.18.44-generic", true},
                {"4.1.1", "6.16.0-rc1", false}, {"4.1.1", "6.15.9", true},
                {"3.17", "5.15.0-91", true},    {"5.0", "7.0.1", true},
                {"4.1", "7.0", false},          {"", "6.16", false},
                {"4.10", "6.16", true}};
  for (const auto& c : kCases) {
    EXPECT_EQ(check_criu_for_kernel(c.criu, c.kernel).ok(), c.fits) << c.criu << " " << c.kernel;
  }
  EXPECT_THAT(check_criu_for_kernel("4.1.1", "6.18").error().message,
              HasSubstr("install CRIU 4.2"));
}

TEST_F(InstallTest, MissingProgramsAreNamed) {
  write("bin/runc", "#!/bin/sh\necho runc version 1.3.6\n", 0755);
  const auto programs = check_programs("runc", root_ + "/bin");
  ASSERT_FALSE(programs.ok());
  EXPECT_THAT(programs.error().message, HasSubstr("install CRIU"));
  const auto none = check_programs("/nowhere/runc", root_ + "/bin");
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.error().message, HasSubstr("/nowhere/runc"));
}

TEST_F(InstallTest, AKernelThatCriuRefusesIsTold) {
  write("bin/runc", "#!/bin/sh\necho runc version 1.3.6\n", 0755);
  write("bin/criu",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo Version: 9.9 && exit 0\necho no ptrace "
        ">&2\nexit 1\n",
        0755);
  const auto programs = check_programs("runc", root_ + "/bin");
  ASSERT_FALSE(programs.ok());
  EXPECT_THAT(programs.error().message, HasSubstr("no ptrace"));
  write("bin/criu", "#!/bin/sh\necho Version: 9.9\n", 0755);
  const auto good = check_programs("runc", root_ + "/bin");
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_EQ(good->criu, root_ + "/bin/criu");
  EXPECT_EQ(good->criu_version, "9.9");
  EXPECT_EQ(good->runc_version, "1.3.6");
}

TEST_F(InstallTest, ACommandHasItsOutputAndStatus) {
  const auto output = run_command({"sh", "-c", "echo a; echo b >&2; exit 3"}, "/usr/bin:/bin",
                                  milliseconds(30'000));
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_EQ(output->status, 3);
  EXPECT_EQ(output->text, "a\nb\n");
  const auto killed =
      run_command({"sh", "-c", "kill -9 $$"}, "/usr/bin:/bin", milliseconds(30'000));
  ASSERT_TRUE(killed.ok());
  EXPECT_EQ(killed->status, 137);
  const auto failed = output_of({"sh", "-c", "echo why; exit 1"}, "/bin", milliseconds(30'000));
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().message, HasSubstr("exit status 1: why"));
}

TEST_F(InstallTest, ACommandThatDoesNotEndIsKilledWithItsChildren) {
  // The child has the pipe as well: a reader that waited for it would wait for ever.
  const auto output =
      run_command({"sh", "-c", "sleep 1000000 & wait"}, "/usr/bin:/bin", milliseconds(50));
  ASSERT_FALSE(output.ok());
  EXPECT_EQ(output.error().code, ErrorCode::kTimeout);
}

TEST_F(InstallTest, AProgramIsWrittenOnceAndReplacedWhole) {
  write("one", "first\n");
  write("two", "other\n");
  std::filesystem::create_directory(root_ + "/bin");
  EXPECT_TRUE(install("one").value());
  EXPECT_EQ(read("bin/program"), "first\n");
  EXPECT_FALSE(install("one").value());
  // The same size.
  const UniqueFd running(::open((root_ + "/bin/program").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(install("two").value());
  EXPECT_EQ(read("bin/program"), "other\n");
  char old[7] = {};
  ASSERT_EQ(::pread(running.get(), old, 6, 0), 6);
  EXPECT_STREQ(old, "first\n");
  ::chmod((root_ + "/bin/program").c_str(), 0644);
  EXPECT_TRUE(install("two").value());
  struct stat found {};
  ASSERT_EQ(::stat((root_ + "/bin/program").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0755u);
}

TEST_F(InstallTest, LeftoversOfAnInterruptedCopyDoNotMatter) {
  write("one", "first\n");
  write("bin/program.new", "a longer half of something\n", 0600);
  EXPECT_TRUE(install("one").value());
  EXPECT_EQ(read("bin/program"), "first\n");
  EXPECT_FALSE(std::filesystem::exists(root_ + "/bin/program.new"));
}

TEST_F(InstallTest, PodsThatUseAProgramAreFoundByTheirBundles) {
  constexpr const char* kProgram = "/opt/transship/bin/transship-runtime";
  EXPECT_THAT(pods_using(root_ + "/nowhere", kProgram).value(), IsEmpty());
  const std::string bundles = "io.containerd.runtime.v2.task/k8s.io/";
  const char* spec =
      R"({"annotations":{"io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":"shop"}})";
  write(bundles + "a1/runtime", kProgram);
  write(bundles + "a1/config.json", spec);
  write(bundles + "a2/runtime", kProgram);
  write(bundles + "a2/config.json", spec);
  write(bundles + "b1/runtime", "/usr/bin/runc");
  write(bundles + "c1/config.json", spec);
  write(bundles + "d1/runtime", kProgram);
  write(bundles + "d1/config.json", "{");
  EXPECT_THAT(pods_using(root_, kProgram).value(), ElementsAre("d1", "shop/web"));
}

TEST(InstallCommand, RuncsCommandsAreNotTaken) {
  for (const char* command : {"create", "start", "features", "--root", "--version", "spec", ""}) {
    EXPECT_FALSE(is_install_command(command)) << command;
  }
  EXPECT_TRUE(is_install_command("install"));
}

}  // namespace
}  // namespace transship::runtime
