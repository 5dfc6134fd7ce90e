"""The self-test of a node: passes where runc and CRIU work, says what does not, and leaves nothing."""

import subprocess

import node as nodes
from checks import contains, equal, test

PROGRAM = "/opt/transship/bin/transship-runtime"
DIRECTORY = "/var/lib/transship/self-test"


GROUPS = """while IFS=: read -r _ controllers path; do
  ls -d "/sys/fs/cgroup/${controllers#name=}$path/transship-self-test" "/sys/fs/cgroup${path%/*}/transship-self-test"
done </proc/self/cgroup 2>/dev/null"""


def left(node):
    """What a self-test must not leave: processes, files, control groups."""
    processes = node.run("pgrep", "-f", "self-test-containe[r]").stdout
    files = node.run("ls", "-d", DIRECTORY).stdout if node.run("test", "-e", DIRECTORY).returncode == 0 else ""
    return (processes + files + node.run("sh", "-c", GROUPS).stdout).strip()


def broken_criu(node, instead):
    """A CRIU that does something else instead of what runc asks for; the PATH with it."""
    first = node.run("sh", "-c", "command -v criu").stdout.strip()
    node.must("mkdir", "-p", "/run/broken")
    script = f"#!/bin/sh\ncase $1 in swrk) {instead};; esac\nexec {first} \"$@\"\n"
    node.path("/run/broken/criu").write_text(script, encoding="utf-8")
    node.must("chmod", "755", "/run/broken/criu")
    return "PATH=/run/broken:" + nodes.PATH


def check_passes(node):
    done = node.run(PROGRAM, "self-test")
    contains("what it says", done.stdout, "dump and restore a process")
    equal("its status", done.returncode, 0)
    equal("what it left", left(node), "")


@test
def a_node_that_can_says_so_and_keeps_nothing(node, new_pod):
    for _ in range(2):
        check_passes(node)


@test
def a_node_whose_criu_does_not_dump_says_so_and_keeps_nothing(node, new_pod):
    done = node.run("env", broken_criu(node, "exit 1"), PROGRAM, "self-test")
    equal("its status", done.returncode, 1)
    contains("what it says", done.stdout, "self-test: the node cannot dump and restore a process")
    equal("what it left", left(node), "")


@test
def a_node_without_criu_says_so(node, new_pod):
    node.must("mkdir", "-p", "/run/only")
    node.must("sh", "-c", "ln -sf $(command -v runc) /run/only/runc")
    done = node.run(PROGRAM, "self-test", "--runc", "/run/only/runc")
    equal("its status", done.returncode, 0)
    done = node.run("env", "PATH=/run/only", PROGRAM, "self-test")
    equal("its status", done.returncode, 1)
    contains("what it says", done.stdout, "criu is not on the node")


@test
def what_a_killed_one_left_is_cleared_by_the_next(node, new_pod):
    path = broken_criu(node, "echo $$ >/run/broken/pid; exec sleep 600")
    killed = subprocess.Popen(node.words("env", path, PROGRAM, "self-test"), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        nodes.until("CRIU has begun", lambda: node.path("/run/broken/pid").exists())
        node.must("sh", "-c", "kill -KILL $(pgrep -f 'transship-runtime self-tes[t]$')")
    finally:
        killed.kill()
        killed.wait()
    contains("what it left", left(node), DIRECTORY)
    node.must("sh", "-c", "kill -KILL $(cat /run/broken/pid)")
    check_passes(node)
