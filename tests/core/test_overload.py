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


@pytest.mark.parametrize("pattern", ["pxx", "xxp", "oxxx"])
def test_a_neighbour_that_fails_under_this_groups_load_only_is_not_gone_to_again(pattern: str) -> None:
    """Something got through on the present path a moment ago: it is not dead."""
    plan = failing(back_home(), pattern, -len(pattern))
    assert (plan.reason, plan.memory.target) == (Reason.OVERLOADED, "eni-a")
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.OVERLOADED
    assert plan.detail.endswith("; eni-b lost this group's packets and carries its own since: too small for both")
    told = [each for each in plan.happenings if isinstance(each, Warned)]
    assert told == [Warned(f"group a: {plan.detail}; take a larger instance type", "overload")]


@pytest.mark.parametrize(("age", "reason"), [(11.9, Reason.OVERLOADED), (12, Reason.FAIL_OVER)])
def test_a_neighbours_own_packets_count_that_were_sent_after_this_groups_were_lost(age: float, reason: Reason) -> None:
    """It is not left alone, for it had carried this group's; and nobody is asked, for the canary's get through."""
    world = back_home().remember(exclusions=(Exclusion("eni-b", at(-12), at(-12)),), proofs=proofs("eni-b", age=0.1))
    assert failing(world.remember("b", proofs=proofs("eni-b", age=age))).reason is reason


def test_a_group_that_was_never_moved_knows_no_stay_to_go_by() -> None:
    assert failing(back_home().remember(moved_at=None)).memory.target == "eni-b"


def test_a_path_on_which_nothing_at_all_got_through_is_dead_and_not_overloaded() -> None:
    assert failing(back_home(lost_at=-21, moved=-20)).memory.target == "eni-b"
    assert failing(back_home(lost_at=-21, moved=-19)).reason is Reason.OVERLOADED  # not yet known


def test_what_got_through_before_the_traffic_came_there_says_nothing() -> None:
    world = back_home(moved=-40).remember(through_at=at(-5))
    assert failing(world).reason is Reason.OVERLOADED
    moved = world.memories["a"].moving("eni-a", at(0))
    assert moved.through_at is None
    world.remember(moved_at=at(-22), through_at=None)
    assert failing(world, "pp" + 19 * "-" + "xxx", -24).memory.target == "eni-b"


def test_where_something_gets_through_it_stays_and_tries_the_other_one_ever_later() -> None:
    world = back_home(lost_at=-130, mended=-118, moved=-119)
    assert failing(world, "pppp").reason is Reason.OVERLOADED
    assert failing(world.remember(moved_at=at(-120)), "pppp").memory.target == "eni-b"
    again = back_home(lost_at=-230, mended=-218, moved=-219, failovers=4)
    assert failing(again, "pppp").reason is Reason.OVERLOADED


@pytest.mark.parametrize(("failovers", "waits"), [(2, 20), (4, 40), (6, 80), (8, 160), (40, 600)])
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
    assert failing(world, "ppp").memory.target == "eni-c"


def crowded(came: float = -6, through: float = -2) -> World:
    """Zone b's traffic came to group a's NAT, where packets are lost since."""
    world = resting("ab").remember(through_at=at(through))
    return world.remember("b", target="eni-a", moved_at=at(came))


def test_the_nats_own_group_waits_for_a_guest_that_is_too_much_for_it_to_leave() -> None:
    plan = failing(crowded(), "pxx")
    assert (plan.reason, plan.memory.target) == (Reason.OVERLOADED, "eni-a")
    assert "another group's traffic came to eni-a" in plan.detail


@pytest.mark.parametrize(
    ("came", "through", "pattern", "waits"),
    [
        (-9.9, -4, "xxx", True),
        (-10, -4, "xxx", False),
        (-10, -4, "xpx", True),
        (-19.9, -4, "xpx", True),
        (-20, -4, "xpx", False),
        (-10, -4, "pxx", False),  # nothing got through but what the row of failed rounds began with
        (-3, -4, "xxx", False),
        (-4, -4, "xxx", False),
    ],
)
def test_how_long_it_waits_depends_on_whether_anything_got_through_since_it_began_to_fail(
    came: float, through: float, pattern: str, waits: bool
) -> None:
    plan = failing(crowded(came, through), pattern, -2.5)
    assert (plan.reason is Reason.OVERLOADED) is waits


@pytest.mark.parametrize("theirs", [{"target": "eni-b"}, {"moved_at": None}])
def test_a_group_whose_traffic_did_not_come_there_is_no_guest(theirs: dict[str, object]) -> None:
    assert failing(crowded().remember("b", **theirs), "pxx").reason is Reason.FAIL_OVER


def test_a_guest_is_not_waited_for_where_nothing_has_got_through_since_traffic_came() -> None:
    assert failing(crowded().remember(through_at=None)).reason is Reason.FAIL_OVER


def unproven(through: float) -> World:
    """As `back_home`, and nothing proves b's NAT."""
    world = back_home(lost_at=-90, moved=-30).remember(through_at=at(through), proofs=())
    return world.remember("b", proofs=(), target="eni-b", is_down=False)


def test_where_something_gets_through_nobody_tries_what_lost_as_much_and_is_not_proven() -> None:
    assert failing(unproven(-5)).reason is Reason.NO_CANDIDATE
    tried = failing(unproven(-25))
    assert (tried.reason, tried.memory.target) == (Reason.LAST_RESORT, "eni-b")


@pytest.mark.parametrize(("through", "remembered"), [(-5, [("eni-a", True)]), (None, [])])
def test_a_path_that_had_carried_is_remembered_and_not_held_against(
    through: float | None, remembered: list[tuple[str, bool]]
) -> None:
    world = resting("ab").remember(through_at=at(through) if through else None)
    plan = failing(world)
    assert plan.memory.target == "eni-b"
    assert [(each.target, each.had_carried) for each in plan.memory.exclusions] == remembered
    assert not plan.memory.is_excluded("eni-a", at(0))


@pytest.mark.parametrize(
    ("ago", "reason"),
    [(-0.1, Reason.FAIL_OVER), (0, Reason.OVERLOADED), (4.9, Reason.OVERLOADED), (5, Reason.FAIL_OVER)],
)
def test_a_nat_whose_guest_has_just_left_is_given_the_rounds_that_tell(ago: float, reason: Reason) -> None:
    world = resting("ab").remember("b", exclusions=(Exclusion("eni-a", at(60 - ago), at(-ago)),))
    assert failing(world).reason is reason


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param({"target": "eni-a", "moved_at": at(-60)}, id="it has come back"),
        pytest.param({"exclusions": (Exclusion("eni-a", at(58)),)}, id="nobody knows when it was lost"),
    ],
)
def test_a_guest_that_has_not_left_a_moment_ago_is_not_waited_for(theirs: dict[str, object]) -> None:
    lost = (Exclusion("eni-a", at(58), at(-2)),)
    assert failing(resting("ab").remember("b", **{"exclusions": lost, **theirs})).reason is Reason.FAIL_OVER
