"""The present path is dead: where traffic goes, in which order of calls, and what it must never do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.incident import Canary, Cause, Exclusion, Memory, Told
from natkeeper.core.launches import accepted
from natkeeper.core.model import DEFAULT_ROUTE, Role
from natkeeper.core.news import Command, Verb
from natkeeper.core.plan import (
    AddressArrived,
    DisableSourceDestCheck,
    GivePublicAddress,
    IncidentClosed,
    IncidentOpened,
    MoveAddress,
    PointRoute,
    Reason,
    StartInstance,
    TerminateInstance,
    Warned,
)
from natkeeper.core.policy import StandbyMode
from tests.support.worlds import (
    CANARY,
    PENDING,
    RUNNING,
    SHUTTING_DOWN,
    STOPPED,
    STOPPING,
    TERMINATED,
    UP,
    World,
    at,
    away,
    kinds,
    nat,
    proofs,
    report,
    resting,
    routed,
    secs,
    target_of,
    verified,
    without,
    writes,
)

# -- the three orders of moving


def test_an_unplanned_move_to_a_bare_landing_is_one_stage() -> None:
    plan = resting("ab").change("i-a", state=STOPPING).decide()
    assert plan.reason is Reason.FAIL_OVER
    assert kinds(plan) == [["MoveAddress", "PointRoute"]]
    assert plan.verifies
    assert not plan.records_first


def test_a_planned_move_to_a_bare_landing_sends_routes_first() -> None:
    plan = resting("ab").decide(Command(Verb.SWITCHOVER, "a", to="b"))
    assert plan.reason is Reason.OPERATOR_MOVE
    assert kinds(plan) == [["PointRoute"], ["MoveAddress"]]
    assert plan.pause == resting().policy.teaching_pause > secs(0)
    assert plan.records_first


@pytest.mark.parametrize("is_planned", [True, False])
def test_an_address_goes_before_the_routes_where_the_landing_is_not_bare(is_planned: bool) -> None:
    world = resting("ab").add(nat("b", secondary_public="198.51.100.5"))
    if is_planned:
        plan = world.decide(Command(Verb.FAILOVER, "a"))
        assert plan.pause == secs(0)
    else:
        plan = world.change("i-a", state=STOPPED).decide()
    assert kinds(plan) == [["MoveAddress"], ["PointRoute"]]


def test_an_address_lands_on_the_secondary_that_is_the_groups_own() -> None:
    plan = resting("ab").change("i-a", state=STOPPED).decide()
    assert MoveAddress("eip-a", "eni-b", "10.0.0.51") in plan.actions


def test_a_host_without_an_address_to_spare_carries_the_traffic_under_its_own() -> None:
    world = resting("ab").add(nat("b", secondaries=0)).change("i-a", state=STOPPED)
    assert kinds(world.decide()) == [["PointRoute"]]


def test_every_table_is_moved_and_each_stands_alone() -> None:
    """Peer mistakes 1 and 11: one failed table aborts the loop; routes to an instance id."""
    plan = resting("ab", tables=20).change("i-a", state=STOPPED).decide()
    moved = [each for each in plan.actions if isinstance(each, PointRoute)]
    assert len({each.table_id for each in moved}) == 20
    assert {each.target for each in moved} == {"eni-b"}
    assert len(kinds(plan)) == 1


def test_a_missing_route_is_created() -> None:
    world = resting("ab", tables=2).change("i-a", state=TERMINATED).route("rtb-a2", None)
    moved = {each.table_id: each.is_missing for each in world.decide().actions if isinstance(each, PointRoute)}
    assert moved == {"rtb-a": False, "rtb-a2": True}


def test_a_table_that_was_deleted_does_not_stop_the_others() -> None:
    world = resting("ab", tables=2).change("i-a", state=STOPPED)
    world.network = replace(world.seen, tables={key: each for key, each in world.seen.tables.items() if key != "rtb-a"})
    assert [each.table_id for each in world.decide().actions if isinstance(each, PointRoute)] == ["rtb-a2"]


# -- evidence from EC2


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (PENDING, Cause.INSTANCE_STOPPED),
        (STOPPING, Cause.INSTANCE_STOPPED),
        (STOPPED, Cause.INSTANCE_STOPPED),
        (SHUTTING_DOWN, Cause.INSTANCE_GONE),
        (TERMINATED, Cause.INSTANCE_GONE),
    ],
)
def test_a_nat_that_does_not_run_is_left_at_once_without_a_control_probe(state, cause) -> None:  # type: ignore[no-untyped-def]
    plan = resting("ab").change("i-a", state=state).decide()
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is cause
    assert (plan.memory.incident.from_target, plan.memory.incident.to_target) == ("eni-a", "eni-b")


def test_a_blackhole_whose_target_is_gone_is_left() -> None:
    world = resting("ab").route("rtb-a", "eni-a", is_blackhole=True)
    world.network = without(world.seen, "i-a")
    plan = world.decide()
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.ROUTE_BLACKHOLE


# -- candidates


def test_the_ring_says_which_neighbour_comes_first() -> None:
    for group, first in (("a", "eni-b"), ("b", "eni-c"), ("c", "eni-a")):
        world = resting("abc").change(f"i-{group}", state=STOPPED)
        assert world.decide(name=group).memory.target == first


def test_in_a_ring_of_three_a_nano_has_an_address_for_the_group_before_it_only() -> None:
    """The one secondary of b is a's; c, two places before it, leaves under b's own address."""
    world = resting("abc").change("i-a", state=STOPPED).change("i-c", state=STOPPED)
    assert MoveAddress("eip-a", "eni-b", "10.0.0.51") in world.decide(name="a").actions
    plan = world.decide(name="c")
    assert plan.memory.target == "eni-b"
    assert kinds(plan) == [["PointRoute"]]


def test_with_two_secondaries_a_nat_hosts_two_groups_each_on_its_own() -> None:
    world = resting("abc").add(nat("b", secondaries=2)).change("i-a", state=STOPPED).change("i-c", state=STOPPED)
    landed = {
        group: next(each.private for each in world.decide(name=group).actions if isinstance(each, MoveAddress))
        for group in "ac"
    }
    assert landed == {"a": "10.0.0.51", "c": "10.0.0.52"}


def test_secondaries_are_counted_by_number_and_not_by_the_order_ec2_lists_them_in() -> None:
    world = resting("abc").add(nat("b", secondaries=2))
    owner = next(each for each in world.seen.instances if each.instance_id == "i-b")
    assert owner.interface is not None
    first, *rest = owner.interface.addresses
    shuffled = replace(owner, interface=replace(owner.interface, addresses=(first, *reversed(rest))))
    plan = world.add(shuffled).change("i-a", state=STOPPED).decide()
    assert MoveAddress("eip-a", "eni-b", "10.0.0.51") in plan.actions


def test_a_standby_comes_before_a_neighbour() -> None:
    world = resting("ab", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public=None))
    world.remember(proofs=proofs("eni-a", "eni-as")).change("i-a", state=STOPPED)
    plan = world.decide()
    assert (plan.memory.target, plan.carried_by) == ("eni-as", "standby")


def test_a_gateway_comes_last_and_needs_no_proof() -> None:
    world = resting("ab", gateway="nat-1").change("i-a", state=STOPPED)
    assert world.decide().memory.target == "eni-b"
    plan = world.change("i-b", state=STOPPED).decide()
    assert (plan.memory.target, plan.carried_by) == ("nat-1", "gateway")
    assert kinds(plan) == [["PointRoute"]]


def test_route_stays_put_while_source_dest_check_is_on() -> None:
    """A checked neighbour is no candidate while any other is verified."""
    world = resting("abc").change("i-a", state=STOPPED).change("i-b", checked=True)
    assert world.decide().memory.target == "eni-c"


def test_an_excluded_candidate_is_left_alone_until_its_time_is_over() -> None:
    world = resting("abc").change("i-a", state=STOPPED).remember(exclusions=(Exclusion("eni-b", at(30)),))
    assert world.decide(now=29).memory.target == "eni-c"
    plan = world.decide(now=30)
    assert plan.memory.target == "eni-b"
    assert plan.memory.exclusions == ()


def excluded(*, by_the_canary: float, by_the_owner: float = -600, is_guess: bool = False) -> str | None:
    """Where a's traffic goes that failed on b's NAT at -10, which the two have proven since then or before."""
    world = resting("abc").change("i-a", state=STOPPED)
    world.remember("b", proofs=proofs("eni-b", since=by_the_owner, age=1))
    world.remember(exclusions=(Exclusion("eni-b", at(50), at(-10), is_guess),))
    return world.remember(proofs=proofs("eni-b", since=by_the_canary, age=1)).decide().memory.target


def test_a_guess_that_failed_counts_again_once_a_canary_passed_after_that() -> None:
    """It may have been booting: both NATs of a stack were left alone for a minute (simulation, seed 730014079)."""
    assert excluded(by_the_canary=-9.9, is_guess=True) == "eni-b"
    assert excluded(by_the_canary=-10, is_guess=True) == "eni-c"


def test_what_was_proven_and_failed_is_not_tried_again_because_of_the_canary() -> None:
    """The canary's packets take its primary address, and a's would not: traffic would go to and fro."""
    assert excluded(by_the_canary=-9.9) == "eni-c"


def test_a_neighbour_that_failed_counts_again_once_its_own_group_got_through_it_anew() -> None:
    assert excluded(by_the_canary=-600, by_the_owner=-9.9) == "eni-b"
    assert excluded(by_the_canary=-600, by_the_owner=-10) == "eni-c"


def test_a_gateway_that_failed_is_left_alone_until_its_time_is_over() -> None:
    world = resting("a", gateway="nat-1").change("i-a", state=STOPPED)
    plan = world.remember(exclusions=(Exclusion("nat-1", at(50), at(-10)),)).decide()
    assert plan.reason is Reason.NO_CANDIDATE


def test_an_exclusion_of_before_there_was_an_instant_lasts_its_time() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    world.remember(exclusions=(Exclusion("eni-b", at(50)),), proofs=proofs("eni-b", since=-1, age=1))
    assert world.decide().memory.target == "eni-c"


@pytest.mark.parametrize(
    ("failed", "proven", "change", "target"),
    [
        (-20, -19, {}, "eni-a"),
        (-19.9, -19, {}, "eni-b"),
        (-20, -20, {}, "eni-b"),
        (-20, None, {}, "eni-b"),
        (-20, -19, {"checked": True}, "eni-b"),
    ],
)
def test_where_nothing_else_is_left_a_nat_that_forwards_again_is_gone_to_sooner(
    failed: float, proven: float | None, change: dict[str, Any], target: str
) -> None:
    """The own NAT failed its verification while its zone was down, and the canary proves it since; the neighbour that
    carries the traffic is gone."""
    world = away("ab").change("i-a", state=RUNNING, public="203.0.113.9", **change).change("i-b", state=STOPPED)
    world.remember(exclusions=(Exclusion("eni-a", at(failed + 60), at(failed)),), proofs=())
    if proven is not None:
        world.remember(proofs=proofs("eni-a", since=proven, age=1))
    plan = world.decide()
    assert plan.memory.target == target
    assert (plan.reason is Reason.FAIL_OVER) is (target == "eni-a")
    assert plan.detail.endswith("i-b is stopped; eni-a forwards again") is (target == "eni-a")


@pytest.mark.parametrize("is_guess", [True, False])
def test_a_failed_verification_remembers_whether_it_was_of_a_guess(is_guess: bool) -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    if is_guess:
        world.remember("b", proofs=()).remember(proofs=())
    assert world.step().reason is (Reason.LAST_RESORT if is_guess else Reason.FAIL_OVER)
    plan = world.decide(verified("xxx", 11.001), now=12)
    assert plan.memory.exclusions == (Exclusion("eni-b", at(72), at(12), is_guess),)


def test_a_last_resort_of_a_while_ago_makes_no_guess_of_another_nat() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(proofs=()).remember("b", proofs=())
    world.step()
    world.remember(target="eni-a")
    assert not world.decide(verified("xxx", 1.1), now=3).memory.exclusions[0].is_guess


def test_a_doomed_neighbour_is_no_candidate() -> None:
    world = resting("abc").change("i-a", state=STOPPED).change("i-b", interruption_at=at(100))
    assert world.decide().memory.target == "eni-c"


def test_a_neighbour_that_its_own_group_found_dead_is_no_candidate() -> None:
    """Even though this group's canary went through it a moment ago."""
    world = resting("abc").change("i-a", state=STOPPED)
    world.remember("b", is_down=True, proofs=())
    assert world.decide().memory.target == "eni-c"


