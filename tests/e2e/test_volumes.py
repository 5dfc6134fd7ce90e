"""Kinds of volumes and of mounts, and what is told about their content."""

import wait
import workloads as w
from case import DIGEST
from cluster import ARCHIVE_CLAIM, NAMESPACE

FILL = r"""[ -e /data/born ] || { date >/data/born; mkdir -p /data/empty /data/deep/er; echo x >/data/deep/er/file
ln -s ../born /data/deep/link; ln /data/born /data/deep/hard; chmod 4750 /data/deep/er/file; chmod 1777 /data/empty; }"""


def test_digest_is_what_the_recipe_prints(case):
    before = case.start("app", [w.container("app", f"{FILL}; {w.IDLE}", mounts={"data": "/data", "tmp": "/tmp"})],
                        [w.claim_volume("data"), w.empty_dir("tmp")], claims=["data"])
    expected = {volume: case.digest(before, volume) for volume in ("data", "tmp")}
    migration = case.move("app")
    for volume, digest in expected.items():
        assert case.volume_status(migration, volume)["digest"] == digest, volume
        assert case.digest(case.pod("app"), volume) == digest, volume


def test_all_kinds_of_mounts_of_a_restricted_pod(case):
    mounts = [{"name": "data", "mountPath": "/data"},
              {"name": "data", "mountPath": "/sub", "subPath": "deep"},
              {"name": "data", "mountPath": "/read-only", "readOnly": True},
              {"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk"},
              {"name": "own", "mountPath": "/own"}]
    script = f"""umask 0; {FILL}; for d in memory disk own; do [ -e /$d/born ] || {{ mkdir -p /$d/empty; date >/$d/born; }}; done
    touch /tmp/filled; {w.IDLE}"""
    # The strictest of Kubernetes' rules for pods: what is added to the pod has to keep to them, too.
    case.api.patch("Namespace", None, case.namespace,
                   {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                  "seccompProfile": {"type": "RuntimeDefault"}}
    container = w.container("app", script, mounts=mounts, readinessProbe={"exec": {"command": ["test", "-e", "/tmp/filled"]}},
                            securityContext=restricted)
    init = w.container("init", "echo started >>/disk/inits", mounts={"disk": "/disk"}, securityContext=restricted)
    claim_template = {"spec": w.claim_spec()}
    before = case.start("app", [container],
                        [w.claim_volume("data"), w.empty_dir("memory", medium="Memory"), w.empty_dir("disk"),
                         {"name": "own", "ephemeral": {"volumeClaimTemplate": claim_template}}],
                        claims=["data"], initContainers=[init],
                        securityContext={"fsGroup": 2000, "runAsUser": 1000, "runAsGroup": 1000})
    look = "cd /; for d in data sub read-only memory disk own; do find $d ! -name inits | sort | xargs stat -c '%n %F %a %u:%g'; done; " \
           "md5sum data/born memory/born disk/born own/born"
    seen = case.shell("app", look, container="app")
    case.move("app")
    after = case.pod("app")
    assert case.shell("app", look, container="app") == seen
    assert case.shell("app", "cat /disk/inits", container="app").count("started") == 2
    assert case.shell("app", "touch /read-only/x 2>&1 || echo refused", container="app").strip().endswith("refused")
    for field in ("securityContext", "terminationGracePeriodSeconds", "serviceAccountName"):
        assert after["spec"].get(field) == before["spec"].get(field), field
    assert after["status"]["qosClass"] == before["status"]["qosClass"]


def test_left_out_volumes_start_empty(case):
    case.start("app", [w.container("app", f"[ -e /keep/born ] || date | tee /keep/born /cache/born; {w.IDLE}",
                                   mounts={"keep": "/keep", "cache": "/cache"})],
               [w.empty_dir("keep"), w.empty_dir("cache")])
    migration = case.move("app", state={"volumes": {"exclude": ["cache"]}})
    assert case.volume_status(migration, "cache")["plan"] == "Recreate"
    assert case.shell("app", "ls /keep; echo -; ls -A /cache", container="app").split() == ["born", "-"]


def test_only_the_volumes_that_are_included(case):
    case.start("app", [w.container("app", f"[ -e /data/born ] || date | tee /data/born /disk/born >/memory/born; {w.IDLE}",
                                   mounts={"data": "/data", "disk": "/disk", "memory": "/memory"})],
               [w.claim_volume("data"), w.empty_dir("disk"), w.empty_dir("memory", medium="Memory")], claims=["data"])
    born = case.shell("app", "cat /memory/born")
    case.shell("app", "touch /data/only-on-the-source /memory/kept")
    migration = case.move("app", state={"volumes": {"include": ["memory"]}})
    plans = {item["name"]: item["plan"] for item in migration["status"]["volumes"]}
    assert plans == {"data": "Blank", "disk": "Recreate", "memory": "Copy"}, plans
    # The claim began anew on the target, so the pod was born again there, and says so on all of its volumes.
    wait.until("it was born again", lambda: case.shell("app", "ls /data; echo -; ls /disk").split() == ["born", "-", "born"])
    assert case.shell("app", "cat /data/born /memory/born") != born * 2
    assert case.shell("app", "ls /memory").split() == ["born", "kept"]
    # What was left out stays where it was, for its owner to throw away.
    volume = case.volume_status(migration, "data")
    kept = case.api.get("PersistentVolume", None, volume["sourceVolumeName"])
    assert kept["spec"]["persistentVolumeReclaimPolicy"] == "Retain", kept["spec"]
    node = migration["status"]["source"]["nodeName"]
    assert "only-on-the-source" in case.cluster.sh(node, f"ls {volume['sourcePath']}")
    case.api.patch("PersistentVolume", None, volume["sourceVolumeName"],
                   {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})


def test_another_storage_class_and_data_kept_for_a_while(case):
    before = case.start("app", [w.container("app", f"{FILL}; {w.IDLE}", mounts={"data": "/data"})],
                        [w.claim_volume("data")], claims=["data"])
    digest = case.digest(before, "data")
    case.migrate("app", target={"storageClassName": "local-path-local"}, sourceRetentionSeconds=5)
    migration = case.await_success()
    case.check_moved(before, migration)
    volume = case.volume_status(migration, "data")
    claim = case.api.get("PersistentVolumeClaim", case.namespace, "data")
    assert claim["spec"]["storageClassName"] == "local-path-local", claim["spec"]
    assert "local" in case.api.get("PersistentVolume", None, claim["spec"]["volumeName"])["spec"]
    assert case.digest(case.pod("app"), "data") == digest == volume["digest"]
    node = migration["status"]["source"]["nodeName"]
    recipe = DIGEST.format(path=volume["sourcePath"])
    assert "sha256:" + case.cluster.sh(node, recipe).split()[0] == digest, "the source's data are not kept"


def test_through_an_archive(case):
    name = ARCHIVE_CLAIM
    case.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
                 "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "shared",
                          "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/mnt/shared"}}},
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": NAMESPACE, "name": name},
                 "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "shared", "volumeName": name,
                          "resources": {"requests": {"storage": "1Gi"}}}})
    try:
        before = case.start("app", [w.container("app", f"{FILL}; {w.IDLE}", mounts={"data": "/data"})],
                            [w.claim_volume("data")], claims=["data"])
        digest = case.digest(before, "data")
        migration = case.move("app", transfer={"mode": "Archive", "archive": {"claimName": name}})
        assert case.volume_status(migration, "data")["digest"] == digest
        directory = f"/mnt/shared/{case.namespace}.move.{migration['metadata']['uid']}"
        listed = case.cluster.sh("node-a", f"tar -tf {directory}/data.tar 2>&1")
        assert "./deep/er/file" in listed.split() and "./empty" in [name.rstrip("/") for name in listed.split()], listed
        case.cluster.sh("node-a", f"mkdir /tmp/untar && tar --warning=no-unknown-keyword -xpf {directory}/data.tar -C /tmp/untar")
        assert case.cluster.sh("node-a", "stat -c '%F %a' /tmp/untar/deep/er/file").strip() == "regular file 4750"
        case.cluster.sh("node-a", f"rm -rf /tmp/untar {directory}")
    finally:
        case.api.delete("PersistentVolumeClaim", NAMESPACE, name)
        case.api.delete("PersistentVolume", None, name)


def test_target_by_labels_or_by_name(case):
    before = case.start("app", [w.container("app", f"{FILL}; {w.IDLE}", mounts={"data": "/data"})],
                        [w.claim_volume("data")], claims=["data"])
    other = case.cluster.other_node(before["spec"]["nodeName"])
    migration = case.move("app", "chosen", target={"nodeSelector": {"kubernetes.io/hostname": other}})
    assert migration["status"]["target"]["nodeName"] == other
    case.migrate("app", "here", target={"nodeName": other})
    case.await_failure("PreflightFailed", name="here")
    migration = case.move("app", "named", target={"nodeName": before["spec"]["nodeName"]})
    assert migration["status"]["target"]["nodeName"] == before["spec"]["nodeName"]
    case.migrate("app", "nowhere", target={"nodeSelector": {"no-such": "label"}})
    case.await_failure("Unschedulable", name="nowhere")
    assert case.pod("app")["spec"]["nodeName"] == before["spec"]["nodeName"]
