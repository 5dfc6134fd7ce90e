"""Migrations that change nothing, or not yet: dry runs, holding, refusals."""

import wait
import workloads as w
from case import condition


def writer_pod(case, name="app"):
    return case.start(name, [w.container("app", f"date > /data/born; sync; {w.IDLE}", mounts={"data": "/data", "tmp": "/tmp"})],
                      [w.claim_volume("data", f"{name}-data"), w.empty_dir("tmp")], claims=[f"{name}-data"])


def test_dry_run_touches_nothing(case):
    before = writer_pod(case)
    claim = case.api.get("PersistentVolumeClaim", case.namespace, "app-data")
    case.migrate("app", dryRun=True)
    migration = case.await_success(reason="DryRun")
    checks = {item["check"]: item["result"] for item in migration["status"]["preflight"]}
    assert set(checks.values()) == {"Passed"}, checks
    assert {"Pod", "Owner", "Target", "Volume/data", "Volume/tmp", "Space"} <= set(checks), checks
    assert condition(migration, "SourceStopped")["status"] != "True"
    after = case.check_source_is_back(before, same_pod=True)
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    assert case.api.get("PersistentVolumeClaim", case.namespace, "app-data")["metadata"]["resourceVersion"] \
        == claim["metadata"]["resourceVersion"]


def test_second_migration_of_a_pod_is_refused(case):
    writer_pod(case)
    case.migrate("app", "first", suspend=True)
    case.change("first", suspend=False)
    case.await_condition("Validated", name="first")
    case.migrate("app", "second")
    case.await_failure("AlreadyMigrating", name="second")
    case.await_success("first")


def test_suspended_and_resumed_and_gone_after_its_time(case):
    before = writer_pod(case)
    case.migrate("app", suspend=True, ttlSecondsAfterFinished=0)
    wait.until("the phase says so", lambda: case.migration().get("status", {}).get("phase", "Suspended") == "Suspended")
    case.check_source_is_back(before, same_pod=True)
    case.change(suspend=False)
    wait.until("the migration has been deleted", lambda: case.migration() is None, 120)
    assert case.pod("app")["spec"]["nodeName"] != before["spec"]["nodeName"]


def test_deadline_brings_the_source_back(case):
    before = writer_pod(case)
    case.shell("app", "dd if=/dev/urandom of=/data/big bs=1M count=24 2>/dev/null")
    case.migrate("app", activeDeadlineSeconds=12, transfer={"bandwidthLimitBytesPerSecond": 1 << 20})
    case.await_failure("DeadlineExceeded")
    case.check_source_is_back(before)


def test_pod_that_cannot_be_moved_is_left_alone(case):
    before = case.start("app", [w.container("app", mounts={"host": "/host"})],
                        [{"name": "host", "hostPath": {"path": "/mnt/shared"}}])
    case.migrate("app", target={"nodeName": "nowhere"})
    migration = case.await_failure("PreflightFailed")
    message = condition(migration, "Succeeded")["message"]
    assert "hostPath" in message and "nowhere" in message, message
    case.check_source_is_back(before, same_pod=True)
