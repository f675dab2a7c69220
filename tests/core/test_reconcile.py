"""The pass, with the world in memory: round trips, records, leases, verification, and what each trouble leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from natkeeper.core.bounds import LEASE
from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE, ControlProbe, InstanceState, Role
from natkeeper.core.news import Command, HealthNotice, InstanceChanged, SpotInterruption, Tick, Verb
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    IncidentClosed,
    IncidentOpened,
    LaunchInstance,
    MoveAddress,
    PointRoute,
    StartInstance,
)
from natkeeper.errors import NoCapacity, Refused, Stale, Trouble, TryAgain
from natkeeper.reconcile import MAX_TURNS
from tests.support.fakes import Stack
from tests.support.worlds import (
    OUT,
    RUNNING,
    STOPPED,
    STOPPING,
    UP,
    World,
    at,
    away,
    changed,
    memory,
    nat,
    proofs,
    report,
    resting,
    routed,
    secs,
    without,
)

STOPS = InstanceChanged("i-a", "stopping")
THROTTLED = TryAgain("ReplaceRoute", "RequestLimitExceeded")


def stopped(zones: str = "ab", **chosen: object) -> Stack:
    """Group a's NAT is stopping."""
    return Stack(resting(zones, **chosen).change("i-a", state=STOPPING))  # type: ignore[arg-type]


# -- round trips


@pytest.mark.parametrize("tables", [1, 3, 20])
def test_two_serial_round_trips_from_the_event_to_the_restored_route(tables: int) -> None:
    stack = stopped(tables=tables)
    stack.faults.latency = secs(0.1)
    stack.wake(STOPS)
    moved = [started for name, started in stack.faults.journal if name == "PointRoute"]
    assert len(moved) == tables
    assert set(moved) == {at(0.1)}
    assert {stack.route(each) for each in stack.policy.group("a").table_ids} == {"eni-b"}


@pytest.mark.parametrize("tables", [1, 20])
def test_three_round_trips_where_the_landing_is_not_bare(tables: int) -> None:
    world = resting("ab", tables=tables).add(nat("b", secondary_public="198.51.100.9")).change("i-a", state=STOPPING)
    stack = Stack(world)
    stack.faults.latency = secs(0.1)
    stack.wake(STOPS)
    assert {started for name, started in stack.faults.journal if name == "PointRoute"} == {at(0.2)}


def test_a_down_report_costs_no_round_trip_more_because_the_control_probe_goes_with_the_first_look() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    stack.faults.latency = secs(0.1)
    stack.wake(report("ooxxx", -5, run_id="watch-a", canary="ooooo"))
    assert stack.calls()["control"] == 1
    assert ("control", at(0)) in stack.faults.journal
    assert ("PointRoute", at(0.1)) in stack.faults.journal
    assert stack.route() == "eni-b"


def test_a_move_is_recorded_beside_it_and_not_before() -> None:
    stack = stopped()
    stack.faults.latency = secs(0.1)
    stack.wake(STOPS)
    assert ("record", at(0.1)) in stack.faults.journal
    assert stack.memory().target == "eni-b"


def test_a_slow_ledger_does_not_hold_a_move_up() -> None:
    stack = stopped()
    stack.faults.failing["record"] = [TryAgain("UpdateItem", "ReadTimeout")]
    stack.wake(STOPS)
    assert stack.route() == "eni-b"
    assert stack.memory().target == "eni-b"


def test_a_launch_is_recorded_before_it_is_made() -> None:
    world = away()
    world.network = without(world.seen, "i-a")
    stack = Stack(world)
    stack.faults.latency = secs(0.1)
    stack.wake(Tick())
    names = [name for name, _ in stack.faults.journal]
    assert names.index("record") < names.index("LaunchInstance")
    assert stack.memory().repair is not None
    assert stack.memory().repair.is_accepted  # type: ignore[union-attr]


def test_a_launch_that_cannot_be_recorded_is_not_made() -> None:
    world = away()
    world.network = without(world.seen, "i-a")
    stack = Stack(world)
    stack.faults.failing["record"] = TryAgain("UpdateItem", "ReadTimeout")
    stack.wake(Tick())
    assert stack.calls()["LaunchInstance"] == 0


@pytest.mark.parametrize(
    ("trouble", "counted", "asked"),
    [
        (NoCapacity("RunInstances", "InsufficientInstanceCapacity"), 0, 2),  # of each type
        (Refused("RunInstances", "UnauthorizedOperation"), 0, 1),
        (Stale("RunInstances", "InvalidLaunchTemplateId.NotFound"), 0, 1),
        (Stale("RunInstances", "IdempotentParameterMismatch"), 1, 1),
        (TryAgain("RunInstances", "ReadTimeoutError"), 1, 1),
    ],
)
def test_only_a_launch_that_aws_says_it_did_not_make_is_not_counted(trouble: Trouble, counted: int, asked: int) -> None:
    world = away()
    world.network = without(world.seen, "i-a")
    stack = Stack(world)
    stack.faults.failing["LaunchInstance"] = trouble
    stack.wake(Tick())
    assert len(stack.memory().launches) == counted
    assert stack.faults.count("LaunchInstance") == asked


@pytest.mark.parametrize("is_throttled", [True, False])
def test_only_a_launch_that_was_throttled_is_not_remembered_as_one_that_may_be_made(is_throttled: bool) -> None:
    world = away()
    world.network = without(world.seen, "i-a")
    stack = Stack(world)
    code = "RequestLimitExceeded" if is_throttled else "ReadTimeoutError"
    stack.faults.failing["LaunchInstance"] = [TryAgain("RunInstances", code)]
    stack.wake(Tick())
    assert stack.memory().repair is not None
    assert stack.memory().repair.is_turned_away is is_throttled
    stack.later(30).wake(Tick())
    (launch,) = (each for each in stack.vpc.done if isinstance(each, LaunchInstance))
    assert (launch.instance_type, launch.has_alternative) == ("t4g.nano", is_throttled)


def test_the_type_after_one_without_capacity_is_asked_for_in_the_same_pass() -> None:
    """And each is recorded before it is asked for, so that a pass that dies leaves behind which."""
    world = away()
    world.network = without(world.seen, "i-a")
    stack = Stack(world)
    stack.faults.failing["LaunchInstance"] = [NoCapacity("RunInstances", "InsufficientInstanceCapacity")]
    assert stack.wake(Tick())["a"] == ["healing", "healing"]
    (launch,) = (each for each in stack.vpc.done if isinstance(each, LaunchInstance))
    assert launch.instance_type == "t4g.micro"
    assert len(stack.memory().launches) == 1


