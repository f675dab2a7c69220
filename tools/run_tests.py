"""All tests, in two pytest processes side by side: those with real packets mostly wait, the others mostly compute.

Run by `make test`. The second one is measured, because the core must be covered whole. Prints one after the other and
fails when either does. (Not a shell script: a shell's background jobs ignore SIGINT, and some tests send it.)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile


def main(arguments: list[str]) -> int:
    python = sys.executable
    packets = [python, "-m", "pytest", "-m", "packets", "-p", "no:cacheprovider", *arguments]
    others = [python, "-m", "coverage", "run", "--branch", "-m", "pytest", "-m", "not packets", *arguments]
    report = [python, "-m", "coverage", "report", "--show-missing", "--skip-covered", "--fail-under=100"]
    with tempfile.TemporaryFile("w+") as log:
        beside = subprocess.Popen(packets, stdout=log, stderr=subprocess.STDOUT)
        codes = [subprocess.call(others), subprocess.call(report), beside.wait()]
        log.seek(0)
        print("\n--- tests with real packets\n" + log.read(), flush=True)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
