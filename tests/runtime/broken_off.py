"""Restores that do not end by themselves."""

import itertools
import json
import os
import pathlib
import signal

from checks import contains, equal, test
from memory import COUNT, cut, goes_on, kill_create, moved, numbers, processes, scratch
from node import Failure, until


def settings(node, **values):
    node.must("mkdir", "-p", "/etc/transship")
    node.path("/etc/transship/runtime.json").write_text(json.dumps(values), encoding="utf-8")


def truncated(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    for image in node.path(pod.claimed["c"][1]).glob("pages-*.img"):
        os.truncate(image, image.stat().st_size // 2 // 4096 * 4096)
    return pod, numbers(pod)


@test
def a_restore_that_hangs_is_ended(node, new_pod):
    """CRIU reads beyond the end of a pages file for ever."""
    hangs(node, new_pod, 1, "it was not restored within 1 s")


@test
def a_restore_whose_log_has_no_end_is_ended(node, new_pod):
    """Long before its deadline: it would fill the node's memory."""
    hangs(node, new_pod, 110, "CRIU's log grew without end")


def hangs(node, new_pod, seconds, why):
    pod, before = truncated(node, new_pod)
    container = pod.container("c", *COUNT)
    settings(node, restoreSeconds=seconds)
    try:
        equal("create", container.create(), 1)
    finally:
        node.must("rm", "/etc/transship/runtime.json")
    pod.expect("c", "Failed")
    contains("why", container.said(), f"{why}, so CRIU and what it had restored were ended")
    contains("CRIU's last word", container.said(), "CRIU: ")
    contains("CRIU's log", (pod.claim / "c/restore.log").read_text(), "Restoring")
    nothing_is_left(pod, container, before)
    equal("the next create", pod.container("c", *COUNT).create(), 1)


def nothing_is_left(pod, container, before):
    node = pod.node
    equal("runc's record", node.status(container.id), None)
    equal("its control group", control_group(container).exists(), False)
    equal("what is left of the restore", os.listdir(node.path("/run/transship/restore")), [])
    equal("what is mounted for it", "/run/transship/restore" in node.must("cat", "/proc/mounts"), False)
    equal("the number", numbers(pod), before)


def control_group(container):
    return container.node.path(f"/sys/fs/cgroup/freezer{container.node.cgroup}/{container.id}")


def hangs_without_its_create(node, new_pod):
    pod, before = truncated(node, new_pod)
    container = pod.container("c", *COUNT)

    def reads():
        log = scratch(pod, container) / "restore.log"
        return log.exists() and log.stat().st_size > 1 << 20

    if not kill_create(container, reads):
        raise Failure("create ended before it was killed")
    equal("what hangs", bool(processes(control_group(container))), True)
    return pod, container, before


@test
def a_restore_that_hangs_without_its_create_is_ended_by_the_next(node, new_pod):
    """Which tries once more, since nothing has run."""
    pod, container, before = hangs_without_its_create(node, new_pod)
    again = pod.container("c", *COUNT)
    settings(node, restoreSeconds=1)
    try:
        equal("the next create", again.create(), 1)
    finally:
        node.must("rm", "/etc/transship/runtime.json")
    contains("why", again.said(), "it was not restored within 1 s")
    pod.expect("c", "Failed")
    nothing_is_left(pod, container, before)


@test
def a_restore_that_hangs_without_its_create_is_ended_by_delete(node, new_pod):
    pod, container, before = hangs_without_its_create(node, new_pod)
    equal("delete", container.delete(), 0)
    nothing_is_left(pod, container, before)


@test
def killed_one_after_another(node, new_pod):
    """create, runc and CRIU, in each order, while CRIU reads: nothing runs, and nothing is lost."""
    for order in itertools.permutations(("create", "runc", "criu")):
        signal.alarm(120)
        pod = moved(node, new_pod, {"c": COUNT})
        before = numbers(pod)
        whole = {image: image.read_bytes() for image in node.path(pod.claimed["c"][1]).glob("pages-*.img")}
        for image, content in whole.items():
            os.truncate(image, len(content) // 2 // 4096 * 4096)  # there it stays
        container = pod.container("c", *COUNT)
        pids = {}

        def reads(pod=pod, container=container, pids=pids, order=order):
            if not (scratch(pod, container) / "pre-resume.early-cgroup").exists():
                return False
            pids.update(restoring(container))
            for name in order[:order.index("create")] if pids else ():
                os.kill(pids[name], signal.SIGKILL)
            return bool(pids)

        kill_create(container, reads)
        for name in order[order.index("create") + 1:]:
            try:
                os.kill(pids[name], signal.SIGKILL)
            except ProcessLookupError:
                pass  # for want of the others
        equal(f"{order}: the number", numbers(pod), before)
        for image, content in whole.items():
            image.write_bytes(content)
        again = pod.container("c", *COUNT)
        code = again.create()
        until(f"{order}: nothing is left", lambda: not processes(control_group(container)))  # noqa: B023
        equal(f"{order}: the number after the next create", numbers(pod), before)
        if order[0] == "create":
            equal(f"{order}: create ({again.said()})", code, 0)
        if code == 0:
            again.expect("start")
            goes_on(pod, before[0] + 1000)
            equal("what went wrong by its own word", numbers(pod)[1], 0)
        else:  # create noticed
            pod.expect("c", "Failed")


def restoring(container):
    """CRIU, which is in the container's control group, and runc, which has started it."""
    for pid in processes(control_group(container)):
        process = pathlib.Path("/proc") / pid
        try:
            if b"--rpc" in (process / "cmdline").read_bytes():
                parent = (process / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[1]
                if b"runc" in pathlib.Path(f"/proc/{parent}/cmdline").read_bytes():
                    return {"criu": int(pid), "runc": int(parent)}
        except OSError:
            pass
    return {}


@test
def what_is_shared_comes_with_the_next_try(node, new_pod):
    """Where the first one was killed before CRIU brought it; where some of it is there, CRIU refuses."""
    for _ in range(5):
        signal.alarm(120)
        source = new_pod()
        container = source.container("c", *COUNT)
        container.expect("create")
        container.expect("start")
        node.must("nsenter", "--target", source.pid, "--ipc", "ipcmk", "--shmem", "4096")
        until("it counts", lambda: numbers(source)[0] > 10)  # noqa: B023
        pod = cut(node, new_pod, source, {"c": container})
        before = numbers(pod)[0]
        killed = kill_create(pod.container("c", *COUNT), lambda: (pod.claim / ".shared-memory").exists())  # noqa: B023
        again = pod.container("c", *COUNT)
        if again.create() == 0 and killed:
            again.expect("start")
            goes_on(pod, before + 1000)
            segments = node.must("nsenter", "--target", pod.pid, "--ipc", "cat", "/proc/sysvipc/shm").splitlines()
            equal("System V segments", len(segments) - 1, 1)
            return
    raise Failure("CRIU was always faster")
