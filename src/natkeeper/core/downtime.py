"""Probe rounds to a downtime interval that contains the truth. Called by `incident`; pure arithmetic on send times.

The truth is the span of instants at which a new connection would have failed. Rounds are sent on schedule whatever
happened to the earlier ones, so the first and the last failed round lie inside it, and the successful rounds around
them outside. Failures times interval is never used: with probes that wait for their own time-out it under-reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

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
    slowest = timedelta(milliseconds=max((each.rtt_ms or 0.0 for each in ordered), default=0.0))
    low, high = ZERO, ZERO
    last_ok: Round | None = None
    failed: tuple[Round, Round] | None = None
    widest = ZERO
    is_open = False
    for each in ordered:
        if not each.is_ok:
            if failed is not None and each.is_after_hole:
                low += max(ZERO, _shortest(*failed, clock_error) - slowest)
                failed = None
            failed = (failed[0] if failed is not None else each, each)
            continue
        if failed is not None:
            low += max(ZERO, _shortest(*failed, clock_error) - slowest)
            if last_ok is None:
                is_open = True
            else:
                high += _longest(last_ok, each, clock_error)
            failed = None
        elif last_ok is not None:
            widest = max(widest, _longest(last_ok, each, clock_error))
        last_ok = each
    if failed is not None:
        low += max(ZERO, _shortest(*failed, clock_error) - slowest)
        is_open = True
    if is_open or last_ok is None:
        return Downtime(low, None)
    return Downtime(low, high or widest)


def is_hole(before: Round, after: Round) -> bool:
    """Between two runs for so long that nothing is known of it. Within a run rounds follow each other on schedule."""
    return before.clock != after.clock and after.sent_at - before.sent_at > HANDOVER


def _longest(start: Round, end: Round, clock_error: timedelta) -> timedelta:
    waited = timedelta(milliseconds=end.rtt_ms or 0.0)
    return end.sent_at + waited - start.sent_at + (ZERO if start.clock == end.clock else clock_error)


def _shortest(start: Round, end: Round, clock_error: timedelta) -> timedelta:
    return end.sent_at - start.sent_at - (ZERO if start.clock == end.clock else clock_error)
