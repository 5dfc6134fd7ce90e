"""Tests of `export` and `import`: other programs read the stream, and a stream that is not right is refused."""

import os
import subprocess
import tarfile

import hostile
import judge


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def export(bench, without=()):
        source, archive = bench.tree("tmpfs", {"huge", *without}), bench.place("tmpfs")
        with open(archive, "xb") as file:
            result = subprocess.run([mover, "export", source], stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.PIPE, check=False)
        expect(result.returncode == 0, f"export: {result.stderr.decode()}")
        return source, archive

    def needs(program):
        try:
            must(program, "--version")
        except FileNotFoundError:
            raise bench_module.Skip(f"no {program}") from None

    def own_import(bench):
        source, archive = export(bench)
        target = bench.place("ext4")
        with open(archive, "rb") as file:
            result = command(mover, "import", target, stdin=file)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def gnu_tar(bench):
        source, archive = export(bench, {"sockets", "deep", "flags"})
        target = bench.place("tmpfs")
        os.mkdir(target)
        quiet = "--warning=no-unknown-keyword"
        listed = must("tar", quiet, "-tf", archive).splitlines()
        count = int(must("sh", "-c", 'find "$1" -printf "x\\n" | wc -l', "-", source))
        expect(len(listed) == count, f"GNU tar lists {len(listed)} names of {count}")
        must("tar", quiet, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C", target, "-xf", archive)
        unexpected(source, target, ())

    def bsdtar(bench):
        needs("bsdtar")
        # bsdtar counts the fraction of a time before 1970 backwards, and attributes are not its business.
        source, archive = export(bench, {"sockets", "deep", "xattrs", "odd-times", "flags"})
        target = bench.place("tmpfs")
        os.mkdir(target)
        must("bsdtar", "-tf", archive)
        must("bsdtar", "--numeric-owner", "-p", "-C", target, "-xf", archive)
        unexpected(source, target, ())

    def bsdtar_flags(bench):
        """It knows the record, and sets the flags when all is there."""
        needs("bsdtar")
        source, archive, target = (bench.place("tmpfs") for _ in range(3))
        os.makedirs(f"{source}/directory")
        for place in ("file", "directory/file"):
            hostile.write(f"{source}/{place}", b"content")
        hostile.change_flags(f"{source}/file", hostile.LOCKING | hostile.NODUMP)
        hostile.change_flags(f"{source}/directory/file", hostile.APPEND | hostile.NOATIME)
        hostile.change_flags(f"{source}/directory", hostile.IMMUTABLE)
        with open(archive, "xb") as file:
            subprocess.run([mover, "export", source], stdout=file, stderr=subprocess.DEVNULL, check=True)
        os.mkdir(target)
        must("bsdtar", "--numeric-owner", "-p", "-C", target, "-xf", archive)
        unexpected(source, target, ())

    def python_tarfile(bench):
        source, archive = export(bench, {"deep", "sockets", "linked-symlinks", "flags"})
        target = bench.place("tmpfs")
        os.mkdir(target)
        more = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        with tarfile.open(archive, errorlevel=2) as tar:
            names = tar.getnames()
            count = sum(len(directories) + len(files) for _, directories, files in os.walk(os.fsencode(source))) + 1
            expect(len(names) == count, f"tarfile lists {len(names)} names of {count}")
            tar.extractall(target, numeric_owner=True, **more)
        # It has no attributes, and times as floating point.
        unexpected(source, target, ("mtime", "xattr", "holes"))

    def unexpected(source, target, passed_over):
        found = [item for item in judge.differences(source, target) if not item[1].startswith(tuple(passed_over))]
        expect(not found, f"{len(found)} differences:\n{judge.describe(found, 20)}")

    def damaged(bench):
        """A byte of the stream, or its end, and import says so."""
        source = bench.place("tmpfs")
        os.mkdir(source)
        hostile.make_kinds(f"{source}/kinds", ())
        hostile.write(f"{source}/file", hostile.pattern(5000))
        archive = bench.place("tmpfs")
        with open(archive, "xb") as file:
            subprocess.run([mover, "export", source], stdout=file, stderr=subprocess.DEVNULL, check=True)
        with open(archive, "rb") as file:
            stream = file.read()
        damages = [stream[:cut] for cut in (0, 512, len(stream) // 2, len(stream) - 512, len(stream) - 1)]
        damages += [stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1:] for at in range(77, len(stream), 2711)]
        damages += [stream + b"x", stream + bytes(512)]
        for number, damage in enumerate(damages):
            target = bench.place("tmpfs")
            result = command(mover, "import", target, input=damage)
            expect(result.returncode != 0, f"damage {number} was taken: {result.text}")
            expect(result.text.startswith("transship-mover: "), f"damage {number}: {result.text}")

    return (("tar.import", own_import), ("tar.gnu-tar", gnu_tar), ("tar.bsdtar", bsdtar), ("tar.bsdtar-flags", bsdtar_flags),
            ("tar.python-tarfile", python_tarfile), ("tar.damaged", damaged))
