#!/usr/bin/env python3
"""Packs directories as an OCI image archive, the same bytes for the same content.

Usage: oci.py NAME OUT.tar LAYER_DIR... [--cmd WORD ...]

Each directory becomes one layer, the first at the bottom. The archive follows the OCI image layout
specification; the annotation io.containerd.image.name is what `ctr images import` names the image by.
"""

import argparse
import hashlib
import json
import os
import platform
import tarfile
from io import BytesIO

LAYOUT = "application/vnd.oci.image"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer_tar(root):
    """The directory as tar: sorted, without times, without names of this machine's users."""

    def normal(info):
        info.mtime = 0
        info.uname = info.gname = ""
        return info

    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(os.listdir(root)):  # tarfile sorts what is below by itself
            tar.add(os.path.join(root, entry), arcname=entry, filter=normal)
    return buffer.getvalue()


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def descriptor(kind, blob, **more):
    return {"mediaType": f"{LAYOUT}.{kind}", "digest": digest(blob), "size": len(blob), **more}


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def image(name, layers, cmd):
    """The files of an OCI image layout, by path."""
    config = encode(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": cmd, "Env": [f"PATH={PATH}"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    )
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": f"{LAYOUT}.manifest.v1+json",
            "config": descriptor("config.v1+json", config),
            "layers": [descriptor("layer.v1.tar", layer) for layer in layers],
        }
    )
    names = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = encode(
        {
            "schemaVersion": 2,
            "mediaType": f"{LAYOUT}.index.v1+json",
            "manifests": [descriptor("manifest.v1+json", manifest, annotations=names)],
        }
    )
    files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for blob in (manifest, config, *layers):
        files["blobs/sha256/" + hashlib.sha256(blob).hexdigest()] = blob
    return files


def write(path, files):
    scratch = f"{path}.new"  # so that a reader never sees half of one
    with tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            tar.addfile(info, BytesIO(content))
    os.replace(scratch, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="repository:tag")
    parser.add_argument("out", help="the archive to write")
    parser.add_argument("layers", nargs="+", metavar="layer_dir")
    parser.add_argument("--cmd", nargs="+", default=[], help="what runs by default")
    options = parser.parse_args()
    layers = [layer_tar(root) for root in options.layers]
    write(options.out, image(options.name, layers, options.cmd))


if __name__ == "__main__":
    main()
