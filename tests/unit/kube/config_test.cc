#include "kube/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "kube/exec_credentials.h"

namespace transship::kube {
namespace {

using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] =
        "/tmp/transship-config-XX"
        "XX"
        "XX";
    directory_ = ::mkdtemp(pattern);
    for (const char* name : {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"}) {
      ::unsetenv(name);
    }
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  // A kubeconfig with one context, cluster and user; the last two in YAML's flow.
  std::string kubeconfig(const std::string& cluster, const std::string& user) const {
    return write("config", "clusters: [{name: c, cluster: " + cluster +
                               "}]\nusers: [{name: u, user: " + user +
                               "}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
                               "current-context: x\n");
  }
  static std::string failed(const std::string& path) {
    const auto config = load_kubeconfig({.path = path});
    return config.ok() ? "loaded"
                       : std::string(to_string(config.error().code)) + " " + config.error().message;
  }
  static Credentials credentials(const Config& config) {
    auto credentials = config.endpoint.credentials->get();
    EXPECT_TRUE(credentials.ok()) << credentials.error().message;
    return credentials.ok() ? *credentials : Credentials{};
  }

  std::filesystem::path directory_;
};

TEST_F(ConfigTest, APodUsesItsServiceAccount) {
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  write("ca.crt", "authority");
  write("token", "one\n");
  write("namespace", "storage");
  std::chrono::steady_clock::time_point now;
  const auto config = in_cluster_config({.directory = directory_,
                                         .token_lifetime = std::chrono::seconds(300),
                                         .now = [&now] { return now; }});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->endpoint.base_url, "https://[fd00::1]:443");
  EXPECT_EQ(config->ns, "storage");
  EXPECT_EQ(credentials(*config).ca, "authority");
  EXPECT_EQ(credentials(*config).token, "one");

  write("token", "two");
  now += std::chrono::seconds(299);
  EXPECT_EQ(credentials(*config).token, "one");
  now += std::chrono::seconds(1);
  EXPECT_EQ(credentials(*config).token, "two");

  write("token", "three");
  config->endpoint.credentials->rejected();
  EXPECT_EQ(credentials(*config).token, "three");

  std::filesystem::remove(directory_ / "token");
  now += std::chrono::seconds(300);
  EXPECT_EQ(credentials(*config).token, "three");
}

TEST_F(ConfigTest, OutsideOfAPodThereIsNoServiceAccount) {
  EXPECT_EQ(in_cluster_config({.directory = directory_}).error().code, ErrorCode::kNotFound);
  const auto none = default_config({.path = directory_ / "config"});
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.error().message, HasSubstr(directory_ / "config"));
  kubeconfig("{server: 'https://a'}", "{}");
  EXPECT_TRUE(default_config({.path = directory_ / "config"}).ok());
}

TEST_F(ConfigTest, TheFirstKubeconfigThatExistsIsTheDefault) {
  const std::string path = kubeconfig("{server: 'https://a'}", "{}");
  ::setenv("KUBECONFIG", ("/nowhere/config:" + path + ":/nowhere/else").c_str(), 1);
  const auto config = load_kubeconfig();
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->endpoint.base_url, "https://a");
  EXPECT_EQ(config->ns, "default");
}

TEST_F(ConfigTest, CredentialsMayBeInTheKubeconfig) {
  const auto config = load_kubeconfig(
      {.path = kubeconfig("{server: 'https://a', certificate-authority-data: YXV0aG9yaXR5, "
                          "tls-server-name: kubernetes}",
                          "{client-certificate-data: Y2VydGlmaWNhdGU=, client-key-data: a2V5, "
                          "token: secret}")});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->endpoint.tls_server_name, "kubernetes");
  EXPECT_FALSE(config->endpoint.insecure);
  const Credentials got = credentials(*config);
  EXPECT_EQ(got.ca, "authority");
  EXPECT_EQ(got.certificate, "certificate");
  EXPECT_EQ(got.key, "key");
  EXPECT_EQ(got.token, "secret");
}

TEST_F(ConfigTest, CredentialsMayBeInFilesBesideIt) {
  write("ca.crt", "authority");
  write("token", " secret\n");
  const auto config = load_kubeconfig(
      {.path = kubeconfig(
           "{server: 'https://a', certificate-authority: ca.crt, insecure-skip-tls-verify: true}",
           "{tokenFile: '" + (directory_ / "token").string() + "', token: other}")});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->endpoint.insecure);
  EXPECT_EQ(credentials(*config).ca, "authority");
  EXPECT_EQ(credentials(*config).token, "secret");
}

