"""One pod moved there and back, again and again: the same process goes on, nothing is lost, and nothing is left behind."""

import os

import clients
import wait
import workloads as w
from cluster import NODES
from test_runtime_restore import MEMORY, check_never_started_anew, redis_in_memory, redis_process, runtime

MOVES = int(os.environ.get("E2E_MOVES") or "10")

# What a node has of everything that a move might leave behind, a number a line.
COUNTS = r"""
cd / && exec 2>/dev/null  # ctr warns of what no test is about
for program in containerd kubelet; do
  echo "descriptors of $program: $(ls /proc/$(pgrep -xo $program)/fd | wc -l)"
done
echo "mounts: $(wc -l </proc/self/mountinfo)"
echo "shims: $(pgrep -c containerd-shim)"
echo "processes of runc and CRIU: $(pgrep -c 'runc|criu|transship')"
echo "containers of runc: $(ls /run/containerd/runc/k8s.io | wc -l)"
echo "tasks of containerd: $(ls /run/containerd/io.containerd.runtime.v2.task/k8s.io | wc -l)"
echo "containers of containerd: $(ctr --namespace k8s.io containers list --quiet | wc -l)"
echo "snapshots: $(ctr --namespace k8s.io snapshots list | wc -l)"
echo "images: $(ctr --namespace k8s.io images list --quiet | wc -l)"
echo "network namespaces: $(ls /run/netns | wc -l)"
echo "pods of kubelet: $(ls var/lib/kubelet/pods | wc -l)"
for directory in run/transship var/lib/transship var/lib/kubelet/transship dev/shm tmp; do
  echo "entries of /$directory: $(find $directory -mindepth 1 | wc -l)"
done
"""
# A process opens and closes some as it works; a leak is one a move, at least.
STEADY = 8


def counts(case, node):
    numbers = dict(line.rsplit(": ", 1) for line in case.cluster.sh(node, COUNTS).splitlines())
    groups = case.cluster.control_groups(node)
    return {**{what: int(number) for what, number in numbers.items()}, "control groups": groups}


def grown(before, now):
    return [f"{what}: {before[what]} before, {number} now" for what, number in now.items()
            if number > before[what] + (STEADY if what.startswith("descriptors") else 0)]


def layer_size(case, pod):
    """What the containers of a pod have written into their own root: bytes and entries."""
    script = "for task in /run/containerd/io.containerd.runtime.v2.task/k8s.io/{}; do " \
             "upper=$(sed -n 's/.*upperdir=\\([^,]*\\).*/\\1/p' /proc/$(cat $task/init.pid)/mountinfo | head -n 1); " \
             "du -s --apparent-size --block-size=1 $upper; find $upper | wc -l; done"
    identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    return [int(line.split()[0]) for line in case.cluster.sh(pod["spec"]["nodeName"], script.format(identity)).splitlines()]


def test_there_and_back_again_and_again(case):
    assert MOVES > 4, "E2E_MOVES: two there and back again are what the others are compared with"
    runtime(case)
    pod = case.start("app", [{**redis_in_memory(), "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
                     [w.empty_dir("scratch")])
    process = redis_process(pod)
    case.shell("app", "mkdir /kept; head -c 1000000 /dev/urandom | tee /scratch/file >/kept/layer; ln /kept/layer /kept/linked; "
                      "rm /etc/group")
    look = "sha256sum /scratch/file /kept/*; stat -c %h /scratch/file; ls /etc/group 2>&1; ls -A / /kept /scratch"
    seen = case.shell("app", look, check=False)
    writer = case.writer(clients.RedisWriter(case.address("app"), 6379))
    first = {}
    for turn in range(1, MOVES + 1):
        so_far = len(writer.acknowledged)
        case.move("app", name="soak", seconds=600, **MEMORY)
        case.api.delete("ContainerMigration", case.namespace, "soak")
        wait.until("the migration is gone", lambda: case.migration("soak") is None)
        pod = case.pod("app")
        check_never_started_anew(pod)
        assert redis_process(pod) == process, f"another Redis after {turn} moves"
        assert case.shell("app", look, check=False) == seen, f"after {turn} moves"
        wait.until("it is written to again", lambda so_far=so_far: len(writer.acknowledged) > so_far + 50)
        # The first there and back again is what a node is to be like: images and caches are in place then.
        if turn in (2, 3):
            first[pod["spec"]["nodeName"]] = settled(case), layer_size(case, pod)
        if turn > 3 and turn in (MOVES - 1, MOVES):
            before, layer = first[pod["spec"]["nodeName"]]
            assert layer_size(case, pod) == layer, f"the layer: {layer} before, {layer_size(case, pod)} now"
            case.cluster.expect_nothing_left([lambda before=before: [
                f"{node}: {item}" for node in NODES for item in grown(before[node], counts(case, node))]], 60)
    missing = clients.redis_missing(pod["status"]["podIP"], writer.stop())
    assert not missing, f"{len(missing)} writes are gone, the first is {missing[0]}"


def settled(case, seconds=60):
    """What each node has, once nothing of the last move is going any more: what was looked at twice is the same."""
    last = [None]

    def same_twice():
        before, last[0] = last[0], {node: counts(case, node) for node in NODES}
        return last[0] if before == last[0] else None
    return wait.until("the nodes have come to rest", same_twice, seconds, pause=3)
