"""Which seed catches which planted bug. Called by `simulation.planted.__main__` and the tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from simulation.campaign import Result, Schedule, schedule_of
from simulation.planted.table import Mutant, planted
from simulation.tally import attempt

SEEDS = Path(__file__).with_name("seeds.json")


@dataclass
class Found:
    """What came of a search. `others`: what else broke on the way, by invariant."""

    seed: int | None = None
    invariant: int | None = None
    played: int = 0
    others: Counter[int] = field(default_factory=Counter)

    @property
    def record(self) -> dict[str, Any]:
        return {"seed": self.seed, "invariant": self.invariant, "played": self.played}


def seeds_for(mutant: Mutant) -> Iterator[int]:
    """Seeds whose schedules could show the bug, by what is in them."""
    return (seed for seed in count() if _could_show(mutant, schedule_of(seed)))


def _could_show(mutant: Mutant, schedule: Schedule) -> bool:
    if mutant.home and not schedule.goes_home:
        return False
    if mutant.bounds and min(schedule.setting.failovers, schedule.setting.launches) > 2:
        return False
    return not mutant.among or any(each.fault in mutant.among for each in schedule.injections)


def search(mutant: Mutant, most: int) -> Found:
    """The first seed that breaks what the bug is about and holds without it, within so many schedules."""
    found = Found()
    for seed in islice(seeds_for(mutant), most):
        found.played += 1
        number = caught_by(mutant, seed)
        if number in mutant.breaks and not attempt(schedule_of(seed)).violations:
            found.seed, found.invariant = seed, number
            return found
        if number is not None:
            found.others[number] += 1
    return found


def caught_by(mutant: Mutant, seed: int) -> int | None:
    """The first invariant that breaks with the bug planted."""
    result = with_bug(mutant, seed)
    return result.violations[0].number if result.violations else None


def with_bug(mutant: Mutant, seed: int) -> Result:
    """Plays the seed with the bug planted."""
    with planted(mutant):
        return attempt(schedule_of(seed))


def known() -> dict[str, dict[str, Any]]:
    """Mutant to its seed and the invariant that catches it there, as checked in."""
    return dict(json.loads(SEEDS.read_text())) if SEEDS.exists() else {}
