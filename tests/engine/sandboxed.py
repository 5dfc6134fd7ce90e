"""Tests of the sandbox that sender and receiver run in (docs/adr/0013-copiers.md): what it takes, and without it."""

import os

import hostile

# cpprestsdk is only there as a shared library, and so is what it brings; the C++ library is then the one that it has.
LIBRARIES = {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64", "libc", "libm", "libpthread", "libgcc_s", "libstdc++",
             "libcpprest", "libbrotlidec", "libbrotlienc", "libbrotlicommon", "libz", "libssl", "libcrypto", "libspdlog",
             "libfmt", "libzstd"}

# What cannot be copied without a capability.
NEEDED = {
    "chown": lambda at: os.chown(at, 1000, 1000),
    "dac_override": lambda at: (os.mkdir(f"{at}.d"), hostile.write(f"{at}.d/file"), os.chown(f"{at}.d", 1000, 1000)),
    "dac_read_search": lambda at: (os.chown(at, 1000, 1000), os.chmod(at, 0o200)),
    "fowner": lambda at: (os.chown(at, 1000, 1000), os.chmod(at, 0o4755)),
    "fsetid": lambda at: (os.chown(at, 1000, 1000), os.chmod(at, 0o2755)),
    "linux_immutable": lambda at: hostile.change_flags(at, hostile.IMMUTABLE),
    "mknod": lambda at: os.mknod(f"{at}.device", 0o060600, os.makedev(7, 0)),
    "setfcap": lambda at: os.setxattr(at, "security.capability", hostile.CAPABILITY),
    "sys_admin": lambda at: os.setxattr(at, "trusted.name", b"value"),
}


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def without(capability, *words):
        return command("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}", *words)

    def tree(bench, make):
        at = bench.place("ext4")
        os.mkdir(at)
        hostile.write(f"{at}/file", b"content")
        make(f"{at}/file")
        return at

    def needed(bench, capability):
        source, target = tree(bench, NEEDED[capability]), bench.place("ext4")
        result = without(capability, mover, "copy", source, target)
        expect(result.returncode != 0, f"copied without it: {result.text}")
        expect("transship-mover: " in result.text, f"no reason: {result.text}")
        result = command(mover, "copy", source, bench.place("ext4"))
        expect(result.returncode == 0, f"not copied with it: {result.text}")

    def refused(bench):
        """Never without it unless that was asked for."""
        source, target = tree(bench, lambda at: None), bench.place("ext4")
        for form in (("copy", source, target), ("export", source)):
            result = without("sys_admin", mover, *form)
            expect(result.returncode != 0 and "CAP_SYS_ADMIN" in result.text, f"{form}: {result.text}")
        result = without("sys_admin", mover, "copy", "--unconfined", source, target)
        expect(result.returncode == 0, result.text)
        same(source, target)

    def no_filter(bench):
        """As under a runtime that does not know the call."""
        source, target = tree(bench, lambda at: None), bench.place("ext4")
        result = command("python3", "-c", NO_SECCOMP, mover, "copy", source, target)
        expect(result.returncode != 0 and "seccomp" in result.text, result.text)
        expect(not os.listdir(target), "it wrote all the same")

    def libraries(_bench):
        """What is loaded with it, and in its image, is known, and no more."""
        names = (line.split()[0].rpartition("/")[2] for line in must("ldd", mover).splitlines())
        found = [name.partition(".so")[0] for name in names]
        more = set(found) - LIBRARIES
        expect(found and not more, f"also {sorted(more)}: is that needed? Then name it here")

    for name in NEEDED:
        yield f"sandbox.needs-{name.replace('_', '-')}", lambda bench, name=name: needed(bench, name)
    yield "sandbox.refused", refused
    yield "sandbox.no-filter", no_filter
    yield "program.libraries", libraries


# A filter of its own that lets seccomp(2) alone fail, x86-64 and ARM64.
NO_SECCOMP = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 317, "aarch64": 277}[platform.machine()]
code = b"".join(struct.pack("HBBI", *line) for line in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050026), (0x06, 0, 0, 0x7FFF0000)))
held = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(held)))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
