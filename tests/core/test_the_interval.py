"""low ≤ truth ≤ high, whatever happens: many dark spans, natkeeper's own moves between them, runs on clocks of their
own, reports that are lost, late or repeated, processes that are held up, and evidence that was thinned.

The truth is worked out here from true instants alone, by the definition of `core.downtime`; nothing of it is shared.
Instants are whole milliseconds of true time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from natkeeper.core.downtime import Disturbance, Downtime, measure
from natkeeper.core.evidence import KEPT_ROUNDS, disturbed, extend
from natkeeper.core.news import Round
from tests.support.worlds import at, incident, secs

ERROR = 100
"""How far two clocks may differ; each is off by half of it at most."""
NET = 8
"""From a packet's leaving to its answer."""
HELD_UP = 150
"""The longest that a process stood still between its time stamp and its connect."""
CALM, CLOSE = 3000, 1500
"""What `core.downtime` calls calm, here in milliseconds; a clock's error more or less is not judged."""
UNANSWERED = 12_000
"""So long after its calls a move may still bring egress back."""
END = 90_000

Span = tuple[int, int]


@dataclass(frozen=True)
class Sent:
    """One round as it really was: when it left, and what was reported of it."""

    left_at: int
    run: int
    told: Round


@dataclass(frozen=True)
class Move:
    """The path was found dead or changed at `begin`, and all calls were answered at `end`; true instants."""

    begin: int
    end: int
    told: Disturbance


@dataclass(frozen=True)
class Story:
    """What happened (`dark`), what natkeeper knows of it (`moves`), and what its probers reported, run by run."""

    dark: tuple[Span, ...]
    moves: tuple[Move, ...]
    runs: tuple[tuple[Sent, ...], ...]

    @property
    def sent(self) -> list[Sent]:
        return sorted((each for run in self.runs for each in run), key=lambda each: each.left_at)

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        return tuple(each.told for each in sorted(self.moves, key=lambda each: each.begin))


def instant(true_ms: int, skew: int) -> object:
    return at((true_ms + skew) / 1000)


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif begin < end:
            found.append((begin, end))
    return tuple(found)


def overlap(one: Span, other: Span) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


# -- the stories


@st.composite
def _troubles(draw: st.DrawFn) -> tuple[list[Span], list[tuple[int, int]]]:
    """Dark spans, some of which natkeeper ended by a move of its own; each follows the one before soon, or later."""
    dark: list[Span] = []
    moves: list[tuple[int, int]] = []
    now = draw(st.integers(10_000, 20_000))
    for _ in range(draw(st.integers(1, 5))):
        lasts = draw(st.sampled_from([1, 40, 140, 300, 700, 1300, 4100, 9000])) + draw(st.integers(0, 200))
        kind = draw(st.sampled_from(["unseen", "dead", "dead", "planned"]))
        begin, end = now, now + lasts
        dark.append((begin, end))
        if kind == "dead":
            # Found dead while it was; packets follow before the calls are answered, or some time after.
            found_at = draw(st.integers(begin, end))
            answered = max(found_at + 1, end + draw(st.sampled_from([-120, 0, 30, 200])))
            moves.append((found_at, answered))
        if kind == "planned":
            moves.append((begin - draw(st.integers(0, 200)), end + draw(st.integers(0, 200))))
        now = max([end, *(each[1] for each in moves)]) + draw(st.sampled_from([5, 90, 250, 600, 1100, 2500, 8000]))
    return dark, moves


@st.composite
def stories(draw: st.DrawFn) -> Story:
    spans, changes = draw(_troubles())
    dark = merged(spans)
    half = ERROR // 2
    runs = [_run(draw, 0, [0, 1000, 2000], dark), _run(draw, 0, [END, END + 1000], dark)]
    begin = draw(st.integers(3000, 9000))
    while begin < END - 10_000 and len(runs) < 14:
        step = draw(st.sampled_from([1000, 1000, 1000, 200, 1700, 5000]))
        due = [begin + number * step for number in range(draw(st.integers(2, 16)))]
        runs.append(_run(draw, draw(st.integers(-half, half)), [each for each in due if each < END - 1000], dark))
        begin = due[-1] + draw(st.sampled_from([-4000, 900, 1200, 2000, 12_000]))
        begin = max(begin, due[0] + 1)
    skew = draw(st.integers(-half, half))
    moves = []
    for found_at, answered in changes:
        proof = None
        if draw(st.booleans()):
            first = answered + draw(st.integers(1, 40))
            verification = _run(draw, draw(st.integers(-half, half)), [first + 200 * each for each in range(3)], dark)
            runs.append(verification)
            proof = verification[0].told if verification else None
        told = Disturbance(instant(found_at, skew), instant(answered, skew), proof)  # type: ignore[arg-type]
        moves.append(Move(found_at, answered, told))
    kept = [each for number, each in enumerate(runs) if number < 2 or draw(st.integers(0, 4))]
    known = {id(each.told) for run in kept for each in run}
    moves = [
        replace(each, told=each.told if id(each.told.proof) in known else replace(each.told, proof=None))
        for each in moves
    ]
    return Story(dark, tuple(moves), tuple(tuple(each) for each in kept))