def test_a_neighbour_that_its_own_group_left_counts_again_once_a_canary_passed_after_that() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    world.remember("b", target="eni-c", moved_at=at(-20), proofs=())
    world.remember("a", proofs=proofs("eni-b", age=21))
    assert world.decide().memory.target == "eni-c"
    world.remember("a", proofs=proofs("eni-b", age=19))
    assert world.decide().memory.target == "eni-b"


def test_a_neighbours_old_proof_counts_for_nothing() -> None:
    world = resting("ab", gateway="nat-1").change("i-a", state=STOPPED)
    world.remember("a", proofs=()).remember("b", proofs=proofs("eni-b", age=121))
    assert world.decide().memory.target == "nat-1"


# -- after the move


def test_a_move_drops_what_was_known_of_the_path_before() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(is_down=True)
    memory = world.decide().memory
    assert not memory.is_down
    assert memory.proof_of("eni-a") is None
    assert memory.stable_since is None
    assert memory.moved_at == at(0)


def test_rounds_sent_before_a_move_do_not_condemn_the_path_after_it() -> None:
    """Otherwise the watch run that was in flight makes the controller flee from the NAT it just moved to."""
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    plan = world.step(report("oooxxx", -5, run_id="watch-a"), now=1)
    assert not plan.memory.is_down
    assert target_of(world.seen, "rtb-a") == "eni-b"


