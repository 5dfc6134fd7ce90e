// A real API server with its etcd for the tests of this program: tests/cluster/control-plane,
// started once. The programs are those of the cluster tests' cache, or in $TRANSSHIP_BIN_DIR.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "kube/client.h"
#include "kube/config.h"

namespace transship::kube {

// Skips the test where there is no API server to test with.
class ApiServerTest : public testing::Test {
 protected:
  void SetUp() override;

  // Of an administrator: "admin" with a token, "admin-certificate" with a certificate.
  static std::string kubeconfig(const std::string& name = "admin");
  static Config config(const std::string& kubeconfig_path);
  static Client connect(const Config& config);

  // A new namespace for each test.
  Client client_{nullptr};
  std::string ns_;
};

// A directory of its own for each test program, removed at its end.
std::filesystem::path scratch_directory();

}  // namespace transship::kube
