"""What alarms are told of a group: up, unknown, not healing, paused; each only where it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.backoff import STARTING
from natkeeper.core.decide import watch_on
from natkeeper.core.incident import BackOff, Memory, Repair
from natkeeper.core.model import Unknown
from natkeeper.core.news import Round
from natkeeper.core.plan import Plan, Reason, Standing
from natkeeper.core.policy import StandbyMode
from natkeeper.core.standing import AWAY_TOO_LONG, REFUSAL_STANDS, SETTING_UP
from tests.support.worlds import STOPPED, TERMINATED, World, at, away, incident, policy, report, resting

UNSEEN = Unknown("DescribeInstances: UnauthorizedOperation")
THROTTLED = Unknown("DescribeInstances: RequestLimitExceeded", is_throttled=True)
WELL = Standing(is_up=True, is_unknown=False, is_not_healing=False)
SECOND = 1 / 1000


def blind(world: World, unknown: Unknown = UNSEEN) -> World:
    world.network = unknown
    return world


def lost(second: float) -> tuple[Round, ...]:
    return (replace(resting_round()[0], sent_at=at(second), is_ok=False),)


def test_a_group_at_rest_is_up_known_and_well() -> None:
    assert resting("ab").decide().standing == WELL


# -- up and down


@pytest.mark.parametrize(
    "world",
    [
        lambda: blind(resting()),
        lambda: resting().remember(proofs=()),
        lambda: resting().remember(paused_until=at(90)),
        lambda: resting(),
    ],
    ids=["cannot look", "unobserved", "paused", "seen"],
)
def test_down_is_said_whatever_natkeeper_may_do_and_whatever_it_cannot_see(world: Any) -> None:
    """Both NATs hung while EC2 could not be asked, and nothing rang (blind-api-down)."""
    plan = world().decide(report("ooxxx", -4))
    assert plan.memory.is_down
    assert plan.standing.is_up is False


@pytest.mark.parametrize("reason", ["cannot look", "unobserved"])
def test_an_open_incident_whose_last_packet_was_lost_is_down_and_one_that_nobody_hears_of_is_unknown(
    reason: str,
) -> None:
    world = resting().remember(incident=incident(), recent=lost(-5), proofs=())
    world = blind(world) if reason == "cannot look" else world
    assert world.decide().standing.is_up is False
    assert world.remember(recent=()).decide().standing.is_up is None


@pytest.mark.parametrize(
    "world",
    [
        lambda: blind(resting()),
        lambda: resting().remember(recent=()),
        lambda: resting().remember(recent=lost(-3)),
        lambda: resting().remember(proofs=()),
        lambda: resting().remember(is_stray=True).route("rtb-a", "eni-x"),
    ],
    ids=["cannot look", "nothing heard", "the last one was lost", "unproven", "by another way"],
)
def test_up_is_said_only_where_it_is_known(world: Any) -> None:
    assert world().decide().standing.is_up is None


def resting_round() -> tuple[Round, ...]:
    return resting().memories["a"].recent[-1:]


def new(**remembered: Any) -> World:
    world = resting("a").route("rtb-a", None)
    world.memories["a"] = Memory(**remembered)
    world.change("i-a", state=STOPPED)
    return world


def test_a_first_deployment_is_not_up_and_rings_when_it_has_no_egress_after_ten_minutes() -> None:
    """It was called up, for nothing was known to be down."""
    plan = new().decide()
    assert plan.memory.not_home_since == at(0)
    assert plan.standing.is_up is None
    late = SETTING_UP.total_seconds()
    assert new(not_home_since=at(0)).decide(now=late - 1).standing.is_up is None
    assert new(not_home_since=at(0)).decide(now=late).standing.is_up is False
    assert blind(new(not_home_since=at(0))).decide(now=late).standing.is_up is False


# -- known and unknown


def test_who_could_not_look_does_not_know() -> None:
    plan = blind(resting()).decide()
    assert plan.standing.is_unknown
    assert (plan.memory.unseen_since, plan.memory.rest) == (at(0), None)


@pytest.mark.parametrize(("age", "is_unknown"), [(120, False), (120.001, True)])
def test_a_group_of_which_no_packet_was_heard_for_two_minutes_is_unknown_while_it_is_paused_too(
    age: float, is_unknown: bool
) -> None:
    heard = (replace(resting_round()[0], sent_at=at(-age)),)
    assert resting().remember(recent=heard).decide().standing.is_unknown is is_unknown
    paused = resting().remember(recent=heard, paused_until=at(90)).decide()
    assert (paused.reason, paused.standing.is_unknown) == (Reason.PAUSED, is_unknown)


def test_a_packet_that_is_hours_ahead_is_none_that_was_heard() -> None:
    ahead = (replace(resting_round()[0], sent_at=at(3600)),)
    assert resting().remember(recent=ahead).decide().standing.is_unknown


def test_a_report_that_needs_no_look_does_not_say_that_all_is_known_after_a_look_that_failed() -> None:
    """DescribeInstances refused for good was reported as at rest once a minute (blind-describe-denied)."""
    good = report("oooo", -4, canary="oooo", run_id="watch-a")
    rules = policy("ab")
    memory = blind(resting("ab").remember(rest=True)).decide().memory
    assert watch_on("a", memory, good, at(0), rules) is None
    throttled = blind(resting("ab").remember(rest=True), THROTTLED).decide().memory
    plan = watch_on("a", throttled, good, at(0), rules)
    assert plan is not None, "no further look is asked of an account that has none to spare"
    assert plan.standing.is_unknown
    assert plan.standing.is_up is None


def test_a_look_that_succeeds_ends_it_and_two_that_fail_are_written_down_once() -> None:
    world = blind(resting("ab"))
    first = world.decide().memory
    world.memories["a"] = first
    assert replace(world.decide(now=60).memory, incident=None) == first
    world.network = resting("ab").network
    seen = world.decide(now=61).memory
    assert (seen.unseen_since, seen.rest) == (None, True)


# -- healing


def healing(**remembered: Any) -> bool | None:
    return away().remember(**remembered).decide().standing.is_not_healing


def refused(seconds: float, **fields: Any) -> Repair:
    fields = {"refused_at": at(-seconds), "refusals": 3, "refusal": "RunInstances: UnauthorizedOperation", **fields}
    return Repair("r", 3, at(-seconds), is_launched=True, **fields)


def test_a_launch_or_start_that_ec2_refuses_is_no_healing() -> None:
    stands = REFUSAL_STANDS.total_seconds()
    assert healing() is False
    assert healing(repair=refused(5)) is True
    assert healing(repair=refused(5, refused_at=None)) is True, "the next attempt is under way"
    assert healing(repair=refused(stands + 1)) is False, "it is not wanted any more"
    assert healing(back_offs=(BackOff(STARTING, at(-5), 1),)) is True
    assert healing(back_offs=(BackOff(STARTING, at(-stands - 1), 1),)) is False
    assert healing(back_offs=(BackOff("the canary route", at(-5), 1),)) is False


@pytest.mark.parametrize(("mode", "says"), [(StandbyMode.RUNNING, True), (StandbyMode.NONE, False)])
def test_a_standby_that_is_refused_counts_where_one_is_wanted(mode: StandbyMode, says: bool) -> None:
    world = resting("a", standby=mode).remember(standby_repair=refused(5))
    assert world.decide().standing.is_not_healing is says


def test_a_group_that_is_away_for_fifty_minutes_is_told_of_and_one_that_comes_home_is_forgotten() -> None:
    long = AWAY_TOO_LONG.total_seconds()
    assert away().decide().memory.not_home_since == at(0)
    assert healing(not_home_since=at(-long + 1)) is False
    assert healing(not_home_since=at(-long)) is True
    assert away().remember(not_home_since=at(10**7)).decide().memory.not_home_since == at(0), (
        "an instant that has not been"
    )
    home = resting("ab").remember(not_home_since=at(-long)).decide()
    assert (home.memory.not_home_since, home.standing.is_not_healing) == (None, False)


def test_limits_of_natkeepers_own_are_no_healing_either() -> None:
    world = away().change("i-a", state=TERMINATED).remember(launches=tuple(at(-60 * each) for each in range(6)))
    plan = world.decide()
    assert (plan.reason, plan.standing.is_not_healing) == (Reason.BUDGET_EXHAUSTED, True)


def test_who_cannot_look_does_not_deny_that_healing_is_stuck() -> None:
    assert blind(resting()).decide().standing.is_not_healing is None
    assert blind(away().remember(repair=refused(5))).decide().standing.is_not_healing is True


def test_a_pause_is_said_while_it_lasts() -> None:
    assert resting().remember(paused_until=at(1)).decide().standing.is_paused
    assert not resting().remember(paused_until=at(-SECOND)).decide().standing.is_paused


def test_a_plan_that_nobody_finished_says_that_nobody_knows() -> None:
    assert Plan("a", Memory(), Reason.LOOK_AGAIN).standing == Standing(None, is_unknown=True)
