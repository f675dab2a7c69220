"""Whose report counts, and when its rounds were sent: of runs that were started, by the clock that started them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from natkeeper.core.incident import Memory, WatchRun
from natkeeper.core.news import ProbeFailed, ProbeReport, RunMode, Tick
from natkeeper.core.runs import answered, heard, is_rumoured, run_id_of
from tests.support.fakes import Stack
from tests.support.worlds import at, memory, policy, report, resting, secs, verified

POLICY = policy("ab")
STARTED = memory(watch=WatchRun(run_id_of("a", at(-20)), at(-20), secs(55)), watch_starts=(at(-80), at(-20)))


def only(known: Memory, told: ProbeReport, now: float = 0) -> ProbeReport:
    (found,) = heard("a", known, (told,), at(now), POLICY)
    assert isinstance(found, ProbeReport)
    return found


def test_an_id_is_a_function_of_group_and_instant() -> None:
    assert run_id_of("a", at(0.0307)) == "a-20260301T120000.030"


@pytest.mark.parametrize("start", [-80, -20])
def test_runs_that_are_remembered_to_have_been_started_are_heard(start: float) -> None:
    told = report("ooo", start, run_id=run_id_of("a", at(start)))
    assert only(STARTED, told) is told


def test_a_run_that_nobody_started_is_not_heard() -> None:
    told = report("ooxxx", -5, run_id="by-hand")
    assert heard("a", STARTED, (Tick(), told), at(0), POLICY) == (Tick(),)


def test_what_is_no_report_of_this_group_is_as_it_was() -> None:
    news = (Tick(), report("xxx", -3, name="b"), ProbeFailed("a", "by-hand", "crash"))
    assert heard("a", STARTED, news, at(0), POLICY) == news


def test_a_run_of_more_than_ten_minutes_ago_is_not_heard() -> None:
    known = memory(watch=None, watch_starts=(at(-600),))
    told = report("ooo", -3, run_id=run_id_of("a", at(-600)))
    assert heard("a", known, (told,), at(0), POLICY) == ()
    assert heard("a", known, (told,), at(-0.001), POLICY) != ()


def test_where_nothing_is_remembered_it_is_heard_that_all_is_well_and_that_it_is_not_is_a_rumour() -> None:
    """Made up, its lost rounds would begin an incident of an outage that never was."""
    well, down = report("ooooo", -5, run_id="who-knows"), report("ooxxx", -5, run_id="who-knows")
    assert only(Memory(), well) is well
    assert heard("a", Memory(), (down,), at(0), POLICY) == ()
    assert is_rumoured("a", Memory(), (down,), at(0))
    started = report("ooxxx", -5, run_id=run_id_of("a", at(-20)))
    assert only(Memory(watch_starts=(at(-20),)), started) is started


def test_a_verification_is_heard_by_whoever_asked_for_it() -> None:
    told = verified("oo", -0.5)
    assert told.mode is RunMode.VERIFY
    assert only(STARTED, told) is told


@pytest.mark.parametrize(("sent", "is_one"), [(-5, True), (-12, True), (-12.001, False), (20, False)])
def test_a_stranger_that_says_down_just_now_is_a_reason_to_ask(sent: float, is_one: bool) -> None:
    assert is_rumoured("a", STARTED, (report("xxx", sent, run_id="by-hand"),), at(0)) is is_one


def test_a_stranger_that_is_well_or_a_run_of_ours_is_no_rumour() -> None:
    ours = report("xxx", -5, run_id=run_id_of("a", at(-20)))
    assert not is_rumoured("a", STARTED, (report("ooo", -5, run_id="by-hand"), ours, Tick()), at(0))


@pytest.mark.parametrize("wrong", [3600, 2, -2, -3600])
def test_a_run_that_a_wrong_clock_dated_began_when_it_was_started(wrong: float) -> None:
    told = report("o" * 20, -20 + wrong, canary="o" * 20, run_id=run_id_of("a", at(-20)))
    found = only(STARTED, told, now=0.5)
    assert found.rounds[0].sent_at == found.canary[0].sent_at == at(-20)
    assert found.rounds[-1].sent_at - found.rounds[0].sent_at == secs(19)
    assert found.egress_address_at == found.rounds[-1].sent_at


def test_clocks_may_differ_a_little() -> None:
    told = report("o" * 20, -20 - 0.1, run_id=run_id_of("a", at(-20)))
    assert only(STARTED, told) is told
    ahead = report("o" * 20, -19 + 0.1, run_id=run_id_of("a", at(-20)))
    assert only(STARTED, ahead) is ahead


def test_a_run_that_cannot_have_begun_when_it_was_started_is_over_and_says_nothing() -> None:
    """The controller's clock was set back by a minute meanwhile."""
    told = report("o" * 20, -20, run_id=run_id_of("a", at(-20)))
    (found,) = heard("a", STARTED, (told,), at(-60), POLICY)
    assert found == ProbeFailed("a", told.run_id, "its rounds are of the future")


