#include "metrics/controller_metrics.h"

#include <gtest/gtest.h>

#include "tests/unit/metrics/scrape.h"

namespace transship::metrics {
namespace {

using std::chrono::steady_clock;

const std::string kController = R"(controller="containermigration")";
const std::string kQueue = R"(name="containermigration")";

TEST(ControllerMetrics, CountsReconcilesByResult) {
  Registry registry;
  ControllerMetrics metrics(registry, "containermigration", 4);
  for (const auto result : {ReconcileResult::kSuccess, ReconcileResult::kSuccess,
                            ReconcileResult::kError, ReconcileResult::kRequeueAfter}) {
    metrics.reconcile_started();
    metrics.reconcile_finished(result, 0.5);
  }
  metrics.reconcile_started();

  const std::string text = registry.text();
  const auto total = [&](const std::string& result) {
    return value_of(text, "controller_runtime_reconcile_total",
                    {kController, "result=\"" + result + "\""});
  };
  EXPECT_EQ(total("success"), 2);
  EXPECT_EQ(total("error"), 1);
  EXPECT_EQ(total("requeue_after"), 1);
  EXPECT_EQ(total("requeue"), 0) << "a result that has not happened is there as 0";
  EXPECT_EQ(value_of(text, "controller_runtime_reconcile_errors_total", {kController}), 1);
  EXPECT_EQ(value_of(text, "controller_runtime_active_workers", {kController}), 1);
  EXPECT_EQ(value_of(text, "controller_runtime_max_concurrent_reconciles", {kController}), 4);
  EXPECT_EQ(value_of(text, "controller_runtime_reconcile_time_seconds_sum", {kController}), 2);
  EXPECT_EQ(value_of(text, "controller_runtime_reconcile_time_seconds_bucket",
                     {kController, R"(le="0.45")"}),
            0);
  EXPECT_EQ(value_of(text, "controller_runtime_reconcile_time_seconds_bucket",
                     {kController, R"(le="0.5")"}),
            4);
}

TEST(WorkQueueMetrics, TellsWhatWaitsAndWhatRuns) {
  Registry registry;
  steady_clock::time_point now{};
  WorkQueueMetrics metrics(registry, "containermigration", [&now] { return now; });
  metrics.added();
  metrics.added();
  metrics.depth(2);
  metrics.started("default/a", 0.5);
  now += std::chrono::seconds(3);
  metrics.started("default/b", 3.5);
  metrics.depth(0);
  now += std::chrono::seconds(2);
  metrics.retried();

  std::string text = registry.text();
  EXPECT_EQ(value_of(text, "workqueue_adds_total", {kQueue}), 2);
  EXPECT_EQ(value_of(text, "workqueue_depth", {kQueue}), 0);
  EXPECT_EQ(value_of(text, "workqueue_retries_total", {kQueue}), 1);
  EXPECT_EQ(value_of(text, "workqueue_queue_duration_seconds_sum", {kQueue}), 4);
  EXPECT_EQ(value_of(text, "workqueue_unfinished_work_seconds", {kQueue}), 5 + 2);
  EXPECT_EQ(value_of(text, "workqueue_longest_running_processor_seconds", {kQueue}), 5);

  metrics.finished("default/a");
  metrics.finished("default/a");
  metrics.finished("default/never-started");
  text = registry.text();
  EXPECT_EQ(value_of(text, "workqueue_work_duration_seconds_sum", {kQueue}), 5);
  EXPECT_EQ(value_of(text, "workqueue_work_duration_seconds_count", {kQueue}), 1);
  EXPECT_EQ(value_of(text, "workqueue_unfinished_work_seconds", {kQueue}), 2);
  EXPECT_EQ(value_of(text, "workqueue_longest_running_processor_seconds", {kQueue}), 2);
}

TEST(WorkQueueMetrics, MayGoBeforeTheRegistry) {
  Registry registry;
  {
    WorkQueueMetrics metrics(registry, "short");
    metrics.added();
  }
  EXPECT_EQ(value_of(registry.text(), "workqueue_adds_total", {R"(name="short")"}), 1);
}

TEST(ClientMetrics, CountsRequestsByCodeMethodAndHost) {
  Registry registry;
  ClientMetrics metrics(registry);
  metrics.request_done("GET", "10.96.0.1:443", 200);
  metrics.request_done("GET", "10.96.0.1:443", 200);
  metrics.request_done("PATCH", "10.96.0.1:443", 409);
  metrics.request_done("GET", "10.96.0.1:443", 0);
  const std::string text = registry.text();
  const std::string host = R"(host="10.96.0.1:443")";
  const auto requests = [&](const std::string& code, const std::string& method) {
    return value_of(text, "rest_client_requests_total",
                    {"code=\"" + code + "\"", "method=\"" + method + "\"", host});
  };
  EXPECT_EQ(requests("200", "GET"), 2);
  EXPECT_EQ(requests("409", "PATCH"), 1);
  EXPECT_EQ(requests("<error>", "GET"), 1);
}

TEST(LeaderElectionMetrics, IsZeroUntilLeading) {
  Registry registry;
  LeaderElectionMetrics metrics(registry, "transship-controller");
  const auto status = [&] {
    return value_of(registry.text(), "leader_election_master_status",
                    {R"(name="transship-controller")"});
  };
  EXPECT_EQ(status(), 0);
  metrics.leading(true);
  EXPECT_EQ(status(), 1);
  metrics.leading(false);
  EXPECT_EQ(status(), 0);
}

}  // namespace
}  // namespace transship::metrics
