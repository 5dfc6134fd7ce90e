"""Migrations that change nothing, or not yet: dry runs, holding, refusals."""

import wait
import workloads as w
from api import ApiError
from case import condition
from cluster import NAMESPACE


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


def test_held_before_the_stop(case):
    before = writer_pod(case)
    case.migrate("app")
    case.await_condition("Validated", pause=0.01)
    case.change(suspend=True)
    wait.until("it is held", lambda: case.migration()["status"]["phase"] == "Suspended")
    case.check_source_is_back(before, same_pod=True)
    case.change(suspend=False)
    case.await_success()


def test_cancelled_and_deleted_before_anything_happened(case):
    before = writer_pod(case)
    case.migrate("app", suspend=True)
    case.change(cancel=True)
    case.await_failure("Cancelled")
    case.migrate("app", "another", suspend=True)
    case.api.delete("ContainerMigration", case.namespace, "another")
    wait.until("it is gone", lambda: case.migration("another") is None)
    case.check_source_is_back(before, same_pod=True)


def test_foreign_objects_of_the_same_names_are_not_touched(case):
    before = writer_pod(case)
    migration = case.migrate("app", suspend=True)
    uid = migration["metadata"]["uid"]
    foreign = [case.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": name},
                            "stringData": {"whose": "not yours"}})
               for name in (f"transship-{uid}-tls-1", f"transship-{uid}-pod-1")]
    try:
        case.change(suspend=False)
        case.await_failure("NameConflict")
        for secret in foreign:
            now = case.api.get("Secret", NAMESPACE, secret["metadata"]["name"])
            assert now["metadata"]["resourceVersion"] == secret["metadata"]["resourceVersion"], now
        case.check_source_is_back(before, same_pod=True)
    finally:
        for secret in foreign:
            case.api.delete("Secret", NAMESPACE, secret["metadata"]["name"])


def bind(case, name, user, role):
    case.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                 "metadata": {"namespace": case.namespace, "name": name},
                 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                 "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})


def test_whoever_may_not_migrate_the_pod_is_refused(case):
    before = writer_pod(case)
    bind(case, "editor", "eve", "edit")
    wanted = w.migration(case.namespace, "move", "app", dryRun=True)

    def refusal():
        try:
            case.api.create(wanted, user="eve")
        except ApiError as error:
            assert error.status == 403, error
            return error.message
        raise AssertionError("eve may migrate")

    # The binding takes effect a moment after it was made.
    wait.until("it is the policy that refuses", lambda: 'lacks verb "migrate"' in refusal(), 10)
    bind(case, "migrator", "eve", "transship-migrator")

    def created():
        try:
            return case.api.create(wanted, user="eve")
        except ApiError as error:
            assert error.status == 403, error
            return None

    wait.until("she may with the role", created, 10)
    case.await_success(reason="DryRun")
    case.check_source_is_back(before, same_pod=True)
