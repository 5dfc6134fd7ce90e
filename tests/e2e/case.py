"""What a test gets: a namespace of its own on the shared cluster, and the steps that tests are made of."""

import json
import threading
import time

import wait
import workloads
from cluster import NAMESPACE, NODES

CONDITIONS = ("Validated", "Prepared", "PreCopied", "SourceStopped", "Transferred", "Verified", "Committed", "Restored", "Succeeded")

# The content of a volume as one number: docs/volume-digest.md.
DIGEST = r"""cd {path} && {{ find . -printf '%p %y %m %U:%G %T@ %l\0' | LC_ALL=C sort -z
find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; }} | sha256sum"""


class Skip(Exception):
    pass


def condition(migration, kind):
    conditions = (migration or {}).get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {"status": "Unknown", "reason": "", "message": ""})


def finished(migration):
    return "completionTime" in migration.get("status", {})


def ready(pod):
    return pod is not None and "deletionTimestamp" not in pod["metadata"] and any(
        item["type"] == "Ready" and item["status"] == "True" for item in pod.get("status", {}).get("conditions", []))


class Case:
    def __init__(self, cluster, name):
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = name
        self._writers = []
        self._stop_watches = threading.Event()
        self.source_paths = []  # (node, path) of volumes that are to be gone at the end

    def begin(self):
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        wait.until("service account", lambda: self.api.get("ServiceAccount", self.namespace, "default"))

    # Objects.

    def create(self, *objects):
        return [self.api.create(item) for item in objects][-1]

    def pod(self, name):
        return self.api.get("Pod", self.namespace, name)

    def pods(self, labels=None):
        return self.api.list("Pod", self.namespace, labels)

    def ready_pod(self, name, seconds=60):
        return wait.until(f"pod {name} is Ready", lambda: (lambda pod: pod if ready(pod) else None)(self.pod(name)), seconds)

    def ready_pods(self, labels, count=1, seconds=60):
        def all_ready():
            pods = self.pods(labels)
            return pods if len(pods) == count and all(ready(pod) for pod in pods) else None
        return wait.until(f"{count} pods {labels} are Ready", all_ready, seconds)

    def start(self, name, containers, volumes=(), claims=(), **more):
        """A bare pod, Ready. `claims`: names, or (name, storage class)."""
        for item in claims:
            name_and_class = (item,) if isinstance(item, str) else item
            self.create(workloads.claim(self.namespace, *name_and_class))
        self.create(workloads.pod(self.namespace, name, containers, volumes, **more))
        return self.ready_pod(name)

    def exec(self, pod_name, *command, container=None, check=True):
        return self.cluster.exec(self.namespace, pod_name, *command, container=container, check=check)

    def shell(self, pod_name, script, container=None, check=True):
        return self.exec(pod_name, "sh", "-c", script, container=container, check=check)

    def address(self, pod_name):
        """For writers: the address of the pod while it is there to be written to."""
        def current():
            pod = self.pod(pod_name)
            return pod.get("status", {}).get("podIP") if pod and "deletionTimestamp" not in pod["metadata"] else None
        return current

    def writer(self, writer):
        self._writers.append(writer)
        wait.until("the client writes", lambda: len(writer.acknowledged) > 20)
        return writer

    def watch(self, kind, on_event):
        self.api.watch(kind, self.namespace, on_event, self._stop_watches)

    # Migrations.

    def migrate(self, pod_name, name="move", **spec):
        return self.create(workloads.migration(self.namespace, name, pod_name, **spec))

    def migration(self, name="move"):
        return self.api.get("ContainerMigration", self.namespace, name)

    def change(self, name="move", **spec):
        self.api.patch("ContainerMigration", self.namespace, name, {"spec": spec})

    def await_condition(self, kind, status="True", name="move", seconds=60, pause=0.05):
        def reached():
            migration = self.migration(name)
            if condition(migration, kind)["status"] == status:
                return migration
            if finished(migration):
                raise AssertionError(f"{name} ended without {kind}={status}: {self.summary(migration)}")
            return None
        return wait.until(f"{name}: {kind}={status}", reached, seconds, pause)

    def await_reason(self, kind, reason, name="move", seconds=60):
        return wait.until(f"{name}: {kind} has reason {reason}", lambda: (
            lambda migration: migration if condition(migration, kind)["reason"] == reason else None)(self.migration(name)),
            seconds, 0.05)

    def await_end(self, name="move", seconds=120):
        def ended():
            migration = self.migration(name)
            return migration if migration and finished(migration) else None
        try:
            return wait.until(f"{name} ends", ended, seconds)
        except wait.Timeout:
            raise wait.Timeout(f"{name} does not end within {seconds} s: {self.summary(self.migration(name))}") from None

    @staticmethod
    def summary(migration):
        conditions = [f"{item['type']}={item['status']} {item['reason']}: {item['message']}"
                      for item in (migration or {}).get("status", {}).get("conditions", [])]
        return "\n  ".join(["", *conditions])

    def await_success(self, name="move", seconds=120, reason="Migrated"):
        migration = self.await_end(name, seconds)
        if condition(migration, "Succeeded")["status"] != "True" or condition(migration, "Succeeded")["reason"] != reason:
            raise AssertionError(f"{name} did not succeed: {self.summary(migration)}")
        if reason == "Migrated":
            self._remember_sources(migration)
        return migration

    def await_failure(self, *reasons, name="move", seconds=120):
        migration = self.await_end(name, seconds)
        end = condition(migration, "Succeeded")
        if end["status"] != "False" or end["reason"] not in reasons:
            raise AssertionError(f"{name} was to fail for {' or '.join(reasons)}: {self.summary(migration)}")
        return migration

    def _remember_sources(self, migration):
        status = migration["status"]
        for volume in status.get("volumes", []):
            if volume.get("plan") == "Copy" and volume.get("sourcePath") and not status["source"].get("kept"):
                self.source_paths.append((status["source"]["nodeName"], volume["sourcePath"]))

    def move(self, pod_name, name="move", seconds=120, **spec):
        """Moves a pod and checks what is true of every success. Returns the migration."""
        before = self.pod(pod_name)
        self.migrate(pod_name, name, **spec)
        migration = self.await_success(name, seconds)
        self.check_moved(before, migration)
        return migration

    def check_moved(self, before, migration):
        status = migration["status"]
        for kind in CONDITIONS:
            assert condition(migration, kind)["status"] == "True", self.summary(migration)
        target = status["target"]
        assert status["source"]["nodeName"] == before["spec"]["nodeName"], status["source"]
        assert target["nodeName"] != before["spec"]["nodeName"], target
        after = self.pod(target["podName"])
        assert after is not None, f"pod {target['podName']} is not there"
        assert after["metadata"]["uid"] == target["podUID"] != before["metadata"]["uid"]
        assert after["spec"]["nodeName"] == target["nodeName"]
        assert ready(after), json.dumps(after["status"])
        assert status["progress"]["percent"] == 100, status["progress"]
        assert 0 < status["downtimeSeconds"] <= status["totalSeconds"], status
        assert status.get("phaseTransitionTimestamps"), status
        for volume in status.get("volumes", []):
            if volume["plan"] == "Copy":
                assert volume["digest"].startswith("sha256:"), volume
        return after

    def check_source_is_back(self, before, same_pod=False, seconds=30):
        """After a failure: the pod runs where it was, as another pod unless it was never stopped."""
        after = self.ready_pod(before["metadata"]["name"], seconds)
        assert after["spec"]["nodeName"] == before["spec"]["nodeName"], after["spec"]["nodeName"]
        if same_pod:
            assert after["metadata"]["uid"] == before["metadata"]["uid"], "the pod was stopped"
            restarts = [item["restartCount"] for item in after["status"]["containerStatuses"]]
            assert not any(restarts), f"containers were restarted: {restarts}"
        return after

    # Volumes.

    def volume_path(self, pod, volume):
        """Where a volume of a pod is on its node."""
        spec = next(item for item in pod["spec"]["volumes"] if item["name"] == volume)
        if "emptyDir" in spec:
            return f"/var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~empty-dir/{volume}"
        claim_name = (spec["persistentVolumeClaim"]["claimName"] if "persistentVolumeClaim" in spec
                      else f"{pod['metadata']['name']}-{volume}")
        claim = self.api.get("PersistentVolumeClaim", self.namespace, claim_name)
        source = self.api.get("PersistentVolume", None, claim["spec"]["volumeName"])["spec"]
        return (source.get("hostPath") or source["local"])["path"]

    def digest(self, pod, volume):
        return self.digest_of(pod["spec"]["nodeName"], self.volume_path(pod, volume))

    def digest_of(self, node, path):
        return "sha256:" + self.cluster.sh(node, DIGEST.format(path=path)).split()[0]

    def volume_status(self, migration, volume):
        return next(item for item in migration["status"]["volumes"] if item["name"] == volume)

    # The end.

    def end(self):
        """Takes the namespace down and checks that it was all there was."""
        self._quiet()
        self.cluster.expect_nothing_left([self.cluster.leftovers_of_migrations])
        for node, path in self.source_paths:
            wait.until(f"{path} is gone from {node}",
                       lambda node=node, path=path: not self.cluster.sh(node, f"ls -d {path} 2>/dev/null", check=False).strip(), 30)
        self._delete_namespace()
        self.cluster.expect_nothing_left([self.cluster.volume_leftovers])

    def _quiet(self):
        self._stop_watches.set()
        for writer in self._writers:
            writer.stop()

    def _delete_namespace(self, seconds=60):
        for kind in ("StatefulSet", "Deployment"):
            for item in self.api.list(kind, self.namespace):
                self.api.delete(kind, self.namespace, item["metadata"]["name"])
        for pod in self.pods():
            self.api.delete("Pod", self.namespace, pod["metadata"]["name"], grace=0)
        self.api.delete("Namespace", None, self.namespace)
        wait.until(f"namespace {self.namespace} is gone", lambda: not self.api.get("Namespace", None, self.namespace),
                   seconds, 0.2)

    def abandon(self):
        """After a failed test: makes the cluster fit for the next one, whatever is left."""
        self._quiet()
        self.cluster.start_dead_nodes()
        if not self.api.get("Namespace", None, self.namespace):
            return
        names = [item["metadata"]["name"] for item in self.api.list("ContainerMigration", self.namespace)]
        for name in names:
            self.api.delete("ContainerMigration", self.namespace, name)
        deadline = time.monotonic() + 20
        while any(self.migration(name) for name in names) and time.monotonic() < deadline:
            time.sleep(0.2)
        for kind, namespace in (("ContainerMigration", self.namespace), ("Pod", self.namespace)):
            for item in self.api.list(kind, namespace):
                if item["metadata"].get("finalizers"):
                    self.api.patch(kind, namespace, item["metadata"]["name"], {"metadata": {"finalizers": None}})
        self._delete_namespace(90)
        for kind in ("Job", "Secret", "Pod", "PersistentVolumeClaim"):
            for item in self.api.list(kind, NAMESPACE, "app.kubernetes.io/managed-by=transship-controller"):
                self.api.delete(kind, NAMESPACE, item["metadata"]["name"], grace=0)
        for item in self.api.list("PersistentVolume"):
            self.api.patch("PersistentVolume", None, item["metadata"]["name"],
                           {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
        for node in NODES:
            self.cluster.sh(node, "umount -l /var/lib/kubelet/transship/*/* 2>/dev/null; "
                                  "rm -rf /var/lib/kubelet/transship/* 2>/dev/null; true", check=False)

    def describe(self):
        """Everything that helps to understand a failure."""
        out = []
        api = self.api
        for item in api.list("ContainerMigration", self.namespace):
            out.append("--- ContainerMigration\n" + self.cluster.kubectl(
                "--namespace", self.namespace, "get", "containermigration", item["metadata"]["name"], "--output", "yaml"))
        for namespace in (self.namespace, NAMESPACE):
            out.append(f"--- pods, claims, jobs in {namespace}\n" + self.cluster.kubectl(
                "--namespace", namespace, "get", "pods,persistentvolumeclaims,jobs", "--output", "wide", check=False))
            out.append(f"--- events in {namespace}\n" + "\n".join(
                self.cluster.kubectl("--namespace", namespace, "get", "events", "--sort-by", ".lastTimestamp",
                                     check=False).splitlines()[-30:]))
        out.append("--- volumes\n" + self.cluster.kubectl("get", "persistentvolumes", check=False))
        for pod in api.list("Pod", NAMESPACE):
            name = pod["metadata"]["name"]
            out.append(f"--- log of {name}\n" + api.log(NAMESPACE, name, tail=80))
            if any(item.get("restartCount") for item in pod["status"].get("containerStatuses", [])):
                out.append(f"--- log of {name} before it was restarted\n" + api.log(NAMESPACE, name, tail=40, previous=True))
        return "\n".join(out)
