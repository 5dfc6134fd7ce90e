#!/usr/bin/env python3
"""Changes a tree at random, as a program in use might between two rounds of a copy.

usage: tests/engine/mutate.py TREE SEED [COUNT]   the same changes for the same tree, SEED and ROUND

For `transship-mover copy --rounds N --between`, which sets ROUND. Prints what it does, so that a seed that
fails can be read. environment: ONLY=NAME[,NAME...] limits it to these kinds of change.
"""

import ctypes
import mmap
import os
import random
import stat
import subprocess
import sys

import hostile

COUNT = 40
LARGE = 8 << 20
BLOCK = 4096


class Nothing(Exception):
    """The tree has nothing that this change could be made to."""


class Mutator:
    def __init__(self, tree, seed):
        self.tree, self.random, self.number, self.seed = os.fsencode(tree), random.Random(seed), 0, seed
        self.locked = hostile.unlock(tree)  # while it is changed
        self.look()

    def look(self):
        """What is there now, in an order that does not depend on the file system."""
        self.files, self.directories, self.others = [], [self.tree], []
        waiting = [self.tree]
        while waiting:
            at = waiting.pop()
            for name in sorted(os.listdir(at)):
                path = at + b"/" + name
                if len(path) > 2000:  # a rename puts paths before paths
                    continue
                mode = os.lstat(path).st_mode
                if stat.S_ISDIR(mode):
                    self.directories.append(path)
                    waiting.append(path)
                else:
                    (self.files if stat.S_ISREG(mode) else self.others).append(path)

    # Choices.
    def one(self, what):
        if not what:
            raise Nothing
        return self.random.choice(what)

    def file(self):
        return self.one(self.files)

    def directory(self):
        """Any but the root, which cannot be renamed."""
        return self.one(self.directories[1:])

    def any_entry(self):
        return self.one(self.files + self.others + self.directories[1:])

    def new(self, directory=None):
        self.number += 1
        name = b"new-%d-%d" % (hash_of(self.seed), self.number)
        return (directory or self.one(self.directories)) + b"/" + name

    def content(self, most=20000):
        return self.random.randbytes(self.random.choice((0, 1, 511, 4096, self.random.randrange(most))))

    def large(self):
        found = [path for path in self.files if os.lstat(path).st_size >= LARGE // 2]
        if found:
            return self.one(found)
        path = self.new()
        hostile.write(path, self.random.randbytes(LARGE))
        return path

    # Contents.
    def write_in_place(self):
        path = self.file()
        with open(path, "r+b") as file:
            os.pwrite(file.fileno(), self.content(), self.random.randrange(os.fstat(file.fileno()).st_size + 1))

    def append(self):
        hostile.write(self.file(), self.content() or b"x", "ab")

    def truncate(self):
        path = self.file()
        os.truncate(path, self.random.choice((0, os.stat(path).st_size // 2, os.stat(path).st_size + 70000)))

    def replace_by_rename(self):
        path = self.file()
        new = self.new(os.path.dirname(path))
        hostile.write(new, self.content())
        os.rename(new, path)

    def same_size_old_time(self):
        path = self.one([path for path in self.files if os.lstat(path).st_size > 0])
        before = os.stat(path)
        with open(path, "r+b") as file:
            at = self.random.randrange(before.st_size)
            byte = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 0x55]), at)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def mapped_write(self):
        path = self.one([path for path in self.files if os.lstat(path).st_size > 0])
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            at = self.random.randrange(len(mapped))
            piece = self.random.randbytes(100)[:len(mapped) - at]
            mapped[at:at + len(piece)] = piece
            mapped.flush()

    def punch_hole(self):
        path = self.one([path for path in self.files if os.lstat(path).st_size >= 4 * BLOCK])
        blocks = os.lstat(path).st_size // BLOCK
        first = self.random.randrange(blocks)
        length = self.random.randrange(1, min(blocks - first, 64) + 1)
        fallocate(path, 0x3, first * BLOCK, length * BLOCK)  # PUNCH_HOLE with KEEP_SIZE

    def fill_hole(self):
        path = self.one([path for path in self.files if os.lstat(path).st_blocks * 512 < os.lstat(path).st_size])
        with open(path, "r+b") as file:
            at = self.random.randrange(os.lstat(path).st_size)
            os.pwrite(file.fileno(), self.random.choice((bytes(100000), self.random.randbytes(5000))), at)

    def change_large(self):
        path = self.large()
        with open(path, "r+b") as file:
            for _ in range(self.random.randrange(1, 5)):
                at = self.random.randrange(os.lstat(path).st_size // BLOCK) * BLOCK
                os.pwrite(file.fileno(), self.random.randbytes(self.random.choice((1, BLOCK, 3 * BLOCK))), at)

    def grow_large(self):
        hostile.write(self.large(), self.random.randbytes(self.random.randrange(1, 300000)), "ab")

    def shrink_large(self):
        path = self.large()
        os.truncate(path, os.lstat(path).st_size - self.random.randrange(1, 300000))

    def shift_large(self):
        """The same content, moved by some bytes: no block is where it was."""
        path = self.large()
        with open(path, "r+b") as file:
            content = file.read()
            os.pwrite(file.fileno(), content[17:] + content[:17], 0)

    # Names.
    def move(self, path, target):
        if (target + b"/").startswith(path + b"/"):
            raise Nothing
        os.rename(path, target)

    def rename_file(self):
        path = self.one(self.files + self.others)
        self.move(path, self.new())

    def rename_over(self):
        path, target = self.one(self.files + self.others), self.one(self.files + self.others)
        self.move(path, target)

    def rename_directory(self):
        self.move(self.directory(), self.new())

    def swap(self, one, other):
        if one == other or (one + b"/").startswith(other + b"/") or (other + b"/").startswith(one + b"/"):
            raise Nothing
        spare = self.new(self.tree)
        os.rename(one, spare)
        os.rename(other, one)
        os.rename(spare, other)

    def swap_names(self):
        self.swap(self.one(self.files + self.others), self.one(self.files + self.others))

    def swap_directories(self):
        self.swap(self.directory(), self.directory())

    def swap_file_and_directory(self):
        self.swap(self.file(), self.directory())

    def move_into_new_directory(self):
        path = self.directory()
        new = self.new(os.path.dirname(path))
        os.mkdir(new)
        os.rename(path, new + b"/" + os.path.basename(path))

    def wrap_directory(self):
        """A new directory takes the name of the one that is now in it."""
        path = self.directory()
        new = self.new(os.path.dirname(path))
        os.mkdir(new)
        os.rename(path, new + b"/inside")
        os.rename(new, path)

    def turn_parent_and_child(self):
        """a/b becomes b/a, at the place of a."""
        child = self.one([path for path in self.directories if os.path.dirname(path) in self.directories[1:]])
        parent = os.path.dirname(child)
        if os.path.lexists(child + b"/" + os.path.basename(parent)):
            raise Nothing
        spare = self.new(os.path.dirname(parent))
        os.rename(child, spare)
        os.rename(parent, spare + b"/" + os.path.basename(parent))
        os.rename(spare, parent)

    # Entries.
    def make_file(self):
        hostile.write(self.new(), self.content())

    def make_directory(self):
        path = self.new()
        os.mkdir(path)
        hostile.write(path + b"/file", self.content())

    def make_kind(self, path):
        kind = self.random.randrange(6)
        if kind == 0:
            os.symlink(self.random.choice((b"target", b"../x", b"/nowhere")), path)
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, self.random.randrange(9)))
        elif kind == 3:
            hostile.make_socket(path)
        elif kind == 4:
            os.mkdir(path)
        else:
            hostile.write(path, self.content())

    def make_other(self):
        self.make_kind(self.new())

    def delete(self):
        os.unlink(self.one(self.files + self.others))

    def delete_directory(self):
        remove(self.one([path for path in self.directories[1:] if len(os.listdir(path)) < 5]))

    def recreate(self):
        path = self.any_entry()
        if path in self.directories:
            if len(os.listdir(path)) >= 5:
                raise Nothing
            remove(path)
        else:
            os.unlink(path)
        self.make_kind(path)

    def reuse_inodes(self):
        """File systems give a number that is free now to the next file."""
        directory = self.one(self.directories)
        for turn in range(20):
            path = directory + b"/reused-%d" % turn
            if os.path.lexists(path):
                raise Nothing
            hostile.write(path, self.content(200))
            if turn % 3:
                os.unlink(path)

    # Hard links.
    def link(self):
        os.link(self.one(self.files + self.others), self.new(), follow_symlinks=False)

    def linked(self):
        return self.one([path for path in self.files if os.lstat(path).st_nlink > 1])

    def unlink_one(self):
        os.unlink(self.linked())

    def break_link(self):
        path = self.linked()
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        hostile.write(path, content)

    def exchange_links(self):
        """The name of one group becomes a name of another."""
        path, other = self.linked(), self.file()
        new = self.new(os.path.dirname(path))
        os.link(other, new)
        os.rename(new, path)
        if os.path.lexists(new):  # rename(2) does nothing where both are the same file
            os.unlink(new)

    # Metadata.
    def chmod(self):
        os.chmod(self.one(self.files + self.directories), self.random.randrange(0o10000))

    def chown(self):
        os.chown(self.one(self.files + self.others + self.directories), self.random.randrange(70000),
                 self.random.randrange(70000), follow_symlinks=False)

    def touch(self):
        hostile.set_mtime(self.one(self.files + self.others + self.directories),
                          self.random.randrange(1, 2 ** 31 * 10 ** 9))

    def set_xattr(self):
        name = self.random.choice(("user.a", "user.b", "trusted.c"))
        os.setxattr(self.one(self.files + self.directories), name, self.random.randbytes(self.random.randrange(100)))

    def remove_xattr(self):
        for path in self.random.sample(self.files + self.directories, len(self.files) + len(self.directories)):
            names = [name for name in os.listxattr(path) if name.startswith(("user.", "trusted.c", "security.cap"))]
            if names:
                os.removexattr(path, self.random.choice(sorted(names)))
                return
        raise Nothing

    def set_capability(self):
        os.setxattr(self.file(), "security.capability", hostile.CAPABILITY)

    def set_acl(self):
        os.setxattr(self.one(self.files + self.directories), "system.posix_acl_access", hostile.ACL)

    def set_default_acl(self):
        os.setxattr(self.one(self.directories), "system.posix_acl_default", hostile.ACL)

    def set_flags(self):
        path = self.one(self.files + self.directories)
        passing = hostile.NODUMP | hostile.NOATIME
        hostile.change_flags(path, self.random.choice((0, hostile.NODUMP, hostile.NOATIME, passing)), passing)
        self.locked[os.lstat(path).st_ino] = self.random.choice((0, hostile.IMMUTABLE, hostile.APPEND, hostile.LOCKING))

    def lock(self):
        """What forbids changes comes last."""
        for path in self.files + self.directories:
            bits = self.locked.get(os.lstat(path).st_ino, 0)
            if bits:
                hostile.change_flags(path, bits)

    def remove_acl(self):
        found = [(path, name) for path in self.files + self.directories for name in sorted(os.listxattr(path))
                 if name.startswith("system.posix_acl_")]
        path, name = self.one(found)
        os.removexattr(path, name)


