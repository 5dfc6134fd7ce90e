"""Tests of the judge: two equal trees, one aspect of one altered, exactly that difference found."""

import os
import stat
import struct

import hostile
import judge

LONG = 256 << 10


def make(at):
    os.mkdir(at)
    os.mkdir(f"{at}/directory")
    for name in ("file", "linked", "directory/inside"):
        hostile.write(f"{at}/{name}", b"content")
    for name in ("again", "directory/third"):
        os.link(f"{at}/linked", f"{at}/{name}")
    hostile.write_sparse(f"{at}/sparse", 4 * LONG, [(0, b"x" * 4096), (3 * LONG, b"x" * 4096)])
    os.symlink("target", f"{at}/symlink")
    os.mknod(f"{at}/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mkfifo(f"{at}/fifo")
    for name in ("file", "directory", "."):
        os.setxattr(f"{at}/{name}", "user.a", b"1")
    os.setxattr(f"{at}/symlink", "trusted.a", b"1", follow_symlinks=False)
    os.setxattr(f"{at}/file", "security.capability", hostile.CAPABILITY)
    os.setxattr(f"{at}/directory/inside", "system.posix_acl_access", hostile.ACL)
    os.setxattr(f"{at}/directory", "system.posix_acl_default", hostile.ACL)
    hostile.make_deep(f"{at}/deep", 2050)
    settle(at)


def settle(at):
    """Gives every entry of the upper levels the same time again, whatever was done to it."""
    for name in ("directory/inside", "directory/third", "directory"):
        if os.path.lexists(f"{at}/{name}"):
            hostile.set_mtime(f"{at}/{name}", 1234567890123456789)
    for name in os.listdir(at):
        if name not in ("directory", "deep"):
            hostile.set_mtime(f"{at}/{name}", 1234567890123456789)
    for path in (f"{at}/deep", at):
        hostile.set_mtime(path, 1234567890123456789)
    fd = os.open(f"{at}/deep", os.O_RDONLY)
    while True:
        for name in os.listdir(fd):
            os.utime(name, ns=(0, 987654321), dir_fd=fd, follow_symlinks=False)
        following = os.open("d234567", os.O_RDONLY, dir_fd=fd) if "d234567" in os.listdir(fd) else None
        os.close(fd)
        if following is None:
            return
        fd = following


def replace(path, content=b"content"):
    os.unlink(path)
    hostile.write(path, content)


def retype(at):
    os.unlink(f"{at}/fifo")
    hostile.write(f"{at}/fifo")


def redevice(at):
    os.unlink(f"{at}/device")
    os.mknod(f"{at}/device", stat.S_IFCHR | 0o600, os.makedev(1, 5))


def relink(at):
    os.unlink(f"{at}/symlink")
    os.symlink("tarGet", f"{at}/symlink")
    os.setxattr(f"{at}/symlink", "trusted.a", b"1", follow_symlinks=False)


def overwrite(path, offset, content):
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), content, offset)


def change_deep(at):
    fd = os.open(f"{at}/deep", os.O_RDONLY)
    while "last" not in os.listdir(fd):
        following = os.open("d234567", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = following
    os.chmod("last", 0o600, dir_fd=fd)
    os.close(fd)


def touch(name):
    return lambda at: hostile.set_mtime(f"{at}/{name}", 1234567890123456788)


ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (1, 6, 0xFFFFFFFF), (2, 6, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)))
DEEP = "deep/" + "d234567/" * 2050

