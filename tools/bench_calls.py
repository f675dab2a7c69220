"""Measures what a failover's calls cost for any number of tables, and a pass at rest. Called by `tools/bench.py`.

Both run as in the contract tests: real adapters against the lab's API on the wire, with packets only remembered.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import Tick
from natkeeper.core.plan import Action, PointRoute
from tests.support.cloud import Cloud
from tests.support.round_trips import last_of, longest_chain

LATENCY_MS = 100
TABLES = (1, 3, 20)
RUNS = 5
ROUND_TRIPS = {True: 2, False: 3}
"""With a bare landing address and without (docs/architecture.md, "Open connections in a move")."""


def failover(tables: int, *, is_bare: bool) -> dict[str, float]:
    """One failover in a fresh cloud, so that connections are new as after a cold start. Milliseconds from the event
    in the controller's hands to the last default route's answer in them."""
    with Cloud(2, tables) as cloud:
        if not is_bare:
            cloud.make_spare_public("b")
        cloud.stop_nat("a")
        cloud.forget()
        answered = _answers(cloud)
        cloud.api.faults.delay(LATENCY_MS / 1000)
        began = time.monotonic()
        reasons = cloud.wake(cloud.stopping("a"), is_one_turn=True)  # a second turn is healing and not failover
        cloud.api.faults.clear()
        if reasons["a"] != ["fail-over"] or len(answered) != tables:
            raise RuntimeError(f"no failover: {reasons}, {len(answered)} of {tables} routes, {cloud.troubles()}")
        chain = longest_chain(cloud.calls(), last_of(cloud.calls(), "ReplaceRoute", DEFAULT_ROUTE))
        return {"ms": (max(answered) - began) * 1000, "round_trips": len(chain)}


def _answers(cloud: Cloud) -> list[float]:
    """Filled with the instants at which the controller has each default route's answer."""
    answered: list[float] = []
    vpc = cloud.controller._vpc
    do = vpc.do

    def timed(action: Action, *rest: Any) -> None:
        do(action, *rest)
        if isinstance(action, PointRoute) and action.destination == DEFAULT_ROUTE:
            answered.append(time.monotonic())

    vpc.do = timed  # type: ignore[method-assign]
    return answered


def bare_round_trip() -> float:
    """What one call with the same injected latency costs a bare client, in milliseconds: the real floor's brick."""
    with Cloud(1, 1, is_seeded=False) as cloud:
        cloud.api.faults.delay(LATENCY_MS / 1000)
        return statistics.median(_timed(cloud.ec2.describe_addresses) for _ in range(RUNS))


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return (time.monotonic() - began) * 1000


def failovers() -> list[dict[str, Any]]:
    """One row for each number of tables and kind of landing address."""
    failover(1, is_bare=True)  # botocore's models are read once per process
    return [_failover_row(tables, is_bare) for is_bare in (True, False) for tables in TABLES]


def _failover_row(tables: int, is_bare: bool) -> dict[str, Any]:
    samples = [failover(tables, is_bare=is_bare) for _ in range(RUNS)]
    times = [each["ms"] for each in samples]
    floor = ROUND_TRIPS[is_bare] * LATENCY_MS
    median = statistics.median(times)
    return {
        "tables": tables,
        "landing": "bare" if is_bare else "not bare",
        "round_trips": int(min(each["round_trips"] for each in samples)),
        "round_trips_promised": ROUND_TRIPS[is_bare],
        "floor_ms": floor,
        "median_ms": round(median, 1),
        "ratio": round(median / floor, 2),
        "fastest_ms": round(min(times), 1),
        "slowest_ms": round(max(times), 1),
    }


def at_rest(zones: int = 3, tables: int = 3) -> dict[str, Any]:
    """A pass with nothing to do, without injected latency."""
    with Cloud(zones, tables) as cloud:
        times = [_timed(lambda: cloud.wake(Tick())) for _ in range(RUNS)]
        cloud.forget()
        cloud.wake(Tick())
        return {
            "zones": zones,
            "tables": tables,
            "median_ms": round(statistics.median(times), 1),
            "slowest_ms": round(max(times), 1),
            "calls": len(cloud.calls()),
            "writes": len(cloud.writes()),
        }


def measure() -> dict[str, Any]:
    """Everything, as --json writes it."""
    result = {
        "latency_ms": LATENCY_MS,
        "bare_round_trip_ms": round(bare_round_trip(), 1),
        "failover": failovers(),
        "at_rest": at_rest(),
    }
    result["is_within_limits"] = result["at_rest"]["writes"] == 0 and all(
        each["round_trips"] == each["round_trips_promised"] for each in result["failover"]
    )
    return result


def print_table(result: dict[str, Any]) -> None:
    print(f"state-change event to last ReplaceRoute answered, {LATENCY_MS} ms injected per call, {RUNS} runs")
    print(f"(one call of a bare client: {result['bare_round_trip_ms']:.1f} ms)")
    columns = f"{'tables':>6} {'landing':<9}{'round trips':>12}{'floor ms':>10}{'median ms':>11}{'x floor':>9}"
    print(f"{columns}{'spread ms':>16}")
    for each in result["failover"]:
        spread = f"{each['fastest_ms']:.0f} to {each['slowest_ms']:.0f}"
        print(
            f"{each['tables']:>6} {each['landing']:<9}{each['round_trips']:>12}{each['floor_ms']:>10}"
            f"{each['median_ms']:>11.1f}{each['ratio']:>9.2f}{spread:>16}"
        )
    rest = result["at_rest"]
    print(f"\npass at rest, {rest['zones']} zones with {rest['tables']} tables each, no latency injected")
    print(
        f"median {rest['median_ms']:.1f} ms, slowest {rest['slowest_ms']:.1f} ms, "
        f"{rest['calls']} calls in one round trip, {rest['writes']} writes\n"
    )
