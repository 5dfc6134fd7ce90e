"""The runtime on the nodes: put there and taken away by the chart, under pods that run."""

import wait
import workloads as w
from case import ready
from cluster import NAMESPACE, NODES

PROGRAM = "/opt/transship/bin/transship-runtime"
DROP_IN = "/etc/containerd/conf.d/transship.toml"


def containerd(case, node):
    """Number and birth of the containerd that runs on a node."""
    return wait.until(f"containerd on {node}", lambda: case.cluster.sh(
        node, "pid=$(pgrep -x containerd) && awk '{print $1, $22}' /proc/$pid/stat", check=False).strip())


def handler(case, node):
    """The program of the handler, as the node's containerd reads its configuration."""
    found = [line for line in case.cluster.sh(node, "containerd config dump 2>/dev/null").splitlines() if PROGRAM in line]
    return bool(found)


def files(case, node):
    return case.cluster.sh(node, f"ls -d /opt/transship {PROGRAM} {DROP_IN} 2>/dev/null", check=False).split()


def as_it_comes(case):
    """Both nodes as they are before anything is installed, and containerd with that."""
    if any(case.cluster.runtime_pod(node) for node in NODES):  # of the tests before
        taken_away(case)
    for node in NODES:
        if not files(case, node):
            continue
        before = containerd(case, node)
        case.cluster.sh(node, f"rm -rf /opt/transship {DROP_IN}; kill {before.split()[0]}")
        wait.until(f"containerd on {node} is another", lambda node=node, before=before: containerd(case, node) != before)


def is_ready(case, node):
    return ready(case.cluster.runtime_pod(node))


def said(case, node):
    """How the last run of the installer ended, as its pod's status has it."""
    pod = case.cluster.runtime_pod(node) or {}
    return "".join(status.get(key, {}).get("terminated", {}).get("message", "")
                   for status in pod.get("status", {}).get("containerStatuses", []) for key in ("state", "lastState"))


def taken_away(case):
    case.cluster.upgrade("runtime.enabled=true", "runtime.remove=true")
    case.cluster.await_runtime()
    case.cluster.upgrade("runtime.enabled=false", "runtime.remove=false")
    wait.until("the installer's pods are gone", lambda: not any(case.cluster.runtime_pod(node) for node in NODES))


def restarts(pod):
    return [(status["restartCount"], status["containerID"]) for status in pod["status"]["containerStatuses"]]




def test_the_runtime_comes_and_goes_under_pods_that_run(case):
    as_it_comes(case)
    other = {}
    for node in NODES:
        case.create(w.pod(case.namespace, f"other-{node}", [w.container("c")], nodeName=node))
        other[node] = restarts(case.ready_pod(f"other-{node}"))
    before = {node: containerd(case, node) for node in NODES}
    case.cluster.install_runtime()
    installed = {node: containerd(case, node) for node in NODES}
    for node in NODES:
        assert handler(case, node), f"{node} has no handler"
        assert installed[node] != before[node], f"containerd of {node} was not started again"

    # A pod of the class is like any other.
    case.create(w.pod(case.namespace, "app", [
        w.container("app", f"echo begun; cat /proc/1/comm >/data/comm; {w.IDLE}", mounts={"data": "/data"})],
        [w.empty_dir("data")], nodeName="node-a", runtimeClassName="transship"))
    case.ready_pod("app")
    assert case.cluster.exec(case.namespace, "app", "cat", "/data/comm").strip() == "sh"
    assert case.api.log(case.namespace, "app").strip() == "begun"
    case.cluster.kill_container(case.pod("app"))
    wait.until("it is started again", lambda: ready(case.pod("app")) and restarts(case.pod("app"))[0][0] == 1)

    # Again: nothing to do, so containerd goes on.
    case.cluster.kubectl("--namespace", NAMESPACE, "rollout", "restart", "daemonset/transship-runtime")
    case.cluster.await_runtime()
    assert {node: containerd(case, node) for node in NODES} == installed

    # It does not go from under a pod.
    case.cluster.upgrade("runtime.remove=true")
    wait.until("it is refused", lambda: f"{case.namespace}/app" in said(case, "node-a"))
    assert not is_ready(case, "node-a")
    assert handler(case, "node-a") and PROGRAM in files(case, "node-a")
    case.api.delete("Pod", case.namespace, "app")
    wait.until("the pod is gone", lambda: not case.pod("app"))
    taken_away(case)
    for node in NODES:
        assert not files(case, node) and not handler(case, node), files(case, node)
        assert restarts(case.pod(f"other-{node}")) == other[node], "a pod was started again"


