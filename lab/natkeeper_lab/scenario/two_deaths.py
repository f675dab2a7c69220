"""A family of scenarios: two NATs of two, or two of three, die within three seconds of each other, in every way.

`python -m natkeeper_lab.scenario.two_deaths DIR --members 12` writes files for the lab; `simulation.two_deaths` plays
them on virtual time. The first nine have every order of ways to die, the first eight every order of zones, the first 72
every pair of the two; the time between the deaths, and when the first one comes, differ in each. A person reboots a NAT
that hung, if it is still there. Pure but for `main`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

WAYS = tuple(product(("stop_instance", "terminate_instance", "hang"), repeat=2))
SHAPES = ("ab of 2", "ab of 3", "ba of 2", "bc of 3", "ca of 3", "ba of 3", "cb of 3", "ac of 3")
"""Who dies first and who then, of how many zones."""
LONGEST_GAP = 3.0
RUN = 5.0
"""The lab's watch runs: the first death comes anywhere in one."""
GOLDEN, SILVER = 0.618033988749895, 0.7548776662466927
"""Multiples of them, less their whole part, fill an interval evenly however many there are (golden ratio, plastic
number)."""
BESIDE_A_THIRD = 30.0
"""Until new connections work where one NAT is left: a move to the one that then dies is not judged by packets for 11 s,
while its address may be under way (docs/decisions.md, 44), and each of two failures takes up to 7 s to be seen."""
ALONE = "{{restored: {}, within: 60}}"
"""Where none is left: a boot, or a person's reboot."""
REBOOTED = 20.0
"""Seconds after the second death: later than everything that natkeeper finds out by itself."""


@dataclass(frozen=True)
class Member:
    """`number` from 0. `gap`: seconds between the two; `at`: when the first one dies."""

    number: int

    @property
    def ways(self) -> tuple[str, str]:
        """How the first dies, and how the second."""
        one, other = WAYS[self.number % len(WAYS)]
        return one, other

    @property
    def victims(self) -> tuple[str, str]:
        """Who dies first, and who then."""
        return SHAPES[self.number % len(SHAPES)][0], SHAPES[self.number % len(SHAPES)][1]

    @property
    def zones(self) -> str:
        """All zones there are."""
        return "abc"[: int(SHAPES[self.number % len(SHAPES)][-1])]

    @property
    def gap(self) -> float:
        """At once in every twelfth member."""
        return 0.0 if self.number % 12 == 0 else round(LONGEST_GAP * (self.number * GOLDEN % 1), 2)

    @property
    def at(self) -> float:
        """After the clock's zero."""
        return round(1 + RUN * (self.number * SILVER % 1), 2)

    @property
    def name(self) -> str:
        """Of scenario and file."""
        (one, other), (first, second) = self.ways, self.victims
        said = f"{one.partition('_')[0]}-{first}-{other.partition('_')[0]}-{second}-of-{len(self.zones)}"
        return f"two-deaths-{self.number:03}-{said}"

    def text(self) -> str:
        """The scenario."""
        lines = [
            f"name: {self.name}",
            f"why: two NATs of {len(self.zones)} die {self.gap:g} s after each other; one of a generated family",
            f"zones: [{', '.join(self.zones)}]",
            'stack: {InstanceTypes: "t4g.small"}',
            "timeline:",
            *(f"  - {each}" for each in self._timeline()),
            "expect:",
            *(f"  - {each}" for each in self._expected()),
        ]
        return "\n".join(lines) + "\n"

    def _timeline(self) -> Iterator[str]:
        second_at = round(self.at + self.gap, 2)
        for at, do, zone in zip((self.at, second_at), self.ways, self.victims, strict=True):
            yield f"{{at: {at}, do: {do}, target: nat@{zone}}}"
        for do, zone in zip(self.ways, self.victims, strict=True):
            if do == "hang":
                yield f"{{at: {round(second_at + REBOOTED, 2)}, do: reboot, target: nat@{zone}, original: true}}"

    def _expected(self) -> Iterator[str]:
        """A victim may go to the other one before that dies, then to the third (or, of two, to whichever comes back
        first), and home: two failovers and three moves at most. Whether any of them led to a dead NAT, only virtual
        time can tell (`simulation.two_deaths`)."""
        others = [each for each in self.zones if each not in self.victims]
        for zone in self.victims:
            yield f"{{after: 2, restored: {zone}, within: {BESIDE_A_THIRD:g}}}" if others else ALONE.format(zone)
        for zone in self.victims:
            yield f"{{eventually: 150, route: {zone}, is: home}}"
        for zone in self.victims:
            yield f"{{incidents: {zone}, contain_truth: true}}"
            yield f"{{messages: {zone}, at_most: 2}}"
            yield f"{{failovers: {zone}, at_most: 2}}"
            yield f"{{moves: {zone}, at_most: 3}}"
        for zone in others:
            yield f"{{never_down: {zone}}}"
            yield f"{{moves: {zone}, at_most: 0}}"


def family(first: int, count: int) -> list[Member]:
    """So many members, from a number on."""
    return [Member(number) for number in range(first, first + count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes them."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.scenario.two_deaths", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--members", type=int, default=12)
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for each in family(asked.first, asked.members):
        (asked.folder / f"{each.name}.yaml").write_text(each.text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
