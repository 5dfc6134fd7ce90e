#include "controller/installation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "controller/names.h"
#include "controller/objects.h"
#include "tests/unit/kube/scripted_transport.h"

namespace transship::controller {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kPods = "/api/v1/namespaces/ops/pods";
constexpr const char* kLease =
    "/apis/coordination.k8s.io/v1/namespaces/ops/leases/transship-controller";
constexpr const char* kPolicies = "/apis/admissionregistration.k8s.io/v1/";

Object controller(const std::string& name, const std::string& address) {
  return {
      {"metadata", {{"name", name}}},
      {"spec",
       {{"containers",
         {{{"name", "controller"}, {"ports", {{{"name", "metrics"}, {"containerPort", 8080}}}}}}}}},
      {"status", {{"phase", "Running"}, {"podIP", address}}}};
}

// An installation that works: two controllers, the second leads, both policies are bound.
class InstallationTest : public testing::Test {
 protected:
  InstallationTest() {
    server_->set("/apis/transship.dev/v1alpha1",
                 {{"resources", {{{"name", "containermigrations"}}}}});
    set_pods({controller("c-1", "10.0.0.1"), controller("c-2", "fd00::2")});
    server_->set(kLease, {{"spec", {{"holderIdentity", "c-2"}}}});
    for (const char* path : {"mutatingadmissionpolicies/transship-hold",
                             "mutatingadmissionpolicybindings/transship-hold",
                             "validatingadmissionpolicies/transship-may-migrate",
                             "validatingadmissionpolicybindings/transship-may-migrate"}) {
      server_->set(policy(path), Object::object());
    }
    options_.ns = "ops";
    options_.selector = "a=b";
    options_.hold = options_.may_migrate = true;
  }
  static std::string policy(const std::string& path) { return kPolicies + path; }
  void set_pods(const std::vector<Object>& pods) { server_->set(kPods, {{"items", pods}}); }
  std::vector<std::string> problems() {
    return installation_problems(client_, options_, [this](const std::string& base_url) {
      const auto found = answers_.find(base_url);
      if (found != answers_.end()) return found->second;
      return Status(Error{ErrorCode::kUnavailable, "nobody listens at " + base_url});
    });
  }

  std::shared_ptr<kube::ScriptedTransport> server_ = std::make_shared<kube::ScriptedTransport>();
  kube::Client client_{server_, {.read_attempts = 1}};
  InstallationOptions options_;
  std::map<std::string, Status> answers_{{"http://10.0.0.1:8080", {}},
                                         {"http://[fd00::2]:8080", {}}};
};

TEST_F(InstallationTest, NothingIsWrongWithOneThatWorks) { EXPECT_THAT(problems(), IsEmpty()); }

TEST_F(InstallationTest, LooksAtTheControllersPodsOnly) {
  problems();
  EXPECT_THAT(server_->log(), Contains(AllOf(HasSubstr(kPods), HasSubstr("a%3Db"))));
}

TEST_F(InstallationTest, NoControllerRuns) {
  Object leaving = controller("c-1", "10.0.0.1");
  leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  Object evicted = controller("c-2", "fd00::2");
  evicted["status"]["phase"] = "Failed";
  set_pods({leaving, evicted});
  EXPECT_THAT(problems(), ElementsAre(AllOf(HasSubstr("no controller runs"), HasSubstr("a=b"))));
}

TEST_F(InstallationTest, OneControllerIsNotReady) {
  answers_["http://10.0.0.1:8080"] = Error{ErrorCode::kUnavailable, "answered 503"};
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("c-1 is not ready: answered 503")));
}

TEST_F(InstallationTest, OneControllerDoesNotStart) {
  Object pod = controller("c-1", "");
  pod["status"] = {{"phase", "Pending"},
                   {"containerStatuses",
                    {{{"name", "controller"},
                      {"state", {{"waiting", {{"reason", "ErrImagePull"}, {"message", "x"}}}}}}}}};
  set_pods({pod, controller("c-2", "fd00::2")});
  EXPECT_THAT(problems(), ElementsAre(AllOf(HasSubstr("c-1"), HasSubstr("ErrImagePull"))));
}

TEST_F(InstallationTest, NobodyLeads) {
  server_->set(kLease, {{"spec", {{"holderIdentity", ""}}}});
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("nobody's")));
  server_->set(kLease, {{"spec", {{"holderIdentity", "c-0"}}}});
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("that of c-0, which does not run")));
  server_->drop(kLease);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("no controller leads")));
  options_.leader_elect = false;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(InstallationTest, APolicyOrItsBindingIsNotThere) {
  server_->drop(policy("mutatingadmissionpolicybindings/transship-hold"));
  server_->drop(policy("validatingadmissionpolicies/transship-may-migrate"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("transship-hold is not in force"),
                                      HasSubstr("transship-may-migrate is not in force")));
  options_.hold = options_.may_migrate = false;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(InstallationTest, TheCustomResourceIsNotServed) {
  server_->drop("/apis/transship.dev/v1alpha1");
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("no ContainerMigrations")));
}

TEST_F(InstallationTest, WhatMayNotBeReadIsAProblemToo) {
  server_->before = [](const kube::Request& request) -> std::optional<Result<kube::Response>> {
    if (!request.target.starts_with(kPods)) return std::nullopt;
    return Result<kube::Response>(kube::ScriptedTransport::failure(403, "Forbidden"));
  };
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("Forbidden")));
}

Object installer(const char* node, const char* ready) {
  return {
      {"metadata", {{"name", std::string("runtime-") + node}, {"namespace", "ops"}}},
      {"spec", {{"nodeName", node}, {"containers", {{{"args", {"install"}}}}}}},
      {"status", {{"phase", "Running"}, {"conditions", {{{"type", "Ready"}, {"status", ready}}}}}}};
}

TEST_F(InstallationTest, ANodeCannotRestoreContainers) {
  set_pods({installer("node-a", "True"), installer("node-b", "False")});
  EXPECT_THAT(problems(), Not(Contains(HasSubstr("transship-runtime"))));
  options_.runtime = true;
  EXPECT_THAT(problems(), Contains(HasSubstr("transship-runtime on node node-b is not ready")));
  EXPECT_THAT(problems(), Not(Contains(HasSubstr("transship-runtime on node node-a"))));
  set_pods({});
  EXPECT_THAT(problems(), Contains(HasSubstr("no pod of the DaemonSet transship-runtime runs")));
}

}  // namespace
}  // namespace transship::controller
