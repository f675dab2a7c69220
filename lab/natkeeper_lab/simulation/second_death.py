"""A NAT is lost, and its neighbour too, right after it took the traffic: the interval must contain both dark spans.

`python -m natkeeper_lab.simulation.second_death --seed N --schedules M` plays a pair of losses a seed and exits 1 where
the truth lies outside of what the incidents claim, or an invariant is broken. Both spans may fit between two rounds of
a prober.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random

from natkeeper.core.plan import IncidentClosed
from natkeeper_lab.simulation.book import on_hub
from natkeeper_lab.simulation.collector import held_off
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.machines import Machine
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.truth import dark
from natkeeper_lab.simulation.world import World

CAUSES = ("stopped", "hung", "terminated")
LOST = "a"
AT = (3 * SECOND, 40 * SECOND)
"""When the first is lost: anywhere in a watch run."""
AFTERWARDS = 3 * SECOND // 2
"""The second dies within so long after the traffic has reached it: the time of a probe's interval, and half of it."""
WITHIN = 120 * SECOND
"""Until the incidents are closed: what a report that got lost is waited for (85 s) has room."""
QUIET_PERIOD = 300
ROUNDING = 3_000
"""Microseconds, as `simulation.truth.ROUNDING`, for each of two incidents."""


@dataclass(frozen=True)
class Outcome:
    """What became of group a. Seconds; `high` None: some incident has no upper end."""

    seed: int
    causes: tuple[str, str]
    dark: float
    low: float
    high: float | None
    incidents: int
    broken: tuple[str, ...]

    @property
    def is_true(self) -> bool:
        """The interval contains the truth, and every invariant held."""
        slack = ROUNDING / SECOND
        is_below = self.high is not None and self.dark <= self.high + slack
        return not self.broken and self.incidents > 0 and self.low - slack <= self.dark and is_below


class _Listening(Invariants):
    """The judge, which keeps what closed."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[IncidentClosed] = []

    def happened(self, invocation: object, group: str, happening: object) -> None:
        super().happened(invocation, group, happening)  # type: ignore[arg-type]
        if isinstance(happening, IncidentClosed) and group == LOST:
            self.told.append(happening)


def play(seed: int) -> Outcome:
    """Plays one pair of losses."""
    with held_off():
        return _play(seed, Random(seed))


def _play(seed: int, dice: Random) -> Outcome:
    judge = _Listening()
    world = World(seed, Setting(zones=3, quiet=QUIET_PERIOD, run=55), judge, Paces())
    judge.watch(world)
    world.start()
    causes = (dice.choice(CAUSES), dice.choice(CAUSES))
    world.hub.run(world.hub.now + dice.randrange(*AT))
    at, first = world.hub.now, _carrier(world)
    _lose(world, first, causes[0])
    world.hub.run(at + WITHIN, lambda: world.fates[LOST][-1][1].is_ok and _carrier(world) is not first)
    world.hub.run(world.hub.now + dice.randrange(AFTERWARDS))
    _lose(world, _carrier(world), causes[1])
    world.hub.run(world.hub.now + WITHIN)
    found = _told(seed, causes, world, judge, at)
    world.close()
    return found


def _carrier(world: World) -> Machine:
    machine = world.ec2.owner(world.route_of(world.policy.group(LOST).table_ids[0]) or "")
    assert machine is not None
    return machine


def _lose(world: World, machine: Machine, cause: str) -> None:
    if cause == "stopped":
        world.ec2.stop(machine)
    elif cause == "terminated":
        world.ec2.terminate(machine)
    else:
        machine.is_hung = True
        world.packets_changed()


def _told(seed: int, causes: tuple[str, str], world: World, judge: _Listening, at: int) -> Outcome:
    told = [each for each in judge.told if on_hub(each.incident.opened_at) > at - SECOND]
    highs = [each.high.total_seconds() for each in told if each.high is not None]
    end = max((on_hub(each.incident.rounds[-1].sent_at) for each in told), default=world.hub.now)
    return Outcome(
        seed,
        causes,
        dark=dark(world, LOST, at, end),
        low=sum(each.low.total_seconds() for each in told),
        high=sum(highs) if len(highs) == len(told) else None,
        incidents=len(told),
        broken=tuple(str(each) for each in judge.book.violations),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every interval contains its truth. 1: one does not."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.simulation.second_death", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    with get_context("fork").Pool(asked.jobs) as pool:
        found = list(pool.imap_unordered(play, range(asked.seed, asked.seed + asked.schedules), chunksize=10))
    wrong = sorted((each for each in found if not each.is_true), key=lambda each: each.seed)
    for each in wrong[:20]:
        high = "?" if each.high is None else f"{each.high:.3f}"
        said = f"{each.low:.3f} to {high} s in {each.incidents} incidents, dark for {each.dark:.3f} s"
        print(f"seed {each.seed}: {' then '.join(each.causes)}: {said}; {'; '.join(each.broken)}")
    print(f"{len(found)} pairs of losses, {len(wrong)} whose truth is not in the interval")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
