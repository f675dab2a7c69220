"""Before traffic moves on packets alone: does the candidate fail too? Asked of the canary, or of its own group."""

from __future__ import annotations

import pytest

from natkeeper.core.decide import Observation, decide
from natkeeper.core.incident import Memory
from natkeeper.core.model import InstanceState, Role
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Plan, Reason
from natkeeper.core.policy import StandbyMode
from natkeeper.errors import TryAgain
from tests.support.fakes import Stack
from tests.support.worlds import (
    PENDING,
    RUNNING,
    STOPPED,
    UP,
    World,
    at,
    away,
    kinds,
    nat,
    proofs,
    report,
    resting,
    rounds,
    secs,
    verified,
)


def decided(world: World, canary: str, neighbours: str | None) -> Plan:
    return world.decide(report("oxxx", -4, canary=f"o{canary}"), control=UP, neighbours=neighbours)


def test_a_canary_that_passed_in_the_same_seconds_is_enough() -> None:
    plan = decided(resting("ab"), "ooo", neighbours=None)
    assert (plan.reason, plan.memory.target, plan.asks) == (Reason.FAIL_OVER, "eni-b", ())


@pytest.mark.parametrize(("zones", "asked"), [("ab", ("b",)), ("abc", ("b", "c"))])
def test_where_the_canary_fails_too_the_others_are_asked_before_anything_moves(
    zones: str, asked: tuple[str, ...]
) -> None:
    plan = decided(resting(zones), "xxx", neighbours=None)
    assert (plan.reason, plan.asks, plan.wake_at) == (Reason.ASK_NEIGHBOURS, asked, at(0))
    assert kinds(plan) == []


def test_a_neighbour_of_which_nobody_knows_where_its_traffic_belongs_is_asked_where_its_tables_lead_there() -> None:
    """That part of its item could not be read (simulation, seed 1710003886)."""
    world = resting("ab").remember("b", target=None)
    assert decided(world, "xxx", neighbours=None).asks == ("b",)
    world.route("rtb-b", None)
    assert decided(world, "xxx", neighbours=None).asks == ()


def test_the_answer_of_a_group_of_which_nothing_is_remembered_proves_nothing() -> None:
    world = resting("ab")
    own, news = world.memories["a"], (report("oxxx", -4, canary="oxxx"),)
    seen = Observation(world.policy.group("a"), world.seen, {}, news, UP, {"b": verified(name="b")})
    assert decide(seen, own, at(0), world.policy).reason is Reason.LAST_RESORT


def test_a_neighbour_whose_own_packets_get_through_takes_the_traffic() -> None:
    assert decided(resting("ab"), "xxx", neighbours="oo").memory.target == "eni-b"


@pytest.mark.parametrize("zones", ["ab", "abc"])
def test_when_all_that_are_asked_fail_too_traffic_is_held_where_it_is(zones: str) -> None:
    plan = decided(resting(zones), "xxx", neighbours="xxxx")
    assert (plan.reason, plan.memory.target, kinds(plan)) == (Reason.COMMON_MODE, "eni-a", [])


def test_a_candidate_that_carried_packets_since_is_taken_before_one_that_nobody_has_asked() -> None:
    world = resting("abc").remember("c", proofs=proofs("eni-c", age=1))
    plan = decided(world, "xxx", neighbours=None)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-c")


def test_a_gateway_shares_nothing_with_nats_that_all_fail_and_takes_the_traffic() -> None:
    plan = decided(resting("ab", gateway="nat-1"), "xxx", neighbours="xxxx")
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "nat-1")


def test_a_gateway_that_carries_the_group_already_is_no_way_out() -> None:
    world = resting("ab", gateway="nat-1").route("rtb-a", "nat-1")
    world.remember(target="nat-1", proofs=proofs("nat-1"), canary=None)
    world.remember("b", is_down=True, down_at=at(-1), proofs=())
    assert world.decide(report("xxx", -3), control=UP).reason is Reason.COMMON_MODE


