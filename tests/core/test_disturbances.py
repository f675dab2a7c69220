"""When the path was found dead or changed: what an incident remembers of it, and what its interval makes of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from natkeeper.adapters.codec import decode, encode
from natkeeper.core.downtime import Disturbance, Downtime, measure
from natkeeper.core.evidence import KEPT_DISTURBANCES, KEPT_ROUNDS, as_changed, disturbed, extend, is_changing, proven
from natkeeper.core.incident import Incident, WatchRun
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import RunMode
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    IncidentClosed,
    MoveAddress,
    Plan,
    PointRoute,
    Reason,
    StopInstance,
)
from tests.support.worlds import (
    CANARY,
    STOPPED,
    World,
    at,
    incident,
    memory,
    policy,
    report,
    resting,
    rounds,
    secs,
    verified,
    writes,
)

ERROR = 0.1


def high_of(measured: Downtime) -> timedelta:
    assert measured.high is not None
    return measured.high


def incident_of(plan: Plan) -> Incident:
    assert plan.memory.incident is not None
    return plan.memory.incident


def open_incident_of(world: World) -> Incident:
    found = world.memories["a"].incident
    assert found is not None
    return found


def test_two_moves_within_one_interval_of_the_probes_count_both() -> None:
    """The neighbour is stopped right after it took the traffic: no round met either darkness, and the widest gap
    between two successes is shorter than the two of them."""
    world = resting("abc").remember(recent=rounds("oooo", -3.4), watch=None)
    world.change("i-a", state=STOPPED)
    world.step()
    world.step(verified("oo", 0.15), now=0.4)
    world.change("i-b", state=STOPPED)
    world.step(now=0.9)
    world.step(verified("oo", 1.05, clock="clock-3"), now=1.3)
    run = world.memories["a"].watch
    assert run is not None
    closed = world.step(report("o" * 9, 2, run_id=run.run_id, clock="clock-4"), now=12).happenings
    (over,) = [each for each in closed if isinstance(each, IncidentClosed)]
    assert len(over.incident.disturbances) == 2
    assert over.low == secs(0)
    assert over.high is not None
    assert over.high >= secs(1.05 - -0.4)


def test_an_ordinary_stop_is_measured_as_sharply_as_without_disturbances() -> None:
    world = resting("ab").remember(recent=rounds("oooo", -3.4)).change("i-a", state=STOPPED)
    world.step()
    world.step(verified("oo", 0.15, clock="clock-2"), now=0.4)
    one = open_incident_of(world)
    assert one.disturbances[0].proof is not None
    assert one.downtime(secs(ERROR)) == measure(one.rounds, secs(ERROR))


def test_a_move_is_over_when_its_calls_are_answered() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    assert incident_of(world.decide()).disturbances == (Disturbance(at(0)),)
    world.step()
    assert open_incident_of(world).disturbances == (Disturbance(at(0), at(0)),)


def test_calls_that_nobody_heard_the_answer_of_may_still_be_applied() -> None:
    assert Disturbance(at(0)).until == at(12)
    seen = (*rounds("oo", -1), *rounds("o" * 20, 1))
    assert high_of(measure(seen, secs(ERROR), (Disturbance(at(0.5)),))) == secs(13 + 0.008)


def test_a_path_that_is_found_dead_and_cannot_be_left_is_disturbed_too() -> None:
    """Nothing to move to, probes ten seconds apart: the NAT is started again before a round has met anything."""
    world = resting("a").change("i-a", state=STOPPED)
    plan = world.decide()
    assert not any(type(each).__name__ in ("PointRoute", "MoveAddress") for each in writes(plan))
    assert incident_of(plan).disturbances == (Disturbance(at(0), at(0)),)


@pytest.mark.parametrize(("pattern", "is_cut"), [("oxxo", True), ("ooxx", True), ("ooox", False)])
def test_lost_rounds_of_before_the_routes_were_put_back_may_have_met_anothers_route(pattern: str, is_cut: bool) -> None:
    """Whose route it was may have carried what lies between two of them."""
    world = resting("ab").remember(led_since=at(-7), recent=rounds(pattern, -9)).change("i-a", state=STOPPED)
    put_back = (Disturbance(at(-7), at(-7)),) if is_cut else ()
    assert incident_of(world.decide()).disturbances == (*put_back, Disturbance(at(0)))


def test_a_path_that_is_found_dead_again_after_egress_was_back_is_disturbed_once_more_and_not_in_each_pass() -> None:
    one = replace(incident(opened=-60), recovered_at=at(-20), disturbances=(Disturbance(at(-60), at(-60)),))
    world = resting("a").change("i-a", state=STOPPED).remember(incident=one, watch=WatchRun("w", at(-25), secs(55)))
    again = (*one.disturbances, Disturbance(at(0), at(0)))
    assert incident_of(world.decide()).disturbances == again
    world.memories["a"] = world.decide().memory
    assert incident_of(world.decide(now=5)).disturbances == again


def test_an_incident_that_rounds_opened_is_disturbed_by_what_natkeeper_does_only() -> None:
    plan = resting("ab").decide(report("ooxoox", -6))
    assert incident_of(plan).disturbances == ()


def test_a_path_that_still_works_may_go_dark_after_its_calls_were_answered() -> None:
    """Its packets go the old way for a moment, and the address follows when AWS pleases."""
    world = resting("ab").remember(incident=incident(opened=-9, recovered_at=at(-8)), watch=None)
    world.remember(incident=replace(open_incident_of(world), address_after=None))
    world.route("rtb-a", "eni-b")
    plan = world.step(report("ooo", -3, egress=None))
    assert [type(each).__name__ for each in writes(plan)] == ["PointRoute"]
    (found,) = open_incident_of(world).disturbances
    assert found == Disturbance(at(0), at(11))


def test_what_a_plan_does_that_ends_an_incident_is_not_the_incidents() -> None:
    world = resting("ab").remember(incident=incident(opened=-9, recovered_at=at(-8)), watch=None)
    plan = world.route("rtb-a", "eni-b").decide(report("ooo", -3))
    (over,) = [each for each in plan.happenings if isinstance(each, IncidentClosed)]
    assert writes(plan)
    assert over.incident.disturbances == ()


@pytest.mark.parametrize(
    ("action", "is_changing_it"),
    [
        (PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a"), True),
        (PointRoute("rtb-a2", DEFAULT_ROUTE, "eni-a"), False),
        (PointRoute("rtb-a", CANARY, "eni-a"), False),
        (MoveAddress("eip-a", "eni-a", "10.0.0.10"), True),
        (MoveAddress("eip-proving", "eni-a2", "10.0.0.20"), False),
        (DisableSourceDestCheck("eni-a"), True),
        (DisableSourceDestCheck("eni-a2"), False),
        (StopInstance("i-a"), False),
    ],
)
def test_a_path_is_changed_by_what_the_probers_packets_meet(action: Action, is_changing_it: bool) -> None:
    plan = Plan("a", memory(), Reason.CONVERGE, stages=((action,),), probed_tables=frozenset({"rtb-a"}))
    assert is_changing(plan) is is_changing_it


def test_where_the_probers_table_is_not_known_each_may_be_it() -> None:
    route = PointRoute("rtb-a2", DEFAULT_ROUTE, "eni-a")
    assert is_changing(Plan("a", memory(), Reason.CONVERGE, stages=((route,),)))


@pytest.mark.parametrize(("start", "is_proof"), [(0.01, True), (0, True), (-0.01, False), (-1.5, False)])
def test_a_verification_proves_the_move_that_it_followed(start: float, is_proof: bool) -> None:
    before = Disturbance(at(-5), at(-4), rounds("o", -4)[0])
    one = replace(incident(), disturbances=(before, Disturbance(at(0), at(0.5))))
    (first,) = rounds("o", start, clock="clock-9")
    assert (proven(one, (first,)).disturbances[-1].proof == first) is is_proof
    assert proven(one, ()) == one
    assert proven(incident(), (first,)) == incident()


@pytest.mark.parametrize(("mode", "is_proof"), [(RunMode.VERIFY, True), (RunMode.WATCH, False)])
def test_only_a_verification_is_begun_once_the_calls_are_answered(mode: RunMode, is_proof: bool) -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    world.step(report("oo", 0.15, mode=mode, clock="clock-2"), now=2)
    assert (open_incident_of(world).disturbances[0].proof is not None) is is_proof


def test_a_verification_of_before_a_move_was_answered_proves_nothing() -> None:
    one = replace(incident(), disturbances=(Disturbance(at(0)),))
    assert proven(one, rounds("oo", 0.1)) == one
    late = replace(incident(), disturbances=(Disturbance(at(0), at(11)),))
    assert proven(late, rounds("oo", 0.1)) == late
    assert proven(late, rounds("oo", 9.99)) == late, "clocks differ by a second at most"
    assert proven(late, rounds("oo", 10)) != late


def test_the_first_verification_is_the_proof_and_no_later_one() -> None:
    one = proven(replace(incident(), disturbances=(Disturbance(at(0), at(0.1)),)), rounds("x", 0.2))
    assert proven(one, rounds("o", 3, clock="clock-2")) == one


def test_a_verification_bounds_its_move_however_close_it_followed() -> None:
    seen = (*rounds("oo", -1, step=0.5), *rounds("oo", 0.2, step=0.2, clock="clock-2"))
    move = Disturbance(at(0), at(0.19))
    assert high_of(measure(seen, secs(ERROR), (move,))) == secs(0.9 + 0.008 + ERROR)
    assert high_of(measure(seen, secs(ERROR), (replace(move, proof=seen[2]),))) == secs(0.7 + 0.008 + ERROR)


def test_many_disturbances_become_one_that_spans_them() -> None:
    one = incident()
    for second in range(KEPT_DISTURBANCES + 5):
        one = disturbed(one, at(second), is_over=True)
    assert len(one.disturbances) == KEPT_DISTURBANCES
    assert one.disturbances[-1] == Disturbance(at(KEPT_DISTURBANCES - 1), at(KEPT_DISTURBANCES + 4))


@pytest.mark.parametrize(
    ("moves", "step", "is_bounded"), [(1, 0.1, True), (KEPT_DISTURBANCES, 0.1, False), (10, 0.5, False)]
)
def test_many_good_rounds_do_not_push_out_what_a_move_is_measured_by(moves: int, step: float, is_bounded: bool) -> None:
    """Unless there are more moves than its rounds can bound (ten need eight rounds at either end, all that are kept):
    then no upper end is claimed."""
    made = tuple(Disturbance(at(20 * each + 1.75), at(20 * each + 11.75)) for each in range(moves))
    one = extend(replace(incident(), disturbances=made), rounds("o" * 2500, 0, step=step))
    assert len(one.rounds) == KEPT_ROUNDS
    assert (one.downtime(secs(ERROR)).high is not None) is is_bounded


@pytest.mark.parametrize(
    ("action", "known"),
    [
        (StopInstance("i-a"), (Disturbance(at(-1)),)),
        (PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a"), ()),
    ],
)
def test_a_call_ends_no_disturbance_where_it_was_none_of_the_path_or_there_is_none(
    action: Action, known: tuple[Disturbance, ...]
) -> None:
    before = memory(incident=replace(incident(), disturbances=known))
    plan = Plan("a", before, Reason.CONVERGE, stages=((action,),))
    assert as_changed(before, plan, action, at(0), policy("a")) == before


def test_disturbances_are_remembered_by_the_ledger() -> None:
    kept = Disturbance(at(0), at(1), rounds("o", 2)[0])
    known = memory(incident=replace(incident(), disturbances=(kept, Disturbance(at(5)))))
    assert decode(type(known), encode(known)) == known


def test_egress_that_a_move_brought_back_unseen_is_not_claimed_as_down() -> None:
    """A round failed before the first move and one after the neighbour had died: between the two there was egress."""
    seen = (*rounds("ox", -1), *rounds("xo", 1, clock="clock-2"))
    assert measure(seen, secs(ERROR)).low == secs(1 - 0.008 - ERROR)
    assert measure(seen, secs(ERROR), (Disturbance(at(0.1), at(0.2)),)).low == secs(0)


def test_a_dead_path_may_have_come_back_after_its_last_lost_round_and_before_it_was_left() -> None:
    seen = (*rounds("oxxx", -1), *rounds("xxo", 4))
    assert measure(seen, secs(ERROR), (Disturbance(at(3), at(3.2)),)).low == secs(2 - 0.008 + 1 - 0.008)


def test_a_hole_before_a_move_is_not_claimed_as_down() -> None:
    seen = (*rounds("oxxx", -1), *rounds("xxo", 14))
    assert measure(seen, secs(ERROR), (Disturbance(at(13), at(13.2)),)).low == secs(2 - 0.008 + 1 - 0.008)


def test_after_a_move_another_one_may_have_found_egress_in_between() -> None:
    moves = (Disturbance(at(-0.5), at(-0.4)), Disturbance(at(1.6), at(1.7)))
    seen = (*rounds("o", -1.5), *rounds("xxx", 0), *rounds("o", 3))
    assert measure(seen, secs(ERROR), moves).low == secs(1 - 0.008)


def test_a_calm_stretch_between_two_outages_is_not_counted() -> None:
    assert high_of(measure(rounds("oxo" + "ooooo" + "oxo", 0), secs(ERROR))) == secs(2 * 2.008)


def test_what_is_too_short_to_be_calm_is_counted() -> None:
    """Egress that bounces is not to be told from egress that is out."""
    assert high_of(measure(rounds("oxo" + "oo" + "xo", 0), secs(ERROR))) == secs(6.008)


def test_a_report_that_is_missing_between_two_outages_is_not_calm() -> None:
    seen = rounds("oxo" + "oo" + "-----" + "oo" + "oxo", 0)
    assert high_of(measure(seen, secs(ERROR))) == secs(14.008)


def test_an_incident_right_after_another_knows_the_successes_that_ended_that_one() -> None:
    """The last of them was so close that it may have come after the second death: with it alone there was no upper end
    (`natkeeper_lab.simulation.second_death`, 1 of 1000)."""
    world = resting("ab").remember(recent=rounds("xooo", -3.05), measured_until=at(-0.05), watch=None)
    one = incident_of(world.change("i-a", state=STOPPED).step())
    assert [each.is_ok for each in one.rounds] == [True] * 3
    world.step(verified("oo", 0.15, clock="clock-2"), now=0.4)
    assert open_incident_of(world).downtime(secs(ERROR)).high == secs(1.2 + 0.008 + ERROR)
