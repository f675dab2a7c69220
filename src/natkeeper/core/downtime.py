"""Probe rounds to a downtime interval that contains the truth. Called by `incident`; pure arithmetic on send times.

An incident reaches from the last success before its first evidence to the first success after its last. Evidence is a
failed round, or an instant at which natkeeper found the path dead or changed it (`Disturbance`): a NAT that dies is
left within a fraction of a second, so that no round may have met the darkness. The truth is the time within the
incident in which a new connection would have failed, whether a round met it or not. Two things are not seen and by
definition not counted: darkness in a calm stretch (successes that follow each other closely for more than HANDOVER, and
no evidence among them), and egress that came back for less than a round between two failed ones, with no hand of
natkeeper's in it. Failures times interval is never used: with probes that wait for their own time-out it under-reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from natkeeper.core.news import Round

ZERO = timedelta(0)
HANDOVER = timedelta(seconds=3)
"""From the last round of a run that failed to the first of the next: its time-out (0.8 s), the way to the controller, a
pass, the prober's start. What is longer is a hole, in which egress may have come and gone (simulation, seed 5641)."""
CLOSE = timedelta(seconds=1.5)
"""Successes further apart than that do not follow each other: the default interval (1 s) and half of it. A round that
stayed undecided, the time between two runs, a report that was lost: darkness may have been there."""
UNANSWERED = timedelta(seconds=12)
"""How long after it was asked for a call that nobody heard the answer of may still be applied (`core.arrival`)."""


@dataclass(frozen=True)
class Downtime:
    """`low ≤ truth ≤ high`. `high` is None while no successful round lies on both sides."""

    low: timedelta
    high: timedelta | None


@dataclass(frozen=True)
class Disturbance:
    """natkeeper found the path dead or changed it at `begin`, by the controller's clock. From then until `end` it may
    have been dark; None while the calls are not answered. `proof`: the first round of the verification that followed;
    it and what its clock sent later came afterwards, whatever the two clocks say."""

    begin: datetime
    end: datetime | None = None
    proof: Round | None = None

    @property
    def until(self) -> datetime:
        """When it was over, or must be."""
        return self.end or self.begin + UNANSWERED


@dataclass(frozen=True)
class Window:
    """From a success surely before some evidence to one surely after it: the darkness lies between them."""

    start: Round
    end: Round
    is_of_many_clocks: bool

    def longest(self, clock_error: timedelta) -> timedelta:
        """Until the second one's answer; wider by what clocks may differ."""
        return _answered_at(self.end) - self.start.sent_at + (clock_error if self.is_of_many_clocks else ZERO)

    def with_next(self, other: Window) -> Window:
        """Both, and what lies between them. `other` begins later."""
        end = max(self.end, other.end, key=_answered_at)
        clocks = {each.clock for each in (self.start, self.end, other.start, other.end)}
        return Window(self.start, end, len(clocks) > 1 or self.is_of_many_clocks or other.is_of_many_clocks)


def measure(rounds: Sequence[Round], clock_error: timedelta, disturbances: Iterable[Disturbance] = ()) -> Downtime:
    """The total downtime within `rounds` (any order). Spans across two clocks are widened by `clock_error`.

    For each unbroken row of failed rounds, low grows by the row's own span less the slowest answer (a probe sent that
    long before the end may have been lost on its way back, and one that failed may have been held up for as long before
    it left). A hole breaks a row for low, and so does a disturbance: natkeeper's own move may have brought egress back.
    High grows by the time between the successes around each evidence, up to the second one's answer: a process that was
    held up between its time stamp and its connect sent later than it says, but not after it was answered. Windows with
    no calm stretch between them count as one. With no failed round an outage may have hidden in any gap between two
    successes, so high is at least the widest.
    """
    ordered = sorted(rounds, key=lambda each: each.sent_at)
    disturbed = sorted(disturbances, key=lambda each: each.begin)
    slowest = _slowest(ordered)
    rows = _rows(ordered)
    low = ZERO
    for begin, end in rows:
        low += sum((max(ZERO, each - slowest) for each in _seen(ordered[begin:end], disturbed, clock_error)), ZERO)
    windows = [_around_row(ordered, begin, end, clock_error) for begin, end in rows]
    windows += [_around(ordered, each, clock_error) for each in disturbed]
    found = [each for each in windows if each is not None]
    if len(found) < len(windows) or not ordered:
        return Downtime(low, None)
    high = sum((each.longest(clock_error) for each in _joined(ordered, found)), ZERO)
    if not rows:
        high = max(high, *(_window(*each).longest(clock_error) for each in pairwise(ordered)), ZERO)
    return Downtime(low, high)


def _rows(ordered: Sequence[Round]) -> list[tuple[int, int]]:
    """Where each unbroken row of failed rounds begins and ends (behind its last one)."""
    ends = [number for number in range(len(ordered) + 1) if _is_ok(ordered, number - 1) != _is_ok(ordered, number)]
    return list(zip(ends[::2], ends[1::2], strict=True))


