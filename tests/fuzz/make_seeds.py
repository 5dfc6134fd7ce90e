#!/usr/bin/env python3
"""Writes the fuzzers' seeds: tests/fuzz/corpus/frames by hand, corpus/tar by `transship-mover export`.

usage: tests/fuzz/make_seeds.py MOVER

Run as root (owners, devices). The seeds are committed: run it again only when the formats change.
"""

import hashlib
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

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
    for kind, seeds in (("frames", frames()), ("tar", tars(sys.argv[1]))):
        (CORPUS / kind).mkdir(parents=True, exist_ok=True)
        for name, content in seeds:
            (CORPUS / kind / name).write_bytes(content)


if __name__ == "__main__":
    main()
