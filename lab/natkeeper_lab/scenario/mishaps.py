"""The verbs about what natkeeper stands on: EC2's API, its ledger, its clock, its own processes, and its operator.

Called by `scenario.steps`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.skew import VARIABLE

WILDCARD = "*"


# -- the API


def _error(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.fail(step.args["operation"], step.args["code"], times=step.args["times"])


def _throttle(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.fail(step.args["operation"], "RequestLimitExceeded", times=step.args["times"])


def _slow(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.delay(step.args["seconds"], step.args["operation"], times=step.args["times"])


def _lost_reply(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.lose_reply(step.args["operation"], times=step.args["times"])


def _stale(scene: Scene, step: Step) -> None:
    operation = step.args["operation"].rpartition(":")[2]
    if not operation.startswith(("Describe", WILDCARD)):
        raise CannotJudge(f"step {step.text}: only an answer that describes something can be old")
    scene.stack.api.lag(operation, step.args["seconds"])


def _no_capacity(scene: Scene, step: Step) -> None:
    refuse_capacity(scene, step.args["instance_types"], step.args["zones"], step.args["times"])


def refuse_capacity(
    scene: Scene,
    types: Sequence[str] | None = None,
    zones: Sequence[str] | None = None,
    times: int | None = None,
    is_active: Callable[[], bool] = lambda: True,
) -> None:
    """EC2 has no machine of these types in these zones, to launch or to start (None: any)."""

    def concerns(params: Mapping[str, Any]) -> bool:
        if not is_active():
            return False
        wanted = _asked(scene, params)
        return any(
            (types is None or kind in types) and (zones is None or any(zone.endswith(each) for each in zones))
            for kind, zone in wanted
        )

    for operation in ("RunInstances", "StartInstances"):
        scene.stack.api.faults.fail(operation, "InsufficientInstanceCapacity", times=times, where=concerns)


def _asked(scene: Scene, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(instance type, zone) of each machine that a call would need."""
    ec2 = scene.stack.ec2
    if ids := params.get("InstanceIds"):
        found = ec2.describe_instances(InstanceIds=list(ids))["Reservations"]
        machines = [item for each in found for item in each["Instances"]]
        return [(each["InstanceType"], each["Placement"]["AvailabilityZone"]) for each in machines]
    specified = (params.get("NetworkInterfaces") or [{}])[0]
    subnet = specified.get("SubnetId") or params.get("SubnetId")
    zones = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"] if subnet else []
    return [(str(params.get("InstanceType", "")), each["AvailabilityZone"]) for each in zones]


def _api_down(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.fail("ec2:*", "Unavailable", times=None, seconds=step.args["seconds"])


# -- the controller


def _ledger_down(scene: Scene, step: Step) -> None:
    scene.stack.api.faults.fail("dynamodb:*", "InternalServerError", times=None, seconds=step.args["seconds"])


def _crash(scene: Scene, step: Step) -> None:
    """The next invocation dies once that many of its calls were applied; it never hears the last answer."""
    Crash(scene, step.args["after_calls"])


class Crash:
    """Armed until the next invocation has made its calls."""

    def __init__(self, scene: Scene, after_calls: int) -> None:
        self._scene, self._left = scene, after_calls
        self._is_invoked = False
        self._lock = threading.Lock()
        self._host = scene.stack.hosts["controller"]
        self._former = self._host.on_invoke
        self._host.on_invoke = self._invoked
        scene.stack.api.watch(self._called, lambda _event, _fate: None)

    def _invoked(self, payload: bytes) -> None:
        self._former(payload)
        self._host.on_invoke = self._former
        self._is_invoked = True
        if self._left == 0:
            threading.Timer(0.02, self._kill).start()

    def _called(self, call: Any) -> None:
        if not self._is_invoked or call.is_by_hand or self._left == 0:
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._kill()

    def _kill(self) -> None:
        self._host.crash()


def _clock_skew(scene: Scene, step: Step) -> None:
    target = step.target
    skew = {VARIABLE: str(step.args["seconds"])}
    if target is not None and target.kind == "prober":
        scene.stack.hosts[f"prober-{target.group}"].override(skew)
        return
    scene.on_controllers(lambda each: each.override(skew))


def _stop_schedule(scene: Scene, step: Step) -> None:
    scene.stack.stop_schedule(step.args["seconds"])


def _second_controller(scene: Scene, _step: Step) -> None:
    """From now on another copy of the function, in processes of its own, is woken beside the first by everything."""
    host = scene.stack.hosts["controller"]
    second = scene.stack.another_controller()
    scene.spares.append(second)
    scene.journal.sources.append(second)
    second.warm()

    def beside(payload: bytes) -> None:
        if not scene.is_closing:
            threading.Thread(target=second.invoke, args=(payload,), daemon=True).start()

    host.on_invoke = beside


def _new_generation(scene: Scene, _step: Step) -> None:
    """A new version of the launch template is deployed: NATs that run now are of the generation before."""
    stack = scene.stack
    made = stack.ec2.create_launch_template_version(
        LaunchTemplateId=stack.launch_template,
        SourceVersion="1",
        LaunchTemplateData={"InstanceType": "t4g.nano"},
    )["LaunchTemplateVersion"]["VersionNumber"]
    stack.environment["NATKEEPER_LAUNCH_TEMPLATE_VERSION"] = str(made)
    scene.on_controllers(lambda each: each.override({"NATKEEPER_LAUNCH_TEMPLATE_VERSION": str(made)}))


# -- the operator


def _command(scene: Scene, step: Step) -> None:
    given = {key: value for key, value in step.args.items() if value is not None}
    answer = wake(scene, {"natkeeper": {"command": step.do, **given}})
    if "refused" in answer:
        raise CannotJudge(f"step {step.text}: the controller refused it: {answer['refused']}")
    if "errorType" in answer and not any(each.do == "crash_controller" for each in scene.scenario.timeline):
        # An operator would see the error and type it again; a file cannot, so its step was not made.
        raise CannotJudge(f"step {step.text}: the controller failed: {answer.get('errorMessage', answer)}")


def wake(scene: Scene, event: Mapping[str, Any]) -> dict[str, Any]:
    """One invocation, waited for. A crash of the controller is what some scenarios want, so it is no error here."""
    result = scene.stack.hosts["controller"].invoke(json.dumps(event, default=str).encode())
    if result.error is not None:
        scene.failed_commands.append((time.monotonic(), "controller", result.payload.decode(errors="replace")))
    answer = json.loads(result.payload)
    return answer if isinstance(answer, dict) else {}


VERBS: Mapping[str, Callable[[Scene, Step], None]] = {
    "api_error": _error,
    "api_throttle": _throttle,
    "api_slow": _slow,
    "api_lost_reply": _lost_reply,
    "api_stale": _stale,
    "no_capacity": _no_capacity,
    "api_down": _api_down,
    "crash_controller": _crash,
    "ledger_down": _ledger_down,
    "clock_skew": _clock_skew,
    "stop_schedule": _stop_schedule,
    "second_controller": _second_controller,
    "new_generation": _new_generation,
    "pause": _command,
    "resume": _command,
    "switchover": _command,
    "failover": _command,
}
