"""What EC2 refuses: a type that the zone lacks, a token that is used up, a canary route, and their relatives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.backoff import OTHERWISE, REMEDIES, complaint, kind_of, launch_complaint, on_done, on_refused
from natkeeper.core.incident import BackOff, Memory, Repair, Told, Unsupported
from natkeeper.core.launches import KEPT_INSTANCES, accepted, refused, spent, types_left, unsupported
from natkeeper.core.model import DEFAULT_ROUTE, Role
from natkeeper.core.news import Tick
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    PointRoute,
    Reason,
    StartInstance,
    StopInstance,
    TerminateInstance,
    Warned,
)
from natkeeper.core.policy import StandbyMode
from natkeeper.errors import NoCapacity, Refused, Stale, Trouble, TryAgain
from tests.support.fakes import Stack
from tests.support.worlds import (
    CANARY,
    STOPPED,
    World,
    at,
    away,
    nat,
    proofs,
    resting,
    secs,
    without,
    writes,
)

UNSUPPORTED = NoCapacity("RunInstances", "Unsupported", "not supported in your requested Availability Zone")
SPENT = Stale("RunInstances", "IdempotentInstanceTerminated")
FULL = Refused("CreateRoute", "RouteLimitExceeded", "The maximum number of routes has been reached")
TYPES = ("x.nano", "y.nano")


def dark(**chosen: object) -> World:
    """Group a's traffic is away and its own NAT is gone."""
    world = away(**chosen)  # type: ignore[arg-type]
    world.network = without(world.seen, "i-a")
    return world


def asked_for(stack: Stack, seconds: int, pace: int = 3) -> list[tuple[int, str]]:
    """When which type was asked for, with a pass every `pace` seconds."""
    asked: list[tuple[int, str]] = []

    def note(action: Action, second: int) -> None:
        if isinstance(action, LaunchInstance):
            asked.append((second, action.instance_type))

    refusing = stack.vpc.refusing
    for second in range(0, seconds, pace):

        def watching(action: Action, second: int = second) -> Trouble | None:
            note(action, second)
            return refusing(action)

        stack.vpc.refusing = watching
        stack.ledger.items["a"].memory = replace(stack.memory(), proofs=proofs("eni-b", now=second + 1))
        stack.wake(Tick())
        stack.later(second + pace - (stack.clock.now() - at(0)).total_seconds())
    return asked


# -- types


def test_a_type_that_the_zone_does_not_have_is_not_asked_for_again() -> None:
    """It passed for a lack of capacity, and was asked for in every round for ever."""
    stack = Stack(dark(instance_types=TYPES))
    answers = {"x.nano": UNSUPPORTED, "y.nano": NoCapacity("RunInstances", "InsufficientInstanceCapacity")}
    stack.vpc.refusing = lambda action: answers.get(getattr(action, "instance_type", ""))
    asked = asked_for(stack, 120)
    assert [kind for _, kind in asked].count("x.nano") == 1
    assert asked[:2] == [(0, "x.nano"), (0, "y.nano")]
    assert len(asked) >= 4
    assert stack.memory().unsupported == (Unsupported("x.nano", at(0)),)


def test_where_no_type_is_left_nothing_is_asked_for_and_it_is_said_once_what_to_do() -> None:
    stack = Stack(dark(instance_types=TYPES))
    stack.vpc.refusing = lambda action: UNSUPPORTED if isinstance(action, LaunchInstance) else None
    assert [kind for _, kind in asked_for(stack, 600)] == ["x.nano", "y.nano"]
    (text,) = stack.telemetry.warnings
    assert "InstanceTypes (x.nano, y.nano)" in text
    assert "describe-instance-type-offerings" in text
    assert stack.memory().launches == ()


