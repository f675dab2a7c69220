"""All tests, in five pytest processes side by side: those with real packets mostly wait, the others mostly compute.

Beside them, on what time they leave, a campaign of fresh schedules in the simulation; its first seed is printed. Run by
`make test`. The tests of the core are measured, because it must be covered whole. Prints one after the other and fails
when any of them does. (Not a shell script: a shell's background jobs ignore SIGINT, and some tests send it.)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

CORE, CONTRACT = "tests/core", "tests/contract"
"""What is measured, and what mostly waits."""
APART = (
    "tests/lab/test_bench_packets.py",
    "tests/lab/test_nothing_is_left.py",
    "tests/scenarios/test_shell.py",
    "tests/tools/test_wheel.py",
)
"""Of the tests with packets those with labs of their own: a third of their time."""

FRESH_SCHEDULES = 2_000
"""Each call plays others, so that a month of calls is a campaign of its own."""
PROCESSES = 2


def main(arguments: list[str]) -> int:
    python = sys.executable
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider"]
    if arguments:
        return subprocess.call([*pytest, *arguments])
    polite = ["nice", "-n", "10"]  # where packets are involved, milliseconds count
    covered = [*polite, python, "-m", "coverage", "run", "--branch", "-m", "pytest", "-p", "no:cacheprovider", CORE]
    report = [python, "-m", "coverage", "report", "--show-missing", "--skip-covered", "--fail-under=100"]
    beside = {
        "tests with real packets": [*pytest, "-m", "packets", *(f"--ignore={each}" for each in APART)],
        "labs of their own": [*pytest, "-m", "packets", *APART],
        "the core": covered,
        "contracts with AWS": [*polite, *pytest, "-m", "not packets", CONTRACT],
    }
    with contextlib.ExitStack() as closing:
        logs = [closing.enter_context(tempfile.TemporaryFile("w+")) for _ in beside]
        running = {name: _Beside(words, log) for (name, words), log in zip(beside.items(), logs, strict=True)}
        story = closing.enter_context(tempfile.TemporaryFile("w+"))
        campaign = closing.enter_context(_campaign(story, FRESH_SCHEDULES))
        others = [*polite, *pytest, "-m", "not packets", f"--ignore={CORE}", f"--ignore={CONTRACT}"]
        codes = [subprocess.call(others)]
        codes += [each.tell(name) for name, each in running.items()]
        codes += [subprocess.call(report), campaign.wait()]
        story.seek(0)
        print("\n--- fresh schedules in the simulation\n" + story.read(), flush=True)
    return int(any(codes))


class _Beside:
    """A process whose output is kept until it is its turn to be printed."""

    def __init__(self, words: Sequence[str], log: IO[str]) -> None:
        self._log = log
        self._process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)

    def tell(self, name: str) -> int:
        """Waits for its end; prints all it said; its exit code."""
        code = self._process.wait()
        self._log.seek(0)
        print(f"\n--- {name}\n" + self._log.read(), flush=True)
        return code


@contextlib.contextmanager
def _campaign(story: IO[str], schedules: int) -> Iterator[subprocess.Popen[bytes]]:
    """Ends it if it is not waited for."""
    words = [sys.executable, "-m", "natkeeper_cli", "simulate", "--schedules", str(schedules), "--jobs", str(PROCESSES)]
    campaign = subprocess.Popen(words, stdout=story, stderr=subprocess.STDOUT, preexec_fn=_give_way)
    try:
        yield campaign
    finally:
        campaign.terminate()
        campaign.wait()


def _give_way() -> None:
    """Tests with packets measure milliseconds: whatever computes beside them has to run when nothing else wants to."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
