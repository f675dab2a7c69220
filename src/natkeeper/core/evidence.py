"""What an incident's downtime is measured from: its rounds, joined, holes marked, thinned to what measures the same,
and when the path was found dead or changed, for no round may have met that.

Called by `absorb`, `finish` and `way`. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from natkeeper.core.downtime import Disturbance, is_close, is_hole
from natkeeper.core.incident import Incident, Memory
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import Round
from natkeeper.core.plan import Action, DisableSourceDestCheck, MoveAddress, Plan, PointRoute, Reason
from natkeeper.core.policy import Policy

KEPT_ROUNDS = 160
"""Rounds an incident keeps: two watch runs of 55 s and a verify run; an item of DynamoDB holds 400 KB, this is 16."""
KEPT_DISTURBANCES = 12
"""Disturbances an incident keeps apart: twice the failovers of an hour, each with a move home. More become one."""
DOUBTFUL = timedelta(seconds=1)
"""Rounds of two clocks that are closer than that may have been sent the other way round: the clocks' difference (0.1 s)
and the longest that a round waits (0.8 s)."""


def extend(incident: Incident, rounds: Iterable[Round]) -> Incident:
    """Adds rounds to an incident's evidence, thinned so that a long one stays small and measures the same."""
    known = {(each.clock, each.sent_at) for each in incident.rounds}
    added = [each for each in rounds if (each.clock, each.sent_at) not in known]
    merged = sorted((*incident.rounds, *added), key=_order)
    joined = _joined(merged, {id(each) for each in added})
    return replace(incident, rounds=_thin(joined, incident.disturbances))


# -- disturbances


def disturbed(incident: Incident, now: datetime, *, is_over: bool) -> Incident:
    """The path was found dead, or is being changed, now: it may be dark without a round that meets it. `is_over`: there
    is no call whose answer would be the end of it."""
    kept = (*incident.disturbances, Disturbance(now, now if is_over else None))
    if len(kept) > KEPT_DISTURBANCES:
        kept = (*kept[:-2], Disturbance(kept[-2].begin, kept[-1].end))
    return replace(incident, disturbances=kept)


def is_changing(plan: Plan) -> bool:
    """The plan changes the path that the group's probes take."""
    return any(_is_of_path(each, plan) for each in plan.actions)


def _is_of_path(action: Action, plan: Plan) -> bool:
    if isinstance(action, PointRoute):
        is_probed = not plan.probed_tables or action.table_id in plan.probed_tables
        return is_probed and action.destination == DEFAULT_ROUTE
    return isinstance(action, (MoveAddress, DisableSourceDestCheck)) and action.interface_id == plan.memory.target


def as_changed(memory: Memory, plan: Plan, action: Action, now: datetime, policy: Policy) -> Memory:
    """The memory after a call that changes the path was answered. Where the old path still worked, what gets through at
    once may have gone that way, and the darkness may be still to come: until the address must have followed. Where
    nothing got through, the first packet that does has taken the new one."""
    incident = memory.incident
    if incident is None or not incident.disturbances or not _is_of_path(action, plan):
        return memory
    was_dead = incident.recovered_at is None or plan.reason is Reason.HEALING
    end = now if was_dead else now + policy.address_arrival
    *others, last = incident.disturbances
    last = replace(last, end=max(last.end or end, end))
    return replace(memory, incident=replace(incident, disturbances=(*others, last)))


def proven(incident: Incident, verification: Sequence[Round]) -> Incident:
    """A verification is begun once the calls are answered, so all of its rounds come after the disturbance."""
    if not incident.disturbances or not verification:
        return incident
    *others, last = incident.disturbances
    first = verification[0]
    if last.proof is not None or last.end is None or not last.begin <= first.sent_at >= last.end - DOUBTFUL:
        return incident
    return replace(incident, disturbances=(*others, replace(last, proof=first)))


# -- rounds


def _order(each: Round) -> tuple[datetime, str]:
    return each.sent_at, each.clock


def _joined(merged: list[Round], added: set[int]) -> list[Round]:
    """Marks the rounds that come after a hole: one of `added` (by id), or one that was marked, that does not follow the
    one before it closely. Another is never marked anew: what lay between it and the one before was dropped. A run is
    reported whole, so what is known already is another's, even where it has the same clock."""
    marked = []
    for before, each in zip([None, *merged], merged, strict=False):
        is_open = id(each) in added or each.is_after_hole
        is_one_run = before is not None and {id(before), id(each)} <= added and before.clock == each.clock
        is_after_hole = is_open and before is not None and is_hole(before, each, is_one_run=is_one_run)
        marked.append(each if each.is_after_hole is is_after_hole else replace(each, is_after_hole=is_after_hole))
    return marked


