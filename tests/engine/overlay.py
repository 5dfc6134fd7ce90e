"""Tests of the upper directory of an overlay mount: what it says about the layers below it arrives, too."""

import os
import shlex

LOWER = ("mkdir -p kept replaced/below gone/below moved/below; echo lower >kept/file; echo lower >replaced/old; "
         "echo lower >replaced/below/old; echo lower >gone/below/file; echo lower >moved/below/file; "
         "echo lower >deleted; echo lower >changed; echo lower >'a name'; ln -s kept link")
FIRST = ("rm deleted; rm -r gone replaced; mkdir replaced; echo upper >replaced/new; echo more >>changed; "
         "chmod 4711 changed; setfattr -n user.mine -v 1 changed; echo upper >kept/new; ln kept/new again")
# In round 1 what is a whiteout becomes a file, and the other way round; in round 2 a directory moves.
BETWEEN = ("cd {merged} && if test $ROUND = 1; then echo back >deleted; rm 'a name' replaced/new; mkdir -p gone/below; "
           "rm -r kept; mkdir kept; echo other >kept/file; else mv moved elsewhere; rm -r replaced; rm link; fi")


def tests(mover, bench_module):
    expect, must, same, command = (getattr(bench_module, name) for name in ("expect", "must", "same", "command"))

    def mount(lower, upper, merged, options=""):
        work = f"{upper}.work"
        os.makedirs(work, exist_ok=True)
        os.makedirs(merged)
        made = command("mount", "-t", "overlay", "-o",
                       f"lowerdir={lower},upperdir={upper},workdir={work}{options}", "overlay", merged)
        if made.returncode != 0:
            raise bench_module.Skip(f"no overlay mounts here: {made.text}")

    def change(at, script):
        must("sh", "-ec", f"cd {shlex.quote(at)} && {script}")

    class Layers:
        """A lower directory and a mount over it that has been written to."""

        def __init__(self, bench, kind, options=""):
            self.lower, self.upper, self.merged, self.target, self.view = (bench.place(kind) for _ in range(5))
            for at in (self.lower, self.upper):
                os.mkdir(at)
            change(self.lower, LOWER)
            mount(self.lower, self.upper, self.merged, options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            for at in (self.view, self.merged):
                command("umount", at)

        def copy(self, *options):
            return command(mover, "copy", "--without-project-ids", *options, self.upper, self.target)

        def show(self):
            """The copy over the same lower directory, at `view`."""
            mount(self.lower, self.target, self.view)

    def in_rounds(bench, kind):
        with Layers(bench, kind) as layers:
            change(layers.merged, FIRST)
            result = layers.copy("--overlay", "--rounds", "3", "--between",
                                 BETWEEN.format(merged=shlex.quote(layers.merged)))
            expect(result.returncode == 0, result.text)
            layers.show()
            same(layers.merged, layers.view, result.text)
            names = os.listdir(layers.view)
            expect("elsewhere" in names and "replaced" not in names and "link" not in names, f"it has {names}")
            expect(os.listdir(f"{layers.view}/kept") == ["file"], "the layer below shows through an opaque directory")
            marks = os.listxattr(f"{layers.target}/kept")
            expect(marks == ["trusted.overlay.opaque"], f"an opaque directory has {marks}")

    def resumed(bench):
        with Layers(bench, "ext4") as layers:
            change(layers.merged, FIRST)
            must(mover, "copy", "--without-project-ids", "--overlay", layers.upper, layers.target)
            change(layers.merged, "rm -r kept; echo more >>replaced/new")
            result = layers.copy("--overlay", "--resume")
            expect(result.returncode == 0, result.text)
            layers.show()
            same(layers.merged, layers.view, result.text)

    def plain(bench):
        """Of a directory that is no upper one, its marks are nothing."""
        with Layers(bench, "tmpfs") as layers:
            change(layers.merged, FIRST)
            result = layers.copy()
            expect(result.returncode == 0, result.text)
            marks = os.listxattr(f"{layers.target}/replaced")
            expect(not marks, f"a plain directory got {marks}")

    def refused(bench, options, script, mark):
        with Layers(bench, "ext4", options) as layers:
            change(layers.merged, script)
            result = layers.copy("--overlay")
            expect(result.returncode != 0 and mark in result.text, f"status {result.returncode}: {result.text}")

    def whole_tree(bench):
        source, target = bench.tree("tmpfs", {"huge", "many", "deep"}), bench.place("tmpfs")
        result = command(mover, "copy", "--overlay", source, target)
        expect(result.returncode == 0, result.text)
        same(source, target)

    yield "overlay.rounds-tmpfs", lambda bench: in_rounds(bench, "tmpfs")
    yield "overlay.rounds-ext4", lambda bench: in_rounds(bench, "ext4")
    yield "overlay.resumed", resumed
    yield "overlay.plain-copy", plain
    yield "overlay.everything-else", whole_tree
    yield "overlay.renamed-directory", lambda bench: refused(
        bench, ",redirect_dir=on", "mv moved elsewhere", "trusted.overlay.redirect")
    yield "overlay.metadata-only", lambda bench: refused(
        bench, ",metacopy=on", "chown 1 changed", "trusted.overlay.metacopy")
