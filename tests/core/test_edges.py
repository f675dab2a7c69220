"""The exact instant at which a limit begins or ends to bite: one pass too early or too late is a promise broken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.absorb import MOVING
from natkeeper.core.downtime import Downtime, measure
from natkeeper.core.incident import Canary, Cause, Exclusion, Memory, Proof, Repair
from natkeeper.core.model import DEFAULT_ROUTE, Role
from natkeeper.core.plan import IncidentClosed, LaunchInstance, MoveAddress, PointRoute, Reason
from natkeeper.core.policy import StandbyMode
from natkeeper.core.view import View
from tests.support.worlds import (
    PENDING,
    RUNNING,
    STOPPED,
    UP,
    at,
    away,
    incident,
    kinds,
    launch_of,
    nat,
    proofs,
    report,
    resting,
    rounds,
    secs,
    verified,
    without,
    writes,
)

# -- reports


def test_a_report_that_ends_where_the_last_one_ended_says_nothing_of_coverage() -> None:
    world = resting("ab").remember(observed=42.0)
    assert world.memories["a"].recent[-1].sent_at == at(-6)
    assert world.decide(report("o", -6, clock="clock-2")).memory.observed == 42.0


def test_a_report_that_overlaps_the_last_one_never_covers_more_than_all_of_the_time() -> None:
    assert resting("ab").decide(report("o" * 10, -10, clock="clock-2")).memory.observed == 100.0


@pytest.mark.parametrize(("seen_at", "known"), [(-3.0, "203.0.113.1"), (-2.9, "198.51.100.9")])
def test_an_address_that_was_seen_before_the_move_is_not_the_present_one(seen_at: float, known: str) -> None:
    world = resting("ab").remember(moved_at=at(-3))
    seen = replace(report("ooo", -2.5), egress_address="198.51.100.9", egress_address_at=at(seen_at))
    assert world.decide(seen).memory.egress_address == known


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        (-0.001, Cause.TRANSIENT),
        (0, Cause.PLANNED_MOVE),
        (MOVING.total_seconds(), Cause.PLANNED_MOVE),
        (MOVING.total_seconds() + 0.001, Cause.TRANSIENT),
    ],
)
def test_a_failed_round_belongs_to_a_planned_move_while_its_calls_may_be_under_way(after: float, cause: Cause) -> None:
    world = resting("ab").remember(moved_at=at(-20), recent=rounds("oooo", -30), watch=None)
    plan = world.decide(report("x", -20 + after), report("oo", -10))
    (over,) = [each for each in plan.happenings if isinstance(each, IncidentClosed)]
    assert over.incident.cause is cause


def test_a_success_at_the_very_instant_of_opening_is_recovery() -> None:
    world = resting("ab").remember(incident=incident(opened=-3))
    plan = world.decide(report("oo", -4))
    assert plan.memory.incident is not None
    assert plan.memory.incident.recovered_at == at(-3)


def test_a_report_that_is_older_than_a_round_sent_this_instant_is_outdated() -> None:
    world = resting("ab").remember(recent=rounds("o", 0))
    assert not world.decide(report("xxx", -3)).memory.is_down


def test_a_report_that_ends_with_the_newest_known_round_still_says_how_things_are() -> None:
    assert resting("ab").decide(report("xxx", -8)).memory.is_down


def test_a_round_sent_at_the_very_instant_of_a_move_speaks_of_the_path_before_it() -> None:
    world = resting("ab").remember(moved_at=at(-3))
    plan = world.decide(verified("x", -3), control=UP)
    assert (plan.memory.is_down, plan.memory.exclusions) == (False, ())
    assert plan.memory.proofs == world.memories["a"].proofs


def test_a_canary_packet_sent_while_its_route_was_being_pointed_proves_nothing() -> None:
    world = away().change("i-a", state=RUNNING, public="198.51.100.7").route("rtb-a", "eni-a", "1.0.0.1/32")
    world.remember(canary=Canary("eni-a", at(-3)), repair=Repair("r", 1, at(-5)))
    assert world.decide(report("ooo", -3, canary="ooo")).memory.proof_of("eni-a") is None
    proof = world.decide(report("oooo", -3, canary="oooo"), now=1).memory.proof_of("eni-a")
    assert proof == Proof("eni-a", at(0), at(-2))


@pytest.mark.parametrize(("last", "is_proven"), [(0.1, True), (0.101, False)])
def test_a_canary_packet_is_of_the_future_when_no_difference_of_clocks_explains_it(
    last: float, is_proven: bool
) -> None:
    world = away().change("i-a", state=RUNNING, public="198.51.100.7").route("rtb-a", "eni-a", "1.0.0.1/32")
    world.remember(canary=Canary("eni-a", at(-3)), repair=Repair("r", 1, at(-5)))
    plan = world.decide(report("ooo", last - 2, canary="ooo"))
    assert (plan.memory.proof_of("eni-a") is not None) is is_proven


@pytest.mark.parametrize(("age", "last"), [(6, -1), (119, -1), (120, -120)])
def test_one_canary_packet_keeps_a_proof_alive_that_is_still_fresh(age: float, last: float) -> None:
    """`age` counts from now, and the packet was sent a second ago."""
    world = resting("ab").remember(proofs=(*proofs("eni-a"), *proofs("eni-b", age=age + 2)))
    plan = world.decide(report("o", -1, canary="o"))
    assert plan.memory.proof_of("eni-b") == Proof("eni-b", at(last if last == -1 else -age - 2), at(-600))


def test_a_round_that_a_closed_incident_has_measured_opens_no_other() -> None:
    world = resting("ab").remember(measured_until=at(-1), watch=None)
    assert world.decide(report("x", -1)).memory.incident is None


def test_the_last_success_that_a_closed_incident_measured_is_the_next_ones_beginning() -> None:
    world = resting("ab").remember(measured_until=at(-6), watch=None)
    (over,) = [each for each in world.decide(report("xxooo", -5)).happenings if isinstance(each, IncidentClosed)]
    assert over.high == secs(3.008)


# -- downtime


def test_an_outage_that_is_not_over_adds_to_the_one_before_it() -> None:
    found = measure(rounds("oxxoxxx", 0, rtt_ms=300), secs(0.1))
    assert found == Downtime(secs(0.7) + secs(1.7), None)


def test_an_outage_that_is_not_over_is_shortened_by_the_clocks_difference() -> None:
    seen = (*rounds("oxx", 0, rtt_ms=0), *rounds("x", 3, clock="clock-2"))
    assert measure(seen, secs(0.1)) == Downtime(secs(1.9), None)


def test_an_incident_is_closed_at_the_instant_at_which_no_report_can_come_any_more() -> None:
    world = resting("ab").remember(incident=incident(opened=-200, recovered_at=at(-85)), watch=None)
    closed = [isinstance(each, IncidentClosed) for now in (-0.001, 0) for each in world.decide(now=now).happenings]
    assert closed == [True]


def test_a_run_that_began_with_the_recovery_is_waited_for() -> None:
    known = {"recovered_at": at(-5), "address_after": "203.0.113.1"}
    world = resting("ab").remember(incident=incident(opened=-9, **known))
    assert world.memories["a"].watch is not None
    assert world.memories["a"].watch.started_at == at(-5)
    assert world.decide().happenings == ()


def test_a_run_that_was_started_ten_minutes_ago_is_counted_no_longer() -> None:
    world = resting("ab").remember(watch_starts=(at(-600), at(-599.999)))
    assert world.decide().memory.watch_starts == (at(-599.999),)


@pytest.mark.parametrize(("ago", "starts"), [(19.999, 0), (20, 1)])
def test_only_runs_that_follow_each_other_closely_use_up_the_chains_share(ago: float, starts: int) -> None:
    world = resting("ab").remember(
        watch=None, watch_starts=tuple(at(-ago - 0.001 * number) for number in range(49, -1, -1))
    )
    assert len(world.decide().actions) == starts


# -- the prober's word


@pytest.mark.parametrize(("age", "reason"), [(8, Reason.FAIL_OVER), (8.001, Reason.UNOBSERVED)])
def test_the_word_that_the_path_is_down_holds_until_the_next_run_may_have_spoken(age: float, reason: Reason) -> None:
    """Three rounds, and five seconds for the report and the start."""
    assert resting("ab").remember(is_down=True, down_at=at(-age)).decide(control=UP).reason is reason


@pytest.mark.parametrize(("after", "reason"), [(0, Reason.EXTERNAL), (0.001, Reason.FAIL_OVER)])
def test_only_rounds_sent_after_the_targets_came_back_are_held_against_the_path(after: float, reason: Reason) -> None:
    world = resting("ab").remember(external_at=at(-30), targets_back_at=at(-4))
    assert world.decide(report("xxx", -4 + after), control=UP).reason is reason


# -- proofs


def test_a_neighbours_proof_counts_up_to_its_last_second() -> None:
    world = resting("ab", gateway="nat-1").change("i-a", state=STOPPED)
    world.remember("a", proofs=()).remember("b", proofs=proofs("eni-b", age=120))
    assert world.decide().memory.target == "eni-b"


def test_a_canary_that_passed_when_its_owner_left_a_neighbour_does_not_speak_for_it() -> None:
    world = resting("abc").change("i-a", state=STOPPED).remember("a", proofs=proofs("eni-b", age=20))
    world.remember("b", target="eni-c", moved_at=at(-20), proofs=())
    assert world.decide().memory.target == "eni-c"


def test_an_exclusion_ends_at_its_instant() -> None:
    known = Memory(exclusions=(Exclusion("eni-a", at(30)),))
    assert known.is_excluded("eni-a", at(29.999))
    assert not known.is_excluded("eni-a", at(30))


def test_a_place_that_was_excluded_is_one_again_at_that_instant() -> None:
    world = resting("ab")

    def is_usable(now: float) -> bool:
        memory = Memory(exclusions=(Exclusion("eni-b", at(30)),))
        view = View(world.policy.group("a"), world.seen, memory, {}, world.policy, at(now))
        return any(view.is_usable(each) for each in view.paths if each.target == "eni-b")

    assert not is_usable(29.999)
    assert is_usable(30)


@pytest.mark.parametrize(("due", "reason"), [(600, Reason.LEAVE_DOOMED), (600.001, Reason.AT_REST)])
def test_traffic_leaves_ten_minutes_before_an_announced_stop(due: float, reason: Reason) -> None:
    assert resting("ab").change("i-a", interruption_at=at(due)).decide().reason is reason


# -- mending


@pytest.mark.parametrize(("age", "reason"), [(29.999, Reason.CONVERGE), (30, Reason.FAIL_OVER)])
def test_a_half_done_move_to_a_blamed_nat_is_mended_while_it_is_fresh(age: float, reason: Reason) -> None:
    world = resting("abc", tables=2).route("rtb-a2", "eni-b")
    world.remember(is_down=True, moved_at=at(-age), exclusions=(Exclusion("eni-a", at(30)),))
    assert world.decide(control=UP).reason is reason


def test_a_path_that_no_route_takes_is_mended_however_often_it_was_blamed() -> None:
    """Failed probes say nothing against a NAT that they did not go through."""
    world = resting("abc").route("rtb-a", None)
    world.remember(is_down=True, moved_at=at(-300), exclusions=(Exclusion("eni-a", at(30)),))
    plan = world.decide(control=UP)
    assert (plan.reason, writes(plan)) == (Reason.CONVERGE, [PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a", True)])


def test_a_failover_that_was_lost_whole_is_made_up_for_in_one_round_trip() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[PointRoute, MoveAddress])
    assert kinds(world.step(verified("xxxx"), now=3)) == [["MoveAddress", "PointRoute"]]


# -- repairs


def test_a_launch_is_waited_for_while_it_may_be_invisible_and_no_longer() -> None:
    world = away().remember(repair=Repair("r", 1, at(0), is_accepted=True))
    world.network = without(world.seen, "i-a")
    world.remember(proofs=proofs("eni-b", now=119))
    assert writes(world.decide(now=119.999)) == []
    assert writes(world.decide(now=120)) == [launch_of("r-nat-2")]


@pytest.mark.parametrize(("age", "reason"), [(119.999, Reason.HEALING), (120, Reason.AT_REST)])
def test_a_standbys_replacement_that_never_shows_up_is_waited_for_and_not_launched_again(
    age: float, reason: Reason
) -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public="198.51.100.8"))
    world.route("rtb-a", "eni-as", "1.0.0.1/32").remember(
        canary=Canary("eni-as", at(-600), at(-600), failed_since=at(-460)),
        standby_repair=Repair("r", 1, at(-age), is_launched=True, is_accepted=True),
        standby_replaced_at=at(-age),
    )
    plan = world.decide()
    assert (plan.reason, writes(plan)) == (reason, [])


def test_a_nat_has_all_of_its_time_to_come_up() -> None:
    world = away().change("i-a", state=PENDING).remember(repair=Repair("r", 1, at(-240)))
    assert writes(world.decide()) == []
    assert writes(world.decide(now=0.001)) == [launch_of("r-nat-2")]


def test_a_nat_has_all_of_its_time_to_forward_a_packet() -> None:
    world = away().change("i-a", state=RUNNING, public="198.51.100.7").route("rtb-a", "eni-a", "1.0.0.1/32")
    world.remember(canary=Canary("eni-a", at(-240), addressed_at=at(-240)), repair=Repair("r", 1, at(-260)))
    assert writes(world.decide()) == []
    assert writes(world.decide(now=0.001)) == [launch_of("r-nat-2")]


def test_a_lone_nat_is_replaced_once_it_has_had_its_time_to_boot() -> None:
    world = resting("a").change("i-a", launched_at=at(-450))
    down = report("ooxxx", -4)
    assert writes(world.decide(down, control=UP)) == []
    plan = world.decide(down, control=UP, now=0.001)
    assert plan.reason is Reason.NO_CANDIDATE
    assert [type(each) for each in writes(plan)] == [LaunchInstance]
