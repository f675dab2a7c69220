"""How many seeded schedules one core plays in a second, beside what their passes alone would cost.

Called by `make bench`; `python -m tools.bench_simulation` prints it alone. Batches of the same seeds, each in a process
of its own, by processor time and not by the clock on the wall. The floor is measured in the same process right after
its batch: as many passes as the batch had, all of them the smallest there is (at rest, two zones), on the same adapters
with clients that answer at once. What a schedule costs above it is what happens in it: longer passes, packets, faults,
the judge, and virtual time itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from natkeeper.adapters.ec2 import Ec2
from natkeeper.adapters.ledger import DynamoLedger
from natkeeper.core.news import Tick
from natkeeper.ports import Ports
from natkeeper.reconcile import reconcile
from natkeeper_lab.simulation import invocation
from natkeeper_lab.simulation.answers import BEGINNING
from natkeeper_lab.simulation.campaign import play, schedule_of
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World

ROOT = Path(__file__).resolve().parents[1]

GOAL = 300
"""Schedules a second and core (docs/simulation.md, "Open")."""
SEEDS = 150
BATCHES = 5
WARM_UP = 10
"""Seeds before the first one of a batch, so that imports and caches are paid for."""


class _Rest:
    """A stack at rest whose clients answer at once: the ports of the smallest pass."""

    def __init__(self) -> None:
        world = World(0, Setting())
        self.answers, self.table, self.policy = world.answers, world.table, world.policy
        self.reasons: set[str] = set()
        self.meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_: None))
        ec2 = Ec2(cast(Any, self), world.policy, world.launches, self.together)
        self.ports = Ports(
            vpc=ec2,
            ledger=DynamoLedger(cast(Any, self), "ledger", "bench", self.now),
            prober=cast(Any, SimpleNamespace(start=lambda _watch: None)),
            clock=cast(Any, SimpleNamespace(now=self.now, remaining=lambda: timedelta(seconds=20))),
            telemetry=cast(Any, SimpleNamespace(decided=self.decided, acted=lambda *_: None)),
            together=self.together,
        )

    def now(self) -> datetime:
        return BEGINNING

    def together(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        return [each() for each in calls]

    def decided(self, plan: Any) -> None:
        self.reasons.add(plan.reason.value)

    # -- the clients

    def get_paginator(self, name: str) -> SimpleNamespace:
        answer = self._instances if name == "describe_instances" else self._tables
        return SimpleNamespace(paginate=lambda **_: [answer()])

    def _instances(self) -> dict[str, Any]:
        return {"Reservations": [{"Instances": self.answers.items("DescribeInstances", 0)}]}

    def _tables(self) -> dict[str, Any]:
        return {"RouteTables": self.answers.items("DescribeRouteTables", 0)}

    def describe_addresses(self, **_: Any) -> dict[str, Any]:
        return {"Addresses": self.answers.items("DescribeAddresses", 0)}

    def query(self, **params: Any) -> dict[str, Any]:
        return self.table.apply("Query", params)

    def update_item(self, **params: Any) -> dict[str, Any]:
        return self.table.apply("UpdateItem", params)

    exceptions = SimpleNamespace(ConditionalCheckFailedException=KeyError)


def batch(first: int, count: int) -> dict[str, float]:
    """One batch in this process: processor seconds of the schedules and of their passes alone."""
    passes = 0

    def counted(*arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        return reconcile(*arguments)

    invocation.reconcile = counted  # type: ignore[assignment]
    for seed in range(first + count, first + count + WARM_UP):
        play(schedule_of(seed))
    passes = calls = 0
    virtual = 0.0
    began = time.process_time()
    for seed in range(first, first + count):
        found = play(schedule_of(seed))
        calls, virtual = calls + found.calls, virtual + found.seconds
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "floor_seconds": _floor(passes),
        "passes": passes / count,
        "calls": calls / count,
        "virtual_seconds": virtual / count,
    }


def _floor(passes: int) -> float:
    rest = _Rest()
    for _ in range(WARM_UP):  # the first one starts the probers' runs
        reconcile([Tick()], rest.ports, rest.policy)
    rest.reasons.clear()
    began = time.process_time()
    for _ in range(passes):
        reconcile([Tick()], rest.ports, rest.policy)
    if rest.reasons != {"at-rest"}:
        raise RuntimeError(f"the floor is not at rest: {rest.reasons}")
    return time.process_time() - began


def measure(batches: int = BATCHES, seeds: int = SEEDS) -> dict[str, Any]:
    """Schedules a second and core, with the spread over the batches, and the floor beside it."""
    found = [_in_a_process(seeds) for _ in range(batches)]
    rates = [seeds / each["seconds"] for each in found]
    floors = [seeds / each["floor_seconds"] for each in found]
    median = statistics.median(rates)
    return {
        "seeds": seeds,
        "batches": batches,
        "per_second": round(median, 1),
        "slowest": round(min(rates), 1),
        "fastest": round(max(rates), 1),
        "floor_per_second": round(statistics.median(floors), 1),
        "ratio": round(statistics.median(each["seconds"] / each["floor_seconds"] for each in found), 2),
        "goal": GOAL,
        "is_within_limits": median >= GOAL,
        **{key: round(found[0][key], 1) for key in ("passes", "calls", "virtual_seconds")},
    }


def _in_a_process(seeds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tools.bench_simulation", "--batch", str(seeds)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return cast(dict[str, float], json.loads(answer.stdout))


def print_table(result: dict[str, Any]) -> None:
    verdict = "kept" if result["is_within_limits"] else "not reached"
    print(f"\nsimulation: seeds 0 to {result['seeds'] - 1}, {result['batches']} batches, processor time of one core")
    print(
        f"{result['per_second']:.0f} schedules a second ({result['slowest']:.0f} to {result['fastest']:.0f}); "
        f"the goal of {result['goal']} is {verdict}"
    )
    print(
        f"a schedule: {result['virtual_seconds']:.0f} virtual seconds, {result['passes']:.0f} passes, "
        f"{result['calls']:.0f} calls; its passes alone, were they all at rest: {result['floor_per_second']:.0f} "
        f"a second, {result['ratio']:.1f} times as many"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when the goal is not reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, metavar="N", help="one batch of N seeds in this process, as JSON")
    options = parser.parse_args(arguments)
    if options.batch:
        print(json.dumps(batch(0, options.batch)))
        return 0
    result = measure()
    print_table(result)
    return 0 if result["is_within_limits"] else 1


if __name__ == "__main__":
    sys.exit(main())