@pytest.mark.parametrize(
    "known", [None, Repair("r", 3, at(-9), refused_at=at(-9), refusals=2, refusal="RunInstances: X")]
)
def test_who_has_been_told_that_no_type_is_left_is_not_told_again(known: Repair | None) -> None:
    """Not after six hours either, when other warnings are repeated."""
    missing = tuple(Unsupported(each, at(-60)) for each in TYPES)
    world = dark(instance_types=TYPES).remember(
        unsupported=missing, repair=known, standby_repair=Repair("s", 1, at(-9))
    )
    plan = world.step()
    text = (
        "group a: its zone does not have any of InstanceTypes (x.nano, y.nano); add one that it has, see "
        "`aws ec2 describe-instance-type-offerings --location-type availability-zone`"
    )
    assert (plan.reason, plan.detail, writes(plan)) == (Reason.HEALING, text, [])
    assert [each.text for each in plan.happenings if isinstance(each, Warned)] == [text]
    assert plan.memory.repair == replace(known or Repair("a-20260301T120000", 1, at(0)), is_told=True)
    assert plan.memory.standby_repair == Repair("s", 1, at(-9))
    again = world.remember(told=()).decide(now=1)
    assert (again.detail, [each for each in again.happenings if isinstance(each, Warned)]) == (text, [])


def test_a_new_choice_of_types_is_asked_for_at_once() -> None:
    world = dark(instance_types=("z.nano", *TYPES))
    world.remember(unsupported=tuple(Unsupported(each, at(-60)) for each in TYPES))
    assert [each.instance_type for each in writes(world.decide()) if isinstance(each, LaunchInstance)] == ["z.nano"]


@pytest.mark.parametrize(
    ("ages", "left"),
    [
        ((), TYPES),
        ((86_399,), ("y.nano",)),
        ((86_400,), TYPES),
        ((4000, 3599), ()),
        ((86_399, 3600), TYPES),
    ],
)
def test_what_the_zone_lacks_is_known_for_a_day_and_asked_for_hourly_where_it_lacks_all(
    ages: tuple[int, ...], left: tuple[str, ...]
) -> None:
    known = tuple(Unsupported(kind, at(-age)) for kind, age in zip(TYPES, ages, strict=False))
    assert types_left(Memory(unsupported=known), TYPES, at(0)) == left


def test_a_launch_that_may_still_appear_is_waited_for_though_the_zone_lacks_every_type() -> None:
    world = dark(instance_types=TYPES).remember(
        repair=Repair("r", 1, at(-5), is_launched=True, is_accepted=True, instance_type="y.nano"),
        unsupported=tuple(Unsupported(each, at(-60)) for each in TYPES),
    )
    assert "visible" in world.decide().detail


def test_the_refusal_of_a_type_is_certain_though_an_earlier_answer_was_not_heard() -> None:
    repair = Repair("r", 1, at(-5), is_launched=True, is_repeated=True, instance_type="x.nano")
    memory = unsupported(Memory(repair=repair, launches=(at(-5),)), Role.NAT, "x.nano", at(0))
    assert memory.launches == ()
    assert memory.repair is not None
    assert (memory.repair.may_appear, memory.repair.is_short, memory.repair.refusals) == (False, True, 1)
    assert (memory.repair.is_repeated, memory.repair.refusal) == (False, "RunInstances: Unsupported")


def test_each_missing_type_is_remembered_once_and_old_ones_are_forgotten() -> None:
    old = (Unsupported("w.nano", at(-86_400)), Unsupported("x.nano", at(-60)), Unsupported("v.nano", at(-60)))
    memory = unsupported(Memory(unsupported=old), Role.STANDBY, "x.nano", at(0))
    assert memory.unsupported == (Unsupported("v.nano", at(-60)), Unsupported("x.nano", at(0)))


# -- tokens that are used up


def test_a_launch_whose_instance_was_terminated_is_over_and_the_next_has_another_token() -> None:
    """It passed for a refusal of one that might still appear, and the same token was asked for again."""
    repair = Repair("r", 1, at(-5), is_launched=True, is_repeated=True, instance_type="t4g.nano")
    stack = Stack(dark().remember(repair=repair, launches=(at(-5),)))
    stack.vpc.refusing = lambda action: SPENT if getattr(action, "token", "") == "r-nat-1" else None
    stack.wake(Tick())
    assert stack.memory().launches == (at(-5),), "it did launch, so the day is charged with it"
    assert stack.memory().repair is not None
    assert not stack.memory().repair.may_appear  # type: ignore[union-attr]
    tokens = []
    for _ in range(6):
        stack.later(3)
        stack.wake(Tick())
        tokens += [each.token for each in stack.vpc.done if isinstance(each, LaunchInstance)]
    assert set(tokens) == {"r-nat-2"}
    assert len(stack.memory().launches) == 2


