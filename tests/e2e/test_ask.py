"""Migrations that change nothing, or not yet: dry runs, holding, refusals."""

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
