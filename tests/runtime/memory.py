"""Memory: what goes on, from which instruction, and what does not start."""

import fcntl
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import time

from checks import contains, equal, test
from node import RUNC_ROOT, RUNTIME, Failure, until

KILLS = int(os.environ.get("KILLS") or 5)
COUNT = ("count", "/volume/count")


def numbers(pod, name="count"):
    """The two numbers in a file of the pod's volume."""
    path = pod.node.path(f"{pod.volume}/{name}")
    return struct.unpack("=QQ", path.read_bytes()[:16]) if path.exists() and path.stat().st_size >= 16 else (0, 0)


def goes_on(pod, beyond, name="count"):
    until(f"{name} goes on after {beyond}", lambda: numbers(pod, name)[0] > beyond)


def moved(node, new_pod, programs, change=None, **claim):
    """A pod as a migration leaves it, with its claim: the containers `programs` ran in another one, which `change` may have
    changed, were frozen and dumped together, and are dead."""
    source = new_pod()
    containers = {name: source.container(name, *program) for name, program in programs.items()}
    for container in containers.values():
        if change:
            change(container)
            container.write_config()
        container.expect("create")
        container.expect("start")
    until("it works", lambda: all(numbers(source, file)[0] > 1 for file in files(programs)))
    return cut(node, new_pod, source, containers, **claim)


def files(programs):
    return [word.split("/")[-1] for program in programs.values() for word in " ".join(program).split()
            if word.startswith("/volume/")]


def cut(node, new_pod, source, containers, **claim):
    claimed = {}
    for container in containers.values():
        # With cgroup v1 runc gives up at times ("unable to freeze"), and thaws.
        until("it is frozen", lambda: node.run("runc", "--root", RUNC_ROOT, "pause", container.id).returncode == 0)
    for name, container in containers.items():
        memory = f"/data/images/{container.id}"
        node.must("mkdir", "-p", memory, f"{container.bundle}/dump")
        node.runc("checkpoint", "--leave-running", "--tcp-established", "--file-locks", "--image-path", memory,
                  "--work-path", f"{container.bundle}/dump", container.id)
        claimed[name] = (container.keep_layer(), memory)
    if "shared_memory" in claim:
        node.must("cp", "-a", source.shm, "/data/staged/shm")
    for container in containers.values():
        # Each of its processes, before any of them can go on: they share a volume with what is restored.
        top = pathlib.Path("/sys/fs/cgroup")
        group = f"{node.cgroup}/{container.id}/cgroup.procs"
        for file in [*top.glob(f"*{group}"), *top.glob(group[1:])]:
            for pid in map(int, file.read_text(encoding="ascii").split()):
                os.kill(pid, signal.SIGKILL)
        node.run("runc", "--root", RUNC_ROOT, "resume", container.id)
        container.delete("runc")
    target = new_pod(volume=source.volume, **({"shares_processes": True} if source.shares_processes else {}))
    target.write_claim(claimed, **claim)
    target.claimed = claimed
    return target


