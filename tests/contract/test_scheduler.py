"""EventBridge Scheduler: a schedule fires once in each of its minutes, somewhere inside it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lab.api import FunctionResult
from tests.contract.conftest import GAP, Start
from tests.contract.scenery import Aws, eventually

MINUTE = 0.2


def listen(aws: Aws, **schedule: Any) -> list[tuple[float, Any]]:
    """When and with what a function on a schedule is invoked; times count from the schedule's creation."""
    received: list[tuple[float, Any]] = []

    def invoke(payload: bytes) -> FunctionResult:
        received.append((time.monotonic() - began, json.loads(payload)))
        return FunctionResult(b"null")

    arn = aws.api.register_function("controller", invoke)
    began = time.monotonic()
    aws.client("scheduler").create_schedule(
        Name="tick",
        ScheduleExpression=schedule.pop("rate", "rate(1 minute)"),
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": "arn:aws:iam::123456789012:role/r", "Input": '{"tick": true}'},
        **schedule,
    )
    return received


def test_schedule_fires_once_in_each_minute_with_its_input(start: Start) -> None:
    received = listen(start(minute_seconds=MINUTE))
    eventually(lambda: len(received) >= 4, 3)
    assert received[0][1] == {"tick": True}
    offsets = [at / MINUTE - minute for minute, (at, _) in enumerate(received)]
    assert all(0 <= offset < 1.5 for offset in offsets)  # half a minute of this short kind is what a busy machine takes
    assert len({round(offset, 1) for offset in offsets}) > 1


@pytest.mark.parametrize("is_mended", [True, pytest.param(False, marks=GAP)])
def test_schedule_invokes_its_target(start: Start, is_mended: bool) -> None:
    received = listen(start(minute_seconds=MINUTE, is_mended=is_mended))
    assert eventually(lambda: received)


def test_the_same_seed_fires_at_the_same_times(start: Start) -> None:
    """Early in its minute with the one, in its middle with the other; a busy machine is late by half a second."""
    seen = []
    for seed in (54, 54, 7):
        aws = start(minute_seconds=4.0, seed=seed)
        received = listen(aws)
        seen.append(eventually(lambda received=received: received, 6)[0][0])
        aws.api.stop()
    assert max(seen[:2]) < 1.8 < seen[2]


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
    time.sleep(0.05)
    known = len(received)
    time.sleep(2 * MINUTE)
    assert len(received) == known


def test_longer_rate_fires_less_often(start: Start) -> None:
    received = listen(start(minute_seconds=MINUTE), rate="rate(3 minutes)")
    time.sleep(2.5 * MINUTE)
    assert len(received) == 1