def test_a_failed_verification_sends_the_next_turn_to_the_next_candidate() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    world.step()
    plan = world.step(verified("xxxx", canary="xxxx"), now=3)
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.target == "eni-c"
    assert plan.memory.is_excluded("eni-b", at(3))
    assert len(plan.memory.failovers) == 2


def test_a_passed_verification_closes_the_matter() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    plan = world.step(verified("oo"), now=2)
    assert plan.reason is Reason.HEALING
    assert not plan.memory.is_down
    assert plan.memory.proof_of("eni-b") is not None


def test_a_move_whose_calls_all_failed_is_tried_again_before_its_target_is_blamed() -> None:
    """One throttled ReplaceRoute: the failed verification is about the old path, and b is as good as ever."""
    world = resting("ab").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[PointRoute, MoveAddress])
    plan = world.step(verified("xxxx"), now=3)
    assert plan.reason is Reason.CONVERGE
    assert target_of(world.seen, "rtb-a") == "eni-b"
    after = world.step(verified("oo", 4), now=5)
    assert not after.memory.is_down
    assert after.reason is Reason.HEALING


def test_a_move_that_lost_its_address_call_is_mended_before_its_target_is_blamed() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[MoveAddress])
    plan = world.step(verified("xxxx"), now=3)
    assert (plan.reason, kinds(plan)) == (Reason.CONVERGE, [["MoveAddress"]])


