"""A node without kubelet and containerd: the test cluster's Debian in namespaces of its own, with the real runc,
CRIU and transship-runtime, and containers made in it as containerd makes them."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "transship"
NODE_ROOT = pathlib.Path(os.environ.get("NODE_ROOT") or CACHE / "node-root").resolve()
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNTIME = "/opt/transship/bin/transship-runtime"
RUNC_ROOT = "/run/containerd/runc/k8s.io"
CAP_SYS_RESOURCE = 24


class Failure(Exception):
    pass


def until(what, condition, seconds=20):
    """Waits until the condition holds and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def lacks_limits():
    with open("/proc/self/status", encoding="utf-8") as status:
        effective = next(line for line in status if line.startswith("CapEff:"))
    return not int(effective.split()[1], 16) >> CAP_SYS_RESOURCE & 1


class Node:
    def __init__(self, directory, runtime):
        self.directory = pathlib.Path(directory)
        for name in ("upper", "work", "root", "data"):
            (self.directory / name).mkdir()
        self.data = self.directory / "data"
        self._install(self.directory / "upper", runtime)
        self.count = 0
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", HERE / "boot",
             NODE_ROOT, self.directory], stdin=subprocess.DEVNULL, start_new_session=True)
        self.init = until("the node has a process 1", self._find_init)
        until("the node is up", lambda: self.path("/run/booted").exists())
        self.cgroup = f"/transship-runtime-{os.getpid()}"
        self._make_image()
        self.must("mkdir", "-p", "/run/template")
        self.must("runc", "spec", "--bundle", "/run/template")
        self.template = json.loads(self.path("/run/template/config.json").read_text(encoding="utf-8"))

    def _make_image(self):
        """The one lower layer: busybox and the programs of this test."""
        lower = self.data / "lower"
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "volume", "opaque/below"):
            (lower / name).mkdir(parents=True)
        for name in ("etc/gone", "etc/changed", "opaque/below/file"):
            (lower / name).write_text("of the image", encoding="utf-8")
        self.must("cp", "/usr/bin/busybox", "/data/lower/bin/busybox")
        for name in ("sh", "sleep", "cat", "echo", "ls"):
            (lower / "bin" / name).symlink_to("busybox")
        for source in sorted((HERE / "programs").glob("*.c")):
            subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", lower / "bin" / source.stem,
                            source], check=True)

    @staticmethod
    def _install(upper, runtime):
        programs = upper / "opt/transship/bin"
        programs.mkdir(parents=True)
        shutil.copy(runtime, programs / "transship-runtime")
        if lacks_limits():  # see tests/cluster/node/rlimits.c
            (upper / "usr/local/lib").mkdir(parents=True)
            (upper / "usr/local/sbin").mkdir(parents=True)
            subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", upper / "usr/local/lib/criu-rlimits.so",
                            HERE.parent / "cluster/node/rlimits.c"], check=True)
            criu = upper / "usr/local/sbin/criu"
            criu.write_text('#!/bin/sh\nLD_PRELOAD=/usr/local/lib/criu-rlimits.so exec /usr/sbin/criu "$@"\n')
            criu.chmod(0o755)

    def _find_init(self):
        if self.process.poll() is not None:
            raise Failure(f"the node's boot ended with {self.process.returncode}")
        text = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="utf-8")
        return int(text.split()[0]) if text.split() else None

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"*{self.cgroup}"):
            for path in sorted(top.glob("**/"), reverse=True):
                path.rmdir()

    def path(self, inside):
        """Where the test sees a path of the node."""
        return pathlib.Path(f"/proc/{self.init}/root{inside}")

    def words(self, *command):
        return ["nsenter", "--target", str(self.init), "--mount", "--net", "--ipc", "--uts", "--pid", "--", "env", "-i",
                f"PATH={PATH}", *map(str, command)]

    def run(self, *command, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.STDOUT)
        return subprocess.run(self.words(*command), text=True, timeout=120, check=False, **options)

    def must(self, *command):
        done = self.run(*command)
        if done.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: {done.returncode}: {done.stdout}")
        return done.stdout

    def runc(self, *words):
        return self.must("runc", "--root", RUNC_ROOT, *words)

    def status(self, container_id):
        """What runc says of a container; None where there is none."""
        done = self.run("runc", "--root", RUNC_ROOT, "state", container_id)
        return json.loads(done.stdout)["status"] if done.returncode == 0 else None

    def new_id(self):
        self.count += 1
        return f"{self.count:04d}{'c0ffee' * 4}"


