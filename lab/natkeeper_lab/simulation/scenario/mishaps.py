"""What goes wrong between natkeeper and AWS, its ledger, its clock and its own processes; and its operator's words.

Called by `simulation.scenario.steps`. Faults of the API combine as in `api.faults`: every matching delay counts,
and the first matching refusal or lost reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.simulation.api import Call, Rule
from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.scenario.stage import Stage
from natkeeper_lab.simulation.setting import launches_of, settings_of

ANSWERED = 60.0
"""An operator's invocation is over by then: the controller's time-out is 20 s."""
_STATUS = {
    **dict.fromkeys(("RequestLimitExceeded", "Unavailable", "ServiceUnavailable"), 503),
    **dict.fromkeys(("InternalError", "InternalServerError", "InternalFailure", "ServiceException"), 500),
    **dict.fromkeys(("InsufficientInstanceCapacity", "InsufficientHostCapacity"), 500),
    **dict.fromkeys(("UnauthorizedOperation", "AccessDeniedException"), 403),
    "AuthFailure": 401,
    "TooManyRequestsException": 429,
    "ResourceNotFoundException": 404,
}
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; any other is a client's, 400."""
Where = Callable[[Call], bool]


@dataclass
class Trouble:
    """One fault of the API. `operation` is a name or pattern such as `ReplaceRoute`, `Describe*`, `dynamodb:*`; `until`
    and `delay` in the hub's microseconds."""

    operation: str
    times: int | None
    rule: Rule
    where: Where = lambda _call: True
    until: int | None = None

    def concerns(self, call: Call, now: int) -> bool:
        """It is this call's."""
        is_over = self.times == 0 or (self.until is not None and now >= self.until)
        return not is_over and _fits(self.operation, call) and self.where(call)


def _fits(operation: str, call: Call) -> bool:
    return fnmatchcase(f"{call.service}:{call.operation}" if ":" in operation else call.operation, operation)


def _harmless(_call: Call) -> bool:
    return True


class Mishaps:
    """Stands between the world's API and its rules; natkeeper's calls only, for people change the account directly."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.troubles: list[Trouble] = []
        self.paces: dict[str, int] = {}
        stage.world.api.judge = self.judge

    def add(
        self, operation: str, times: int | None, *, where: Where = _harmless, until: int | None = None, **way: Any
    ) -> None:
        """`way`: what `simulation.api.Rule` may be given."""
        self.troubles.append(Trouble(operation, times, Rule("scenario", _harmless, **way), where, until))

    def pace(self, operation: str, microseconds: int) -> None:
        """From now on a call of this takes so long. Of several that match, the one set last counts."""
        self.paces.pop(operation, None)
        self.paces[operation] = microseconds

    def judge(self, call: Call) -> Rule | None:
        """The call's own time, every delay and lag, and the first refusal or lost reply; each one used counts down."""
        own = [pace for operation, pace in self.paces.items() if _fits(operation, call)]
        found = Rule("scenario", _harmless, delay=max(0, own[-1] - self._stage.world.api.latency[0]) if own else 0)
        has_failed, is_any = False, bool(own)
        for each in self.troubles:
            fails = each.rule.refuses is not None or each.rule.loses
            if (fails and has_failed) or not each.concerns(call, self._stage.world.hub.now):
                continue
            if each.times is not None:
                each.times -= 1
            delay, lag = found.delay + each.rule.delay, max(found.lag, each.rule.lag)
            found = replace(each.rule if fails else found, delay=delay, lag=lag)
            has_failed, is_any = has_failed or fails, True
        return found if is_any else None


def refusal(code: str) -> ApiError:
    """The answer AWS gives with an error code."""
    return ApiError(code, f"Injected by the scenario: {code}", _STATUS.get(code, 400))


def _microseconds(seconds: float) -> int:
    return int(seconds * SECOND)


def _until(stage: Stage, step: Step) -> int:
    return stage.world.hub.now + _microseconds(step.args["seconds"])


def _operation(step: Step) -> str:
    """The simulation makes no call to SNS: a file that means only that one cannot be played."""
    found = str(step.args["operation"])
    if found.startswith("sns:") or found == "Publish":
        raise CannotJudge(f"step {step.text}: messages to the topic are not calls in the simulation")
    return found


# -- the API


def _error(stage: Stage, step: Step) -> None:
    stage.mishaps.add(_operation(step), step.args["times"], refuses=refusal(step.args["code"]))


def _throttle(stage: Stage, step: Step) -> None:
    stage.mishaps.add(_operation(step), step.args["times"], refuses=refusal("RequestLimitExceeded"))


def _slow(stage: Stage, step: Step) -> None:
    stage.mishaps.add(_operation(step), step.args["times"], delay=_microseconds(step.args["seconds"]))