def test_a_move_that_cannot_be_completed_does_not_hold_the_group_on_a_dead_nat() -> None:
    """One of three tables refuses every call, and the NAT that the other two went to forwards nothing."""
    world = resting("abc", tables=3).change("i-a", state=STOPPED)
    world.carry_out(world.decide())
    world.network = routed(world.seen, "rtb-a3", "eni-a")
    plan = world.step(verified("xxxx"), now=3)
    assert plan.reason is Reason.CONVERGE
    world.network = routed(world.seen, "rtb-a3", "eni-a")
    world.step(report("xxx", 30), now=40)
    assert target_of(world.seen, "rtb-a") == "eni-c"


def test_routes_taken_away_by_hand_are_put_back_before_the_nat_is_blamed() -> None:
    """Invariant 8: probes fail because the route is gone, and not because of the NAT that it should point to."""
    world = resting("ab").route("rtb-a", None)
    plan = world.step(report("ooxxx", -4))
    assert plan.reason is Reason.CONVERGE
    assert target_of(world.seen, "rtb-a") == "eni-a"
    assert target_of(world.seen, "rtb-a") == plan.memory.target


def test_routes_taken_away_from_every_zone_at_once_are_put_back_and_not_held_as_common_mode() -> None:
    world = resting("ab").route("rtb-a", None).route("rtb-b", None).remember("b", is_down=True)
    assert world.decide(report("ooxxx", -4), control=UP).reason is Reason.CONVERGE


def test_an_unverified_move_that_never_happened_is_made_up_for() -> None:
    """Crash between the ledger's write and EC2's: the record says b, the route says a, and nobody has probed since."""
    world = resting("ab").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[PointRoute, MoveAddress])
    plan = world.step(now=20)
    assert plan.reason is Reason.CONVERGE
    assert target_of(world.seen, "rtb-a") == "eni-b"


def test_a_neighbour_that_is_verified_by_its_own_group_is_converged_on_without_waiting_for_probes() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(proofs=())
    world.carry_out(world.decide(), failing=[PointRoute, MoveAddress])
    assert world.decide(now=40).reason is Reason.CONVERGE
    world.remember("b", proofs=())
    assert world.decide(now=40).reason is Reason.UNOBSERVED
    lost = world.decide(verified("xxx", 1), now=20)
    assert lost.reason is Reason.CONVERGE, "right after the move its calls are made up for all the same"


def test_one_drifted_table_is_put_back_before_the_nat_is_blamed_but_only_once() -> None:
    world = resting("ab", tables=2).route("rtb-a", "eni-b")
    assert world.step(report("ooxxx", -4)).reason is Reason.CONVERGE
    world.route("rtb-a", "eni-b")
    assert world.step(verified("xxxx", 1), now=3).reason is Reason.FAIL_OVER


def test_a_path_that_is_checked_is_mended_first_and_left_if_that_does_not_help() -> None:
    world = resting("ab").change("i-a", checked=True)
    plan = world.step(report("ooxxx", -4))
    assert plan.reason is Reason.HEALING
    assert writes(plan) == [DisableSourceDestCheck("eni-a")]
    assert plan.verifies
    after = world.step(verified("xxxx", 1), now=3)
    assert (after.reason, after.memory.target) == (Reason.FAIL_OVER, "eni-b")


def test_a_checked_path_that_stopped_is_not_mended_but_left() -> None:
    world = resting("ab").change("i-a", checked=True, state=STOPPED)
    assert world.decide().reason is Reason.FAIL_OVER


# -- limits


def spent(zones: str = "ab", limit: int = 2, **chosen: Any) -> World:
    """Group a's NAT stopped, its failovers of the hour are used up, and on b's its packets were lost a minute ago."""
    world = resting(zones, max_failovers_per_hour=limit, **chosen).change("i-a", state=STOPPED)
    lost = Exclusion("eni-b", at(-1), at(-61))
    return world.remember(failovers=tuple(at(-10 - each) for each in range(limit)), exclusions=(lost,))


