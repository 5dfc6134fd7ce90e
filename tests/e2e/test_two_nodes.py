"""What is looked at on both nodes before a pod is touched whose containers are to be restored."""

import json

import wait
import workloads as w
from api import ApiError
from case import condition, ready
from cluster import NAMESPACE, NODES
from test_runtime_restore import LAYER, MEMORY, check_never_started_anew, count, counter, runtime

IMAGE = "transship.test/moving:1"


def tag(case, node, image):
    """IMAGE means another image on each node, as a tag does that was moved between two pulls."""
    case.cluster.sh(node, f"ctr --namespace k8s.io images tag --force {image} {IMAGE}")


def check_untouched(case, before, migration):
    assert "sourceStopRequestedTime" not in migration["status"], migration["status"]
    case.check_source_is_back(before, same_pod=True)


def test_another_image_under_the_same_tag_is_refused(case):
    runtime(case)
    source, target = NODES
    tag(case, source, w.DATABASES)
    tag(case, target, w.BUSYBOX)
    spec = {"target": {"nodeName": target}}
    before = case.start("app", [counter(image=IMAGE, imagePullPolicy="IfNotPresent")], nodeName=source)
    image, process = before["status"]["containerStatuses"][0]["imageID"], count(before)[0]
    for number, state in enumerate((MEMORY, LAYER)):
        case.migrate("app", name=f"differs-{number}", **state, **spec)
        migration = case.await_failure("ImageDiffers", name=f"differs-{number}")
        message = condition(migration, "Succeeded")["message"]
        assert image in message and source in message and target in message, message
        assert "the very same image" in message, message
        check_untouched(case, before, migration)
    # Volumes alone go along under any image.
    case.migrate("app", name="try", dryRun=True, **spec)
    case.await_success("try", reason="DryRun")
    # With the same image there it goes on.
    tag(case, target, w.DATABASES)
    migration = case.move("app", **MEMORY, **spec)
    checks = {item["check"]: item for item in migration["status"]["preflight"]}
    assert checks["Image/counter"]["result"] == "Passed" and image in checks["Image/counter"]["message"], checks
    assert count(case.pod("app"))[0] == process
    check_never_started_anew(case.pod("app"))


# Says that it is as it was, and cannot do anything.
BROKEN_CRIU = """case "$1" in --version|check) exec /usr/sbin/criu "$@";; esac; exit 1"""


def inspected(case, node):
    """What the installer's pod on a node has found of it; empty: nothing yet."""
    pod = case.cluster.runtime_pod(node) or {}
    for status in pod.get("status", {}).get("initContainerStatuses", []):
        for state in ("state", "lastState"):
            message = status.get(state, {}).get("terminated", {}).get("message", "")
            if message.startswith("{"):
                return json.loads(message)
    return {}


def look_again(case, node):
    """A new pod of the installer on a node."""
    old = case.cluster.runtime_pod(node)
    case.api.delete("Pod", NAMESPACE, old["metadata"]["name"])
    wait.until("another one looks", lambda: inspected(case, node) and
               case.cluster.runtime_pod(node)["metadata"]["uid"] != old["metadata"]["uid"])


def await_record(case, node, is_ready):
    """The status of the node's TransshipNode."""
    def there():
        record = case.api.get("TransshipNode", None, node)
        return record["status"] if record and record["status"]["ready"] == is_ready else None
    return wait.until(f"TransshipNode {node} says that it is {'' if is_ready else 'not '}ready", there)