TEST_F(ConfigTest, AnotherContextClusterUserOrServerCanBeAskedFor) {
  const std::string path = write("config", R"(
clusters: [{name: a, cluster: {server: 'https://a'}}, {name: b, cluster: {server: 'https://b'}}]
users: [{name: a, user: {token: token-a}}, {name: b, user: {token: token-b}}]
contexts:
- {name: a, context: {cluster: a, user: a}}
- {name: b, context: {cluster: b, user: b, namespace: ns-b}}
current-context: a
)");
  const auto load = [&](KubeconfigOptions options) {
    options.path = path;
    const auto config = load_kubeconfig(options);
    return config.ok()
               ? config->endpoint.base_url + " " + credentials(*config).token + " " + config->ns
               : config.error().message;
  };
  EXPECT_EQ(load({}), "https://a token-a default");
  EXPECT_EQ(load({.context = "b"}), "https://b token-b ns-b");
  EXPECT_EQ(load({.context = "b", .ns = "x"}), "https://b token-b x");
  EXPECT_EQ(load({.user = "b"}), "https://a token-b default");
  EXPECT_EQ(load({.cluster = "b"}), "https://b token-a default");
  EXPECT_EQ(load({.server = "https://c"}), "https://c token-a default");
  EXPECT_THAT(load({.context = "c"}), HasSubstr("contexts has no c"));
}

TEST_F(ConfigTest, ErrorsNameTheFileAndTheField) {
  const std::string good = "{server: 'https://a'}";
  const std::vector<std::tuple<std::string, std::string, std::string>> table = {
      {"{}", "{}", "clusters[c].cluster.server is missing"},
      {"{server: [1]}", "{}", "clusters[c].cluster.server is not a text"},
      {"{server: 'https://a', certificate-authority-data: '?'}", "{}",
       "clusters[c].cluster.certificate-authority-data is not base64"},
      {"{server: 'https://a', certificate-authority: none.crt}", "{}", "none.crt"},
      {"{server: 'https://a', insecure-skip-tls-verify: perhaps}", "{}",
       "clusters[c].cluster.insecure-skip-tls-verify is neither true nor false"},
      {good, "{username: admin}", "users[u].user.username is not supported"},
      {good, "{auth-provider: {name: x}}", "users[u].user.auth-provider is not supported"},
      {good, "{exec: {command: x}}", "users[u].user.exec.apiVersion is missing"},
      {good, "{exec: {apiVersion: v0, command: x}}", "users[u].user.exec.apiVersion v0"},
      {good, "{exec: {apiVersion: client.authentication.k8s.io/v1}}",
       "users[u].user.exec.command is missing"},
      {good,
       "{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: "
       "Always}}",
       "users[u].user.exec.interactiveMode"},
  };
  for (const auto& [cluster, user, expected] : table) {
    const std::string path = kubeconfig(cluster, user);
    EXPECT_THAT(failed(path), testing::AllOf(testing::StartsWith("Invalid kubeconfig " + path),
                                             HasSubstr(expected)));
  }
}

TEST_F(ConfigTest, WhatIsNoKubeconfigIsSaid) {
  EXPECT_THAT(failed("/nowhere/config"), testing::StartsWith("NotFound kubeconfig"));
  EXPECT_THAT(failed(write("a", "just text")), HasSubstr("it is no kubeconfig"));
  EXPECT_THAT(failed(write("a", "")), HasSubstr("it is no kubeconfig"));
  EXPECT_THAT(failed(write("a", "{{{")), HasSubstr("Invalid kubeconfig"));
  EXPECT_THAT(failed(write("a", "current-context: x")), HasSubstr("contexts has no x"));
  EXPECT_THAT(failed(write("a", "clusters: []")), HasSubstr("current-context is missing"));
}