def test_the_failover_budget_stops_a_shuffle_and_says_so() -> None:
    plan = spent().decide()
    assert plan.reason is Reason.BUDGET_EXHAUSTED
    assert not any(isinstance(each, PointRoute) for each in plan.actions)
    assert [type(each) for each in plan.happenings] == [Warned, IncidentOpened]


def test_of_a_used_up_budget_a_person_hears_once() -> None:
    world = spent()
    world.memories["a"] = world.decide().memory
    assert world.memories["a"].told == (Told("failovers in an hour", at(0)),)
    again = world.decide(now=5)
    assert again.reason is Reason.BUDGET_EXHAUSTED
    assert not any(isinstance(each, Warned) for each in again.happenings)


def test_a_used_up_budget_still_lets_the_own_nat_start() -> None:
    assert writes(spent().decide()) == [StartInstance("i-a")]


def test_a_used_up_budget_still_rouses_the_standby() -> None:
    world = spent(standby=StandbyMode.STOPPED).add(nat("a", STOPPED, role=Role.STANDBY))
    assert set(writes(world.decide())) == {StartInstance("i-a"), StartInstance("i-as")}


def test_a_used_up_budget_still_lets_a_hung_nat_be_replaced() -> None:
    world = resting("a", max_failovers_per_hour=1).remember(failovers=(at(-10),)).change("i-a", launched_at=at(-600))
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert plan.reason is Reason.BUDGET_EXHAUSTED
    assert kinds(plan) == [["LaunchInstance"]]


def test_a_used_up_budget_never_holds_a_group_beside_a_nat_that_is_proven() -> None:
    world = spent().remember(exclusions=())
    plan = world.decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-b")
    assert len(plan.memory.failovers) == 3


def test_a_nat_that_failed_is_gone_to_over_the_budget_once_its_own_packets_began_to_get_through_again() -> None:
    world = spent().remember("b", proofs=proofs("eni-b", since=-60))
    assert world.decide().memory.target == "eni-b"
    world.remember("b", proofs=proofs("eni-b", since=-62))
    assert world.decide().reason is Reason.BUDGET_EXHAUSTED


def test_over_the_budget_nothing_is_tried_in_which_no_packet_has_been() -> None:
    world = spent().remember("b", proofs=()).remember(exclusions=(), proofs=())
    assert world.decide().reason is Reason.BUDGET_EXHAUSTED


def test_an_hour_later_there_is_a_failover_again() -> None:
    world = spent().remember(failovers=(at(-3600), at(-10)))
    assert world.decide().reason is Reason.FAIL_OVER


def test_two_nats_that_are_both_bad_cannot_flap_for_ever() -> None:
    """Peer mistake 4: away, back and away again, twice a minute, for ever."""
    world = resting("ab")
    moves = 0
    for second in range(0, 3600, 5):
        fresh = {"a": proofs("eni-a", "eni-b", now=second, age=1), "b": proofs("eni-b", now=second, age=1)}
        left_alone = tuple(replace(each, until=at(second)) for each in world.memories["a"].exclusions)
        world.remember("a", proofs=fresh["a"], exclusions=left_alone).remember("b", proofs=fresh["b"])
        plan = world.step(verified("xxxx", second - 1), now=second)
        moves += plan.reason is Reason.FAIL_OVER
    assert moves == 6


# -- the last resort


def test_only_when_nothing_is_verified_does_traffic_go_where_no_packet_has_been() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember("a", proofs=()).remember("b", proofs=())
    plan = world.decide()
    assert plan.reason is Reason.LAST_RESORT
    assert plan.memory.target == "eni-b"
    assert plan.memory.incident is not None
    assert plan.memory.incident.is_last_resort
    assert any(isinstance(each, Warned) for each in plan.happenings)


def test_what_failed_its_verification_is_left_alone_no_shorter_because_packets_are_lost_on_it_still() -> None:
    failed = Exclusion("eni-a", at(30), at(-30), is_guess=True)
    world = resting("a").remember(exclusions=(failed,), through_at=at(-40))
    assert world.decide(report("xxx", -4), control=UP).memory.exclusions == (failed,)


def test_even_the_last_resort_gets_its_check_turned_off_before_the_route() -> None:
    world = resting("ab").change("i-a", state=STOPPED).change("i-b", checked=True)
    plan = world.remember("b", proofs=()).decide()
    assert plan.reason is Reason.LAST_RESORT
    assert kinds(plan)[0] == ["DisableSourceDestCheck"]
    assert "PointRoute" in kinds(plan)[1]


def test_a_failover_after_a_last_resort_is_not_called_one() -> None:
    world = resting("abc").change("i-a", state=STOPPED).remember("a", proofs=())
    world.remember("b", proofs=()).remember("c", proofs=())
    world.step()
    world.remember("c", proofs=proofs("eni-c"))
    plan = world.step(verified("xxxx", 11.5), now=13)
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.incident is not None
    assert not plan.memory.incident.is_last_resort


