"""What a report changes in memory, the life of an incident, and the sentence it ends in."""

from __future__ import annotations

import json

import pytest

from natkeeper.adapters.codec import encode
from natkeeper.core.downtime import Downtime
from natkeeper.core.evidence import KEPT_ROUNDS, extend
from natkeeper.core.incident import Cause, Incident, Memory
from natkeeper.core.message import CAUSES, tell
from natkeeper.core.news import ProbeFailed
from natkeeper.core.plan import AddressArrived, IncidentClosed, IncidentOpened
from tests.support.worlds import (
    OUT,
    STOPPED,
    at,
    incident,
    memory,
    proofs,
    public_of,
    report,
    resting,
    rounds,
    secs,
    verified,
)


def closed(plan_happenings: object) -> list[IncidentClosed]:
    return [each for each in plan_happenings if isinstance(each, IncidentClosed)]  # type: ignore[attr-defined]


# -- reports


def test_a_report_that_comes_twice_changes_nothing_the_second_time() -> None:
    world = resting("ab")
    news = report("oooxxoo", -7)
    once = world.step(news)
    again = world.step(news, now=1)
    assert again.memory == once.memory
    assert again.happenings == ()


def test_a_report_that_comes_twice_in_one_pass_counts_once() -> None:
    news = report("oooxo", -5)
    world = resting("ab")
    assert world.decide(news, news).memory == world.decide(news).memory


def test_a_report_of_another_group_is_not_ours() -> None:
    world = resting("ab")
    assert world.decide(report("xxx", -4, name="b")).memory == world.memories["a"]


def test_a_report_without_rounds_is_blindness() -> None:
    plan = resting("ab").decide(report("", -4))
    assert not plan.memory.is_down
    assert plan.memory.incident is None


def test_an_old_report_that_comes_late_does_not_contradict_a_newer_one() -> None:
    """Invariant 6: any order of events ends in the same state."""
    down, older = report("ooxxx", -5), report("oooooo", -20)
    world = resting("ab")
    world.step(down, control=OUT)
    late = world.step(older, now=1, control=OUT)
    assert late.memory.is_down
    assert late.memory.proof_of("eni-a") is None
    world = resting("ab")
    world.step(report("oooo", -5))
    late = world.step(report("xxx", -20), now=1)
    assert not late.memory.is_down


def test_failed_rounds_then_good_ones_are_no_verdict_of_down() -> None:
    assert not resting("ab").decide(report("xxxxoo", -6)).memory.is_down


def test_three_failures_count_whatever_the_prober_calls_them() -> None:
    from natkeeper.core.news import Verdict

    world = resting("ab")
    assert world.decide(report("ooxxx", -5, verdict=Verdict.ENDED)).memory.is_down
    assert not world.decide(report("oooox", -5, verdict=Verdict.DOWN)).memory.is_down


def test_a_run_that_crashed_makes_room_for_the_next() -> None:
    world = resting("ab")
    plan = world.decide(ProbeFailed("a", "watch-a", "crash"))
    assert plan.memory.watch is not None
    assert plan.memory.watch.run_id != "watch-a"


def test_a_crash_of_another_run_leaves_the_one_in_flight() -> None:
    plan = resting("ab").decide(ProbeFailed("a", "somebody-elses", "crash"))
    assert plan.memory.watch is not None
    assert plan.memory.watch.run_id == "watch-a"


def test_the_share_of_time_that_was_observed_is_measured() -> None:
    world = resting("ab")
    assert world.decide(report("o" * 6, -5)).memory.observed == 100
    assert world.decide(report("o" * 10, 4)).memory.observed == pytest.approx(100 * 10 / 19)
    assert world.decide(report("oo", -30)).memory.observed == 100.0
    world.remember(recent=(), observed=None)
    assert world.decide(report("oo", -3)).memory.observed is None


# -- the life of an incident


def test_one_failed_round_is_written_down_and_wakes_nobody_up() -> None:
    plan = resting("ab").decide(report("oooxoo", -6, run_id="watch-a"))
    assert [type(each) for each in plan.happenings] == [IncidentOpened, IncidentClosed]
    (over,) = closed(plan.happenings)
    assert over.incident.cause is Cause.TRANSIENT
    assert (over.low, over.high) == (secs(0), secs(2.008))