def _run(draw: st.DrawFn, skew: int, due: Sequence[int], dark: Sequence[Span]) -> list[Sent]:
    """One run on a clock of its own. A round fails where a packet of it was lost on its way out or back."""
    number = draw(st.integers(0, 10**9))
    is_busy, sent = draw(st.booleans()), []
    for stamped, following in zip(due, [*due[1:], END * 2], strict=True):
        held_up = min(draw(st.sampled_from([0, 0, 0, 30, HELD_UP])), following - stamped - 1) if is_busy else 0
        if due[0] not in (0, END) and draw(st.integers(0, 24)) == 0:
            continue  # stayed undecided: not reported
        left_at = stamped + held_up
        is_ok = not any(begin <= left_at + NET and left_at < end for begin, end in dark)
        rtt = float(held_up + NET) if due[0] else float(HELD_UP + NET)
        told = Round(instant(stamped, skew), f"clock-{number}", is_ok, rtt if is_ok else None)  # type: ignore[arg-type]
        sent.append(Sent(left_at, number, told))
    return sent


# -- the truth


def least(story: Story) -> int:
    """What the upper end must reach: darkness within the incident, but for what lies in a calm stretch of it."""
    sent = story.sent
    failed = [each.left_at for each in sent if not each.told.is_ok]
    evidence = sorted([(each, each) for each in failed] + [(each.begin, each.end) for each in story.moves])
    if not evidence:
        return 0
    good = [each.left_at for each in sent if each.told.is_ok]
    begin = max(each for each in good if each <= evidence[0][0])
    last = max(each[1] for each in evidence)
    end = min(each for each in good if each >= last)
    inside = [each for each in good if begin <= each <= end]
    calm = _calm(inside, evidence)
    counted = [each for each in story.dark if not any(one < each[0] and each[1] < two for one, two in calm)]
    return sum(overlap(each, (begin, end)) for each in counted)


def _calm(good: Sequence[int], evidence: Sequence[Span]) -> list[Span]:
    """Stretches that may pass for calm: successes that follow each other, without evidence among them."""
    stretches: list[list[int]] = [[good[0]]]
    for before, after in pairwise(good):
        is_broken = any(begin <= after and before <= end for begin, end in evidence)
        if is_broken or after - before > CLOSE + HELD_UP + ERROR:
            stretches.append([])
        stretches[-1].append(after)
    return [(each[0], each[-1]) for each in stretches if each[-1] - each[0] > CALM - 2 * ERROR - 2 * HELD_UP]


def most(story: Story) -> int:
    """What the lower end may reach: darkness, and what lies between two failed rounds, or such a one and a move, where
    nothing can have been seen to bring egress back."""
    spans = list(story.dark)
    moves = sorted(story.moves, key=lambda each: each.begin)
    for before, after in pairwise(story.sent):
        if before.told.is_ok or after.told.is_ok:
            continue
        reach = after.left_at if before.run == after.run else before.left_at + CALM + ERROR + HELD_UP
        between = [each for each in moves if each.begin <= after.left_at and before.left_at <= each.end]
        if not between:
            spans += [(before.left_at, after.left_at)] if after.left_at <= reach else []
        elif between[0].begin <= reach and not _is_under_way(moves, between[0], before.left_at):
            spans.append((before.left_at, between[0].begin))
    return sum(end - begin for begin, end in merged(spans))


def _is_under_way(moves: Sequence[Move], next_one: Move, at_ms: int) -> bool:
    """Some earlier move may still have brought egress back then."""
    return any(each.end + UNANSWERED > at_ms for each in moves if each.begin < next_one.begin)


def contains(found: Downtime, story: Story) -> bool:
    low, high = timedelta(milliseconds=most(story)), timedelta(milliseconds=least(story))
    return found.low <= low and (found.high is None or high <= found.high)


# -- what must hold


@settings(max_examples=300, deadline=None)
@given(stories())
def test_the_interval_contains_the_truth_whatever_happens(story: Story) -> None:
    rounds = marked([each.told for each in story.sent])
    assert contains(measure(rounds, secs(ERROR / 1000), story.disturbances), story)


@settings(max_examples=300, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_reports_that_come_late_and_twice_and_are_thinned_leave_the_truth_inside(story: Story, luck) -> None:  # type: ignore[no-untyped-def]
    one, left = incident(), [tuple(each.told for each in run) for run in story.runs]
    later = list(story.disturbances)
    luck.shuffle(left)
    left += luck.sample(left, len(left) // 3)
    for report in left:
        one = extend(one, report)
        while later and luck.random() < 0.4:
            one = replace(disturbed(one, later[0].begin, is_over=False), disturbances=(*one.disturbances, later.pop(0)))
    one = replace(one, disturbances=(*one.disturbances, *later))
    found = one.downtime(secs(ERROR / 1000))
    assert len(one.rounds) <= KEPT_ROUNDS
    assert contains(found, story)


@settings(max_examples=300, deadline=None)
@given(stories())
def test_evidence_that_is_thinned_measures_the_same(story: Story) -> None:
    rounds = tuple(each.told for each in story.sent)
    one = extend(replace(incident(), disturbances=story.disturbances), rounds)
    whole = measure(marked(rounds), secs(ERROR / 1000), story.disturbances)
    assert one.downtime(secs(ERROR / 1000)) == whole


def marked(rounds: Sequence[Round]) -> tuple[Round, ...]:
    """All of the rounds, with the holes where an incident marks them."""
    ordered = sorted(rounds, key=lambda each: (each.sent_at, each.clock))
    holes = {
        id(after)
        for before, after in pairwise(ordered)
        if before.clock != after.clock and after.sent_at - before.sent_at > secs(CALM / 1000)
    }
    return tuple(replace(each, is_after_hole=id(each) in holes) for each in ordered)
