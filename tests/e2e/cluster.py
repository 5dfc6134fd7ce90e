"""The cluster that the tests share: its life, its nodes, and what must not be left behind on them."""

import os
import pathlib
import shlex
import subprocess

import wait
from api import Api

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NAMESPACE = "transship-system"
ARCHIVE_CLAIM = "tapes"  # in that namespace; the chart is told that users may name it
NODES = ("node-a", "node-b")
MANAGED = "app.kubernetes.io/managed-by=transship-controller"


class CommandFailed(AssertionError):
    pass


def run(command, env=None, check=True, text_input=None, timeout=600):
    result = subprocess.run(command, env=env, input=text_input, text=True, timeout=timeout, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and result.returncode != 0:
        raise CommandFailed(f"{shlex.join(map(str, command))}: exit {result.returncode}\n{result.stdout}")
    return result.stdout


class Cluster:
    def __init__(self, number):
        self.number = number
        self.script = str(REPOSITORY / "scripts" / "cluster")
        self.env = dict(os.environ, CLUSTER=str(number))
        self.api = None
        self.cache = None
        self.programs_loaded = False

    def command(self, *arguments, check=True):
        return run([self.script, *arguments], env=self.env, check=check)

    def up(self):
        self.command("up")
        kubeconfig = self.command("kubeconfig").strip()
        self.cache = pathlib.Path(kubeconfig).parents[2]
        self.env.update(KUBECONFIG=kubeconfig, PATH=f"{self.cache / 'bin'}:{os.environ['PATH']}")
        self.api = Api(kubeconfig)

    def down(self):
        self.command("down")

    def load_programs(self):
        """Puts the image transship.test/programs on the nodes, once."""
        if not self.programs_loaded:
            self.command("load", os.path.join(self.cache, "programs-image", "programs.tar"))
            self.programs_loaded = True

    def install(self):
        """Packs and loads the built programs and installs the chart, as a user would."""
        build = os.environ.get("BUILD_DIR", str(REPOSITORY / "build" / "release"))
        archive = os.path.join(build, f"e2e-{self.number}.tar")
        run([str(REPOSITORY / "scripts" / "image"), archive], env=dict(self.env, BUILD_DIR=build))
        try:
            self.command("load", archive)
        finally:
            os.unlink(archive)
        run(["helm", "upgrade", "--install", "transship", str(REPOSITORY / "charts" / "transship"), "--namespace",
             NAMESPACE, "--create-namespace", "--set", f"archive.claims={{{ARCHIVE_CLAIM}}}"], env=self.env)
        self.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=privileged", "--overwrite")
        # What an earlier run of the same cluster loaded is another image under the same name.
        self.kubectl("--namespace", NAMESPACE, "rollout", "restart", "deployment/transship-controller")
        self.await_controller()

    def upgrade(self, *settings):
        """Changes only these values of what is installed."""
        run(["helm", "upgrade", "transship", str(REPOSITORY / "charts" / "transship"), "--namespace", NAMESPACE,
             "--reuse-values", *(word for setting in settings for word in ("--set", setting))], env=self.env)
        self.await_controller()

    def install_runtime(self):
        """Adds the RuntimeClass transship, and waits until both nodes have its handler."""
        self.upgrade("runtime.enabled=true")
        self.await_runtime()

    def await_runtime(self):
        self.kubectl("--namespace", NAMESPACE, "rollout", "status", "daemonset/transship-runtime", "--timeout=120s")

    def await_controller(self):
        self.kubectl("--namespace", NAMESPACE, "rollout", "status", "deployment/transship-controller", "--timeout=120s")

    def kubectl(self, *arguments, text_input=None, check=True):
        return run(["kubectl", *arguments], env=self.env, text_input=text_input, check=check)

    def exec(self, namespace, pod, *command, container=None, check=True):
        select = ["--container", container] if container else []
        return self.kubectl("--namespace", namespace, "exec", "--quiet", pod, *select, "--", *command, check=check)

    # Nodes.

    def sh(self, node, script, check=True):
        """The output of a shell script on a node, as root."""
        return self.command("sh", node, "bash", "-c", script, check=check)

    def other_node(self, node):
        return NODES[1] if node == NODES[0] else NODES[0]

    def kill_node(self, node):
        self.command("node-kill", node)

    def start_node(self, node):
        self.command("node-start", node)

    def start_dead_nodes(self):
        for node in NODES:
            if "is not running" in self.command("sh", node, "true", check=False):
                self.start_node(node)

    def kill_container(self, pod, container=None):
        """SIGKILL to the first process of a container of a pod, as the kernel does when memory is short."""
        for status in pod["status"].get("containerStatuses", []):
            if container in (None, status["name"]) and status.get("containerID"):
                identity = status["containerID"].removeprefix("containerd://")
                self.sh(pod["spec"]["nodeName"], f"ctr --namespace k8s.io tasks kill --signal SIGKILL {identity}", check=False)

    # The operator's own pods.

    def movers(self, migration_uid, role=None):
        labels = f"transship.dev/migration-uid={migration_uid}" + (f",transship.dev/role={role}" if role else "")
        return [pod for pod in self.api.list("Pod", NAMESPACE, labels)
                if pod["metadata"]["labels"].get("transship.dev/role") in ("sender", "receiver")]

    def runtime_pod(self, node):
        """The installer's pod on a node, the newest one."""
        pods = [pod for pod in self.api.list("Pod", NAMESPACE, "app.kubernetes.io/component=runtime")
                if pod["spec"].get("nodeName") == node and "deletionTimestamp" not in pod["metadata"]]
        return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)

    def controllers(self):
        return [pod for pod in self.api.list("Pod", NAMESPACE) if pod["metadata"]["name"].startswith("transship-controller-")]

    def leader(self):
        """The pod that holds the lease."""
        leases = self.api.list("Lease", NAMESPACE)
        holders = {lease["spec"].get("holderIdentity") for lease in leases}
        return next((pod for pod in self.controllers() if pod["metadata"]["name"] in holders), None)

    # What must not be left.

    def node_leftovers(self, node):
        script = """
          ls -A /var/lib/kubelet/transship 2>/dev/null | sed 's|^|in /var/lib/kubelet/transship: |'
          grep -F transship/ /proc/self/mountinfo | grep -F ' /var/lib/kubelet/transship' | sed 's|^|mounted: |'
          true
        """
        left = [f"{node}: {line}" for line in self.sh(node, script).splitlines()]
        return left + [f"{node}: frozen: {path}" for path in self.frozen(node)]

    def frozen(self, node):
        """Control groups of the node that are frozen, in either version of control groups."""
        group = f"transship-{self.number}/{node}"
        found = []
        for root, name, value in ((f"/sys/fs/cgroup/freezer/{group}", "freezer.state", "FROZEN"),
                                  (f"/sys/fs/cgroup/{group}", "cgroup.freeze", "1"),
                                  (f"/sys/fs/cgroup/unified/{group}", "cgroup.freeze", "1")):
            for directory, _, files in os.walk(root):
                if name not in files:
                    continue
                try:
                    if (pathlib.Path(directory) / name).read_text(encoding="ascii").strip() == value:
                        found.append(directory)
                except OSError:
                    pass  # gone in between
        return found

    def control_groups(self, node):
        """How many control groups a node has, in all hierarchies."""
        group = f"transship-{self.number}/{node}"
        roots = {f"/sys/fs/cgroup/{group}", *(f"{item.path}/{group}" for item in os.scandir("/sys/fs/cgroup") if item.is_dir())}
        return sum(1 for root in roots for _ in os.walk(root))

    def api_leftovers(self):
        left = []
        for kind in ("Job", "Secret", "Pod", "PersistentVolumeClaim", "ConfigMap"):
            left += [f"{kind} {item['metadata']['name']}" for item in self.api.list(kind, NAMESPACE, MANAGED)]
        for pod in self.api.list("Pod"):
            name = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
            if any(gate["name"].startswith("transship.dev/") for gate in pod["spec"].get("schedulingGates", [])):
                left.append(f"{name}: scheduling gate")
            if any(item.startswith("transship.dev/") for item in pod["metadata"].get("finalizers", [])):
                left.append(f"{name}: finalizer")
            if "transship.dev/migration" in pod["metadata"].get("annotations", {}):
                left.append(f"{name}: lock")
        for migration in self.api.list("ContainerMigration"):
            name = f"ContainerMigration {migration['metadata']['namespace']}/{migration['metadata']['name']}"
            if migration.get("status", {}).get("hold"):
                left.append(f"{name}: hold")
            if migration["metadata"].get("finalizers"):
                left.append(f"{name}: finalizer")
        return left

    def volume_leftovers(self):
        """PersistentVolumes and their data; of interest when no namespace has a claim any more."""
        left = [f"PersistentVolume {item['metadata']['name']} ({item['status']['phase']})"
                for item in self.api.list("PersistentVolume")]
        for node in NODES:
            data = self.sh(node, "ls -A /opt/local-path-provisioner").split()
            left += [f"{node}: data of {name}" for name in data]
        return left

    def expect_nothing_left(self, kinds, seconds=30):
        remembered = []

        def nothing():
            remembered[:] = [item for kind in kinds for item in kind()]
            return not remembered

        try:
            wait.until("nothing is left", nothing, seconds, pause=0.2)
        except wait.Timeout:
            raise AssertionError("left behind:\n  " + "\n  ".join(remembered)) from None

    def leftovers_of_migrations(self):
        return self.api_leftovers() + [item for node in NODES for item in self.node_leftovers(node)]
