"""What the controller's log and its warnings say of each decision: a person reads them at night, word for word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from natkeeper.core.incident import Canary, Exclusion, Memory, Repair
from natkeeper.core.message import tell
from natkeeper.core.model import Role, Unknown
from natkeeper.core.news import Command, InstanceChanged, Verb
from natkeeper.core.plan import IncidentClosed, Plan, Reason, Warned
from natkeeper.core.policy import StandbyMode
from tests.support.worlds import (
    CANARY,
    OUT,
    PENDING,
    RUNNING,
    STOPPED,
    UP,
    World,
    at,
    away,
    incident,
    nat,
    proofs,
    report,
    resting,
    secs,
    without,
)

Case = tuple[Callable[[], Plan], Reason, str]


def said(plan: Plan) -> list[str]:
    """What a person is told at once."""
    return [each.text for each in plan.happenings if isinstance(each, Warned)]


def blind() -> World:
    world = resting("ab")
    world.network = Unknown("DescribeInstances: RequestLimitExceeded")
    return world


def new(zones: str = "ab", **chosen: object) -> World:
    """A group that never had a default route."""
    world = resting(zones, **chosen).route("rtb-a", None)  # type: ignore[arg-type]
    world.memories["a"] = Memory()
    return world


def stopped(zones: str = "ab", **chosen: object) -> World:
    return resting(zones, **chosen).change("i-a", state=STOPPED)  # type: ignore[arg-type]


def with_standby(mode: StandbyMode, **facts: object) -> World:
    return resting("a", standby=mode).add(nat("a", role=Role.STANDBY, public=None, **facts))  # type: ignore[arg-type]


def returning(**fields: object) -> World:
    """Away on b; the own NAT runs again, with a canary on it since a while."""
    world = away().change("i-a", state=RUNNING, public="198.51.100.7").route("rtb-a", "eni-a", CANARY)
    return world.remember(**{"canary": Canary("eni-a", at(-400)), "repair": Repair("r", 1, at(-420)), **fields})


def proven(**fields: object) -> World:
    return returning(proofs=(*proofs("eni-b"), *proofs("eni-a")), **fields)


def gone() -> World:
    world = away()
    world.network = without(world.seen, "i-a")
    return world


def quiet_stand_by() -> World:
    world = with_standby(StandbyMode.STOPPED).route("rtb-a", "eni-as", CANARY)
    return world.remember(proofs=proofs("eni-a", "eni-as"), canary=Canary("eni-as", at(-500)))


JUDGED: list[Case] = [
    (lambda: resting().remember(paused_until=at(90)).decide(), Reason.PAUSED, "paused until 12:01:30"),
    (lambda: blind().decide(), Reason.CANNOT_LOOK, "DescribeInstances: RequestLimitExceeded"),
    (lambda: resting().decide(), Reason.AT_REST, ""),
    (
        lambda: resting().remember(proofs=()).decide(),
        Reason.UNOBSERVED,
        "no recent probe went through the present path",
    ),
    (
        lambda: resting().decide(report("ooxxx", -4)),
        Reason.NEEDS_CONTROL_PROBE,
        "probes failed; the targets must be tried from outside first",
    ),
    (
        lambda: resting().decide(report("ooxxx", -4), control=OUT),
        Reason.EXTERNAL,
        "the targets fail from outside the VPC too: everything times out",
    ),
    (
        lambda: resting().remember("b", is_down=True).decide(report("ooxxx", -4), control=UP),
        Reason.COMMON_MODE,
        "every group fails at once while its NAT runs",
    ),
    (
        lambda: resting().remember(is_down=True, down_at=at(-9)).decide(control=UP),
        Reason.UNOBSERVED,
        "probes failed a while ago; what they say now is waited for",
    ),
    (
        lambda: resting().remember(external_at=at(-9)).decide(report("ooxxx", -4), control=UP),
        Reason.EXTERNAL,
        "the targets are back; rounds sent since then will tell",
    ),
    (
        lambda: resting().decide(InstanceChanged("i-a", "stopped")),
        Reason.LOOK_AGAIN,
        "an event says i-a is stopped, EC2 shows running",
    ),
    (
        lambda: resting("ab", tables=2).route("rtb-a", "eni-b").decide(),
        Reason.CONVERGE,
        "routes or address were not all on eni-a",
    ),
    (
        lambda: resting().route("rtb-a", None).decide(report("ooxxx", -4)),
        Reason.CONVERGE,
        "routes or address were not all on eni-a, so probes say nothing about it",
    ),
    (
        lambda: resting().change("i-a", checked=True).decide(report("ooxxx", -4), control=UP),
        Reason.HEALING,
        "source/dest check was on",
    ),
]

MOVED: list[Case] = [
    (lambda: stopped().decide(), Reason.FAIL_OVER, "i-a is stopped"),
    (
        lambda: stopped().route("rtb-a", "eni-b").decide(),
        Reason.FAIL_OVER,
        "i-a is stopped; routes are on eni-b already",
    ),
    (
        lambda: resting().decide(report("ooxxx", -4), control=UP),
        Reason.FAIL_OVER,
        "probes from the private subnet fail, the control probe does not",
    ),
    (
        lambda: replace(gone().route("rtb-a", "eni-x", is_blackhole=True)).remember(target="eni-x").decide(),
        Reason.FAIL_OVER,
        "EC2 reports the route to eni-x as blackhole",
    ),
    (lambda: new().decide(), Reason.ADOPT, "the group's first route"),
    (
        lambda: new("a", canary=None).decide(),
        Reason.ADOPT,
        "the group's first route, unproven: there is no canary address",
    ),
    (lambda: resting().decide(Command(Verb.FAILOVER, "a")), Reason.OPERATOR_MOVE, "failover to eni-b"),
    (lambda: resting().change("i-a", interruption_at=at(60)).decide(), Reason.LEAVE_DOOMED, "AWS will stop eni-a soon"),
    (lambda: proven().change("i-a", public=None).decide(), Reason.GO_HOME, "bringing traffic home to i-a"),
]

HEALED: list[Case] = [
    (lambda: away().decide(), Reason.HEALING, "starting i-a"),
    (lambda: away().add(nat("a", STOPPED, number=2, launched=-10)).decide(), Reason.HEALING, "starting i-a2"),
    (lambda: away().change("i-a", state=PENDING).decide(), Reason.HEALING, "waiting for i-a, which is pending"),
    (lambda: gone().decide(), Reason.HEALING, "launching a nat for group a, attempt 1"),
    (
        lambda: gone().remember(repair=Repair("r", 1, at(-10), is_accepted=True)).decide(),
        Reason.HEALING,
        "waiting for the nat that was launched to be visible",
    ),
    (
        lambda: (
            gone().remember(repair=Repair("r", 1, at(-5), is_launched=True, refused_at=at(-5), refusals=1)).decide()
        ),
        Reason.HEALING,
        "AWS refused to launch a nat; again at 12:00:10",
    ),
    (lambda: returning().change("i-a", checked=True).decide(), Reason.HEALING, "turning source/dest check of i-a off"),
    (lambda: returning(canary=Canary("eni-a", at(-60))).decide(), Reason.HEALING, "proving i-a with canary packets"),
    (
        lambda: returning(throttled_at=at(-10)).decide(),
        Reason.HEALING,
        "proving i-a waits: EC2 throttles this account",
    ),
    (
        lambda: returning(canary=Canary("eni-a", at(-241), at(-241)), repair=Repair("r", 1, at(-260))).decide(),
        Reason.HEALING,
        "i-a does not forward; launching a nat for group a, attempt 2",
    ),
    (
        lambda: away(canary=None).change("i-a", state=RUNNING).decide(),
        Reason.HEALING,
        "no canary address is configured, so nothing can prove the group's own NAT: use `switchover` to go home",
    ),
    (
        lambda: proven(stable_since=None).decide(),
        Reason.HEALING,
        "waiting for probes to confirm the present path",
    ),
    (lambda: proven(stable_since=at(-10)).decide(), Reason.HEALING, "i-a is proven; quiet until 12:04:50"),
    (
        lambda: away().add(nat("a", number=2, public="198.51.100.7", launched=-7200)).decide(),
        Reason.HEALING,
        "proving i-a2 with canary packets",
    ),
    (lambda: proven().decide(), Reason.HEALING, "making the landing address of i-a bare"),
]

TIDIED: list[Case] = [
    (
        lambda: resting("a", standby=StandbyMode.RUNNING).decide(),
        Reason.HEALING,
        "launching a standby for group a, attempt 1",
    ),
    (
        lambda: with_standby(StandbyMode.RUNNING, checked=True).decide(),
        Reason.TIDYING,
        "turning source/dest check of i-as off",
    ),
    (lambda: quiet_stand_by().decide(), Reason.TIDYING, "i-as is proven; it waits stopped"),
    (
        lambda: resting().route("rtb-a", "eni-x", CANARY).decide(),
        Reason.TIDYING,
        "pointing the canary at eni-b, the next choice",
    ),
    (
        lambda: resting().route("rtb-a", "eni-x", CANARY).remember(throttled_at=at(-10)).decide(),
        Reason.TIDYING,
        "pointing the canary at eni-b waits: EC2 throttles this account",
    ),
    (
        lambda: resting().add(nat("a", STOPPED, number=2)).remember(stable_since=at(-10)).decide(),
        Reason.TIDYING,
        "i-a2 has been replaced; it goes once home has been quiet",
    ),
    (
        lambda: resting().add(nat("a", STOPPED, number=2)).decide(),
        Reason.TIDYING,
        "i-a2 has been replaced and carries nothing",
    ),
]


@pytest.mark.parametrize(("decided", "reason", "detail"), [*JUDGED, *MOVED, *HEALED, *TIDIED])
def test_each_decision_says_why_and_wakes_nobody_up(decided: Callable[[], Plan], reason: Reason, detail: str) -> None:
    plan = decided()
    assert (plan.reason, plan.detail, said(plan)) == (reason, detail, [])


WARNED: list[Case] = [
    (
        lambda: (
            stopped()
            .remember(failovers=tuple(at(-60 * each) for each in range(6)))
            .remember(exclusions=(Exclusion("eni-b", at(-1), at(-61)),))
            .decide()
        ),
        Reason.BUDGET_EXHAUSTED,
        "group a: 6 failovers in an hour; holding still, please look",
    ),
    (
        lambda: gone().remember(launches=tuple(at(-60 * each) for each in range(6))).decide(),
        Reason.BUDGET_EXHAUSTED,
        "group a: 6 launches in a day, no more until one of them is old",
    ),
    (
        lambda: resting().decide(Command(Verb.SWITCHOVER, "a", to="home")),
        Reason.OPERATOR_REFUSED,
        "group a: switchover refused, nothing that fits is verified; traffic stays",
    ),
    (
        lambda: stopped("a").decide(),
        Reason.NO_CANDIDATE,
        "group a has no egress and nothing can carry it: i-a is stopped; starting i-a",
    ),
    (
        lambda: resting("a").change("i-a", launched_at=at(-450)).decide(report("ooxxx", -4), control=UP),
        Reason.NO_CANDIDATE,
        "group a has no egress and nothing can carry it: probes from the private subnet fail, the control probe does "
        "not; waiting for the newest NAT, which may still be booting",
    ),
    (
        lambda: new("a").change("i-a", state=STOPPED).remember(moved_at=at(-60)).decide(),
        Reason.NO_CANDIDATE,
        "group a has no egress and nothing can carry it: no default route in the group's tables; starting i-a",
    ),
]


@pytest.mark.parametrize(("decided", "reason", "detail"), WARNED)
def test_a_person_is_told_what_the_controller_cannot_mend(
    decided: Callable[[], Plan], reason: Reason, detail: str
) -> None:
    plan = decided()
    assert (plan.reason, plan.detail, said(plan)) == (reason, detail, [detail])


@pytest.mark.parametrize("known", [{}, {"proofs": ()}])
def test_a_person_is_told_of_a_check_that_was_found_on_and_who_knows_who_did_it(known: dict[str, object]) -> None:
    plan = resting().change("i-a", checked=True).remember(**known).decide()
    assert (plan.reason, plan.detail) == (Reason.HEALING, "source/dest check was on")
    assert said(plan) == [
        "group a: source/dest check was turned on (once within an hour); natkeeper turns it off again; CloudTrail's "
        "ModifyInstanceAttribute or ModifyNetworkInterfaceAttribute says who did it"
    ]


def test_a_person_is_told_of_a_last_resort_and_for_which_group() -> None:
    plan = stopped().remember(proofs=()).remember("b", proofs=()).decide()
    assert plan.reason is Reason.LAST_RESORT
    assert plan.detail == "i-a is stopped; nothing verified is left, trying eni-b"
    assert said(plan) == [f"group a: {plan.detail}"]


def test_a_doomed_nat_that_nothing_can_stand_in_for_says_what_is_done_about_it() -> None:
    world = resting("a").change("i-a", interruption_at=at(120))
    for second, done in enumerate(("launching a nat for group a, attempt 1", "turning source/dest check of i-a2 off")):
        plan = world.step(now=second)
        text = f"AWS will stop eni-a soon, and nothing verified can take over; {done}"
        assert (plan.reason, plan.detail, said(plan)) == (Reason.NO_CANDIDATE, text, [])


@pytest.mark.parametrize(
    ("fields", "is_backed"),
    [
        ({}, True),
        ({"proofs": proofs("eni-a")}, False),
        ({"exclusions": (Exclusion("eni-b", at(30)),)}, False),
    ],
)
def test_a_group_is_backed_when_another_nat_is_both_usable_and_verified(
    fields: dict[str, object], is_backed: bool
) -> None:
    world = resting("ab").remember("b", proofs=()).remember("a", **fields)
    assert world.decide().is_backed is is_backed


def test_a_plan_made_blind_says_whose_it_is() -> None:
    assert blind().decide().group == "a"


# -- the sentence an incident ends in


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"address_after": "203.0.113.1"},
            "zone a's NAT stopped, egress was down 1.0 s to 2.0 s, same address 203.0.113.1, nothing for you to do",
        ),
        (
            {},
            "zone a's NAT stopped, egress was down 1.0 s to 2.0 s, the egress address after it is not known yet, "
            "nothing for you to do",
        ),
        (
            {"address_after": "198.51.100.1"},
            "zone a's NAT stopped, egress was down 1.0 s to 2.0 s, the egress address changed from 203.0.113.1 to "
            "198.51.100.1, allow-lists at the far end may need the new address",
        ),
        (
            {"address_after": "203.0.113.1", "is_last_resort": True},
            "zone a's NAT stopped, egress was down 1.0 s to 2.0 s, same address 203.0.113.1, moved to a NAT that was "
            "not verified before: please look",
        ),
    ],
)
def test_an_incident_is_told_in_one_sentence(fields: dict[str, object], sentence: str) -> None:
    assert tell(IncidentClosed(incident(**fields), secs(1), secs(2), at(0))) == sentence