def test_a_standby_that_was_launched_is_remembered_as_such() -> None:
    from natkeeper.core.policy import StandbyMode

    stack = Stack(resting("a", standby=StandbyMode.RUNNING))
    stack.wake(Tick())
    assert next(each for each in stack.vpc.done if isinstance(each, LaunchInstance)).role is Role.STANDBY
    assert stack.memory().standby_repair is not None
    assert stack.memory().standby_repair.is_accepted  # type: ignore[union-attr]


# -- at rest


@pytest.mark.parametrize("zones", ["a", "ab", "abc"])
def test_a_tick_at_rest_writes_nothing_not_even_to_the_ledger(zones: str) -> None:
    stack = Stack(resting(zones))
    assert stack.wake(Tick()) == {each: ["at-rest"] for each in zones}
    assert stack.written() == []
    assert stack.calls() == {"look": 1, "read": 1}
    assert [each.group for each in stack.telemetry.plans] == list(zones)


def test_an_event_about_a_stranger_writes_nothing_to_ec2() -> None:
    stack = Stack(resting("ab"))
    stack.wake(InstanceChanged("i-stranger", "stopped"))
    assert stack.vpc.done == []


def test_every_group_gives_its_lease_back() -> None:
    stack = stopped("abc")
    stack.wake(STOPS)
    assert {name: each.until for name, each in stack.ledger.items.items() if each.until is not None} == {}


def test_one_groups_news_takes_one_groups_lease() -> None:
    stack = Stack(resting("ab"))
    stack.wake(report("ooo", -3, run_id="watch-a", name="a"))
    assert stack.ledger.items["b"].epoch == 0


# -- verification


def test_a_candidate_that_does_not_forward_is_left_for_the_next_in_the_same_wake_up() -> None:
    stack = stopped("abc")
    stack.prober.hung = {"eni-b"}
    reasons = stack.wake(STOPS)
    assert reasons["a"][:3] == ["fail-over", "ask-neighbours", "fail-over"]
    calls = [name for name, _ in stack.faults.journal]
    assert calls.index("control") > calls.index("verify")
    assert stack.route() == "eni-c"
    assert stack.memory().is_excluded("eni-b", stack.clock.now())
    assert stack.prober.verified == ["a", "c", "a"]


def test_a_verified_move_is_recorded_as_verified() -> None:
    stack = stopped()
    stack.wake(STOPS)
    assert stack.memory().proof_of("eni-b") is not None
    assert [each.mode.value for each in stack.telemetry.reports] == ["verify"]


def test_healing_begins_in_the_same_wake_up() -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPED))
    assert stack.wake(STOPS)["a"] == ["fail-over", "healing"]
    assert StartInstance("i-a") in stack.vpc.done


def test_a_verification_that_cannot_be_made_condemns_nobody() -> None:
    stack = stopped()
    stack.faults.failing["verify"] = TryAgain("Invoke", "Unhandled")
    stack.wake(STOPS)
    assert stack.route() == "eni-b"
    assert stack.memory().exclusions == ()
    assert ("a", "Invoke") in [(group, each.operation) for group, each in stack.telemetry.troubles]


def test_a_hundred_bad_candidates_cost_a_bounded_number_of_turns() -> None:
    stack = stopped("abc", gateway="nat-1")
    stack.prober.hung = {"eni-b", "eni-c", "nat-1"}
    stack.faults.latency = secs(0.05)
    reasons = stack.wake(STOPS)
    assert len(reasons["a"]) <= MAX_TURNS
    assert stack.calls()["verify"] <= MAX_TURNS


def test_what_a_control_probe_said_before_a_verification_is_asked_anew_after_it() -> None:
    """Simulation, seed 200122064: the targets failed in between, and two NATs were left one after the other."""
    stack = Stack(resting("abc"))
    stack.prober.hung = {"eni-b"}
    stack.prober.answers = [UP, OUT]
    reasons = stack.wake(report("xxx", -3, run_id="watch-a", name="a", canary="ooo"))
    assert reasons["a"][:2] == ["fail-over", "external"]
    assert stack.route() == "eni-b"


def test_a_turn_is_not_begun_when_the_invocation_is_nearly_over() -> None:
    stack = stopped("abc")
    stack.prober.hung = {"eni-b"}
    stack.clock.left = secs(8.9)
    assert stack.wake(STOPS)["a"] == ["fail-over"]
    assert stack.ledger.items["a"].until is None
    assert stack.memory().target == "eni-b"


def test_what_the_last_verification_said_is_not_lost_when_time_is_up() -> None:
    """The next wake-up must know that b failed: otherwise it waits for another three rounds."""
    stack = stopped("abc")
    stack.prober.hung = {"eni-b"}
    stack.clock.left, stack.faults.latency = secs(15), secs(1.2)
    assert stack.wake(STOPS)["a"] == ["fail-over"]
    assert stack.prober.verified == ["a"]
    stack.clock.left, stack.faults.latency = secs(20), secs(0)
    stack.later(4)
    stack.wake(report("x", 3))
    assert stack.route() == "eni-c"


def test_a_move_near_the_end_of_a_pass_is_verified_by_the_watch_run_that_was_started_beside_it() -> None:
    """Simulation, seed 60008205: a verification was waited for until Lambda's time-out, which keeps the lease."""
    stack = stopped("abc")
    stack.clock.left = secs(10.9)
    stack.wake(STOPS)
    assert stack.route() == "eni-b"
    assert stack.prober.verified == []
    assert stack.memory().watch is not None
    assert stack.ledger.items["a"].until is None
    assert [each.code for _, each in stack.telemetry.troubles] == ["OutOfTime"]


@pytest.mark.parametrize("left", [7.9, 8.0])
def test_no_look_is_begun_that_might_outlast_the_pass(left: float) -> None:
    stack = stopped("abc")
    stack.clock.left = secs(left)
    stack.wake(STOPS)
    assert (stack.route() == "eni-b") == (left == 8.0)
    assert stack.ledger.items["a"].until is None


