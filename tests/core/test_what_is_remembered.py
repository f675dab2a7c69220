"""What each kind of move leaves in memory for the next pass, whole: a field that is forgotten or kept by mistake shows
only passes later, as traffic that is moved again or an incident that never closes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.downtime import Disturbance
from natkeeper.core.incident import AddressMove, Canary, Cause, Exclusion, Incident, Memory, Proof, Repair, WatchRun
from natkeeper.core.launches import refused
from natkeeper.core.model import Role
from natkeeper.core.news import Command, Verb
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    IncidentOpened,
    LaunchInstance,
    PointRoute,
    Reason,
    StartInstance,
    TakePublicAddress,
)
from natkeeper.core.policy import StandbyMode
from tests.support.worlds import (
    CANARY,
    PENDING,
    RUNNING,
    STOPPED,
    UP,
    World,
    at,
    away,
    incident,
    kinds,
    launch_of,
    nat,
    proofs,
    public_of,
    report,
    resting,
    rounds,
    secs,
    verified,
    without,
    writes,
)


def homeward(**fields: object) -> World:
    """Away on b; the own NAT runs, is proven, bare and has been quiet: the next pass brings the traffic home."""
    world = away().change("i-a", state=RUNNING, public=None).route("rtb-a", "eni-a", CANARY)
    usual = {
        "proofs": (*proofs("eni-b"), *proofs("eni-a")),
        "canary": Canary("eni-a", at(-400)),
        "repair": Repair("r", 1, at(-420)),
        "withdrawn_at": at(-1),
    }
    return world.remember(**{**usual, **fields})


# -- the three kinds of move


def test_a_failover_remembers_where_when_and_why_and_nothing_of_the_path_before() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(withdrawn_at=at(-5))
    before = world.memories["a"]
    plan = world.decide()
    opened = Incident(
        incident_id="a-20260301T120000.000",
        group="a",
        cause=Cause.INSTANCE_STOPPED,
        opened_at=at(0),
        from_target="eni-a",
        rounds=before.recent,
        to_target="eni-b",
        address_before=public_of("a"),
        disturbances=(Disturbance(at(0)),),
    )
    assert plan.memory == replace(
        before,
        target="eni-b",
        moved_at=at(0),
        address_move=AddressMove("eni-b", at(0), has_canary_of_its_own=True),
        is_down=False,
        settled_since=None,
        stable_since=None,
        withdrawn_at=None,
        proofs=proofs("eni-b"),
        failovers=(at(0),),
        incident=opened,
        rest=None,
        not_home_since=at(0),
    )
    assert plan.happenings == (IncidentOpened(opened),)


def test_an_incidents_name_is_its_instant_to_the_millisecond() -> None:
    plan = resting("ab").change("i-a", state=STOPPED).decide(now=0.999)
    assert plan.memory.incident is not None
    assert plan.memory.incident.incident_id == "a-20260301T120000.999"


def test_a_failover_wants_the_next_turn_at_once() -> None:
    """Its verification is judged, and the own NAT started, by the same invocation."""
    plan = resting("ab").change("i-a", state=STOPPED).decide(now=3)
    assert plan.wake_at == at(3)


def test_a_move_on_purpose_remembers_when_so_that_its_lost_rounds_are_called_planned() -> None:
    world = resting("ab").remember(withdrawn_at=at(-5))
    plan = world.decide(Command(Verb.FAILOVER, "a"))
    assert plan.memory == replace(
        world.memories["a"],
        target="eni-b",
        moved_at=at(0),
        address_move=AddressMove("eni-b", at(0), has_canary_of_its_own=True),
        settled_since=None,
        stable_since=None,
        withdrawn_at=None,
        rest=None,
        not_home_since=at(0),
    )
    assert plan.verifies
    assert plan.records_first


def test_a_first_route_begins_a_quiet_period_of_its_own() -> None:
    world = resting("ab").route("rtb-a", None)
    world.memories["a"] = Memory(stable_since=at(-600))
    plan = world.decide()
    assert (plan.reason, plan.memory.stable_since) == (Reason.ADOPT, None)


def test_coming_home_ends_the_repair_and_the_silence_of_the_canary() -> None:
    world = homeward()
    plan = world.decide()
    assert plan.reason is Reason.GO_HOME
    assert plan.memory == replace(
        world.memories["a"],
        target="eni-a",
        moved_at=at(0),
        has_carried=False,
        address_move=AddressMove("eni-a", at(0)),
        settled_since=None,
        stable_since=None,
        withdrawn_at=None,
        repair=None,
    )


def test_taking_the_public_address_away_is_remembered_so_that_the_silent_canary_is_not_blamed() -> None:
    world = homeward(withdrawn_at=None).change("i-a", public="198.51.100.7")
    plan = world.decide()
    assert writes(plan) == [TakePublicAddress("eni-a")]
    assert plan.memory == replace(world.memories["a"], withdrawn_at=at(0), not_home_since=at(0))


@pytest.mark.parametrize("left", [{"repair": Repair("r", 3, at(-900))}, {"withdrawn_at": at(-900)}], ids=list)
def test_at_home_what_was_left_of_a_repair_is_forgotten(left: dict[str, object]) -> None:
    """Otherwise the next repair goes on counting attempts where an old one stopped."""
    world = resting("ab").remember(**left)
    assert world.decide().memory == replace(world.memories["a"], repair=None, withdrawn_at=None)


# -- reports


def test_a_report_of_success_is_remembered_whole() -> None:
    world = resting("ab").remember(stable_since=None, moved_at=at(-9))
    plan = world.decide(report("xooooo", -5, run_id="watch-a", egress="198.51.100.9"))
    assert plan.memory.is_down is False
    assert plan.memory.stable_since == at(-4)
    assert plan.memory.egress_address == "198.51.100.9"
    assert plan.memory.recent == rounds("oooo", -3)
    assert plan.memory.seen_runs == ("watch-a", "run-before")
    assert plan.memory.proof_of("eni-a") == Proof("eni-a", at(0), at(-600))


def test_a_report_without_an_address_leaves_the_one_that_is_known() -> None:
    assert resting("ab").decide(report("oo", -2, egress=None)).memory.egress_address == public_of("a")


def test_a_path_that_was_down_has_been_stable_since_its_first_success() -> None:
    world = resting("ab").remember(is_down=True, failing_since=at(-30), stable_since=at(-600))
    plan = world.decide(report("ooo", -3), control=UP)
    assert (plan.memory.stable_since, plan.memory.failing_since) == (at(-3), None)


@pytest.mark.parametrize(("is_down", "since"), [(True, -30), (False, -3)])
def test_packets_fail_since_the_first_of_the_row_that_is_still_going_on(is_down: bool, since: float) -> None:
    """One of before a move, which ended it, is of another path."""
    world = resting("ab").remember(is_down=is_down, failing_since=at(-30), recent=rounds("xxxx", -34))
    assert world.decide(report("xxx", -3)).memory.failing_since == at(since)


def test_a_success_ends_the_suspicion_that_the_targets_were_out_of_reach() -> None:
    """Or rounds from before the next fault of theirs would be held against the NAT."""
    plan = resting("ab").remember(external_at=at(-30), targets_back_at=at(-20)).decide(report("ooo", -3))
    assert (plan.memory.external_at, plan.memory.targets_back_at) == (None, None)


def test_a_lost_canary_is_remembered_since_it_was_first_missed_until_it_comes_back() -> None:
    world = resting("ab").remember("b", proofs=())
    missed = []
    for second, canary in ((0, "xxx"), (10, "xxx"), (20, "ooo")):
        plan = world.step(report("ooo", second - 2, canary=canary), now=second)
        assert plan.memory.canary is not None
        missed.append((plan.memory.canary.failed_since, plan.memory.proof_of("eni-b") is not None))
    assert missed == [(at(0), False), (at(0), False), (None, True)]


@pytest.mark.parametrize(("age", "is_kept"), [(3599.9, True), (3600, False)])
def test_where_packets_were_lost_is_remembered_for_an_hour(age: float, is_kept: bool) -> None:
    known = Exclusion("eni-b", at(60 - age), at(-age))
    assert (known in resting("ab").remember(exclusions=(known,)).decide().memory.exclusions) is is_kept


def test_what_is_old_is_forgotten_without_ending_a_pause() -> None:
    world = resting("ab").remember(paused_until=at(60), failovers=(at(-3600),))
    plan = world.decide()
    assert (plan.reason, plan.memory) == (Reason.PAUSED, replace(world.memories["a"], failovers=(), rest=None))


def test_a_look_at_every_table_ends_the_unfinished_move() -> None:
    assert resting("ab").remember(is_unfinished=True).decide().memory.is_unfinished is False


def test_three_failed_rounds_open_an_incident_of_their_own_and_end_the_quiet() -> None:
    plan = resting("ab").decide(report("ooxxx", -4))
    assert plan.memory.is_down is True
    assert plan.memory.stable_since is None
    assert plan.memory.incident is not None
    assert plan.memory.incident.incident_id == "a-20260301T115958.000"
    assert (plan.memory.incident.group, plan.memory.incident.cause) == ("a", Cause.PROBES_FAILED)


def test_a_report_of_failures_only_leaves_the_last_success_before_them_in_the_incident() -> None:
    plan = resting("ab").decide(report("xxxxxx", -5))
    assert plan.memory.incident is not None
    assert plan.memory.incident.rounds[0] == rounds("oooo", -9)[0]
    assert any(each.is_ok for each in plan.memory.incident.rounds)


def test_a_group_without_a_target_proves_nothing_by_its_rounds() -> None:
    world = resting("a").route("rtb-a", None)
    world.memories["a"] = Memory()
    assert world.decide(report("ooo", -3)).memory.proofs == ()


def test_a_verification_that_could_judge_almost_nothing_condemns_nobody() -> None:
    """One round was lost while the address was on its way, and then no name was resolved (seed 300110218)."""
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    for few in ("x", "xx"):
        plan = world.decide(verified(few, 11.5), now=13)
        assert not plan.memory.is_down
        assert not plan.memory.exclusions
    assert world.decide(verified("xxx", 11.5), now=13).memory.exclusions


def test_failed_probes_that_meet_no_memory_are_asked_about_before_anything_moves() -> None:
    world = resting("ab")
    world.memories["a"] = Memory()
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert (plan.reason, plan.verifies, writes(plan)) == (Reason.UNOBSERVED, True, [])
    assert plan.detail == "probes failed, on a path of which nothing is known: once more"
    assert not world.decide(report("ooo", -3)).verifies
    assert not world.decide(report("ooxxx", -4, name="b")).verifies


def test_a_user_who_wants_more_failed_rounds_does_not_wait_for_them_in_a_verification() -> None:
    world = resting("ab", rounds_to_fail=5).change("i-a", state=STOPPED)
    world.step()
    assert world.decide(verified("xxx", 11.5), now=13).memory.exclusions
    assert not world.decide(report("xxxx", 11.5), now=16).memory.is_down
    assert world.decide(report("xxxxx", 11.5), now=17).memory.is_down


def test_a_failed_verification_excludes_its_target_once_and_keeps_the_others_out() -> None:
    world = resting("abc").remember(exclusions=(Exclusion("eni-c", at(30)), Exclusion("eni-a", at(5))))
    plan = world.decide(verified("xxxx", -1), control=UP)
    assert plan.memory.exclusions == (Exclusion("eni-c", at(30)), Exclusion("eni-a", at(60), at(0)))


def test_rounds_from_before_the_first_route_are_not_measured_by_a_later_incident() -> None:
    """The route came at 0, egress was there unseen, and failed from 4 to 6: five seconds more would be a lie."""
    world = resting("ab").remember(moved_at=at(0), measured_until=at(3), recent=rounds("xxxx", -4), watch=None)
    plan = world.decide(report("xxx", 4), now=7)
    assert plan.memory.incident is not None
    assert plan.memory.incident.downtime(secs(0.1)).low == secs(2)


def test_an_outage_that_ec2_shows_does_not_count_the_one_before_it_again() -> None:
    """A run that ended as soon as egress was back left failed rounds among the newest, and then the NAT was stopped."""
    world = resting("ab").remember(recent=rounds("xxoo", -5), measured_until=at(-2))
    plan = world.change("i-a", state=STOPPED).decide()
    assert plan.memory.incident is not None
    assert plan.memory.incident.rounds == rounds("oo", -3)


def test_an_outage_that_was_measured_to_its_last_lost_round_leaves_that_one_out_of_the_next() -> None:
    world = resting("ab").remember(recent=rounds("oxxx", -5), measured_until=at(-2))
    plan = world.change("i-a", state=STOPPED).decide()
    assert plan.memory.incident is not None
    assert plan.memory.incident.rounds == ()


# -- a path that died


def test_a_dead_path_with_nowhere_to_go_has_not_been_stable_since() -> None:
    plan = resting("a").change("i-a", state=STOPPED).decide()
    assert plan.memory.stable_since is None
    assert plan.memory.incident is not None
    assert plan.memory.incident.group == "a"


def test_a_nat_that_dies_again_before_its_incident_is_closed_has_not_recovered() -> None:
    world = resting("a").change("i-a", state=STOPPED).remember(incident=incident(opened=-20, recovered_at=at(-10)))
    plan = world.decide()
    assert plan.memory.incident is not None
    assert plan.memory.incident.recovered_at is None


def test_a_path_that_probes_condemn_is_not_proven_whatever_was_recorded() -> None:
    plan = resting("ab").remember(is_down=True).decide(control=UP)
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.proof_of("eni-a") is None


def test_a_last_resort_skips_what_just_failed_its_verification() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    for each in "abc":
        world.remember(each, proofs=())
    assert world.step().memory.target == "eni-b"
    world.step(verified("xxxx", 11.5), now=13)
    assert world.memories["a"].target == "eni-c"
    plan = world.step(verified("xxxx", 24.5), now=26)
    assert (plan.reason, plan.memory.target) == (Reason.NO_CANDIDATE, "eni-c")


def test_a_last_resorts_check_is_turned_off_on_its_own_interface() -> None:
    world = resting("ab").change("i-a", state=STOPPED).change("i-b", checked=True).remember("b", proofs=())
    assert writes(world.decide())[0] == DisableSourceDestCheck("eni-b")


# -- proofs that die


def test_a_proof_from_before_a_stop_does_not_speak_for_the_nat_that_was_started_again() -> None:
    world = resting("ab").remember("b", proofs=()).change("i-b", state=STOPPED)
    world.step()
    plan = world.change("i-b", state=RUNNING).change("i-a", state=STOPPED).decide(now=10)
    assert plan.reason is Reason.LAST_RESORT


def test_a_canary_that_strayed_from_the_path_in_use_takes_no_proof_from_it() -> None:
    """After coming home it stands there for a moment, and somebody deletes its route: the rounds are proof enough."""
    world = resting("ab").remember(canary=Canary("eni-a", at(-100)))
    plan = world.decide()
    assert plan.reason is Reason.AT_REST
    assert plan.memory.proof_of("eni-a") is not None


# -- mending


def test_routes_and_address_that_both_drifted_are_put_back_in_one_round_trip() -> None:
    world = resting("ab", tables=2).route("rtb-a", "eni-b")
    world.network = replace(
        world.seen,
        addresses={**world.seen.addresses, "eip-a": replace(world.seen.addresses["eip-a"], private="10.9.9.9")},
    )
    plan = world.decide()
    assert kinds(plan) == [["MoveAddress", "PointRoute"]]
    assert plan.verifies


def test_routes_that_are_put_back_under_failed_probes_are_verified_with_packets() -> None:
    plan = resting("ab").route("rtb-a", None).decide(report("ooxxx", -4))
    assert plan.reason is Reason.CONVERGE
    assert plan.verifies is True


def test_a_check_that_is_turned_off_again_is_verified_with_packets() -> None:
    assert resting("ab").change("i-a", checked=True).decide().verifies


def test_a_launch_beside_a_mended_route_is_recorded_first_too() -> None:
    world = away(tables=2)
    world.network = without(world.seen, "i-a")
    plan = world.route(world.policy.group("a").table_ids[1], "eni-x").decide()
    assert [type(each) for each in writes(plan)] == [PointRoute, LaunchInstance]
    assert plan.records_first


def test_a_canary_that_is_where_it_shall_be_costs_no_stage() -> None:
    assert (
        homeward(proofs=proofs("eni-b"), withdrawn_at=None)
        .change("i-a", public="198.51.100.7")
        .remember(canary=Canary("eni-a", at(-60)), repair=Repair("r", 1, at(-60)))
        .decide()
        .stages
        == ()
    )


def test_a_doomed_nats_successor_is_looked_at_again_as_soon_as_its_check_is_off() -> None:
    world = resting("a").change("i-a", interruption_at=at(120))
    world.step()
    plan = world.step(now=10)
    assert kinds(plan) == [["DisableSourceDestCheck"]]
    assert plan.wake_at == at(10.5)


def test_a_launch_that_is_repeated_is_remembered_as_such() -> None:
    """Forgotten, the third pass would launch anew; taken for the first call, a refusal would give its launch back."""
    world = away().remember(repair=Repair("r", 1, at(-5), is_launched=True), launches=(at(-5),))
    world.network = without(world.seen, "i-a")
    plan = world.decide()
    assert writes(plan) == [launch_of("r-nat-1", is_repeated=True)]
    assert plan.memory.repair == Repair("r", 1, at(-5), is_launched=True, is_repeated=True)


def test_a_refusal_gives_back_its_own_launch_and_no_other() -> None:
    known = Memory(repair=Repair("r", 1, at(-10), is_launched=True), launches=(at(-60), at(-10), at(-5)))
    assert refused(known, Role.NAT, at(0), is_short=False).launches == (at(-60), at(-5))


# -- standbys and surplus


def test_a_standby_that_does_not_come_up_is_replaced_under_its_own_repair() -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", STOPPED, role=Role.STANDBY, public=None))
    world.change("i-as", launched_at=at(-7200)).remember(standby_repair=Repair("r", 1, at(-241)))
    assert writes(world.decide()) == [launch_of("r-standby-2", Role.STANDBY)]
    world.remember(standby_repair=Repair("r", 1, at(-240)))
    assert writes(world.decide()) == [StartInstance("i-as")]


def test_a_standby_that_is_still_booting_keeps_its_repairs_time_limit() -> None:
    booting = nat("a", PENDING, role=Role.STANDBY, public=None, launched=-50)
    world = resting("a", standby=StandbyMode.RUNNING).add(booting)
    world.remember(standby_repair=Repair("r", 1, at(-50)))
    assert world.decide().memory.standby_repair == Repair("r", 1, at(-50))


def test_a_standby_that_is_put_to_sleep_has_been_repaired() -> None:
    world = resting("a", standby=StandbyMode.STOPPED, canary=None).add(nat("a", role=Role.STANDBY, public=None))
    world.remember(standby_repair=Repair("r", 1, at(-50)))
    assert world.decide().memory.standby_repair is None


def test_a_surplus_nat_that_is_older_than_home_is_terminated_too() -> None:
    world = resting("ab").add(nat("a", STOPPED, number=2, public=None, launched=-7200))
    assert kinds(world.decide()) == [["TerminateInstance"]]


def test_a_surplus_nat_that_another_groups_record_names_is_kept_even_if_no_route_shows_it_yet() -> None:
    """Recorded first, moved afterwards: between the two only the ledger knows."""
    world = resting("ab").add(nat("a", STOPPED, number=2, public=None)).remember("b", target="eni-a2")
    assert writes(world.decide()) == []


def test_a_new_group_whose_tables_cannot_be_seen_is_no_crash() -> None:
    world = resting("a")
    world.memories["a"] = Memory()
    world.network = replace(world.seen, tables={})
    assert world.decide().memory.target is None


def test_the_run_that_is_started_is_the_run_that_is_remembered() -> None:
    plan = resting("ab").remember(watch=None, watch_starts=()).decide(now=1.999)
    assert plan.memory.watch == WatchRun("a-20260301T120001.999", at(1.999), secs(55))
    assert plan.memory.watch_starts == (at(1.999),)
