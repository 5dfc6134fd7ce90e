"""Containers that nobody has moved are runc's: nothing of them is different."""

import os
import signal

from checks import contains, equal, test
from node import RUNTIME, Container, until


@test
def a_container_without_a_claim_is_runcs(node, new_pod):
    pod = new_pod()
    for runtime in ("runc", RUNTIME):
        container = pod.container("c", "sh", "-c", "echo out; echo err >&2; exit 7")
        equal("create", container.create(runtime), 0)
        equal("start", container.start(runtime), 0)
        equal("what it said", container.all_output(), "out\nerr\n")
        until("it ended", lambda: node.status(container.id) == "stopped")
        equal("delete", container.delete(runtime), 0)
        equal("runc's record", node.status(container.id), None)


@test
def exit_codes_and_errors_are_runcs(node, new_pod):
    pod = new_pod()
    said = {}
    for runtime in ("runc", RUNTIME):
        container = pod.container("c", "no-such-program")
        said[runtime] = (container.create(runtime), container.said())
        said[runtime] += (container.call("start", "nobody", runtime=runtime).returncode,
                          container.call("no-such-command", runtime=runtime).returncode,
                          container.call("kill", "nobody", "9", runtime=runtime).returncode,
                          container.call("--version", runtime=runtime).stdout,
                          container.call("features", runtime=runtime).stdout)
        container.delete(runtime)
    equal("what runc says", said[RUNTIME], said["runc"])
    contains("the version", said[RUNTIME][5], "runc version")


@test
def standard_input_is_the_containers(node, new_pod):
    container = new_pod().container("c", "cat")
    read, write = os.pipe()
    back, forth = os.pipe()
    code = container.call(*container.create_words(), stdin=read, stdout=forth, stderr=forth).returncode
    os.close(read)
    os.close(forth)
    equal("create", code, 0)
    equal("start", container.start(), 0)
    os.write(write, b"hello")
    os.close(write)
    with os.fdopen(back, "rb") as file:
        equal("what came back", file.read(), b"hello")


@test
def a_sandbox_leaves_a_mark(node, new_pod):
    pod = new_pod()
    mark = node.path(f"/run/transship/sandboxes/{pod.uid}")
    equal("the mark", mark.is_file(), True)
    # kubelet may make another one before it takes the first away.
    again = Container(pod, "", ["sleep", "1000000"], kind="sandbox")
    again.expect("create")
    equal("delete", pod.sandbox.delete(), 0)
    equal("the mark of the other one", mark.read_text(), again.id)
    equal("delete", again.delete(), 0)
    equal("what is left", os.listdir(mark.parent), [".pods"])
    equal("what is left", os.listdir(mark.parent / ".pods"), [])


@test
def signals_and_exec_reach_the_container(node, new_pod):
    container = new_pod().container("c", "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    container.expect("create")
    container.expect("start")
    equal("it is up", os.read(container.output, 6), b"ready\n")
    equal("exec", container.call("exec", container.id, "sh", "-c", "exit 5").returncode, 5)
    equal("kill", container.call("kill", container.id, str(int(signal.SIGTERM))).returncode, 0)
    until("it ended", lambda: node.status(container.id) == "stopped")


@test
def help_is_for_people_and_the_version_runcs(node, new_pod):
    contains("help", node.must(RUNTIME, "help"), "docs/restore.md")
    equal("--version", node.must(RUNTIME, "--version"), node.must("runc", "--version"))