def test_no_call_to_ec2_is_begun_that_might_outlast_the_pass() -> None:
    """Simulation, seed 60007559: each answer took three seconds."""
    stack = stopped("abc")
    stack.clock.left = secs(10.9)
    stack.faults.latency = secs(3)
    stack.wake(STOPS)
    assert stack.calls()["look"] == 1
    assert stack.vpc.done == []


def test_no_control_probe_is_begun_that_might_outlast_the_pass() -> None:
    stack = Stack(resting("ab"))
    stack.clock.left = secs(7.9)
    stack.wake(report("xxx", -3, run_id="watch-a", name="a"))
    assert stack.calls()["control"] == 0


def test_news_that_comes_with_the_last_write_keeps_no_lease_and_breaks_no_chain() -> None:
    """Found by the simulation of 500 stacks: the lease stayed for 25 s, and nobody looked before the next tick."""
    stack = stopped("abc")
    stack.clock.left = secs(8.2)
    last = report("xxx", 1, run_id="watch-a")
    stack.ledger.during_record = [lambda: None, lambda: stack.ledger.items["a"].inbox.append(last)]
    stack.wake(STOPS)
    assert stack.ledger.items["a"].until is None
    assert "watch-a" in stack.memory().seen_runs
    assert [each.group for each in stack.prober.started].count("a") == 1


def test_it_waits_a_moment_for_ec2_to_show_what_an_event_said_and_not_longer() -> None:
    stack = Stack(resting("ab"))
    stack.vpc.before_look = [lambda: None, lambda: stop(stack)]
    assert stack.wake(STOPS)["a"][:2] == ["look-again", "fail-over"]
    assert stack.clock.slept[0] == secs(0.5)
    assert max(stack.clock.slept) <= secs(1)


def stop(stack: Stack) -> None:
    stack.vpc.network = changed(stack.vpc.network, "i-a", state=STOPPING)


def test_one_groups_wait_does_not_hold_anothers_judgement_up() -> None:
    """b's read-back waits half a second; a's verification is to be judged at once."""
    stack = Stack(resting("ab").change("i-a", state=STOPPING))
    stack.wake(STOPS, InstanceChanged("i-b", "stopping"))
    assert stack.route() == "eni-b"
    assert stack.memory().proof_of("eni-b") is not None


def test_a_planned_move_pauses_between_routes_and_address() -> None:
    stack = Stack(resting("ab"))
    stack.wake(Command(Verb.SWITCHOVER, "a", to="b"))
    assert [type(each) for each in stack.vpc.done] == [PointRoute, MoveAddress]
    assert stack.policy.teaching_pause in stack.clock.slept


@pytest.mark.parametrize(("call", "pause"), [(0.05, 0.07), (0.1, 0.03), (2.0, 0.03)])
def test_the_time_that_the_addresss_own_call_takes_counts_as_pause(call: float, pause: float) -> None:
    """As long as the routes' call took; a quarter of the pause is kept, for the address's may be quicker."""
    stack = Stack(resting("ab"))
    stack.faults.latency = secs(call)
    stack.wake(Command(Verb.SWITCHOVER, "a", to="b"))
    assert [type(each) for each in stack.vpc.done] == [PointRoute, MoveAddress]
    assert stack.clock.slept[0] == secs(pause)


# -- every table, whatever happens to one


def test_every_table_is_attempted_though_one_fails() -> None:
    """Peer mistake 1."""
    stack = stopped(tables=3)
    stack.vpc.refusing = lambda action: THROTTLED if getattr(action, "table_id", "") == "rtb-a" else None
    stack.wake(STOPS)
    assert (stack.route("rtb-a2"), stack.route("rtb-a3")) == ("eni-b", "eni-b")


def test_a_table_that_failed_is_made_up_for_in_the_same_wake_up() -> None:
    stack = stopped(tables=3)
    stack.faults.failing["PointRoute"] = [THROTTLED]
    stack.wake(STOPS)
    assert {stack.route(each) for each in stack.policy.group("a").table_ids} == {"eni-b"}


def test_a_move_of_which_every_call_failed_is_made_up_for_in_the_same_wake_up() -> None:
    stack = stopped()
    stack.faults.failing = {"PointRoute": [THROTTLED], "MoveAddress": [THROTTLED]}
    assert stack.wake(STOPS)["a"][0] == "fail-over"
    assert stack.route() == "eni-b"
    assert stack.memory().proof_of("eni-b") is not None


def test_a_throttled_move_insists_without_another_look_and_condemns_nobody() -> None:
    stack = stopped()
    stack.faults.failing = {"PointRoute": [THROTTLED] * 40}
    stack.wake(STOPS)
    calls = [name for name, _ in stack.faults.journal]
    assert calls[: calls.index("PointRoute") + 5].count("look") == 1
    assert calls.count("PointRoute") >= 5
    assert stack.prober.verified == []
    assert not stack.memory().is_excluded("eni-b", stack.clock.now())
    assert stack.memory().is_unfinished


def test_a_move_whose_call_was_too_late_is_unfinished_too() -> None:
    """Scale: throttled, and then not sent again because the pass was nearly over; the group yielded, and one table
    stayed on the dead path until a tick."""
    stack = stopped(tables=2)
    stack.faults.failing = {"PointRoute": Stale("Attempt", "TooLate")}
    stack.faults.failing["look"] = [None, THROTTLED, THROTTLED, THROTTLED, THROTTLED, THROTTLED]
    stack.wake(STOPS)
    assert stack.memory().is_unfinished


def test_a_good_report_at_rest_needs_no_look() -> None:
    stack = Stack(resting("ab"))
    reasons = stack.wake(report("ooo", -3, canary="ooo", run_id="watch-a", name="a"))
    assert reasons == {"a": ["at-rest"]}
    assert "look" not in [name for name, _ in stack.faults.journal]


@pytest.mark.parametrize("bad", [{"outcomes": "oox"}, {"canary": "xxx"}])
def test_a_report_that_is_not_all_good_is_looked_into(bad: dict[str, str]) -> None:
    stack = Stack(resting("ab"))
    given = {"outcomes": "ooo", "canary": "ooo", **bad}
    stack.wake(report(given["outcomes"], -3, canary=given["canary"], run_id="watch-a", name="a"))
    assert "look" in [name for name, _ in stack.faults.journal]


