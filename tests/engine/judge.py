#!/usr/bin/env python3
"""Compares two directory trees in everything a copy has to carry. Shares no code with the engine.

usage: tests/engine/judge.py A B   prints each difference; exit status 1 where there is one

A is the original. Walks by directory descriptors, so that paths may be of any length and depth. Holes are
compared exactly where both file systems are of one type and block size; elsewhere no hole of 64 KiB and
more of A may be allocated in B. Run as root, with both trees at rest.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import struct
import sys

ACLS = {"system.posix_acl_access", "system.posix_acl_default"}
HOLE = 64 << 10  # file systems of other block sizes cannot keep smaller ones

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "FIFO",
         stat.S_IFCHR: "character device", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket"}


def is_carried(name):
    if name.startswith("trusted."):
        # XFS shows its ACLs a second time, in its own format.
        return not name.startswith(("trusted.overlay.", "trusted.SGI_ACL_"))
    return name.startswith("user.") or name == "security.capability" or name in ACLS


def read_xattrs(path):
    names = [name for name in os.listxattr(path, follow_symlinks=False) if is_carried(name)]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


# linux/fs.h
GETFLAGS, FSGETXATTR = 0x80086601, 0x801C581F
FLAGS = {0x8: "sync", 0x10: "immutable", 0x20: "append-only", 0x40: "nodump", 0x80: "noatime", 0x10000: "dirsync",
         0x20000000: "projinherit"}
XFLAGS = {0x8: "immutable", 0x10: "append-only", 0x20: "sync", 0x40: "noatime", 0x80: "nodump", 0x200: "projinherit"}
FILE_GETATTR = 468  # Linux 6.17; of what cannot be opened
libc = ctypes.CDLL(None, use_errno=True)


def flag_names(bits, names):
    return {name for bit, name in names.items() if bits & bit}


def open_flags(fd):
    """(flags, project id) of an open file or directory; both ways of asking have to agree."""
    try:
        flags = flag_names(struct.unpack("I", fcntl.ioctl(fd, GETFLAGS, bytes(4)))[0], FLAGS)
        xflags, _, _, project, _ = struct.unpack("5I8x", fcntl.ioctl(fd, FSGETXATTR, bytes(28)))
    except OSError as problem:
        if problem.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return set(), 0
        raise
    return flags | flag_names(xflags, XFLAGS), project


def named_flags(directory, name):
    found = ctypes.create_string_buffer(24)
    if libc.syscall(FILE_GETATTR, directory, name, found, ctypes.c_size_t(24), 0x100) != 0:  # AT_SYMLINK_NOFOLLOW
        return set(), 0
    xflags, _, _, project, _ = struct.unpack("Q4I", found.raw)
    # The others only say what the directory had when it was made.
    return flag_names(xflags, XFLAGS) & {"immutable", "append-only"}, project


def data_ranges(fd, size):
    ranges, at = [], 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:  # only a hole from here on
                break
            raise
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        ranges.append((begin, min(at, size)))
    return ranges


def digest(fd, size, ranges):
    """Of size and content; of the long holes only the length, so that a sparse terabyte is no work."""
    result, at = hashlib.blake2b(str(size).encode()), 0
    zeros = 0

    def flush():
        nonlocal zeros
        if zeros:
            result.update(b"zeros %d;" % zeros)
            zeros = 0

    block = 4096  # the same content has the same digest, however its zeros are stored
    empty = bytes(block)
    for begin, end in [*ranges, (size, size)]:
        begin -= begin % block
        if begin > at:
            zeros += begin - at
            at = begin
        while at < end:
            piece = os.pread(fd, block * 64 if end - at > block * 64 else block, at)
            if not piece:
                raise OSError(errno.EIO, f"short read at {at} of {size}")
            for offset in range(0, len(piece), block):
                part = piece[offset:offset + block]
                if part == empty[:len(part)]:
                    zeros += len(part)
                else:
                    flush()
                    result.update(b"data %d;" % len(part) + part)
            at += len(piece)
    if size > at:
        zeros += size - at
    flush()
    return result.hexdigest()


class Entry:
    """One name in a tree. Its path is made when asked for: the paths of a deep tree are long."""

    __slots__ = ("parent", "name", "inode", "links", "facts", "ranges", "size", "children")

    def __init__(self, parent, name, directory):
        self.parent, self.name = parent, name
        self.children, self.ranges = {}, None
        at = b"/proc/self/fd/%d/" % directory + name
        found = os.lstat(at)
        kind = stat.S_IFMT(found.st_mode)
        self.inode, self.links, self.size = (found.st_dev, found.st_ino), found.st_nlink, found.st_size
        self.facts = {"type": TYPES[kind], "mode": oct(stat.S_IMODE(found.st_mode)), "owner": found.st_uid,
                      "group": found.st_gid, "mtime": found.st_mtime_ns}
        flags, project = set(), 0
        if kind == stat.S_IFDIR:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=directory)
            flags, project = open_flags(fd)
            os.close(fd)
        elif kind != stat.S_IFREG:
            flags, project = named_flags(directory, name)
        if kind == stat.S_IFREG:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=directory)
            try:
                flags, project = open_flags(fd)
                self.ranges = data_ranges(fd, found.st_size)
                self.facts["size"] = found.st_size
                self.facts["content"] = digest(fd, found.st_size, self.ranges)
            finally:
                os.close(fd)
        elif kind == stat.S_IFLNK:
            self.facts["target"] = os.readlink(name, dir_fd=directory)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            self.facts["device"] = (os.major(found.st_rdev), os.minor(found.st_rdev))
        self.facts["flags"], self.facts["project"] = " ".join(sorted(flags)), project
        for key, value in read_xattrs(at).items():
            self.facts[f"xattr {key}"] = value

    def is_directory(self):
        return self.facts["type"] == "directory"

    def path(self):
        names = []
        entry = self
        while entry.parent is not None:
            names.append(entry.name)
            entry = entry.parent
        return b"/".join(reversed(names)) or b"."


class Tree:
    def __init__(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.storage = storage(fd)
            self.root = Entry(None, b".", fd)
            self.groups = {}
            fd = self._walk(fd)
        finally:
            os.close(fd)

    def _walk(self, fd):
        # One descriptor for the whole walk, which goes down by name and up by "..".
        current, waiting = self.root, [self._read(self.root, fd)]
        while waiting:
            if waiting[-1]:
                current = waiting[-1].pop()
                fd = self._step(fd, current.name, current)
                waiting.append(self._read(current, fd))
            else:
                waiting.pop()
                if waiting:
                    current = current.parent
                    fd = self._step(fd, b"..", current)
        return fd

    @staticmethod
    def _step(fd, name, entry):
        following = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        found = os.fstat(following)
        os.close(fd)
        if (found.st_dev, found.st_ino) != entry.inode:
            raise OSError(errno.EBUSY, f"{show(entry.path())}: moved while it was compared")
        return following

    def _read(self, directory, fd):
        """Takes what the directory holds; returns the directories in it."""
        for name in sorted(map(os.fsencode, os.listdir(fd))):
            entry = Entry(directory, name, fd)
            directory.children[name] = entry
            if entry.links > 1 and not entry.is_directory():
                self.groups.setdefault(entry.inode, []).append(entry)
        return [entry for entry in directory.children.values() if entry.is_directory()]

    def link_groups(self):
        return {tuple(sorted(entry.path() for entry in group)) for group in self.groups.values() if len(group) > 1}


def storage(fd):
    """(type, block size) of the file system."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        mount = [line.split()[1] for line in file if line.startswith("mnt_id:")][0]
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split()
            if fields[0] == mount.encode():
                return fields[fields.index(b"-") + 1].decode(), os.fstatvfs(fd).f_bsize
    return f"mount {mount}", 0


