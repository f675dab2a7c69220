"""What the target of a step means at this moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.sight import Machines
from natkeeper_lab.scenario.targets import Target

Verb = Callable[[Hands, Step], object]


def target_of(step: Step) -> Target:
    """Of a verb that needs one."""
    assert step.target is not None
    return step.target


def machine(hands: Hands, step: Step) -> Machines:
    """The instance. CannotJudge when there is none."""
    return hands.sight.machine(target_of(step))


def interface(hands: Hands, target: Target) -> str:
    """The id of its instance's interface."""
    (found,) = shown(hands, [hands.sight.machine(target).instance_id])
    if not found["NetworkInterfaces"]:
        raise CannotDo(f"{target.text} has no interface any more")
    return str(found["NetworkInterfaces"][0]["NetworkInterfaceId"])


def shown(hands: Hands, instance_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """The instances as EC2 shows them."""
    only = [{"Name": "instance-id", "Values": list(instance_ids)}]
    reservations = hands.ec2("DescribeInstances", Filters=only)["Reservations"]
    return [found for reservation in reservations for found in reservation["Instances"]]


def table(hands: Hands, step: Step) -> str:
    """The id of the route table."""
    target = target_of(step)
    return hands.sight.tables_of(target.group)[target.index]


def function(step: Step) -> str:
    """`controller`, which is also meant where nothing is said, or `prober-a`."""
    is_prober = step.target is not None and step.target.kind == "prober"
    return f"prober-{target_of(step).group}" if is_prober else "controller"