def test_a_good_report_that_wants_a_look_takes_its_lease_once() -> None:
    stack = Stack(away("ab"))
    stack.wake(report("ooo", -3, canary="ooo", run_id="watch-a", name="a"))
    assert "look" in stack.calls()
    assert stack.calls()["acquire"] == 2  # one for each group
    assert "watch-a" in stack.memory().seen_runs


def test_a_good_report_without_a_ledger_waits_for_it_once() -> None:
    """A try of it takes up to two seconds."""
    stack = Stack(resting("ab"))
    stack.faults.failing["acquire"] = TryAgain("UpdateItem", "ReadTimeout")
    stack.wake(report("ooo", -3, canary="ooo", run_id="watch-a", name="a"))
    assert stack.calls()["acquire"] == 1


def test_news_that_nobody_has_heard_are_heard_by_the_next_tick() -> None:
    """Simulation, seed 41017798: whoever had the lease was gone, and at rest a tick takes none."""
    stack = Stack(resting("ab"))
    stack.ledger.items["a"].inbox.append(report("ooo", -3, canary="ooo", run_id="watch-a", name="a"))
    stack.wake(Tick())
    assert "watch-a" in stack.memory().seen_runs
    assert stack.ledger.items["a"].inbox == []
    assert stack.ledger.items["b"].epoch == 0


def test_a_good_report_of_a_group_that_another_pass_has_is_left_to_it() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.seize("a")
    assert stack.wake(report("ooo", -3, canary="ooo", run_id="watch-a", name="a"))["a"] == ["held-by-another-pass"]
    assert stack.calls()["leave"] == 1


def test_what_is_not_urgent_yields_while_the_account_is_throttled() -> None:
    world = away("ab").change("i-a", state=InstanceState.RUNNING)
    assert world.decide().actions != ()
    world.memories["a"] = replace(world.memories["a"], throttled_at=at(-60))
    assert [each for each in world.decide().actions if isinstance(each, PointRoute)] == []
    world.memories["a"] = replace(world.memories["a"], throttled_at=at(-600))
    assert [each for each in world.decide().actions if isinstance(each, PointRoute)] != []


@pytest.mark.parametrize(
    "name", ["PointRoute", "MoveAddress", "record", "release", "acquire", "note", "verify", "StartWatch"]
)
def test_an_answer_that_is_lost_after_the_call_was_applied_ends_in_the_same_state(name: str) -> None:
    """Invariant 4."""
    stack = stopped()
    stack.faults.lost = {name}
    stack.wake(STOPS)
    for _ in range(3):
        stack.later(60)
        stack.wake(report("ooo", (stack.clock.now() - at(0)).total_seconds() - 4, canary="ooo"))
        stack.wake(Tick())
    assert stack.route() == "eni-b"
    assert stack.memory().target == "eni-b"
    assert len([each for each in stack.ledger.notes if each[0] == "opened"]) == 1


class Killed(Exception):
    """The Lambda is gone in the middle of a call."""


@pytest.mark.parametrize("is_applied", [False, True])
def test_a_controller_killed_at_any_call_leaves_what_the_next_one_repairs(is_applied: bool) -> None:
    """Invariant 4: every prefix of a failover, then a fresh controller; the lease of the dead one runs out."""
    whole = stopped(tables=2)
    whole.wake(STOPS)
    for cut in range(len(whole.faults.journal)):
        stack = stopped(tables=2)
        kill(stack, cut, is_applied)
        with pytest.raises(Killed):
            stack.wake(STOPS)
        kill(stack, 10**6, is_applied)
        stack.ledger.holder = "the next one"
        for _ in range(3):
            stack.later(30)
            stack.wake(
                report("oo" if stack.prober.forwards("a") else "xxx", (stack.clock.now() - at(0)).total_seconds() - 3)
            )
        assert {stack.route("rtb-a"), stack.route("rtb-a2")} == {"eni-b"}, cut
        assert stack.vpc.network.addresses["eip-a"].interface_id == "eni-b", cut
        assert len(stack.memory().failovers) <= 2


def kill(stack: Stack, after: int, is_applied: bool) -> None:
    calls = iter(range(10**9))
    honest = type(stack.faults).call

    def call(name: str, effect: Callable[[], object]) -> object:
        if next(calls) == after:
            if is_applied:
                honest(stack.faults, name, effect)
            raise Killed
        return honest(stack.faults, name, effect)

    stack.faults.call = call  # type: ignore[method-assign]


# -- leases and inboxes


def test_a_pass_without_the_lease_leaves_its_news_and_touches_nothing() -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPING))
    stack.ledger.seize("a")
    assert stack.wake(STOPS)["a"] == ["held-by-another-pass"]
    assert stack.vpc.done == []
    assert stack.ledger.items["a"].inbox == [STOPS]


def test_a_tick_leaves_no_news() -> None:
    stack = Stack(resting("ab").remember(watch=None))
    stack.ledger.seize("a")
    stack.wake(Tick())
    assert stack.ledger.items["a"].inbox == []


def test_the_holder_picks_up_what_was_left_before_it_came() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    stack.ledger.items["a"].inbox.append(report("ooxxx", -5))
    stack.wake(report("oo", -9, run_id="watch-a"))
    assert stack.route() == "eni-b"
    assert stack.ledger.items["a"].inbox == []


def test_the_holder_picks_up_what_is_left_while_it_works() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    down = report("ooxxx", -5, run_id="the-other")
    stack.ledger.during_record = [lambda: stack.ledger.items["a"].inbox.append(down)]
    stack.wake(report("oo", -9, run_id="watch-a"))
    assert stack.route() == "eni-b"
    assert stack.ledger.items["a"].inbox == []
    assert stack.ledger.items["a"].until is None


def test_a_lease_lost_beside_a_move_stops_the_pass() -> None:
    stack = stopped("abc")
    stack.prober.hung = {"eni-b"}
    stack.ledger.during_record = [lambda: stack.ledger.seize("a")]
    stack.wake(STOPS)
    moves = [each for each in stack.vpc.done if isinstance(each, PointRoute) and each.destination == DEFAULT_ROUTE]
    assert [each.target for each in moves] in ([], ["eni-b"])
    assert stack.prober.verified == []


