"""Layers: what a container's root has when its first instruction runs, and that it is restored once and whole."""

import os
import pathlib
import threading

from checks import contains, equal, test
from node import until

IDLE = ("sleep", "1000000")


def staged_layer(node, name="layer"):
    """A layer as the mover stages it, with everything that a layer can have: its path in the node."""
    top = node.data / "staged" / name
    for directory in ("etc", "opaque", "new/deep"):
        (top / directory).mkdir(parents=True)
    (top / "etc/changed").write_text("of the layer", encoding="utf-8")
    os.mknod(top / "etc/gone", 0o020000, os.makedev(0, 0))
    os.setxattr(top / "opaque", "trusted.overlay.opaque", b"y")
    (top / "opaque/own").write_text("own", encoding="utf-8")
    (top / "new/deep/one").write_text("linked", encoding="utf-8")
    os.link(top / "new/deep/one", top / "new/two")
    os.setxattr(top / "new/two", "user.note", b"kept")
    os.mkfifo(top / "new/fifo")
    (top / "new/fifo").chmod(0o620)
    (top / "new/setuid").write_text("#!/bin/sh\n", encoding="utf-8")
    os.chown(top / "new/setuid", 12, 34)
    (top / "new/setuid").chmod(0o4711)
    os.chown(top / "new", 56, 78)
    (top / "new").chmod(0o1750)
    for path in ("new/deep/one", "new/deep", "new", "opaque", "etc"):
        os.utime(top / path, (1000000000, 1234567890))
    return f"/data/staged/{name}"


def described(top):
    """Everything that is to be said of a tree."""
    entries, numbers = {}, {}
    for path in sorted(pathlib.Path(top).rglob("*")):
        status = path.lstat()
        attributes = {} if path.is_symlink() else {
            name: os.getxattr(path, name) for name in os.listxattr(path)
            if name == "trusted.overlay.opaque" or not name.startswith("trusted.overlay.")}
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        # Links of one file have one number; whiteouts are each their own.
        number = numbers.setdefault(status.st_ino, len(numbers)) if path.is_file() else None
        entries[str(path.relative_to(top))] = (
            oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, content, attributes, number,
            status.st_mtime_ns if path.is_file() else None)
    return entries


def check_layer(container):
    """What the container sees."""
    rootfs = container.node.path(f"/proc/{container.pid()}/root")
    equal("a file that the layer changed", (rootfs / "etc/changed").read_text(), "of the layer")
    equal("a file that the layer removed", (rootfs / "etc/gone").exists(), False)
    equal("an opaque directory", os.listdir(rootfs / "opaque"), ["own"])
    one, two = (rootfs / "new/deep/one").stat(), (rootfs / "new/two").stat()
    equal("hard links", one.st_ino, two.st_ino)
    equal("an attribute", os.getxattr(rootfs / "new/two", "user.note"), b"kept")
    equal("a fifo", oct((rootfs / "new/fifo").stat().st_mode), oct(0o010620))
    program = (rootfs / "new/setuid").stat()
    equal("a setuid program", (oct(program.st_mode), program.st_uid, program.st_gid), (oct(0o104711), 12, 34))
    directory = (rootfs / "new").stat()
    equal("a directory", (oct(directory.st_mode), directory.st_uid, directory.st_gid), (oct(0o041750), 56, 78))
    for path in ("new/deep/one", "new/deep", "new", "opaque"):
        equal(f"the time of {path}", (rootfs / path).stat().st_mtime, 1234567890)


@test
def a_container_has_exactly_its_layer(node, new_pod):
    staged = staged_layer(node, "exact")
    before = described(node.path(staged))
    pod = new_pod()
    pod.write_claim({"c": (staged, "")})
    container = pod.container("c", *IDLE)
    (container.upper / "left-behind").write_text("of a try before", encoding="utf-8")
    container.expect("create")
    pod.expect("c", "Restored")
    container.expect("start")
    pod.expect("c", "Running")
    check_layer(container)
    equal("what an earlier try left", (container.upper / "left-behind").exists(), False)
    equal("the staged layer", described(node.path(staged)), before)


