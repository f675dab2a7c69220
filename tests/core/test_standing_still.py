"""Blind, paused, external, common mode, at rest: the situations in which the controller's hands stay where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.incident import Cause, Memory, Told, WatchRun
from natkeeper.core.model import Unknown
from natkeeper.core.news import Command, InstanceChanged, ProbeFailed, Verb
from natkeeper.core.plan import Reason, StartWatch
from tests.support.worlds import (
    CANARY,
    OUT,
    PENDING,
    RUNNING,
    STOPPED,
    STOPPING,
    UP,
    at,
    incident,
    kinds,
    memory,
    proofs,
    report,
    resting,
    rounds,
    secs,
    writes,
)


def test_nothing_is_done_at_rest() -> None:
    world = resting("ab")
    plan = world.decide()
    assert plan.reason is Reason.AT_REST
    assert plan.actions == ()
    assert plan.memory == world.memories["a"]
    assert plan.happenings == ()
    assert plan.wake_at is None
    assert (plan.carried_by, plan.is_backed) == ("a", True)


@pytest.mark.parametrize("zones", ["a", "ab", "abc"])
def test_a_second_pass_at_rest_changes_nothing_either(zones: str) -> None:
    world = resting(zones)
    first = world.decide()
    world.carry_out(first)
    second = world.decide(now=1)
    assert (second.actions, second.memory) == ((), first.memory)


def test_blindness_is_neither_down_nor_up() -> None:
    world = resting("ab").remember(watch=None)
    world.network = Unknown("DescribeInstances: RequestLimitExceeded")
    plan = world.decide(report("ooxxx", -4))
    assert plan.reason is Reason.CANNOT_LOOK
    assert [type(each) for each in plan.actions] == [StartWatch]
    assert plan.is_backed is None


def test_what_a_blind_pass_was_told_is_still_remembered() -> None:
    world = resting("ab")
    world.network = Unknown("no answer")
    assert world.decide(report("ooxxx", -4)).memory.is_down


def test_no_instance_in_a_complete_look_is_no_reason_to_believe_probes_less() -> None:
    """Peer mistake 5: an empty describe read as "nothing there"; here egress is alive, so it is only healed."""
    world = resting("ab")
    world.network = replace(world.seen, instances=())
    plan = world.decide()
    assert kinds(plan) == [["LaunchInstance"]]


# -- evidence


@pytest.mark.parametrize("pattern", ["ooox", "oooxx", "oxxoo"])
def test_fewer_than_three_failed_rounds_move_nothing(pattern: str) -> None:
    """Peer mistake 4: one failed round on third-party addresses moves routes."""
    plan = resting("ab").decide(report(pattern, -4))
    assert writes(plan) == []
    assert not plan.memory.is_down


def test_three_failed_rounds_ask_for_the_control_probe_before_anything_is_blamed() -> None:
    plan = resting("ab").decide(report("ooxxx", -4))
    assert plan.reason is Reason.NEEDS_CONTROL_PROBE
    assert plan.wants_control_probe
    assert plan.wake_at == at(0)
    assert writes(plan) == []


def test_targets_down_for_everyone_are_not_our_outage() -> None:
    plan = resting("ab").decide(report("ooxxx", -4), control=OUT)
    assert plan.reason is Reason.EXTERNAL
    assert writes(plan) == []
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.EXTERNAL


def test_an_external_fault_that_turns_out_to_be_ours_is_called_by_its_new_name() -> None:
    world = resting("ab")
    world.step(report("ooxxx", -4), control=OUT)
    world.step(control=UP, now=2)
    plan = world.step(report("xxx", 3), control=UP, now=6)
    assert plan.reason is Reason.FAIL_OVER
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.PROBES_FAILED


def test_rounds_sent_before_the_targets_came_back_blame_no_nat() -> None:
    """Found by the simulation (seed 100): a report that was under way when the targets came back moved traffic off a
    NAT that had worked all the time."""
    world = resting("ab")
    world.step(report("ooxxx", -4), control=OUT)
    plan = world.step(report("xxx", 1), control=UP, now=4)
    assert (plan.reason, writes(plan)) == (Reason.EXTERNAL, [])
    assert "the targets are back" in plan.detail
    plan = world.step(report("xx", 5), control=UP, now=8)
    assert (plan.reason, writes(plan)) == (Reason.EXTERNAL, []), "two rounds are not three"
    assert plan.memory.targets_back_at == at(4)
    plan = world.step(report("x", 9), control=UP, now=10)
    assert plan.reason is Reason.FAIL_OVER


def test_targets_that_go_away_again_are_waited_for_again() -> None:
    world = resting("ab")
    world.step(report("ooxxx", -4), control=OUT)
    world.step(control=UP, now=2)
    world.step(report("xxx", 3), control=OUT, now=6)
    plan = world.step(report("xxx", 7), control=UP, now=10.5)
    assert (plan.reason, plan.memory.targets_back_at) == (Reason.EXTERNAL, at(10.5))


def test_a_good_round_ends_what_was_the_targets_fault() -> None:
    world = resting("ab")
    world.step(report("ooxxx", -4), control=OUT)
    plan = world.step(report("xo", 3), now=5)
    assert (plan.memory.external_at, plan.memory.targets_back_at) == (None, None)
    plan = world.step(report("xxx", 6), now=9, control=UP)
    assert plan.reason is Reason.FAIL_OVER


def test_a_stopped_nat_stays_the_cause_when_targets_fail_from_outside_later() -> None:
    """A move was made for it: "not an outage of ours" would be a lie."""
    world = resting("ab").change("i-a", state=STOPPED)
    world.step()
    plan = world.step(report("xxx", 12), now=15, control=OUT)
    assert plan.reason is Reason.EXTERNAL
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.INSTANCE_STOPPED


def test_external_without_an_incident_is_only_held() -> None:
    world = resting("ab").remember(is_down=True)
    plan = world.decide(control=OUT)
    assert (plan.reason, plan.memory.incident) == (Reason.EXTERNAL, None)


def test_every_group_failing_at_once_with_its_nat_running_is_held() -> None:
    world = resting("ab")
    world.remember("b", is_down=True)
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert plan.reason is Reason.COMMON_MODE
    assert writes(plan) == []


def test_one_zone_alone_has_no_common_mode() -> None:
    plan = resting("a", gateway="nat-1").decide(report("ooxxx", -4), control=UP)
    assert plan.reason is Reason.FAIL_OVER


def test_groups_that_share_one_dead_nat_are_no_common_mode() -> None:
    world = resting("abc")
    world.memories = {each: memory(each, "eni-b", is_down=True) for each in "abc"}
    for each in "abc":
        world.route(f"rtb-{each}", "eni-b")
    world.network = replace(world.seen, addresses={})
    world.remember("c", proofs=proofs("eni-c"))
    assert world.decide(control=UP).reason in (Reason.FAIL_OVER, Reason.LAST_RESORT)


def test_a_group_whose_nat_stopped_does_not_make_the_other_groups_fault_common() -> None:
    """Invariant 11 says *with their instances running*: b is down for a reason of its own, and a has a gateway."""
    world = resting("ab", gateway="nat-1").change("i-b", state=STOPPED)
    world.remember("b", is_down=True)
    plan = world.decide(report("ooxxx", -4), control=UP)
    assert plan.reason is Reason.FAIL_OVER


def test_groups_that_no_route_leads_out_of_are_no_common_mode() -> None:
    """Their recorded interfaces vanished, and somebody deleted the routes: holding still would be for ever."""
    world = resting("ab", gateway="nat-1").route("rtb-a", None).route("rtb-b", None)
    world.remember("a", target="eni-gone", is_down=True).remember("b", target="eni-lost", is_down=True)
    assert world.decide(control=UP).reason in (Reason.FAIL_OVER, Reason.LAST_RESORT)


def test_no_recent_probe_is_unknown_and_not_down() -> None:
    world = resting("ab").remember(proofs=())
    plan = world.decide()
    assert plan.reason is Reason.UNOBSERVED
    assert writes(plan) == []


def test_a_proof_goes_stale() -> None:
    world = resting("ab")
    assert world.decide(now=114).reason is Reason.AT_REST
    assert world.decide(now=115).reason is Reason.UNOBSERVED


def test_a_prober_that_crashed_is_blindness() -> None:
    world = resting("ab")
    plan = world.decide(ProbeFailed("a", "watch-a", "Task timed out"))
    assert writes(plan) == []
    assert not plan.memory.is_down


# -- events are pointers, not facts


@pytest.mark.parametrize("state", ["stopping", "stopped", "shutting-down", "terminated"])
def test_an_event_that_the_api_does_not_confirm_is_only_looked_into(state: str) -> None:
    plan = resting("ab").decide(InstanceChanged("i-a", state))
    assert plan.reason is Reason.LOOK_AGAIN
    assert writes(plan) == []
    assert plan.wake_at == at(0) + secs(0.5)


@pytest.mark.parametrize(
    ("instance", "state"), [("i-a", "running"), ("i-a", "pending"), ("i-b", "stopped"), ("i-x", "stopped")]
)
def test_an_event_about_something_else_is_no_news(instance: str, state: str) -> None:
    assert resting("ab").decide(InstanceChanged(instance, state)).reason is Reason.AT_REST


def test_an_unobserved_path_is_looked_at_again_after_an_event_too() -> None:
    world = resting("ab").remember(proofs=())
    assert world.decide(InstanceChanged("i-a", "stopped")).reason is Reason.LOOK_AGAIN


def test_a_running_nat_is_not_dead_because_an_old_look_shows_its_route_as_a_blackhole() -> None:
    world = resting("ab").route("rtb-a", "eni-a", is_blackhole=True)
    assert world.decide().reason is Reason.AT_REST


# -- paused


def test_paused_means_zero_writes_while_observation_goes_on() -> None:
    world = resting("ab").change("i-a", state=STOPPING).remember(watch=None)
    plan = world.decide(Command(Verb.PAUSE, "a", minutes=30))
    assert plan.reason is Reason.PAUSED
    assert [type(each) for each in plan.actions] == [StartWatch]
    assert plan.memory.paused_until == at(1800)


def test_a_pause_ends_by_itself() -> None:
    world = resting("ab").change("i-a", state=STOPPING).remember(paused_until=at(60))
    assert world.decide(now=59).reason is Reason.PAUSED
    after = world.decide(now=60)
    assert after.reason is Reason.FAIL_OVER
    assert after.memory.paused_until is None


def test_a_pause_without_a_length_lasts_an_hour() -> None:
    assert resting("ab").decide(Command(Verb.PAUSE)).memory.paused_until == at(3600)


def test_resuming_ends_the_pause() -> None:
    world = resting("ab").remember(paused_until=at(600))
    plan = world.decide(Command(Verb.RESUME, "a"))
    assert (plan.reason, plan.memory.paused_until) == (Reason.AT_REST, None)


def test_a_command_for_another_group_is_not_ours() -> None:
    world = resting("ab")
    assert world.decide(Command(Verb.PAUSE, "b")).reason is Reason.AT_REST
    assert world.decide(Command(Verb.FAILOVER, "b")).reason is Reason.AT_REST


def test_an_incident_goes_on_being_measured_while_paused() -> None:
    world = resting("ab").remember(paused_until=at(600))
    plan = world.decide(report("ooxxx", -4))
    assert plan.reason is Reason.PAUSED
    assert plan.memory.incident is not None


# -- the watch chain


def test_a_finished_run_is_followed_by_the_next_at_once() -> None:
    plan = resting("ab").decide(report("o" * 55, -55, canary="o" * 55, run_id="watch-a"))
    (start,) = plan.actions
    assert isinstance(start, StartWatch)
    assert start.lasts == secs(55)
    assert plan.memory.watch is not None
    assert plan.memory.watch.run_id == start.run_id != "watch-a"


def test_a_run_in_flight_is_left_alone_until_it_is_overdue() -> None:
    world = resting("ab")
    assert world.decide(now=79).actions == ()
    (start,) = world.decide(now=80).actions
    assert isinstance(start, StartWatch)


@pytest.mark.parametrize(
    ("pattern", "sent", "is_started"), [("x", -10.1, True), ("x", -10, False), ("o", -10.1, False)]
)
def test_a_run_whose_word_nobody_heard_is_not_waited_for(pattern: str, sent: float, is_started: bool) -> None:
    """A verification met a lost round, so the run has said by now that egress is down, or back: its report is lost
    (simulation, seed 1740009658)."""
    watch = WatchRun("run-1", at(-40), secs(55))
    world = resting("ab").remember(watch=watch, recent=rounds(pattern, sent))
    started = [each for each in world.decide().actions if isinstance(each, StartWatch)]
    assert bool(started) is is_started


@pytest.mark.parametrize("began", [-20, -15])
def test_a_round_lost_before_the_run_began_says_nothing_of_its_word(began: float) -> None:
    """One of the very instant at which it was started is of the run before it."""
    watch = WatchRun("run-1", at(began), secs(55))
    world = resting("ab").remember(watch=watch, recent=rounds("x", -20))
    assert world.decide().memory.watch == watch


def test_a_run_is_short_while_something_is_going_on() -> None:
    world = resting("ab").remember(watch=None, incident=incident())
    (start,) = world.decide().actions
    assert isinstance(start, StartWatch)
    assert start.lasts == secs(15)


def test_the_chain_has_a_bound_of_its_own() -> None:
    starts = tuple(at(-599 + each) for each in range(60))
    world = resting("ab").remember(watch=None, watch_starts=starts)
    assert world.decide().actions == ()
    assert [type(each) for each in world.decide(now=2).actions] == [StartWatch]


def test_a_long_outage_never_leaves_the_controller_blind_for_minutes() -> None:
    """Every run of an outage ends after three rounds, four seconds after it began: that chain must not use up what the
    minute's tick needs to see egress come back."""
    world = resting("a")
    world.change("i-a", launched_at=at(-5))
    world.remember(launches=tuple(at(-60) for _ in range(6)), watch=None)
    blind_since, widest = 0.0, 0.0
    for second in range(0, 1200, 4):
        watch = world.memories["a"].watch
        is_tick = second % 60 == 0
        if watch is not None and watch.started_at == at(second - 4):
            world.step(report("xxx", second - 3.5, run_id=watch.run_id), now=second)
        elif is_tick:
            world.step(now=second)
        if world.memories["a"].watch is not None and world.memories["a"].watch.started_at == at(second):
            widest, blind_since = max(widest, second - blind_since), second
    assert widest <= 80
    assert len(world.memories["a"].watch_starts) <= 60


