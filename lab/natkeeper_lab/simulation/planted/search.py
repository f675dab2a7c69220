"""Which seed catches which planted bug. Called by `simulation.planted.__main__` and the tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from natkeeper_lab.simulation.campaign import Result, Schedule, schedule_of
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.planted.table import MUTANTS, Mutant, planted
from natkeeper_lab.simulation.tally import attempt

SEEDS = Path(__file__).with_name("seeds.json")
HEAD = """\
# Planted bugs

Each of these was put into natkeeper's own logic, in memory, to see that the simulation's campaign catches it: first the
mistakes that published NAT controllers make, by their number [below](#mistakes-of-others), then some of our own. Each
seed is played with the bug, where that [invariant](invariants.md) must break, and without it, where nothing may:
`tests/simulation/test_planted.py`. When natkeeper or the simulation changes,
`python -m natkeeper_lab.simulation.planted --search` finds new seeds and prints this page.

| planted | what the code does then | mistake | caught by |
|---|---|---|---|
"""
MISTAKES = {
    1: "The first ReplaceRoute that fails ends the loop, and the remaining tables keep the dead route.",
    2: "A missing setting passes its guard, because an empty text that is split at commas is a list of one element.",
    3: "A health check takes no connection at all for an HTTP status below 500.",
    4: "One failed round against two hosts moves the routes: nothing waits for a second one, or tries from elsewhere.",
    5: 'A describe call that fails is read as "nothing there", after which a healthy NAT is stopped.',
    6: "A launch that fails is reported as success, so nobody tries again.",
    7: "A reserved concurrency of one serves as the lock, so Lambda holds events back for minutes.",
    8: "The role may tag any instance, beside a permission to terminate whatever has the tag.",
    9: "The Elastic IP is moved to a machine that does not forward yet.",
    10: "A replacement waits for ever for an interface that the dying instance still holds.",
    11: "Routes are pointed at an instance's id, which EC2 refuses once the instance has two interfaces.",
    12: "Nobody looks whether egress is back after the move.",
    13: "The security group lets the probe in and not the workloads, so the probe is green and the subnet is cut off.",
}
"""What published controllers of this kind get wrong, each by its number (`Mutant.anchor`)."""
ELSEWHERE = (
    ("empty configuration", "a list of nothing is taken for a list, so its guard never fires", 2),
    ("terminating or tagging without a condition", "the role may do it to any instance", 8),
    ("only the probe is let in", "the NAT's security group lets the prober in, and workloads not", 13),
)
"""Mistakes in settings and template: planted by `tests/template/test_planted.py`."""
TAIL = """\

The last three are about settings and the template, which a simulated stack does not go through: there the test of the
real thing is run on the broken one, and must fail.
"""


@dataclass
class Found:
    """What came of a search. `others`: what else broke on the way, by invariant."""

    seed: int | None = None
    invariant: int | None = None
    played: int = 0
    others: Counter[int] = field(default_factory=Counter)


def seeds_for(mutant: Mutant) -> Iterator[int]:
    """Seeds whose schedules could show the bug, by what is in them."""
    return (seed for seed in count() if _could_show(mutant, schedule_of(seed)))


def _could_show(mutant: Mutant, schedule: Schedule) -> bool:
    if mutant.home and not schedule.goes_home:
        return False
    if mutant.bounds and min(schedule.setting.failovers, schedule.setting.launches) > 2:
        return False
    found = [each for each in schedule.injections if not mutant.among or each.fault in mutant.among]
    return any(each.lasts >= mutant.lasts * SECOND for each in found)


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
    """The invariant that breaks with the bug planted: one that is about the bug, where several break at once."""
    numbers = [each.number for each in with_bug(mutant, seed).violations]
    return next((each for each in numbers if each in mutant.breaks), next(iter(numbers), None))


def is_still_right(mutant: Mutant, row: dict[str, Any]) -> bool:
    """The seed catches the bug as written down, and holds without it."""
    is_caught = row["invariant"] in mutant.breaks and caught_by(mutant, row["seed"]) == row["invariant"]
    return is_caught and not attempt(schedule_of(row["seed"])).violations


def with_bug(mutant: Mutant, seed: int) -> Result:
    """Plays the seed with the bug planted."""
    with planted(mutant):
        return attempt(schedule_of(seed))


def known() -> dict[str, dict[str, Any]]:
    """Mutant to its seed and the invariant that catches it there, as checked in."""
    return dict(json.loads(SEEDS.read_text())) if SEEDS.exists() else {}


def page() -> Iterator[str]:
    """docs/planted-bugs.md."""
    seeds = known()
    yield from HEAD.splitlines()
    for each in MUTANTS.values():
        row = seeds.get(each.name)
        caught = f"invariant {row['invariant']}, seed {row['seed']}" if row else "**nothing**"
        yield f"| `{each.name}` | {each.mistake} | {each.anchor or ''} | {caught} |"
    for name, mistake, line in ELSEWHERE:
        yield f"| {name} | {mistake} | {line} | `tests/template/test_planted.py` |"
    yield from TAIL.splitlines()
    yield from ("", "## Mistakes of others", "")
    yield from (f"{number}. {mistake}" for number, mistake in MISTAKES.items())