@test
def a_create_that_fails_is_tried_again_in_another_snapshot(node, new_pod):
    staged = staged_layer(node, "again")
    pod = new_pod()
    pod.write_claim({"c": (staged, "")})
    first = pod.container("c", *IDLE)
    first.config["process"]["cwd"] = "relative"  # which runc refuses
    first.write_config()
    equal("create", first.create(), 1)
    pod.expect("c", "Pending")
    contains("why", pod.message("c"), "runc create ended with status 1")
    contains("what runc said", first.said(), "Cwd")
    first.delete()
    for _ in range(2):  # the first of them is created, and never started
        container = pod.container("c", *IDLE)
        container.expect("create")
        pod.expect("c", "Restored")
    container.expect("start")
    check_layer(container)


@test
def a_root_of_many_layers_is_mounted_again(node, new_pod):
    """containerd names them relative to the snapshots' directory where they would not fit into a mount's options."""
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "many"), "")})
    container = pod.container("c", *IDLE)
    names = [f"layer-with-a-long-name-{number}" for number in range(100)]
    for name in names:
        node.must("mkdir", "-p", f"/data/snapshots/{name}/fs")
    lower = ":".join(f"{name}/fs" for name in names) + ":/data/lower"
    node.must("umount", f"{container.bundle}/rootfs")
    node.must("sh", "-c", 'cd /data/snapshots && exec busybox mount -t overlay overlay -o "$0" "$1"',
              f"lowerdir={lower},upperdir={container.snapshot}/fs,workdir={container.snapshot}/work",
              f"{container.bundle}/rootfs")
    container.expect("create")
    container.expect("start")
    check_layer(container)


@test
def a_pod_with_a_user_namespace_is_refused(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "users"), "")})
    container = pod.container("c", *IDLE)
    container.config["linux"]["namespaces"].append({"type": "user"})
    container.write_config()
    equal("create", container.create(), 1)
    contains("why", container.said(), "hostUsers: false")


@test
def a_layer_is_copied_where_it_cannot_be_linked(node, new_pod):
    staged = staged_layer(node, "far")
    node.must("mkdir", "-p", "/run/far")
    node.must("cp", "-a", staged, "/run/far/layer")
    pod = new_pod()
    pod.write_claim({"c": ("/run/far/layer", "")})
    container = pod.container("c", *IDLE)
    container.expect("create")
    container.expect("start")
    check_layer(container)
    equal("the layer", described(node.path(staged)), described(node.path("/run/far/layer")))


@test
def a_container_that_has_run_starts_afresh(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "once"), "")})
    container = pod.container("c", "sh", "-c", "exit 3")
    container.expect("create")
    container.expect("start")
    until("it ended", lambda: node.status(container.id) == "stopped")
    container.delete()
    again = pod.container("c", *IDLE)
    again.expect("create")
    again.expect("start")
    pod.expect("c", "Running")
    changed = node.path(f"/proc/{again.pid()}/root/etc/changed").read_text()
    equal("its root", changed, "of the image")


@test
def a_container_that_the_claim_does_not_name_is_plain(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "other"), "")})
    container = pod.container("sidecar", *IDLE)
    container.expect("create")
    container.expect("start")
    pod.expect("c", "Pending")
    equal("its root", (container.upper / "new").exists(), False)


@test
def init_containers_that_have_done_their_work_do_nothing(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "init"), "")}, skip=["prepare"])

    def prepare():
        container = pod.container("prepare", "sh", "-c", "echo wiped > /volume/data; exit 9")
        container.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        container.config["root"]["readonly"] = True
        container.write_config()
        container.expect("create")
        container.expect("start")
        until("it ended", lambda: node.status(container.id) == "stopped")
        return container

    equal("what it said", prepare().all_output(), "")
    equal("the volume", node.path(f"{pod.volume}/data").exists(), False)
    node.must("chmod", "777", pod.volume)
    container = pod.container("c", *IDLE)
    container.expect("create")
    container.expect("start")
    prepare()  # the pod is now as any other
    equal("the volume", node.path(f"{pod.volume}/data").read_text(), "wiped\n")


