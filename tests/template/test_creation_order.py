"""Triggers are created last and deleted first, so that no pass runs in a stack whose creation fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.template.intrinsics import HEX, ONE, THREE, TWO, Stack

TRIGGERS = ("AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::Lambda::Permission")
"""What makes Lambda run a function without anybody asking for it. A prober's destination is none: nothing invokes a
prober but the controller."""
OF_TRIGGERS = {"DeadLetterQueuePolicy"}
"""Names the rules that may write to the queue, so it cannot be there before them."""
EVERYTHING = {"AlarmEmail": "oncall@example.com", "ControllerConcurrency": "10", "ProberConcurrency": "3"}
CHOICES = {
    "one zone": ONE,
    "one zone with a gateway": ONE | {"ZoneANatGatewayId": f"nat-{HEX}"},
    "two zones": TWO,
    "three zones": THREE,
    "three zones and everything": THREE | EVERYTHING,
}


@pytest.fixture(params=CHOICES.values(), ids=CHOICES.keys())
def stack(request: pytest.FixtureRequest, expanded: dict[str, Any]) -> Stack:
    return Stack(expanded, request.param)


def references(stack: Stack, node: Any) -> Iterator[str]:
    """The resources that CloudFormation must create first: of both branches of a condition only the one that holds."""
    if isinstance(node, list):
        for each in node:
            yield from references(stack, each)
    elif isinstance(node, dict):
        for name, argument in node.items():
            if name == "Fn::If":
                condition, then, otherwise = argument
                holds = stack.value(stack.template["Conditions"][condition])
                yield from references(stack, then if holds else otherwise)
            elif name == "Ref":
                yield argument
            elif name == "Fn::GetAtt":
                yield (argument if isinstance(argument, list) else argument.split("."))[0]
            elif name == "Fn::Sub":
                text, variables = (argument, {}) if isinstance(argument, str) else argument
                yield from (found.split(".")[0] for found in re.findall(r"\$\{([^!}][^}]*)\}", text))
                yield from references(stack, variables)
            else:
                yield from references(stack, argument)


def named(resource: Mapping[str, Any]) -> list[str]:
    found = resource.get("DependsOn", [])
    return [found] if isinstance(found, str) else list(found)


def before(stack: Stack) -> dict[str, set[str]]:
    """Each resource that this user gets, and all that are created before it."""
    declared = {name: each for name, each in stack.template["Resources"].items() if stack.has(each)}
    direct = {
        name: {*named(each), *references(stack, [each.get("Properties"), each.get("Metadata")])} & set(declared)
        for name, each in declared.items()
    }
    found: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in found:
            found[name] = set()
            found[name] = direct[name].union(*(reach(each) for each in direct[name]))
        return found[name]

    return {name: reach(name) for name in declared}


def test_every_trigger_waits_for_everything_that_is_none(stack: Stack) -> None:
    order = before(stack)
    kinds = {name: stack.template["Resources"][name]["Type"] for name in order}
    triggers = {name for name, kind in kinds.items() if kind in TRIGGERS}
    assert len(triggers) == 9
    others = set(order) - triggers - OF_TRIGGERS
    assert {name: sorted(others - order[name]) for name in triggers} == {name: [] for name in triggers}


def test_no_rule_invokes_anything_before_its_dead_letters_have_a_place(stack: Stack) -> None:
    order = before(stack)
    for name in stack.resources("AWS::Lambda::Permission"):
        assert {"DeadLetterQueuePolicy", "TickSchedule"} <= order[name]
    assert "DeadLetterQueuePolicy" in order["TickSchedule"]


def test_nothing_depends_by_name_on_what_not_every_user_gets(expanded: dict[str, Any]) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-condition.html: what depends
    on a resource that is not created is not created either."""
    resources = expanded["Resources"]
    for name, each in resources.items():
        for needed in named(each):
            assert resources[needed].get("Condition") in (None, each.get("Condition")), f"{name} needs {needed}"


def test_sam_makes_no_trigger_of_its_own(template: dict[str, Any], expanded: dict[str, Any]) -> None:
    """A rule or a permission that SAM generates takes no DependsOn."""
    for each in template["Resources"].values():
        assert "Events" not in each.get("Properties", {})
    for kind in TRIGGERS:
        made = {name for name, each in expanded["Resources"].items() if each["Type"] == kind}
        assert made == {name for name, each in template["Resources"].items() if each["Type"] == kind}
