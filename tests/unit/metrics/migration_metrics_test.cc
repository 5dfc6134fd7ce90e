#include "metrics/migration_metrics.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/unit/metrics/scrape.h"

namespace transship::metrics {
namespace {

class MigrationMetricsTest : public ::testing::Test {
 protected:
  std::optional<double> value(const std::string& name,
                              const std::vector<std::string>& labels = {}) {
    return value_of(registry.text(), name, labels);
  }

  Registry registry;
  MigrationMetrics metrics{registry};
};

TEST_F(MigrationMetricsTest, APhaseThatNobodyIsInAnyMoreCountsZero) {
  metrics.count_by_phase({{"Preparing", 2}, {"Transferring", 1}});
  EXPECT_EQ(value("containermigration_migrations", {R"(phase="Preparing")"}), 2);
  metrics.count_by_phase({{"Transferring", 3}});
  EXPECT_EQ(value("containermigration_migrations", {R"(phase="Preparing")"}), 0);
  EXPECT_EQ(value("containermigration_migrations", {R"(phase="Transferring")"}), 3);
}

TEST_F(MigrationMetricsTest, TellsHowMigrationsEnd) {
  metrics.finished("Succeeded", "Migrated", 12);
  metrics.finished("Failed", "TargetUnreachable", 100);
  metrics.downtime(3.2);
  metrics.rolled_back("TargetUnreachable");
  metrics.restored("Failed");
  metrics.retried("TargetUnreachable");
  metrics.phase_entered("Transferring");
  metrics.phase_left("Transferring", 2);
  metrics.transferred("volume", "final", 1000);
  metrics.transferred("volume", "final", 24);

  EXPECT_EQ(
      value("containermigration_finished_total", {R"(result="Succeeded")", R"(reason="Migrated")"}),
      1);
  EXPECT_EQ(value("containermigration_finished_total",
                  {R"(result="Failed")", R"(reason="TargetUnreachable")"}),
            1);
  EXPECT_EQ(value("containermigration_duration_seconds_sum", {R"(result="Failed")"}), 100);
  EXPECT_EQ(value("containermigration_downtime_seconds_sum"), 3.2);
  EXPECT_EQ(value("containermigration_downtime_seconds_bucket", {R"(le="3")"}), 0);
  EXPECT_EQ(value("containermigration_downtime_seconds_bucket", {R"(le="4")"}), 1);
  EXPECT_EQ(value("containermigration_container_restores_total", {R"(state="Failed")"}), 1);
  EXPECT_EQ(value("containermigration_container_restores_total", {R"(state="Running")"}), 0);
  EXPECT_EQ(value("containermigration_rollbacks_total", {R"(reason="TargetUnreachable")"}), 1);
  EXPECT_EQ(value("containermigration_retries_total", {R"(reason="TargetUnreachable")"}), 1);
  EXPECT_EQ(value("containermigration_phase_transitions_total", {R"(phase="Transferring")"}), 1);
  EXPECT_EQ(value("containermigration_phase_duration_seconds_sum", {R"(phase="Transferring")"}), 2);
  EXPECT_EQ(
      value("containermigration_transferred_bytes_total", {R"(kind="volume")", R"(round="final")"}),
      1024);
}

TEST_F(MigrationMetricsTest, BytesAndDowntimeAreThereBeforeTheFirstMigration) {
  EXPECT_EQ(
      value("containermigration_transferred_bytes_total", {R"(kind="volume")", R"(round="final")"}),
      0);
  EXPECT_EQ(value("containermigration_downtime_seconds_count"), 0);
}

TEST_F(MigrationMetricsTest, GaugesOfAMigrationVanishWhenItEnds) {
  const std::vector<std::string> first = {R"(namespace="shop")", R"(name="a")"};
  const std::vector<std::string> second = {R"(namespace="shop")", R"(name="b")"};
  metrics.progress("shop", "a", 0.25, 75, 10);
  metrics.progress("shop", "b", 0.5, 50, 10);
  metrics.progress("shop", "a", 0.5, 50, 20);
  EXPECT_EQ(value("containermigration_progress_ratio", first), 0.5);
  EXPECT_EQ(value("containermigration_remaining_bytes", first), 50);
  EXPECT_EQ(value("containermigration_transfer_bytes_per_second", first), 20);

  metrics.forget("shop", "a");
  metrics.forget("shop", "a");
  metrics.forget("shop", "unknown");
  EXPECT_EQ(value("containermigration_progress_ratio", first), std::nullopt);
  EXPECT_EQ(value("containermigration_remaining_bytes", first), std::nullopt);
  EXPECT_EQ(value("containermigration_transfer_bytes_per_second", first), std::nullopt);
  EXPECT_EQ(value("containermigration_progress_ratio", second), 0.5);

  metrics.progress("shop", "a", 0.1, 90, 10);
  EXPECT_EQ(value("containermigration_progress_ratio", first), 0.1) << "a retry has them again";
}

TEST_F(MigrationMetricsTest, IsSafeFromSeveralThreads) {
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([this, name = std::to_string(i)] {
        for (int round = 0; round < 200; ++round) {
          metrics.progress("shop", name, 0.5, round, round);
          metrics.progress("shop", "shared", 0.5, round, round);
          metrics.transferred("volume", "final", 1);
          metrics.count_by_phase({{name, round}});
          metrics.forget("shop", name);
          metrics.forget("shop", "shared");
        }
      });
    }
    for (int round = 0; round < 20; ++round) (void)registry.text();
  }
  EXPECT_EQ(
      value("containermigration_transferred_bytes_total", {R"(kind="volume")", R"(round="final")"}),
      800);
  EXPECT_EQ(registry.text().find("containermigration_progress_ratio"), std::string::npos);
}

}  // namespace
}  // namespace transship::metrics
