#!/usr/bin/env python3
"""Writes the fuzzers' seeds: tests/fuzz/corpus/tar by `transship-mover export`, corpus/migration from docs/examples, all
others by hand.

usage: tests/fuzz/make_seeds.py MOVER

Run as root (owners, devices). The seeds are committed: run it again only when the formats change.
"""

import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import yaml

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def text(value):
    return number(len(value)) + value


def metadata(mode, xattrs=(), tail=b""):
    return (number(mode) + number(5) + number(6) + number(2000000000) + number(7) + number(len(xattrs))
            + b"".join(text(name) + text(value) for name, value in xattrs) + tail)


def frame(kind, *operations):
    payload = b"".join(operations)
    return kind + struct.pack(">H", len(payload)) + payload


def place(operation, node, directory, name):
    return operation + number(node) + number(directory) + text(name)


def file(operation, node, directory, name, content, xattrs=()):
    return (place(operation, node, directory, name) + metadata(0o100644, xattrs)
            + hashlib.sha256(content).digest() + text(content))


def frames():
    directories = frame(b"D", place(b"d", 2, 0, b"d"), place(b"d", 3, 2, b"e"), place(b"d", 9, 0, b"g"))
    files = frame(b"B", file(b"f", 4, 3, b"f", b"content"), file(b"f", 5, 0, b"x", b"", [(b"user.a", b"1")]),
                  place(b"n", 6, 0, b"link") + metadata(0o120777, (), text(b"../outside/file")),
                  place(b"n", 7, 2, b"null") + metadata(0o020600, (), number(1) + number(3)),
                  place(b"n", 10, 2, b"fifo") + metadata(0o010600))
    content = b"0123456789"
    large = frame(b"B", place(b"b", 8, 0, b"large") + number(1) + number(100), b"w" + number(8) + number(50) + text(content),
                  b"h" + number(8) + number(0) + number(20),
                  b"e" + number(8) + metadata(0o100600) + number(60) + hashlib.sha256(bytes(50) + content).digest())
    settled = frame(b"B", b"p" + number(3) + metadata(0o042755, [(b"user.d", b"2")]), b"p" + number(0) + metadata(0o040755))
    names = frame(b"S", place(b"o", 2, 0, b"d"), place(b"a", 2, 9, b"moved"), place(b"l", 4, 0, b"hard") + number(3) + text(b"f"),
                  place(b"u", 6, 0, b"link"), place(b"u", 10, 2, b"fifo"))
    later = frame(b"B", file(b"c", 4, 3, b"f", b"another"), place(b"m", 5, 0, b"x") + metadata(0o100600))
    end = frame(b"Z")
    whole = directories + files + large + settled
    yield "directories", directories
    yield "files", directories + files
    yield "large", large
    yield "round", whole
    yield "rounds", whole + end + names + later + end + frame(b"S", place(b"u", 5, 0, b"x"))
    yield "through-a-link", files + frame(b"D", place(b"d", 20, 6, b"d")) + frame(b"B", file(b"f", 21, 6, b"f", b"x"))


def fields(*values):
    return b"".join(struct.pack(">I", len(value)) + value for value in values)


def sessions():
    def header(*values):
        return frame(b"H", fields(*values))
    volumes = (b"a", b"plain", b"100", b"3", b"b", b"plain", b"0", b"1")
    whole = header(b"7", b"uid", b"1", bytes(range(16)), *volumes)
    root = b"p" + number(0) + metadata(0o040755)
    tree = (place(b"d", 2, 0, b"d") + metadata(0o040755), held_file(3, 2, b"f", b"content"),
            place(b"n", 4, 0, b"link") + metadata(0o120777, (), text(b"f")),
            place(b"l", 3, 0, b"hard"))
    large = (held_file(2, 0, b"large", bytes(8192), 4096), b"x" + number(2) + number(0) + number(8192),
             b"k" + number(2) + text(bytes(range(32))))
    yield "header", whole
    yield "another-order", header(b"7", b"uid", b"1", bytes(16), *volumes[4:], *volumes[:4])
    yield "another-kind", header(b"7", b"uid", b"1", bytes(16), b"a", b"overlay", *volumes[2:])
    yield "another-epoch", header(b"7", b"uid", b"2", bytes(16), *volumes)
    yield "held", whole + frame(b"O", root, *tree) + frame(b"E")
    yield "held-in-parts", b"".join(frame(b"O", part) for part in (root, *tree)) + frame(b"E")
    yield "held-blocks", frame(b"O", root, *large) + frame(b"E")
    yield "held-nothing", frame(b"E") + frame(b"O", root) + frame(b"E")


