"""Loss that follows a group's traffic from one NAT to the next is overload, and no reason to go there and back."""

from __future__ import annotations

import pytest

from natkeeper.core.incident import Cause, Exclusion
from natkeeper.core.plan import Plan, Reason, Warned
from tests.support.worlds import STOPPED, UP, World, at, incident, proofs, report, resting


def back_home(lost_at: float = -12, mended: float = -8, moved: float = -11, failovers: int = 2) -> World:
    """Group a's packets were lost on b's NAT, whose own get through since, and a's traffic is back on its own NAT."""
    world = resting("ab").remember(moved_at=at(moved), has_carried=False)
    world.remember(exclusions=(Exclusion("eni-b", at(lost_at + 60), at(lost_at)),), incident=incident(opened=-20))
    world.remember(recent=(), failovers=tuple(at(-15 - each) for each in range(failovers)))
    return world.remember("b", proofs=proofs("eni-b", since=mended, age=0.1))


def failing(world: World, pattern: str = "xxx", start: float = -3) -> Plan:
    return world.decide(report(pattern, start), control=UP)


def test_a_neighbour_that_fails_under_this_groups_load_only_is_not_gone_to_again() -> None:
    plan = failing(back_home())
    assert (plan.reason, plan.memory.target) == (Reason.OVERLOADED, "eni-a")
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.OVERLOADED
    told = [each.text for each in plan.happenings if isinstance(each, Warned)]
    assert told[0].endswith("too small for both; take a larger instance type")


def test_a_path_on_which_nothing_at_all_got_through_for_long_is_dead_and_not_overloaded() -> None:
    assert failing(back_home(lost_at=-21, moved=-20)).memory.target == "eni-b"


def test_a_round_that_got_through_meanwhile_shows_that_it_is_not_dead() -> None:
    assert failing(back_home(lost_at=-41, moved=-40), "xoxxx", -5).reason is Reason.OVERLOADED


@pytest.mark.parametrize(("failovers", "waits"), [(2, 20), (4, 40), (6, 80), (40, 600)])
def test_each_trip_there_and_back_makes_the_next_one_later(failovers: int, waits: float) -> None:
    world = back_home(lost_at=-waits, moved=1 - waits, failovers=failovers)
    world.policy = resting("ab", max_failovers_per_hour=100).policy
    assert failing(world).reason is Reason.OVERLOADED
    world.remember(moved_at=at(-waits))
    assert failing(world).memory.target == "eni-b"


def test_what_ec2_shows_as_stopped_is_left_for_such_a_neighbour_all_the_same() -> None:
    assert back_home().change("i-a", state=STOPPED).decide().memory.target == "eni-b"


def test_a_neighbour_that_was_only_a_guess_was_not_overloaded() -> None:
    world = back_home()
    world.remember(exclusions=(Exclusion("eni-b", at(48), at(-12), is_guess=True),))
    assert failing(world).memory.target == "eni-b"


def test_another_neighbour_that_is_proven_takes_the_traffic() -> None:
    world = resting("abc").remember(
        moved_at=at(-11),
        exclusions=(Exclusion("eni-b", at(48), at(-12)),),
        failovers=(at(-15), at(-16)),
        incident=incident(opened=-20),
    )
    world.remember("b", proofs=proofs("eni-b", since=-8, age=0.1)).remember("c", proofs=proofs("eni-c", age=0.1))
    assert failing(world).memory.target == "eni-c"


@pytest.mark.parametrize(("ago", "reason"), [(4.9, Reason.OVERLOADED), (5, Reason.FAIL_OVER)])
def test_a_nat_whose_guest_has_just_left_is_given_the_rounds_that_tell(ago: float, reason: Reason) -> None:
    world = resting("ab").remember("b", exclusions=(Exclusion("eni-a", at(60 - ago), at(-ago)),))
    assert failing(world).reason is reason
