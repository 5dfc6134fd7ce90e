#!/usr/bin/env python3
"""Makes a tree of everything a volume may hold.

usage: tests/engine/hostile.py DIRECTORY [--without FEATURE]...   an empty directory, or one to make

FEATURES that not every file system or tar can hold: large-devices, sockets, deep, symlink-xattrs, many,
hard-links, linked-symlinks, xattrs, sparse, huge (5 GiB, a hole), strange-names, odd-times, flags, sync, dirsync,
projects
"""

import errno
import fcntl
import os
import stat
import struct
import sys

# Version 2, then (tag, permissions, id): user::rw- user:1000:r-- group::r-- mask::r-- other::---
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)))
# Version 2, effective, cap_net_bind_service permitted.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def write(path, content=b"", mode="xb"):
    with open(path, mode) as file:
        file.write(content)


def write_sparse(path, size, extents):
    with open(path, "xb") as file:
        file.truncate(size)
        for offset, content in extents:
            os.pwrite(file.fileno(), content, offset)


def set_mtime(path, nanoseconds):
    # The access time is not carried; it has to be given with the other.
    os.utime(path, ns=(0, nanoseconds), follow_symlinks=False)


def make_socket(path):
    os.mknod(path, stat.S_IFSOCK | 0o755)


def pattern(size, seed=0):
    return bytes((i * 31 + i // 251 + seed) % 256 for i in range(min(size, 65536))) * (size // 65536 + 1)


def make_contents(at, without):
    os.mkdir(at)
    for size in (0, 1, 511, 512, 513, 4095, 4096, 4097, 262143, 262144, 262145, 3000000):
        write(f"{at}/size{size}", pattern(size)[:size])
    if "sparse" in without:
        return
    write_sparse(f"{at}/hole only", 5 << 20, [])
    write_sparse(f"{at}/hole at end", 9 << 20, [(0, b"x" * 5000)])
    write_sparse(f"{at}/hole first", 8 << 20, [((8 << 20) - 3, b"end")])
    write_sparse(f"{at}/holes", 24 << 20, [(1 << 20, b"one"), (15 << 20, b"y" * 70000)])
    if "huge" not in without:
        write_sparse(f"{at}/beyond 32 bits", 5 << 30, [(4 << 30, b"far")])
    write_sparse(f"{at}/odd size", 1234567, [(500000, b"odd")])
    write_sparse(f"{at}/small hole", 1, [])
    write_sparse(f"{at}/comb", 4 << 20, [(offset, b"#") for offset in range(0, 4 << 20, 128 << 10)])


def make_metadata(at, without):
    os.mkdir(at)
    for mode in (0, 0o1, 0o400, 0o644, 0o777, 0o4755, 0o2755, 0o1644, 0o7777):
        write(f"{at}/mode{mode:o}", b"mode")
        os.chown(f"{at}/mode{mode:o}", 1000 + mode, 2000 + mode)
        os.chmod(f"{at}/mode{mode:o}", mode)
        os.mkdir(f"{at}/directory{mode:o}")
        write(f"{at}/directory{mode:o}/inside", b"inside")
        os.chown(f"{at}/directory{mode:o}", 70000, 3000000)
        os.chmod(f"{at}/directory{mode:o}", mode)
    write(f"{at}/last owner")
    os.chown(f"{at}/last owner", 4294967294, 4294967294)
    times = [1, 1000000000, 2147483647999999999, 1600000000123456789]
    if "odd-times" not in without:
        times += [0, -1, -1000000000, -1500000000, -999999999999999993, 2147483648000000000, 9000000000000000001]
    for number, time in enumerate(times):
        write(f"{at}/time{number}")
        set_mtime(f"{at}/time{number}", time)
    os.mkdir(f"{at}/old directory")
    write(f"{at}/old directory/new file")
    set_mtime(f"{at}/old directory", 86400000000005)


def make_kinds(at, without):
    os.mkdir(at)
    os.mkfifo(f"{at}/fifo", 0o640)
    os.mknod(f"{at}/char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(f"{at}/block", stat.S_IFBLK | 0o660, os.makedev(7, 200))
    os.mknod(f"{at}/whiteout", stat.S_IFCHR, os.makedev(0, 0))
    if "large-devices" not in without:
        os.mknod(f"{at}/large block", stat.S_IFBLK | 0o660, os.makedev(259, 1000000))
    linked = ["original", "fifo", "char", *(() if "linked-symlinks" in without else ("link2",))]
    if "sockets" not in without:
        make_socket(f"{at}/socket")
        linked.append("socket")
    targets = [b"/etc/passwd", b"../../../..", b"nowhere", b"..", b"l" * 99, b"l" * 100, b"l" * 101]
    if "strange-names" not in without:
        targets += [b"caf\xe9\n\xff", b"t" * 1000]  # XFS holds at most 1023
    for number, target in enumerate(targets):
        link = f"{at}/link{number}"
        os.symlink(target, link)
        os.chown(link, 12, 34, follow_symlinks=False)
        set_mtime(link, 1234567890987654321)
    os.symlink("../kinds", f"{at}/to directory")
    write(f"{at}/original", b"linked")
    if "hard-links" in without:
        return
    os.mkdir(f"{at}/elsewhere")
    for name in linked:
        os.link(f"{at}/{name}", f"{at}/elsewhere/again {name}", follow_symlinks=False)
    os.link(f"{at}/original", f"{at}/third")


def make_xattrs(at, without):
    os.mkdir(at)
    file = f"{at}/file"
    write(file, b"x")
    for name, value in (("user.text", b"value"), ("user.empty", b""), ("user.binary", b"\0\n=\xff\x01"),
                        ("user.a=b%c%3D", b"odd name"), ("user.long", b"v" * 1500), ("trusted.mine", b"t"),
                        ("trusted.overlay.opaque", b"y"), ("security.capability", CAPABILITY)):
        os.setxattr(file, name, value)
    write(f"{at}/with acl")
    os.setxattr(f"{at}/with acl", "system.posix_acl_access", ACL)
    os.mkdir(f"{at}/default acl")
    write(f"{at}/default acl/before")
    os.setxattr(f"{at}/default acl", "system.posix_acl_default", ACL)
    os.setxattr(f"{at}/default acl", "user.of directory", b"d")
    write(f"{at}/default acl/after")  # has taken the default
    os.mkdir(f"{at}/default acl/directory")
    if "symlink-xattrs" not in without:
        os.symlink("x", f"{at}/symlink")
        os.setxattr(f"{at}/symlink", "trusted.of symlink", b"s", follow_symlinks=False)
        os.mkfifo(f"{at}/fifo")
        os.setxattr(f"{at}/fifo", "trusted.of fifo", b"f")


def make_names(at, without):
    os.mkdir(at)
    names = [b" ", b"-rf", b"...", b"\\", b"\"'`$(", "café".encode(), "cafe\u0301".encode(), b"n" * 255, b"a b", b"a.b"]
    if "strange-names" not in without:
        names += [b"new\nline", b"\xff\xfe", b"\xed\xa0\x80", b"a\x01", b"12 path=evil\n",
                  bytes(c for c in range(1, 256) if c != ord("/"))]
        long = at.encode() + b"/" + b"\xe9" * 255
        os.mkdir(long)
        write(long + b"/" + b"\x80" * 200, b"long")
    for name in names:
        write(at.encode() + b"/" + name, name)


# linux/fs.h
GETFLAGS, SETFLAGS, FSGETXATTR, FSSETXATTR = 0x80086601, 0x40086602, 0x801C581F, 0x401C5820
SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME, DIRSYNC = 0x8, 0x10, 0x20, 0x40, 0x80, 0x10000
LOCKING = IMMUTABLE | APPEND
PROJINHERIT = 0x200  # of FSSETXATTR


def change_flags(path, on, off=0):
    """Returns what they were."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        before = struct.unpack("I", fcntl.ioctl(fd, GETFLAGS, bytes(4)))[0]
        after = before & ~off | on
        if after != before:
            fcntl.ioctl(fd, SETFLAGS, struct.pack("I", after))
        return before
    finally:
        os.close(fd)


def set_project(path, project, inherit=False):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = list(struct.unpack("5I8s", fcntl.ioctl(fd, FSGETXATTR, bytes(28))))
        found[0] |= PROJINHERIT if inherit else 0
        found[3] = project
        fcntl.ioctl(fd, FSSETXATTR, struct.pack("5I8s", *found))
    finally:
        os.close(fd)


def unlock(tree):
    """Takes off what forbids changes in the whole tree; returns {inode: what it was}."""
    found, waiting = {}, [os.fsencode(tree)]
    while waiting:
        at = waiting.pop()
        if len(at) > 2000:  # flags are in no deeper places
            continue
        for path in (at, *(at + b"/" + name for name in os.listdir(at))):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) and path != at:
                waiting.append(path)
            elif stat.S_ISREG(status.st_mode) or path == at:
                try:
                    before = change_flags(path, 0, LOCKING)
                except OSError as problem:
                    if problem.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
                        return found
                    raise
                if before & LOCKING:
                    found[status.st_ino] = before & LOCKING
    return found


def make_flags(at, without):
    os.mkdir(at)
    flags = {"immutable": IMMUTABLE, "append": APPEND, "both": LOCKING, "nodump": NODUMP, "noatime": NOATIME,
             "many": LOCKING | NODUMP | NOATIME}
    if "sync" not in without:
        flags["sync"] = SYNC
    if "dirsync" not in without:
        flags["dirsync"] = DIRSYNC
    for name in flags:
        write(f"{at}/{name} file", pattern(5000))
        os.mkdir(f"{at}/{name} directory")
        write(f"{at}/{name} directory/inside", b"inside")
        os.makedirs(f"{at}/{name} directory/below/empty")
        os.mkfifo(f"{at}/{name} directory/fifo")
        os.symlink("inside", f"{at}/{name} directory/symlink")
    os.link(f"{at}/immutable file", f"{at}/append directory/again")
    os.link(f"{at}/append file", f"{at}/immutable directory/below/again")
    write_sparse(f"{at}/immutable directory/sparse", 1 << 20, [(300000, b"data")])
    os.setxattr(f"{at}/immutable file", "user.a", b"a")
    os.setxattr(f"{at}/immutable directory", "system.posix_acl_default", ACL)
    os.chmod(f"{at}/immutable file", 0o4755)
    for place in ("immutable directory/inside", "immutable directory/below/empty", "append directory/inside"):
        change_flags(f"{at}/{place}", IMMUTABLE)
    # The directories last, and what they hand down: some of what is made in them then has it, some has not.
    for name, bits in flags.items():
        set_mtime(f"{at}/{name} directory", 1500000000000000001)
        if bits & ~LOCKING:
            change_flags(f"{at}/{name} directory", bits & ~LOCKING)
            write(f"{at}/{name} directory/after", b"after")
            os.mkdir(f"{at}/{name} directory/directory after")
        change_flags(f"{at}/{name} directory", bits)
        if bits != DIRSYNC:
            change_flags(f"{at}/{name} file", bits)


def make_projects(at):
    os.makedirs(f"{at}/tree/before")
    write(f"{at}/tree/before/file", b"of no project")
    write(f"{at}/single", b"single")
    set_project(f"{at}/single", 4294967294)
    set_project(f"{at}/tree", 42, inherit=True)
    os.makedirs(f"{at}/tree/after/below")
    write(f"{at}/tree/after/file", b"of the project")
    os.symlink("file", f"{at}/tree/after/symlink")
    os.mkfifo(f"{at}/tree/after/fifo")
    os.link(f"{at}/tree/after/file", f"{at}/tree/linked")
    write(f"{at}/tree/of another", b"another")
    set_project(f"{at}/tree/of another", 7)
    write(f"{at}/tree/immutable", b"immutable")
    change_flags(f"{at}/tree/immutable", IMMUTABLE)


def make_many(at, count=5000):
    os.mkdir(at)
    for number in range(count):
        write(f"{at}/{number * 7919 % count}", b"%d" % number)


def make_deep(at, depth=2100, name="d234567"):
    """Beyond 4096 bytes of path after a quarter of it, and of more levels than a process has descriptors."""
    os.mkdir(at)
    fd = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(depth):
        os.mkdir(name, dir_fd=fd)
        following = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = following
        if level % 100 == 99:
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
            os.utime("file", ns=(0, 1000000000 + level), dir_fd=fd)
    last = os.open("last", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(last, b"deep")
    os.close(last)
    os.link("last", "linked", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)


def make_tree(directory, without=()):
    os.makedirs(directory, exist_ok=True)
    make_contents(f"{directory}/contents", without)
    make_metadata(f"{directory}/metadata", without)
    make_kinds(f"{directory}/kinds", without)
    make_names(f"{directory}/names", without)
    if "xattrs" not in without:
        make_xattrs(f"{directory}/xattrs", without)
        os.setxattr(directory, "user.of root", b"r")
    if "many" not in without:
        make_many(f"{directory}/many")
    if "deep" not in without:
        make_deep(f"{directory}/deep")
    if "flags" not in without:
        make_flags(f"{directory}/flags", without)
        if "projects" not in without:
            make_projects(f"{directory}/projects")
    os.chown(directory, 55, 66)
    os.chmod(directory, 0o2751)
    set_mtime(directory, 1600000000123456789)
    if "flags" not in without:
        change_flags(directory, NODUMP | NOATIME)


def main():
    words = sys.argv[1:]
    if not words or words[0].startswith("-") or len(words) % 2 == 0 or set(words[1::2]) - {"--without"}:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    make_tree(words[0], set(words[2::2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
