"""The verbs about AWS's own times on virtual time; and the same as options of a run.

Called by `simulation.scenario.steps` and `run`. What is set holds for what begins after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.scenario.times import NEVER, Times, of_verb
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.paces import Span
from natkeeper_lab.simulation.scenario.stage import Stage


def change(stage: Stage, times: Times) -> None:
    """Sets AWS's times; the others stay."""
    for name, value in times.items():
        _SET[name](stage, value)


def _at(seconds: float) -> Span:
    return int(seconds * SECOND), int(seconds * SECOND)


def _keep(name: str) -> Callable[[Stage, float], None]:
    return lambda stage, seconds: _paces(stage, **{name: _at(seconds)})


def _paces(stage: Stage, **changed: Any) -> None:
    ec2 = stage.world.ec2
    ec2.paces = replace(ec2.paces, **changed)


def _public(stage: Stage, value: float | str) -> None:
    _paces(stage, public=None if value == NEVER else _at(float(value)))


def _boots(script: str) -> Callable[[Stage, float], None]:
    """EC2 shows a machine as running as early as before, and the rest of the time goes by until it forwards."""

    def change_it(stage: Stage, seconds: float) -> None:
        paces, wanted = stage.world.ec2.paces, _at(seconds)[0]
        running = min(paces.to_running[0], wanted)
        sooner = paces.to_running[0] - running
        low, high = paces.script if script == "start_script" else paces.start_script
        other = "script" if script == "start_script" else "start_script"
        rest = wanted - running
        changed = {script: (rest, rest), other: (low + sooner, high + sooner), "to_running": (running, running)}
        _paces(stage, **changed)

    return change_it


_SET: Mapping[str, Callable[[Stage, Any], None]] = {
    "remap": _keep("remap"),
    "model": lambda stage, model: _paces(stage, is_remap_dark=model == "dark"),
    "route": _keep("propagation"),
    "public": _public,
    "boot": _boots("script"),
    "start": _boots("start_script"),
    "call": lambda stage, seconds: stage.mishaps.pace("ec2:*", _at(seconds)[0]),
    "destination": _keep("destination"),
    "events": lambda stage, seconds: _paces(stage, events=(_at(seconds)[0], _at(seconds)[0] + 1)),
}


def _time(stage: Stage, step: Step) -> None:
    change(stage, of_verb(step.do, step.args))


def _api_time(stage: Stage, step: Step) -> None:
    operation = str(step.args["operation"])
    if operation.startswith("sns:") or operation == "Publish":
        raise CannotJudge(f"step {step.text}: messages to the topic are not calls in the simulation")
    stage.mishaps.pace(operation, _at(step.args["seconds"])[0])


def _cpu_share(_stage: Stage, step: Step) -> None:
    raise CannotJudge(f"step {step.text}: a share of a processor is not simulated; the lab limits real processes")


VERBS: Mapping[str, Callable[[Stage, Step], None]] = {
    "address_remap": _time,
    "public_address": _time,
    "boot": _time,
    "start": _time,
    "destination_delay": _time,
    "api_time": _api_time,
    "cpu_share": _cpu_share,
}