def test_a_look_without_the_groups_tables_is_no_crash() -> None:
    world = resting("ab")
    world.network = replace(world.seen, tables={})
    assert world.decide().actions == ()


def test_a_fresh_memory_on_a_healthy_stack_waits_for_the_first_probe() -> None:
    world = resting("ab")
    world.memories["a"] = Memory()
    plan = world.decide()
    assert plan.reason is Reason.UNOBSERVED
    assert plan.memory.target == "eni-a"
    assert [type(each) for each in plan.actions] == [StartWatch]


def test_a_nat_that_is_still_booting_is_judged_by_packets_only() -> None:
    world = resting("ab").change("i-a", state=PENDING)
    assert world.decide().reason is Reason.FAIL_OVER
    world = resting("ab").change("i-a", state=RUNNING)
    assert world.decide().reason is Reason.AT_REST


def test_the_canary_is_no_default_route() -> None:
    world = resting("ab").route("rtb-a", "eni-x", CANARY, is_blackhole=True)
    plan = world.decide()
    assert kinds(plan) == [["PointRoute"]]
    assert all(getattr(each, "destination", None) == CANARY for each in writes(plan))


def test_a_report_that_was_held_up_for_a_minute_moves_nothing() -> None:
    """Found by the simulation (seed 1000155): the controller that heard "down" first had crashed, and Lambda told the
    next one a minute later, when the targets were long back."""
    world = resting("ab").remember(watch=WatchRun("watch-a", at(-70), secs(55)))
    late = report("ooxxx", -69, run_id="watch-a")
    plan = world.decide(late, control=UP)
    assert (writes(plan), plan.memory.is_down) == ([], False)
    assert any(isinstance(each, StartWatch) for each in plan.actions), "its successor will tell"
    assert plan.memory.incident is not None, "what it saw is measured all the same"


