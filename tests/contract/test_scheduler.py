"""EventBridge Scheduler: a schedule fires once in each of its minutes, somewhere inside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pytest

from natkeeper_lab.api import ApiOptions, FunctionResult, scheduler
from natkeeper_lab.api.scheduler import Scheduler
from tests.contract.conftest import GAP, Start
from tests.contract.scenery import Aws, eventually

MINUTE = 0.2


def listen(aws: Aws, **schedule: Any) -> list[Any]:
    """With what a function on a schedule is invoked."""
    received: list[Any] = []

    def invoke(payload: bytes) -> FunctionResult:
        received.append(json.loads(payload))
        return FunctionResult(b"null")

    arn = aws.api.register_function("controller", invoke)
    aws.client("scheduler").create_schedule(
        Name="tick",
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": "arn:aws:iam::123456789012:role/r", "Input": '{"tick": true}'},
        **schedule,
    )
    return received


class Minutes:
    """A scheduler's surroundings, with a clock of their own: its agenda, and the functions it invokes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.fired: list[tuple[float, str, Any]] = []
        self._jobs: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr(scheduler.time, "monotonic", lambda: self.now)

    def after(self, seconds: float, job: Callable[[], None]) -> None:
        self._jobs.append((self.now + seconds, job))

    def has(self, _function: str) -> bool:
        return True

    def invoke_later(self, function: str, payload: bytes) -> None:
        self.fired.append((self.now / 60, function, json.loads(payload)))

    def pass_until(self, minute: float) -> None:
        while self._jobs and min(self._jobs, key=itemgetter(0))[0] <= minute * 60:
            due = min(self._jobs, key=itemgetter(0))
            self._jobs.remove(due)
            self.now = due[0]
            due[1]()
        self.now = minute * 60


def plan(minutes: Minutes, rate: str = "rate(1 minute)", seed: int = 0) -> Scheduler:
    found = Scheduler(ApiOptions(minute_seconds=60, seed=seed), minutes, minutes)  # type: ignore[arg-type]
    target = {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:controller", "Input": '{"tick": true}'}
    found.changed("tick", {"State": "ENABLED", "ScheduleExpression": rate, "Target": target})
    return found


def test_schedule_fires_once_in_each_minute_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = Minutes(monkeypatch)
    plan(minutes)
    minutes.pass_until(100)
    assert [int(at) for at, _, _ in minutes.fired] == list(range(100))
    assert {(function, json.dumps(payload)) for _, function, payload in minutes.fired} == {
        ("controller", '{"tick": true}')
    }
    offsets = [at % 1 for at, _, _ in minutes.fired]
    assert (min(offsets) < 0.1, max(offsets) > 0.9) == (True, True)


def test_the_same_seed_fires_at_the_same_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(seed: int) -> list[float]:
        minutes = Minutes(monkeypatch)
        plan(minutes, seed=seed)
        minutes.pass_until(5)
        return [at for at, _, _ in minutes.fired]

    assert times(54) == times(54) != times(7)


def test_longer_rate_fires_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = Minutes(monkeypatch)
    plan(minutes, "rate(3 minutes)")
    minutes.pass_until(30)
    assert [int(at) for at, _, _ in minutes.fired] == list(range(0, 30, 3))


@pytest.mark.parametrize("is_mended", [True, pytest.param(False, marks=GAP)])
def test_schedule_invokes_its_target(start: Start, is_mended: bool) -> None:
    aws = start(minute_seconds=MINUTE, is_mended=is_mended)
    received = listen(aws)
    assert eventually(lambda: received, aws.patience)[0] == {"tick": True}


def test_disabled_schedule_is_silent_until_it_is_enabled(start: Start) -> None:
    aws = start(minute_seconds=MINUTE)
    received = listen(aws, State="DISABLED")
    time.sleep(2 * MINUTE)
    assert received == []
    scheduler = aws.client("scheduler")
    found = scheduler.get_schedule(Name="tick")
    kept = {key: found[key] for key in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**kept, State="ENABLED")
    eventually(lambda: received)
    scheduler.delete_schedule(Name="tick")
    time.sleep(2 * MINUTE)  # for what was already under way
    known = len(received)
    time.sleep(2 * MINUTE)
    assert len(received) == known
