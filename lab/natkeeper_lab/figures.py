"""The figures of a step: what it measured, beside what was promised. Called by `story`.

Raises NotSo when a promise does not hold. May not start, stop or change anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from natkeeper_lab.api import Call
from natkeeper_lab.rulers import Kept, Measured
from natkeeper_lab.stack import ANYWHERE, Stack

SURVIVING = 0.95
"""Nine of 600 flows were lost in the kernel model to colliding source ports (docs/architecture.md)."""


class NotSo(Exception):
    """An expectation of a step does not hold; the text says what was expected and what was seen."""


@dataclass(frozen=True)
class Result:
    """One step's outcome. Times in seconds unless the name says ms; None where a figure has no meaning in the step."""

    name: str
    title: str
    passed: bool = False
    downtime_lo: float | None = None
    downtime_hi: float | None = None
    downtime_seen: float | None = None
    egress_address_before: str | None = None
    egress_address_after: str | None = None
    flows_survived: str | None = None
    api_calls_before_route: int | None = None
    api_round_trips_before_route: int | None = None
    route_moved_after_event_ms: float | None = None
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def with_incident(result: Result, incident: Mapping[str, Any], measured: Measured) -> Result:
    """natkeeper's interval beside what the lab saw; the interval must contain it."""
    low, high = int(incident["downtime_low_ms"]) / 1000, int(incident["downtime_high_ms"]) / 1000
    seen = round(measured.downtime_seen, 3)
    note = f"downtime: natkeeper says {low:.3f} to {high:.3f} s, the lab's 5 ms probe saw {seen:.3f} s"
    result = replace(result, downtime_lo=low, downtime_hi=high, downtime_seen=seen, notes=(*result.notes, note))
    if not low <= seen <= high:
        raise NotSo(f"the interval does not contain what was seen; {note}")
    return result


def with_calls(stack: Stack, since: float, result: Result) -> Result:
    """How many calls, and how many in a row, lie between the event and the last route's answer."""
    calls = [each for each in stack.api.calls() if each.started_at >= since]
    moves = [each for each in calls if is_move(stack, each)]
    if not moves:
        raise NotSo("expected a ReplaceRoute after the event, saw none")
    last = moves[0]
    before = [each for each in calls if each.ended_at <= last.ended_at and _is_controllers(each)]
    moved_ms = (last.ended_at - since) * 1000
    note = f"route moved {moved_ms:.0f} ms after the event, {len(before)} calls in {_depth(before, last)} round trips"
    return replace(
        result,
        api_calls_before_route=len(before),
        api_round_trips_before_route=_depth(before, last),
        route_moved_after_event_ms=round(moved_ms, 1),
        notes=(*result.notes, note),
    )


def _depth(calls: list[Call], last: Call) -> int:
    """The longest row of calls of which each began after the one before had been answered, ending with `last`."""
    ordered = sorted(calls, key=lambda each: each.ended_at)
    depth: dict[int, int] = {}
    for at, each in enumerate(ordered):
        earlier = [depth[index] for index in range(at) if ordered[index].ended_at <= each.started_at]
        depth[at] = 1 + max(earlier, default=0)
    return depth[ordered.index(last)]


def _is_controllers(call: Call) -> bool:
    return call.operation not in ("StopInstances", "Invoke", "Publish")


def is_move(stack: Stack, call: Call) -> bool:
    """The call that moved zone a's default route."""
    return (
        call.operation in ("ReplaceRoute", "CreateRoute")
        and call.params.get("DestinationCidrBlock") == ANYWHERE
        and call.params.get("RouteTableId") in stack.groups["a"].tables
        and call.error_code is None
    )


def planned(result: Result, measured: Measured) -> Result:
    """What a planned move cost each kind of connection."""
    notes = [
        f"new connections: {measured.new_lost} of {measured.new_connections} lost; those begun in the"
        f" {measured.downtime_seen * 1000:.0f} ms between routes and address waited for TCP's repeat"
        f" (slowest {measured.slowest_new_ms:.0f} ms)"
    ]
    for who, kept in (("client", measured.client), ("server", measured.server)):
        if kept is not None:
            gap = "-" if kept.longest_gap_ms is None else f"{kept.longest_gap_ms:.0f} ms"
            notes.append(f"{who}-driven: {kept.survived} of {kept.opened} survived, longest gap {gap}")
    extra = {
        "longest_gap_ms": {
            who: kept.longest_gap_ms
            for who, kept in (("client", measured.client), ("server", measured.server))
            if kept is not None
        },
        "new_connections_lost": measured.new_lost,
    }
    both = [each for each in (measured.client, measured.server) if each is not None]
    survived = f"{sum(each.survived for each in both)}/{sum(each.opened for each in both)}"
    seen = round(measured.downtime_seen, 3)
    return replace(result, downtime_seen=seen, flows_survived=survived, notes=(*result.notes, *notes), extra=extra)


def nothing_lost(measured: Measured) -> None:
    """A planned move lost no connection, new or established."""
    if measured.new_lost:
        raise NotSo(f"{measured.new_lost} of {measured.new_connections} new connections were lost")
    for who, kept in (("client", measured.client), ("server", measured.server)):
        if kept is None or kept.survived != kept.opened or not kept.is_contiguous:
            raise NotSo(f"expected every {who}-driven connection to survive whole, saw {kept}")


def same_address(result: Result) -> None:
    """The far end saw one address before and after."""
    if result.egress_address_before != result.egress_address_after or result.egress_address_after is None:
        raise NotSo(
            f"expected the same egress address, saw {result.egress_address_before} and {result.egress_address_after}"
        )


def kept_enough(kept: Kept | None, what: str) -> None:
    """Enough connections survived, all from one address."""
    if kept is None or kept.survived < SURVIVING * kept.opened or len(kept.addresses_seen) != 1:
        raise NotSo(f"expected at least {SURVIVING:.0%} of the {what} to survive from one address, saw {kept}")


def survived(kept: Kept | None) -> str | None:
    """Survivors of those opened, for the summary."""
    return None if kept is None else f"{kept.survived}/{kept.opened}"


def parsed(text: str) -> dict[str, Any] | None:
    """A log line as JSON, None for any other text."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