class Container:
    """One container's bundle, as containerd's shim has it before it calls `create`."""

    def __init__(self, pod, name, args, kind="container", lower="/data/lower", container_id=None):
        self.pod, self.node, self.name = pod, pod.node, name
        self.id = container_id or self.node.new_id()
        self.bundle = f"/run/bundles/{self.id}"
        self.snapshot = f"/data/snapshots/{self.id}"
        self.log = f"{self.bundle}/log.json"
        self.pid_file = f"{self.bundle}/init.pid"
        self.output = None
        self.node.must("mkdir", "-p", f"{self.bundle}/rootfs", f"{self.snapshot}/fs", f"{self.snapshot}/work")
        self.node.must("mount", "-t", "overlay", "overlay", "-o",
                       f"lowerdir={lower},upperdir={self.snapshot}/fs,workdir={self.snapshot}/work",
                       f"{self.bundle}/rootfs")
        self.config = self._config(kind, args)
        self.write_config()

    def write_config(self):
        self.node.path(f"{self.bundle}/config.json").write_text(json.dumps(self.config), encoding="utf-8")

    def _config(self, kind, args):
        config = json.loads(json.dumps(self.node.template))
        config["process"].update({"args": list(args), "terminal": False})
        config["root"] = {"path": "rootfs", "readonly": False}
        config["hostname"] = ""
        config["annotations"] = {
            "io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.sandbox-id": self.pod.sandbox_id or self.id,
            "io.kubernetes.cri.sandbox-uid": self.pod.uid, "io.kubernetes.cri.container-name": self.name}
        config["linux"]["cgroupsPath"] = f"{self.node.cgroup}/{self.id}"
        namespaces = [{"type": "pid"}, {"type": "mount"}]
        if kind == "sandbox":
            namespaces += [{"type": name} for name in ("network", "ipc", "uts")]
        else:
            if self.pod.shares_processes:
                namespaces[0]["path"] = f"/proc/{self.pod.pid}/ns/pid"
            namespaces += [{"type": name, "path": f"/proc/{self.pod.pid}/ns/{file}"}
                           for name, file in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))]
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/dev/shm"]
            config["mounts"] += [
                {"destination": "/dev/shm", "type": "bind", "source": self.pod.shm, "options": ["rbind", "rw"]},
                {"destination": "/volume", "type": "bind", "source": self.pod.volume, "options": ["rbind", "rw"]}]
        config["linux"]["namespaces"] = namespaces
        return config

    def call(self, *words, runtime=RUNTIME, **options):
        return self.node.run(runtime, "--root", RUNC_ROOT, "--log", self.log, "--log-format", "json", *words, **options)

    def create_words(self, *options):
        return ["create", *options, "--bundle", self.bundle, "--pid-file", self.pid_file, self.id]

    def create(self, runtime=RUNTIME):
        """Its standard output and error are a pipe, as containerd's are."""
        read, write = os.pipe()
        try:
            return self.call(*self.create_words(), runtime=runtime, stdout=write, stderr=write).returncode
        finally:
            os.close(write)
            self.close_output()
            self.output = read

    def start(self, runtime=RUNTIME):
        return self.call("start", self.id, runtime=runtime).returncode

    def delete(self, runtime=RUNTIME):
        code = self.call("delete", "--force", self.id, runtime=runtime).returncode
        self.close_output()
        self.node.run("umount", f"{self.bundle}/rootfs")
        return code

    def close_output(self):
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def expect(self, step, code=0):
        got = getattr(self, step)()
        if got != code:
            raise Failure(f"{step} of {self.name} ended with {got}, not {code}: {self.said()}")

    def said(self):
        """The last error in runc's log file, as containerd's shim takes it."""
        path = self.node.path(self.log)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        errors = [entry["msg"] for entry in map(json.loads, lines) if entry["level"] == "error"]
        return errors[-1] if errors else ""

    def pid(self):
        return int(self.node.path(self.pid_file).read_text(encoding="utf-8"))

    def all_output(self):
        with os.fdopen(os.dup(self.output), "rb") as file:
            return file.read().decode()

    @property
    def upper(self):
        return self.node.data / "snapshots" / self.id / "fs"

    def keep_layer(self):
        """A copy of its layer, as the mover stages it: its path in the node."""
        staged = f"/data/staged/{self.id}"
        self.node.must("mkdir", "-p", "/data/staged")
        self.node.must("cp", "-a", f"{self.snapshot}/fs", staged)
        return staged


