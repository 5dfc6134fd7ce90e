"""The manual page has what the help has."""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/man/transship-mover.1"
OPTION = re.compile(r"^\s+(?:-h,)?--([a-z-]+)", re.M)


def tests(mover, bench_module):
    expect, must = bench_module.expect, bench_module.must

    def options(_bench):
        sections, name = {}, ""
        for line in PAGE.read_text(encoding="utf-8").splitlines():
            if line.startswith((".Ss ", ".Sh ")):
                name = line[4:] if line.startswith(".Ss ") else ""
            elif line.startswith(".It Fl -"):
                sections.setdefault(name, set()).add(line.split()[2].lstrip("-"))
        whole = must(mover, "--help")
        commands = re.findall(r"^  ([a-z]+) ", whole[whole.index("Subcommands:"):], re.M)
        expect(len(commands) > 5, f"commands in the help: {commands}")
        for name, text in [("", whole[:whole.index("Subcommands:")]),
                           *((command, must(mover, command, "--help")) for command in commands)]:
            told = set(OPTION.findall(text)) - {"help"}
            written = sections.pop(name, set())
            expect(told == written, f"{name or 'all commands'}: the help has {sorted(told - written)}, "
                                    f"the manual page {sorted(written - told)}")
        expect(not sections, f"the manual page has options of {sorted(sections)}")

    yield "manual.options", options
