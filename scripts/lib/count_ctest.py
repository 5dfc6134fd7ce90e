#!/usr/bin/env python3
"""Runs ctest and ends with `N passed, N failed, N skipped`.

usage: scripts/lib/count_ctest.py PRESET [CTEST OPTION...]
"""
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    build = os.path.join(ROOT, "build", sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        report = os.path.join(directory, "report.xml")
        status = subprocess.run(["ctest", "--test-dir", build, "--output-on-failure", "--parallel", str(os.cpu_count()),
                                 "--no-tests=error", "--output-junit", report, *sys.argv[2:]], check=False).returncode
        if not os.path.exists(report):
            print("ctest: no test was found")
            return status or 1
        suite = xml.etree.ElementTree.parse(report).getroot()
    total, failed = int(suite.get("tests")), int(suite.get("failures"))
    skipped = int(suite.get("skipped")) + int(suite.get("disabled"))
    print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return status


if __name__ == "__main__":
    sys.exit(main())
