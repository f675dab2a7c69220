"""The verbs about natkeeper's own processes and clocks, and about its operator."""

from __future__ import annotations

from collections.abc import Mapping

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.verbs.aim import Verb, function


def _command(hands: Hands, step: Step) -> None:
    given = {key: value for key, value in step.args.items() if value is not None}
    answer = hands.wake({"natkeeper": {"command": step.do, **given}})
    if "refused" in answer:
        raise CannotDo(f"the controller refused it: {answer['refused']}")
    is_to_crash = any(other.do == "crash_controller" for other in hands.sight.scenario.timeline)
    if "errorType" in answer and not is_to_crash:
        # An operator would see the error and type it again; a file cannot, so its step was not made.
        raise CannotDo(f"the controller failed: {answer.get('errorMessage', answer)}")


VERBS: Mapping[str, Verb] = {
    "crash_controller": lambda hands, step: hands.crash_controller(step.args["after_calls"]),
    "clock_skew": lambda hands, step: hands.skew(function(step), step.args["seconds"]),
    "cpu_share": lambda hands, step: hands.set_cpu_share(function(step), step.args["percent"]),
    "stop_schedule": lambda hands, step: hands.stop_schedule(step.args["seconds"]),
    "second_controller": lambda hands, _step: hands.add_controller(),
    "new_generation": lambda hands, _step: hands.deploy_generation(),
    "pause": _command,
    "resume": _command,
    "switchover": _command,
    "failover": _command,
}
