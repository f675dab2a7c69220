"""Probe rounds to a downtime interval that contains the truth. Called by `incident`; pure arithmetic on send times.

The truth is the span of instants at which a new connection would have failed. Rounds are sent on schedule whatever
happened to the earlier ones, so the first and the last failed round lie inside it, and the successful rounds around
them outside. Failures times interval is never used: with probes that wait for their own time-out it under-reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from natkeeper.core.news import Round

ZERO = timedelta(0)
HANDOVER = timedelta(seconds=3)
"""From the last round of a run that failed to the first of the next: its time-out (0.8 s), the way to the controller, a
pass, the prober's start. What is longer is a hole, in which egress may have come and gone (simulation, seed 5641)."""


@dataclass(frozen=True)
class Downtime:
    """`low ≤ truth ≤ high`. `high` is None while no successful round lies on both sides."""

    low: timedelta
    high: timedelta | None


def measure(rounds: Sequence[Round], clock_error: timedelta) -> Downtime:
    """The total downtime within `rounds` (any order). Spans across two clocks are widened by `clock_error`.

    With failed rounds: for each unbroken row of them, low grows by the row's own span less the slowest answer (a probe
    sent that long before the end may have been lost on its way back), high by the span between the successes around
    it, up to the second one's answer: a process that was held up between its time stamp and its connect sent later than
    it says, but not after it was answered. A hole breaks a row for low, which must not count what nobody saw, and not
    for high. With no failed round, an outage can only have hidden between two successes: high is the widest such gap.
    """
    ordered = sorted(rounds, key=lambda each: each.sent_at)
    if all(each.is_ok for each in ordered):
        gaps = [_longest(before, after, clock_error) for before, after in pairwise(ordered)]
        return Downtime(ZERO, max(gaps, default=ZERO) if ordered else None)
    slowest = timedelta(milliseconds=max(each.rtt_ms or 0.0 for each in ordered))
    low, windows = ZERO, list[tuple[Round, Round] | None]()
    for begin, end in _rows(ordered):
        for one, other in _seen(ordered[begin:end]):
            low += max(ZERO, _shortest(one, other, clock_error) - slowest)
        windows.append(_window(ordered, begin, end, clock_error))
    high = ZERO
    known: tuple[Round, Round] | None = None
    for window in windows:
        if window is None:
            return Downtime(low, None)
        if known is not None and window[0].sent_at < known[1].sent_at:
            # The successes between two rows may belong before or after either: one window around both.
            high -= _longest(*known, clock_error)
            window = (known[0], window[1])
        high += _longest(*window, clock_error)
        known = window
    return Downtime(low, high)


def _rows(ordered: Sequence[Round]) -> list[tuple[int, int]]:
    """Where each unbroken row of failed rounds begins and ends (behind its last one)."""
    ends = [number for number in range(len(ordered) + 1) if _is_ok(ordered, number - 1) != _is_ok(ordered, number)]
    return list(zip(ends[::2], ends[1::2], strict=True))


def _is_ok(ordered: Sequence[Round], number: int) -> bool:
    """Beyond either end nothing failed."""
    return not 0 <= number < len(ordered) or ordered[number].is_ok


def _seen(row: Sequence[Round]) -> list[tuple[Round, Round]]:
    """The first and the last round of each part of a row that has no hole in it."""
    starts = [0, *(number for number in range(1, len(row)) if row[number].is_after_hole), len(row)]
    return [(row[begin], row[end - 1]) for begin, end in pairwise(starts)]


def _window(ordered: Sequence[Round], begin: int, end: int, clock_error: timedelta) -> tuple[Round, Round] | None:
    """The nearest successes that surely lie before and after the row: one of another clock, closer than the clocks may
    differ, may lie on the other side (simulation, seed 1004497). None where there is none on one side."""
    first, last = ordered[begin], ordered[end - 1]
    before = [each for each in ordered[:begin] if each.is_ok and _is_surely(each, first, clock_error)]
    after = [each for each in ordered[end:] if each.is_ok and _is_surely(last, each, clock_error)]
    return (before[-1], after[0]) if before and after else None


def _is_surely(before: Round, after: Round, clock_error: timedelta) -> bool:
    return before.clock == after.clock or after.sent_at - before.sent_at >= clock_error


def is_hole(before: Round, after: Round) -> bool:
    """Between two runs for so long that nothing is known of it. Within a run rounds follow each other on schedule."""
    return before.clock != after.clock and after.sent_at - before.sent_at > HANDOVER


def _longest(start: Round, end: Round, clock_error: timedelta) -> timedelta:
    waited = timedelta(milliseconds=end.rtt_ms or 0.0)
    return end.sent_at + waited - start.sent_at + (ZERO if start.clock == end.clock else clock_error)


def _shortest(start: Round, end: Round, clock_error: timedelta) -> timedelta:
    return end.sent_at - start.sent_at - (ZERO if start.clock == end.clock else clock_error)