def test_a_report_of_an_earlier_run_that_was_held_up_moves_nothing() -> None:
    """Found by the simulation (seed 1000155): by the time that Lambda told it again, a tick had started another run."""
    world = resting("ab").remember(recent=())
    plan = world.decide(report("ooxxx", -69, run_id="the-one-before"), control=UP)
    assert (writes(plan), plan.memory.is_down) == ([], False)
    assert plan.memory.incident is not None, "what it saw is measured all the same"
    assert world.decide(report("ooxxx", -13, run_id="the-one-before"), control=UP).reason is Reason.FAIL_OVER


@pytest.mark.parametrize(("started", "sent", "reason"), [(-70, -9, Reason.AT_REST), (-9, -70, Reason.FAIL_OVER)])
def test_whether_the_run_in_flight_was_held_up_is_told_by_the_controllers_clock(
    started: float, sent: float, reason: Reason
) -> None:
    """The prober's own may be set wrongly."""
    world = resting("ab").remember(watch=WatchRun("watch-a", at(started), secs(55)), recent=())
    assert world.decide(report("ooxxx", sent, run_id="watch-a"), control=UP).reason is reason


def test_a_report_that_was_held_up_moves_nothing_though_no_run_is_remembered() -> None:
    """Found by the simulation (seed 60001708): the pass that started this one's run had crashed before it wrote so, and
    its inbox was opened a minute later."""
    world = resting("ab").remember(recent=())
    first, second = report("ooxxx", -65, run_id="before"), report("xxx", -60, run_id="the-one-after")
    plan = world.decide(first, second, control=UP)
    assert (writes(plan), plan.memory.is_down) == ([], False)


