"""Mistakes of others that a simulated stack cannot make, planted in settings and template: their tests must fail.

The others are in `natkeeper_lab.simulation.planted`. By docs/planted-bugs.md they are 2, 8 (the half that is IAM's) and
13.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from natkeeper import settings
from tests.core import test_settings
from tests.template import test_iam, test_wiring
from tests.template.intrinsics import THREE, Stack


def test_a_guard_that_takes_a_list_of_nothing_for_a_list_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """2: `"".split(",")` is truthy."""

    def types(reader: Any) -> tuple[str, ...]:
        found = tuple(reader.maybe("NATKEEPER_INSTANCE_TYPES").split(","))
        if not found:
            raise settings.BadSettings("NATKEEPER_INSTANCE_TYPES: missing")
        return found

    test_settings.test_a_missing_or_empty_setting_is_named("INSTANCE_TYPES", "")
    monkeypatch.setattr(settings, "_instance_types", types)
    with pytest.raises(pytest.fail.Exception):
        test_settings.test_a_missing_or_empty_setting_is_named("INSTANCE_TYPES", "")


def test_terminating_without_a_condition_is_caught(template: dict[str, Any]) -> None:
    """8: the role can terminate anything."""
    check = test_iam.test_only_this_stacks_instances_can_be_stopped_started_or_terminated
    check(_may(template), "ec2:TerminateInstances")
    with pytest.raises(AssertionError):
        check(_may(_without_condition(template, "ec2:TerminateInstances")), "ec2:TerminateInstances")


def test_tagging_without_a_condition_is_caught(template: dict[str, Any]) -> None:
    """8: beside a condition on tags, CreateTags alone is as good as having none."""
    test_iam.test_tags_can_only_be_given_at_launch(_may(template))
    with pytest.raises(AssertionError):
        test_iam.test_tags_can_only_be_given_at_launch(_may(_without_condition(template, "ec2:CreateTags")))


def test_a_security_group_that_lets_only_the_probe_in_is_caught(expanded: dict[str, Any]) -> None:
    """13: green probe, dark subnet."""
    check = test_wiring.test_profile_all_lets_everything_in_from_the_private_cidrs_only
    check(expanded)
    probes_only = copy.deepcopy(expanded)
    group = probes_only["Resources"]["NatSecurityGroup"]["Properties"]
    group["SecurityGroupIngress"] = [{"IpProtocol": "-1", "CidrIp": "10.0.2.10/32", "Description": "the probers"}]
    with pytest.raises(AssertionError):
        check(probes_only)


def _may(template: dict[str, Any]) -> Any:
    stack = Stack(template, THREE)

    def ask(action: str, resource: str, context: Any = None) -> bool:
        return test_iam.allowed(stack, "ControllerRole", action, resource, **(context or {}))

    return ask


def _without_condition(template: dict[str, Any], action: str) -> dict[str, Any]:
    mutant = copy.deepcopy(template)
    for each in _dictionaries(mutant):
        if action in test_iam.listed(each.get("Action", ())):
            del each["Condition"]
    return mutant


def _dictionaries(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for each in list(node.values()):
            yield from _dictionaries(each)
    if isinstance(node, list):
        for each in node:
            yield from _dictionaries(each)
