"""Virtual time and the things that happen in it: timers, and tasks that wait.

Everything in the world hangs on one `Hub`. A task is a greenlet, so that `reconcile`, which is plain blocking code, can
be stopped at any of its calls, raced against another one, or killed there. Nothing here knows natkeeper or AWS.

Instants are whole microseconds since the schedule began. What is due at the same instant runs in the order in which it
was asked for, or, with a `chooser`, in the order that it wishes: so are interleavings searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

SECOND = 1_000_000
Chooser = Callable[[Sequence[str]], int]
"""Given the labels of all that is due now, the index of what runs first."""


class Timer:
    """Something that will run unless it is cancelled."""

    __slots__ = ("label", "run")

    def __init__(self, run: Callable[[], None] | None, label: str) -> None:
        self.run = run
        self.label = label

    def cancel(self) -> None:
        """It will not run; too late is no error."""
        self.run = None


class Killed(Exception):
    """The result of a task that was killed."""


class Task:
    """Blocking code that runs in virtual time. `waiters`: called once with the task when it is over."""

    __slots__ = ("_glet", "_hub", "_run", "children", "error", "is_over", "result", "waiters")

    def __init__(self, hub: Hub, run: Callable[[], Any]) -> None:
        self._hub = hub
        self._run = run
        self._glet: Any = None
        self.children: Sequence[Task] = ()
        """Those it waits for; they die with it."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self.waiters: list[Callable[[Task], None]] = []

    def perform(self) -> None:
        """From its greenlet only: all of it, from begin to end."""
        try:
            self.result = self._run()
        except GreenletExit:
            self.error = Killed()
        except BaseException as error:
            self.error = error
        self._end()

    def _end(self) -> None:
        self.is_over = True
        for each in self.waiters:
            each(self)
        self.waiters.clear()

    def resume(self, value: Any = None) -> None:
        """From the hub only: let it go on, the wait answered with `value`."""
        if self.is_over:
            return
        hub = self._hub
        hub.current = self
        if self._glet is None:
            self._glet = hub.worker()
            self._glet.switch(self)
        else:
            self._glet.switch(value)
        hub.current = None

    def kill(self) -> None:
        """From the hub only: it stops where it waits, and runs no more."""
        for each in self.children:
            each.kill()
        if self.is_over:
            return
        if self._glet is None:  # never started: there is nothing to unwind
            self.error = Killed()
            self._end()
            return
        self._hub.current = self
        self._glet.throw(GreenletExit)
        self._hub.current = None


_idle: list[Any] = []
"""Greenlets whose task is over, for the next ones of any world: making one takes ten times as long as switching."""


def _work(task: Task) -> None:
    """A greenlet's life: one task after the other; between them it waits in `_idle`."""
    me = getcurrent()
    while True:
        task.perform()
        _idle.append(me)
        task = me.parent.switch()


class Hub:
    """The clock and the queue of what is due."""

    def __init__(self) -> None:
        self.now = 0
        self.main = getcurrent()
        self.current: Task | None = None
        self.chooser: Chooser | None = None
        self.steps = 0
        self._queue: list[tuple[int, int, Timer]] = []
        self._sequence = 0

    def after(self, delay: int, run: Callable[[], None], label: str = "") -> Timer:
        """Run it in `delay` microseconds."""
        timer = Timer(run, label)
        self._sequence += 1
        heappush(self._queue, (self.now + (delay if delay > 0 else 0), self._sequence, timer))
        return timer

    def spawn(self, run: Callable[[], Any], delay: int = 0, label: str = "") -> Task:
        """A task that begins in `delay` microseconds."""
        task = Task(self, run)
        self.after(delay, task.resume, label)
        return task

    def worker(self) -> Any:
        """A greenlet that will perform the task it is switched to with."""
        while _idle:
            found = _idle.pop()
            if found.parent is self.main:
                return found
        return greenlet(_work, parent=self.main)

    # -- inside a task

    def wait(self, arm: Callable[[Callable[[Any], None]], None]) -> Any:
        """Blocks the running task until what `arm` was given is called with the answer."""
        task = self.current
        assert task is not None, "only a task can wait"
        is_answered = False

        def once(value: Any) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                task.resume(value)

        arm(once)
        return self.main.switch()

    def sleep(self, delay: int) -> None:
        """Blocks the running task for so long."""
        task = self.current
        assert task is not None, "only a task can sleep"
        self.after(delay, task.resume, "wake")
        self.main.switch()

    def together(self, calls: Sequence[Callable[[], Any]]) -> list[Task]:
        """Runs them side by side; returns once all are over."""
        parent = self.current
        assert parent is not None, "only a task can wait"
        tasks = [Task(self, each) for each in calls]
        left = len(tasks)
        if not left:
            return tasks

        def one_ended(_: Task) -> None:
            nonlocal left
            left -= 1
            if not left:
                self.after(0, parent.resume, "join")

        for each in tasks:
            each.waiters.append(one_ended)
            self.after(0, each.resume)
        parent.children = tasks
        self.main.switch()
        parent.children = ()
        return tasks

    # -- the world's engine

    def run(self, until: int, is_done: Callable[[], bool] = lambda: False) -> None:
        """Lets time pass up to an instant, or until `is_done` after a step. The clock ends at `until` in the first
        case."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            if self.chooser is None:
                self.now, _, timer = heappop(queue)
            else:
                self.now, timer = self._next(self.chooser)
            run = timer.run
            if run is None:
                continue
            timer.run = None
            run()
            self.steps += 1
            if is_done():
                return
        self.now = max(self.now, until)

    def _next(self, chooser: Chooser) -> tuple[int, Timer]:
        at, _, timer = heappop(self._queue)
        if not self._queue or self._queue[0][0] != at:
            return at, timer
        due = [timer] if timer.run is not None else []
        while self._queue and self._queue[0][0] == at:
            other = heappop(self._queue)[2]
            if other.run is not None:
                due.append(other)
        if not due:
            return at, timer
        chosen = due.pop(chooser([each.label for each in due]) if len(due) > 1 else 0)
        self._put_back(at, due)
        return at, chosen

    def _put_back(self, at: int, timers: Iterable[Timer]) -> None:
        for each in timers:
            self._sequence += 1
            heappush(self._queue, (at, self._sequence, each))

    def close(self) -> None:
        """Kills nothing and runs nothing more: the world is over."""
        self._queue.clear()