def test_a_report_may_take_ten_seconds_to_arrive() -> None:
    world = resting("ab").remember(watch=WatchRun("watch-a", at(-14), secs(55)), recent=())
    assert world.decide(report("ooxxx", -13, run_id="watch-a"), control=UP).reason is Reason.FAIL_OVER


# -- a command that is delivered twice


@pytest.mark.parametrize("wish", [Command(Verb.FAILOVER, "a"), Command(Verb.SWITCHOVER, "a")])
def test_an_operators_move_that_is_delivered_twice_moves_once(wish: Command) -> None:
    """The second one went back: whatever the traffic is not on fits a failover without a target."""
    world = resting("ab")
    wish = replace(wish, request_id="r-1")
    assert world.step(wish).reason is Reason.OPERATOR_MOVE
    assert world.decide(wish, now=3).reason is not Reason.OPERATOR_MOVE
    world.remember(proofs=(*proofs("eni-a", "eni-b"),))
    assert world.decide(replace(wish, request_id="r-2"), now=3).reason is Reason.OPERATOR_MOVE


def test_a_command_without_a_request_id_is_obeyed_each_time() -> None:
    """One that a ledger of an earlier release kept in its inbox."""
    world = resting("ab")
    world.step(Command(Verb.FAILOVER, "a"))
    world.remember(proofs=(*proofs("eni-a", "eni-b"),))
    assert world.decide(Command(Verb.FAILOVER, "a"), now=3).reason is Reason.OPERATOR_MOVE


