"""Many runs side by side: who may build, who goes first, and what a user is told of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.many import BROKEN, HOLDS, Builders, Played, expected_seconds, summary, table

LIBRARY = Path(__file__).parents[2] / "lab" / "natkeeper_lab" / "scenarios"
STOP, ALARM = parse(LIBRARY / "stop-the-nat.yaml"), parse(LIBRARY / "controller-crashes-in-the-middle.yaml")


def played(number: int, code: int, seconds: float = 10.0) -> Played:
    return Played(STOP, number, code, {"name": "stop-the-nat", "number": number}, f"words of run {number}", seconds)


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_the_table_says_how_often_each_passed_and_points_at_what_did_not() -> None:
    lines = table([played(1, HOLDS, 9.0), played(2, BROKEN, 30.0), played(3, HOLDS, 10.0)], 3)
    assert lines[1].split() == ["stop-the-nat", "2/3", "10.0", "30.0", "<-"]
    assert table([played(1, HOLDS)], 1)[1].endswith("10.0")


def test_the_first_failure_is_kept_whatever_order_runs_end_in() -> None:
    (found,) = summary([played(3, BROKEN), played(1, HOLDS), played(2, BROKEN)], 3)
    assert (found["passed"], found["failed_runs"]) == (1, [2, 3])
    assert found["first_failure"] == {"said": "words of run 2", "record": {"name": "stop-the-nat", "number": 2}}


def test_what_waits_longer_is_expected_to_take_longer() -> None:
    assert expected_seconds(STOP, 1) > expected_seconds(STOP, 8)
    assert expected_seconds(ALARM, 8) > 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_builder_that_dies_gives_its_place_back(number: signal.Signals) -> None:
    builders = Builders(1)
    holding, ready = os.pipe()

    def hold() -> None:
        with builders.turn():
            os.write(ready, b"!")
            time.sleep(30)

    first = forked(hold)
    os.read(holding, 1)
    second = forked(lambda: builders.turn().__enter__() and None)
    time.sleep(0.2)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)  # it waits for the only place
    os.kill(first, number)
    os.waitpid(first, 0)
    deadline = time.monotonic() + 60
    while os.waitpid(second, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