def test_a_failed_round_in_a_planned_move_is_called_by_its_name() -> None:
    world = resting("ab").remember(moved_at=at(-10))
    world.remember(recent=rounds("oooo", -15))
    (over,) = closed(world.decide(report("oooooxoo", -14, run_id="watch-a")).happenings)
    assert over.incident.cause is Cause.PLANNED_MOVE


def test_an_incident_waits_for_the_run_that_saw_it() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    after = world.step(verified("oo"), now=2)
    assert closed(after.happenings) == []
    assert after.memory.incident is not None
    assert after.memory.incident.recovered_at is not None
    over = closed(world.step(report("oooxxooo", -4, run_id="watch-a"), now=5).happenings)
    assert len(over) == 1
    assert over[0].low <= secs(1)
    assert over[0].high == secs(2.508)


def test_an_incident_does_not_wait_for_ever_for_a_report_that_got_lost() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    world.step(verified("oo"), now=2)
    told = []
    for second in range(10, 200, 10):
        told += closed(world.step(now=second).happenings)
    assert len(told) == 1


def test_an_incident_whose_new_address_is_not_known_yet_stays_open_for_a_while() -> None:
    world = resting("ab").remember(watch=None, incident=incident(opened=-5))
    plan = world.step(report("oo", -3, egress=None))
    assert closed(plan.happenings) == []
    late = [each for second in range(10, 120, 10) for each in closed(world.step(now=second).happenings)]
    assert len(late) == 1
    assert late[0].incident.has_address_changed is None


def test_a_relapse_reopens_the_recovery_and_not_a_second_incident() -> None:
    world = resting("ab").remember(incident=incident(opened=-20, recovered_at=at(-10)))
    plan = world.decide(report("ooxx", -4))
    assert plan.memory.incident is not None
    assert plan.memory.incident.recovered_at is None
    assert plan.memory.incident.incident_id == "a-1"


def test_success_from_before_the_move_is_no_recovery() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    plan = world.step(report("ooooo", -6, run_id="watch-a"), now=1)
    assert plan.memory.incident is not None
    assert plan.memory.incident.recovered_at is None


def test_the_rounds_of_one_outage_open_one_incident_however_many_runs_saw_it() -> None:
    """The run that was started beside the failover fails its first rounds, and reports after everything was over."""
    world = resting("ab")
    told = []
    told += world.step(report("ooxxx", -4, run_id="watch-a")).happenings
    second_run = world.memories["a"].watch
    assert second_run is not None
    told += world.step(verified("oo", 0.9), now=1.5).happenings
    told += world.step(report("xo" + "o" * 13, 0.4, run_id=second_run.run_id), now=16).happenings
    told += world.step(now=60).happenings
    assert [type(each) for each in told] == [IncidentOpened, AddressArrived, IncidentClosed]
    (over,) = closed(told)
    assert over.high is not None
    assert over.low <= secs(3) <= over.high


def test_a_second_outage_does_not_count_the_first_one_again() -> None:
    """A run that ends as soon as egress is back leaves failed rounds among the newest four."""
    world = resting("ab")
    world.remember(watch=None, recent=rounds("oooo", -15))
    world.step(report("oooxxoo", -10, run_id="one"), now=-3)
    world.remember(watch=None)
    plan = world.step(report("ooxoo", -2.5, run_id="two"), now=2)
    (over,) = closed(plan.happenings)
    assert over.low == secs(0)
    assert over.high == secs(2.008)


def test_evidence_older_than_a_closed_incident_opens_no_other() -> None:
    world = resting("ab")
    world.step(report("oooxxoo", -10), now=-3)
    plan = world.step(report("oxxo", -9, clock="clock-2"), now=-2)
    assert not any(isinstance(each, IncidentOpened) for each in plan.happenings)


def test_an_incident_knows_the_address_before_and_after() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    world.step(verified("oo", egress="203.0.113.99"), now=2)
    (over,) = closed(world.step(report("ooxoo", -3, run_id="watch-a", egress=None), now=3).happenings)
    assert over.incident.address_before == public_of("a")
    assert over.incident.has_address_changed is True


def test_an_outage_without_probes_is_bounded_by_the_gap_between_successes() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(watch=None)
    world.step()
    run = world.memories["a"].watch
    assert run is not None
    world.step(verified("oo", 0.6), now=1)
    (over,) = closed(world.step(report("oooo", 1, run_id=run.run_id), now=5).happenings)
    assert over.low == secs(0)
    assert over.high is not None
    assert over.high >= secs(6.6)