def test_what_was_found_of_each_node_is_there_for_people(case):
    runtime(case)
    for node in NODES:
        record, found = await_record(case, node, True), inspected(case, node)
        assert record["selfTest"] == "Passed" and record["message"] == "", record
        for key, name in (("kernelVersion", "kernel"), ("criuVersion", "criu"), ("runcVersion", "runc"),
                          ("containerdVersion", "containerd"), ("cgroupVersion", "cgroups"), ("cpu", "cpu")):
            assert record[key] and record[key] == found[name], (key, record, found)
        assert record["cpuFeatures"] == found["cpuFeatures"].split(), record
        assert record["kernelVersion"] == case.cluster.sh(node, "uname -r").strip()
        # It goes with the node.
        owner = case.api.get("TransshipNode", None, node)["metadata"]["ownerReferences"][0]
        assert owner["uid"] == case.api.get("Node", None, node)["metadata"]["uid"]
    table = case.cluster.kubectl("get", "transshipnodes")
    assert table.split("\n")[0].split()[:4] == ["NAME", "READY", "SELF-TEST", "RUNTIME"], table
    # Whoever may use the namespace as he likes cannot write them.
    try:
        case.api.patch("TransshipNode", None, NODES[0], {"status": {"ready": False}}, user="somebody")
        raise AssertionError("anybody may write a TransshipNode")
    except ApiError as error:
        assert error.status == 403, error


def put_criu(case, node, script):
    """Goes before the node's own, which is /usr/sbin/criu."""
    case.cluster.sh(node, "cd /usr/local/sbin && { test -e criu.kept || mv criu criu.kept 2>/dev/null || true; } && "
                          f"printf '%s\\n' '#!/bin/sh' '{script}' >criu && chmod 755 criu")


def take_criu_back(case, node):
    case.cluster.sh(node, "cd /usr/local/sbin && rm criu && { mv criu.kept criu 2>/dev/null || true; }")


def test_a_node_that_cannot_dump_and_restore_gets_nothing_to_restore(case):
    runtime(case)
    before = case.start("app", [counter()])
    process = count(before)[0]
    target = case.cluster.other_node(before["spec"]["nodeName"])
    put_criu(case, target, BROKEN_CRIU)
    try:
        look_again(case, target)
        problem = inspected(case, target)["problem"]
        assert problem.startswith("self-test: the node cannot dump and restore a process"), problem
        assert not ready(case.cluster.runtime_pod(target))
        record = await_record(case, target, False)
        assert record["selfTest"] == "Failed" and problem in record["message"], record
        for name, spec in (("named", {"target": {"nodeName": target}}), ("free", {})):
            case.migrate("app", name=name, **MEMORY, **spec)
            migration = case.await_failure("PreflightFailed", name=name)
            message = condition(migration, "Succeeded")["message"]
            assert f"transship-runtime on node {target} is not ready" in message and "self-test" in message, message
            check_untouched(case, before, migration)
    finally:
        take_criu_back(case, target)
    look_again(case, target)
    case.cluster.await_runtime()
    assert inspected(case, target)["problem"] == ""
    await_record(case, target, True)
    case.move("app", **MEMORY)
    assert count(case.pod("app"))[0] == process


# Images of a newer CRIU are nothing for the older one on the other node.
NEWER_CRIU = """if [ "$1" = --version ]; then echo "Version: 9.0"; exit; fi
if [ -x /usr/local/sbin/criu.kept ]; then exec /usr/local/sbin/criu.kept "$@"; fi
exec /usr/sbin/criu "$@" """


def test_memory_does_not_go_to_a_node_with_an_older_criu(case):
    runtime(case)
    before = case.start("app", [counter()])
    source = before["spec"]["nodeName"]
    target = case.cluster.other_node(source)
    put_criu(case, source, NEWER_CRIU)
    try:
        look_again(case, source)
        case.cluster.await_runtime()
        assert inspected(case, source)["criu"] == "9.0"
        for name, spec in (("named", {"target": {"nodeName": target}}), ("free", {})):
            case.migrate("app", name=name, **MEMORY, **spec)
            migration = case.await_failure("PreflightFailed", name=name)
            message = condition(migration, "Succeeded")["message"]
            assert f"CRIU on node {source} is 9.0" in message, message
            check_untouched(case, before, migration)
        # A layer does not need it.
        case.migrate("app", name="layer", dryRun=True, **LAYER)
        case.await_success("layer", reason="DryRun")
    finally:
        take_criu_back(case, source)
        look_again(case, source)
    case.cluster.await_runtime()
