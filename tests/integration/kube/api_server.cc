#include "tests/integration/kube/api_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/unique_fd.h"
#include "kube/cpprest_transport.h"

namespace transship::kube {
namespace {

namespace fs = std::filesystem;

bool is_free(int port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

// The first of three ports in a row that nobody listens at, below those that the kernel gives away.
int free_ports() {
  std::mt19937 random{std::random_device{}()};
  std::uniform_int_distribution<int> any(10000, 30000);
  for (;;) {
    const int port = any(random);
    if (is_free(port) && is_free(port + 1) && is_free(port + 2)) return port;
  }
}

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value != nullptr ? value : "";
}

fs::path programs() {
  if (const std::string given = environment("TRANSSHIP_BIN_DIR"); !given.empty()) return given;
  std::string cache = environment("XDG_CACHE_HOME");
  if (cache.empty()) cache = environment("HOME") + "/.cache";
  return fs::path(cache) / "transship" / "bin";
}

class ApiServer : public testing::Environment {
 public:
  void SetUp() override {
    char pattern[] =
        "/tmp/transship-api-XX"
        "XX"
        "XX";
    directory_ = ::mkdtemp(pattern);
    for (const char* program : {"etcd", "kube-apiserver"}) {
      if (!fs::exists(programs() / program)) {
        missing_ = (programs() / program).string() + " is missing; tests/cluster/build.sh makes it";
        return;
      }
    }
    // Where the script looks for them.
    fs::create_directories(directory_ / "cache" / "transship");
    fs::create_directory_symlink(fs::canonical(programs()), directory_ / "cache/transship/bin");
    for (int attempt = 0; attempt < 3 && !up_; ++attempt) {
      run("down " + (directory_ / "server").string());
      up_ = run("up " + (directory_ / "server").string() + " " + std::to_string(free_ports()));
    }
    ASSERT_TRUE(up_) << "the API server did not start";
  }

  void TearDown() override {
    run("down " + (directory_ / "server").string());
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }

  [[nodiscard]] const fs::path& directory() const { return directory_; }
  [[nodiscard]] const std::string& missing() const { return missing_; }

 private:
  bool run(const std::string& arguments) const {
    const std::string command = "XDG_CACHE_HOME=" + (directory_ / "cache").string() + " " +
                                TRANSSHIP_SOURCE "/tests/cluster/control-plane " + arguments;
    return ::system(command.c_str()) == 0;
  }

  fs::path directory_;
  std::string missing_;
  bool up_ = false;
};

ApiServer* const server = static_cast<ApiServer*>(testing::AddGlobalTestEnvironment(new ApiServer));

}  // namespace

void ApiServerTest::SetUp() {
  if (!server->missing().empty()) {
    GTEST_SKIP() << "no API server to test with: " << server->missing();
  }
  client_ = connect(config(kubeconfig()));
  const Json wanted = {{"metadata", {{"generateName", "test-"}}}};
  const auto made = client_.create(kNamespaces, "", wanted);
  ASSERT_TRUE(made.ok()) << made.error().message;
  ns_ = made->at("metadata").at("name");
}

std::string ApiServerTest::kubeconfig(const std::string& name) {
  return server->directory() / "server" / (name + ".kubeconfig");
}

Config ApiServerTest::config(const std::string& kubeconfig_path) {
  const auto loaded = load_kubeconfig({.path = kubeconfig_path});
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message);
  return loaded.ok() ? *loaded : Config{};
}

Client ApiServerTest::connect(const Config& config) {
  const auto transport = CpprestTransport::make(config.endpoint);
  EXPECT_TRUE(transport.ok());
  return Client(*transport);
}

fs::path scratch_directory() {
  fs::path directory = server->directory() / "scratch";
  fs::create_directories(directory);
  return directory;
}

}  // namespace transship::kube