@pytest.mark.parametrize(
    ("age", "reason"), [(1, Reason.FAIL_OVER), (3.5, Reason.COMMON_MODE)], ids=["since it began", "before"]
)
def test_a_standby_through_which_packets_get_since_is_a_way_out_where_every_group_fails(
    age: float, reason: Reason
) -> None:
    standby = nat("a", role=Role.STANDBY)
    world = resting("ab", standby=StandbyMode.RUNNING).add(standby)
    world.remember(proofs=(*proofs("eni-a"), *proofs(standby.target or "", age=age)))
    world.remember("b", is_down=True, down_at=at(-1), proofs=())
    plan = world.decide(report("xxx", -3), control=UP)
    assert (plan.reason, plan.memory.target == standby.target) == (reason, reason is Reason.FAIL_OVER)


@pytest.mark.parametrize(
    ("state", "reason"), [(RUNNING, Reason.COMMON_MODE), (STOPPED, Reason.NO_CANDIDATE), (PENDING, Reason.NO_CANDIDATE)]
)
def test_a_group_that_is_down_because_its_nat_stopped_has_nothing_in_common(
    state: InstanceState, reason: Reason
) -> None:
    world = resting("ab").change("i-b", state=state).remember("b", is_down=True, down_at=at(-1), proofs=())
    assert world.decide(report("xxx", -3), control=UP).reason is reason


def test_where_nobody_can_be_asked_what_was_proven_a_moment_ago_takes_the_traffic() -> None:
    plan = decided(resting("ab"), "xxx", neighbours="")
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-b")


def test_a_standby_that_carries_nobody_is_asked_by_the_canary_alone() -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY))
    standby = nat("a", role=Role.STANDBY).target or ""
    world.remember(proofs=proofs("eni-a", standby))
    assert world.decide(report("xxx", -3), control=UP, neighbours=None).memory.target == standby


def test_nobody_is_asked_about_what_ec2_itself_shows_as_stopped() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    assert world.decide(neighbours=None).reason is Reason.FAIL_OVER


def test_a_guest_is_asked_about_a_nat_whose_own_group_is_elsewhere() -> None:
    world = away("abc").change("i-a", state=RUNNING)
    world.remember("b", proofs=()).remember("c", target="eni-a", moved_at=at(-60), proofs=proofs("eni-a"))
    assert world.decide(report("xxx", -3), control=UP, neighbours=None).asks == ("c",)


def test_of_several_the_group_whose_nat_it_is_is_asked() -> None:
    world = resting("abc").remember(proofs=proofs("eni-a", "eni-c"))
    world.remember("b", target="eni-c", moved_at=at(-60), proofs=proofs("eni-c"))
    assert world.decide(report("xxx", -3), control=UP, neighbours=None).asks == ("c",)


def swapped() -> World:
    """Group c's traffic is on b's NAT and b's on c's; a's canary got through on b's before a's own packets failed."""
    world = resting("abc").remember("b", target="eni-c", moved_at=at(-60), proofs=())
    return world.remember("c", target="eni-b", moved_at=at(-60), proofs=())


@pytest.mark.parametrize("whose", ["b", "c"])
def test_nobody_is_asked_about_a_nat_through_which_its_own_groups_or_a_guests_packets_get_since(whose: str) -> None:
    for age, asks in ((3, ("c",)), (2.9, ())):
        world = swapped().remember(whose, proofs=proofs("eni-b", age=age))
        assert world.decide(report("xxx", -3), control=UP, neighbours=None).asks == asks


@pytest.mark.parametrize("whose", ["b", "c"])
def test_a_nat_that_is_back_for_its_own_group_or_a_guest_may_not_be_back_alone(whose: str) -> None:
    for since, reason in ((-1, Reason.FAIL_OVER), (-0.9, Reason.COMMON_MODE)):
        world = swapped().remember(whose, proofs=proofs("eni-b", since=since, age=0.1))
        assert world.decide(report("xxx", -3), control=UP, neighbours=None).reason is reason


def test_a_memory_that_does_not_say_when_it_began_goes_by_its_newest_rounds() -> None:
    """Of an older version; or the group's own prober has not said it, but that of the group whose NAT it is."""
    world = resting("ab").remember(is_down=True, down_at=at(-1), recent=rounds("xoxx", -9, 2))
    assert world.decide(control=UP, neighbours=None).asks == ("b",)
    world.remember(recent=rounds("oxxx", -10, 2))
    assert world.decide(control=UP, neighbours=None).memory.target == "eni-b"
    world.remember(recent=())
    assert world.decide(control=UP, neighbours=None).memory.target == "eni-b"


