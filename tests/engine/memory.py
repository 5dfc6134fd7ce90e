"""Tests of what both ends know of a tree: in memory up to a bound, in a file beyond it."""

import os
import re
import shlex
import sys

import hostile
import judge
import mutate

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRIES = 100_000  # some 15 MB at either end
MIB = 1 << 20
# What either end has beside that: code, connections, buffers.
BASE = 10 * MIB
# For --between, which the mover of both ends runs: what memory of their own they have, and which files without a name
# have something in them.
LOOK = r"""
import os, sys
mover = os.getppid()
while "transship-mover" not in open(f"/proc/{mover}/comm").read():
    mover = int(open(f"/proc/{mover}/stat").read().rsplit(")", 1)[1].split()[1])
children = " ".join(open(f"/proc/{mover}/task/{task}/children").read() for task in os.listdir(f"/proc/{mover}/task"))
for pid in map(int, children.split()):
    if b"\0copier\0" not in open(f"/proc/{pid}/cmdline", "rb").read():
        continue
    anonymous = next(line for line in open(f"/proc/{pid}/status") if line.startswith("RssAnon:")).split()[1]
    held = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    spilled = len({os.stat(path).st_ino for path in held if os.path.lexists(path)
                   and sys.argv[1] in os.readlink(path) and os.stat(path).st_blocks > 0})
    print("look", int(anonymous) * 1024, spilled, len(os.listdir(sys.argv[1])))
"""


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def many(bench):
        source = bench.own("tmpfs", "200M", "nr_inodes=300000")
        for part in range(ENTRIES // 1000):
            os.mkdir(f"{source}/{part}")
            for number in range(1000):
                hostile.write(f"{source}/{part}/empty {number}")
        return source

    def looked_at(bench, source, target, *options):
        """Of both ends, between two rounds: bytes of memory of their own, and how many files without a name."""
        spill = bench.place("tmpfs")
        os.mkdir(spill)
        look = shlex.join([sys.executable, "-B", "-c", LOOK, spill])
        text = must(mover, "copy", "--spill-directory", spill, *options, "--rounds", "2", "--between", look, source,
                    target)
        found = [tuple(map(int, numbers)) for numbers in re.findall(r"^look (\d+) (\d+) (\d+)$", text, re.M)]
        expect(len(found) == 2, text)
        expect(all(names == 0 for *_, names in found) and not os.listdir(spill), f"files with names in {spill}: {text}")
        return found

    def spilled(bench):
        source = many(bench)
        target = bench.own("tmpfs", "200M", "nr_inodes=300000")
        for memory, files, _ in looked_at(bench, source, f"{target}/spilled", "--inventory-memory", "1MiB"):
            expect(memory < BASE and files == 1, f"{memory} bytes of memory, {files} files")
        same(source, f"{target}/spilled")
        must("rm", "-rf", f"{target}/spilled")
        # And without a reason nothing is.
        for memory, files, _ in looked_at(bench, source, f"{target}/kept"):
            expect(memory > BASE and files == 0, f"{memory} bytes of memory, {files} files")

    def in_rounds(bench, seed):
        """The same rounds with nothing kept in memory."""
        source, target, spill = bench.place("ext4"), bench.place("tmpfs"), bench.place("xfs")
        os.mkdir(spill)
        mutate.make_base(source, seed)
        between = shlex.join([sys.executable, "-B", f"{HERE}/mutate.py", source, str(seed)])
        result = command(mover, "copy", "--inventory-memory", "0", "--spill-directory", spill, "--rounds", "4",
                         "--between", between, source, target)
        expect(result.returncode == 0, f"seed {seed}: {result.text}")
        same(source, target, f"seed {seed}: ")
        expect(not os.listdir(spill), f"left behind: {os.listdir(spill)}")

    def everything(bench):
        source, target, spill = bench.tree("tmpfs", {"huge"}), bench.place("ext4"), bench.place("btrfs")
        os.mkdir(spill)
        must(mover, "copy", "--inventory-memory", "0", "--spill-directory", spill, source, target)
        same(source, target)

    def full(bench):
        source = many(bench)
        before = judge.Tree(source)
        spill = bench.own("tmpfs", "8M")
        result = command(mover, "copy", "--inventory-memory", "0", "--spill-directory", spill, source,
                         bench.own("tmpfs", "200M", "nr_inodes=300000"))
        expect(result.returncode == 1 and "No space left on device" in result.text and spill in result.text
               and "allow more memory" in result.text, f"status {result.returncode}: {result.text}")
        found = judge.compare(before, judge.Tree(source))
        expect(not found, f"the source is another:\n{judge.describe(found)}")
        expect(not os.listdir(spill), f"left behind: {os.listdir(spill)}")

    yield "memory.spilled", spilled
    yield "memory.spilled-everything", everything
    for seed in range(bench_module.FIRST_SEED, bench_module.FIRST_SEED + max(1, bench_module.SEEDS // 3)):
        yield f"memory.spilled-rounds-{seed}", lambda bench, seed=seed: in_rounds(bench, seed)
    yield "memory.full-spill-directory", full
