"""What people are told: once, when the pass is over, and never that nothing is left to do where something is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.checked import was_found_on
from natkeeper.core.incident import Cause, Memory, Repair
from natkeeper.core.message import message_of
from natkeeper.core.news import Command, Tick, Verb
from natkeeper.core.plan import IncidentClosed, IncidentLasts, LaunchInstance, Plan, Reason, StartInstance, Warned
from natkeeper.core.telling import CHECK_KEY, KEPT_KEYS, LASTING, TOLD_AGAIN_AFTER, remember, with_warnings_once
from natkeeper.errors import NoCapacity, Refused, Stale, Trouble, TryAgain
from tests.support.fakes import Stack
from tests.support.worlds import (
    STOPPED,
    TERMINATED,
    at,
    away,
    incident,
    proofs,
    report,
    resting,
    rounds,
    secs,
)

DENIED = Refused("RunInstances", "UnauthorizedOperation", "you may not")
NOTHING_LEFT = "nothing for you to do"
WHO = "CloudTrail's ModifyInstanceAttribute or ModifyNetworkInterfaceAttribute says who did it"


def refusing(stack: Stack, kind: type, trouble: Trouble) -> Stack:
    stack.vpc.refusing = lambda action: trouble if isinstance(action, kind) else None
    return stack


def passes(stack: Stack, count: int, pace: float = 3) -> Stack:
    """So many ticks, with packets that get through wherever the traffic is."""
    for _ in range(count):
        began = stack.clock.now()
        known, now = stack.memory(), (began - at(-1)).total_seconds()
        stack.ledger.items["a"].memory = replace(known, proofs=proofs(known.target or "eni-b", now=now))
        stack.wake(Tick())
        stack.later(pace - (stack.clock.now() - began).total_seconds())
    return stack


def lost(zones: str = "ab", **chosen: Any) -> Stack:
    """The NAT of zone a has been terminated."""
    return Stack(resting(zones, **chosen).change("i-a", state=TERMINATED))


# -- once, and last of all


def test_a_warning_reaches_people_once_however_many_passes_give_it() -> None:
    stack = passes(refusing(Stack(away()), StartInstance, Refused("StartInstances", "UnauthorizedOperation")), 40)
    (text,) = stack.telemetry.messages
    assert "zone a: EC2 refuses starting an instance (StartInstances: UnauthorizedOperation)" in text
    assert "allow it in the controller's role" in text


def test_a_warning_that_goes_on_is_given_again_after_a_shift() -> None:
    memory, given = Memory(), 0
    for hours in (0, 0.1, 3, 5.9, 6.1, 8):
        plan = Plan("a", memory, Reason.BUDGET_EXHAUSTED, happenings=(Warned("please look", "budget"),))
        told = with_warnings_once(plan, at(hours * 3600))
        memory, given = told.memory, given + len(told.happenings)
    assert given == 2


def test_what_an_incidents_own_messages_tell_stays_in_the_log_of_each_pass() -> None:
    plan = Plan("a", Memory(), Reason.NO_CANDIDATE, happenings=(Warned("nothing can carry it"),))
    assert with_warnings_once(plan, at(0)) == plan


def test_warnings_are_remembered_for_a_while_and_not_without_end() -> None:
    memory = Memory()
    for number in range(KEPT_KEYS + 4):
        memory = remember(memory, f"{number} " + "x" * 500, at(number)) or memory
    assert len(memory.told) == KEPT_KEYS
    assert max(len(each.key) for each in memory.told) <= 60
    span = TOLD_AGAIN_AFTER.total_seconds()
    once = remember(Memory(), "a", at(0))
    assert once is not None
    assert remember(once, "a", at(0)) is None
    assert remember(once, "a", at(span - 1)) is None
    assert remember(once, "a", at(span)) is not None
    assert remember(once, "a", at(-1)) is not None, "an instant that has not been holds nothing back"


def test_a_message_is_sent_when_the_calls_are_made_and_the_lease_is_given_back() -> None:
    stack = refusing(lost(), LaunchInstance, DENIED)
    stack.wake(Tick())
    order = [name for name, _ in stack.faults.journal]
    assert order.index("send") > max(number for number, name in enumerate(order) if name != "send")
    assert "release" in order


@pytest.mark.parametrize(
    "trouble",
    [Refused("Publish", "AuthorizationError"), TryAgain("Publish", "ReadTimeout"), Stale("Publish", "NotFound")],
)
def test_a_message_that_cannot_be_sent_is_logged_and_stops_nothing(trouble: Trouble) -> None:
    stack = refusing(lost(), LaunchInstance, DENIED)
    stack.faults.failing["send"] = trouble
    stack.wake(Tick())
    assert ("a", trouble) in stack.telemetry.troubles
    assert stack.memory().target == "eni-b"
    stack.later(30)
    passes(stack, 3)
    assert stack.faults.count("send") == 1, "it is not tried in each pass"


def test_what_the_ledger_did_not_take_is_told_by_the_next_pass() -> None:
    stack = refusing(lost(), LaunchInstance, DENIED)
    stack.faults.failing["release"] = TryAgain("UpdateItem", "ReadTimeout")
    stack.wake(Tick())
    assert stack.telemetry.messages == []
    del stack.faults.failing["release"]
    passes(stack.later(30), 10)
    assert len([each for each in stack.telemetry.messages if "RunInstances" in each]) == 1


def test_a_pass_that_is_out_of_time_says_in_the_log_what_it_did_not_send() -> None:
    stack = refusing(Stack(away()), StartInstance, Refused("StartInstances", "UnauthorizedOperation"))
    stack.vpc.before_look = [lambda: None]
    stack.clock.left = secs(15)
    stack.ledger.during_record = [lambda: None, lambda: setattr(stack.clock, "left", secs(0.5))]
    stack.wake(Tick())
    assert stack.telemetry.messages == []
    (trouble,) = [each for _, each in stack.telemetry.troubles if each.operation == "Publish"]
    assert "StartInstances" in trouble.detail


# -- incidents


def test_a_short_incident_is_told_once_when_it_ends() -> None:
    stack = Stack(resting().change("i-a", state=STOPPED))
    stack.wake(Tick())
    stack.later(2).wake(report("ooxxo", -1, run_id="watch-a"))
    passes(stack, 3)
    (text,) = stack.telemetry.messages
    assert text.startswith("zone a's NAT stopped, egress was down ")


def dark() -> Stack:
    """One zone whose NAT hangs; another is launched in its place, which takes its time."""
    stack = Stack(resting("a"))
    stack.prober.hung = {"eni-a"}
    stack.wake(report("ooxxx", -4))
    return stack


def test_an_incident_that_lasts_is_told_when_it_begins_and_when_it_ends() -> None:
    stack = dark()
    assert stack.telemetry.messages == []
    for second in range(3, 36, 3):
        stack.later(3).wake(report("xxx", second - 2.5, run_id=f"run-{second}"))
        assert bool(stack.telemetry.messages) is (secs(second + 2) >= LASTING)
    (text,) = stack.telemetry.messages
    assert text.startswith("zone a's NAT stopped forwarding, egress has been down since 11:59:58 UTC")
    assert " UTC and is not known to be back: nothing can carry it: probes from the private subnet fail" in text
    stack.prober.hung = set()
    stack.later(3).wake(report("oooo", 33.5, run_id="run-36"))
    passes(stack, 40)
    first, last = stack.telemetry.messages
    assert first == text
    assert last.startswith("zone a's NAT stopped forwarding, egress was down ")


def test_an_incident_of_whose_end_the_report_is_under_way_is_not_said_to_last() -> None:
    """Egress was back after 9 s; a tick came before the report of it, and people were told that it was down."""
    world = resting().remember(incident=incident(opened_at=at(0)), recent=rounds("oxxx", 0), proofs=())
    for second, is_told in ((25, False), (59, False), (60, True)):
        told = [each for each in world.decide(now=second).happenings if isinstance(each, IncidentLasts)]
        assert bool(told) is is_told
    late = world.remember(recent=rounds("xxx", 18)).decide(now=20)
    assert [each for each in late.happenings if isinstance(each, IncidentLasts)]
    back = world.remember(recent=rounds("xxxo", 18)).decide(now=22)
    assert not [each for each in back.happenings if isinstance(each, IncidentLasts)]


def test_lost_packets_that_became_an_outage_in_which_natkeeper_holds_are_told_as_one() -> None:
    """It stayed `transient`, of which nobody is told: all groups failed at once, and the first report had two of it."""
    world = resting("ab").remember("b", is_down=True)
    world.step(report("oooxx", -4))
    assert world.memories["a"].incident is not None
    assert world.memories["a"].incident.cause is Cause.TRANSIENT
    plan = world.step(report("xxx", 1), now=3)
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.PROBES_FAILED


@pytest.mark.parametrize(
    ("cause", "is_told", "quiet"), [(Cause.TRANSIENT, False, True), (Cause.TRANSIENT, True, False)]
)
def test_who_was_told_of_a_beginning_is_told_of_the_end(cause: Cause, is_told: bool, quiet: bool) -> None:
    over = incident(cause=cause, is_told=is_told, recovered_at=at(-200), rounds=())
    plan = resting().remember(incident=over, watch=None).decide()
    (closed,) = [each for each in plan.happenings if isinstance(each, IncidentClosed)]
    assert closed.is_quiet is quiet
    assert (message_of("a", closed) is None) is quiet


def test_every_message_names_its_zone() -> None:
    assert message_of("a", Warned("group a: another group and its traffic", "k")) == (
        "zone a: another group and its traffic"
    )
    assert message_of("a", Warned("group a has no egress", None)) is None


# -- what is left to do


@pytest.mark.parametrize("zones", ["abc", "ab"])
def test_a_launch_that_is_refused_for_good_is_told_by_name_and_never_that_nothing_is_left(zones: str) -> None:
    stack = refusing(lost(zones), LaunchInstance, DENIED)
    stack.wake(Tick())
    stack.later(3).wake(report("xooo", -0.5, run_id="watch-a"))
    passes(stack, 60)
    text = "\n".join(stack.telemetry.messages)
    assert (
        "zone a: EC2 refuses a launch (RunInstances: UnauthorizedOperation): allow it in the controller's role" in text
    )
    assert "zone a's NAT was terminated, egress was down " in text
    assert "EC2 refuses RunInstances: UnauthorizedOperation" in text
    assert NOTHING_LEFT not in text
    assert len(stack.telemetry.messages) <= 2


def test_want_of_capacity_is_told_after_a_while_only_for_it_may_come_back() -> None:
    stack = refusing(lost(), LaunchInstance, NoCapacity("RunInstances", "InsufficientInstanceCapacity"))
    stack.wake(Tick())
    assert not [each for each in stack.telemetry.messages if "refused" in each]
    passes(stack.later(3), 90)
    (text,) = [each for each in stack.telemetry.messages if "refused to launch" in each]
    assert "4 times in a row (RunInstances: InsufficientInstanceCapacity)" in text


def closing(**remembered: Any) -> str:
    over = incident(recovered_at=at(-200), address_after="203.0.113.1", rounds=())
    plan = away().remember(incident=over, watch=None, **remembered).decide()
    (closed,) = [each for each in plan.happenings if isinstance(each, IncidentClosed)]
    return str(message_of("a", closed))


def test_an_incident_that_ends_while_healing_is_in_sight_leaves_nothing_to_do() -> None:
    assert closing().endswith(NOTHING_LEFT)


@pytest.mark.parametrize(
    ("remembered", "says"),
    [
        ({"paused_until": at(90)}, "paused until 12:01:30"),
        (
            {"repair": Repair("r", 2, at(-9), refused_at=at(-9), refusals=1, refusal="RunInstances: X")},
            "RunInstances: X",
        ),
    ],
)
def test_what_stands_in_the_way_of_healing_is_said_at_the_end(remembered: dict[str, Any], says: str) -> None:
    text = closing(**remembered)
    assert says in text
    assert NOTHING_LEFT not in text


def test_without_a_canary_address_only_a_person_brings_the_group_home() -> None:
    over = incident(recovered_at=at(-200), address_after="203.0.113.1", rounds=())
    plan = away(canary=None).remember(incident=over, watch=None).decide()
    (closed,) = [each for each in plan.happenings if isinstance(each, IncidentClosed)]
    text = "nothing can prove the group's own NAT, for there is no canary address: use `switchover` to go home"
    assert (closed.left, str(message_of("a", closed)).endswith(f", {text}")) == (text, True)


# -- pauses


def test_a_pause_is_told_when_it_begins_and_when_it_ends_and_not_in_between() -> None:
    stack = Stack(resting())
    stack.wake(Command(Verb.PAUSE, "a", minutes=1, request_id="one"))
    (text,) = stack.telemetry.messages
    assert text == "zone a: paused until 12:01:00 UTC; natkeeper watches and changes nothing"
    passes(stack.later(3), 5)
    stack.wake(Command(Verb.PAUSE, "a", minutes=2, request_id="two"))
    assert len(stack.telemetry.messages) == 1
    passes(stack.later(130), 3)
    assert stack.telemetry.messages[1:] == ["zone a: the pause is over; natkeeper acts again"]


def test_resuming_is_the_end_of_a_pause() -> None:
    stack = Stack(resting())
    stack.wake(Command(Verb.PAUSE, "a", minutes=60, request_id="one"))
    stack.later(9).wake(Command(Verb.RESUME, "a", request_id="two"))
    assert stack.telemetry.messages[1:] == ["zone a: the pause is over; natkeeper acts again"]


# -- the source/dest check


def test_a_check_that_was_turned_on_is_the_cause_of_what_was_lost_meanwhile() -> None:
    stack = Stack(resting().change("i-a", checked=True))
    stack.wake(report("ooxxx", -4))
    assert stack.memory().incident is not None
    assert stack.memory().incident.cause is Cause.SOURCE_DEST_CHECK
    stack.later(3).wake(report("xooo", -0.5, run_id="watch-a"))
    passes(stack, 40)
    (text,) = stack.telemetry.messages
    assert text.startswith(
        "zone a's source/dest check was turned on and natkeeper turned it off again, egress was down "
    )
    assert text.endswith(f"it happened once within an hour; {WHO}")
    assert [each.key for each in stack.memory().told] == [CHECK_KEY], "the next time nobody is woken up"


def test_an_outage_that_turning_it_off_did_not_end_is_not_blamed_on_it() -> None:
    plan = resting().remember(checks_mended=(at(-5),)).decide(report("oxxx", -4))
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.PROBES_FAILED


def test_packets_of_which_one_hears_after_it_was_turned_off_were_lost_for_it_too() -> None:
    stack = Stack(resting().change("i-a", checked=True))
    stack.wake(Tick())
    stack.later(2).wake(report("ooxoo", -2.5, run_id="watch-a"))
    assert Cause.SOURCE_DEST_CHECK in [
        each.incident.cause for _, each in stack.telemetry.happenings if isinstance(each, IncidentClosed)
    ] or (stack.memory().incident is not None and stack.memory().incident.cause is Cause.SOURCE_DEST_CHECK)
    (text,) = stack.telemetry.messages
    assert text.startswith("zone a: source/dest check was turned on (once within an hour)")


def test_one_that_is_turned_on_again_and_again_is_counted_and_told_once() -> None:
    stack = Stack(resting())
    for number in range(6):
        stack.vpc.network = resting().change("i-a", checked=True).seen
        stack.wake(Tick())
        stack.later(7).wake(report("oxooooo", 7 * number + 1, run_id=f"run-{number}"))
    assert len(stack.memory().checks_mended) == 6
    assert len(stack.telemetry.messages) == 1
    stack.later(3601)
    stack.wake(Tick())
    assert stack.memory().checks_mended == ()


@pytest.mark.parametrize(
    ("moved", "has_carried", "is_somebodys"), [(-29.9, False, False), (-30, False, True), (-5, True, True)]
)
def test_natkeepers_own_call_that_a_look_does_not_show_yet_is_nobodys_doing(
    moved: float, has_carried: bool, is_somebodys: bool
) -> None:
    world = resting().change("i-a", checked=True).remember(moved_at=at(moved), has_carried=has_carried)
    assert world.decide().memory.checks_mended == ((at(0),) if is_somebodys else ())


@pytest.mark.parametrize(("found", "times"), [(-4.9, 1), (-5, 2)])
def test_a_look_that_shows_a_check_on_a_moment_after_it_was_found_counts_it_once(found: float, times: int) -> None:
    world = resting().change("i-a", checked=True).remember(checks_mended=(at(found),))
    assert len(world.decide().memory.checks_mended) == times


@pytest.mark.parametrize(("lost", "is_for_that"), [(-70.1, False), (-70, True), (5, True), (5.1, False)])
def test_a_packet_is_lost_for_a_check_that_is_found_within_a_minute_or_was_found_just_now(
    lost: float, is_for_that: bool
) -> None:
    assert was_found_on(Memory(checks_mended=(at(-3000), at(0))), at(lost)) is is_for_that


def test_how_often_it_was_turned_on_within_the_hour_is_said() -> None:
    world = resting().change("i-a", checked=True).remember(checks_mended=(at(-1200), at(-600)))
    (told,) = [each for each in world.decide().happenings if isinstance(each, Warned)]
    assert told.text.startswith("group a: source/dest check was turned on (3 times within an hour); natkeeper")
