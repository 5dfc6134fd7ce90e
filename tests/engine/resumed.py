"""Tests of copies that go on where an earlier one was killed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import hostile
import mutate

HERE = os.path.dirname(os.path.abspath(__file__))
SLOWLY = 8 << 20  # bytes a second


def tests(mover, bench_module):
    expect, same, command = (getattr(bench_module, name) for name in ("expect", "same", "command"))
    seeds = range(bench_module.FIRST_SEED, bench_module.FIRST_SEED + max(1, bench_module.SEEDS // 3))

    def sent(text):
        """Bytes over the wire, as the report has them."""
        found = re.search(r"^round 0: \d+ entries, (\d+) bytes sent", text, re.MULTILINE)
        expect(found, f"no bytes in: {text}")
        return int(found.group(1))

    def resume(source, target, context=""):
        result = command(mover, "copy", "--resume", source, target)
        expect(result.returncode == 0, f"{context}{result.text}")
        same(source, target, f"{context}{result.text}\n")
        return sent(result.text)

    def killed(source, target, least):
        """A copy that is killed once the target has so many bytes."""
        with subprocess.Popen([mover, "copy", "--bandwidth", str(SLOWLY), source, target],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as copying:
            while copying.poll() is None and (not os.path.isdir(target) or held(target) < least):
                pass
            copying.kill()
        expect(copying.returncode == -signal.SIGKILL, "the copy was done before it was killed")
        # Its receiver dies with it, and is gone when nobody has the target open any more.
        while command("fuser", "--silent", target).returncode == 0:
            pass

    def held(top):
        total = 0
        for at, _, names in os.walk(top):
            for name in names:
                try:
                    total += os.lstat(f"{at}/{name}").st_blocks * 512
                except FileNotFoundError:
                    pass  # removed meanwhile
        return total

    def random_files(source, count, size):
        os.makedirs(f"{source}/many")
        for number in range(count):
            with open(f"{source}/many/{number}", "xb") as file:
                file.write(os.urandom(size))

    def only_the_rest(bench, source_kind, target_kind):
        source, target = bench.place(source_kind), bench.place(target_kind)
        random_files(source, 240, 50_000)
        killed(source, target, 6_000_000)
        had = held(target)
        rest = resume(source, target)
        expect(rest < 12_000_000 - had // 2, f"{rest} bytes sent for the rest of 12000000, of which {had} were there")
        again = resume(source, target)
        expect(again < 100_000, f"{again} bytes sent for nothing")

    def large_file(bench, kind):
        """Its blocks that are there are not sent again."""
        source, target = bench.place(kind), bench.place(kind)
        os.mkdir(source)
        hostile.write(f"{source}/large", os.urandom(24 << 20))
        killed(source, target, 12 << 20)
        rest = resume(source, target)
        expect(rest < 16 << 20, f"{rest} bytes sent for the rest of {24 << 20}")

    def changed_meanwhile(bench, seed, source_kind, target_kind):
        source, target = bench.place(source_kind), bench.place(target_kind)
        mutate.make_base(source, seed)
        random_files(f"{source}/bulk", 60, 100_000)
        killed(source, target, 2_000_000)
        mutate.mutate(source, seed, mutate.COUNT)
        resume(source, target, f"seed {seed}: ")

    def both_changed(bench, seed, kind):
        """Somebody else has been at the copy, too."""
        source, target = bench.place(kind), bench.place(kind)
        mutate.make_base(source, seed)
        result = command(mover, "copy", source, target)
        expect(result.returncode == 0, result.text)
        mutate.mutate(source, seed, mutate.COUNT)
        mutate.mutate(target, seed + 1000, mutate.COUNT)
        resume(source, target, f"seed {seed}: ")

    def over_another(bench, source_kind, target_kind):
        """A hostile tree over what a mutation made of it, and over something else altogether."""
        without = {"huge", "many", *bench_module.left_out(source_kind, target_kind)}
        source, target = bench.tree(source_kind, without), bench.tree(target_kind, without)
        mutate.mutate(target, "hostile", 60)
        resume(source, target)
        shutil.rmtree(f"{target}/{sorted(os.listdir(target))[0]}", ignore_errors=True)
        other = bench.place(source_kind)
        mutate.make_base(other, 3)
        resume(other, target)

    def not_without(bench):
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        random_files(source, 3, 10)
        random_files(target, 3, 10)
        result = command(mover, "copy", source, target)
        expect(result.returncode != 0 and "not empty" in result.text, result.text)

    def whole_file_system(bench):
        """With the lost+found that each of two has."""
        source, target = bench.own("ext4", "64M"), bench.own("ext4", "64M")
        random_files(source, 10, 1000)
        os.makedirs(f"{target}/lost+found/#12")
        resume(source, target)

    def names_elsewhere(bench):
        """What has a name outside of the copy, too, is not written to."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        random_files(source, 3, 1000)
        result = command("cp", "-a", source, target)
        outside = bench.place("tmpfs")
        os.link(f"{target}/many/1", outside)
        with open(f"{source}/many/1", "wb") as file:
            file.write(b"changed")
        with open(outside, "rb") as file:
            before = file.read()
        expect(result.returncode == 0, result.text)
        resume(source, target)
        with open(outside, "rb") as file:
            expect(file.read() == before, "a file outside of the copy was written to")

    def rounds_after(bench):
        """The first of several rounds may go on, too; what changes between them is found."""
        source, target = bench.place("ext4"), bench.place("ext4")
        mutate.make_base(source, 5)
        random_files(f"{source}/bulk", 60, 100_000)
        killed(source, target, 2_000_000)
        change = shlex.join([sys.executable, "-B", f"{HERE}/mutate.py", source, "5", str(mutate.COUNT)])
        result = command(mover, "copy", "--resume", "--rounds", "3", "--between", change, source, target)
        expect(result.returncode == 0, result.text)
        same(source, target, f"{result.text}\n")

    for source, target in (("tmpfs", "tmpfs"), ("ext4", "ext4"), ("tmpfs", "xfs"), ("btrfs", "btrfs")):
        yield f"resume.only-the-rest-{source}-to-{target}", \
            lambda bench, source=source, target=target: only_the_rest(bench, source, target)
        yield f"resume.over-another-{source}-to-{target}", \
            lambda bench, source=source, target=target: over_another(bench, source, target)
    for kind in ("tmpfs", "ext4"):
        yield f"resume.large-file-{kind}", lambda bench, kind=kind: large_file(bench, kind)
    for seed in seeds:
        yield f"resume.changed-meanwhile-{seed}", \
            lambda bench, seed=seed: changed_meanwhile(bench, seed, "ext4", "ext4")
        for kind in bench_module.KINDS:
            yield f"resume.both-changed-{kind}-{seed}", \
                lambda bench, seed=seed, kind=kind: both_changed(bench, seed, kind)
    for name, function in (("not-without", not_without), ("whole-file-system", whole_file_system),
                           ("names-elsewhere", names_elsewhere), ("rounds-after", rounds_after)):
        yield f"resume.{name}", function