def test_a_move_that_was_refused_is_not_made_when_it_is_delivered_again() -> None:
    world = resting("ab").remember("b", proofs=()).remember(proofs=proofs("eni-a"))
    wish = Command(Verb.FAILOVER, "a", request_id="r-1")
    assert world.step(wish).reason is Reason.OPERATOR_REFUSED
    assert world.memories["a"].told == (Told("refused r-1", at(0)),), "another request's refusal is told, too"
    world.remember(proofs=(*proofs("eni-a", "eni-b"),))
    assert writes(world.decide(wish, now=3)) == []


def test_a_pause_that_is_delivered_again_does_not_undo_the_resume_after_it() -> None:
    world = resting("ab")
    pause = Command(Verb.PAUSE, "a", minutes=30, request_id="r-1")
    resume = Command(Verb.RESUME, "a", request_id="r-2")
    assert world.step(pause).reason is Reason.PAUSED
    assert world.step(resume, now=1).reason is not Reason.PAUSED
    assert world.step(pause, now=2).reason is not Reason.PAUSED
    assert world.step(replace(pause, request_id="r-3"), now=3).reason is Reason.PAUSED
    assert world.step(resume, now=4).reason is Reason.PAUSED
    assert world.memories["a"].obeyed == ("r-3", "r-2", "r-1")


def test_of_commands_the_last_eight_are_remembered() -> None:
    world = resting("ab")
    for number in range(10):
        world.step(Command(Verb.RESUME, "a", request_id=f"r-{number}"))
    assert world.memories["a"].obeyed == tuple(f"r-{number}" for number in range(9, 1, -1))
