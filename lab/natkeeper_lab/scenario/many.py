"""Many scenarios, each in a lab of its own, several side by side, each as often as is asked.

Called by the command line, inside `sandbox`. This process imports everything once and then forks a lab for each
run; it stays free of threads, because a fork copies only one.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from natkeeper_lab import nested
from natkeeper_lab.scenario.expect import OBSERVED
from natkeeper_lab.scenario.file import Scenario
from natkeeper_lab.scenario.pace import pace

JOBS_PER_PROCESSOR = 3
"""A run of the library used 340 s of processor for 51 scenarios that lasted 22 s each: three per processor keep it
about two thirds busy. With five and other work beside, cold starts took longer than the 10 s that Lambda gives."""
SERVICES = ("ec2", "dynamodb", "cloudformation", "lambda", "events", "scheduler")
"""Those that the lab itself calls."""
LOOK_AGAIN = 0.05
"""Seconds between two looks for a free place."""
HOLDS, BROKEN, VOID = 0, 1, 2
SLOW = ("boot", "start", "public_address", "address_remap")
"""Verbs whose seconds a scenario that comes home waits for."""


@dataclass(frozen=True)
class Played:
    """One run: its exit code (HOLDS, BROKEN, VOID, anything else is the lab's own failure), record and words."""

    scenario: Scenario
    number: int
    code: int
    record: Mapping[str, Any]
    said: str
    seconds: float


@dataclass
class _Lab:
    """One that is running."""

    scenario: Scenario
    number: int
    began: float
    said: IO[bytes]
    record: IO[bytes]


class Builders:
    """Lets so many labs be built at a time: that takes processors, and would disturb those that measure.

    A byte of a file is locked by whoever builds (fcntl(2), record locks): a process that dies gives it back.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - kept open as long as its locks may be asked for

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a place and keeps it meanwhile. Called in the forked process."""
        while (place := self._take()) is None:
            time.sleep(LOOK_AGAIN)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _take(self) -> int | None:
        for place in range(self._places):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                continue
            return place
        return None


Play = Callable[[Scenario, IO[bytes], Builders], int]
"""Plays one scenario, writes its record as JSON to the file, returns the exit code. Runs in the forked process."""


def warm_up() -> None:
    """Does once what every lab needs and none changes: imports, AWS's service models, the expanded template."""
    import boto3

    importlib.import_module("natkeeper_lab.scenario.run")
    from natkeeper_lab import deployment, shipped
    from natkeeper_lab.api import moto_bridge

    moto_bridge.warm_up((*SERVICES, "iam", "logs", "sns", "ssm"))
    for service in SERVICES:
        nobody = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nobody"}
        boto3.client(service, region_name="us-east-1", **nobody)  # type: ignore[call-overload]
    deployment.expand(shipped.TEMPLATE.read_text("utf-8"))


def default_jobs() -> int:
    """How many labs run side by side when nobody says."""
    return JOBS_PER_PROCESSOR * (os.cpu_count() or 1)


def play_all(
    scenarios: Sequence[Scenario],
    scale: float,
    jobs: int,
    repeat: int,
    play: Play,
    on_end: Callable[[Played], None],
) -> list[Played]:
    """Every run, in the order in which they ended. Longest first, so that none is left alone at the end."""
    ordered = sorted(scenarios, key=lambda each: -expected_seconds(each, scale))
    builders = Builders(os.cpu_count() or 1)
    waiting = [(each, number) for number in range(1, repeat + 1) for each in ordered]
    running: dict[int, _Lab] = {}
    ended: list[Played] = []
    gc.collect()
    gc.freeze()  # what is imported lives for ever: no collection in a child need look at it, or copy its pages
    while waiting or running:
        while waiting and len(running) < jobs:
            pid, lab = _start(*waiting.pop(0), play, builders)
            running[pid] = lab
        pid, status = os.wait()
        if pid in running:
            ended.append(_read(running.pop(pid), os.waitstatus_to_exitcode(status)))
            on_end(ended[-1])
    return ended


def expected_seconds(scenario: Scenario, scale: float) -> float:
    """Roughly how long it takes; only the order of starting depends on it."""
    own = pace(scenario.stack, scale)
    last = max((each.at for each in scenario.timeline), default=0.0)
    waits = [each.within or 0.0 for each in scenario.expect] + [OBSERVED]
    heals = 2 * own.quiet + own.run + own.boot if any(each.eventually for each in scenario.expect) else 0.0
    slow = max((each.args["seconds"] or 0.0 for each in scenario.timeline if each.do in SLOW), default=0.0)
    alarms = 15 * own.tick if any(each.kind == "alarm" for each in scenario.expect) else 0.0
    return last + max(waits) + heals + slow + alarms + own.run


def _start(scenario: Scenario, number: int, play: Play, builders: Builders) -> tuple[int, _Lab]:
    said, record = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed when the lab has ended
    lab = _Lab(scenario, number, time.monotonic(), said, record)
    return nested.start(lambda: play(scenario, lab.record, builders), lab.said.fileno()), lab


def _read(lab: _Lab, code: int) -> Played:
    lab.said.seek(0)
    lab.record.seek(0)
    said, record = lab.said.read().decode(errors="replace"), lab.record.read()
    lab.said.close()
    lab.record.close()
    found = json.loads(record) if record else {}
    return Played(lab.scenario, lab.number, code, found, said, time.monotonic() - lab.began)


# -- what a user is told


def table(played: Sequence[Played], repeat: int) -> list[str]:
    """A line for each scenario: how many of its runs passed, and how long they took."""
    lines = [f"{'scenario':<38} {'passed':>8} {'median s':>9} {'longest s':>10}"]
    for path in sorted({each.scenario.path for each in played}):
        own = [each for each in played if each.scenario.path == path]
        passed = sum(each.code == HOLDS for each in own)
        seconds = sorted(each.seconds for each in own)
        shown = f"{own[0].scenario.name:<38} {f'{passed}/{repeat}':>8} {seconds[len(seconds) // 2]:9.1f}"
        lines.append(f"{shown} {seconds[-1]:10.1f}{'' if passed == repeat else '  <-'}")
    return lines


def summary(played: Sequence[Played], repeat: int) -> list[dict[str, Any]]:
    """The same for programs, with the record and the words of each scenario's first failure."""
    found = []
    for path in sorted({each.scenario.path for each in played}):
        own = sorted((each for each in played if each.scenario.path == path), key=lambda each: each.number)
        failed = [each for each in own if each.code != HOLDS]
        found.append(
            {
                "name": own[0].scenario.name,
                "file": Path(path).name,
                "runs": repeat,
                "passed": repeat - len(failed),
                "seconds": [round(each.seconds, 1) for each in own],
                "failed_runs": [each.number for each in failed],
                "first_failure": {"said": failed[0].said, "record": failed[0].record} if failed else None,
            }
        )
    return found