def test_machines_that_end_at_once_cost_one_launch_after_each_wait_and_never_a_loop() -> None:
    stack = Stack(dark())
    stack.vpc.refusing = lambda action: SPENT if isinstance(action, LaunchInstance) else None
    asked = asked_for(stack, 72)
    assert [second for second, _ in asked] == [0, 15, 45]
    assert len(stack.memory().launches) == 3


def test_a_spent_token_that_nobody_remembers_changes_nothing() -> None:
    assert spent(Memory(), Role.NAT, at(0)) == Memory()
    told = Repair("r", 2, at(-5), is_told=True, refusals=1)
    memory = spent(Memory(standby_repair=told), Role.STANDBY, at(0))
    said = "RunInstances: IdempotentInstanceTerminated"
    assert memory.standby_repair == Repair("r", 2, at(-5), is_told=True, refused_at=at(0), refusals=2, refusal=said)


# -- launches that were not sent


@pytest.mark.parametrize(("left", "sent"), [(14.0, 1), (13.9, 0)])
def test_a_launch_leaves_only_while_its_slow_answer_fits_into_the_pass(left: float, sent: int) -> None:
    stack = Stack(dark())
    stack.clock.left = secs(left)
    stack.wake(Tick())
    assert len([each for each in stack.vpc.done if isinstance(each, LaunchInstance)]) == sent
    assert stack.memory().repair.is_turned_away is (sent == 0)  # type: ignore[union-attr]


@pytest.mark.parametrize(("left", "sent"), [(14.0, 1), (13.9, 0)])
def test_a_start_leaves_only_while_its_slow_answer_fits_into_the_pass(left: float, sent: int) -> None:
    stack = Stack(away())
    stack.clock.left = secs(left)
    stack.wake(Tick())
    assert len([each for each in stack.vpc.done if isinstance(each, StartInstance)]) == sent


def test_the_id_that_a_launch_is_answered_with_is_the_groups_own_at_once() -> None:
    stack = Stack(dark())
    stack.wake(Tick())
    made = next(each for each in stack.vpc.network.instances if each.group == "a" and not each.state.is_gone)
    assert made.instance_id in (stack.memory().instances or ())
    assert made.instance_id in stack.ports.own.ids


def test_a_launch_pushes_the_oldest_id_out_of_a_full_memory() -> None:
    full = tuple(f"i-{each}" for each in range(KEPT_INSTANCES))
    memory = accepted(Memory(instances=full), Role.NAT, "i-new")
    assert memory.instances == (*full[1:], "i-new")
    assert accepted(Memory(), Role.NAT, "i-new").instances == ("i-new",)


def test_ids_that_a_look_shows_are_never_pushed_out() -> None:
    shown = tuple(f"i-{each}" for each in range(KEPT_INSTANCES + 2))
    assert Memory(instances=("i-old",)).knowing(shown).instances == shown
    assert Memory().knowing(()).instances == ()
    known = Memory(instances=("i-old", "i-a"))
    assert known.knowing(("i-a",)) is known, "an old look does not make anybody forget"


# -- what is asked for in every pass


def refusing(stack: Stack, kind: type, trouble: Trouble) -> list[float]:
    """When such an action, other than a default route, is asked for."""
    asked: list[float] = []

    def answer(action: Action) -> Trouble | None:
        if not isinstance(action, kind) or getattr(action, "destination", CANARY) != CANARY:
            return None
        asked.append((stack.clock.now() - at(0)).total_seconds())
        return trouble

    stack.vpc.refusing = answer
    return asked


def passes(stack: Stack, seconds: int, pace: float = 3) -> None:
    """A pass every `pace` seconds, for so long."""
    until = stack.clock.now() + secs(seconds)
    while stack.clock.now() < until:
        began = stack.clock.now()
        stack.ledger.items["a"].memory = replace(
            stack.memory(), proofs=proofs(stack.memory().target or "eni-b", now=(began - at(-1)).total_seconds())
        )
        stack.wake(Tick())
        stack.later(pace - (stack.clock.now() - began).total_seconds())