def test_nothing_left_means_start_whatever_can_start() -> None:
    world = resting("a", standby=StandbyMode.STOPPED).change("i-a", state=STOPPED)
    world.add(nat("a", STOPPED, role=Role.STANDBY))
    plan = world.decide()
    assert plan.reason is Reason.NO_CANDIDATE
    assert set(writes(plan)) == {StartInstance("i-a"), StartInstance("i-as")}
    assert plan.is_backed is False


def test_an_excluded_last_resort_is_not_tried_again_at_once() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember("b", proofs=())
    world.step()
    plan = world.step(verified("xxxx", 11.5), now=13)
    assert plan.reason is Reason.NO_CANDIDATE
    assert writes(plan) == [StartInstance("i-a")]


def test_a_lone_nat_that_hangs_is_replaced() -> None:
    """One zone, no standby, no gateway: with nothing else to carry the traffic, waiting for ever is no answer."""
    world = resting("a")
    plan = world.step(report("ooxxx", -4))
    assert plan.reason is Reason.NO_CANDIDATE
    assert kinds(plan) == [["LaunchInstance"]]
    after = world.step(report("xxx", 60), now=65)
    assert after.reason is Reason.LAST_RESORT
    assert target_of(world.seen, "rtb-a") == "eni-a2"


def test_a_replacement_that_an_older_answer_lacks_is_not_launched_again() -> None:
    """It was seen pending, then not (simulation, seed 7604408)."""
    world = resting("a")
    world.step(report("ooxxx", -4))
    world.memories["a"] = accepted(world.memories["a"], Role.NAT)
    world.change("i-a2", state=PENDING)
    plan = world.step(report("xxx", 4), now=8)
    assert (plan.reason, writes(plan)) == (Reason.NO_CANDIDATE, [])
    assert plan.memory.repair is not None
    world.network = without(world.seen, "i-a2")
    plan = world.step(report("xxx", 8), now=12)
    assert (plan.reason, writes(plan)) == (Reason.NO_CANDIDATE, [])
    assert "to be visible" in plan.detail


def test_a_lone_nat_that_hangs_is_replaced_once_more_when_the_first_one_stays_pending() -> None:
    world = resting("a")
    world.step(report("ooxxx", -4))
    world.change("i-a2", state=PENDING)
    assert writes(world.step(report("xxx", 445), now=450)) == []
    assert writes(world.step(report("xxx", 450), now=455)) == [TerminateInstance("i-a2")], "never two beside the one"
    assert kinds(world.step(report("xxx", 455), now=460)) == [["LaunchInstance"]]


def test_an_own_nat_that_does_not_carry_the_traffic_is_proven_before_another_is_launched() -> None:
    """It failed its verification a moment ago, and now its neighbour stopped: it may only have been too early."""
    world = away().change("i-a", state=RUNNING, public="198.51.100.7").change("i-b", state=STOPPED)
    plan = world.remember(exclusions=(Exclusion("eni-a", at(30)),)).decide()
    assert plan.reason is Reason.NO_CANDIDATE
    assert writes(plan) == [PointRoute("rtb-a", CANARY, "eni-a")]


def test_a_lone_nat_that_is_still_booting_is_given_time() -> None:
    world = resting("a").change("i-a", launched_at=at(-20))
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert plan.reason is Reason.NO_CANDIDATE
    assert writes(plan) == []


def test_the_replacement_of_a_hung_nat_is_proven_while_it_boots() -> None:
    """Its first try as a last resort was too early; the next would come when the exclusion is over, in a minute."""
    world = resting("a")
    world.step(report("ooxxx", -4))
    newest = world.change("i-a2", checked=False, public=None)
    newest.remember(exclusions=(Exclusion("eni-a2", at(80), at(20), is_guess=True),))
    plan = newest.decide(report("xxx", 18), now=21, control=UP)
    assert plan.reason is Reason.NO_CANDIDATE
    assert writes(plan) == [GivePublicAddress("eni-a2"), PointRoute("rtb-a", CANARY, "eni-a2", True)]
    newest.remember(canary=Canary("eni-a2", at(21)))
    newest.route("rtb-a", "eni-a2", CANARY)
    plan = newest.decide(report("xxx", 22, canary="ooo"), now=25, control=UP)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-a2")


def test_a_replacement_that_is_not_running_yet_is_waited_for() -> None:
    world = resting("a")
    world.step(report("ooxxx", -4))
    plan = world.change("i-a2", state=PENDING).decide(report("xxx", 3), now=6, control=UP)
    assert plan.detail.endswith("waiting for the newest NAT, which may still be booting")
    assert writes(plan) == []


def test_hung_replacements_are_bounded_by_the_days_launches() -> None:
    world = resting("a", max_launches_per_day=3)
    for second in range(0, 7200, 20):
        world.step(report("xxx", second - 3), now=second)
        world.memories["a"] = accepted(world.memories["a"], Role.NAT)  # as AWS answers
    assert len(world.seen.instances) == 1 + 3


