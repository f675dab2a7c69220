"""EventBridge Scheduler: each enabled schedule fires once a period, anywhere inside the minute that it is due.

The mend of moto's backend tells it of every schedule that is made or changed; targets are functions. Deterministic: the
draws come from the options' seed and the order in which schedules were enabled. May not import moto or boto3.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from natkeeper_lab.api.agenda import Agenda
from natkeeper_lab.api.functions import Functions, name_of
from natkeeper_lab.api.options import ApiOptions

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}


class Scheduler:
    """`changed` for each schedule that was created, updated or deleted."""

    def __init__(self, options: ApiOptions, agenda: Agenda, functions: Functions) -> None:
        self._minute = options.minute_seconds
        self._draws = random.Random(options.seed)
        self._agenda = agenda
        self._functions = functions
        self._current: dict[str, object] = {}
        self._lock = threading.Lock()

    def changed(self, name: str, schedule: Mapping[str, Any] | None) -> None:
        """`schedule` in the words of CreateSchedule, None when it was deleted. Its minutes begin now."""
        with self._lock:
            token = self._current[name] = object()
            if schedule is None or schedule["State"] != "ENABLED":
                return
            draws = random.Random(self._draws.random())
        self._plan(name, token, schedule, draws, time.monotonic())

    def _plan(
        self, name: str, token: object, schedule: Mapping[str, Any], draws: random.Random, minute_began: float
    ) -> None:
        """Without a start date the first minute is the one that begins at creation."""
        due = minute_began + draws.random() * self._minute

        def fire() -> None:
            if self._current.get(name) is not token:
                return
            self._plan(name, token, schedule, draws, minute_began + period_of(schedule) * self._minute)
            target = schedule["Target"]
            function = name_of(target["Arn"])
            if self._functions.has(function):
                self._functions.invoke_later(function, str(target.get("Input") or "{}").encode())

        self._agenda.after(max(0.0, due - time.monotonic()), fire)


def period_of(schedule: Mapping[str, Any]) -> int:
    """Minutes between two invocations."""
    found = _RATE.fullmatch(schedule["ScheduleExpression"])
    if found is None:
        raise NotImplementedError(f"the lab's Scheduler knows rate(…) only, not {schedule['ScheduleExpression']}")
    return int(found[1]) * _MINUTES[found[2]]
