"""natkeeper's table of rules, its page, the simulation's situations and the runbook, held against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from natkeeper.core import decide
from natkeeper.core.case import Case
from natkeeper.core.incident import Exclusion
from natkeeper.core.model import ElasticIp
from natkeeper.core.news import Command, InstanceChanged, Verb
from natkeeper.core.plan import Plan, Reason
from natkeeper.core.rules import RULES, Rule
from natkeeper_lab.simulation.replay import Replay, play
from natkeeper_lab.simulation.situations import SITUATIONS
from natkeeper_lab.simulation.situations.table import BESIDE_THE_TABLE
from tests.core.test_address import SPARE, with_elastic
from tests.support.worlds import STOPPED, UP, World, at, nat, proofs, report, resting, rounds
from tools.decision_table import HEALTH, QUESTIONS, page

DOCS = Path(__file__).resolve().parents[2] / "docs"


LOST = report("oxxx", -4, canary="oxxx")
STOPPING_A = InstanceChanged("i-a", "stopping")
CANARY_BACK = {"exclusions": (Exclusion("eni-b", at(60), at(-30)),), "proofs": proofs("eni-a", "eni-b", since=-15)}
BESIDE: Mapping[str, Callable[[], Plan]] = {
    "paused, and a route was deleted": lambda: (
        dead_route().remember(paused_until=at(90), is_down=True, down_at=at(-1)).decide()
    ),
    "a command that nothing fits, and a check that was turned on": lambda: (
        resting("a").change("i-a", checked=True).decide(Command(Verb.FAILOVER))
    ),
    "a check that was turned on, and an event": lambda: resting("ab").change("i-a", checked=True).decide(STOPPING_A),
    "an event, and packets by somebody's route": lambda: strayed().decide(STOPPING_A),
    "a guest has left, and the others could be asked": lambda: (
        resting("ab").remember("b", exclusions=(Exclusion("eni-a", at(58), at(-2)),)).decide(LOST, control=UP)
    ),
    "all are back, on what was too small": lambda: (
        small().remember("b", proofs=proofs("eni-b", since=-0.5, age=0)).decide(LOST, control=UP)
    ),
    "failovers are spent, and another is verified": lambda: spent().change("i-a", state=STOPPED).decide(),
    "failovers are spent, and one forwards again": lambda: (
        spent().remember("b", proofs=()).remember(**CANARY_BACK).change("i-a", state=STOPPED).decide()
    ),
    "one forwards again, and another runs": lambda: (
        resting("abc")
        .remember("b", proofs=())
        .remember("c", proofs=())
        .remember(**CANARY_BACK)
        .change("i-a", state=STOPPED)
        .decide()
    ),
    "the address is gone, and another NAT has one": lambda: stuck().change("i-a", state=STOPPED).decide(),
    "AWS will stop it, and a table is elsewhere": lambda: doomed().route("rtb-a2", "eni-b").decide(),
    "AWS will stop it, a table is elsewhere, and nothing is verified": lambda: (
        doomed()
        .remember(proofs=proofs("eni-a"), canary=None)
        .remember("b", proofs=())
        .route("rtb-a2", "eni-b")
        .decide()
    ),
}
"""What no situation brings together: two rules that would both decide."""


def dead_route() -> World:
    return resting("ab").route("rtb-a", None)


def strayed() -> World:
    world = resting("ab").route("rtb-a", "eni-foreign").remember(is_stray=True, proofs=proofs("eni-foreign"))
    return world.remember(recent=rounds("oooo", -4))


def stuck() -> World:
    """The group's address is gone; where it would leave from on b's NAT there is another one."""
    world = with_elastic(resting("ab", proving=SPARE), eip_a=None, eip_spare=ElasticIp("eip-spare", SPARE.public))
    world.add(nat("b", secondary_public="198.51.100.9")).change("i-a", public=None).remember("b", proofs=())
    return world.remember(proofs=proofs("eni-a"), canary=None)


def small() -> World:
    lost = Exclusion("eni-b", at(-40), at(-40))
    return resting("ab").remember(exclusions=(lost,), moved_at=at(-25), through_at=at(-4), proofs=proofs("eni-a"))


def spent() -> World:
    return resting("ab").remember(failovers=tuple(at(-600 - number) for number in range(6)))


def doomed() -> World:
    return resting("ab", tables=2).change("i-a", interruption_at=at(120))


def decided_by(case: Case, rules: Sequence[Rule]) -> tuple[str, Plan] | None:
    """The first rule that finds something, and its plan; None where the table comes to its end."""
    for rule in rules:
        if case.health in rule.on and (found := rule.finds(case)) is not None:
            return rule.name, rule.plans(case, found)
    return None


@cache
def cases_of(situation: str) -> tuple[Case, ...]:
    """What the rules were asked about zone a while the situation was played, undisturbed, to its end."""
    return tuple(asked_in(lambda: play(Replay(situation))))


def asked_in(run: Callable[[], object]) -> list[Case]:
    """The cases of group a that the rules were asked about meanwhile."""
    asked: list[Case] = []
    act = decide.act

    def listen(case: Case) -> Plan:
        if case.seen.group.name == "a":
            asked.append(case)
        return act(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide, "act", listen)
        run()
    return asked


@cache
def corpus() -> tuple[tuple[Case, str], ...]:
    """Every case of every situation, and those beside them, with the rule that decides it."""
    cases = [case for name in SITUATIONS for case in cases_of(name)]
    cases += [case for decides in BESIDE.values() for case in asked_in(decides)]
    return tuple((case, found[0]) for case in cases if (found := decided_by(case, RULES)) is not None)


def test_each_situation_calls_for_its_rule() -> None:
    for name, situation in SITUATIONS.items():
        if situation.rule not in BESIDE_THE_TABLE:
            rules = [found[0] for case in cases_of(name) if (found := decided_by(case, RULES)) is not None]
            assert situation.rule in rules, name


def test_each_rule_has_a_situation() -> None:
    assert {rule.name for rule in RULES} == {each.rule for each in SITUATIONS.values()} - set(BESIDE_THE_TABLE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_table_without_a_rule_decides_something_else(rule: Rule) -> None:
    left = tuple(each for each in RULES if each is not rule)
    assert any(decided_by(case, left) != decided_by(case, RULES) for case, name in corpus() if name == rule.name)


MEETING = [
    (first, second) for first, second in pairwise(RULES) if first.on & second.on and not first.is_apart_from_next
]


@pytest.mark.parametrize(("first", "second"), MEETING, ids=lambda rule: rule.name)
def test_two_neighbours_in_the_other_order_decide_something_else(first: Rule, second: Rule) -> None:
    at = RULES.index(first)
    swapped = (*RULES[:at], second, first, *RULES[at + 2 :])
    assert any(decided_by(case, swapped) != decided_by(case, RULES) for case, name in corpus() if name == first.name)


def test_neighbours_that_are_called_apart_never_meet() -> None:
    for first, second in pairwise(RULES):
        if first.is_apart_from_next:
            met = [case for case, name in corpus() if name == first.name and case.health in second.on]
            assert not any(second.finds(case) for case in met), (first.name, second.name)


def test_the_last_rule_always_finds_something() -> None:
    last = RULES[-1]
    assert all(last.finds(case) is not None for case, _ in corpus())
    assert last.on == frozenset(HEALTH)


def test_every_reason_has_a_rule_or_stands_beside_the_table() -> None:
    assert {rule.reason for rule in RULES} | set(BESIDE_THE_TABLE.values()) == set(Reason)


def test_the_page_is_what_the_rules_make() -> None:
    assert (DOCS / "decision-table.md").read_text() == "\n".join(page()) + "\n", "python -m tools.decision_table"


def test_every_rule_answers_one_of_the_pages_questions() -> None:
    answered = [reason for reasons in QUESTIONS.values() for reason in reasons]
    assert sorted(answered, key=str) == sorted({rule.reason for rule in RULES}, key=str)


def test_the_runbook_knows_what_may_need_a_person() -> None:
    runbook = (DOCS / "runbook.md").read_text()
    for rule in RULES:
        if "a person is told" in rule.then or "nothing moves" in rule.then:
            assert f"`{rule.reason.value}`" in runbook, rule.name
