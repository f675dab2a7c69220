"""Greenlets outlive their task: what one task did or suffered must never be seen by the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from natkeeper_lab.simulation import hub as module
from natkeeper_lab.simulation.hub import Hub, Killed, Task


@pytest.fixture(autouse=True)
def _no_greenlet_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_idle", [])


def played(hub: Hub, run: Callable[[], Any]) -> Task:
    """One task, run until nothing is due any more."""
    task = hub.spawn(run)
    hub.run(hub.now + 1_000)
    return task


def test_a_greenlet_whose_task_is_over_serves_the_next_one_in_another_world_too() -> None:
    first, second = Hub(), Hub()
    assert played(first, lambda: first.sleep(10) or "one").result == "one"
    (idle,) = module._idle
    assert played(second, lambda: second.sleep(10) or "two").result == "two"
    assert module._idle == [idle]


def test_a_task_that_was_killed_leaves_nothing_to_the_next_one() -> None:
    hub = Hub()
    killed = hub.spawn(lambda: hub.sleep(10_000))
    hub.run(5)
    killed.kill()
    assert isinstance(killed.error, Killed)
    task = played(hub, lambda: hub.sleep(10) or "well")
    assert (task.result, task.error) == ("well", None)
    hub.run(20_000)  # the killed one's timer is due, and wakes nobody
    assert killed.result is None


def test_an_error_stays_with_the_task_that_raised_it() -> None:
    hub = Hub()

    def fail() -> None:
        raise LookupError

    assert isinstance(played(hub, fail).error, LookupError)
    assert played(hub, lambda: "well").error is None


def test_children_die_with_the_task_that_waits_for_them_and_their_greenlets_are_free_again() -> None:
    hub = Hub()
    reached: list[str] = []

    def child() -> None:
        hub.sleep(500)
        reached.append("end")

    parent = hub.spawn(lambda: hub.together([child, child]))
    hub.run(100)
    parent.kill()
    hub.run(2_000)
    assert (reached, parent.is_over, len(module._idle)) == ([], True, 2)


def test_a_join_returns_when_the_slowest_is_over_and_not_before() -> None:
    hub = Hub()

    def both() -> int:
        hub.together([lambda: hub.sleep(30), lambda: hub.sleep(70)])
        return hub.now

    assert played(hub, both).result == 70
