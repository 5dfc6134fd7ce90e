"""Tests of copies that go on while the tree changes: in rounds, and under a writer that does not stop."""

import os
import re
import shlex
import signal
import subprocess
import sys

import hostile
import mutate

ROUNDS = 4
HERE = os.path.dirname(os.path.abspath(__file__))
# Appends generation after generation to all files, always in one order. A tree that is of one moment thus
# has in each file what the one before it has, or one generation less.
WRITER = """
import os, sys
files = [os.open(os.path.join(sys.argv[1], name), os.O_WRONLY | os.O_APPEND)
         for name in sorted(os.listdir(sys.argv[1]))]
print("ready", flush=True)
while True:
    for fd in files:
        os.write(fd, b"generation\\n")
"""


def tests(mover, bench_module):
    expect, same, command = (getattr(bench_module, name) for name in ("expect", "same", "command"))
    seeds = range(bench_module.FIRST_SEED, bench_module.FIRST_SEED + bench_module.SEEDS)
    few_seeds = seeds[:max(1, len(seeds) // 3)]

    def in_rounds(source, target, between, rounds=ROUNDS, **environment):
        return command(mover, "copy", "--rounds", str(rounds), "--between", between, source, target,
                       env={**os.environ, **environment})

    def base(bench, kind, seed):
        source = bench.place(kind)
        mutate.make_base(source, seed)
        return source

    def mutation(tree, seed, count=mutate.COUNT):
        return shlex.join([sys.executable, "-B", f"{HERE}/mutate.py", tree, str(seed), str(count)])

    def between_rounds(bench, seed, source_kind, target_kind):
        source, target = base(bench, source_kind, seed), bench.place(target_kind)
        result = in_rounds(source, target, mutation(source, seed))
        expect(result.returncode == 0, f"seed {seed}: {result.text}")
        same(source, target, f"seed {seed}: {result.text}\n")

    def one_round(bench, seed, kind):
        source, target = base(bench, kind, seed), bench.place(kind)
        mutate.mutate(source, seed, 100)
        result = command(mover, "copy", source, target)
        expect(result.returncode == 0, f"seed {seed}: {result.text}")
        same(source, target, f"seed {seed}: ")

    def one_change(bench, name):
        source, target = base(bench, "tmpfs", 7), bench.place("tmpfs")
        result = in_rounds(source, target, mutation(source, name, 6), ONLY=name)
        expect(result.returncode == 0, result.text)
        same(source, target, f"{result.text}\n")

    def hostile_tree(bench):
        source, target = bench.tree("tmpfs", {"huge"}), bench.place("ext4")
        result = in_rounds(source, target, mutation(source, "hostile", 60))
        expect(result.returncode == 0, result.text)
        same(source, target, f"{result.text}\n")

    def count(bench):
        source, target, log = bench.place("tmpfs"), bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        result = in_rounds(source, target, f'echo "$ROUND" >>{log}; echo "$ROUND" >>{source}/file', 5)
        expect(result.returncode == 0, result.text)
        for at in (log, f"{target}/file"):
            with open(at, encoding="ascii") as file:
                expect(file.read().split() == ["1", "2", "3", "4"], f"{at} is not of four rounds")
        same(source, target)

    def one_of_one(bench):
        source, target, log = bench.tree("tmpfs", {"huge", "many", "deep"}), bench.place("tmpfs"), bench.place("tmpfs")
        result = in_rounds(source, target, f"echo >>{log}", 1)
        expect(result.returncode == 0, result.text)
        expect(not os.path.exists(log), "a command ran between one round")
        same(source, target)

    def nothing_changes(bench):
        source, target = bench.tree("ext4", {"huge", "many"}), bench.place("ext4")
        result = in_rounds(source, target, "true")
        expect(result.returncode == 0, result.text)
        same(source, target)

    def remove_all(source):
        return f"chattr -R -f -ia {source}; find {source} -mindepth 1 -delete"

    def everything_changes(bench):
        source, target = bench.tree("tmpfs", {"huge", "many"}), bench.place("tmpfs")
        without = sorted({"huge", "many", *bench_module.left_out("tmpfs")})
        make = [sys.executable, "-B", f"{HERE}/hostile.py", source]
        script = f"{remove_all(source)} && {shlex.join(make)} --without {' --without '.join(without)}"
        result = in_rounds(source, target, script, 3)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def all_goes(bench):
        source, target = bench.tree("tmpfs", {"huge", "many"}), bench.place("tmpfs")
        result = in_rounds(source, target, remove_all(source), 2)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def command_fails(bench):
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        result = in_rounds(source, target, "exit 7", 3)
        expect(result.returncode != 0 and result.text, f"status {result.returncode}: {result.text}")

    def space(bench):
        """The second round is what the target has no space for."""
        source, target = bench.place("tmpfs"), bench.own("ext4", "16M")
        os.mkdir(source)
        hostile.write(f"{source}/small", b"small")
        result = in_rounds(source, target, f"head -c 30000000 /dev/urandom >{source}/large", 2)
        expect(result.returncode != 0 and "No space left on device" in result.text, result.text)

    def inherits(bench, what):
        """What a directory of an earlier round gives to all that is made in it, two levels down."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.makedirs(f"{source}/giver")
        if what == "acl":
            os.setxattr(f"{source}/giver", "system.posix_acl_default", hostile.ACL)
        else:
            os.chown(f"{source}/giver", 0, 5)
            os.chmod(f"{source}/giver", 0o2755)
        script = (f"cd {source} && mkdir made && touch made/file && mkdir made/below && touch made/below/file && "
                  "mv made giver/made && touch giver/file && chown 0:0 giver/file")
        result = in_rounds(source, target, script, 2)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def no_longer_inherits(bench):
        """The target's directory still has the default ACL when the new file is made in it."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.makedirs(f"{source}/giver")
        os.setxattr(f"{source}/giver", "system.posix_acl_default", hostile.ACL)
        result = in_rounds(source, target, f"cd {source} && setfacl -b giver && touch giver/file", 2)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def written_files(bench, kind="tmpfs"):
        source = bench.place(kind)
        os.mkdir(source)
        for number in range(20):
            hostile.write(f"{source}/{number:02}", b"")
        return source

    def of_one_moment(target):
        sizes = [os.path.getsize(f"{target}/{name}") for name in sorted(os.listdir(target))]
        step = len("generation\n")
        expect(sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= step, f"not of one moment: {sizes}")

    def under_a_writer(bench, rounds):
        source, target = written_files(bench), bench.place("tmpfs")
        with subprocess.Popen([sys.executable, "-c", WRITER, source], stdout=subprocess.PIPE) as writer:
            try:
                writer.stdout.readline()
                result = command(mover, "copy", *(("--rounds", str(rounds), "--between", "true") if rounds > 1 else ()),
                                 source, target)
            finally:
                writer.kill()
        if result.returncode == 0:
            of_one_moment(target)
        else:
            expect(re.search(r'"\./\d\d"|"\."', result.text) and "chang" in result.text, f"no path in: {result.text}")

    def writer_until_the_last(bench):
        """What writes in all rounds but the last one costs nothing but time."""
        source, target = written_files(bench, "ext4"), bench.place("ext4")
        with subprocess.Popen([sys.executable, "-c", WRITER, source], stdout=subprocess.PIPE) as writer:
            try:
                writer.stdout.readline()
                # A stopped process writes no more; kill(1) returns once the signal is on its way, so it waits for that.
                stop = (f'if [ "$ROUND" = 3 ]; then kill -STOP {writer.pid}; '
                        f'until grep -q "^State:.T" /proc/{writer.pid}/status; do :; done; fi')
                result = in_rounds(source, target, stop)
                expect(result.returncode == 0, result.text)
                same(source, target)
            finally:
                writer.kill()

    def parallel_mutations(bench, seed):
        """Files and directories come and go while a round reads; only the last one has it quiet."""
        source, target = base(bench, "tmpfs", seed), bench.place("tmpfs")
        loop = ("import sys; sys.path.insert(0, sys.argv[2]); import mutate\n"
                "print('ready', flush=True)\nnumber = 0\n"
                "while number < 200: mutate.mutate(sys.argv[1], f'{sys.argv[3]} {number}', 20); number += 1")
        # It has children of its own, which have to stand still, too.
        with subprocess.Popen([sys.executable, "-B", "-c", loop, source, HERE, str(seed)],
                              stdout=subprocess.PIPE, start_new_session=True) as writer:
            try:
                writer.stdout.readline()
                stop = (f'if [ "$ROUND" = 3 ]; then kill -STOP -- -{writer.pid}; '
                        f'while ps -o stat= -s {writer.pid} | grep -q "^[^TZ]"; do :; done; fi')
                result = in_rounds(source, target, stop)
                expect(result.returncode == 0, f"seed {seed}: {result.text}")
                same(source, target, f"seed {seed}: ")
            finally:
                os.killpg(writer.pid, signal.SIGKILL)

    yield "writer.one-round", lambda bench: under_a_writer(bench, 1)
    yield "writer.last-round", lambda bench: under_a_writer(bench, 3)
    yield "writer.until-the-last-round", writer_until_the_last
    for seed in few_seeds:
        yield f"writer.changes-until-the-last-round-{seed}", lambda bench, seed=seed: parallel_mutations(bench, seed)
    for name, function in (("count", count), ("one-of-one", one_of_one), ("nothing-changes", nothing_changes),
                           ("everything-changes", everything_changes), ("all-goes", all_goes),
                           ("command-fails", command_fails), ("space", space), ("no-longer-inherited-acl", no_longer_inherits),
                            ("hostile-tree", hostile_tree)):
        yield f"rounds.{name}", function
    for what in ("acl", "group"):
        yield f"rounds.inherited-{what}", lambda bench, what=what: inherits(bench, what)
    for name in mutate.CHANGES:
        yield f"change.{name.replace('_', '-')}", lambda bench, name=name: one_change(bench, name)
    for kind in bench_module.KINDS:
        some = seeds if kind in ("tmpfs", "ext4") else few_seeds
        yield from ((f"random.{kind}-{seed}", lambda bench, seed=seed, kind=kind: between_rounds(bench, seed, kind, kind))
                    for seed in some)
        yield f"random.one-round-{kind}", lambda bench, kind=kind: one_round(bench, seeds[0], kind)
    for source, target in (("tmpfs", "btrfs"), ("btrfs", "ext4"), ("ext4", "tmpfs")):
        yield (f"random.{source}-to-{target}", lambda bench, source=source, target=target:
               between_rounds(bench, seeds[0], source, target))