@test
def a_missing_layer_fails_and_nothing_starts(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": ("/data/staged/nowhere", "")})
    for state in ("Failed", "Failed"):
        container = pod.container("c", *IDLE)
        equal("create", container.create(), 1)
        pod.expect("c", state)
        contains("why", container.said(), "find the layer that was moved, /data/staged/nowhere")
        equal("runc's record", node.status(container.id), None)
    pod.set_state("c", "ColdStart")
    equal("create on no layer", pod.container("c", *IDLE).create(), 1)


@test
def a_root_that_is_no_overlay_fails(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "plain"), "")})
    container = pod.container("c", *IDLE)
    node.must("umount", f"{container.bundle}/rootfs")
    equal("create", container.create(), 1)
    contains("why", container.said(), "overlayfs snapshotter")
    pod.expect("c", "Failed")


@test
def a_sandbox_is_not_made_before_the_volumes_have_their_content(node, new_pod):
    pod = new_pod()
    mark = node.path(f"/run/transship/sandboxes/{pod.uid}")
    pod.write_claim({"c": (staged_layer(node, "awaits"), "")}, awaits_volumes=True)
    equal("a container of a sandbox from before", pod.container("c", *IDLE).create(), 1)
    pod.expect("c", "Pending")
    mark.unlink()
    again = pod.another_sandbox()
    codes = []
    creating = threading.Thread(target=lambda: codes.append(again.create()))
    creating.start()
    until("it says that it is there", mark.exists)
    # The mark is there before it waits, so it has not ended by accident.
    equal("its process", node.path(again.pid_file).exists(), False)
    (pod.claim / ".placed").touch()
    creating.join()
    equal("create", codes, [0])
    container = pod.container("c", *IDLE)
    container.expect("create")
    container.expect("start")
    check_layer(container)


@test
def a_claim_that_is_forged_or_damaged_starts_nothing(node, new_pod):
    staged = staged_layer(node, "forged")
    for layer, text in ((f"/data/../{staged}", None), ("data/staged", None), ("", "{"), ("", "")):
        pod = new_pod()
        pod.write_claim({"c": (layer, "")})
        if text is not None:
            (pod.claim / "claim.json").write_text(text, encoding="utf-8")
        container = pod.container("c", *IDLE)
        equal("create", container.create(), 1)
        contains("why", container.said(), "the claim of this pod cannot be read")
        equal("another container", pod.container("sidecar", *IDLE).create(), 1)
    pod = new_pod()
    pod.write_claim({"c": (staged, "")})
    (pod.claim / "c/state").unlink()
    equal("create", pod.container("c", *IDLE).create(), 1)


@test
def an_option_that_is_not_known_is_runcs_unless_there_is_a_claim(node, new_pod):
    pod = new_pod()
    container = pod.container("c", *IDLE)
    equal("create", container.call(*container.create_words("--of-runc-9", "value")).returncode, 1)
    equal("what runc said", container.said(), "flag provided but not defined: -of-runc-9")
    pod.write_claim({"c": (staged_layer(node, "option"), "")})
    equal("create", container.call(*container.create_words("--of-runc-9", "value")).returncode, 1)
    contains("what it said", container.said(), "transship: create has the option --of-runc-9")
    pod.expect("c", "Pending")


@test
def a_container_without_a_name_is_not_created_where_there_is_a_claim(node, new_pod):
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "name"), "")})
    container = pod.container("c", *IDLE)
    del container.config["annotations"]["io.kubernetes.cri.container-name"]
    container.write_config()
    equal("create", container.create(), 1)
    contains("why", container.said(), "does not say the name")


@test
def what_a_claim_says_besides_is_ignored(node, new_pod):
    """Mounts and devices come from the pod's own specification."""
    pod = new_pod()
    pod.write_claim({"c": (staged_layer(node, "besides"), "")})
    path = pod.claim / "claim.json"
    path.write_text(path.read_text().replace(
        '"skip"', '"mounts": [{"destination": "/host", "type": "bind", "source": "/"}], "skip"'), encoding="utf-8")
    container = pod.container("c", *IDLE)
    config = node.path(f"{container.bundle}/config.json").read_bytes()
    container.expect("create")
    container.expect("start")
    equal("its config.json", node.path(f"{container.bundle}/config.json").read_bytes(), config)
    equal("the host", node.path(f"/proc/{container.pid()}/root/host").exists(), False)