def test_an_incident_that_nothing_recovers_stays_open() -> None:
    world = resting("a").change("i-a", state=STOPPED)
    told = [each for second in range(0, 300, 20) for each in world.step(now=second).happenings]
    assert sum(isinstance(each, IncidentOpened) for each in told) == 1
    assert closed(told) == []


def test_the_same_instant_gives_the_same_incident_id() -> None:
    """A replay after a crash opens the same incident."""
    world = resting("ab").change("i-a", state=STOPPED)
    assert world.decide().memory.incident == world.decide().memory.incident


def test_blindness_does_not_lose_what_was_opened() -> None:
    from natkeeper.core.model import Unknown

    world = resting("ab")
    world.network = Unknown("down")
    assert [type(each) for each in world.decide(report("oxxx", -4)).happenings] == [IncidentOpened]


# -- evidence that stays small and true


def test_a_row_of_failures_keeps_its_ends_only() -> None:
    one = extend(incident(), rounds("ooo" + "x" * 500 + "ooo", 0))
    assert len(one.rounds) < 20
    assert one.downtime(secs(0.1)) == Downtime(secs(499) - secs(0.008), secs(501.008))


def test_many_good_rounds_after_an_outage_do_not_push_the_outage_out() -> None:
    """At ten rounds a second a run has more rounds than an incident keeps; high ≥ truth must hold for ever."""
    one = incident()
    for start in range(0, 60, 20):
        pattern = "o" * 20 + "x" * 30 + "o" * 150 if not start else "o" * 200
        one = extend(one, rounds(pattern, start, step=0.1))
    found = one.downtime(secs(0.1))
    assert found.low == secs(2.9) - secs(0.008)
    assert found.high == secs(3.108)
    assert len(one.rounds) <= KEPT_ROUNDS


def test_many_good_rounds_do_not_push_the_gap_out_in_which_an_outage_may_hide() -> None:
    one = extend(incident(), (*rounds("ooo", 0), *rounds("o" * 500, 30, step=0.1)))
    found = one.downtime(secs(0.1))
    assert found.high is not None
    assert secs(28) <= found.high <= secs(36)
    assert len(one.rounds) == KEPT_ROUNDS


@pytest.mark.parametrize("pattern", ["o" * (KEPT_ROUNDS - 1) + "-" * 340 + "o", "oox" + "oooox" * 31 + "oo"])
def test_as_many_rounds_as_an_incident_keeps_are_all_kept(pattern: str) -> None:
    seen = rounds(pattern, 0)
    assert len(seen) == KEPT_ROUNDS
    assert extend(incident(), seen).rounds == seen


def test_of_each_row_its_ends_are_kept_and_two_successes_on_either_side() -> None:
    """And the first round and the last two, which the next disturbance may follow."""
    one = extend(incident(), rounds("ooooo" + "xxxxx" + "ooooo", 0))
    assert [each.sent_at for each in one.rounds] == [at(number) for number in (0, 3, 4, 5, 9, 10, 11, 13, 14)]


@pytest.mark.parametrize("slowest_ms", [400, 0.5])
def test_the_slowest_answer_is_kept_wherever_it_came(slowest_ms: float) -> None:
    """Low is shortened by it: without it an incident would claim more than it knows."""
    seen = (*rounds("o", 0, rtt_ms=0), *rounds("o", 1, rtt_ms=slowest_ms), *rounds("oooxxxo", 2, rtt_ms=0))
    assert extend(incident(), seen).downtime(secs(0.1)).low == secs(2 - slowest_ms / 1000)


def test_an_incident_that_two_probers_saw_is_closed_with_their_clocks_difference() -> None:
    plan = resting("ab").remember(watch=None).decide(report("xxoo", -5, clock="clock-2"))
    (over,) = closed(plan.happenings)
    assert (over.low, over.high) == (secs(1 - 0.008), secs(3 + 0.008 + 0.1))
    assert over.closed_at == at(0)
    assert plan.memory.measured_until == at(-2)


def test_an_incident_that_no_round_saw_is_measured_until_it_is_closed() -> None:
    world = resting("ab").remember(incident=incident(opened=-200, recovered_at=at(-90)), watch=None)
    plan = world.decide()
    assert len(closed(plan.happenings)) == 1
    assert plan.memory.measured_until == at(0)


