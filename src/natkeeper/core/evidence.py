"""The rounds that an incident's downtime is measured from: joined, holes marked, and thinned to what measures the same.

Called by `absorb`. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from natkeeper.core.downtime import is_hole
from natkeeper.core.incident import Incident
from natkeeper.core.news import Round

KEPT_ROUNDS = 160
"""Rounds an incident keeps: two watch runs of 55 s and a verify run; an item of DynamoDB holds 400 KB, this is 16."""


def extend(incident: Incident, rounds: Iterable[Round]) -> Incident:
    """Adds rounds to an incident's evidence, thinned so that a long one stays small and measures the same."""
    known = {(each.clock, each.sent_at) for each in incident.rounds}
    added = [each for each in rounds if (each.clock, each.sent_at) not in known]
    merged = sorted((*incident.rounds, *added), key=_order)
    return replace(incident, rounds=_thin(_joined(merged, {id(each) for each in added})))


def _order(each: Round) -> tuple[datetime, str]:
    return each.sent_at, each.clock


def _joined(merged: list[Round], added: set[int]) -> list[Round]:
    """Marks the rounds that come after a hole: one of `added` (by id), or one that was marked, that does not follow the
    one before it closely. Another is never marked anew: what lay between it and the one before was dropped."""
    marked = []
    for before, each in zip([None, *merged], merged, strict=False):
        is_open = id(each) in added or each.is_after_hole
        is_after_hole = is_open and before is not None and is_hole(before, each)
        marked.append(each if each.is_after_hole is is_after_hole else replace(each, is_after_hole=is_after_hole))
    return marked


def _thin(merged: list[Round]) -> tuple[Round, ...]:
    """What `measure` reads: the ends of every row and of its holes, and the slowest answer; without a failure, the gaps
    between rounds.

    Too many even so: what is left must not claim to know more than it does. Old holes grow wider, a row of failures
    without its beginning makes the upper end unknown, and the widest gap stays, for an outage may have hidden in it.
    """
    if all(each.is_ok for each in merged):
        if len(merged) <= KEPT_ROUNDS:
            return tuple(merged)
        widest = max(pairwise(merged), key=lambda pair: pair[1].sent_at - pair[0].sent_at)
        return tuple(sorted({*widest, *merged[2 - KEPT_ROUNDS :]}, key=_order))
    near = {*_near_a_change(merged), max(merged, key=lambda each: each.rtt_ms or 0.0)}
    kept = _drop(
        merged, lambda before, each, after: each in near or _ends(before, each, after) or _at_hole(each, after)
    )
    if len(kept) > KEPT_ROUNDS:
        ends = _drop(kept, _ends)
        spare = max(0, KEPT_ROUNDS - len(ends))
        recent = set(kept[len(kept) - spare :])
        kept = _drop(kept, lambda before, each, after: each in recent or _ends(before, each, after))
    newest = kept[-KEPT_ROUNDS:]
    if len(kept) > KEPT_ROUNDS:
        newest = newest[next(at for at, each in enumerate(newest) if not each.is_ok) :]
    return tuple(newest)


def _near_a_change(merged: list[Round]) -> set[Round]:
    """The two successes on either side of where a row, or a run's part of it, begins: the nearest may be too near for
    its clock to say on which side of a failed round it lies."""
    changes = [
        number
        for number, (before, after) in enumerate(pairwise(merged), 1)
        if (before.is_ok, before.clock) != (after.is_ok, after.clock)
    ]
    return {each for number in changes for each in merged[max(0, number - 2) : number + 2] if each.is_ok}


def _ends(before: Round | None, each: Round, after: Round | None) -> bool:
    """At the beginning or the end of a row."""
    return before is None or after is None or not before.is_ok == each.is_ok == after.is_ok


def _at_hole(each: Round, after: Round | None) -> bool:
    """A failed round beside a hole: low counts up to here, and from here."""
    return not each.is_ok and (each.is_after_hole or (after is not None and after.is_after_hole))


def _drop(rounds: list[Round], keeps: Callable[[Round | None, Round, Round | None], bool]) -> list[Round]:
    """Without those that `keeps` does not keep; the hole that one of them came after is then its successor's."""
    kept: list[Round] = []
    is_hole_open = False
    for before, each, after in zip([None, *rounds], rounds, [*rounds[1:], None], strict=False):
        is_hole_open = is_hole_open or each.is_after_hole
        if keeps(before, each, after):
            kept.append(each if each.is_after_hole is is_hole_open else replace(each, is_after_hole=is_hole_open))
            is_hole_open = False
    return kept