def test_a_node_that_imports_no_drop_ins_is_told_what_to_add(case):
    as_it_comes(case)
    config = "/etc/containerd/config.toml"
    case.cluster.sh("node-b", f"cp {config} {config}.before && sed -i /^imports/d {config}")
    try:
        before = containerd(case, "node-b")
        case.cluster.upgrade("runtime.enabled=true")
        wait.until("it is refused", lambda: "imports = ['/etc/containerd/conf.d/*.toml']" in said(case, "node-b"))
        wait.until("the other node has it", lambda: is_ready(case, "node-a"))
        assert not is_ready(case, "node-b")
        assert containerd(case, "node-b") == before and DROP_IN not in files(case, "node-b")
        case.create(w.pod(case.namespace, "early", [w.container("c")], nodeName="node-b", runtimeClassName="transship"))
        wait.until("it is told to the pod", lambda: 'no runtime for "transship" is configured' in case.cluster.kubectl(
            "--namespace", case.namespace, "get", "events", "--output", "jsonpath={.items[*].message}"))
        case.cluster.sh("node-b", f"mv {config}.before {config}")
        case.cluster.await_runtime()
        assert handler(case, "node-b")
        case.ready_pod("early", 120)
        case.api.delete("Pod", case.namespace, "early")
        wait.until("the pod is gone", lambda: not case.pod("early"))
    finally:
        case.cluster.sh("node-b", f"test ! -e {config}.before || mv {config}.before {config}")
        taken_away(case)


# Takes containerd's place: one that does not start where it has the handler.
REFUSING = f"""#!/bin/sh
test ! -e {DROP_IN} || exit 1
exec /opt/programs/containerd/containerd "$@"
"""


def test_a_node_whose_containerd_does_not_come_back_keeps_its_own(case):
    as_it_comes(case)
    case.cluster.install_runtime()
    case.cluster.sh("node-b", f"cp {PROGRAM} /root/transship-runtime")
    taken_away(case)
    case.create(w.pod(case.namespace, "other", [w.container("c")], nodeName="node-b"))
    other, before = restarts(case.ready_pod("other")), containerd(case, "node-b")

    # What another file says of the handler goes before ours.
    stranger = DROP_IN.replace("transship.toml", "zz.toml")
    section = "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.transship.options"
    case.cluster.sh("node-b", f"printf '%s\\n' 'version = 3' \"[{section}]\" \"BinaryName = '/bin/other'\" >{stranger}")
    output = case.cluster.sh("node-b", f"/root/transship-runtime install --once; echo status $?; rm {stranger}")
    assert "status 1" in output and "/bin/other" in output and "another imported file says otherwise" in output, output
    assert DROP_IN not in files(case, "node-b") and containerd(case, "node-b") == before

    link = "/usr/local/bin/containerd"
    case.cluster.sh("node-b", f"mv {link} {link}.before; cat >{link} <<'END'\n{REFUSING}END\nchmod +x {link}")
    try:
        output = case.cluster.sh("node-b", "/root/transship-runtime install --once --restart-timeout 3; echo status $?")
        assert "status 1" in output and f"{DROP_IN} was taken back" in output, output
        assert DROP_IN not in files(case, "node-b")
        assert containerd(case, "node-b") != before
    finally:
        case.cluster.sh("node-b", f"mv {link}.before {link}")
    assert restarts(case.pod("other")) == other
    output = case.cluster.sh("node-b", "/root/transship-runtime install --once && /root/transship-runtime uninstall --once")
    assert not files(case, "node-b"), output
