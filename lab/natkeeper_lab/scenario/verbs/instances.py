"""The verbs about instances and what runs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from natkeeper.adapters.ec2_facts import STACK_TAG
from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.verbs.aim import Verb, interface, machine, target_of

FULL = 100
"""Percent. With room left, a connection table turns nobody away."""


def _call(operation: str) -> Verb:
    return lambda hands, step: hands.ec2(operation, InstanceIds=[machine(hands, step).instance_id])


def _start(hands: Hands, step: Step) -> None:
    """An instance that is still stopping is started as soon as EC2 takes the call."""
    sight, found = hands.sight, machine(hands, step).instance_id
    deadline = sight.now() + sight.pace.stop + 10

    def run() -> None:
        while sight.now() < deadline:
            try:
                hands.ec2("StartInstances", InstanceIds=[found])
                return
            except hands.refusals:
                sight.sleep(0.1)

    hands.aside(run)


def _reboot(hands: Hands, step: Step) -> None:
    """The `original`: the one that was there before the first step. Where it runs no more, there is nothing to do."""
    if not step.args["original"]:
        _call("RebootInstances")(hands, step)
        return
    found = hands.sight.initial_of(target_of(step))
    if hands.sight.state_of(found) == "running":
        hands.ec2("RebootInstances", InstanceIds=[found])


def _guest(name: str, value: Callable[[Mapping[str, Any]], Any]) -> Verb:
    """Something is so in the guest from now on."""

    def change(hands: Hands, step: Step) -> None:
        found = machine(hands, step)
        if not hands.set_guest(found.instance_id, name, value(step.args)):
            raise CannotDo(f"{found.instance_id} is {found.state}, nothing runs on it")

    return change


def _check_on(hands: Hands, step: Step) -> None:
    found = interface(hands, target_of(step))
    hands.ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=found, SourceDestCheck={"Value": True})


def _break_user_data(hands: Hands, step: Step) -> None:
    hands.break_user_data(step.target.group if step.target else None, step.args["without"])


def _remove_tag(hands: Hands, step: Step) -> None:
    """Somebody tidied up tags: the one by which natkeeper knows its own instances."""
    hands.ec2("DeleteTags", Resources=[machine(hands, step).instance_id], Tags=[{"Key": STACK_TAG}])


VERBS: Mapping[str, Verb] = {
    "stop_instance": _call("StopInstances"),
    "start_instance": _start,
    "terminate_instance": _call("TerminateInstances"),
    "reboot": _reboot,
    "hang": _guest("is_hung", lambda _args: True),
    "drop_forwarding": _guest("is_forwarding", lambda _args: False),
    "flush_nat": _guest("has_ruleset", lambda _args: False),
    "packet_loss": _guest("loss", lambda args: args["percent"] / 100),
    "limit_bandwidth": _guest("megabits", lambda args: args["megabits"]),
    "fill_conntrack": _guest("takes_new_flows", lambda args: args["percent"] < FULL),
    "enable_source_dest_check": _check_on,
    "break_user_data": _break_user_data,
    "remove_tag": _remove_tag,
}
