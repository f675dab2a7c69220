"""Many schedules, counted: what was played, what really happened in them, what broke, and what never came about.

`natkeeper_cli.simulate` and the tests call `of_seeds`. A tally of one stretch of seeds can be added to another's, so
that processes may share a campaign.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from natkeeper_lab.simulation.book import Violation
from natkeeper_lab.simulation.campaign import Result, Schedule, play, schedule_of
from natkeeper_lab.simulation.faults import FAULTS
from natkeeper_lab.simulation.transitions import TRANSITIONS

COMPLETE_FROM = 5_000
"""From so many schedules on, a fault or transition that never happened fails the campaign. The rarest one
(an incident of cause `route-blackhole`) happened in one of 500 schedules when 5,000 were counted, so that a campaign
of 5,000 misses it about once in 20,000 times; the next rarest in one of 185."""
RAISED = 0
"""Stands where an invariant's number would, for a schedule that could not be played to its end: an exception in code
that is total by design, or in the simulation itself."""


@dataclass(frozen=True)
class Broken:
    """A schedule that broke something. `at`: microseconds."""

    seed: int
    invariant: int
    at: int
    text: str


@dataclass
class Tally:
    """Figures of a campaign. `held`: schedules that ended with natkeeper holding on purpose (a bound used up, paused,
    common mode), so that liveness was not asked of them. `went_home`: followed until everything was home and at rest.
    """

    schedules: int = 0
    held: int = 0
    went_home: int = 0
    calls: int = 0
    seconds: float = 0.0
    """Virtual ones."""
    fires: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)

    def count(self, result: Result) -> None:
        """One more schedule."""
        self.schedules += 1
        self.held += result.is_held
        self.went_home += result.schedule.goes_home
        self.calls += result.calls
        self.seconds += result.seconds
        self.fires.update(result.fires)
        self.transitions.update(result.transitions)
        for each in result.violations[:1]:
            self.broken.append(Broken(result.schedule.seed, each.number, each.at, each.text))

    def add(self, other: Tally) -> None:
        """Another stretch of the same campaign."""
        self.schedules += other.schedules
        self.held += other.held
        self.went_home += other.went_home
        self.calls += other.calls
        self.seconds += other.seconds
        self.fires.update(other.fires)
        self.transitions.update(other.transitions)
        self.broken = sorted((*self.broken, *other.broken), key=lambda each: each.seed)

    @property
    def never(self) -> tuple[str, ...]:
        """Faults of the table and transitions that never happened."""
        faults = [name for name in FAULTS if not self.fires[name]]
        return (*faults, *(name for name in TRANSITIONS if not self.transitions[name]))

    @property
    def is_large(self) -> bool:
        """Enough schedules for everything to have happened."""
        return self.schedules >= COMPLETE_FROM

    @property
    def is_whole(self) -> bool:
        """Where the campaign is large enough to ask, nothing was left out."""
        return not (self.is_large and self.never)

    @property
    def holds(self) -> bool:
        """Nothing broke, and nothing was left out."""
        return not self.broken and self.is_whole

    def record(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schedules": self.schedules,
            "violations": [asdict(each) for each in self.broken],
            "held": self.held,
            "went_home": self.went_home,
            "virtual_hours": round(self.seconds / 3600, 1),
            "calls": self.calls,
            "faults": {name: self.fires[name] for name in FAULTS},
            "side_effects": {name: count for name, count in sorted(self.fires.items()) if name not in FAULTS},
            "transitions": {name: self.transitions[name] for name in TRANSITIONS},
            "never": list(self.never),
        }


def of_seeds(seeds: Iterable[int], zones: int | None = None) -> Tally:
    """Plays the schedules of these seeds."""
    tally = Tally()
    for seed in seeds:
        tally.count(attempt(schedule_of(seed, zones)))
    return tally


def attempt(schedule: Schedule) -> Result:
    """Plays it; an exception is a violation too, for a campaign must not end at its first surprise."""
    try:
        return play(schedule)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{error!r} in {where.name}, line {where.lineno}"
        return Result(schedule, [Violation(RAISED, 0, text)], Counter(), Counter(), 0.0, 0)