def test_a_dead_foreign_route_is_left_for_the_own_proven_nat() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign").remember(target="eni-foreign", proofs=proofs("eni-a"))
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-a")


# -- the first route of a new group


def test_a_group_without_a_route_or_a_nat_launches_and_proves_one_first() -> None:
    world = resting("a").route("rtb-a", None)
    world.memories["a"] = Memory()
    world.network = replace(without(world.seen, "i-a"), addresses={})
    plan = world.step()
    assert kinds(plan) == [["LaunchInstance"]]
    assert plan.memory.incident is None
    assert plan.memory.target is None
    plan = world.step(now=2)
    assert kinds(plan) == [["DisableSourceDestCheck"]]
    plan = world.step(now=4)
    assert [each.destination for each in plan.actions if isinstance(each, PointRoute)] == ["1.0.0.1/32"]
    plan = world.step(report("xxx", 5, canary="ooo"), now=9)
    assert plan.reason is Reason.ADOPT
    assert target_of(world.seen, "rtb-a") == "eni-a"
    assert plan.memory.failovers == ()


def test_rounds_that_failed_before_the_first_route_are_no_incident() -> None:
    world = resting("a").route("rtb-a", None)
    world.memories["a"] = Memory(canary=Canary("eni-a", at(-30)), proofs=proofs("eni-a"))
    world.route("rtb-a", "eni-a", "1.0.0.1/32")
    assert world.step(now=0).reason is Reason.ADOPT
    plan = world.step(report("xxxxoooo", -2), now=8)
    assert plan.memory.incident is None


def test_a_group_without_a_route_uses_a_verified_neighbour_meanwhile() -> None:
    world = resting("ab").route("rtb-a", None)
    world.memories["a"] = Memory()
    plan = world.decide()
    assert (plan.reason, plan.memory.target) == (Reason.ADOPT, "eni-b")
    assert plan.memory.failovers == ()


def test_without_a_canary_the_first_route_goes_to_an_unproven_nat() -> None:
    world = resting("a", canary=None).route("rtb-a", None)
    world.memories["a"] = Memory()
    world.change("i-a", checked=True)
    plan = world.decide()
    assert plan.reason is Reason.ADOPT
    assert kinds(plan) == [["DisableSourceDestCheck"], ["PointRoute"]]


def test_without_a_canary_and_a_running_nat_there_is_nothing_to_adopt_yet() -> None:
    world = resting("a", canary=None).route("rtb-a", None).change("i-a", state=STOPPED)
    world.memories["a"] = Memory()
    assert world.decide().reason is Reason.HEALING


def test_a_route_deleted_from_every_table_is_put_back_at_the_next_tick() -> None:
    world = resting("ab", tables=2).route("rtb-a", None).route("rtb-a2", None)
    plan = world.decide()
    assert plan.reason is Reason.CONVERGE
    assert {each.is_missing for each in plan.actions if isinstance(each, PointRoute)} == {True}


def test_a_foreign_route_is_adopted_where_nothing_is_recorded() -> None:
    """Someone's old NAT gateway carries the traffic: it goes on doing so until the group's own NAT is proven."""
    world = resting("a").route("rtb-a", "nat-0old")
    world.memories["a"] = Memory()
    plan = world.step(report("oooo", -4))
    assert plan.memory.target == "nat-0old"
    assert plan.carried_by == "unknown"
    assert not any(getattr(each, "destination", None) == DEFAULT_ROUTE for each in plan.actions)


def test_what_most_tables_say_is_adopted() -> None:
    world = resting("ab", tables=3).route("rtb-a2", "nat-0old").route("rtb-a3", None)
    world.memories["a"] = Memory()
    world.route("rtb-a3", "eni-a")
    assert world.decide().memory.target == "eni-a"


def test_routes_that_drifted_are_put_back() -> None:
    world = resting("ab", tables=3).route("rtb-a3", "eni-b")
    plan = world.decide()
    assert plan.reason is Reason.CONVERGE
    assert writes(plan) == [PointRoute("rtb-a3", DEFAULT_ROUTE, "eni-a")]
    assert plan.verifies
    assert plan.memory.failovers == ()


def test_an_address_that_drifted_is_put_back() -> None:
    world = resting("ab")
    world.network = replace(
        world.seen,
        addresses={**world.seen.addresses, "eip-a": replace(world.seen.addresses["eip-a"], private="10.9.9.9")},
    )
    assert kinds(world.decide()) == [["MoveAddress"]]


def test_a_check_that_was_turned_on_is_turned_off_although_probes_still_pass() -> None:
    plan = resting("ab").change("i-a", checked=True).decide()
    assert (plan.reason, plan.stages) == (Reason.HEALING, ((DisableSourceDestCheck("eni-a"),),))


