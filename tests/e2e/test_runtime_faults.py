"""What goes wrong while a pod moves with its memory. Whatever it is, one process goes on in the end, and it is the one
that began: at the source, unharmed, or at the target. Never both, never neither."""

import contextlib

import wait
import workloads as w
from case import condition
from cluster import NODES
from test_runtime_restore import MEMORY, check_never_started_anew, count, counter, runtime

# Stands before CRIU on a node's PATH: what it is called for waits until it is let go.
HELD = r"""#!/bin/sh
if [ "$1" = swrk ]; then
  touch /run/criu-waits
  while [ -e /run/criu-held ]; do sleep 0.1; done
fi
if [ -e /usr/local/sbin/criu.kept ]; then exec /usr/local/sbin/criu.kept "$@"; fi
exec /usr/sbin/criu "$@"
"""


# Dies of SIGXFSZ when it has written some of the memory's pages; 512 bytes each.
CUT_OFF = r"""#!/bin/sh
if [ "$1" = swrk ]; then touch /run/criu-was-cut-off; ulimit -f 1024; fi
if [ -e /usr/local/sbin/criu.kept ]; then exec /usr/local/sbin/criu.kept "$@"; fi
exec /usr/sbin/criu "$@"
"""


@contextlib.contextmanager
def criu_that_dies(case, node):
    """Within it, the node's CRIU is killed in the middle of each dump."""
    case.cluster.sh(node, "cd /usr/local/sbin && { mv criu criu.kept 2>/dev/null || true; } && "
                          f"cat >criu <<'END'\n{CUT_OFF}END\nchmod 755 criu")
    try:
        yield
        case.cluster.sh(node, "test -e /run/criu-was-cut-off")
    finally:
        case.cluster.sh(node, "cd /usr/local/sbin && rm -f /run/criu-was-cut-off criu && "
                              "{ mv criu.kept criu 2>/dev/null || true; }")


@contextlib.contextmanager
def held_criu(case, node):
    """Within it, the node's CRIU neither dumps nor restores; what it is given is a wait for somebody to call it."""
    case.cluster.sh(node, "cd /usr/local/sbin && { mv criu criu.kept 2>/dev/null || true; } && touch /run/criu-held && "
                          f"cat >criu <<'END'\n{HELD}END\nchmod 755 criu")
    try:
        yield lambda: wait.until(f"CRIU is called on {node}", lambda: case.cluster.sh(
            node, "ls /run/criu-waits 2>/dev/null", check=False), 120)
    finally:
        case.cluster.sh(node, "cd /usr/local/sbin && rm -f /run/criu-held /run/criu-waits criu && "
                              "{ mv criu.kept criu 2>/dev/null || true; }")


def kill_mover(role):
    def kill(case, migration, _source, _target):
        for pod in case.cluster.movers(migration["metadata"]["uid"], role):
            case.cluster.kill_container(pod)
    return kill


def restart(program, at_target=False):
    """The node's, which starts it again as an init system does."""
    def kill(case, _migration, source, target):
        node = target if at_target else source
        before = case.cluster.sh(node, f"pgrep -xo {program}").strip()
        case.cluster.sh(node, f"kill -KILL {before}")
        wait.until(f"another {program} runs on {node}", lambda: case.cluster.sh(
            node, f"pgrep -xo {program}", check=False).strip() not in ("", before))
    return kill


def running(case):
    """How many of the program there are on the nodes. Its text is on its command line; pgrep's must not be like it."""
    return sum(int(case.cluster.sh(node, "pgrep -fc 'process, [c]ount = uuid'", check=False)) for node in NODES)


def goes_on_once(case, before, process, number):
    """After the end of a migration: (whether it succeeded, the pod)."""
    migration = case.await_end(seconds=240)
    succeeded = condition(migration, "Succeeded")["status"] == "True"
    if succeeded:
        pod = case.check_moved(before, migration)
    else:
        assert condition(migration, "Committed")["status"] != "True", case.summary(migration)
        pod = case.check_source_is_back(before, same_pod=True)
    again = count(pod)
    assert again[0] == process and again[1] > number, (again, case.summary(migration))
    check_never_started_anew(pod)
    wait.until("there is one of it", lambda: running(case) == 1, 30)
    return succeeded, pod


def disturbed(case, fault, reach, **spec):
    """A migration that is disturbed where `reach(case, source, target)` has come to. `reach` is a context."""
    runtime(case)
    before = case.start("app", [counter()])
    process, number = count(before)
    source = before["spec"]["nodeName"]
    target = case.cluster.other_node(source)
    with reach(case, source, target):
        fault(case, case.migration(), source, target)
    outcome = goes_on_once(case, before, process, number)
    case.api.delete("ContainerMigration", case.namespace, "move")
    case.api.delete("Pod", case.namespace, "app", grace=0)
    wait.until("both are gone", lambda: case.migration() is None and case.pod("app") is None)
    return outcome


@contextlib.contextmanager
def dumping(case, source, _target):
    with held_criu(case, source) as called:
        case.migrate("app", **MEMORY)
        called()
        yield


@contextlib.contextmanager
def sending(case, _source, _target):
    case.migrate("app", transfer={"bandwidthLimitBytesPerSecond": 1 << 20}, **MEMORY)
    case.await_condition("SourceStopped", seconds=120)
    yield


@contextlib.contextmanager
def placing(case, _source, _target):
    case.migrate("app", **MEMORY)
    case.await_condition("Committed", seconds=120, pause=0.01)
    yield


@contextlib.contextmanager
def restoring(case, _source, target):
    with held_criu(case, target) as called:
        case.migrate("app", **MEMORY)
        called()
        yield


def test_while_it_is_dumped(case):
    for fault in (kill_mover("sender"), kill_mover("receiver"), restart("kubelet"), restart("containerd")):
        disturbed(case, fault, dumping)


def test_criu_dies_in_the_middle_of_a_dump(case):
    """The source goes on, and has its network: the answers come by it."""
    runtime(case)
    before = case.start("app", [counter()])
    process, number = count(before)
    with criu_that_dies(case, before["spec"]["nodeName"]):
        case.migrate("app", **MEMORY)
        succeeded, _ = goes_on_once(case, before, process, number)
    assert not succeeded


def test_while_its_memory_is_sent(case):
    for fault in (kill_mover("sender"), kill_mover("receiver"), restart("kubelet"), restart("containerd"),
                  restart("containerd", at_target=True)):
        disturbed(case, fault, sending)


def test_after_the_commit(case):
    for fault in (kill_mover("sender"), kill_mover("receiver"), restart("kubelet")):
        succeeded, _ = disturbed(case, fault, placing)
        assert succeeded


def test_while_it_is_restored(case):
    for fault in (kill_mover("sender"), kill_mover("receiver")):
        succeeded, _ = disturbed(case, fault, restoring)
        assert succeeded
