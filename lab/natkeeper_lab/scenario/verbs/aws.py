"""The verbs about AWS's API and its own times: calls that fail, answers that are old, and what takes how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.times import NEVER, Times, of_verb
from natkeeper_lab.scenario.verbs.aim import Verb, shown


def _error(hands: Hands, step: Step) -> None:
    hands.faults.fail(step.args["operation"], step.args["code"], times=step.args["times"])


def _throttle(hands: Hands, step: Step) -> None:
    hands.faults.fail(step.args["operation"], "RequestLimitExceeded", times=step.args["times"])


def _slow(hands: Hands, step: Step) -> None:
    hands.faults.delay(step.args["seconds"], step.args["operation"], times=step.args["times"])


def _lost_reply(hands: Hands, step: Step) -> None:
    hands.faults.lose_reply(step.args["operation"], times=step.args["times"])


def _stale(hands: Hands, step: Step) -> None:
    operation = step.args["operation"].rpartition(":")[2]
    if not operation.startswith(("Describe", "*")):
        raise CannotDo("only an answer that describes something can be old")
    hands.lag(operation, step.args["seconds"])


def _api_down(hands: Hands, step: Step) -> None:
    hands.faults.fail("ec2:*", "Unavailable", times=None, seconds=step.args["seconds"])


def _ledger_down(hands: Hands, step: Step) -> None:
    hands.faults.fail("dynamodb:*", "InternalServerError", times=None, seconds=step.args["seconds"])


def _no_capacity(hands: Hands, step: Step) -> None:
    refuse_capacity(hands, step.args["instance_types"], step.args["zones"], step.args["times"])


def refuse_capacity(
    hands: Hands,
    types: Sequence[str] | None = None,
    zones: Sequence[str] | None = None,
    times: int | None = None,
    is_active: Callable[[], bool] = lambda: True,
) -> None:
    """EC2 has no machine of these types in these zones, to launch or to start (None: any)."""

    def concerns(params: Mapping[str, Any]) -> bool:
        return is_active() and any(
            (types is None or kind in types) and (zones is None or zone in zones)
            for kind, zone in _asked_for(hands, params)
        )

    for operation in ("RunInstances", "StartInstances"):
        hands.faults.fail(operation, "InsufficientInstanceCapacity", times=times, where=concerns)


def _asked_for(hands: Hands, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(instance type, zone) of each machine that a launch or a start of natkeeper's would need."""
    if "InstanceIds" in params:
        machines = shown(hands, params["InstanceIds"])
        found = [(machine["InstanceType"], machine.get("SubnetId")) for machine in machines]
    else:
        found = [(params["InstanceType"], params["NetworkInterfaces"][0]["SubnetId"])]
    zones = {group.subnet_id: group.name for group in hands.policy.groups}
    return [(kind, zones[subnet]) for kind, subnet in found if subnet in zones]


def _time(hands: Hands, step: Step) -> None:
    set_times(hands, of_verb(step.do, step.args))


def set_times(hands: Hands, times: Times) -> None:
    """Of AWS's, for whatever begins after it; the others stay."""
    for name, value in times.items():
        if name == "call":
            hands.faults.pace(float(value), "ec2:*")
        else:
            hands.set_time(name, None if value == NEVER else value)


VERBS: Mapping[str, Verb] = {
    "api_error": _error,
    "api_throttle": _throttle,
    "api_slow": _slow,
    "api_lost_reply": _lost_reply,
    "api_stale": _stale,
    "api_down": _api_down,
    "ledger_down": _ledger_down,
    "no_capacity": _no_capacity,
    "address_remap": _time,
    "public_address": _time,
    "boot": _time,
    "start": _time,
    "destination_delay": _time,
    "api_time": lambda hands, step: hands.faults.pace(step.args["seconds"], step.args["operation"]),
}
