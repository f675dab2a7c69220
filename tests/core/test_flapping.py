"""A NAT that fails again soon after its traffic came home: the way home grows longer, the way out does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from natkeeper.core.flapping import LONGEST_QUIET, REMEMBERED, TRUSTED_AFTER, quiet_period
from natkeeper.core.incident import Fall
from natkeeper.core.plan import Plan, Reason, Warned
from natkeeper.core.view import View
from tests.support.worlds import RUNNING, STOPPED, World, at, away, incident, proofs, resting, secs


def home_again(ago: float = 60) -> World:
    """Group a's traffic came home a while ago."""
    return resting("ab").remember(moved_at=at(-ago))


def warnings(plan: Plan) -> list[str]:
    return [each.text for each in plan.happenings if isinstance(each, Warned)]


def test_a_nat_that_fails_soon_after_its_traffic_came_home_is_remembered_and_told() -> None:
    plan = home_again().change("i-a", state=STOPPED).decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-b")
    assert plan.memory.falls == (Fall("eni-a", at(0)),)
    assert warnings(plan) == [
        "group a: i-a failed again soon after its traffic had come home; it must be well for 600 s before traffic "
        "comes home again"
    ]


def test_of_a_nat_that_falls_again_and_again_a_person_hears_once() -> None:
    world = home_again().change("i-a", state=STOPPED)
    world.remember(told=world.decide().memory.told)
    assert [each.key for each in world.memories["a"].told] == [
        "group a: i-a failed again soon after its traffic had come ho"
    ]
    plan = world.remember(falls=(Fall("eni-a", at(-3000)),)).decide(now=5)
    assert (plan.reason, len(plan.memory.falls), warnings(plan)) == (Reason.FAIL_OVER, 2, [])


@pytest.mark.parametrize("ago", [TRUSTED_AFTER.total_seconds(), 100_000])
def test_a_nat_that_lasted_an_hour_has_come_back_for_good(ago: float) -> None:
    plan = home_again(ago).change("i-a", state=STOPPED).decide()
    assert (plan.memory.falls, warnings(plan)) == ((), [])


def test_a_first_failure_is_no_fall() -> None:
    plan = resting("ab").change("i-a", state=STOPPED).decide()
    assert (plan.memory.falls, warnings(plan)) == ((), [])


@pytest.mark.parametrize("has_carried", [True, False])
def test_a_replacement_that_was_tried_while_it_booted_is_no_fall(has_carried: bool) -> None:
    world = home_again().change("i-a", state=STOPPED).remember(has_carried=has_carried)
    world.remember(incident=replace(incident(opened=-70), is_last_resort=True, to_target="eni-a"))
    assert bool(world.decide().memory.falls) is has_carried


def test_a_neighbour_that_is_left_soon_is_no_fall_of_the_own_nat() -> None:
    world = away("abc").remember(moved_at=at(-60)).change("i-b", state=STOPPED)
    assert world.decide().memory.falls == ()


def test_a_last_resort_is_told_beside_the_fall() -> None:
    world = home_again().change("i-a", state=STOPPED).remember("b", proofs=())
    plan = world.remember("a", proofs=proofs("eni-a")).decide()
    assert plan.reason is Reason.LAST_RESORT
    assert len(warnings(plan)) == 2


def ready(falls: int, quiet_for: float, target: str = "eni-a", ago: float = 700) -> Plan:
    """Group a is away, its own NAT has been proven for so long, and it fell so often."""
    world = away("ab").change("i-a", state=RUNNING)
    world.remember(
        stable_since=at(-quiet_for),
        proofs=proofs("eni-a", since=-quiet_for) + proofs("eni-b"),
        falls=tuple(Fall(target, at(-ago - each)) for each in range(falls)),
    )
    return world.decide()


@pytest.mark.parametrize(("falls", "quiet"), [(0, 300), (1, 600), (2, 1200), (3, 2400), (4, 3600), (40, 3600)])
def test_each_fall_doubles_the_quiet_before_the_next_way_home_up_to_an_hour(falls: int, quiet: float) -> None:
    assert ready(falls, quiet - 1).reason is Reason.HEALING
    assert ready(falls, quiet).reason is Reason.GO_HOME


def test_falls_of_a_nat_that_was_replaced_do_not_count_against_its_replacement() -> None:
    assert ready(3, 300, target="eni-old").reason is Reason.GO_HOME


def test_a_fall_is_forgotten_after_some_hours() -> None:
    assert ready(1, 300, ago=REMEMBERED.total_seconds()).reason is Reason.GO_HOME
    world = home_again().change("i-a", state=STOPPED).remember(falls=(Fall("eni-a", at(-REMEMBERED.total_seconds())),))
    assert world.decide().memory.falls == (Fall("eni-a", at(0)),)


def quiet_after(falls: int, chosen: float) -> timedelta:
    """How long group a's NAT must have been well that fell so often, by the user's choice of a quiet period."""
    world = resting("ab", quiet_period=secs(chosen)).remember(falls=(Fall("eni-a", at(-60)),) * falls)
    others = {"b": world.memories["b"]}
    view = View(world.policy.group("a"), world.seen, world.memories["a"], others, world.policy, at(0))
    return quiet_period(view, "eni-a")


def test_a_quiet_period_that_is_longer_than_the_limit_stays_as_it_was_chosen() -> None:
    assert quiet_after(1, chosen=7200) == secs(7200)
    assert secs(3600) == LONGEST_QUIET


def test_a_quiet_period_that_is_chosen_tiny_is_doubled_sixteen_times_and_no_more() -> None:
    """So that no number of falls is too many to reckon with."""
    assert quiet_after(16, chosen=0.01) == quiet_after(17, chosen=0.01) == quiet_after(9000, chosen=0.01)
    assert quiet_after(16, chosen=0.01) == secs(655.36) == 2 * quiet_after(15, chosen=0.01)


def test_the_way_out_of_a_dead_path_back_to_the_own_nat_is_never_longer() -> None:
    world = away("ab").change("i-a", state=RUNNING).change("i-b", state=STOPPED)
    world.remember(proofs=proofs("eni-a", "eni-b"), falls=tuple(Fall("eni-a", at(-60 - each)) for each in range(5)))
    plan = world.decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-a")
