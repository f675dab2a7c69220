"""The hub: virtual time, tasks that wait, die and run side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from natkeeper_lab.simulation.hub import SECOND, Hub, Killed, Task


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_what_is_due_runs_in_order_of_time_and_then_of_asking(hub: Hub) -> None:
    ran: list[tuple[str, int]] = []
    for name, delay in (("late", 3), ("first", 1), ("second", 1)):
        hub.after(delay, lambda name=name: ran.append((name, hub.now)))  # type: ignore[misc]
    hub.run(10)
    assert ran == [("first", 1), ("second", 1), ("late", 3)]
    assert hub.now == 10


def test_time_stops_at_the_step_after_which_it_is_done(hub: Hub) -> None:
    for delay in (1, 2, 3):
        hub.after(delay, lambda: None)
    hub.run(10, lambda: hub.now >= 2)
    assert hub.now == 2


def test_a_cancelled_timer_does_not_run(hub: Hub) -> None:
    ran: list[str] = []
    timer = hub.after(1, lambda: ran.append("no"))
    timer.cancel()
    hub.run(10)
    assert ran == []


def test_a_task_waits_for_its_answer_and_hears_only_the_first(hub: Hub) -> None:
    heard: list[str] = []

    def arm(resume: Callable[[Any], None]) -> None:
        hub.after(5, lambda: resume("answer"))
        hub.after(7, lambda: resume("too late"))

    def body() -> None:
        heard.append(hub.wait(arm))
        hub.sleep(10)
        heard.append(f"at {hub.now}")

    task = hub.spawn(body)
    hub.run(SECOND)
    assert heard == ["answer", "at 15"]
    assert task.is_over


def test_tasks_run_side_by_side_and_their_parent_goes_on_when_all_are_over(hub: Hub) -> None:
    def child(span: int, error: Exception | None = None) -> Callable[[], str]:
        def body() -> str:
            hub.sleep(span)
            if error is not None:
                raise error
            return f"slept {span}"

        return body

    def parent() -> None:
        found = hub.together([child(3), child(9, ValueError("broken")), child(6)])
        ended.append((hub.now, [each.result if each.error is None else repr(each.error) for each in found]))

    ended: list[Any] = []
    hub.spawn(parent)
    hub.run(SECOND)
    assert ended == [(9, ["slept 3", "ValueError('broken')", "slept 6"])]


def test_a_killed_task_stops_where_it_waits_and_its_children_with_it(hub: Hub) -> None:
    done: list[str] = []

    def child() -> None:
        hub.sleep(10)
        done.append("child")

    def parent() -> None:
        try:
            hub.together([child, child])
            done.append("parent")
        finally:
            done.append("unwound")

    task = hub.spawn(parent)
    hub.after(5, task.kill)
    hub.run(SECOND)
    assert done == ["unwound"]
    assert isinstance(task.error, Killed)


def test_a_task_that_is_killed_before_it_began_never_begins(hub: Hub) -> None:
    done: list[str] = []
    task = hub.spawn(lambda: done.append("began"), delay=5)
    ended: list[Task] = []
    task.waiters.append(ended.append)
    task.kill()
    hub.run(SECOND)
    assert done == []
    assert ended == [task]


def test_a_chooser_decides_what_runs_first_of_what_is_due_at_the_same_instant(hub: Hub) -> None:
    ran: list[str] = []
    asked: list[list[str]] = []

    def last(labels: Sequence[str]) -> int:
        asked.append(list(labels))
        return len(labels) - 1

    hub.chooser = last
    for name in "abc":
        hub.after(1, lambda name=name: ran.append(name), name)  # type: ignore[misc]
    hub.after(2, lambda: ran.append("alone"), "alone")
    hub.run(10)
    assert ran == ["c", "b", "a", "alone"]
    assert asked == [["a", "b", "c"], ["a", "b"]]


def test_an_error_of_what_the_hub_runs_is_the_callers_and_not_the_tasks_on_whose_greenlet_it_ran(hub: Hub) -> None:
    def fail() -> None:
        raise LookupError("the world's")

    task = hub.spawn(lambda: hub.sleep(10))
    hub.after(5, fail)
    with pytest.raises(LookupError):
        hub.run(SECOND)
    assert not task.is_over


def test_it_is_asked_after_each_step_whether_it_is_done_whoever_ran_it(hub: Hub) -> None:
    def body() -> None:
        for _ in range(5):
            hub.sleep(10)

    hub.spawn(body)
    hub.run(SECOND, lambda: hub.now >= 30)
    assert hub.now == 30
    hub.run(45)
    assert hub.now == 45
