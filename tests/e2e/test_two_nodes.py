"""What is looked at on both nodes before a pod is touched whose containers are to be restored."""

import workloads as w
from case import condition
from cluster import NODES
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