def _thin(merged: list[Round], disturbances: Sequence[Disturbance]) -> tuple[Round, ...]:
    """What `measure` reads: the ends of every row and of its holes, the successes around each of them and around each
    disturbance, and the slowest answer; without a failure, the gaps between rounds.

    Too many even so: what is left must not claim to know more than it does. Old holes grow wider, a row of failures
    without its beginning makes the upper end unknown, and the widest gap stays, for an outage may have hidden in it.
    """
    good, lost = [each for each in merged if each.is_ok], [each for each in merged if not each.is_ok]
    around = [at for each in disturbances for at in (each.begin, each.until)]
    if not lost:
        return _thin_without_failure(merged, around)
    rows = _rows(merged)
    anchors = {each for row in rows for each in _anchors(row)} | _beside(lost, around)
    around += [at for row in rows for at in (row[0].sent_at, row[-1].sent_at)]
    slowest = max(merged, key=lambda each: each.rtt_ms or 0.0)
    near = {*anchors, *_beside(good, around), *merged[-2:], slowest}
    kept = _drop(
        merged, lambda before, each, after: each in near or _ends(before, each, after) or _at_hole(each, after)
    )
    if len(kept) > KEPT_ROUNDS:
        ends = _drop(kept, lambda before, each, after: each in anchors or _ends(before, each, after))
        spare = max(0, KEPT_ROUNDS - len(ends))
        recent = {*anchors, *kept[len(kept) - spare :]}
        kept = _drop(kept, lambda before, each, after: each in recent or _ends(before, each, after))
    newest = kept[-KEPT_ROUNDS:]
    if len(kept) > KEPT_ROUNDS:
        newest = newest[next(at for at, each in enumerate(newest) if not each.is_ok) :]
    return tuple(newest)


def _thin_without_failure(merged: list[Round], around: Sequence[datetime]) -> tuple[Round, ...]:
    if len(merged) <= KEPT_ROUNDS:
        return tuple(merged)
    near = {*max(pairwise(merged), key=lambda pair: pair[1].sent_at - pair[0].sent_at), *_beside(merged, around)}
    kept = {*near, *merged[len(near) - KEPT_ROUNDS :]} if len(near) < KEPT_ROUNDS else set(merged[-KEPT_ROUNDS:])
    return tuple(_drop(merged, lambda _before, each, _after: each in kept))


def _rows(merged: list[Round]) -> list[list[Round]]:
    """Each unbroken row of failed rounds."""
    rows: list[list[Round]] = []
    for before, each in zip([None, *merged], merged, strict=False):
        if not each.is_ok:
            if before is None or before.is_ok:
                rows.append([])
            rows[-1].append(each)
    return rows


def _anchors(row: list[Round]) -> set[Round]:
    """The row's ends, and those of other clocks that may be its ends in truth."""
    firsts = {each.clock: each for each in reversed(row)}.values()
    lasts = {each.clock: each for each in row}.values()
    return {
        *(each for each in firsts if each.sent_at - row[0].sent_at < DOUBTFUL),
        *(each for each in lasts if row[-1].sent_at - each.sent_at < DOUBTFUL),
    }


def _beside(rounds: Sequence[Round], instants: Sequence[datetime]) -> set[Round]:
    """Those on either side of each instant: two, and before them those that are too near for their clock to say on
    which side they lie."""
    found: set[Round] = set()
    for instant in instants:
        for side in (
            [each for each in reversed(rounds) if each.sent_at <= instant],
            [each for each in rounds if each.sent_at >= instant],
        ):
            doubtful = sum(abs(each.sent_at - instant) < DOUBTFUL for each in side)
            found |= {*side[: doubtful + 2]}
    return found


def _ends(before: Round | None, each: Round, after: Round | None) -> bool:
    """At the beginning or the end of a row."""
    return before is None or after is None or not before.is_ok == each.is_ok == after.is_ok


def _at_hole(each: Round, after: Round | None) -> bool:
    """A failed round beside a hole: low counts up to here, and from here."""
    return not each.is_ok and (each.is_after_hole or (after is not None and after.is_after_hole))


def _drop(rounds: list[Round], keeps: Callable[[Round | None, Round, Round | None], bool]) -> list[Round]:
    """Without those that `keeps` does not keep; the hole that one of them came after is then its successor's, which
    follows the one before closely only if all of them did."""
    kept: list[Round] = []
    is_hole_open, is_row_close = False, True
    for before, each, after in zip([None, *rounds], rounds, [*rounds[1:], None], strict=False):
        is_hole_open = is_hole_open or each.is_after_hole
        is_row_close = is_row_close and before is not None and is_close(before, each)
        if keeps(before, each, after):
            follows = each.is_close if not kept or before is kept[-1] else is_row_close
            if (each.is_after_hole, each.is_close) != (is_hole_open, follows):
                each = replace(each, is_after_hole=is_hole_open, is_close=follows)
            kept.append(each)
            is_hole_open, is_row_close = False, True
    return kept
