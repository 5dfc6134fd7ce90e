"""Tests of faults on the way and on the disks (docs/faults.md): full, broken and hung storage, a crash, a bad network,
attributes and devices that are a matter of policy, bombs."""

import os
import re
import shlex
import signal
import subprocess

import hostile
import judge


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def copy(source, target, *options, **more):
        return command(mover, "copy", *options, source, target, **more)

    def exported(bench, source):
        archive = bench.place("tmpfs")
        with open(archive, "xb") as file:
            result = subprocess.run([mover, "export", source], stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.PIPE, check=False)
        expect(result.returncode == 0, f"export: {result.stderr.decode()}")
        return archive

    def imported(archive, target):
        with open(archive, "rb") as file:
            return command(mover, "import", target, stdin=file)

    def arrives(bench, form, source, target):
        """The copy in one of the two forms; what the mover said."""
        return copy(source, target) if form == "rounds" else imported(exported(bench, source), target)

    def fails(result, *parts):
        expect(result.returncode != 0, f"taken for whole: {result.text}")
        for part in parts:
            expect(part in result.text, f"no {part} in: {result.text}")

    def unharmed(source, before):
        found = judge.compare(before, judge.Tree(source))
        expect(not found, f"the source is another:\n{judge.describe(found)}")

    class Image:
        """An ext4 file system in a file that stays at hand."""

        def __init__(self, bench, size, *options):
            self.file, self.at = bench.place("tmpfs"), bench.place("tmpfs")
            with open(self.file, "xb") as file:
                file.truncate(size << 20)
            must("mkfs.ext4", "-q", "-b", "4096", *options, self.file)
            os.mkdir(self.at)
            self.mount()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            command("umount", "--lazy", self.at)

        def mount(self, *options):
            must("mount", "-o", ",".join(("loop", *options)), self.file, self.at)

    def full(bench, form, what):
        source = bench.place("tmpfs")
        os.mkdir(source)
        if what == "space":
            hostile.write(f"{source}/large", hostile.pattern(20 << 20))
            options = ()
        else:
            hostile.make_many(f"{source}/many", 500)
            options = ("-N", "64")
        before = judge.Tree(source)
        with Image(bench, 16, *options) as target:
            result = arrives(bench, form, source, target.at)
            fails(result, "No space left on device", "./large" if what == "space" else "./many/")
        unharmed(source, before)

    def read_error(bench, form):
        """The file's last blocks are not in the image any more."""
        with Image(bench, 64, "-O", "^has_journal") as source:
            hostile.write(f"{source.at}/whole", b"whole")
            hostile.write(f"{source.at}/broken", hostile.pattern(30 << 20))
            must("sync", "--file-system", source.at)
            extents = must("filefrag", "-e", "-b4096", f"{source.at}/broken").splitlines()
            last = max(int(line.split(":")[2].split("..")[1]) for line in extents if ".." in line)
            os.truncate(source.file, (last - 100) * 4096)
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("1\n")
            target = bench.place("tmpfs")
            if form == "rounds":
                fails(copy(source.at, target), "./broken", "Input/output error")
                return
            with open(bench.place("tmpfs"), "xb") as archive:
                result = subprocess.run([mover, "export", source.at], stdin=subprocess.DEVNULL, stdout=archive,
                                        stderr=subprocess.PIPE, check=False)
            result.text = result.stderr.decode()
            fails(result, "./broken", "Input/output error")
            fails(imported(archive.name, target), "cut off")

    def crash(bench, form):
        """The device as it is when the mover says that all is there, with nothing more ever written to it."""
        source = bench.tree("ext4", {"huge", "deep"})
        with Image(bench, 128) as target:
            must("mkdir", f"{target.at}/copy")
            must("sync", "--file-system", target.at)
            result = arrives(bench, form, source, f"{target.at}/copy")
            # A copy of the device takes no part of what is still in memory.
            must("cp", "--sparse=always", target.file, f"{target.file}.crashed")
            expect(result.returncode == 0, result.text)
        os.rename(f"{target.file}.crashed", target.file)
        target.mount()
        with target:
            same(source, f"{target.at}/copy")

    NETWORK = """
set -e
ip link set lo up mtu 1500
tc qdisc add dev lo root tbf rate {rate} burst 16kb latency 400ms
{more}
exec {copy}
"""

    def network(bench, rate, loss):
        """In a network of its own, of which only lo is there."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        hostile.make_kinds(f"{source}/kinds", ())
        hostile.make_many(f"{source}/many", 100)
        hostile.write(f"{source}/file", os.urandom(60000))
        before = judge.Tree(source)
        drop = (f"iptables -w -A INPUT -i lo -m statistic --mode random --probability {loss} -j DROP" if loss else "")
        script = NETWORK.format(rate=rate, more=drop, copy=shlex.join([mover, "copy", source, target]))
        result = command("unshare", "--net", "sh", "-c", script)
        if result.returncode == 0 or not loss:
            expect(result.returncode == 0, result.text)
            print("     it arrived")
        else:  # the handshake has its deadline
            print(f"     it failed: {result.text.splitlines()[-1]}")
            fails(result, "transship-mover: ")
            expect(any(word in result.text for word in ("connect", "handshake", "timed out")), result.text)
            # What is there is no hindrance: a better network brings the rest.
            must(mover, "copy", "--resume", source, target)
        same(source, target)
        unharmed(source, before)

    def policy(bench, form):
        """What is the node's own is not carried; what is the file's own is."""
        source, target = bench.place("ext4"), bench.place("ext4")
        os.mkdir(source)
        for name in ("opaque", "redirect", "origin"):
            hostile.write(f"{source}/{name}")
            os.setxattr(f"{source}/{name}", f"trusted.overlay.{name}", b"y")
        hostile.write(f"{source}/privileged", b"#!")
        os.chown(f"{source}/privileged", 1000, 1000)
        os.chmod(f"{source}/privileged", 0o6755)
        os.setxattr(f"{source}/privileged", "security.capability", hostile.CAPABILITY)
        os.mknod(f"{source}/whiteout", 0o020000, 0)
        result = arrives(bench, form, source, target)
        expect(result.returncode == 0, result.text)
        same(source, target)
        for name in ("opaque", "redirect", "origin"):
            expect(not os.listxattr(f"{target}/{name}"), f"{name} has {os.listxattr(f'{target}/{name}')}")
        expect(os.stat(f"{target}/privileged").st_mode & 0o7777 == 0o6755, "no setuid")
        expect(os.getxattr(f"{target}/privileged", "security.capability") == hostile.CAPABILITY, "no capability")

    def hung(bench):
        """A disk that does not answer: the deadline is told, nobody waits for ever, and nothing is left afterwards."""
        source = bench.place("tmpfs")
        os.mkdir(source)
        hostile.make_many(f"{source}/many", 100)
        before = judge.Tree(source)
        mark = f"TRANSSHIP_TEST_OF={os.getpid()}-{source}"
        with Image(bench, 64) as target:
            at = f"{target.at}/copy"
            os.mkdir(at)
            must("fsfreeze", "--freeze", target.at)
            try:
                result = command("env", mark, mover, "copy", "--deadline", "3", source, at, timeout=120)
            finally:
                must("fsfreeze", "--unfreeze", target.at)
            fails(result, "deadline")
            while running(mark):  # what hung ends as soon as the disk lets it
                pass
            expect(not os.path.exists(f"{at}/many/99"), "it went on after it was given up")
        unharmed(source, before)

    def running(mark):
        """Whether there is a process with that in its environment."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark.encode() in file.read().split(b"\0"):
                        return True
            except OSError:
                pass  # it has ended
        return False

    def killed(bench):
        """A copy that is killed, with both of its ends at rest between two rounds, leaves no keys and no process."""
        source, target, temporary, said = bench.place("tmpfs"), bench.place("tmpfs"), bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        os.mkdir(temporary)
        hostile.make_many(f"{source}/many", 100)
        mark = f"TRANSSHIP_TEST_OF={os.getpid()}-{source}"
        result = command("env", mark, f"TMPDIR={temporary}", mover, "copy", source, target, "--rounds", "2", "--between",
                         f"(echo $PPID; ls -A /dev/shm /tmp {temporary}) >{said}; kill -9 $PPID", timeout=120)
        expect(result.returncode == -signal.SIGKILL, f"status {result.returncode}: {result.text}")
        while running(mark):
            pass
        with open(said, encoding="utf-8", errors="surrogateescape") as file:
            pid, *during = file.read().split()
        for name in (*during, *os.listdir("/dev/shm"), *os.listdir("/tmp"), *os.listdir(temporary)):
            mine = "transship" in name and pid in re.findall(r"\d+", name)
            expect(not mine, f"it made {name}")
        must(mover, "copy", "--resume", source, target)
        same(source, target)

    def two_steps(bench, kind):
        """A first session plants a link, a second one has a directory and files there: nothing outside is touched."""
        outside, target = bench.place(kind), bench.place(kind)
        for name in ("directory", "file"):
            hostile.write(f"{outside}-{name}", b"untouched") if name == "file" else os.makedirs(f"{outside}-{name}/deep")
        before = judge.Tree(f"{outside}-directory")
        first, second = bench.place(kind), bench.place(kind)
        for at in (first, second):
            os.mkdir(at)
        os.symlink(f"{outside}-directory", f"{first}/a")
        os.symlink(f"{outside}-directory/deep", f"{first}/b")
        os.symlink(f"{outside}-file", f"{first}/c")
        os.makedirs(f"{second}/a/deep")
        hostile.write(f"{second}/a/deep/file", b"planted")
        hostile.write(f"{second}/b", b"planted")
        hostile.write(f"{second}/c", hostile.pattern(8 << 20))
        os.chmod(f"{second}/c", 0o4755)
        for source in (first, second, first):
            result = copy(source, target, "--resume")
            expect(result.returncode == 0, result.text)
            same(source, target)
        found = judge.compare(before, judge.Tree(f"{outside}-directory"))
        expect(not found, f"what the link leads to is another:\n{judge.describe(found)}")
        with open(f"{outside}-file", "rb") as file:
            expect(file.read() == b"untouched", "the file that the link leads to is another")

    def not_allowed(bench, form, capability, name):
        """A mover that may not make or give away a thing says which one."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        os.mknod(f"{source}/device", 0o060600, os.makedev(7, 0))
        hostile.write(f"{source}/owned")
        os.chown(f"{source}/owned", 1000, 1000)
        less = ("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")
        if form == "rounds":
            result = command(*less, mover, "copy", source, target)
        else:
            with open(exported(bench, source), "rb") as file:
                result = command(*less, mover, "import", target, stdin=file)
        fails(result, name, "Operation not permitted")

    def header(path, records, size=0, kind=b"0"):
        """A pax header with these records, and the entry's own block; both with sums that are right."""
        def block(name, length, letter):
            out = bytearray(512)
            out[0:len(name)] = name
            for offset, field in ((100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"),
                                  (124, b"%011o\0" % length), (136, b"00000000000\0"), (148, b" " * 8),
                                  (156, letter), (257, b"ustar\x0000"), (329, b"0000000\0"), (337, b"0000000\0")):
                out[offset:offset + len(field)] = field
            out[148:156] = b"%06o\0 " % sum(out)
            return bytes(out)
        text = b""
        for key, value in records:
            length = len(key) + len(value) + 3
            while len(b"%d" % length) + len(key) + len(value) + 3 != length:
                length = len(b"%d" % length) + len(key) + len(value) + 3
            text += b"%d %s=%s\n" % (length, key, value)
        return (block(b"PaxHeaders/transship", len(text), b"x") + text + bytes(-len(text) % 512)
                + block(path, size, kind))

    MTIME = (b"mtime", b"0.000000000")
    BOMBS = {
        "pax-1-GiB": lambda: bytes(header(b"./a", [MTIME]))[:124] + b"10000000000\0",
        "sparse-8-EiB": lambda: header(b"./GNUSparseFile.0/a", [
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"./a"),
            (b"GNU.sparse.realsize", b"%d" % (2 ** 63 - 1)), MTIME], 512) + b"1\n0\n0\n".ljust(512, b"\0"),
    }

    def bomb(bench, name):
        target = bench.place("tmpfs")
        stream = BOMBS[name]()
        if name.startswith("pax"):  # the sum of the changed block
            block = bytearray(stream[:136].ljust(512, b"\0"))
            whole = bytearray(header(b"./a", [MTIME])[:512])
            whole[:136] = block[:136]
            whole[148:156] = b" " * 8
            whole[148:156] = b"%06o\0 " % sum(whole)
            stream = bytes(whole)
        limited = f"ulimit -v 400000; head -c 1100000000 /dev/zero | cat {{}} - | {mover} import {target}"
        with open(bench.place("tmpfs"), "xb") as file:
            file.write(stream)
        fails(command("bash", "-c", limited.format(file.name)), "transship-mover: ")

    def huge_source(bench, form):
        """A volume's owner may make a file that nobody can read to its end."""
        source, target = bench.place("tmpfs"), bench.place("tmpfs")
        os.mkdir(source)
        hostile.write_sparse(f"{source}/endless", 2 ** 63 - 4096, [])
        if form == "rounds":
            fails(copy(source, target), "./endless")
        else:
            with open(os.devnull, "wb") as nowhere:
                result = subprocess.run([mover, "export", source], stdin=subprocess.DEVNULL, stdout=nowhere,
                                        stderr=subprocess.PIPE, check=False)
            result.text = result.stderr.decode()
            fails(result, "./endless")

    for form in ("rounds", "tar"):
        for what in ("space", "inodes"):
            yield f"full.{what}-{form}", lambda bench, form=form, what=what: full(bench, form, what)
        yield f"disk.read-error-{form}", lambda bench, form=form: read_error(bench, form)
        yield f"disk.crash-after-success-{form}", lambda bench, form=form: crash(bench, form)
        yield f"policy.attributes-{form}", lambda bench, form=form: policy(bench, form)
        yield f"policy.no-devices-{form}", lambda bench, form=form: not_allowed(bench, form, "mknod", "./device")
        yield f"policy.no-owners-{form}", lambda bench, form=form: not_allowed(bench, form, "chown", "./")
        yield f"bomb.endless-file-{form}", lambda bench, form=form: huge_source(bench, form)
    yield "disk.hung", hung
    yield "killed.no-keys", killed
    yield "retry.planted-link-tmpfs", lambda bench: two_steps(bench, "tmpfs")
    yield "retry.planted-link-ext4", lambda bench: two_steps(bench, "ext4")
    for name in BOMBS:
        yield f"bomb.{name}", lambda bench, name=name: bomb(bench, name)
    yield "network.1-Mbit", lambda bench: network(bench, "1mbit", 0)
    yield "network.30-percent-lost", lambda bench: network(bench, "100mbit", 0.3)
