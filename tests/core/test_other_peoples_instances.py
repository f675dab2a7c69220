"""Events and notices about instances that are not the stack's: no call to EC2, no write, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import (
    HealthNotice,
    InstanceChanged,
    News,
    RebalanceRecommended,
    SpotInterruption,
    Tick,
    Verdict,
    concerning,
)
from natkeeper.core.plan import Reason
from natkeeper.errors import TryAgain
from natkeeper.ports import Held, OwnInstances
from natkeeper.sifting import FRESH, MOST_ASKS, MOST_NAMED
from tests.support.fakes import Stack
from tests.support.worlds import STOPPING, at, away, report, resting

THEIRS = tuple(f"i-{number:017x}" for number in range(101))
RETIREMENT = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"
FOREIGN: list[News] = [
    InstanceChanged(THEIRS[0], "stopped"),
    SpotInterruption(THEIRS[0], "terminate"),
    RebalanceRecommended(THEIRS[0]),
    HealthNotice(RETIREMENT, THEIRS),
    HealthNotice(RETIREMENT, ()),
]
DOWN = TryAgain("X", "InternalError")
LEDGER = ("read", "acquire", "record", "release", "note", "leave")


def cold(stack: Stack) -> Stack:
    """The process has just begun, and knows nothing."""
    stack.ports = replace(stack.ports, own=OwnInstances())
    return stack


# -- events


@pytest.mark.parametrize("news", FOREIGN)
def test_an_event_about_somebody_elses_instance_costs_no_call_and_no_write(news: News) -> None:
    stack = cold(Stack(resting("ab")))
    assert stack.wake(news) == {}
    assert set(stack.calls()) <= {"read"}
    assert stack.telemetry.plans == []


def test_a_hundred_events_a_second_cost_a_process_one_read_in_five_seconds() -> None:
    stack = cold(Stack(resting("ab")))
    for number in range(1000):
        assert stack.wake(InstanceChanged(THEIRS[number % 101], "running")) == {}
        stack.later(0.01)
    assert set(stack.calls()) == {"read"}
    assert stack.calls()["read"] == 2


def test_in_the_seconds_after_a_launch_a_new_id_of_somebody_elses_costs_nothing_either() -> None:
    stack = cold(Stack(away().change("i-a", state=STOPPING)))
    stack.vpc.network = replace(stack.vpc.network, instances=stack.vpc.network.instances[1:])
    stack.wake(Tick())
    stack.faults.journal.clear()
    for each in THEIRS:
        stack.later(0.2)
        assert stack.wake(InstanceChanged(each, "pending")) == {}
    assert set(stack.calls()) == {"read"}


def test_the_own_nats_stop_is_looked_at_at_once_by_a_process_that_knows_it() -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPING))
    assert stack.wake(InstanceChanged("i-a", "stopping"))["a"][0] == "fail-over"
    assert stack.calls()["look"] >= 1
    assert next(name for name, _ in stack.faults.journal) != "read"


def test_a_process_that_has_just_begun_reads_the_ledger_before_it_looks() -> None:
    stack = cold(Stack(resting("ab").change("i-a", state=STOPPING)))
    assert stack.wake(InstanceChanged("i-a", "stopping"))["a"][0] == "fail-over"
    assert next(name for name, _ in stack.faults.journal) == "read"


@pytest.mark.parametrize("is_calm", [True, False])
def test_a_process_that_has_heard_a_report_knows_the_groups_instances(is_calm: bool) -> None:
    stack = cold(Stack(resting("ab")))
    stack.wake(report("ooo", -3, run_id="watch-a") if is_calm else report("oox", -3, run_id="watch-a"))
    assert "i-a" in stack.ports.own.ids


def test_an_instance_that_another_process_launched_is_known_once_the_ledger_has_been_read_again() -> None:
    stack = cold(Stack(resting("ab")))
    stack.wake(InstanceChanged(THEIRS[0], "running"))
    stack.ledger.items["a"].memory = replace(stack.memory(), instances=("i-a", "i-a2"))
    assert stack.wake(InstanceChanged("i-a2", "running")) == {}
    stack.later(FRESH.total_seconds() + 0.1)
    assert stack.wake(InstanceChanged("i-a2", "running")) != {}


def test_a_clock_that_was_set_back_makes_a_process_ask_again() -> None:
    own = OwnInstances()
    own.remember(("i-a",), at(100))
    assert not own.was_told_since(at(-5), at(0))
    assert own.was_told_since(at(95), at(100))
    assert own.may_ask(at(95), at(100))
    assert not own.may_ask(at(96), at(101))
    assert own.may_ask(at(-5), at(0))


def test_where_nobody_has_looked_at_a_group_one_event_in_five_seconds_costs_a_look() -> None:
    """As after an update from a release that did not remember instances; the look makes them known."""
    world = resting("ab").remember(instances=None)
    stack = cold(Stack(world))
    stack.wake(InstanceChanged(THEIRS[0], "running"))
    assert stack.calls()["look"] == 1
    assert stack.memory().instances == ("i-a",)
    stack.later(60)
    stack.faults.journal.clear()
    assert stack.wake(InstanceChanged(THEIRS[1], "running")) == {}
    assert set(stack.calls()) == {"read"}


def test_a_group_without_a_memory_may_have_any_instance() -> None:
    stack = cold(Stack(resting("ab")))
    del stack.ledger.items["b"]
    stack.wake(InstanceChanged(THEIRS[0], "running"))
    assert stack.calls()["look"] == 1


def test_without_a_ledger_the_first_event_is_looked_at_and_makes_the_instances_known() -> None:
    stack = cold(Stack(resting("ab").change("i-a", state=STOPPING)))
    stack.faults.failing = dict.fromkeys(LEDGER, DOWN)
    assert stack.wake(InstanceChanged("i-a", "stopping"))["a"][0] == "last-resort"
    looks = stack.calls()["look"]
    stack.later(60)
    assert stack.wake(InstanceChanged(THEIRS[0], "stopping")) == {}
    assert stack.calls()["look"] == looks
    assert stack.wake(InstanceChanged("i-b", "running")) != {}


def test_without_a_ledger_and_without_a_look_events_cost_one_try_in_five_seconds() -> None:
    stack = cold(Stack(resting("ab")))
    stack.faults.failing = dict.fromkeys((*LEDGER, "look"), DOWN)
    for _ in range(100):
        stack.wake(InstanceChanged(THEIRS[0], "running"))
        stack.later(0.1)
    assert stack.calls()["look"] == 2


# -- notices


def test_a_notice_that_names_a_hundred_others_is_asked_about_for_the_own_instance_only() -> None:
    stack = Stack(resting("ab"))
    stack.vpc.ending = {"i-a": at(300), THEIRS[0]: at(300)}
    assert stack.wake(HealthNotice(RETIREMENT, (*THEIRS, "i-a")))["a"][0] == "leave-doomed"
    assert set(stack.vpc.suspects) == {frozenset({"i-a"})}


@pytest.mark.parametrize("news", [HealthNotice(RETIREMENT, (*THEIRS, "i-a")), SpotInterruption("i-a", "terminate")])
def test_a_failed_status_call_leaves_instances_tables_and_addresses_known(news: News) -> None:
    """It made all of them unknown: a NAT that hung beside such a notice was left for 1,268 s."""
    stack = Stack(resting("ab").change("i-a", state=STOPPING))
    stack.faults.failing["stops"] = DOWN
    assert stack.wake(news)["a"][0] == "fail-over"
    assert stack.route() == "eni-b"
    assert DOWN in [trouble for _, trouble in stack.telemetry.troubles]


def test_a_notice_whose_status_call_failed_is_asked_about_by_the_next_pass_and_names_own_ids_only() -> None:
    stack = Stack(resting("ab"))
    stack.faults.failing["stops"] = DOWN
    stack.wake(HealthNotice(RETIREMENT, (*THEIRS, "i-a")))
    assert stack.ledger.items["a"].inbox == [HealthNotice(RETIREMENT, ("i-a",), asks=1)]
    stack.faults.failing.clear()
    stack.vpc.ending = {"i-a": at(360)}
    stack.later(60)
    assert stack.wake(Tick())["a"][0] == "leave-doomed"
    assert stack.ledger.items["a"].inbox == []


def test_a_notice_is_asked_about_for_half_an_hour_and_then_given_up_and_said() -> None:
    stack = Stack(resting("ab"))
    stack.faults.failing["stops"] = DOWN
    stack.wake(SpotInterruption("i-a", "terminate"))
    for _ in range(MOST_ASKS):
        stack.later(30)
        assert stack.ledger.items["a"].inbox != []
        stack.wake(Tick())
    assert stack.ledger.items["a"].inbox == []
    assert "GivenUp" in [trouble.code for _, trouble in stack.telemetry.troubles]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_notice_left_for_whoever_has_the_lease_names_own_ids_or_few(is_known: bool) -> None:
    stack = Stack(resting("ab"))
    stack.ledger.seize("a")
    stack.ledger.seize("b")
    if not is_known:
        cold(stack)
        stack.faults.failing = {"look": DOWN, "read": DOWN}
    stack.wake(HealthNotice(RETIREMENT, (*THEIRS, "i-a")))
    (kept,) = stack.ledger.items["a"].inbox
    assert isinstance(kept, HealthNotice)
    assert kept.instance_ids == (("i-a",) if is_known else THEIRS[:MOST_NAMED])


def test_an_event_that_nobody_can_place_is_left_as_it_is() -> None:
    stack = cold(Stack(resting("ab")))
    stack.ledger.seize("a")
    stack.faults.failing = {"look": DOWN, "read": DOWN}
    stack.wake(InstanceChanged("i-a", "stopping"))
    assert stack.ledger.items["a"].inbox == [InstanceChanged("i-a", "stopping")]
    assert isinstance(stack.ledger.acquire("a", at(1)), Held)


def test_others_ids_in_an_inbox_of_before_are_neither_asked_about_nor_left_again() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.items["a"].inbox.append(HealthNotice(RETIREMENT, THEIRS))
    stack.wake(Tick())
    assert stack.vpc.suspects == []
    assert [each.inbox for each in stack.ledger.items.values()] == [[], []]


def test_a_hung_nat_is_failed_over_beside_a_notice_of_hundreds() -> None:
    """With its page of others in the inbox, every look failed."""
    stack = Stack(resting("ab"))
    stack.faults.failing["stops"] = DOWN
    stack.prober.hung = {"eni-a"}
    stack.ledger.items["a"].inbox.append(HealthNotice(RETIREMENT, (*THEIRS, "i-a")))
    stack.wake(report("oooxxx", -6, verdict=Verdict.DOWN, run_id="watch-a"))
    assert stack.vpc.network.tables["rtb-a"].routes[DEFAULT_ROUTE].target == "eni-b"


@pytest.mark.parametrize(
    ("news", "found"),
    [
        (Tick(), Tick()),
        (InstanceChanged("i-a", "stopped"), InstanceChanged("i-a", "stopped")),
        (InstanceChanged("i-z", "stopped"), None),
        (HealthNotice("x", ("i-z", "i-a")), HealthNotice("x", ("i-a",))),
        (HealthNotice("x", ("i-z",)), None),
        (HealthNotice("x", ()), None),
    ],
)
def test_what_of_news_concerns_the_stack(news: News, found: News | None) -> None:
    assert concerning(news, {"i-a"}) == found


def test_at_rest_the_own_event_of_a_healthy_nat_changes_nothing() -> None:
    stack = Stack(resting("ab"))
    assert stack.wake(InstanceChanged("i-a", "running"))["a"] == [Reason.AT_REST.value]
    assert stack.route() == "eni-a"
    assert stack.vpc.done == []
