"""`natkeeper lab run`, `list` and `shell`. Called by `cli.main`.

Files are read before anything is built, so that a bad one costs no time; then the command enters the lab's sandbox,
which runs it again in there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import sandbox
from lab.scenario.file import BadScenario, Scenario, parse

if TYPE_CHECKING:
    from lab.scenario.run import Outcome

LIBRARY = Path(sandbox.__file__).resolve().parent / "scenarios"
HOLDS, BROKEN, BAD, CANNOT = 0, 1, 2, 3
MOST_JOBS = 4


def run(
    files: Sequence[Path], json_out: Path | None, report: Path | None, scale: float, jobs: int | None = None
) -> int:
    """Plays every file: one in this process, several each in a lab of its own."""
    scenarios = _read(files)
    if scenarios is None:
        return BAD
    if report is not None and importlib.util.find_spec("lab.report") is None:
        _complain("--report: lab.report is not there yet; use --json OUT")
        return BAD
    if (lacks := _lacks()) is not None:
        return lacks
    began = time.monotonic()
    if len(scenarios) == 1:
        sandbox.enter()
        played = [_play(scenarios[0], scale)]
    else:
        played = _play_all(scenarios, scale, jobs or min(MOST_JOBS, os.cpu_count() or 1))
    _write([each.record for each in played], json_out, report)
    passed = sum(each.code == HOLDS for each in played)
    if len(played) > 1:
        print(f"\n{passed} of {len(played)} scenarios passed in {time.monotonic() - began:.0f} s")
        for each in played:
            if each.code != HOLDS:
                print(f"  {'FAILED' if each.code == BROKEN else 'CANNOT JUDGE'}  {each.path}")
    return max(each.code for each in played)


@dataclass(frozen=True)
class Played:
    """One file's exit code and record."""

    path: Path
    code: int
    record: dict[str, Any]


def _play(scenario: Scenario, scale: float) -> Played:
    """In this process, which is inside the sandbox."""
    from lab.scenario.run import play

    print(f"--- {scenario.name}: {' '.join(scenario.why.split())}", flush=True)
    outcome = play(scenario, scale, lambda line: print(line, flush=True))
    _tell(outcome)
    code = BAD if outcome.void else HOLDS if outcome.passed else BROKEN
    return Played(scenario.path, code, outcome.record)


def _play_all(scenarios: Sequence[Scenario], scale: float, jobs: int) -> list[Played]:
    """Each as a command of its own, so that one lab's trouble is not the next one's; each says all it has at once."""
    with ThreadPoolExecutor(jobs) as pool, tempfile.TemporaryDirectory() as directory:

        def one(numbered: tuple[int, Scenario]) -> Played:
            number, scenario = numbered
            out = Path(directory, f"{number}.json")
            argv = [sys.executable, "-m", "cli", "lab", "run", str(scenario.path), "--json", str(out)]
            done = subprocess.run(
                [*argv, "--time-scale", f"{scale:g}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                preexec_fn=sandbox.die_with_parent,
            )
            print(done.stdout, end="", flush=True)
            return Played(scenario.path, done.returncode, json.loads(out.read_text()) if out.exists() else {})

        return list(pool.map(one, enumerate(scenarios)))


def _write(records: list[dict[str, Any]], json_out: Path | None, report: Path | None) -> None:
    if json_out is not None:
        json_out.write_text(json.dumps(records[0] if len(records) == 1 else records, indent=1) + "\n")
    if report is not None:
        importlib.import_module("lab.report").write(records[-1], report)


def _tell(outcome: Outcome) -> None:
    for each in outcome.verdicts:
        if not each.passed:
            line = f" (line {each.expectation.line})" if each.expectation and each.expectation.line else ""
            print(f"    {each.text}{line}\n      expected: {each.expected}\n      seen:     {each.seen}")
            print(f"      when:     {each.at:.2f} s after the clock's zero")
    word = "PASS" if outcome.passed else "FAIL"
    print(f"{word}  {outcome.scenario.name} in {outcome.seconds:.1f} s", flush=True)
    if outcome.void:
        _complain(f"{outcome.scenario.path}: this run cannot be judged: {outcome.void}")


def listing() -> int:
    """Every scenario of the library, with why it is there."""
    for path in sorted(LIBRARY.glob("*.yaml")):
        try:
            found = parse(path)
        except BadScenario as problem:
            _complain(str(problem))
            return BAD
        print(f"{found.name:<36} {' '.join(found.why.split())}")
    print(f"\nnatkeeper lab run {LIBRARY}/NAME.yaml")
    return HOLDS


def shell() -> int:
    """A VPC to play with."""
    if (lacks := _lacks()) is not None:
        return lacks
    sandbox.enter()
    from cli.shell import play

    return play()


def _read(files: Sequence[Path]) -> list[Scenario] | None:
    """Every scenario, or None when one is bad; all the bad ones are told at once. The library's go by name too."""
    paths: list[Path] = []
    for each in files:
        named = LIBRARY / f"{each}.yaml"
        found = (
            sorted(each.glob("*.yaml")) if each.is_dir() else [named if not each.exists() and named.exists() else each]
        )
        paths += found
        if not found:
            _complain(f"{each}: no scenario (*.yaml) in this folder")
            return None
    scenarios, is_bad = [], False
    for path in paths:
        try:
            scenarios.append(parse(path))
        except BadScenario as problem:
            _complain(str(problem))
            is_bad = True
    return None if is_bad else scenarios


def _lacks() -> int | None:
    lacks = [] if sandbox.is_inside() else sandbox.missing()
    if not lacks:
        return None
    _complain("natkeeper's lab cannot run on this machine:\n  " + "\n  ".join(lacks))
    return CANNOT


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