def _lost_reply(stage: Stage, step: Step) -> None:
    if _operation(step).rpartition(":")[2] == "Invoke":
        raise CannotJudge(f"step {step.text}: a lost reply of Lambda's is not simulated")
    stage.mishaps.add(_operation(step), step.args["times"], loses=True)


def _stale(stage: Stage, step: Step) -> None:
    operation = _operation(step).rpartition(":")[2]
    if not operation.startswith(("Describe", "*")):
        raise CannotJudge(f"step {step.text}: only an answer that describes something can be old")
    stage.mishaps.add(f"ec2:{operation}", None, lag=_microseconds(step.args["seconds"]))


def _no_capacity(stage: Stage, step: Step) -> None:
    refuse_capacity(stage, step.args["instance_types"], step.args["zones"], step.args["times"])


def refuse_capacity(
    stage: Stage,
    types: Sequence[str] | None = None,
    zones: Sequence[str] | None = None,
    times: int | None = None,
    is_active: Callable[[], bool] = lambda: True,
) -> None:
    """EC2 has no machine of these types in these zones, to launch or to start (None: any)."""

    def concerns(call: Call) -> bool:
        kind, zone = _asked(stage.world.ec2, call.params)
        return is_active() and (types is None or kind in types) and (zones is None or zone in zones)

    for operation in ("RunInstances", "StartInstances"):
        stage.mishaps.add(operation, times, where=concerns, refuses=refusal("InsufficientInstanceCapacity"))


def _asked(ec2: Ec2, params: Mapping[str, Any]) -> tuple[str, str]:
    """(instance type, zone) of the machine that a call would need."""
    if "InstanceIds" in params:
        machine = ec2.machines.get(params["InstanceIds"][0])
        return (machine.kind, machine.interface.zone) if machine and machine.interface else ("", "")
    return params["InstanceType"], ec2.subnets[params["NetworkInterfaces"][0]["SubnetId"]]


def _api_down(stage: Stage, step: Step) -> None:
    stage.mishaps.add("ec2:*", None, until=_until(stage, step), refuses=refusal("Unavailable"))


def _ledger_down(stage: Stage, step: Step) -> None:
    stage.mishaps.add("dynamodb:*", None, until=_until(stage, step), refuses=refusal("InternalServerError"))


# -- the controller


def _crash(stage: Stage, step: Step) -> None:
    """The next invocation dies once that many of its calls were applied; it never hears the last answer."""
    world, armed_at = stage.world, stage.world.hub.now
    victim: list[Invocation] = []
    left = step.args["after_calls"]

    def is_it(call: Call) -> bool:
        if not victim and call.invocation.began_at >= armed_at:
            victim.append(call.invocation)
        return bool(victim) and call.invocation is victim[0]

    def die(call: Call) -> None:
        call.invocation.is_over = True
        world.hub.after(0, call.invocation.end, "crash")

    def before(call: Call) -> None:
        if is_it(call) and not step.args["after_calls"]:
            die(call)

    def after(call: Call) -> None:
        nonlocal left
        if is_it(call) and left:
            left -= 1
            if not left:
                die(call)

    world.before_call.append(before)
    world.after_call.append(after)


def _clock_skew(stage: Stage, step: Step) -> None:
    skew, target, world = _microseconds(step.args["seconds"]), step.target, stage.world
    world.fired("clock-skew")
    if target is not None and target.kind == "prober":
        world.prober_skew[target.group] = skew
    else:
        world.controller_skew = skew


def _stop_schedule(stage: Stage, step: Step) -> None:
    stage.world.bus.no_ticks_until = _until(stage, step)


def _second_controller(stage: Stage, _step: Step) -> None:
    """From now on another copy of the function is woken beside the first by everything."""
    stage.world.functions.copies += 1


def _new_generation(stage: Stage, _step: Step) -> None:
    """A new version of the launch template is deployed: NATs that run now are of the generation before."""
    world = stage.world
    env = {**dict(world.setting.env), "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "2"}
    world.setting = replace(world.setting, env=tuple(sorted(env.items())))
    world.settings, world.launches = settings_of(world.setting), launches_of(world.setting)
    world.policy = world.settings.policy


# -- the operator


def _command(stage: Stage, step: Step) -> None:
    given = {key: value for key, value in step.args.items() if value is not None}
    refused = wake(stage, {"natkeeper": {"command": step.do, **given}})
    if refused is not None:
        raise CannotJudge(f"step {step.text}: the controller refused it: {refused}")


def wake(stage: Stage, event: Mapping[str, Any]) -> str | None:
    """One invocation, waited for; why it was refused, if it was. That it crashes is what some scenarios want."""
    functions, journal = stage.world.functions, stage.journal
    request_id = f"operator{functions.next_number()}"
    functions.wake(dict(event), request_id)
    stage.until("the controller's answer to the operator", lambda: request_id in journal.over, ANSWERED)
    return journal.refused.get(request_id)


VERBS: Mapping[str, Callable[[Stage, Step], None]] = {
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
