"""Other people's instances beside a failover: what their events cost, and whether they slow it down.

`python -m natkeeper_lab.simulation.crowd` prints the figures. One stack in an account whose EC2 buckets are EC2's own;
events of foreign instances arrive at an even pace for five minutes, and in the middle of it a NAT hangs or stops.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from natkeeper_lab.simulation.api import READS, THROTTLED, Call
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.faults.events import _event, foreign_id
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import Judge, World

BEGINS, LASTS, FAILS = 90, 300, 150
"""Seconds: when the events begin, how long they last, and when after their beginning the NAT fails."""
LATENCY = (50_000, 50_000)
"""Of each call, there and back, in microseconds."""
WAYS = ("hangs", "stops")
GROUP = "a"


@dataclass(frozen=True)
class Figures:
    """`dark`: seconds without egress. `theirs`: calls that passes woken by foreign events made, by name; `throttled`:
    calls of anybody's that EC2 refused for its buckets."""

    way: str
    a_second: int
    seed: int
    dark: float
    events: int
    theirs: dict[str, int]
    throttled: int

    @property
    def ec2_calls(self) -> int:
        """Of passes that a foreign event woke."""
        return sum(count for name, count in self.theirs.items() if name not in LEDGER)

    @property
    def writes(self) -> int:
        """Of passes that a foreign event woke, to EC2 or the ledger."""
        return sum(count for name, count in self.theirs.items() if name not in READS)


LEDGER = ("Query", "UpdateItem", "PutItem")


class _Counting(Judge):
    """Whose calls they are."""

    def __init__(self) -> None:
        self.theirs: Counter[str] = Counter()
        self.throttled = 0

    def called(self, call: Call, error: ApiError | None) -> None:
        self.throttled += error is THROTTLED
        event = call.invocation.event
        if isinstance(event, dict) and str(event.get("detail", {}).get("instance-id", "")).startswith("i-f"):
            self.theirs[call.operation] += 1


def measure(way: str, a_second: int, seed: int = 1) -> Figures:
    """One failure, in a crowd of so many events a second."""
    seen = _Counting()
    world = World(seed, Setting(zones=2, tables=2, quiet=300, run=55), seen)
    world.start()
    hub = world.hub
    world.api.latency = LATENCY
    crowd = _Crowd(world, seed)
    for number in range(a_second * LASTS):
        hub.after(BEGINS * SECOND + number * SECOND // a_second, partial(crowd.arrive, number), "crowd")
    hub.run((BEGINS + FAILS) * SECOND)
    _fail(world, way)
    hub.run((BEGINS + LASTS + 30) * SECOND)
    dark = _dark(world, (BEGINS + FAILS) * SECOND)
    found = Figures(way, a_second, seed, dark, a_second * LASTS, dict(seen.theirs), seen.throttled)
    world.close()
    return found


class _Crowd:
    """Foreign events with dice and numbers of their own: all else is drawn as it is without them, so that a difference
    is theirs."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = Random(seed)
        self._number = 1_000_000

    def arrive(self, number: int) -> None:
        """One event begins an invocation."""
        event = _event({"instance-id": foreign_id(number % 5000), "state": ("pending", "running")[number % 2]})
        world, functions = self._world, self._world.functions
        theirs = world.dice, functions._numbers
        world.dice, functions._numbers = self._dice, self._number
        functions.queued += 1
        functions._begin(event, f"crowd-{number}", 0)
        self._number = functions._numbers
        world.dice, functions._numbers = theirs


def _fail(world: World, way: str) -> None:
    machine = world.ec2.owner(world.route_of(world.policy.group(GROUP).table_ids[0]) or "")
    assert machine is not None
    if way == "stops":
        world.ec2.stop(machine)
    else:
        machine.is_hung = True
        world.packets_changed()


def _dark(world: World, since: int) -> float:
    """Seconds without egress from then on."""
    fates = [(at, fate.is_ok) for at, fate in world.fates[GROUP]]
    ends = [*(at for at, _ in fates[1:]), world.hub.now]
    spans = ((max(at, since), end) for (at, is_ok), end in zip(fates, ends, strict=True) if not is_ok)
    return sum(max(end - at, 0) for at, end in spans) / SECOND


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 1 when a crowd makes a failover take a tenth longer, or its events cost a call to EC2 or a write."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.simulation.crowd", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--a-second", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(argv)
    is_well = True
    for way in WAYS:
        alone = [measure(way, 0, seed).dark for seed in range(options.seeds)]
        crowds = [measure(way, options.a_second, seed) for seed in range(options.seeds)]
        dark = sum(each.dark for each in crowds) / sum(alone)
        costs = sum(each.ec2_calls for each in crowds), sum(each.writes for each in crowds)
        reads = sum(each.theirs.get("Query", 0) for each in crowds)
        events = sum(each.events for each in crowds)
        print(f"a NAT {way}: dark {[round(each, 2) for each in alone]} s alone")
        times = [round(each.dark, 2) for each in crowds]
        print(f"  with {options.a_second} foreign events a second {times} s: {dark:.2f} times")
        print(f"  {events} events cost {costs[0]} calls to EC2, {costs[1]} writes, {reads} ledger reads")
        is_well = is_well and dark < 1.1 and costs == (0, 0)
    return 0 if is_well else 1


if __name__ == "__main__":
    raise SystemExit(main())
