"""Restores that do not end by themselves."""

import json
import os
import signal

from checks import contains, equal, test
from memory import COUNT, kill_create, moved, numbers, processes, scratch
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
    pod, container, before = hangs_without_its_create(node, new_pod)
    equal("the next create", pod.container("c", *COUNT).create(), 1)
    pod.expect("c", "Failed")
    nothing_is_left(pod, container, before)


@test
def a_restore_that_hangs_without_its_create_is_ended_by_delete(node, new_pod):
    pod, container, before = hangs_without_its_create(node, new_pod)
    equal("delete", container.delete(), 0)
    nothing_is_left(pod, container, before)