def remove(directory):
    # shutil.rmtree recurses, for which a tree may be too deep.
    subprocess.run(["rm", "-rf", "--", directory], check=True)


def fallocate(path, mode, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDWR)
    try:
        if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def hash_of(seed):
    """A number for names, which differs from round to round."""
    return sum(ord(letter) * 31 ** place for place, letter in enumerate(str(seed))) % 10 ** 9


HELPERS = {"look", "lock", "one", "file", "directory", "any_entry", "new", "content", "large", "move", "swap", "make_kind",
           "linked"}
CHANGES = [name for name in vars(Mutator) if not name.startswith("_") and name not in HELPERS]


def mutate(tree, seed, count=COUNT, only=(), log=lambda text: None):
    """Makes that many changes; those there is nothing for count, too, so that it ends."""
    mutator = Mutator(tree, seed)
    for _ in range(count):
        name = mutator.random.choice(list(only) or CHANGES)
        try:
            getattr(mutator, name)()
            log(name)
        except Nothing:
            log(f"{name}: nothing to do it to")
        mutator.look()
    mutator.lock()


def make_base(tree, seed):
    """Some of everything, small enough for many rounds."""
    os.mkdir(tree)
    for name in ("contents", "metadata", "kinds", "xattrs", "names"):
        make = getattr(hostile, f"make_{name}")
        make(f"{tree}/{name}", {"huge", "large-devices"})
    hostile.make_many(f"{tree}/many", 60)
    os.makedirs(f"{tree}/nested/a/b/c/d")
    hostile.write(f"{tree}/nested/a/b/c/file", b"nested")
    hostile.write(f"{tree}/large", random.Random(seed).randbytes(LARGE))
    hostile.make_flags(f"{tree}/flags", {"sync", "dirsync"})
    mutate(tree, f"base {seed}", 20)


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    seed = f"{sys.argv[2]} round {os.environ.get('ROUND', '0')}"
    done = []
    try:
        mutate(sys.argv[1], seed, int(sys.argv[3]) if len(sys.argv) == 4 else COUNT, only, done.append)
    finally:
        print(f"{seed}: {', '.join(done)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