@pytest.mark.parametrize(("now", "is_heard"), [(-1.1, True), (-1.101, False)])
def test_a_run_can_have_begun_when_it_was_started_as_far_as_clocks_may_differ(now: float, is_heard: bool) -> None:
    """It lasted for 19 s, was started 20 s before noon, and says that it began an hour later."""
    told = report("o" * 20, -20 + 3600, run_id=run_id_of("a", at(-20)))
    (found,) = heard("a", STARTED, (told,), at(now), POLICY)
    assert isinstance(found, ProbeReport) is is_heard
    assert not is_heard or only(STARTED, told, now).rounds[0].sent_at == at(-20)


def test_rounds_of_whom_nobody_knows_the_start_end_now_at_the_latest() -> None:
    found = only(Memory(), report("ooo", 100, run_id="who-knows"))
    assert [each.sent_at for each in found.rounds] == [at(-2), at(-1), at(0)]
    late = report("ooo", -100, egress=None, run_id="who-knows")
    assert only(Memory(), late) is late
    found = only(STARTED, verified("oo", 50, egress=None))
    assert (found.rounds[-1].sent_at, found.egress_address_at) == (at(0), None)


@pytest.mark.parametrize(("lag", "last"), [(3600, 0), (10.1, 0), (10, -10), (1, -1)])
def test_a_verification_by_a_clock_that_lags_ended_now(lag: float, last: float) -> None:
    """It was waited for (simulation, seed 1750013283: asked neighbours that were well counted as silent)."""
    told = answered(verified("oo", -0.2 - lag), at(0))
    assert told.rounds[-1].sent_at == at(last)
    kept = only(Memory(), told, now=15)
    assert kept.rounds == told.rounds, "it does not grow younger by waiting for a ledger"
    assert told.rounds[-1].sent_at - told.rounds[0].sent_at == secs(0.2)


def test_a_report_without_a_round_has_no_time() -> None:
    told = report("", 0, run_id=run_id_of("a", at(-20)))
    assert only(STARTED, told) is told


def test_a_run_that_nobody_started_moves_nothing_and_the_prober_is_asked() -> None:
    stack = Stack(resting("ab"))
    assert stack.wake(report("ooxxx", -5, run_id="by-hand"))["a"] == ["at-rest", "at-rest"]
    assert stack.prober.verified == ["a"]
    assert stack.vpc.done == []


def test_a_run_that_nobody_started_and_that_is_right_moves_the_traffic_once_the_prober_says_so() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung.add("eni-a")
    assert "fail-over" in stack.wake(report("ooxxx", -5, run_id="by-hand"))["a"]
    assert stack.route() == "eni-b"


def test_a_good_report_of_a_run_that_nobody_started_proves_nothing() -> None:
    stack = Stack(resting("ab"))
    before = stack.memory().proofs
    stack.wake(report("ooooo", -5, run_id="by-hand"))
    assert stack.memory().proofs == before
    assert timedelta(0) < at(0) - before[0].at