def test_where_a_packet_got_through_meanwhile_a_candidate_must_have_carried_since_then() -> None:
    """A report brings the end of one outage and the whole of the next: what was proven between them is old."""
    world = resting("ab").remember(is_down=True, down_at=at(-60), failing_since=at(-60), proofs=proofs("eni-b", age=5))
    world.remember("b", proofs=proofs("eni-b", age=5))
    again = world.decide(report("oxxx", -4, canary=""), control=UP, neighbours=None)
    assert again.asks == ("b",)
    world.remember(proofs=proofs("eni-b", age=1))
    assert world.decide(report("oxxx", -4, canary=""), control=UP, neighbours=None).memory.target == "eni-b"


def test_what_a_group_that_nobody_remembers_answers_proves_nothing() -> None:
    world = resting("abc").remember(proofs=proofs("eni-a", "eni-b"))
    world.memories["b"] = Memory()
    plan = world.decide(report("oxxx", -4, canary="oxxx"), control=UP, neighbours=None)
    assert plan.asks == ("c",)


# -- the pass


def test_all_nats_that_hang_at_once_are_left_where_they_are() -> None:
    stack = Stack(resting("abc"))
    stack.prober.hung = {"eni-a", "eni-b", "eni-c"}
    reasons = stack.wake(report("oxxx", -4, canary="oxxx", run_id="watch-a"))
    assert reasons["a"] == ["ask-neighbours", "common-mode"]
    assert sorted(stack.prober.verified) == ["b", "c"]
    assert list(stack.vpc.done) == []


def test_the_third_takes_the_traffic_when_the_second_hangs_too() -> None:
    stack = Stack(resting("abc"))
    stack.prober.hung = {"eni-a", "eni-b"}
    reasons = stack.wake(report("oxxx", -4, canary="oxxx", run_id="watch-a"))
    assert reasons["a"][:2] == ["ask-neighbours", "fail-over"]
    assert stack.route() == "eni-c"


def test_whoever_was_asked_is_not_asked_again_by_the_same_pass() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a", "eni-b"}
    ask = stack.prober.verify

    def asked_while_a_report_comes(group: str) -> ProbeReport:
        stack.ledger.leave("a", report("xxx", -1))
        return ask(group)

    stack.prober.verify = asked_while_a_report_comes  # type: ignore[method-assign]
    reasons = stack.wake(report("oxxx", -4, canary="oxxx", run_id="watch-a"))
    assert reasons["a"] == ["ask-neighbours", "common-mode", "common-mode"]
    assert stack.prober.verified == ["b"]


def test_with_too_little_time_left_to_ask_the_next_pass_asks() -> None:
    stack = Stack(resting("ab"))
    stack.clock.left = secs(10.9)
    assert stack.wake(report("oxxx", -4, canary="oxxx", run_id="watch-a"))["a"][0] == "ask-neighbours"
    assert (stack.prober.verified, stack.route()) == ([], "eni-a")
    assert stack.memory().is_down


def test_a_prober_that_cannot_be_asked_does_not_hold_the_traffic_on_a_dead_path() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    stack.faults.failing["verify"] = [TryAgain("Invoke", "TooManyRequestsException"), None]
    stack.wake(report("oxxx", -4, canary="oxxx", run_id="watch-a"))
    assert stack.route() == "eni-b"


def test_a_candidate_that_came_back_after_the_last_lost_round_may_not_be_back_alone() -> None:
    world = resting("ab").remember(canary=None)
    world.remember("b", proofs=proofs("eni-b", since=-0.5, age=0.1))
    plan = world.decide(report("xxx", -3), control=UP, neighbours=None)
    assert (plan.reason, plan.memory.target) == (Reason.COMMON_MODE, "eni-a")
    assert plan.detail.endswith("is back since its last round was sent: its next rounds will tell")
    world.remember("b", proofs=proofs("eni-b", since=-1, age=0.1))
    assert world.decide(report("xxx", -3), control=UP, neighbours=None).memory.target == "eni-b"