def held_file(node, directory, name, content, block=0):
    return (place(b"f", node, directory, name) + metadata(0o100644) + number(len(content))
            + hashlib.sha256(content).digest() + number(block))


def protocols():
    volume = {"name": "data", "emptyDir": False, "memory": False, "nodePath": "/srv/data"}
    request = {"migrationUid": "uid", "epoch": 1, "podUid": "pod", "volumes": [volume], "peerHost": "10.0.0.1",
               "bandwidthBytesPerSecond": 5, "compression": "Zstd", "deadlineSeconds": 9, "pass": 1, "maxRounds": 3}
    report = {"name": "data", "bytes": 5, "entries": 2, "bytesDone": 5, "entriesDone": 2, "digest": "sha256:0"}
    task = {"phase": "Failed", "errorCode": "NoSpace", "message": "full", "startedUnixMs": 1, "finishedUnixMs": 2,
            "volumes": [report], "rounds": [{"bytes": 1, "entries": 1, "milliseconds": 3}]}
    state = {"migrationUid": "uid", "role": "sender", "epoch": 1, "nodeName": "node-a", "bootId": "boot", "version": "0",
             "sourceProcesses": "Running", "tasks": {"inspect": task}}
    for name, letter, body in (("request", b"R", request), ("task", b"T", task), ("state", b"M", state), ("empty", b"R", {})):
        yield name, letter + json.dumps(body).encode()
    yield "kind", b"Kprecopy"
    yield "deep", b"R" + b"[" * 200


def migrations():
    with open(CORPUS.parents[2] / "docs/examples/migration.yaml", encoding="utf-8") as file:
        example = yaml.safe_load(file)
    example["metadata"] |= {"uid": "uid", "resourceVersion": "1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    yield "example", json.dumps(example).encode()
    everything = dict(example, spec=dict(example["spec"], mode="Archive", suspend=True, backoffLimit=2, ttlSecondsAfterFinished=5,
                                         strategy={"type": "PreCopy", "maxRounds": 3, "maxDowntimeSeconds": 9},
                                         volumes={"include": ["a"], "exclude": ["b"]}, dryRun=True, cancel=True))
    yield "spec", json.dumps(everything).encode()
    status = {"phase": "Succeeded", "epoch": 2, "conditions": [{"type": "Validated", "status": "True", "reason": "Checked",
              "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}], "volumes": [{"name": "a"}],
              "progress": {"percent": 3}, "rounds": [{"bytes": 1}], "source": {"nodeName": "a"}, "target": {"nodeName": "b"}}
    yield "status", json.dumps(dict(example, status=status)).encode()
    yield "wrong-types", json.dumps(dict(example, spec=[], status="x")).encode()


def tars(mover):
    trees = {
        "plain": "mkdir d; echo content >d/f; ln -s ../../outside/file link; mkfifo fifo",
        "linked": "echo x >a; ln a b; setfattr -n user.a -v 1 a; mknod null c 1 3",
        "sparse": "truncate -s 100000 holes; printf x | dd of=holes bs=1 seek=50000 conv=notrunc status=none; echo >z",
        "long": "mkdir -p $(printf 'n%.0s' $(seq 200)); touch $(printf 'n%.0s' $(seq 200))/f; touch -d @-5 old; chown 3000000 old",
    }
    for name, script in trees.items():
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["bash", "-c", script], cwd=directory, check=True)
            subprocess.run(["find", directory, "-exec", "touch", "-h", "-d", "2001-01-01", "{}", "+"], check=True)
            yield name, subprocess.run([mover, "export", directory], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       check=True).stdout


def main():
    if len(sys.argv) != 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.strip())
    for kind, seeds in (("frames", frames()), ("tar", tars(sys.argv[1])), ("session", sessions()),
                        ("protocol", protocols()), ("migration", migrations())):
        (CORPUS / kind).mkdir(parents=True, exist_ok=True)
        for name, content in seeds:
            (CORPUS / kind / name).write_bytes(content)


if __name__ == "__main__":
    main()
