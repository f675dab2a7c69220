"""Many stacks in one account lose a zone at once: how long until the last group has egress, and in which order.

`python -m natkeeper_lab.simulation.scale` prints the figures of docs/simulation.md, "Scale". Each stack is a whole
world (one VPC, two zones, its own ledger, controller and probers); what they share is time and the account's token
buckets. The bound is what the buckets alone would take for the calls that every group needs at least.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from statistics import median

from natkeeper_lab.simulation.api import THROTTLED, Bucket, Call, buckets
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import Judge, World

STACKS = 500
WARM_UP = 150
"""Two ticks and two watch runs of every stack: buckets and chains are as they always are."""
PATIENCE = 600
SLACK = 1.3
"""How much longer than the buckets' own time it may take (docs/simulation.md, "Scale")."""
WAYS = ("silent", "stopped")
"""What losing a zone looks like: packets die while EC2 shows the NATs running, or every NAT stops, with events."""
LOST = "a"


@dataclass(frozen=True)
class Figures:
    """Seconds since the zone was lost. `bound`: the least that the tightest bucket takes. `waits`: in the order in
    which egress came back; `never`: how many are not among them."""

    stacks: int
    tables: int
    way: str
    seed: int
    bound: float
    tightest: str
    waits: tuple[float, ...]
    never: int
    calls: dict[str, int]
    throttled: dict[str, int]
    reasons: dict[str, int]

    @property
    def last(self) -> float:
        """Until the last group has egress; infinite when one never had."""
        return float("inf") if self.never else max(self.waits)

    @property
    def ratio(self) -> float:
        """Against the bound."""
        return self.last / self.bound


def account(shrink: float = 1) -> dict[str, Bucket]:
    """An account's buckets. So many times fewer stacks on buckets so many times smaller take as long, for less work."""
    return {name: Bucket(each.size / shrink, each.refill / shrink) for name, each in buckets().items()}


def bound(stacks: int, tables: int, shrink: float = 1) -> tuple[float, str]:
    """(seconds, operation): each group needs one AssociateAddress, a ReplaceRoute a table, and one look."""
    needs = {"AssociateAddress": 1, "ReplaceRoute": tables}
    needs |= dict.fromkeys(("DescribeInstances", "DescribeRouteTables", "DescribeAddresses"), 1)
    known = account(shrink)
    times = {name: max(0.0, stacks * count - known[name].size) / known[name].refill for name, count in needs.items()}
    tightest = max(times, key=lambda each: times[each])
    return times[tightest], tightest


class Account:
    """The stacks, their shared time and buckets, and when each group came back."""

    def __init__(self, stacks: int, tables: int, seed: int, shrink: float) -> None:
        self.hub = Hub()
        self.buckets = account(shrink)
        self.seen = _Counting()
        dice = Random(seed)
        setting = Setting(zones=2, tables=tables, quiet=300, run=55)
        self.worlds = [World(dice.getrandbits(40), setting, self.seen, hub=self.hub) for _ in range(stacks)]
        for each in self.worlds:
            each.api.buckets = self.buckets
            each.start()

    def lose(self, way: str) -> None:
        """The zone, in every VPC at the same instant."""
        for each in self.worlds:
            if way == "silent":
                each.packets.zones_down.add(LOST)
                each.packets_changed()
            else:
                target = each.route_of(each.policy.group(LOST).table_ids[0])
                machine = each.ec2.owner(target or "")
                if machine is not None:
                    each.ec2.stop(machine)

    def close(self) -> None:
        """Ends every world."""
        for each in self.worlds:
            each.close()


class _Counting(Judge):
    """Calls by name, those applied and those throttled."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()

    def called(self, call: Call, error: ApiError | None) -> None:
        self.calls[call.operation] += 1
        if error is THROTTLED:
            self.throttled[call.operation] += 1


def measure(stacks: int = STACKS, tables: int = 2, way: str = "silent", seed: int = 1, shrink: float = 1) -> Figures:
    """One loss of a zone."""
    account = Account(stacks, tables, seed, shrink)
    hub = account.hub
    hub.run(WARM_UP * SECOND)
    account.seen.calls.clear()
    account.seen.throttled.clear()
    for each in account.worlds:
        each.transitions.clear()
    account.lose(way)
    waiting, waits = set(account.worlds), list[float]()
    lost_at = hub.now
    while waiting and hub.now < lost_at + PATIENCE * SECOND:
        hub.run(hub.now + SECOND // 4)
        for each in [each for each in waiting if each.is_up(LOST)]:
            waiting.discard(each)
            waits.append((hub.now - lost_at) / SECOND)
    reasons: Counter[str] = Counter()
    for each in account.worlds:
        reasons += each.transitions
    seconds, tightest = bound(stacks, tables, shrink)
    seen = account.seen
    found = Figures(
        stacks,
        tables,
        way,
        seed,
        seconds,
        tightest,
        tuple(waits),
        len(waiting),
        dict(seen.calls),
        dict(seen.throttled),
        dict(reasons),
    )
    account.close()
    return found


def unfairness(waits: Sequence[float]) -> float:
    """How far the service is from an even one: the largest distance, in shares of the groups, between how many were
    served by an instant and how many an even service would have served by then (Kolmogorov's distance). 0 is a perfect
    queue; nobody can jump it, for all lost egress at the same instant and the buckets know no names."""
    ordered, whole = sorted(waits), max(waits)
    return max(abs((number + 1) / len(ordered) - each / whole) for number, each in enumerate(ordered))


def tell(found: Figures) -> str:
    """For people."""
    waits = found.waits or (float("inf"),)
    lines = [
        f"{found.stacks} groups, {found.tables} tables each, zone lost ({found.way}), seed {found.seed}",
        f"  bound {found.bound:.0f} s ({found.tightest}); last group {found.last:.0f} s, {found.ratio:.2f} times",
        f"  median {median(waits):.0f} s, first {min(waits):.1f} s, never {found.never}; "
        f"unfairness {unfairness(waits):.2f}, last tenth {sorted(waits)[int(len(waits) * 0.9)]:.0f} s",
    ]
    for name, count in sorted(found.calls.items()):
        if name in found.throttled or name[0] in "ARCSM":
            lines.append(f"  {name}: {count} calls, {found.throttled.get(name, 0)} throttled")
    lines.append("  " + ", ".join(f"{name} {count}" for name, count in sorted(found.reasons.items())))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 1 when the last group waits longer than SLACK times the bound."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.simulation.scale", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--stacks", type=int, default=STACKS)
    parser.add_argument("--tables", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shrink", type=float, default=1, help="divide the buckets by this")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--json", metavar="OUT")
    options = parser.parse_args(argv)
    found = []
    for way in options.way or WAYS:
        found.append(measure(options.stacks, options.tables, way, options.seed, options.shrink))
        print(tell(found[-1]), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([asdict(each) for each in found], file, indent=1)
    return 0 if all(each.ratio <= SLACK for each in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