def test_a_lease_lost_before_a_recorded_move_means_no_move_at_all() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.during_record = [lambda: stack.ledger.seize("a")]
    stack.wake(Command(Verb.SWITCHOVER, "a", to="b"))
    assert stack.vpc.done == []
    assert stack.memory().target == "eni-a"
    assert stack.prober.verified == []


def test_a_recorded_move_whose_record_was_throttled_is_decided_anew_and_not_done_in_another_order() -> None:
    """Nothing was moved, so the record must not say so: the next turn would call it drift and move without a pause."""
    stack = Stack(resting("ab"))
    stack.faults.failing["record"] = [TryAgain("UpdateItem", "ThrottlingException")]
    stack.wake(Command(Verb.SWITCHOVER, "a", to="b"))
    assert [type(each) for each in stack.vpc.done][:2] == [PointRoute, MoveAddress]
    assert stack.policy.teaching_pause in stack.clock.slept


def test_nothing_is_written_once_the_lease_is_over() -> None:
    """Invariant 2: a frozen Lambda that wakes up late finds its lease gone by its own clock."""
    stack = stopped()
    frozen = LEASE + secs(1)
    stack.vpc.before_look = [lambda: stack.clock.sleep(frozen)]
    stack.clock.left = timedelta(minutes=5)
    stack.wake(STOPS)
    assert stack.vpc.done == []
    assert {each.code for each in stack.telemetry.failed} == {"Expired"}


def proving() -> Stack:
    """Away on b, and the own NAT runs again: its canary is to be pointed, which takes 2 s."""
    stack = Stack(away().change("i-a", state=RUNNING))
    stack.faults.latency = secs(2)
    return stack


def test_a_canary_counts_from_the_answer_of_its_calls() -> None:
    """What left before went the old way (simulation, seed 1002118)."""
    stack = proving()
    stack.wake(Tick())
    pointed = [began for name, began in stack.faults.journal if name == "PointRoute"]
    canary = stack.memory().canary
    assert canary is not None
    assert canary.pointed_at >= max(pointed) + secs(2)


def test_a_canary_whose_call_was_not_answered_is_looked_for_first() -> None:
    stack = proving()
    stack.faults.lost = {"PointRoute"}
    stack.wake(Tick())
    assert stack.memory().canary is None
    stack.later(30)
    stack.wake(Tick())
    canary = stack.memory().canary
    assert canary is not None
    assert canary.pointed_at >= at(30)


def test_news_left_a_moment_after_the_holder_finished_are_not_stranded() -> None:
    """The holder gives its lease back between our asking for it and our leaving the news."""
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    stack.ledger.seize("a")
    honest = stack.ledger.leave

    def leave(group: str, news: object) -> None:
        stack.ledger.items[group].until = None
        honest(group, news)  # type: ignore[arg-type]

    stack.ledger.leave = leave  # type: ignore[method-assign]
    stack.wake(report("ooxxx", -5, run_id="watch-a"))
    stack.later(20)
    stack.wake(Tick())
    assert stack.route() == "eni-b"


def test_a_lease_that_ran_out_is_free_for_the_next_pass() -> None:
    stack = stopped()
    stack.ledger.seize("a")
    stack.later(26)
    stack.wake(STOPS)
    assert stack.route() == "eni-b"


def test_a_group_whose_lease_is_held_does_not_hold_the_others() -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPING).change("i-b", state=STOPPING))
    stack.ledger.seize("a")
    world = stack.wake(STOPS)
    assert world["a"] == ["held-by-another-pass"]
    assert world["b"] != ["held-by-another-pass"]


# -- trouble


def test_without_a_ledger_a_failover_still_happens_and_nothing_else() -> None:
    stack = stopped()
    down = TryAgain("UpdateItem", "ProvisionedThroughputExceeded")
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = down
    stack.wake(STOPS)
    assert stack.route() == "eni-b"
    assert {type(each) for each in stack.vpc.done} <= {PointRoute, MoveAddress}
    assert stack.prober.started == []
    assert any(each.code == "ProvisionedThroughputExceeded" for _, each in stack.telemetry.troubles)


def test_without_a_ledger_a_throttled_failover_is_made_up_for() -> None:
    stack = stopped()
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    stack.faults.failing["PointRoute"] = [THROTTLED]
    stack.wake(STOPS)
    stack.later(10)
    stack.wake(STOPS)
    assert stack.route() == "eni-b"


def test_without_a_ledger_a_stack_at_rest_is_left_alone_and_ticks_start_the_runs() -> None:
    """Not reports: one that Lambda delivers twice would start two runs, whose reports start four: a bomb."""
    stack = Stack(resting("abc"))
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    stack.wake(report("ooo", -4, run_id="watch-a"))
    assert stack.prober.started == []
    stack.wake(Tick())
    assert stack.vpc.done == []
    assert sorted(each.group for each in stack.prober.started) == ["a", "b", "c"]


def test_without_a_ledger_a_throttled_failover_is_made_up_for_in_the_same_wake_up() -> None:
    stack = stopped()
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    stack.faults.failing["PointRoute"] = [THROTTLED]
    stack.wake(STOPS)
    assert stack.route() == "eni-b"


def test_without_a_ledger_nothing_is_launched_whatever_else_is_done() -> None:
    """Two passes without one would launch two."""
    stack = Stack(resting("ab").change("i-a", state=InstanceState.SHUTTING_DOWN))
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    stack.faults.failing["MoveAddress"] = [TryAgain("AssociateAddress", "InternalError")]
    stack.wake(InstanceChanged("i-a", "terminated"))
    assert stack.route() == "eni-b"
    assert stack.calls()["LaunchInstance"] == 0


def test_without_a_ledger_a_move_is_put_right_and_nothing_launched_beside_it() -> None:
    """Found by the simulation (seed 1003410): a move whose calls an old look did not show yet was made again, and the
    own NAT launched beside it, which nobody counted; the next pass, with a ledger, launched another."""
    world = resting("ab")
    world.network = without(world.seen, "i-a")
    world.route("rtb-a", "eni-a", is_blackhole=True)
    stack = Stack(world)
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    stack.faults.failing["PointRoute"] = [TryAgain("ReplaceRoute", "ReadTimeout")]
    reasons = stack.wake(STOPS)
    assert reasons["a"][:2] == ["last-resort", "converge"]
    assert stack.route() == "eni-b"
    assert {type(each) for each in stack.vpc.done} <= {PointRoute, MoveAddress}


