"""The verbs about AWS's own times and about how much of a processor a function has; and the same as options of a run.

Called by `scenario.steps` and `scenario.run`. What is set holds for what begins after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.scenario.times import NEVER, Times, of_verb


@runtime_checkable
class Limiter(Protocol):
    """Whoever can give a function less than a whole processor; None is no limit."""

    def set_cpu_share(self, function_name: str, percent: float | None) -> None: ...


def change(scene: Scene, times: Times) -> None:
    """Sets AWS's times; the others stay."""
    for name, value in times.items():
        _SET[name](scene, value)


def _set(name: str) -> Callable[[Scene, Any], None]:
    return lambda scene, value: setattr(scene.stack.api.paces, name, value)


_SET: Mapping[str, Callable[[Scene, Any], None]] = {
    "remap": _set("remap"),
    "model": _set("remap_model"),
    "route": _set("route"),
    "public": lambda scene, value: setattr(scene.stack.api.paces, "public_address", None if value == NEVER else value),
    "boot": _set("launch"),
    "start": _set("start"),
    "call": lambda scene, value: scene.stack.api.faults.pace(value, "ec2:*"),
    "destination": _set("destination"),
    "events": _set("event"),
}


def _time(scene: Scene, step: Step) -> None:
    change(scene, of_verb(step.do, step.args))


def _api_time(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.pace(step.args["seconds"], step.args["operation"])


def _cpu_share(scene: Scene, step: Step) -> None:
    if not isinstance(scene.stack, Limiter):
        raise CannotJudge(f"step {step.text}: this lab gives every function whole processors")
    assert step.target is not None
    name = "controller" if step.target.kind == "controller" else f"prober-{step.target.group}"
    cast(Limiter, scene.stack).set_cpu_share(name, step.args["percent"])


VERBS: Mapping[str, Callable[[Scene, Step], None]] = {
    "address_remap": _time,
    "public_address": _time,
    "boot": _time,
    "start": _time,
    "destination_delay": _time,
    "api_time": _api_time,
    "cpu_share": _cpu_share,
}
