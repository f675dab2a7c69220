"""The alarm on throttled functions: one throttle within three minutes is enough, none is silence."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from natkeeper_lab.scenario.alarms import defined
from natkeeper_lab.scenario.metric_looks import state_of

TICK = 10.0
NOW = 100.0


def scene(throttles: Sequence[float], begun: float = 0.0) -> Any:
    journal = SimpleNamespace(throttles=lambda since: [at for at in throttles if at >= since])
    zones = SimpleNamespace(zones=("a", "b"))
    return SimpleNamespace(journal=journal, pace=SimpleNamespace(tick=TICK), switched_on_at=begun, scenario=zones)


@pytest.mark.parametrize(
    ("throttles", "state"),
    [([], "ok"), ([NOW - 1], "alarm"), ([NOW - 25], "alarm"), ([NOW - 31], "ok"), ([NOW + 1], "ok")],
)
def test_one_throttle_within_three_minutes_sets_the_alarm_off(throttles: list[float], state: str) -> None:
    assert state_of(scene(throttles), defined()["throttled"], NOW) == state


def test_an_alarm_that_is_younger_than_a_minute_knows_nothing() -> None:
    assert state_of(scene([NOW], begun=NOW - 5), defined()["throttled"], NOW) == "insufficient_data"
