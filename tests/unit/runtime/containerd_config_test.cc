#include "runtime/install/containerd_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace transship::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kProgram = "/opt/transship/bin/transship-runtime";

// As containerd 2.4 writes it, shortened.
std::string dump(const std::string& imports, const std::string& handler,
                 const std::string& options) {
  return "version = 4\nstate = '/run/containerd'\nimports = " + imports +
         "\n\n[plugins]\n"
         "  [plugins.'io.containerd.cri.v1.runtime']\n"
         "    enable_selinux = false\n\n"
         "    [plugins.'io.containerd.cri.v1.runtime'.containerd]\n"
         "      default_runtime_name = 'runc'\n\n"
         "      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n"
         "        runtime_type = 'io.containerd.runc.v2'\n"
         "        runtime_path = ''\n        sandboxer = 'podsandbox'\n" +
         handler +
         "\n        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n"
         "          IoGid = 0\n" +
         options +
         "\n  [plugins.'io.containerd.server.v1.grpc']\n"
         "    address = '/run/containerd/containerd.sock'\n";
}

ContainerdConfig config(const std::string& imports = "['/etc/containerd/conf.d/*.toml']",
                        const std::string& handler = "", const std::string& options = "") {
  auto parsed = ContainerdConfig::parse(dump(imports, handler, options));
  EXPECT_TRUE(parsed.ok());
  return *parsed;
}

TEST(ContainerdConfig, IsReadBySectionAndKey) {
  const ContainerdConfig read = config();
  EXPECT_EQ(read.text("", "state"), "/run/containerd");
  EXPECT_EQ(read.text("plugins.'io.containerd.server.v1.grpc'", "address"),
            "/run/containerd/containerd.sock");
  EXPECT_EQ(read.raw("plugins.'io.containerd.cri.v1.runtime'", "enable_selinux"), "false");
  EXPECT_EQ(read.raw("plugins", "enable_selinux"), "");
  EXPECT_EQ(read.handler_program(), "");
}

TEST(ContainerdConfig, OfContainerd1IsRefused) {
  for (const char* text : {"version = 2\n", "", "[plugins]\n  version = 3\n"}) {
    const auto parsed = ContainerdConfig::parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kPreconditionFailed);
    EXPECT_THAT(parsed.error().message, HasSubstr("containerd 2.0"));
  }
}

TEST(ContainerdConfig, DropInsLieWhereItImportsThemFrom) {
  const struct {
    const char* imports;
    const char* directory;
  } kCases[] = {
      {"['/etc/containerd/conf.d/*.toml']", "/etc/containerd/conf.d"},
      {"[\"/one.toml\", \"/b/conf.d/*.toml\"]", "/b/conf.d"},
      {"['conf.d/*.toml']", "/etc/containerd/conf.d"},
      {"['/x/*/*.toml', '/y/*.toml']", "/y"},
  };
  for (const auto& c : kCases) {
    const auto directory = config(c.imports).import_directory("/etc/containerd/config.toml");
    ASSERT_TRUE(directory.ok()) << c.imports;
    EXPECT_EQ(*directory, c.directory);
  }
}

TEST(ContainerdConfig, WithoutImportsSaysWhatToAddWhere) {
  for (const char* imports : {"[]", "['/etc/containerd/mine.toml']"}) {
    const auto directory = config(imports).import_directory("/etc/containerd/config.toml");
    ASSERT_FALSE(directory.ok()) << imports;
    EXPECT_THAT(directory.error().message,
                HasSubstr("imports = ['/etc/containerd/conf.d/*.toml']"));
    EXPECT_THAT(directory.error().message, HasSubstr("/etc/containerd/config.toml"));
  }
}

TEST(ContainerdConfig, TheHandlerDoesAsTheDefaultOneButForItsProgram) {
  const auto text =
      config("[]",
             "        base_runtime_spec = '/etc/containerd/spec.json'\n        snapshotter = ''\n"
             "        pod_annotations = ['a.example/*']\n        cni_max_conf_num = 0\n",
             "          BinaryName = '/usr/local/sbin/runc'\n          SystemdCgroup = true\n"
             "          ShimCgroup = '/shims'\n")
          .drop_in(kProgram);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(*text,
            "# Written by transship-runtime install, and again at its next start.\n"
            "version = 3\n\n"
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.transship]\n"
            "  runtime_type = 'io.containerd.runc.v2'\n"
            "  base_runtime_spec = '/etc/containerd/spec.json'\n"
            "  pod_annotations = ['a.example/*']\n"
            "  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.transship.options]\n"
            "    BinaryName = '/opt/transship/bin/transship-runtime'\n"
            "    SystemdCgroup = true\n"
            "    ShimCgroup = '/shims'\n");
  const auto read = ContainerdConfig::parse(*text);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->handler_program(), kProgram);
}

TEST(ContainerdConfig, ControlGroupsAreNotSystemdsUnlessItSaysSo) {
  EXPECT_THAT(config().drop_in(kProgram).value(), HasSubstr("SystemdCgroup = false"));
}

TEST(ContainerdConfig, OnlyRuncIsWrapped) {
  for (const char* options : {"BinaryName = '/usr/bin/crun'", "BinaryName = 'youki'"}) {
    const auto text = config("[]", "", options).drop_in(kProgram);
    ASSERT_FALSE(text.ok()) << options;
    EXPECT_THAT(text.error().message, HasSubstr("only runc"));
  }
  const auto text = config("[]", "runtime_path = '/opt/shim'\n").drop_in(kProgram);
  EXPECT_FALSE(text.ok());
  const auto none = ContainerdConfig::parse("version = 3\n")->drop_in(kProgram);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.error().message, HasSubstr("CRI plugin"));
}

}  // namespace
}  // namespace transship::runtime
