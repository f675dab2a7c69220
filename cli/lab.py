"""`natkeeper lab run`, `list` and `shell`. Called by `cli.main`.

Files are read before anything is built, so that a bad one costs no time; then the command enters the lab's sandbox,
which runs it again in there.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import sandbox
from lab.scenario.file import BadScenario, Scenario, parse

LIBRARY = Path(sandbox.__file__).resolve().parent / "scenarios"
HOLDS, BROKEN, BAD, CANNOT = 0, 1, 2, 3


def run(files: Sequence[Path], json_out: Path | None, report: Path | None, scale: float) -> int:
    """Plays every file, one after the other."""
    scenarios = _read(files)
    if scenarios is None:
        return BAD
    if report is not None and importlib.util.find_spec("lab.report") is None:
        _complain("--report: lab.report is not there yet; use --json OUT")
        return BAD
    if (lacks := _lacks()) is not None:
        return lacks
    sandbox.enter()
    return _play(scenarios, json_out, report, scale)


def _play(scenarios: Sequence[Scenario], json_out: Path | None, report: Path | None, scale: float) -> int:
    from lab.scenario.run import Outcome, play

    began = time.monotonic()
    outcomes: list[Outcome] = []
    for scenario in scenarios:
        print(f"--- {scenario.name}: {scenario.why}", flush=True)
        outcome = play(scenario, scale, lambda line: print(line, flush=True))
        outcomes.append(outcome)
        _tell(outcome)
    records = [each.record for each in outcomes]
    if json_out is not None:
        json_out.write_text(json.dumps(records[0] if len(records) == 1 else records, indent=1) + "\n")
    if report is not None:
        importlib.import_module("lab.report").write(records[-1], report)
    passed = sum(each.passed for each in outcomes)
    print(f"\n{passed} of {len(outcomes)} scenarios passed in {time.monotonic() - began:.0f} s")
    for each in outcomes:
        if not each.passed:
            print(f"  {'CANNOT JUDGE' if each.void else 'FAILED'}  {each.scenario.path}")
    if any(each.void for each in outcomes):
        return BAD
    return HOLDS if passed == len(outcomes) else BROKEN


def _tell(outcome: object) -> None:
    from lab.scenario.run import Outcome

    assert isinstance(outcome, Outcome)
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