def deaf(*hung: str) -> Stack:
    """Without a ledger."""
    stack = Stack(resting("abc"))
    stack.prober.hung = set(hung)
    for name in ("read", "acquire", "record", "release", "note", "leave"):
        stack.faults.failing[name] = TryAgain("UpdateItem", "InternalServerError")
    return stack


def test_without_a_ledger_a_hung_nat_is_left_once_packets_were_asked_again() -> None:
    """The report may speak of another path: nobody remembers (simulation, seed 750001007: it was left alone)."""
    stack = deaf("eni-a")
    assert stack.wake(report("ooxxx", -5, run_id="watch-a"))["a"][0] == "unobserved"
    assert stack.route() in ("eni-b", "eni-c")
    assert {type(each) for each in stack.vpc.done} <= {PointRoute, MoveAddress}


def test_without_a_ledger_a_report_told_twice_moves_traffic_once() -> None:
    stack = deaf("eni-a")
    told = report("ooxxx", -5, run_id="watch-a")
    stack.wake(told)
    route, done = stack.route(), len(stack.vpc.done)
    stack.later(1).wake(told)
    assert (stack.route(), len(stack.vpc.done)) == (route, done)


def test_without_a_ledger_a_source_dest_check_is_turned_off_and_then_packets_are_asked() -> None:
    """It is due before a failover: the group was dark until the ledger answered (simulation, seed 810126881)."""
    stack = deaf("eni-a")
    stack.vpc.network = changed(stack.vpc.network, "i-a", checked=True)
    assert stack.wake(report("ooxxx", -5, run_id="watch-a"))["a"][0] == "healing"
    assert stack.vpc.done[0] == DisableSourceDestCheck("eni-a")
    assert stack.route() in ("eni-b", "eni-c")


def test_without_a_ledger_only_the_group_whose_probes_failed_is_asked_about() -> None:
    stack = deaf()
    assert stack.wake(report("ooxxx", -5, name="b"))["a"] == ["unobserved"]
    assert stack.calls()["verify"] == 1
    stack.later(1).wake(report("ooo", -3))
    assert stack.calls()["verify"] == 1


def test_what_is_remembered_is_not_asked_for_again() -> None:
    """A report that is late says nothing of now, and the run in flight will."""
    stack = Stack(resting("abc").remember(proofs=()))
    assert stack.wake(report("ooxxx", -60))["a"] == ["unobserved"]
    assert stack.calls()["verify"] == 0


def test_an_unreadable_ledger_makes_neighbours_unverified_and_not_absent() -> None:
    stack = Stack(resting("abc").change("i-a", state=STOPPING).remember(proofs=()))
    stack.faults.failing["read"] = TryAgain("Query", "InternalServerError")
    stack.wake(STOPS)
    assert stack.route() in ("eni-b", "eni-c")


@pytest.mark.parametrize("kind", [TryAgain, NoCapacity, Stale, Refused])
def test_a_failing_look_means_zero_writes_to_ec2(kind: type[Trouble]) -> None:
    """Invariant 10 and peer mistake 5."""
    stack = stopped()
    stack.faults.failing["look"] = kind("DescribeInstances", "UnauthorizedOperation")
    reasons = stack.wake(STOPS)
    assert reasons["a"] == ["cannot-look"]
    assert stack.vpc.done == []
    assert ("DescribeInstances", None) in [(each.operation, group) for group, each in stack.telemetry.troubles]


def test_a_look_that_fails_in_the_second_turn_stops_there() -> None:
    stack = stopped("abc")
    stack.prober.hung = {"eni-b"}
    stack.faults.failing["look"] = [None, TryAgain("DescribeRouteTables", "ServiceUnavailable")]
    assert stack.wake(STOPS)["a"] == ["fail-over", "cannot-look"]
    assert stack.route() == "eni-b"
    assert stack.memory().is_down


@pytest.mark.parametrize("kind", [TryAgain, NoCapacity, Stale, Refused])
@pytest.mark.parametrize(
    "name", ["PointRoute", "MoveAddress", "StartInstance", "StartWatch", "LaunchInstance", "DisableSourceDestCheck"]
)
def test_each_trouble_of_each_action_is_told_and_survived(name: str, kind: type[Trouble]) -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    if name == "LaunchInstance":
        world = away()
        world.network = without(world.seen, "i-a")
    if name == "DisableSourceDestCheck":
        world = resting("ab").change("i-a", checked=True)
    stack = Stack(world.remember(watch=None))
    trouble = kind(name, "SomeCode", "in words")
    stack.faults.failing[name] = trouble
    stack.wake(Tick())
    assert trouble in stack.telemetry.failed
    assert stack.ledger.items["a"].until is None
    if name == "StartWatch":
        assert stack.memory().watch is None
    if name == "LaunchInstance":
        assert stack.memory().repair is not None
        assert not stack.memory().repair.is_accepted  # type: ignore[union-attr]
    stack.faults.failing.clear()
    stack.later(61)
    stack.wake(report("oo" if stack.prober.forwards("a") else "xxx", 58))
    assert stack.prober.forwards("a")


def test_an_error_that_nobody_knows_is_not_swallowed() -> None:
    """It goes to Lambda's retry and the dead-letter queue."""
    stack = stopped()

    def refuse(action: object) -> Trouble:
        raise ZeroDivisionError(action)

    stack.vpc.refusing = refuse
    with pytest.raises(ZeroDivisionError):
        stack.wake(STOPS)


def test_a_message_that_cannot_be_noted_does_not_stop_the_failover() -> None:
    stack = stopped()
    stack.faults.failing["note"] = TryAgain("PutItem", "ReadTimeout")
    stack.wake(STOPS)
    assert stack.route() == "eni-b"


def test_a_control_probe_that_fails_is_asked_again_and_nothing_moves_without_it() -> None:
    stack = Stack(resting("ab"))
    stack.prober.hung = {"eni-a"}
    stack.faults.failing["control"] = TryAgain("ControlProbe", "NoNames")
    reasons = stack.wake(report("ooxxx", -5, run_id="watch-a"))
    assert set(reasons["a"]) == {"needs-control-probe"}
    assert stack.vpc.done == []
    stack.faults.failing.clear()
    stack.later(30)
    stack.wake(Tick())
    assert stack.vpc.done == [], "what the prober said half a minute ago may be over"
    stack.wake(report("xxx", 27, run_id="watch-later"))
    assert stack.route() == "eni-b"


