"""Copying while the pod runs: only what is left waits for the stop, and until then the pod is not touched."""

import wait
import workloads as w
from case import condition
from test_faults import SLOW, bytes_flow, check_data, start

MIB = 1 << 20
# Overwrites 8 MB again and again, far faster than it is copied.
CHURN = "while :; do dd if=/dev/urandom of=/data/churn bs=64k count=128 conv=notrunc 2>/dev/null; done"


def pre_copying(case):
    wait.until("it copies", lambda: case.migration().get("status", {}).get("phase") == "PreCopying")
    return bytes_flow(case)


def rounds(case):
    return case.migration()["status"].get("rounds", [])


def test_only_what_is_left_is_copied_after_the_stop(case):
    before = start(case)
    migration = case.move("app")
    sent = [item["bytes"] for item in migration["status"]["rounds"]]
    assert len(sent) > 1 and sent[0] > 24 * MIB > MIB > sent[-1] > 0, sent
    assert migration["status"]["estimatedDowntimeSeconds"] > 0
    check_data(case, 2)
    phases = [item["phase"] for item in migration["status"]["phaseTransitionTimestamps"]]
    assert phases.index("PreCopying") < phases.index("Stopping"), phases
    assert before["metadata"]["name"] == "app"


def test_frozen_only_for_what_is_left(case):
    start(case)
    migration = case.move("app", strategy={"stop": "Freeze"})
    sent = [item["bytes"] for item in migration["status"]["rounds"]]
    assert len(sent) > 1 and sent[0] > 24 * MIB > MIB > sent[-1] > 0, sent
    check_data(case, 2)


def test_cancelled_while_it_copies(case):
    before = start(case)
    case.migrate("app", transfer=SLOW)
    pre_copying(case)
    case.change(cancel=True)
    case.await_failure("Cancelled")
    case.check_source_is_back(before, same_pod=True)
    check_data(case, 1)


def check_goes_on_after_kill(case, role):
    before = start(case, megabytes=36)
    case.migrate("app", transfer=SLOW)
    migration = wait.until("a third is there", lambda: (lambda found: found if found.get("status", {}).get(
        "progress", {}).get("transferredBytes", 0) > 12 * MIB else None)(case.migration()))
    assert migration["status"]["phase"] == "PreCopying", migration["status"]["phase"]
    for pod in case.cluster.movers(migration["metadata"]["uid"], role):
        case.cluster.kill_container(pod)
    case.change(transfer={"bandwidthLimitBytesPerSecond": 0})
    wait.until("it goes on", lambda: case.migration()["status"]["epoch"] == 2)
    case.check_source_is_back(before, same_pod=True)
    migration = case.await_success()
    case.check_moved(before, migration)
    assert migration["status"]["attempts"] == 1, migration["status"]
    check_data(case, 2)


def test_sender_killed_while_it_copies(case):
    check_goes_on_after_kill(case, "sender")


def test_receiver_killed_while_it_copies(case):
    check_goes_on_after_kill(case, "receiver")


def test_pod_that_writes_too_much_is_left_alone_where_that_is_asked_for(case):
    before = case.start("app", [w.container("app", CHURN, mounts={"data": "/data"})], [w.claim_volume("data")],
                        claims=["data"])
    wait.until("it writes", lambda: case.shell("app", "stat -c %s /data/churn").strip() == str(8 * MIB))
    case.migrate("app", strategy={"maxDowntimeSeconds": 4, "onBudgetExceeded": "Abort"},
                 transfer={"bandwidthLimitBytesPerSecond": 2 * MIB})
    migration = case.await_failure("DowntimeBudgetExceeded")
    assert migration["status"]["estimatedDowntimeSeconds"] > 4, migration["status"]
    assert "sourceStopRequestedTime" not in migration["status"]
    case.check_source_is_back(before, same_pod=True)


def test_held_after_the_rounds_and_copied_once_more(case):
    start(case)
    case.migrate("app", transfer=SLOW)
    pre_copying(case)
    case.change(suspend=True)
    case.await_reason("PreCopied", "Suspended")
    held = rounds(case)
    assert held, case.migration()["status"]
    case.shell("app", "dd if=/dev/urandom of=/data/big bs=1M count=2 conv=notrunc 2>/dev/null; sync")
    case.big = case.shell("app", "sha256sum /data/big").split()[0]
    case.change(suspend=False)
    migration = case.await_success()
    sent = [item["bytes"] for item in migration["status"]["rounds"]]
    assert len(sent) > len(held) + 1, (held, sent)
    assert max(sent[len(held):-1]) > 2 * MIB > sent[-1], sent
    assert condition(migration, "PreCopied")["status"] == "True"
    check_data(case, 2)