def test_a_refused_canary_route_is_asked_for_ever_less_often_and_said_once() -> None:
    """It was asked for 166 times in 72 s."""
    stack = Stack(resting("ab").route("rtb-a", None, CANARY).remember(canary=None))
    asked = refusing(stack, PointRoute, FULL)
    passes(stack, 72, pace=0.5)
    assert [round(each) for each in asked] == [0, 15, 45]
    (text,) = stack.telemetry.warnings
    assert "RouteLimitExceeded" in text
    assert REMEDIES["RouteLimitExceeded"] in text
    stack.vpc.refusing = lambda _: None
    passes(stack, 60)
    assert stack.vpc.network.tables["rtb-a"].routes[CANARY].target == "eni-b"
    assert stack.memory().back_offs == ()


def test_while_a_canary_waits_the_rest_of_tidying_goes_on_and_the_group_is_at_rest() -> None:
    waiting = (BackOff("the canary route", at(-5), 1),)
    world = resting("ab").route("rtb-a", None, CANARY).remember(canary=None, back_offs=waiting)
    plan = world.decide()
    assert plan.reason is Reason.AT_REST
    assert plan.memory.canary is None
    world.add(nat("a", number=2, launched=-7200))
    assert writes(world.decide()) == [TerminateInstance("i-a2")]


@pytest.mark.parametrize(
    ("kind", "world"),
    [
        (StartInstance, lambda: away()),
        (DisableSourceDestCheck, lambda: away().change("i-a", state=nat("a").state, checked=True)),
        (TerminateInstance, lambda: resting("ab").add(nat("a", number=2, launched=-7200))),
        (
            StopInstance,
            lambda: resting("a", standby=StandbyMode.STOPPED, canary=None).add(nat("a", role=Role.STANDBY)),
        ),
    ],
)
def test_whatever_is_refused_of_healing_and_tidying_is_backed_off(kind: type, world: object) -> None:
    stack = Stack(world())  # type: ignore[operator]
    asked = refusing(stack, kind, Refused(kind.__name__, "UnauthorizedOperation"))
    passes(stack, 75)
    assert [round(each - asked[0]) for each in asked] == [0, 15, 45]
    assert len([each for each in stack.telemetry.warnings if "UnauthorizedOperation" in each]) == 1


def test_a_refused_public_address_is_not_asked_for_sooner_than_one_that_is_only_slow() -> None:
    stack = Stack(away().change("i-a", state=nat("a").state, public=None))
    asked = refusing(stack, GivePublicAddress, Refused("ModifyNetworkInterfaceAttribute", "UnauthorizedOperation"))
    passes(stack, 75)
    assert [round(each - asked[0]) for each in asked] == [0, 30, 60]
    assert len([each for each in stack.telemetry.warnings if "UnauthorizedOperation" in each]) == 1


@pytest.mark.parametrize("trouble", [TryAgain("X", "RequestLimitExceeded"), TryAgain("X", "ReadTimeoutError")])
def test_what_was_throttled_or_not_answered_is_not_refused(trouble: Trouble) -> None:
    stack = Stack(away())
    refusing(stack, StartInstance, trouble)
    passes(stack, 9)
    assert stack.memory().back_offs == ()


def test_what_waits_is_left_out_of_a_step_and_the_rest_is_done() -> None:
    world = (
        away()
        .change("i-a", state=nat("a").state, public=None)
        .remember(back_offs=(BackOff("the canary route", at(-5), 1),))
    )
    assert writes(world.decide()) == [GivePublicAddress("eni-a")]


def test_a_step_of_which_nothing_is_left_is_not_remembered() -> None:
    waiting = (BackOff("starting an instance", at(-5), 1),)
    plan = away().remember(back_offs=waiting).decide()
    assert writes(plan) == []
    assert plan.reason is Reason.HEALING
    assert "asked for again later" in plan.detail
    assert plan.memory.repair is None


def test_healing_beside_a_table_that_refuses_waits_too() -> None:
    waiting = (BackOff("starting an instance", at(-5), 1),)
    world = away(tables=2).remember(back_offs=waiting)
    stray = world.policy.group("a").table_ids[1]
    assert writes(world.route(stray, "eni-a").decide()) == [PointRoute(stray, DEFAULT_ROUTE, "eni-b")]


