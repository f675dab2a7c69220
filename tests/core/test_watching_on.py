"""A report that says of a group at rest that all is well needs no look at EC2; anything else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.decide import watch_on
from natkeeper.core.incident import YIELDING, Memory, Repair
from natkeeper.core.model import Unknown
from natkeeper.core.plan import IncidentClosed, Plan, Reason, StartWatch
from tests.support.worlds import at, incident, policy, report, resting

RULES = policy("ab")


def watching(pattern: str = "oooo", canary: str = "oooo", start: float = -4, **remembered: Any) -> Plan | None:
    memory = replace(resting("ab").memories["a"], **remembered)
    return watch_on("a", memory, report(pattern, start, canary=canary, run_id="watch-a"), at(0), RULES)


@pytest.mark.parametrize(("zones", "is_backed"), [("ab", True), ("a", False)])
@pytest.mark.parametrize("known", [None, True, False])
def test_a_look_that_finds_nothing_to_do_is_remembered_with_whether_somebody_could_take_over(
    zones: str, is_backed: bool, known: bool | None
) -> None:
    for is_unfinished in (True, False):
        memory = resting(zones).remember(rest=known, is_unfinished=is_unfinished).decide().memory
        assert (memory.rest, memory.is_unfinished) == (is_backed, False)


def test_a_good_report_at_rest_only_starts_the_next_run() -> None:
    plan = watching()
    assert plan is not None
    assert (plan.group, plan.reason, plan.carried_by, plan.is_backed) == ("a", Reason.AT_REST, "a", True)
    assert [type(each) for each in plan.actions] == [StartWatch]
    assert plan.memory.recent[-1].sent_at == at(-1)


@pytest.mark.parametrize("pattern", ["", "ooox", "oxoo"])
def test_a_report_with_a_failed_round_or_none_at_all_is_looked_into(pattern: str) -> None:
    assert watching(pattern) is None


def test_a_failing_canary_is_looked_into_where_somebody_is_to_stand_by() -> None:
    assert watching(canary="oxoo") is None
    assert watching(canary="oxoo", rest=False) is not None


@pytest.mark.parametrize(
    "remembered",
    [
        {"rest": None},
        {"incident": incident()},
        {"paused_until": at(60)},
        {"standby_repair": Repair("r", 1, at(-20), is_accepted=True)},
    ],
    ids=["not at rest", "an incident is open", "paused", "a standby that was launched is not seen yet"],
)
def test_whatever_is_not_at_rest_is_looked_at(remembered: dict[str, Any]) -> None:
    assert watching(**remembered) is None


def test_while_ec2_throttles_the_account_a_group_with_egress_waits_without_looking() -> None:
    plan = watching(rest=None, throttled_at=at(-10))
    assert plan is not None
    assert (plan.group, plan.reason) == ("a", Reason.HEALING)
    assert plan.detail == "egress works; the rest waits: EC2 throttles this account"
    assert [type(each) for each in plan.actions] == [StartWatch]


def test_an_incident_that_ends_while_the_account_is_throttled_is_closed_without_a_look_and_not_opened_again() -> None:
    plan = watching(rest=None, throttled_at=at(-10), incident=incident())
    assert plan is not None
    (over,) = plan.happenings
    assert isinstance(over, IncidentClosed)
    assert over.closed_at == at(0)


def test_waiting_ends_with_its_time_or_where_a_move_is_unfinished() -> None:
    assert watching(rest=None, throttled_at=at(-YIELDING.total_seconds())) is None
    assert watching(rest=None, throttled_at=at(-10), is_unfinished=True) is None


def test_good_rounds_of_the_path_before_the_move_do_not_let_a_dead_one_wait() -> None:
    assert watching(rest=None, throttled_at=at(-10), is_down=True, moved_at=at(-0.5)) is None


def test_a_throttled_look_is_remembered_only_where_egress_may_be_down() -> None:
    world = resting("ab")
    world.network = Unknown("throttled", is_throttled=True)
    assert world.decide().memory.throttled_at is None
    assert world.remember(is_down=True).decide().memory.throttled_at == at(0)
    world.memories["a"] = Memory(incident=incident())
    assert world.decide().memory.throttled_at == at(0)
    world.network = Unknown("no answer")
    assert world.decide().memory.throttled_at is None