# name: (what is done to the copy, the differences as (path, aspect))
ALTERED = {
    "nothing": (lambda at: None, []),
    "type": (retype, [("fifo", "type")]),
    "mode": (lambda at: os.chmod(f"{at}/file", 0o640), [("file", "mode")]),
    "setuid": (lambda at: os.chmod(f"{at}/file", 0o4644), [("file", "mode")]),
    "setgid": (lambda at: os.chmod(f"{at}/file", 0o2644), [("file", "mode")]),
    "sticky": (lambda at: os.chmod(f"{at}/directory", 0o1755), [("directory", "mode")]),
    "mode-of-root": (lambda at: os.chmod(at, 0o700), [(".", "mode")]),
    "owner": (lambda at: os.chown(f"{at}/fifo", 5, -1), [("fifo", "owner")]),
    "owner-of-symlink": (lambda at: os.chown(f"{at}/symlink", 5, -1, follow_symlinks=False), [("symlink", "owner")]),
    "group": (lambda at: os.chown(f"{at}/fifo", -1, 5), [("fifo", "group")]),
    "xattr-added": (lambda at: os.setxattr(f"{at}/file", "user.b", b""), [("file", "xattr user.b")]),
    "xattr-removed": (lambda at: os.removexattr(f"{at}/directory", "user.a"), [("directory", "xattr user.a")]),
    "xattr-value": (lambda at: os.setxattr(f"{at}/file", "user.a", b"2"), [("file", "xattr user.a")]),
    "xattr-of-root": (lambda at: os.setxattr(at, "user.a", b"2"), [(".", "xattr user.a")]),
    "xattr-of-symlink": (lambda at: os.setxattr(f"{at}/symlink", "trusted.a", b"2", follow_symlinks=False),
                         [("symlink", "xattr trusted.a")]),
    "xattr-not-carried": (lambda at: os.setxattr(f"{at}/file", "trusted.overlay.x", b"2"), []),
    "capability": (lambda at: os.removexattr(f"{at}/file", "security.capability"),
                   [("file", "xattr security.capability")]),
    "acl": (lambda at: os.setxattr(f"{at}/directory/inside", "system.posix_acl_access", ACL),
            [("directory/inside", "xattr system.posix_acl_access")]),
    "default-acl": (lambda at: os.removexattr(f"{at}/directory", "system.posix_acl_default"),
                    [("directory", "xattr system.posix_acl_default")]),
    "hard-link-broken": (lambda at: replace(f"{at}/linked"), [("again", "hard links")]),
    "hard-link-made": (lambda at: (os.unlink(f"{at}/fifo"), os.link(f"{at}/linked", f"{at}/fifo")),
                       [("fifo", "type"), ("again", "hard links")]),
    "hole-filled": (lambda at: overwrite(f"{at}/sparse", LONG, bytes(2 * LONG)), [("sparse", "holes")]),
    "hole-made": (lambda at: (replace(f"{at}/sparse", b""), overwrite(f"{at}/sparse", 0, b"x" * 4096),
                              overwrite(f"{at}/sparse", 3 * LONG, b"x" * 4096), os.truncate(f"{at}/sparse", 4 * LONG),
                              overwrite(f"{at}/sparse", LONG, bytes(4096))), [("sparse", "holes")]),
    "device": (redevice, [("device", "device")]),
    "target": (relink, [("symlink", "target")]),
    "content": (lambda at: overwrite(f"{at}/directory/inside", 3, b"T"), [("directory/inside", "content")]),
    "size": (lambda at: os.truncate(f"{at}/directory/inside", 3), [("directory/inside", "size")]),
    "missing": (lambda at: os.unlink(f"{at}/fifo"), [("fifo", "missing")]),
    "extra": (lambda at: os.mkdir(f"{at}/extra"), [("extra", "extra")]),
    "deep": (change_deep, [(DEEP + "last", "mode"), (DEEP + "linked", "mode")]),
}
# Set after the times, which could not be set any more.
FLAGS = {"immutable": ("file", hostile.IMMUTABLE), "append-only-directory": ("deep", hostile.APPEND),
         "nodump-of-root": (".", hostile.NODUMP)}
TIMES = {"mtime": "file", "mtime-of-symlink": "symlink", "mtime-of-directory": "directory", "mtime-of-root": ".",
         "mtime-of-device": "device"}


def check(at, alter, expected, after=None):
    os.mkdir(at)
    make(f"{at}/a")
    make(f"{at}/b")
    alter(f"{at}/b")
    settle(f"{at}/b")
    if after:
        after(f"{at}/b")
    found = judge.differences(f"{at}/a", f"{at}/b")
    names = [(os.fsdecode(path), aspect) for path, aspect, _, _ in found]
    assert sorted(names) == sorted(expected), f"expected {expected}, found:\n{judge.describe(found)}"


def other_block_size(at):
    """As between file systems of two kinds: holes shorter than 64 KiB may go, a long one may not."""
    os.mkdir(at)
    for name, size in (("a", 0), ("short", 60 << 10), ("long", LONG)):
        hostile.write_sparse(f"{at}/{name}", 2 * LONG, [(0, b"x" * 4096), (4096, bytes(size)), (2 * LONG - 4096, b"x" * 4096)])

    def holes(name):
        fd = os.open(at, os.O_RDONLY)
        left, right = judge.Entry(None, b"a", fd), judge.Entry(None, name, fd)
        os.close(fd)
        return [aspect for aspect, _, _ in judge.compare_entry(left, right, False) if aspect != "mtime"]

    assert holes(b"short") == [], "a short hole counts"
    assert holes(b"long") == ["holes"], "a long hole does not count"


def tests():
    """(name, function of a path in a tmpfs)."""
    for name, (alter, expected) in ALTERED.items():
        yield f"judge.{name}", lambda at, alter=alter, expected=expected: check(at, alter, expected)
    for name, path in TIMES.items():
        yield (f"judge.{name}",
               lambda at, path=path: check(at, lambda _: None, [(path, "mtime")], touch(path)))
    for name, (path, bits) in FLAGS.items():
        yield (f"judge.{name}",
               lambda at, path=path, bits=bits: check(at, lambda _: None, [(path, "flags")],
                                                      lambda copy: hostile.change_flags(f"{copy}/{path}", bits)))
    yield "judge.holes-across-file-systems", other_block_size