def _is_ok(ordered: Sequence[Round], number: int) -> bool:
    """Beyond either end nothing failed."""
    return not 0 <= number < len(ordered) or ordered[number].is_ok


def _seen(row: Sequence[Round], disturbed: Sequence[Disturbance], clock_error: timedelta) -> list[timedelta]:
    """How long each part of a row was, in which nothing can have brought egress back unseen."""
    spans, first = list[timedelta](), row[0]
    for before, after in pairwise(row):
        is_cut = any(_is_between(before, each, after, clock_error) for each in disturbed)
        if after.is_after_hole or is_cut:
            spans.append(_shortest(first, before, clock_error))
            first = after
    return [*spans, _shortest(first, row[-1], clock_error)]


def _is_between(before: Round, disturbance: Disturbance, after: Round, clock_error: timedelta) -> bool:
    return disturbance.begin <= after.sent_at + clock_error and before.sent_at <= disturbance.until + clock_error


# -- windows


def _window(start: Round, end: Round) -> Window:
    return Window(start, end, start.clock != end.clock)


def _around_row(ordered: Sequence[Round], begin: int, end: int, clock_error: timedelta) -> Window | None:
    """The nearest successes that surely lie before and after every round of the row: one of another clock, closer than
    the clocks may differ and a process may be held up, may lie on the other side (simulation, seed 1004497). None where
    there is none on one side."""
    row = ordered[begin:end]
    firsts = {each.clock: each for each in reversed(row)}.values()
    lasts = {each.clock: each for each in row}.values()
    held_up = _slowest(ordered)
    before = [
        each
        for each in ordered[:begin]
        if each.is_ok and all(_is_surely(each, first, clock_error + _waited(each)) for first in firsts)
    ]
    after = [
        each
        for each in ordered[end:]
        if each.is_ok and all(_is_surely(last, each, clock_error + held_up) for last in lasts)
    ]
    return _window(before[-1], after[0]) if before and after else None


def _is_surely(before: Round, after: Round, apart: timedelta) -> bool:
    return before.clock == after.clock or after.sent_at - before.sent_at >= apart


def _around(ordered: Sequence[Round], disturbance: Disturbance, clock_error: timedelta) -> Window | None:
    """The same for a disturbance. An incident that ends before it must be over ends with its last success."""
    good = [each for each in ordered if each.is_ok]
    before = [each for each in good if _answered_at(each) + clock_error <= disturbance.begin]
    after = [each for each in good if _is_after(each, disturbance, clock_error)]
    after += [each for each in good[-1:] if each.sent_at >= disturbance.begin + clock_error]
    return _window(before[-1], after[0]) if before and after else None


def _is_after(each: Round, disturbance: Disturbance, clock_error: timedelta) -> bool:
    proof = disturbance.proof
    is_proven = proof is not None and proof.clock == each.clock and proof.sent_at <= each.sent_at
    return is_proven or each.sent_at >= disturbance.until + clock_error


def _joined(ordered: Sequence[Round], windows: Iterable[Window]) -> list[Window]:
    """In order, those made one that overlap, or have no calm stretch between them."""
    joined: list[Window] = []
    for window in sorted(windows, key=lambda each: (each.start.sent_at, each.end.sent_at)):
        if joined and not _is_apart(ordered, joined[-1].end, window.start):
            joined[-1] = joined[-1].with_next(window)
        else:
            joined.append(window)
    return joined


def _is_apart(ordered: Sequence[Round], end: Round, start: Round) -> bool:
    """The two windows share a success, or a calm stretch lies between them."""
    if end == start:
        return True
    stretch = [each for each in ordered if end.sent_at <= each.sent_at <= start.sent_at]
    return start.sent_at - end.sent_at > HANDOVER and all(is_close(*each) for each in pairwise(stretch))


def is_close(before: Round, after: Round) -> bool:
    """They follow each other, as far as is known."""
    return after.is_close or after.sent_at - before.sent_at <= CLOSE


def is_hole(before: Round, after: Round, *, is_one_run: bool | None = None) -> bool:
    """Between two runs for so long that nothing is known of it. Within a run rounds follow each other on schedule. Two
    clocks are two runs; two runs may have one clock, where Lambda kept the prober's process."""
    is_one = before.clock == after.clock if is_one_run is None else is_one_run
    return not is_one and after.sent_at - before.sent_at > HANDOVER


def _waited(each: Round) -> timedelta:
    return timedelta(milliseconds=each.rtt_ms or 0.0)


def _slowest(rounds: Iterable[Round]) -> timedelta:
    return max(map(_waited, rounds), default=ZERO)


def _answered_at(each: Round) -> datetime:
    return each.sent_at + _waited(each)


def _shortest(start: Round, end: Round, clock_error: timedelta) -> timedelta:
    return end.sent_at - start.sent_at - (ZERO if start.clock == end.clock else clock_error)