// An exec plugin that is a shell script; it counts its runs in the file "runs".
class ExecTest : public ConfigTest {
 protected:
  [[nodiscard]] Config config(const std::string& script, const std::string& more = "") const {
    const std::string path =
        write("plugin", "#!/bin/sh\necho run >>" + (directory_ / "runs").string() + "\n" + script);
    ::chmod(path.c_str(), 0755);
    auto config = load_kubeconfig(
        {.path = kubeconfig("{server: 'https://a', certificate-authority-data: YXV0aG9yaXR5}",
                            "{exec: {apiVersion: client.authentication.k8s.io/v1, "
                            "command: ./plugin" +
                                more + "}}")});
    EXPECT_TRUE(config.ok()) << config.error().message;
    return config.ok() ? *config : Config{};
  }
  static std::string granting(const std::string& status) {
    return R"(cat <<END
{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": )" +
           status + "}\nEND\n";
  }
  [[nodiscard]] int runs() const {
    std::ifstream file(directory_ / "runs");
    int count = 0;
    for (std::string line; std::getline(file, line);) ++count;
    return count;
  }
  static std::string refused(const Config& config) {
    const auto credentials = config.endpoint.credentials->get();
    return credentials.ok() ? "granted" : credentials.error().message;
  }
};

TEST_F(ExecTest, APluginRunsOnceForATokenThatDoesNotExpire) {
  const Config exec = config(granting(R"({"token": "from-plugin"})"));
  EXPECT_EQ(runs(), 0);
  EXPECT_EQ(credentials(exec).token, "from-plugin");
  EXPECT_EQ(credentials(exec).ca, "authority");
  EXPECT_EQ(runs(), 1);
  exec.endpoint.credentials->rejected();
  EXPECT_EQ(credentials(exec).token, "from-plugin");
  EXPECT_EQ(runs(), 2);
}

TEST_F(ExecTest, APluginRunsAgainWhenItsTokenHasExpired) {
  const std::string past = R"({"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"})";
  const Config exec = config(granting(past));
  (void)credentials(exec);
  (void)credentials(exec);
  EXPECT_EQ(runs(), 2);
  const std::string future = R"({"token": "t", "expirationTimestamp": "2220-01-01T00:00:00Z"})";
  const Config later = config(granting(future));
  (void)credentials(later);
  (void)credentials(later);
  EXPECT_EQ(runs(), 3);
}

TEST_F(ExecTest, APluginMayGiveACertificate) {
  const Credentials got = credentials(
      config(granting(R"({"clientCertificateData": "certificate", "clientKeyData": "key"})")));
  EXPECT_EQ(got.certificate, "certificate");
  EXPECT_EQ(got.key, "key");
  EXPECT_EQ(got.token, "");
}

TEST_F(ExecTest, APluginIsToldWhatTheKubeconfigSays) {
  const Config exec = config(
      R"(printf '%s' "$KUBERNETES_EXEC_INFO" >"$DIRECTORY/info"
)" + granting(R"({"token": "$1-$GREETING"})"),
      ", args: [first], env: [{name: GREETING, value: hello}, {name: DIRECTORY, value: " +
          directory_.string() + "}], provideClusterInfo: true");
  EXPECT_EQ(credentials(exec).token, "first-hello");
  const auto info = nlohmann::json::parse(std::ifstream(directory_ / "info"));
  EXPECT_EQ(info["apiVersion"], "client.authentication.k8s.io/v1");
  EXPECT_EQ(info["kind"], "ExecCredential");
  EXPECT_EQ(info["spec"]["interactive"], false);
  EXPECT_EQ(info["spec"]["cluster"]["server"], "https://a");
  EXPECT_EQ(info["spec"]["cluster"]["certificate-authority-data"], "YXV0aG9yaXR5");
}

TEST_F(ExecTest, APluginThatFailsSaysHow) {
  EXPECT_THAT(refused(config("exit 3")), HasSubstr("exit status 3"));
  EXPECT_THAT(refused(config("echo hello")), HasSubstr("no ExecCredential"));
  EXPECT_THAT(refused(config(granting("{}"))), HasSubstr("neither token"));
  EXPECT_THAT(refused(config(granting(R"({"clientCertificateData": "c"})"))),
              HasSubstr("belong together"));
  EXPECT_THAT(refused(config(granting(R"({"token": "t", "expirationTimestamp": "soon"})"))),
              HasSubstr("expirationTimestamp"));
  EXPECT_THAT(refused(config(R"(echo '{"kind": "ExecCredential", "apiVersion": "v0"}')")),
              HasSubstr("apiVersion is not client.authentication.k8s.io/v1"));
}

TEST_F(ExecTest, APluginThatIsNotThereComesWithItsHint) {
  const auto exec = load_kubeconfig(
      {.path = kubeconfig("{server: 'https://a'}",
                          "{exec: {apiVersion: client.authentication.k8s.io/v1, command: "
                          "./nothing-there, installHint: install it}}")});
  ASSERT_TRUE(exec.ok()) << exec.error().message;
  EXPECT_THAT(refused(*exec), testing::AllOf(HasSubstr("nothing-there"), HasSubstr("install it")));
}

TEST(RunProgram, AProgramThatDoesNotEndIsKilled) {
  const auto output = run_program({"sleep", "1000"}, {}, std::chrono::milliseconds(50));
  ASSERT_FALSE(output.ok());
  EXPECT_EQ(output.error().code, ErrorCode::kTimeout);
}

TEST(RunProgram, AProgramThatWritesTooMuchIsKilled) {
  EXPECT_FALSE(run_program({"yes"}, {}, std::chrono::seconds(60)).ok());
}

TEST(RunProgram, ItsEnvironmentComesBeforeOurs) {
  ::setenv("TRANSSHIP_TEST", "ours", 1);
  const auto output = run_program({"sh", "-c", "echo $TRANSSHIP_TEST"}, {"TRANSSHIP_TEST=its"},
                                  std::chrono::seconds(60));
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_EQ(*output, "its\n");
}

}  // namespace
}  // namespace transship::kube