def test_a_control_probe_is_asked_once_for_all_groups_that_want_it() -> None:
    world = resting("abc").remember("a", is_down=True).remember("b", is_down=True)
    stack = Stack(world)
    stack.prober.outside = ControlProbe(False, "all time out")
    reasons = stack.wake(Tick())
    assert stack.calls()["control"] == 1
    assert reasons["a"][-1] == reasons["b"][-1] == "external"


# -- what people see


def test_reports_and_plans_and_outcomes_are_told() -> None:
    stack = stopped()
    stack.wake(STOPS)
    assert next(each.reason.value for each in stack.telemetry.plans if each.group == "a") == "fail-over"
    assert all(each.took >= timedelta(0) for _, each in stack.telemetry.outcomes)
    assert stack.ledger.notes[0][0] == "opened"


def test_an_incident_is_opened_and_closed_once_in_the_ledger() -> None:
    stack = stopped()
    stack.wake(STOPS)
    stack.later(5)
    stack.wake(report("ooxooo", -1, run_id="watch-a"))
    stack.later(30)
    stack.wake(Tick())
    assert [each for each, _ in stack.ledger.notes] == ["opened", "closed"]
    kinds = [type(each) for _, each in stack.telemetry.happenings]
    assert kinds.count(IncidentOpened) == kinds.count(IncidentClosed) == 1


@pytest.mark.parametrize("tries", [1, 2])
def test_an_opening_is_only_noted_once_the_memory_has_it(tries: int) -> None:
    """Simulation, seed 6019134: the record beside the move was throttled, the note came through, and the pass died."""
    stack = stopped()
    stack.faults.failing["record"] = [TryAgain("UpdateItem", "ThrottlingException")] * tries
    stack.faults.failing["verify"] = cast(Trouble, Killed())
    with pytest.raises(Killed):
        stack.wake(STOPS)
    is_remembered = stack.memory().incident is not None
    assert is_remembered is (tries == 1)
    assert [each for each, _ in stack.ledger.notes] == (["opened"] if is_remembered else [])
    assert IncidentOpened in [type(each) for _, each in stack.telemetry.happenings]


@pytest.mark.parametrize("is_applied", [False, True])
def test_an_incident_stays_open_until_the_ledger_takes_its_closing(is_applied: bool) -> None:
    """Simulation, seed 6021618: the closing's note was throttled, and the memory forgot the incident all the same."""
    stack = stopped()
    stack.wake(STOPS)
    stack.later(5)
    if is_applied:
        stack.faults.lost = {"note"}
    else:
        stack.faults.failing["note"] = [TryAgain("PutItem", "ThrottlingException")]
    stack.wake(report("ooxooo", -1, run_id="watch-a"))
    assert stack.memory().incident is not None
    stack.later(30)
    stack.wake(Tick())
    assert stack.memory().incident is None
    assert [each for each, _ in stack.ledger.notes] == ["opened", "closed"]
    kinds = [type(each) for _, each in stack.telemetry.happenings]
    assert kinds.count(IncidentOpened) == kinds.count(IncidentClosed) == 1


def test_an_incident_is_not_forgotten_by_a_move_beside_which_it_closes_and_whose_pass_dies() -> None:
    """Simulation, seed 300106992: the memory was written beside a route's mending, and the note was never made."""
    stack = stopped()
    stack.wake(STOPS)
    stack.later(5)
    stack.vpc.network = routed(stack.vpc.network, "rtb-a", "eni-foreign")
    stack.faults.failing["note"] = cast(Trouble, Killed())
    with pytest.raises(Killed):
        stack.wake(report("ooxooo", -1, run_id="watch-a"))
    assert stack.route() == "eni-b"
    assert stack.memory().incident is not None
    stack.faults.failing.clear()
    stack.later(30)
    stack.wake(Tick())
    assert [each for each, _ in stack.ledger.notes] == ["opened", "closed"]
    assert stack.memory().incident is None


def test_an_incident_whose_closing_is_refused_for_good_is_not_kept_for_ever() -> None:
    stack = stopped()
    stack.wake(STOPS)
    stack.later(5)
    stack.faults.failing["note"] = Refused("PutItem", "AccessDeniedException")
    stack.wake(report("ooxooo", -1, run_id="watch-a"))
    assert stack.memory().incident is None
    assert IncidentClosed in [type(each) for _, each in stack.telemetry.happenings]


def test_an_incident_that_ends_with_the_plan_that_opens_it_is_noted_once() -> None:
    """Small worlds: a pass that died between two notes left one open that nobody remembered."""
    stack = Stack(resting("ab"))
    stack.wake(report("ooxooo", -5, canary="oooooo", run_id="watch-a"))
    assert [kind for kind, _ in stack.ledger.notes] == ["closed"]
    assert [type(each) for _, each in stack.telemetry.happenings] == [IncidentOpened, IncidentClosed]
    assert stack.calls()["record"] == 0


def test_a_notice_is_confirmed_with_ec2_before_it_is_believed() -> None:
    stack = Stack(resting("ab"))
    stack.wake(HealthNotice("AWS_EC2_INSTANCE_STOP_SCHEDULED", ("i-a", "i-z")))
    stack.wake(SpotInterruption("i-a", "terminate"))
    assert set(stack.vpc.suspects) == {frozenset({"i-a"})}  # of somebody else's i-z EC2 is not asked
    assert stack.vpc.done == []
    assert stack.route() == "eni-a"


WARNING = SpotInterruption("i-a", "terminate")
DOWN = TryAgain("DescribeInstances", "InternalError")


def test_a_notice_that_could_not_be_asked_about_is_asked_about_by_the_next_tick() -> None:
    """Simulation, seed 30000218: AWS gives each only once."""
    stack = Stack(resting("ab"))
    stack.faults.failing["look"] = DOWN
    stack.wake(WARNING)
    stack.later(30)
    stack.wake(Tick())
    stack.faults.failing.clear()
    stack.vpc.suspects.clear()
    stack.later(30)
    stack.wake(Tick())
    assert stack.vpc.suspects == [frozenset({"i-a"})]
    assert [each.inbox for each in stack.ledger.items.values()] == [[], []]
    stack.later(30)
    stack.wake(Tick())
    assert len(stack.vpc.suspects) == 1


