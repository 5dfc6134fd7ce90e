"""What goes wrong in the middle: the source comes back by itself with its data, or the migration goes on."""

import wait
import workloads as w
from case import condition, finished
from cluster import NAMESPACE
from test_owners import COUNTER

SLOW = {"bandwidthLimitBytesPerSecond": 3 << 20}
ALL_AFTER_THE_STOP = {"type": "StopAndCopy"}


def start(case, megabytes=24):
    """A pod that counts in its claim and its emptyDir, with enough data to be caught in the middle of a copy."""
    before = case.start("app", [w.container("app", COUNTER, mounts={"data": "/data", "scratch": "/scratch"})],
                        [w.claim_volume("data"), w.empty_dir("scratch")], claims=["data"])
    case.shell("app", f"dd if=/dev/urandom of=/data/big bs=1M count={megabytes} 2>/dev/null; sync")
    case.big = case.shell("app", "sha256sum /data/big").split()[0]
    return before


def check_data(case, starts):
    assert case.shell("app", "sha256sum /data/big", container="app").split()[0] == case.big
    lines = case.shell("app", "cat /data/log", container="app").split("\n")
    started = [line.split()[1:] for line in lines if line.startswith("started")]
    assert len(started) == starts, lines
    assert all(len(numbers) == 2 for numbers in started), lines
    for claim, scratch in started[1:]:
        assert int(claim) > 0 and int(scratch) - int(claim) in (0, 1), lines


def copying(case):
    case.await_condition("SourceStopped")
    return bytes_flow(case)


def bytes_flow(case):
    return wait.until("bytes flow", lambda: (
        lambda migration: migration if migration["status"]["progress"]["transferredBytes"] > 0 else None)(case.migration()))


def kill_mover(case, role):
    migration = copying(case)
    for pod in case.cluster.movers(migration["metadata"]["uid"], role):
        case.cluster.kill_container(pod)


def test_cancel_in_the_middle_of_the_copy(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
    copying(case)
    case.change(cancel=True)
    case.await_failure("Cancelled")
    case.check_source_is_back(before)
    check_data(case, 2)


def test_cancel_of_a_frozen_pod_thaws_it(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy={**ALL_AFTER_THE_STOP, "stop": "Freeze"})
    copying(case)
    case.change(cancel=True)
    case.await_failure("Cancelled")
    case.check_source_is_back(before, same_pod=True)
    check_data(case, 1)


def test_sender_killed(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
    kill_mover(case, "sender")
    case.await_failure("SenderLost", "TaskFailed")
    case.check_source_is_back(before)
    check_data(case, 2)


def test_receiver_killed_and_tried_again(case):
    start(case, megabytes=8)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP, backoffLimit=1)
    kill_mover(case, "receiver")
    migration = case.await_success()
    assert migration["status"]["attempts"] == 2, migration["status"]["attempts"]
    check_data(case, 3)


def test_controller_killed_again_and_again(case):
    start(case)
    case.migrate("app")
    killed = 0
    while not finished(case.migration()) and killed < 6:
        leader = case.cluster.leader()
        if leader:
            case.api.delete("Pod", NAMESPACE, leader["metadata"]["name"], grace=0)
            killed += 1
        wait.until("another controller leads", lambda gone=leader: (
            lambda now: now and (not gone or now["metadata"]["uid"] != gone["metadata"]["uid"]))(case.cluster.leader()), 60)
        seen = case.migration()
        # What the one that was killed wrote last may have been the end.
        wait.until("the migration goes on", lambda before=seen: finished(before) or (
            case.migration()["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]), 60)
    case.await_success()
    assert killed > 0
    check_data(case, 2)


def test_bandwidth_limit_lifted_in_the_middle_of_the_copy(case):
    before = start(case)
    case.migrate("app", transfer={"bandwidthLimitBytesPerSecond": 20000}, strategy=ALL_AFTER_THE_STOP)  # 20 minutes
    copying(case)
    case.change(transfer={"bandwidthLimitBytesPerSecond": 0})
    case.check_moved(before, case.await_success())
    check_data(case, 2)


def test_target_node_dies_before_the_commit(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
    copying(case)
    case.cluster.kill_node(case.cluster.other_node(before["spec"]["nodeName"]))
    case.check_source_is_back(before, seconds=120)
    check_data(case, 2)
    case.cluster.start_dead_nodes()
    case.await_failure("ReceiverLost", "TaskFailed", seconds=180)


def test_target_node_dies_after_the_commit(case):
    before = start(case)
    case.migrate("app")
    case.await_condition("Committed", pause=0.01)
    target = case.cluster.other_node(before["spec"]["nodeName"])
    case.cluster.kill_node(target)
    assert condition(case.migration(), "Succeeded")["status"] == "Unknown"
    case.cluster.start_node(target)
    case.await_success(seconds=240)
    check_data(case, 2)


def test_target_too_small(case):
    before = start(case)
    target = case.cluster.other_node(before["spec"]["nodeName"])
    case.cluster.sh(target, "mount -t tmpfs -o size=8m tmpfs /opt/local-path-provisioner")
    try:
        case.migrate("app")
        migration = case.await_failure("NoSpace")
        assert "data" in condition(migration, "Succeeded")["message"]
        case.check_source_is_back(before, same_pod=True)
        check_data(case, 1)
    finally:
        case.cluster.sh(target, "umount /opt/local-path-provisioner")


def test_target_fills_up_in_the_middle(case):
    before = start(case)
    target = case.cluster.other_node(before["spec"]["nodeName"])
    case.cluster.sh(target, "mount -t tmpfs -o size=40m tmpfs /opt/local-path-provisioner")
    try:
        case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
        copying(case)
        case.cluster.sh(target, "dd if=/dev/zero of=/opt/local-path-provisioner/full bs=64k 2>/dev/null", check=False)
        case.await_failure("NoSpace")
        case.cluster.sh(target, "rm /opt/local-path-provisioner/full")
        case.check_source_is_back(before)
        check_data(case, 2)
        wait.until("the half copy is gone", lambda: not case.cluster.sh(target, "ls -A /opt/local-path-provisioner").strip())
    finally:
        case.cluster.sh(target, "umount -l /opt/local-path-provisioner")


def test_source_node_dies_before_the_commit(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
    copying(case)
    case.cluster.kill_node(before["spec"]["nodeName"])
    case.cluster.start_node(before["spec"]["nodeName"])
    case.await_failure("SenderLost", "TaskFailed", seconds=240)
    case.check_source_is_back(before)
    check_data(case, 2)


def test_migration_deleted_in_the_middle(case):
    before = start(case)
    case.migrate("app", transfer=SLOW, strategy=ALL_AFTER_THE_STOP)
    copying(case)
    case.api.delete("ContainerMigration", case.namespace, "move")
    wait.until("it is gone", lambda: case.migration() is None)
    case.check_source_is_back(before)
    check_data(case, 2)
