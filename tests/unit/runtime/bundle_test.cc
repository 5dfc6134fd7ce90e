#include "runtime/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace transship::runtime {
namespace {

using nlohmann::json;
using testing::Contains;

constexpr const char* kConfig = R"({
  "ociVersion": "1.2.0",
  "process": {"args": ["wipe", "/data"], "cwd": "/"},
  "root": {"path": "rootfs"},
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
             {"destination": "/dev/shm", "type": "bind", "source": "/run/s/shm",
              "options": ["rbind"]}],
  "annotations": {"io.kubernetes.cri.container-name": "web",
                  "io.kubernetes.cri.container-type": "container",
                  "io.kubernetes.cri.sandbox-id": "5a", "io.kubernetes.cri.sandbox-uid": "u-1"},
  "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/12/ns/net"}]}
})";

class BundleFile : public testing::Test {
 protected:
  BundleFile() {
    std::string pattern = testing::TempDir() + "bundle." + std::string(6, 'X');
    directory_ = ::mkdtemp(pattern.data());
    std::ofstream(directory_ + "/config.json") << kConfig;
  }
  ~BundleFile() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] json config() const {
    return json::parse(std::ifstream(directory_ + "/config.json"));
  }
  std::string directory_;
};

TEST(Bundle, HasWhatContainerdSaysOfTheContainer) {
  const auto bundle = parse_bundle("/b", kConfig);
  ASSERT_TRUE(bundle.ok()) << bundle.error().message;
  EXPECT_EQ(bundle->container_type, "container");
  EXPECT_EQ(bundle->sandbox_id, "5a");
  EXPECT_EQ(bundle->pod_uid, "u-1");
  EXPECT_EQ(bundle->container, "web");
  EXPECT_EQ(bundle->rootfs, "/b/rootfs");
  EXPECT_EQ(bundle->network_namespace, "/proc/12/ns/net");
  EXPECT_FALSE(bundle->user_namespace);
  EXPECT_THAT(bundle->mounts, Contains(BundleMount{"/dev/shm", "bind", "/run/s/shm"}));
}

TEST(Bundle, OfSomebodyElsesContainerHasNothing) {
  const auto bundle = parse_bundle("/b", R"({"root": {"path": "/r"}})");
  ASSERT_TRUE(bundle.ok());
  EXPECT_EQ(bundle->container_type, "");
  EXPECT_EQ(bundle->rootfs, "/r");
}

TEST(Bundle, MayHaveAUserNamespace) {
  EXPECT_TRUE(
      parse_bundle("/b", R"({"linux": {"namespaces": [{"type": "user"}]}})")->user_namespace);
}

TEST(Bundle, ThatIsDamagedIsAnError) {
  for (const char* text : {"", "[]", "{", "1"}) {
    EXPECT_EQ(parse_bundle("/b", text).error().code, ErrorCode::kCorrupt) << text;
  }
  EXPECT_EQ(read_bundle("/nowhere").error().code, ErrorCode::kNotFound);
}

TEST_F(BundleFile, IsFoundByARelativePath) {
  std::filesystem::current_path(directory_);
  EXPECT_EQ(read_bundle(".")->directory, directory_);
  std::filesystem::current_path("/");
}

TEST_F(BundleFile, RunsNothingInPlaceOfWhatItWouldRun) {
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(run_nothing(directory_, "/opt/transship/bin/transship-runtime").ok());
    EXPECT_EQ(config()["process"]["args"], json::array({kNothing}));
    EXPECT_EQ(config()["process"]["cwd"], "/");
    ASSERT_EQ(config()["mounts"].size(), 3u);
    EXPECT_EQ(config()["mounts"][2]["destination"], kNothing);
    EXPECT_EQ(config()["mounts"][2]["source"], "/opt/transship/bin/transship-runtime");
    EXPECT_EQ(config()["annotations"], json::parse(kConfig)["annotations"]);
  }
}

}  // namespace
}  // namespace transship::runtime