def test_a_standby_that_may_not_be_started_does_not_hold_a_dark_group_up() -> None:
    waiting = (BackOff("starting an instance", at(-5), 1),)
    world = resting("a", standby=StandbyMode.STOPPED).change("i-a", state=STOPPED)
    world.add(nat("a", STOPPED, role=Role.STANDBY)).remember(back_offs=waiting)
    assert not any(isinstance(each, StartInstance) for each in world.decide().actions)


def test_what_moves_traffic_is_never_backed_off() -> None:
    each = PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a")
    assert kind_of(each) is None
    assert on_refused(Memory(), each, at(0)) == on_done(Memory(), each) == Memory()


def test_the_check_on_the_path_in_use_is_turned_off_however_often_that_was_refused() -> None:
    waiting = (BackOff("turning source/dest check off", at(-1), 5),)
    world = resting("ab").change("i-a", checked=True).remember(back_offs=waiting)
    assert writes(world.decide()) == [DisableSourceDestCheck("eni-a")]


def test_a_refused_default_route_is_asked_for_in_every_pass() -> None:
    stack = Stack(resting("ab").route("rtb-a", "eni-b"))
    asked: list[Action] = []

    def refuse(action: Action) -> Trouble | None:
        if isinstance(action, PointRoute):
            asked.append(action)
            return FULL
        return None

    stack.vpc.refusing = refuse
    passes(stack, 12)
    assert len(asked) >= 4
    assert stack.memory().back_offs == ()


def test_a_refusal_after_a_success_is_the_first_again() -> None:
    action = StopInstance("i-a")
    twice = on_refused(on_refused(Memory(), action, at(0)), action, at(20))
    assert twice.back_offs == (BackOff("stopping an instance", at(20), 2),)
    other = on_refused(twice, TerminateInstance("i-a"), at(21))
    assert on_done(other, action).back_offs == (BackOff("terminating an instance", at(21), 1),)


def test_a_launch_is_minded_elsewhere() -> None:
    launch = LaunchInstance("a", Role.NAT, "t", "t4g.nano")
    assert kind_of(launch) is None
    assert refused(Memory(), Role.NAT, at(0), is_short=True) == Memory()


def test_warnings_of_refusals_name_the_group() -> None:
    stack = Stack(away())
    refusing(stack, StartInstance, Refused("StartInstances", "SomethingNew"))
    stack.wake(Tick())
    assert [type(each) for name, each in stack.telemetry.happenings if name == "a"] == [Warned]
    assert stack.telemetry.warnings[0].startswith(
        "group a: EC2 refuses starting an instance (StartInstances: SomethingNew): see"
    )


def test_only_the_first_of_refusals_in_a_row_is_complained_of() -> None:
    action, memory, told = StopInstance("i-a"), Memory(), []
    for second in range(3):
        memory = on_refused(memory, action, at(second), "StopInstances: SomethingNew")
        told.append(complaint("a", memory, action, "SomethingNew") is not None)
    assert told == [True, False, False]


@pytest.mark.parametrize(
    ("code", "remedy"), [("SomethingNew", OTHERWISE), ("UnauthorizedOperation", REMEDIES["UnauthorizedOperation"])]
)
def test_who_reads_of_a_refused_launch_knows_what_to_do(code: str, remedy: str) -> None:
    assert launch_complaint("a", f"RunInstances: {code}", code) == (
        f"group a: EC2 refuses a launch (RunInstances: {code}): {remedy}. It is asked for again ever more slowly"
    )


@pytest.mark.parametrize("is_told", [False, True])
def test_refusals_in_a_row_are_not_told_where_the_first_was(is_told: bool) -> None:
    refusal = "RunInstances: UnauthorizedOperation"
    repair = Repair("r", 4, at(-300), is_launched=True, refused_at=at(-200), refusals=4, refusal=refusal)
    told = (Told(f"refused {refusal}", at(-100)),) if is_told else ()
    world = away().remember(repair=repair, told=told)
    world.network = without(world.seen, "i-a")
    texts = [each.text for each in world.decide().happenings if isinstance(each, Warned)]
    assert any("4 times in a row" in each for each in texts) is not is_told
