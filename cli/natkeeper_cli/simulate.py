"""`natkeeper simulate`: seeded schedules of faults in the simulated world, the replay of one, and the small worlds in
which nothing is left to chance. Called by `natkeeper_cli.main`.

The schedules of a campaign are the seeds S to S+N-1, whoever of the processes plays them. Exit 0 when nothing broke
(and, from `COMPLETE_FROM` schedules on, every fault and transition came about), 1 when something did, 2 for wrong use.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

from natkeeper_lab.simulation.situations import SITUATIONS
from natkeeper_lab.simulation.small_worlds import Bounds, explored
from natkeeper_lab.simulation.tally import COMPLETE_FROM, Tally, attempt, of_seeds
from natkeeper_lab.simulation.telling import kept, lines_of, smallest, told

HOLDS, BROKEN, BAD = 0, 1, 2
STRETCH = 20
"""Seeds that a process plays before it hands in its figures: about a second's work."""
TOLD = 3
"""Failures that are told in full; of the others the seed."""
MOST_NAMED = 40
"""Of a campaign too small to have everything happen, no more are named."""


def campaign(seed: int | None, schedules: int, zones: int | None, json_out: Path | None, jobs: int | None) -> int:
    """Plays `schedules` seeds from `seed` on; without one, from a fresh one of the system's."""
    if schedules < 1 or (jobs is not None and jobs < 1):
        return _complain("--schedules and --jobs must be at least 1")
    first = secrets.randbelow(10**9) if seed is None else seed
    workers = min(jobs or os.cpu_count() or 1, schedules)
    print(f"seeds {first} to {first + schedules - 1}" + (f", {zones} zones" if zones else ""), flush=True)
    began = time.monotonic()
    tally = _played(first, schedules, zones, workers)
    took = time.monotonic() - began
    _tell(tally, zones, took, workers)
    if json_out is not None:
        figures = {"seed": first, "zones": zones, "jobs": workers, "seconds": round(took, 1)}
        figures["per_second"] = round(schedules / took, 1)
        json_out.write_text(json.dumps({**figures, **tally.record()}, indent=1) + "\n")
    return HOLDS if tally.holds else BROKEN


def replay(seed: int | None, zones: int | None, keep: Sequence[int] | None) -> int:
    """Plays one seed, or some of its faults, and tells all of it but the calls that only read."""
    if seed is None:
        return _complain("--replay needs --seed")
    try:
        schedule = kept(seed, zones, keep)
    except ValueError as problem:
        return _complain(f"--keep: {problem}")
    result = told(schedule)
    for line in lines_of(result, zones, is_whole=True):
        print(line)
    print("BROKEN" if result.violations else "HOLDS")
    return BROKEN if result.violations else HOLDS


def small_worlds(
    bounds: Bounds,
    json_out: Path | None,
    jobs: int | None,
    names: Sequence[str],
) -> int:
    """Every situation of the small worlds (`simulation.small_worlds`), or those that are named."""
    if jobs is not None and jobs < 1:
        return _complain("--jobs must be at least 1")
    unknown = [each for each in names if each not in SITUATIONS]
    if unknown:
        return _complain(f"--situation: no {unknown[0]!r}; there are\n  " + "\n  ".join(SITUATIONS))
    return explored(bounds, jobs or os.cpu_count() or 1, names, json_out)


def _played(first: int, schedules: int, zones: int | None, workers: int) -> Tally:
    tally = Tally()
    if workers == 1:
        for each in map(_stretch, _stretches(first, schedules, zones)):
            tally.add(each)
            _progress(tally, schedules)
        return tally
    with get_context("fork").Pool(workers) as pool:
        for each in pool.imap_unordered(_stretch, _stretches(first, schedules, zones)):
            tally.add(each)
            _progress(tally, schedules)
    return tally


def _stretches(first: int, schedules: int, zones: int | None) -> Iterator[tuple[range, int | None]]:
    for begin in range(first, first + schedules, STRETCH):
        yield range(begin, min(begin + STRETCH, first + schedules)), zones


def _stretch(asked: tuple[range, int | None]) -> Tally:
    return of_seeds(*asked)


def _progress(tally: Tally, schedules: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if tally.schedules == schedules else ""
        print(f"\r{tally.schedules} of {schedules}, {len(tally.broken)} broken", end=end, file=sys.stderr, flush=True)


# -- what is printed


def _tell(tally: Tally, zones: int | None, took: float, workers: int) -> None:
    print("\nfaults, and how often each did something:")
    record = tally.record()
    _table(record["faults"])
    print("\nwhat natkeeper decided, did and ran into:")
    _table(record["transitions"])
    for each in tally.broken[:TOLD]:
        print()
        result = attempt(kept(each.seed, zones, None))
        for line in lines_of(smallest(result) if result.violations else result, zones):
            print(line)
    for each in tally.broken[TOLD:]:
        print(f"seed {each.seed}: invariant {each.invariant}: {each.text}")
    if tally.never:
        print(f"\n{_left_out(tally)}")
    rate = tally.schedules / took
    print(
        f"\n{tally.schedules} schedules, {len(tally.broken)} broken; {tally.held} held on purpose, {tally.went_home} "
        f"followed home\n{tally.seconds / 3600:.0f} virtual hours, {tally.calls} API calls, {took:.0f} s: "
        f"{rate:.0f} schedules a second, {rate / workers:.0f} in each of {workers} processes",
        flush=True,
    )


def _left_out(tally: Tally) -> str:
    names = ", ".join(tally.never)
    if tally.is_large:
        return f"FAILED, because these never happened: {names}"
    if len(tally.never) > MOST_NAMED:
        names = f"{len(tally.never)} faults and transitions"
    return f"never happened, which {COMPLETE_FROM} schedules would be asked for: {names}"


def _table(counts: dict[str, int]) -> None:
    """What never happened is told apart."""
    cells = [f"{name} {count}" for name, count in counts.items() if count]
    width = max(map(len, cells), default=0) + 2
    columns = max(1, 116 // width)
    for start in range(0, len(cells), columns):
        print("  " + "".join(each.ljust(width) for each in cells[start : start + columns]).rstrip())


def _complain(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    return BAD
