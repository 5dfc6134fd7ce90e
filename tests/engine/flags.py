"""Tests of inode flags and project ids between rounds, and of what a target cannot hold."""

import os
import shlex
import subprocess
import sys

import hostile
import judge

HERE = os.path.dirname(os.path.abspath(__file__))


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def python(text):
        """A command for --between: hostile's functions are there by their names."""
        return shlex.join([sys.executable, "-B", "-c",
                           f"import sys, os; sys.path.insert(0, {HERE!r}); from hostile import *\n{text}"])

    def in_rounds(source, target, text, *options):
        result = command(mover, "copy", "--rounds", "3", "--between", python(text), *options, source, target)
        expect(result.returncode == 0, result.text)

    def locked_tree(bench, kind):
        source = bench.place(kind)
        os.makedirs(f"{source}/locked/below")
        for name in ("file", "locked/file", "locked/below/file"):
            hostile.write(f"{source}/{name}", b"content")
        os.link(f"{source}/file", f"{source}/locked/again")
        for name in ("file", "locked/file", "locked/below/file", "locked/below", "locked", "."):
            hostile.change_flags(f"{source}/{name}", hostile.IMMUTABLE)
        return source

    def changed_while_locked(bench, kind):
        """Each round finds what it has to change locked at the target by the one before."""
        source, target = locked_tree(bench, kind), bench.place(kind)
        in_rounds(source, target, f"""
at, turn = {source!r}, os.environ["ROUND"]
locked = unlock(at)
write(f"{{at}}/locked/new {{turn}}", b"new")
write(f"{{at}}/locked/file", b"more", "ab")
os.link(f"{{at}}/file", f"{{at}}/locked/below/link {{turn}}")
if turn == "1":
    os.rename(f"{{at}}/locked/below", f"{{at}}/moved")
    os.rename(f"{{at}}/moved", f"{{at}}/locked/below")
    os.unlink(f"{{at}}/locked/again")
    os.chmod(f"{{at}}/locked/below/file", 0o600)
else:
    os.rename(f"{{at}}/locked/below", f"{{at}}/below")
    os.rename(f"{{at}}/file", f"{{at}}/below/renamed")
for place in ("locked", "locked/new 1", "below/file", "below", "locked/below", "file", "below/renamed", "."):
    if os.path.lexists(f"{{at}}/{{place}}"):
        change_flags(f"{{at}}/{{place}}", APPEND if place == "locked/new 1" else IMMUTABLE)
""")
        same(source, target)

    def flags_go(bench):
        source, target = locked_tree(bench, "tmpfs"), bench.place("ext4")
        in_rounds(source, target, f"unlock({source!r})")
        same(source, target)

    def all_is_deleted(bench):
        source, target = locked_tree(bench, "tmpfs"), bench.place("btrfs")
        in_rounds(source, target, f"unlock({source!r}); import shutil\n"
                                  f"for name in os.listdir({source!r}):\n"
                                  f"    path = os.path.join({source!r}, name)\n"
                                  f"    (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)")
        same(source, target)

    def projects_between_rounds(bench):
        """Names come to and go from directories that hand down their project id, which forbids other ones."""
        source, target = bench.tree("xfs", {"huge", "many", "deep"}), bench.place("xfs")
        in_rounds(source, target, f"""
at, turn = {source!r}, int(os.environ["ROUND"])
unlock(at)
tree = f"{{at}}/projects/tree"
write(f"{{tree}}/after/new {{turn}}", b"new")
set_project(f"{{tree}}/after/file", 42 + turn)
if turn == 1:
    os.rename(f"{{tree}}/after/below", f"{{tree}}/below")
    os.rename(f"{{tree}}/linked", f"{{at}}/linked")
    set_project(f"{{at}}/contents", 9, inherit=True)
    write(f"{{at}}/contents/of nine", b"nine")
else:
    set_project(tree, 5)
    os.rename(f"{{at}}/contents/of nine", f"{{at}}/of nine")
    set_project(f"{{at}}/contents", 0)
""")
        same(source, target)

    def left_out_projects(bench):
        """As for emptyDirs: the target's own ids stay."""
        source, target = bench.place("xfs"), bench.place("xfs")
        os.mkdir(source)
        hostile.make_projects(f"{source}/projects")
        os.mkdir(target)
        hostile.set_project(target, 1234, inherit=True)
        in_rounds(source, target, f"""
write({source!r} + "/projects/tree/new " + os.environ["ROUND"], b"new")
os.rename({source!r} + "/projects/single", {source!r} + "/single") if os.environ["ROUND"] == "1" else None
""", "--without-project-ids")
        for number, name in enumerate(("projects/tree", "projects/tree/after/file", "projects/tree/new 1", "single")):
            found = must("xfs_io", "-r", "-c", "lsproj", f"{target}/{name}")
            expect(found.endswith("= 1234"), f"{number} {name}: {found}")

    def volume_of_project(bench, project):
        """A tree whose root hands its id down, as a provisioner has it that counts by them; and one of the target's."""
        source, target = bench.place("xfs"), bench.place("xfs")
        for at, own in ((source, project), (target, 1234)):
            os.mkdir(at)
            hostile.set_project(at, own, inherit=own != 0)
        hostile.make_projects(f"{source}/projects")
        os.symlink("single", f"{source}/link")
        os.mkfifo(f"{source}/fifo")
        return source, target

    def own_project(target, source, project):
        """All is as at the source, but what has its root's id, which has the target's, and hands it down."""
        wanted = judge.Tree(source)
        entries = [wanted.root]
        for entry in entries:
            entries += entry.children.values()
            facts = entry.facts
            if facts["project"] != project or (project == 0 and facts["type"] not in ("file", "directory")):
                continue
            facts["project"] = 1234
            if facts["type"] == "directory":
                facts["flags"] = " ".join(sorted({*facts["flags"].split(), "projinherit"}))
        expect(sum(entry.facts["project"] == 1234 for entry in entries) > 3, "nothing has the id")
        found = judge.compare(wanted, judge.Tree(target))
        expect(not found, judge.describe(found))

    def target_has_its_own(bench, project):
        """It stays through rounds in which names come to and go from what hands down this id or others."""
        source, target = volume_of_project(bench, project)
        in_rounds(source, target, f"""
at, turn = {source!r}, int(os.environ["ROUND"])
unlock(at)
tree = f"{{at}}/projects/tree"
write(f"{{tree}}/after/new {{turn}}", b"new")
write(f"{{at}}/new {{turn}}", b"new")
if turn == 1:
    os.rename(f"{{at}}/projects/tree/after/below", f"{{tree}}/below")
    set_project(f"{{tree}}/of another", {project})
    set_project(f"{{at}}/new 1", 9)
    os.mkdir(f"{{at}}/directory")
else:
    set_project(f"{{at}}/new 1", {project})
    os.rename(f"{{at}}/directory", f"{{at}}/projects/moved")
    os.rename(f"{{at}}/link", f"{{at}}/projects/link")
""")
        own_project(target, source, project)
        # What a broken copy left, or was there at first, is brought on in the same way.
        hostile.unlock(target)
        hostile.set_project(f"{target}/new 1", 0)
        hostile.write(f"{target}/more", b"more")
        must(mover, "copy", "--resume", source, target)
        own_project(target, source, project)

    def imported_into_its_own(bench, project):
        source, target = volume_of_project(bench, project)
        archive = bench.place("tmpfs")
        with open(archive, "xb") as file:
            subprocess.run([mover, "export", source], stdout=file, stderr=subprocess.PIPE, check=True)
        with open(archive, "rb") as file:
            result = command(mover, "import", target, stdin=file)
        expect(result.returncode == 0, result.text)
        own_project(target, source, project)

    def cannot_hold(bench, source_kind, target_kind, what, set_it):
        source, target = bench.place(source_kind), bench.place(target_kind)
        os.makedirs(f"{source}/in/the way")
        set_it(f"{source}/in/the way")
        result = command(mover, "copy", source, target)
        expect(result.returncode != 0, f"copied: {result.text}")
        for part in (what, '"./in/the way"', "choose a volume on"):
            expect(part in result.text, f"no {part} in: {result.text}")

    for kind in bench_module.KINDS:
        yield f"flags.changed-while-locked-{kind}", lambda bench, kind=kind: changed_while_locked(bench, kind)
    yield "flags.go", flags_go
    yield "flags.all-is-deleted", all_is_deleted
    yield "projects.between-rounds", projects_between_rounds
    yield "projects.left-out", left_out_projects
    for project in (42, 0):
        yield f"projects.target-has-its-own-{project}", lambda bench, project=project: target_has_its_own(bench, project)
        yield f"projects.imported-into-its-own-{project}", lambda bench, project=project: imported_into_its_own(bench, project)
    for source, target, what, set_it in (
            ("ext4", "tmpfs", "the flag sync", lambda path: hostile.change_flags(path, hostile.SYNC)),
            ("ext4", "tmpfs", "the flag dirsync", lambda path: hostile.change_flags(path, hostile.DIRSYNC)),
            ("ext4", "xfs", "the flag dirsync", lambda path: hostile.change_flags(path, hostile.DIRSYNC)),
            ("xfs", "tmpfs", "project id 42", lambda path: hostile.set_project(path, 42)),
            ("xfs", "ext4", "project id 42", lambda path: hostile.set_project(path, 42)),
            ("xfs", "btrfs", "project id 42", lambda path: hostile.set_project(path, 42))):
        yield (f"flags.{what.split()[-1]}-that-{target}-cannot-hold",
               lambda bench, source=source, target=target, what=what, set_it=set_it:
               cannot_hold(bench, source, target, what, set_it))
