"""Pods that a controller owns: it makes the replacement, which waits for its data."""

import threading

import wait
import workloads as w

# Says on the volume when it starts, from what it goes on, and when it was told to stop.
# By renames: a freeze would meet a file that was emptied and not yet written.
COUNTER = r"""trap 'echo stopped >>/data/log; exit 0' TERM
n=$(cat /data/n 2>/dev/null || echo 0); s=$(cat /scratch/n 2>/dev/null || echo 0)
echo "started $n $s" >>/data/log
while :; do n=$((n+1))
for d in scratch data; do echo $n >/$d/next; mv /$d/next /$d/n; done; sleep 0.02; done"""


class AliveAtOnce:
    """How many pods of the workload have running containers at the same time, as the API shows it."""

    def __init__(self, case, labels):
        self._lock = threading.Lock()
        self._alive, self.most = {}, 0
        self._labels = labels
        case.watch("Pod", self._on_event)

    def _on_event(self, kind, pod):
        if not self._labels.items() <= pod["metadata"].get("labels", {}).items():
            return
        running = kind != "DELETED" and any(
            "running" in item.get("state", {}) for item in pod.get("status", {}).get("containerStatuses", []))
        with self._lock:
            self._alive[pod["metadata"]["uid"]] = running
            self.most = max(self.most, sum(self._alive.values()))


# Where every pod of the test says that it is alive, and when: one directory on both nodes, and one clock.
BEATS = r"""{ while read up _ </proc/uptime; do echo "$HOSTNAME $up" >>/beats/$NAMESPACE; sleep 0.02; done; } &
"""


def beating_spec(namespace):
    container = w.container("app", BEATS + COUNTER, mounts={"data": "/data", "scratch": "/scratch", "beats": "/beats"},
                            env=[{"name": "NAMESPACE", "value": namespace}])
    return w.pod_spec([container], [w.claim_volume("data"), w.empty_dir("scratch"),
                                    {"name": "beats", "hostPath": {"path": "/mnt/shared"}}])


def check_beats(case, count):
    """Each pod was silent before the next one began."""
    lives = {}
    for line in case.cluster.sh("node-a", f"cat /mnt/shared/{case.namespace}; rm /mnt/shared/{case.namespace}").splitlines():
        name, instant = line.split()
        first, _ = lives.get(name, (float(instant), None))
        lives[name] = first, float(instant)
    assert len(lives) == count, lives
    ordered = sorted(lives.values())
    for (_, end), (begin, _) in zip(ordered, ordered[1:]):
        assert end < begin, f"two pods ran at once: {lives}"


def counter_spec(volumes=(), **more):
    volumes = list(volumes) + [w.empty_dir("scratch")]
    return w.pod_spec([w.container("app", COUNTER, mounts={"data": "/data", "scratch": "/scratch"})], volumes, **more)


def check_log(case, pod, starts):
    """Each start went on exactly where the one before was stopped, in the claim and in the emptyDir."""
    lines = case.shell(pod, "cat /data/log", container="app").split("\n")
    started = [line.split()[1:] for line in lines if line.startswith("started")]
    assert len(started) == starts, lines
    for claim, scratch in started[1:]:
        assert int(claim) > 0, lines
        assert int(scratch) - int(claim) in (0, 1), f"claim and emptyDir are not of the same instant: {lines}"


def test_stateful_set_keeps_its_other_replica(case):
    case.create(w.stateful_set(case.namespace, "web", counter_spec(), replicas=2))
    before = {pod["metadata"]["name"]: pod for pod in case.ready_pods("app=web", 2)}
    migration = case.move("web-0")
    assert migration["status"]["source"]["ownerKind"] == "StatefulSet"
    after = {pod["metadata"]["name"]: pod for pod in case.ready_pods("app=web", 2)}
    assert after["web-1"]["metadata"]["uid"] == before["web-1"]["metadata"]["uid"]
    assert after["web-1"]["status"]["containerStatuses"][0]["restartCount"] == 0
    check_log(case, "web-0", 2)
    claims = sorted(item["metadata"]["name"] for item in case.api.list("PersistentVolumeClaim", case.namespace))
    assert claims == ["data-web-0", "data-web-1"], claims


def check_deployment(case, strategy, edit):
    case.create(w.claim(case.namespace, "data"))
    case.create(w.deployment(case.namespace, "app", beating_spec(case.namespace), strategy=strategy))
    before = case.ready_pods("app=app")[0]
    alive = AliveAtOnce(case, {"app": "app"})
    # The directory is the node's: whoever says that it may be another one there gets the pod moved.
    case.migrate(before["metadata"]["name"], state={"volumes": {"exclude": ["beats"]}})
    if edit:
        case.await_condition("SourceStopped")
        case.api.patch("Deployment", case.namespace, "app",
                       {"spec": {"template": {"metadata": {"annotations": {"edited": "yes"}}}}})
    case.await_success()
    after = wait.until("one pod is left", lambda: (
        lambda pods: pods[0] if len(pods) == 1 and pods[0]["metadata"]["uid"] != before["metadata"]["uid"] else None)(
            [pod for pod in case.pods("app=app") if pod["status"]["phase"] == "Running"]))
    assert after["spec"]["nodeName"] != before["spec"]["nodeName"]
    if edit:
        assert after["metadata"]["annotations"]["edited"] == "yes"
    assert alive.most == 1, f"{alive.most} pods ran at once"
    check_log(case, after["metadata"]["name"], 2)
    check_beats(case, 2)


def test_deployment_recreate(case):
    check_deployment(case, "Recreate", edit=False)


def test_deployment_rolling_update(case):
    check_deployment(case, "RollingUpdate", edit=False)


def test_deployment_edited_in_the_middle(case):
    check_deployment(case, "RollingUpdate", edit=True)
