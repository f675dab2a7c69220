"""`natkeeper lab run`, `list` and `shell`. Called by `natkeeper_cli.main`.

Files are read before anything is built, so that a bad one costs no time; then the command enters the lab's sandbox,
which runs it again in there.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from natkeeper_lab import sandbox
from natkeeper_lab.scenario.file import BadScenario, Scenario, parse

if TYPE_CHECKING:
    from natkeeper_lab.scenario.run import Outcome

LIBRARY = Path(sandbox.__file__).resolve().parent / "scenarios"
HOLDS, BROKEN, BAD, CANNOT = 0, 1, 2, 3
FAILURES = Path("natkeeper-failures.json")
"""Where the records of failed runs are kept when runs are repeated and no --json says where."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks of a run."""

    files: Sequence[Path]
    json_out: Path | None = None
    report: Path | None = None
    scale: float = 1.0
    jobs: int | None = None
    repeat: int = 1
    times: Mapping[str, float | str] | None = None
    """AWS's own, by name (`scenario.times`)."""


def run(wanted: Wanted) -> int:
    """Plays every file: a single run in this process, several each in a lab of its own."""
    scenarios = _read(wanted.files)
    if scenarios is None:
        return BAD
    if (lacks := _lacks()) is not None:
        return lacks
    sandbox.enter()
    if len(scenarios) == 1 and wanted.repeat == 1:
        code, record = _play(scenarios[0], wanted)
        _write(record, [record], wanted)
        return code
    return _run_many(scenarios, wanted)


def _play(
    scenario: Scenario, wanted: Wanted, while_building: AbstractContextManager[None] | None = None
) -> tuple[int, dict[str, Any]]:
    """In this process, which is inside the sandbox."""
    from natkeeper_lab.scenario.run import play

    print(f"--- {scenario.name}: {' '.join(scenario.why.split())}", flush=True)
    outcome = play(scenario, wanted.scale, lambda line: print(line, flush=True), while_building, wanted.times)
    _tell(outcome)
    return BAD if outcome.void else HOLDS if outcome.passed else BROKEN, outcome.record


def _run_many(scenarios: Sequence[Scenario], wanted: Wanted) -> int:
    from natkeeper_lab.scenario import many

    began = time.monotonic()
    many.warm_up()

    def one(scenario: Scenario, out: IO[bytes], builders: many.Builders) -> int:
        code, record = _play(scenario, wanted, builders.turn())
        out.write(json.dumps(record).encode())
        out.flush()
        return code

    def on_end(each: many.Played) -> None:
        is_told_whole = wanted.repeat == 1 or each.code != HOLDS
        line = f"pass {each.number:3} of {wanted.repeat}  {each.scenario.name} in {each.seconds:.1f} s\n"
        print(each.said if is_told_whole else line, end="", flush=True)

    jobs = wanted.jobs or many.default_jobs()
    played = many.play_all(scenarios, wanted.scale, jobs, wanted.repeat, one, on_end)
    failed = [each for each in played if each.code != HOLDS]
    records = [each.record for each in (failed or played) if each.record]
    if wanted.repeat == 1:
        by_file = sorted(played, key=lambda each: scenarios.index(each.scenario))
        _write([each.record for each in by_file], [each.record for each in by_file if each.record], wanted)
    else:
        print("\n" + "\n".join(many.table(played, wanted.repeat)))
        out = wanted.json_out or (FAILURES if failed else None)
        _write(many.summary(played, wanted.repeat), records[:1], replace(wanted, json_out=out))
    print(f"\n{len(played) - len(failed)} of {len(played)} runs passed in {time.monotonic() - began:.0f} s")
    for each in failed:
        word = {BROKEN: "FAILED", BAD: "CANNOT JUDGE"}.get(each.code, "THE LAB FAILED")
        print(f"  {word}  {each.scenario.path}{f', run {each.number}' if wanted.repeat > 1 else ''}")
    return max((each.code if each.code in (BROKEN, BAD) else BAD for each in failed), default=HOLDS)


def _write(document: Any, records: Sequence[Mapping[str, Any]], wanted: Wanted) -> None:
    if wanted.json_out is not None:
        wanted.json_out.write_text(json.dumps(document, indent=1) + "\n")
        print(f"written: {wanted.json_out}")
    if wanted.report is not None and records:
        importlib.import_module("natkeeper_lab.report").write(dict(records[-1]), wanted.report)
        print(f"written: {wanted.report}")


def _tell(outcome: Outcome) -> None:
    for each in outcome.verdicts:
        if not each.passed:
            line = f" (line {each.expectation.line})" if each.expectation and each.expectation.line else ""
            print(f"    {each.text}{line}\n      expected: {each.expected}\n      seen:     {each.seen}")
            print(f"      when:     {each.at:.2f} s after the clock's zero")
    for trouble in [] if outcome.passed else outcome.record.get("troubles", []):
        print(f"    beside it, {trouble['function']} failed at {trouble['at']} s: {trouble['text']}")
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
        why = textwrap.wrap(" ".join(found.why.split()), max(40, shutil.get_terminal_size().columns - 37))
        print(f"{found.name:<36} " + f"\n{'':37}".join(why))
    print(f"\nPlay one: natkeeper lab run NAME    all: natkeeper lab run {LIBRARY} --time-scale 8")
    return HOLDS


def shell() -> int:
    """A VPC to play with."""
    if (lacks := _lacks()) is not None:
        return lacks
    sandbox.enter()
    from natkeeper_cli.shell import play

    return play()


def named(files: Sequence[Path]) -> list[Path]:
    """The same with the library's scenarios, which go by name too, as files."""
    library = {Path(path.stem): path for path in LIBRARY.glob("*.yaml")}
    return [file if file.exists() else library.get(file, file) for file in files]


def _read(files: Sequence[Path]) -> list[Scenario] | None:
    """Every scenario, or None when one is bad; all the bad ones are told at once."""
    paths: list[Path] = []
    for each in named(files):
        found = sorted(each.glob("*.yaml")) if each.is_dir() else [each]
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