def test_a_check_is_turned_off_while_nothing_is_observed() -> None:
    """Step 2 of the story: a NAT whose check is on forwards nothing and proves nothing."""
    plan = resting("ab").change("i-a", checked=True).remember(proofs=()).decide()
    assert writes(plan) == [DisableSourceDestCheck("eni-a")]


# -- a NAT that AWS will stop


def test_traffic_leaves_a_doomed_nat_before_it_stops() -> None:
    plan = resting("ab").change("i-a", interruption_at=at(120)).decide()
    assert (plan.reason, plan.memory.target) == (Reason.LEAVE_DOOMED, "eni-b")
    assert kinds(plan) == [["PointRoute"], ["MoveAddress"]]
    assert plan.memory.incident is None


def test_a_stop_that_is_announced_for_next_week_moves_nothing_today() -> None:
    world = resting("ab").change("i-a", interruption_at=at(86400 * 7))
    plan = world.decide()
    assert plan.reason is Reason.AT_REST
    assert [each.instance_id for each in plan.memory.dooms] == ["i-a"]


def test_what_one_pass_asked_about_a_doom_the_next_remembers() -> None:
    """Only a pass that was told looks for announced stops; the tick after it must not go back home."""
    world = resting("ab").change("i-a", interruption_at=at(120))
    world.step()
    world.change("i-a", interruption_at=None)
    plan = world.step(verified("oo"), now=2)
    assert [each.instance_id for each in plan.memory.dooms] == ["i-a"]
    assert kinds(plan) == [["LaunchInstance"]]
    assert plan.memory.target == "eni-b"


def test_a_doom_is_forgotten_a_day_after_it_was_due() -> None:
    from natkeeper.core.incident import Doom

    world = resting("ab").remember(dooms=(Doom("i-a", at(-86400)), Doom("i-b", at(-86000))))
    assert [each.instance_id for each in world.decide().memory.dooms] == ["i-b"]


def test_a_doomed_nat_with_nowhere_to_go_is_kept_and_reported() -> None:
    world = resting("a").change("i-a", interruption_at=at(120))
    plan = world.decide()
    assert plan.reason is Reason.NO_CANDIDATE
    assert target_of(world.seen, "rtb-a") == "eni-a"
    assert not any(getattr(each, "destination", None) == DEFAULT_ROUTE for each in plan.actions)


def test_a_doomed_lone_nat_has_its_stopped_standby_started_in_time() -> None:
    world = resting("a", standby=StandbyMode.STOPPED).change("i-a", interruption_at=at(120))
    world.add(nat("a", STOPPED, role=Role.STANDBY))
    assert writes(world.decide()) == [StartInstance("i-as")]


def test_a_doomed_lone_nat_is_replaced_before_it_stops() -> None:
    """Two minutes of notice are enough to launch and prove another."""
    world = resting("a").change("i-a", interruption_at=at(120))
    assert kinds(world.step()) == [["LaunchInstance"]]
    assert kinds(world.step(now=10)) == [["DisableSourceDestCheck"]]
    assert kinds(world.step(now=11)) == [["PointRoute"]]
    plan = world.step(report("oooo", 12, canary="oooo"), now=16)
    assert plan.reason is Reason.LEAVE_DOOMED
    assert target_of(world.seen, "rtb-a") == "eni-a2"


def test_drift_is_mended_on_a_doomed_nat_too() -> None:
    world = resting("a", tables=2).change("i-a", interruption_at=at(120)).route("rtb-a2", None)
    assert world.decide().reason is Reason.CONVERGE


# -- the incident that goes with it


def test_an_incident_opens_once_and_closes_once() -> None:
    world = resting("ab").change("i-a", state=STOPPING)
    told = []
    told += world.step(now=0).happenings
    told += world.step(verified("oo"), now=2).happenings
    told += world.step(report("oooxooooo", -5, run_id="watch-a"), now=5).happenings
    told += world.step(report("oooxooooo", -5, run_id="watch-a"), now=6).happenings
    for second in range(60, 600, 60):
        told += world.step(now=second).happenings
    told = [each for each in told if not isinstance(each, Warned)]
    assert [type(each) for each in told] == [IncidentOpened, IncidentClosed, AddressArrived]


def test_a_failover_that_no_ledger_recorded_is_not_made_again_to_another_nat() -> None:
    """Found by the simulation (seed 5109): the record still named the dead NAT, and traffic left the healthy neighbour
    that carried it for the one that came first in the ring."""
    world = resting("abc").change("i-a", state=STOPPED).route("rtb-a", "eni-c")
    plan = world.decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-c")
    assert not any(isinstance(each, PointRoute) for each in plan.actions)
    assert plan.verifies


def test_routes_that_somebody_put_on_another_nat_do_not_hide_a_verified_one_from_failed_probes() -> None:
    world = resting("abc").route("rtb-a", "eni-x").remember(target="eni-a")
    plan = world.change("i-a", state=STOPPED).decide()
    assert plan.memory.target == "eni-b"
