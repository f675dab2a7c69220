"""How long egress was really down, for the interval that an incident claims.

Called by `simulation.invariants`. The truth is the span of instants at which a new connection from the prober's host
would have failed (`core.downtime`); outages that no round could see, and no move of natkeeper's ended, are not the
incident's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from natkeeper.core.downtime import HANDOVER
from natkeeper.core.incident import Incident
from natkeeper_lab.simulation.book import on_hub
from natkeeper_lab.simulation.hub import SECOND

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World

MICROSECOND = timedelta(microseconds=1)
ROUNDING = 1_500
"""Microseconds: reports carry milliseconds with three digits, the ledger whole microseconds."""
TRUSTED_SKEW = 60_000


def truth_of(world: World, incident: Incident, moves: Sequence[int] = ()) -> tuple[int, int] | None:
    """(least, most) microseconds of downtime that the incident's interval must allow; None where truth has no sharp
    edges: partial loss, names that could not be resolved, a clock that was set wrongly, or a prober on another path.

    `moves`: when natkeeper moved the group's traffic, as far as it can remember. What such a move ended, or began, is
    the incident's whether a round met it or not; and egress that came back with it was not away.
    """
    if not incident.rounds or world.fires["clock-skew"]:
        return None
    begin, end = on_hub(incident.rounds[0].sent_at), on_hub(incident.rounds[-1].sent_at)
    if any(since <= end + SECOND and (until or end) >= begin - SECOND for since, until in world.apart[incident.group]):
        return None  # some of its rounds may have taken another path, before anybody could know
    spans = spans_of(world, incident.group, begin - SECOND, end + SECOND)
    if spans is None:
        return None
    own = [each for each in moves if on_hub(incident.opened_at) - TRUSTED_SKEW <= each <= end]
    failed = [on_hub(each.sent_at) for each in incident.rounds if not each.is_ok]
    most = sum(end - begin for begin, end in _merged(spans, moves))
    near = [each for each in spans if _is_met(each, failed) or _is_moved(each, own)]
    inside = [span for span in spans if span[0] >= begin - TRUSTED_SKEW and span[1] <= end + TRUSTED_SKEW]
    longest = max((each[1] - each[0] for each in inside), default=0) if not failed else 0
    return max(longest, sum(each[1] - each[0] for each in near)) - ROUNDING, most + ROUNDING


def _is_met(span: tuple[int, int], failed: Sequence[int]) -> bool:
    return any(span[0] - TRUSTED_SKEW <= at <= span[1] + TRUSTED_SKEW for at in failed)


def _is_moved(span: tuple[int, int], moves: Sequence[int]) -> bool:
    return any(span[0] <= at <= span[1] for at in moves)


def _merged(spans: list[tuple[int, int]], moves: Sequence[int]) -> list[tuple[int, int]]:
    """Egress that came back for less than the time between two runs is not seen to have come back, but by whoever moved
    it."""
    merged: list[tuple[int, int]] = []
    for begin, end in spans:
        is_short = bool(merged) and begin - merged[-1][1] < HANDOVER // MICROSECOND
        if is_short and not any(merged[-1][0] <= at <= begin for at in moves):
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def spans_of(world: World, group: str, begin: int, end: int) -> list[tuple[int, int]] | None:
    """The outages that touch [begin, end], whole; None when something in there was neither up nor down."""
    spans: list[tuple[int, int]] = []
    fates = world.fates[group]
    for number, (since, fate) in enumerate(fates):
        until = fates[number + 1][0] if number + 1 < len(fates) else world.hub.now
        if until < begin or since > end:
            continue
        if fate.loss or not fate.is_known:
            return None
        if fate.is_ok:
            continue
        if spans and spans[-1][1] == since:
            spans[-1] = (spans[-1][0], until)
        else:
            spans.append((since, until))
    return [each for each in spans if each[1] > each[0]]


def dark(world: World, group: str, begin: int, end: int) -> float:
    """Seconds between the two in which the group's new connections failed, whether a round met them or not."""
    fates, total = world.fates[group], 0
    for number, (since, fate) in enumerate(fates):
        until = fates[number + 1][0] if number + 1 < len(fates) else world.hub.now
        if not fate.is_ok:
            total += max(0, min(until, end) - max(since, begin))
    return total / SECOND