def test_a_notice_that_waits_in_an_inbox_is_asked_about_before_it_is_heard() -> None:
    """By a pass that something else woke, and by one that has the lease already."""
    stack = Stack(resting("ab"))
    stack.ledger.items["a"].inbox.append(WARNING)
    stack.wake(report("oox", -3, run_id="watch-a", name="a"))
    assert stack.vpc.suspects == [frozenset({"i-a"})]
    stack = Stack(resting("ab"))
    stack.ledger.during_record = [lambda: stack.ledger.items["a"].inbox.append(WARNING)]
    stack.wake(report("oox", -3, run_id="watch-a", name="a"))
    assert frozenset({"i-a"}) in stack.vpc.suspects


def test_a_notice_that_a_second_look_confirms_in_the_same_pass_is_not_handed_on() -> None:
    stack = Stack(resting("ab"))
    stack.faults.failing["look"] = [DOWN]
    stack.ledger.during_record = [lambda: stack.ledger.items["a"].inbox.append(Tick())]
    stack.wake(WARNING)
    assert stack.vpc.suspects[-1] == frozenset({"i-a"})
    assert stack.ledger.items["a"].inbox == []


def test_without_a_ledger_a_notice_that_could_not_be_asked_about_is_lost_and_breaks_nothing() -> None:
    stack = Stack(resting("ab"))
    stack.faults.failing = dict.fromkeys(("look", "read", "acquire", "record", "release", "note", "leave"), DOWN)
    assert stack.wake(WARNING)["a"] == ["cannot-look"]


def test_one_groups_trouble_never_delays_anothers() -> None:
    stack = Stack(resting("abc").change("i-a", state=STOPPING).change("i-b", state=STOPPING))
    stack.vpc.refusing = lambda action: THROTTLED if getattr(action, "table_id", "") == "rtb-a" else None
    stack.wake(STOPS)
    assert stack.route("rtb-b") == "eni-c"


def test_a_paused_group_is_watched_and_not_touched() -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPING).remember(paused_until=at(600)))
    assert stack.wake(STOPS)["a"] == ["paused"]
    assert stack.vpc.done == []


def test_a_failed_way_home_is_finished_at_the_next_tick() -> None:
    from natkeeper.core.incident import Canary, Repair

    world: World = away(tables=2).change("i-a", state=nat("a").state, public=None)
    world.route("rtb-a", "eni-a", "1.0.0.1/32").route("rtb-a2", "eni-a", "1.0.0.1/32")
    world.remember(
        proofs=(*proofs("eni-b"), *proofs("eni-a")),
        canary=Canary("eni-a", at(-500)),
        repair=Repair("r", 1, at(-520)),
        withdrawn_at=at(-1),
    )
    stack = Stack(world)
    stack.vpc.refusing = lambda action: THROTTLED if getattr(action, "table_id", "") == "rtb-a2" else None
    stack.wake(Tick())
    assert stack.route("rtb-a") == "eni-a"
    assert stack.route("rtb-a2") == "eni-b"
    stack.vpc.refusing = lambda _: None
    stack.later(60)
    stack.wake(Tick())
    assert stack.route("rtb-a2") == "eni-a"


def test_a_look_that_is_a_step_behind_repeats_a_move_and_never_undoes_it() -> None:
    """Invariant 3 and eventual consistency: what describe shows after a write can be old."""
    stack = stopped()
    before = stack.vpc.network
    stack.vpc.stale = [before, before]
    stack.wake(STOPS)
    assert stack.route() == "eni-b"
    targets = [
        each.target for each in stack.vpc.done if isinstance(each, PointRoute) and each.destination == DEFAULT_ROUTE
    ]
    assert set(targets) == {"eni-b"}


def test_a_memory_that_was_lost_altogether_does_not_move_a_living_group() -> None:
    world = resting("ab")
    world.memories = {}
    stack = Stack(world)
    stack.wake(Tick())
    assert stack.vpc.done == []
    assert stack.memory() != Memory()
    assert stack.memory().target == memory().target


def test_a_route_that_a_person_deleted_is_back_after_one_wake_up() -> None:
    stack = Stack(resting("ab"))
    stack.vpc.network = routed(stack.vpc.network, "rtb-a", None)
    stack.wake(report("ooxxx", -5, run_id="watch-a"))
    assert stack.route() == "eni-a"
    assert stack.memory().failovers == ()


# -- an item of the ledger that is broken


def test_a_broken_item_is_told_of_once_and_made_whole_by_the_tick_that_finds_it() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.items["a"].damage = "failovers"
    assert stack.wake(Tick()) == {"a": ["at-rest"], "b": ["at-rest"]}
    assert stack.ledger.items["a"].damage is None
    (warning,) = stack.telemetry.warnings
    assert warning.startswith("group a: not all that the ledger remembered of it can be read (failovers)")
    assert [(name, str(each)) for name, each in stack.telemetry.troubles] == [
        ("a", "UpdateItem: UnreadableItem: failovers")
    ]
    stack.later(60).wake(Tick())
    assert len(stack.telemetry.warnings) == 1


def test_a_good_report_that_finds_a_broken_item_looks() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.items["a"].damage = "rest"
    stack.wake(report("ooo", -3, run_id="watch-a"))
    assert stack.faults.count("look") == 1
    assert stack.ledger.items["a"].damage is None


def test_a_group_whose_item_is_broken_fails_over_and_the_others_go_on() -> None:
    world = resting("abc").change("i-a", state=STOPPED)
    stack = Stack(world)
    stack.ledger.items["a"].memory, stack.ledger.items["a"].damage = Memory(), "memory"
    reasons = stack.wake(Tick())
    assert reasons["a"][0] == "fail-over"
    assert reasons["b"] == ["at-rest"]
    assert [stack.route(f"rtb-{each}") for each in "abc"] == ["eni-b", "eni-b", "eni-c"]


def test_items_of_groups_that_are_not_the_stacks_are_nobodys() -> None:
    stack = Stack(resting("ab"))
    stack.ledger.items["stray"].memory = Memory(target="eni-a", is_down=True)
    assert stack.wake(Tick()) == {"a": ["at-rest"], "b": ["at-rest"]}
    assert "stray" not in {each.group for each in stack.telemetry.plans}