def show(value):
    if isinstance(value, bytes):
        value = repr(value)[1:]
    text = str(value)
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]} ({len(text)} characters)"


def filled_hole(left, right):
    """The first long hole of the left file in which the right one has data."""
    at = 0
    for begin, end in [*left.ranges, (left.size, left.size)]:
        first, last = -(-at // HOLE) * HOLE, begin // HOLE * HOLE
        for data, data_end in right.ranges:
            if data < last and data_end > first and first < last:
                return at, begin
        at = end
    return None


def compare_entry(left, right, exact_holes):
    if left.facts["type"] != right.facts["type"]:
        yield "type", left.facts["type"], right.facts["type"]
        return
    for key in sorted({*left.facts, *right.facts}):
        mine, theirs = left.facts.get(key, "none"), right.facts.get(key, "none")
        if mine != theirs and not (key == "content" and left.size != right.size):  # that is said by "size"
            yield key, mine, theirs
    if left.ranges is None or left.facts["content"] != right.facts["content"]:
        return
    if exact_holes:
        if left.ranges != right.ranges:
            yield "holes", left.ranges, right.ranges
    elif hole := filled_hole(left, right):
        yield "holes", f"a hole {hole}", f"data {right.ranges}"


def compare(left, right):
    """[(path, aspect, of A, of B)]."""
    found = []
    pairs = [(left.root, right.root)]
    exact_holes = left.storage == right.storage
    while pairs:
        mine, theirs = pairs.pop()
        found += [(mine.path(), *difference) for difference in compare_entry(mine, theirs, exact_holes)]
        for name in sorted({*mine.children, *theirs.children}):
            one, other = mine.children.get(name), theirs.children.get(name)
            if other is None:
                found.append((one.path(), "missing", one.facts["type"], "none"))
            elif one is None:
                found.append((other.path(), "extra", "none", other.facts["type"]))
            else:
                pairs.append((one, other))
    mine, theirs = left.link_groups(), right.link_groups()
    groups = {}  # a group that changed is one difference, named by its first path
    for group in mine - theirs:
        groups[group[0]] = (group[0], "hard links", group, "not the same file")
    for group in theirs - mine:
        before = groups.get(group[0], (0, 0, "not the same file"))[2]
        groups[group[0]] = (group[0], "hard links", before, group)
    return found + [groups[path] for path in sorted(groups)]


def differences(left, right):
    return compare(Tree(left), Tree(right))


def describe(found, most=40):
    lines = [f"{show(path)}: {aspect}: {show(mine)} -> {show(theirs)}" for path, aspect, mine, theirs in found[:most]]
    if len(found) > most:
        lines.append(f"and {len(found) - most} more")
    return "\n".join(lines)


def main():
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    found = differences(sys.argv[1], sys.argv[2])
    if found:
        print(describe(found, len(found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