def test_a_long_flapping_is_bounded_from_below_and_not_lied_about_from_above() -> None:
    one = extend(incident(), rounds("oooo" + "xo" * 400, 0))
    found = one.downtime(secs(0.1))
    assert len(one.rounds) <= KEPT_ROUNDS
    assert found.high is None or found.high >= secs(800)


def test_two_clocks_that_see_the_same_long_outage_stay_small() -> None:
    mixed = sorted(
        (*rounds("o" + "x" * 300 + "o", 0), *rounds("o" + "x" * 300 + "o", 0.5, clock="clock-2")),
        key=lambda each: each.sent_at,
    )
    one = incident()
    for each in mixed:
        one = extend(one, (each,))
    assert len(one.rounds) <= 20
    assert one.downtime(secs(0.1)).high is not None


def test_rounds_that_are_known_are_not_added_twice() -> None:
    one = extend(incident(), rounds("oxo", 0))
    assert extend(one, rounds("oxo", 0)) == one


def test_a_memory_after_a_month_of_trouble_fits_an_item_of_the_ledger() -> None:
    world = resting("abc")
    for second in range(0, 3000, 7):
        pattern = "oxoxxxo" if second % 3 else "xxxxxxx"
        canary = "ooo" if second % 2 else "xxx"
        world.step(report(pattern, second - 6.9, canary=canary, run_id=f"r{second // 2}"), now=second)
    assert len(json.dumps(encode(world.memories["a"]))) < 100_000


# -- the sentence


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words(cause: Cause) -> None:
    assert CAUSES[cause] in tell(IncidentClosed(incident(cause=cause), secs(1), secs(2), at(0)))


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (1.25, 3.5, "egress was down 1.2 s to 3.5 s"),
        (0, 2, "egress was down at most 2.0 s"),
        (4, None, "egress was down at least 4.0 s, the end was not observed"),
    ],
)
def test_the_message_says_only_what_is_known_of_the_downtime(low: float, high: float | None, says: str) -> None:
    over = IncidentClosed(incident(), secs(low), None if high is None else secs(high), at(0))
    assert says in tell(over)


def test_an_interval_is_never_rounded_to_one_that_misses_the_truth() -> None:
    """Low is rounded down and high up: 1.96 s to 2.04 s is not "2.0 s to 2.0 s"."""
    said = tell(IncidentClosed(incident(), secs(1.96), secs(2.04), at(0)))
    assert "1.9 s to 2.1 s" in said


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"address_after": "203.0.113.1"}, "same address 203.0.113.1, nothing for you to do"),
        ({"address_after": "198.51.100.1"}, "changed from 203.0.113.1 to 198.51.100.1, allow-lists at the far end"),
        ({}, "the egress address after it is not known yet"),
        ({"address_before": None, "address_after": "198.51.100.1"}, "not known"),
        ({"is_last_resort": True, "address_after": "203.0.113.1"}, "please look"),
    ],
)
def test_the_message_says_what_became_of_the_address_and_what_is_left_to_do(
    fields: dict[str, object], says: str
) -> None:
    assert says in tell(IncidentClosed(incident(**fields), secs(1), secs(2), at(0)))


def test_a_memory_without_anything_says_nothing() -> None:
    assert Memory().proof_of("eni-a") is None
    assert not Memory().is_paused(at(0))
    assert Incident("a-1", "a", Cause.EXTERNAL, at(0), None).has_address_changed is None
    assert memory().target == "eni-a"


def test_only_six_proofs_are_kept() -> None:
    found = Memory()
    for number in range(10):
        found = found.with_proof(f"eni-{number}", at(0), at(1), secs(120))
    assert len(found.proofs) == 6
    assert found.proofs[0].target == "eni-9"


def test_a_row_goes_on_while_it_is_fresh_and_begins_anew_after_a_gap() -> None:
    found = Memory(proofs=proofs("eni-a", age=0, since=-600))
    assert found.with_proof("eni-a", at(120), at(125), secs(120)).proofs[0].since == at(-600)
    assert found.with_proof("eni-a", at(121), at(125), secs(120)).proofs[0].since == at(121)
    assert found.with_proof("eni-a", at(-50), at(-40), secs(120)).proofs[0].at == at(0)


def test_nothing_added_to_nothing_is_nothing() -> None:
    assert extend(incident(), ()).rounds == ()