@test
def goes_on_at_the_very_instruction(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    frozen = numbers(pod)
    container = pod.container("c", *COUNT)
    container.expect("create")
    pod.expect("c", "Restored")
    equal("the number when it is restored", numbers(pod), frozen)
    equal("runc's word", node.status(container.id), "paused")
    container.expect("start")
    pod.expect("c", "Running")
    goes_on(pod, frozen[0] + 1000)
    equal("what went wrong by its own word", numbers(pod)[1], 0)
    equal("runc's word", node.status(container.id), "running")
    equal("what it has of this program", open_files_of_ours(node, container), [])
    equal("what is left of the restore", os.listdir(node.path("/run/transship/restore")), [])


@test
def a_nodes_own_criu_settings_change_nothing(node, new_pod):
    settings = node.path("/etc/criu/runc.conf")
    node.must("mkdir", "-p", "/etc/criu")
    settings.write_text("ghost-limit 1M\naction-script /bin/true\n", encoding="utf-8")
    try:
        goes_on_at_the_very_instruction(node, new_pod)
    finally:
        settings.unlink()


@test
def a_runtime_that_is_replaced_meanwhile_restores_all_the_same(node, new_pod):
    """As its installer does on an update."""
    pod = moved(node, new_pod, {"c": COUNT})
    frozen = numbers(pod)
    container = pod.container("c", *COUNT)
    copy = f"{RUNTIME}.copy"
    node.must("cp", RUNTIME, copy)
    with open(pod.claim / ".lock", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        read, write = os.pipe()
        process = subprocess.Popen(
            node.words(RUNTIME, "--root", RUNC_ROOT, "--log", container.log, "--log-format", "json",
                       *container.create_words()), stdin=subprocess.DEVNULL, stdout=write, stderr=write)
        os.close(write)
        container.output = read
        until("it waits", lambda: waits_for_lock(process.pid))
        node.must("mv", copy, RUNTIME)
    equal("create", process.wait(), 0)
    equal("the number when it is restored", numbers(pod), frozen)
    container.expect("start")
    goes_on(pod, frozen[0] + 1000)


def waits_for_lock(pid):
    """Whether the process itself (nsenter has become it) or its child does."""
    with open("/proc/locks", encoding="utf-8") as locks:
        waiting = [line.split()[5] for line in locks if "->" in line]
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as children:
        return bool({str(pid), *children.read().split()} & set(waiting))


def open_files_of_ours(node, container):
    descriptors = node.path(f"/proc/{container.pid()}/fd")
    return [link for link in (os.readlink(descriptors / name) for name in os.listdir(descriptors)) if "transship" in link]


@test
def is_restored_on_its_own_layer(node, new_pod):
    program = ("sh", "-c", "echo kept >/etc/made; rm /etc/gone; exec count /volume/count")
    pod = moved(node, new_pod, {"c": program})
    frozen = numbers(pod)[0]
    container = pod.container("c", *program)
    container.expect("create")
    container.expect("start")
    goes_on(pod, frozen + 1000)
    root = node.path(f"/proc/{container.pid()}/root")
    equal("a file in its layer", (root / "etc/made").read_text(), "kept\n")
    equal("a file that it removed", (root / "etc/gone").exists(), False)


@test
def standard_output_goes_on_into_the_new_pipe(node, new_pod):
    program = ("sh", "-c", "count /volume/count & trap 'echo bye; exit 4' TERM; while :; do wait; done")
    pod = moved(node, new_pod, {"c": program})
    container = pod.container("c", "sh")
    container.expect("create")
    container.expect("start")
    goes_on(pod, numbers(pod)[0] + 1000)
    container.call("kill", container.id, str(int(signal.SIGTERM)))
    until("it ended", lambda: node.status(container.id) == "stopped")
    equal("what it said", container.all_output(), "bye\n")


TALK = {"server": ("talk", "serve", "127.0.0.1", "7000"),
        "client": ("talk", "ask", "127.0.0.1", "7000", "/volume/talk")}


@test
def two_containers_go_on_together_with_their_connection(node, new_pod):
    pod = moved(node, new_pod, TALK)
    frozen, broken = numbers(pod, "talk")
    server, client = (pod.container(name, *TALK[name]) for name in ("server", "client"))
    server.expect("create")
    server.expect("start")
    pod.expect("server", "Restored")
    equal("runc's word of the first", node.status(server.id), "paused")
    client.expect("create")
    equal("the number when both are restored", numbers(pod, "talk"), (frozen, broken))
    client.expect("start")
    for name in TALK:
        pod.expect(name, "Running")
    goes_on(pod, frozen + 100, "talk")
    equal("broken connections", numbers(pod, "talk")[1], broken)
    disciplines = node.must("nsenter", "--target", pod.pid, "--net", "tc", "qdisc", "show")
    equal("what still holds the network", "blackhole" in disciplines, False)


@test
def connections_from_the_old_address_end_and_others_do_not(node, new_pod):
    """10.77.N.2 is the source pod's address, 10.77.N.3 the target's; the server is outside of both."""
    programs = {"c": ("talk", "ask", "10.77.0.1", "7001", "/volume/talk"), **TALK}
    source = new_pod()
    attach(node, source, "10.77.0.2")
    outside = subprocess.Popen(node.words("/data/lower/bin/talk", "serve", "10.77.0.1", "7001"))
    try:
        programs["client"] = ("talk", "ask", "127.0.0.1", "7000", "/volume/inside")
        containers = {name: source.container(name, *program) for name, program in programs.items()}
        for container in containers.values():
            container.expect("create")
            container.expect("start")
        until("both talk", lambda: all(numbers(source, name)[0] > 10 for name in ("talk", "inside")))
        pod = cut(node, new_pod, source, containers, old_address="10.77.0.2")
        node.must("ip", "link", "delete", "veth-a")
        attach(node, pod, "10.77.0.3")
        before, inside = numbers(pod, "talk"), numbers(pod, "inside")
        for name, program in programs.items():
            container = pod.container(name, *program)
            container.expect("create")
            container.expect("start")
        goes_on(pod, before[0] + 100, "talk")
        goes_on(pod, inside[0] + 100, "inside")
        equal("how often it had to connect anew", numbers(pod, "talk")[1] - before[1], 1)
        equal("broken connections inside", numbers(pod, "inside")[1], inside[1])
        addresses = node.must("nsenter", "--target", pod.pid, "--net", "ip", "address")
        equal("the old address", "10.77.0.2" in addresses, False)
    finally:
        outside.kill()
        outside.wait()
        node.run("ip", "link", "delete", "veth-a")


def attach(node, pod, address):
    node.must("ip", "link", "add", "veth-a", "type", "veth", "peer", "name", "eth0", "netns", str(pod.pid))
    node.must("ip", "address", "add", "10.77.0.1/24", "dev", "veth-a")
    node.must("ip", "link", "set", "veth-a", "up")
    for words in (("address", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
        node.must("nsenter", "--target", pod.pid, "--net", "ip", *words)


@test
def the_nodes_own_network_is_not_held(node, new_pod):
    def join(container):
        namespaces = container.config["linux"]["namespaces"]
        container.config["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "network"]
        container.write_config()

    pod = moved(node, new_pod, {"c": COUNT}, change=join, old_address="10.77.0.2")
    before = numbers(pod)[0]
    container = pod.container("c", *COUNT)
    join(container)
    container.expect("create")
    equal("what holds the node's network", "blackhole" in node.must("tc", "qdisc", "show"), False)
    equal("the old address", "10.77.0.2" in node.must("ip", "address"), False)
    container.expect("start")
    goes_on(pod, before + 1000)


@test
def shared_memory_and_ipc_come_once(node, new_pod):
    """Each container's images have the pod's System V objects, and /dev/shm is one for all."""
    programs = {"a": ("count", "/volume/a"), "b": ("count", "/volume/b")}
    source = new_pod()
    containers = {name: source.container(name, *program) for name, program in programs.items()}
    for container in containers.values():
        container.expect("create")
        container.expect("start")
    node.path(f"{source.shm}/note").write_text("shared", encoding="utf-8")
    node.must("nsenter", "--target", source.pid, "--ipc", "ipcmk", "--shmem", "4096")
    until("both count", lambda: all(numbers(source, name)[0] > 10 for name in programs))
    pod = cut(node, new_pod, source, containers, shared_memory="/data/staged/shm")
    before = {name: numbers(pod, name)[0] for name in programs}
    again = pod.container("a", *programs["a"])
    again.expect("create")  # and never started: what is shared is there already the next time
    for name, program in programs.items():
        container = pod.container(name, *program)
        container.expect("create")
        container.expect("start")
    for name in programs:
        goes_on(pod, before[name] + 1000, name)
    equal("a file in /dev/shm", node.path(f"{pod.shm}/note").read_text(), "shared")
    segments = node.must("nsenter", "--target", pod.pid, "--ipc", "cat", "/proc/sysvipc/shm").splitlines()
    equal("System V segments", len(segments) - 1, 1)


@test
def what_stays_of_the_source_pod_and_what_does_not(node, new_pod):
    source = new_pod()
    container = source.container("c", *COUNT)
    container.config["process"]["env"].append("OF=source")
    container.write_config()
    container.expect("create")
    container.expect("start")
    node.must("nsenter", "--target", source.pid, "--uts", "hostname", "source-pod")
    done = container.call("exec", "--detach", container.id, "sleep", "987654", stdout=subprocess.DEVNULL)
    equal("exec", done.returncode, 0)
    until("it counts", lambda: numbers(source)[0] > 10)
    pod = cut(node, new_pod, source, {"c": container})
    before = numbers(pod)[0]
    node.must("nsenter", "--target", pod.pid, "--uts", "hostname", "target-pod")
    restored = pod.container("c", *COUNT)
    restored.config["process"]["env"].append("OF=target")
    restored.write_config()
    restored.expect("create")
    restored.expect("start")
    goes_on(pod, before + 1000)
    process = node.path(f"/proc/{restored.pid()}")
    contains("its environment", (process / "environ").read_text(), "OF=source")
    equal("its hostname", node.must("nsenter", "--target", restored.pid(), "--uts", "hostname"), "source-pod\n")
    offset = next(line.split() for line in (process / "timens_offsets").read_text().splitlines() if "monotonic" in line)
    equal("its monotonic clock is behind the node's", int(offset[1]) < 0, True)
    equal("processes", len(processes(node.path(f"/sys/fs/cgroup/freezer{node.cgroup}/{restored.id}"))), 1)


@test
def processes_that_are_shared_keep_their_numbers(node, new_pod):
    """CRIU's script is in the pod's PID namespace then."""
    programs = {"a": ("count", "/volume/a"), "b": ("count", "/volume/b")}
    pod = moved(node, lambda **options: new_pod(**{"shares_processes": True, **options}), programs)
    before = {name: numbers(pod, name)[0] for name in programs}
    containers = [pod.container(name, *program) for name, program in programs.items()]
    for container in containers:
        container.expect("create")
        equal("the number", numbers(pod, container.name)[0], before[container.name])
        container.expect("start")
    for name in programs:
        goes_on(pod, before[name] + 1000, name)
        equal("what went wrong by its own word", numbers(pod, name)[1], 0)


@test
def a_restricted_container_stays_restricted(node, new_pod):
    def restrict(container):
        node.must("chmod", "777", container.pod.volume)
        container.config["process"].update({
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [2000]}, "noNewPrivileges": True,
            "capabilities": {"bounding": [], "effective": [], "permitted": []}})
        container.config["root"]["readonly"] = True
        container.config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]}

    def remember(container):
        names = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
        text = node.path(f"/proc/{container.pid()}/status").read_text()
        return [line.split() for line in text.splitlines() if line.split(":")[0] in names]

    source = new_pod()
    container = source.container("c", *COUNT)
    restrict(container)
    container.write_config()
    container.expect("create")
    container.expect("start")
    until("it counts", lambda: numbers(source)[0] > 10)
    facts = remember(container)
    pod = cut(node, new_pod, source, {"c": container})
    before = numbers(pod)[0]
    restored = pod.container("c", *COUNT)
    restrict(restored)
    restored.write_config()
    restored.expect("create")
    restored.expect("start")
    goes_on(pod, before + 1000)
    equal("what it may do", remember(restored), facts)
    equal("its user", facts[0], ["Uid:", "1000", "1000", "1000", "1000"])


class Terminal:
    """What containerd's shim is for a container with a terminal: it is sent the terminal's other end."""

    def __init__(self, node, name):
        self.path = f"/run/{name}.socket"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(node.path(self.path)))
        self.socket.listen()
        self.socket.settimeout(20)

    def take(self):
        connection = self.socket.accept()[0]
        _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        return descriptors[0]


@test
def a_terminal_is_the_new_one(node, new_pod):
    program = ("sh", "-c", "count /volume/count & while read line; do echo heard $line; done")
    source = new_pod()
    ends = []

    def create(container, name):
        container.config["process"]["terminal"] = True
        container.write_config()
        terminal = Terminal(node, name)
        code = container.call(*container.create_words("--console-socket", terminal.path)).returncode
        equal(f"create: {container.said()}", code, 0)
        ends.append(terminal.take())

    container = source.container("c", *program)
    create(container, "source")
    container.expect("start")
    until("it counts", lambda: numbers(source)[0] > 10)
    pod = cut(node, new_pod, source, {"c": container})
    before = numbers(pod)[0]
    restored = pod.container("c", *program)
    create(restored, "target")
    restored.expect("start")
    goes_on(pod, before + 1000)
    os.write(ends[-1], b"you\n")
    with os.fdopen(ends.pop(), "rb", buffering=0) as file:
        equal("its echo", file.readline(), b"you\r\n")
        equal("its answer", file.readline(), b"heard you\r\n")
    os.close(ends.pop())


@test
def a_damaged_image_fails_and_nothing_starts(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    before = numbers(pod)
    for image in node.path(pod.claimed["c"][1]).glob("core-*.img"):
        image.write_bytes(image.read_bytes()[:100])
    for _ in range(2):
        container = pod.container("c", *COUNT)
        equal("create", container.create(), 1)
        pod.expect("c", "Failed")
        contains("what containerd hears", container.said(), "the container c is not started without what was moved")
        contains("CRIU's word", container.said(), "Error (criu/")
        equal("runc's record", node.status(container.id), None)
        equal("its processes", node.path(f"/sys/fs/cgroup/freezer{node.cgroup}/{container.id}").exists(), False)
    contains("CRIU's log", (pod.claim / "c/restore.log").read_text(), "Error (criu/")
    equal("the number", numbers(pod), before)


@test
def a_control_group_that_cannot_be_frozen_fails(node, new_pod):
    """It holds transship-runtime itself: nothing runs all the same."""
    pod = moved(node, new_pod, {"c": COUNT})
    before = numbers(pod)
    container = pod.container("c", *COUNT)
    container.config["linux"]["cgroupsPath"] = f"{node.cgroup}/outer"
    container.write_config()
    inner = f"/sys/fs/cgroup/freezer{node.cgroup}/outer/inner"
    node.must("mkdir", "-p", inner)
    done = node.run("sh", "-c", f'echo $$ >{inner}/cgroup.procs; exec "$@"', "sh", RUNTIME, "--root", RUNC_ROOT, "--log",
                    container.log, "--log-format", "json", *container.create_words())
    equal("create", done.returncode, 1)
    contains("why", container.said(), "holds transship-runtime itself")
    pod.expect("c", "Failed")
    equal("the number", numbers(pod), before)
    equal("its processes", processes(node.path(f"/sys/fs/cgroup/freezer{node.cgroup}/outer")), [])


@test
def memory_that_a_reboot_took_fails(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    node.must("rm", "-r", pod.claimed["c"][1])
    container = pod.container("c", *COUNT)
    equal("create", container.create(), 1)
    pod.expect("c", "Failed")
    contains("why", container.said(), "its memory is gone")


@test
def is_restored_again_as_long_as_it_was_never_started(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    frozen = numbers(pod)
    first = pod.container("c", *COUNT)
    first.expect("create")
    container = pod.container("c", *COUNT)
    container.expect("create")
    equal("runc's record of the first", node.status(first.id), None)
    equal("the number", numbers(pod), frozen)
    equal("start of the first", first.start(), 1)
    container.expect("start")
    goes_on(pod, frozen[0] + 1000)
    equal("what went wrong by its own word", numbers(pod)[1], 0)


@test
def a_crash_later_starts_afresh(node, new_pod):
    pod = moved(node, new_pod, {"c": COUNT})
    container = pod.container("c", *COUNT)
    container.expect("create")
    container.expect("start")
    goes_on(pod, numbers(pod)[0] + 1000)
    container.call("kill", container.id, "KILL")
    until("it ended", lambda: node.status(container.id) == "stopped")
    container.delete()
    again = pod.container("c", "sh", "-c", "echo afresh")
    again.expect("create")
    again.expect("start")
    until("it ended", lambda: node.status(again.id) == "stopped")
    equal("what it said", again.all_output(), "afresh\n")


@test
def a_cold_start_lets_the_others_go_on(node, new_pod):
    programs = {"a": ("count", "/volume/a"), "b": ("count", "/volume/b")}
    pod = moved(node, new_pod, programs)
    before = numbers(pod, "a")[0]
    for image in node.path(pod.claimed["b"][1]).glob("core-*.img"):
        image.unlink()
    held = pod.container("a", *programs["a"])
    held.expect("create")
    held.expect("start")
    equal("create of b", pod.container("b", *programs["b"]).create(), 1)
    pod.expect("b", "Failed")
    equal("a is held", numbers(pod, "a")[0], before)
    pod.set_state("b", "ColdStart")
    cold = pod.container("b", "sh", "-c", "echo cold; exec sleep 1000000")
    cold.expect("create")
    cold.expect("start")
    equal("b starts afresh", os.read(cold.output, 5), b"cold\n")
    goes_on(pod, before + 1000, "a")
    for name in programs:
        pod.expect(name, "Running")


def killed_while_held(node, new_pod):
    pod = moved(node, new_pod, {"a": ("count", "/volume/a"), "b": ("count", "/volume/b")})
    before = numbers(pod, "a")
    held = pod.container("a", "count", "/volume/a")
    held.expect("create")
    held.expect("start")
    equal("kill", held.call("kill", held.id, "KILL").returncode, 0)
    until("it ended", lambda: node.status(held.id) == "stopped")
    equal("the number", numbers(pod, "a"), before)
    held.delete()
    pod.expect("a", "Restored")


@test
def a_held_container_can_be_killed(node, new_pod):
    killed_while_held(node, new_pod)


@test
def a_held_container_of_shared_processes_can_be_killed(node, new_pod):
    killed_while_held(node, lambda **options: new_pod(**{"shares_processes": True, **options}))


def kill_create(container, when):
    """SIGKILL of `create` itself as soon as `when` holds: whether it came before the end."""
    read, write = os.pipe()
    process = subprocess.Popen(
        container.node.words(RUNTIME, "--root", RUNC_ROOT, "--log", container.log, "--log-format", "json",
                             *container.create_words()), stdin=subprocess.DEVNULL, stdout=write, stderr=write)
    os.close(write)
    container.output = read
    while process.poll() is None and not when():
        pass
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as children:
            os.kill(int(children.read()), signal.SIGKILL)  # nsenter's child
    except (OSError, ValueError):
        pass  # it has ended
    return process.wait() not in (0, 1)


def killed_at(node, new_pod, what, when, then=None, containerd_deletes=False):
    """`then`: what the next create makes of it, Restored or Failed; None: either."""
    pod = moved(node, new_pod, {"c": COUNT})
    frozen = numbers(pod)
    container = pod.container("c", *COUNT)
    killed = kill_create(container, lambda: when(pod, container))
    if not killed and what:
        raise Failure(f"create ended before {what}")
    control_group = node.path(f"/sys/fs/cgroup/freezer{node.cgroup}/{container.id}")
    if containerd_deletes:
        container.delete()
        until("nothing is left of it", lambda: not processes(control_group))
    equal("the number after the kill", numbers(pod), frozen)
    again = pod.container("c", *COUNT)
    code = again.create()
    equal("the number after the next create", numbers(pod), frozen)
    until("what the killed one left is gone", lambda: not processes(control_group))
    if then:
        pod.expect("c", then)
    equal("what is left of the restore", os.listdir(node.path("/run/transship/restore")), [])
    if pod.state("c") == "Restored":  # CRIU was never told that it may go on, or it was done
        equal("create", code, 0)
        again.expect("start")
        goes_on(pod, frozen[0] + 1000)
        equal("what went wrong by its own word", numbers(pod)[1], 0)
        return killed
    equal("create", code, 1)
    pod.expect("c", "Failed")
    contains("why", again.said(), "interrupted")
    equal("runc's record", node.status(again.id), None)
    pod.set_state("c", "ColdStart")
    cold = pod.container("c", "sh", "-c", "echo cold")
    cold.expect("create")
    cold.expect("start")
    until("it ended", lambda: node.status(cold.id) == "stopped")
    equal("what it said", cold.all_output(), "cold\n")
    return killed


def processes(control_group):
    try:
        return (control_group / "cgroup.procs").read_text().split()
    except OSError:
        return []


def scratch(pod, container):
    return pod.node.path(f"/run/transship/restore/{container.id}")


def criu_has_begun(pod, container):
    return (scratch(pod, container) / "restore.log").exists()


@test
def killed_when_it_has_begun(node, new_pod):
    killed_at(node, new_pod, "it said Restoring", lambda pod, container: pod.state("c") == "Restoring", "Restored")


@test
def killed_when_the_layer_is_there(node, new_pod):
    killed_at(node, new_pod, "the layer was there", lambda pod, container: scratch(pod, container).exists(), "Restored")


@test
def killed_when_criu_has_begun(node, new_pod):
    killed_at(node, new_pod, "CRIU began", criu_has_begun, "Restored")


@test
def killed_when_criu_has_begun_and_deleted(node, new_pod):
    """As containerd does when it is back."""
    killed_at(node, new_pod, "CRIU began", criu_has_begun, "Restored", containerd_deletes=True)


@test
def killed_before_criu_may_go_on(node, new_pod):
    """Its script finds nobody."""
    def when(pod, container):
        try:
            return "Running post-restore scripts" in (scratch(pod, container) / "restore.log").read_text(errors="replace")
        except OSError:
            return False

    killed_at(node, new_pod, "", when)


@test
def killed_when_it_is_to_be_frozen(node, new_pod):
    killed_at(node, new_pod, "it was frozen",
              lambda pod, container: (scratch(pod, container) / "pre-resume.cgroup").exists(), "Failed")


@test
def killed_when_it_is_to_be_frozen_and_deleted(node, new_pod):
    killed_at(node, new_pod, "it was frozen",
              lambda pod, container: (scratch(pod, container) / "pre-resume.cgroup").exists(), "Failed", containerd_deletes=True)


@test
def killed_when_it_is_frozen(node, new_pod):
    def frozen(pod, container):
        try:
            state = node.path(f"/sys/fs/cgroup/freezer{node.cgroup}/{container.id}/freezer.state").read_text()
            return state == "FROZEN\n"
        except OSError:
            return False
    # From there to the end it is a few milliseconds.
    if not any(killed_at(node, new_pod, "", frozen) for _ in range(20)):
        raise Failure("create always ended before it could be killed")


@test
def killed_at_any_time(node, new_pod):
    for _ in range(KILLS):
        signal.alarm(120)
        end = []

        def when(pod, container):
            # From when it has begun: a restore takes about 0.3 s.
            if not end and pod.state("c") == "Restoring":
                end.append(time.monotonic() + random.random() * 0.4)
            return end and time.monotonic() > end[0]

        killed_at(node, new_pod, "", when)


@test
def killed_while_it_is_started(node, new_pod):
    """Whether it has run is unknown then, so it is not restored again."""
    pod = moved(node, new_pod, {"c": COUNT})
    container = pod.container("c", *COUNT)
    container.expect("create")
    state = pod.claim / "c/state"
    state.write_text(json.dumps({**json.loads(state.read_text()), "state": "Restoring"}), encoding="utf-8")
    equal("start", container.start(), 1)
    again = pod.container("c", *COUNT)
    equal("create", again.create(), 1)
    pod.expect("c", "Failed")
    equal("runc's record of the first", node.status(container.id), None)


@test
def is_restored_with_the_cgroup_v2_freezer(node, new_pod):
    if os.path.exists("/sys/fs/cgroup/freezer"):
        return "this machine's freezer is cgroup v1's"
    goes_on_at_the_very_instruction(node, new_pod)
    return ""