class Pod:
    """A sandbox and what its containers share. The volume may be one that was moved: that of another pod."""

    def __init__(self, node, volume=None, shares_processes=False):
        self.shares_processes = shares_processes
        self.node, self.uid = node, f"11111111-2222-3333-4444-{node.count:012d}"
        self.sandbox_id, self.pid = None, None
        self.sandbox = Container(self, "", ["sleep", "1000000"], kind="sandbox")
        self.sandbox_id = self.sandbox.id
        self.shm = f"/run/sandboxes/{self.sandbox_id}/shm"
        self.volume = volume or f"/data/volumes/{self.uid}"
        node.must("mkdir", "-p", self.shm, self.volume)
        node.must("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", self.shm)
        self.sandbox.expect("create")
        self.sandbox.expect("start")
        self.pid = self.sandbox.pid()
        node.must("nsenter", "--target", self.pid, "--net", "ip", "link", "set", "lo", "up")
        self.containers = []

    def container(self, name, *args):
        container = Container(self, name, args)
        self.containers.append(container)
        return container

    def another_sandbox(self):
        """As kubelet asks for one again where it gave up on the first; not created."""
        sandbox = Container(self, "", ["sleep", "1000000"], kind="sandbox")
        self.containers.append(sandbox)
        return sandbox

    @property
    def claim(self):
        return self.node.path(f"/var/lib/transship/claims/{self.uid}")

    def write_claim(self, containers, skip=(), shared_memory="", old_address="", awaits_volumes=False):
        """containers: name -> (layer, memory); written as the mover writes it."""
        value = {"version": 1, "migrationUid": "m", "skip": list(skip), "sharedMemory": shared_memory,
                 "oldAddress": old_address, "awaitsVolumes": awaits_volumes,
                 "containers": [{"name": name, "layer": layer, "memory": memory}
                                for name, (layer, memory) in containers.items()]}
        self.claim.mkdir(parents=True)
        (self.claim / ".lock").touch()
        for name in containers:
            (self.claim / name).mkdir()
            self.set_state(name, "Pending")
        (self.claim / "claim.json").write_text(json.dumps(value), encoding="utf-8")

    def set_state(self, name, state):
        (self.claim / name / "state").write_text(json.dumps({"state": state, "message": "", "id": ""}), encoding="utf-8")

    def state(self, name):
        return json.loads((self.claim / name / "state").read_text(encoding="utf-8"))["state"]

    def message(self, name):
        return json.loads((self.claim / name / "state").read_text(encoding="utf-8"))["message"]

    def expect(self, name, state):
        if self.state(name) != state:
            raise Failure(f"{name} is {self.state(name)}, not {state}: {self.message(name)}")

    def close(self):
        for container in self.containers + [self.sandbox]:
            container.delete()
        self.node.run("umount", self.shm)
