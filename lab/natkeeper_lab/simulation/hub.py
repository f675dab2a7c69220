"""Virtual time and the things that happen in it: timers, and tasks that wait.

Everything in the world hangs on one `Hub`. A task is a greenlet, so that `reconcile`, which is plain blocking code, can
be stopped at any of its calls, raced against another one, or killed there. Nothing here knows natkeeper or AWS.

Instants are whole microseconds since the schedule began. What is due at the same instant runs in the order in which it
was asked for, or, with a `chooser`, in the order that it wishes: so are interleavings searched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

SECOND = 1_000_000
Chooser = Callable[[Sequence[str]], int]
"""Given the labels of all that is due now, the index of what runs first."""


class Timer(list[Any]):
    """Something that will run unless it is cancelled: [instant, number, what to run, label]. A list, because a campaign
    makes and compares more of them than of anything else; no two have the same number."""

    __slots__ = ()

    def cancel(self) -> None:
        """It will not run; too late is no error."""
        self[RUN] = None


RUN, LABEL = 2, 3


class Killed(Exception):
    """The result of a task that was killed."""


class Task:
    """Blocking code that runs in virtual time. `waiters`: called once with the task when it is over."""

    __slots__ = ("_glet", "_hub", "_is_doomed", "_run", "children", "error", "is_over", "result", "waiters")

    def __init__(self, hub: Hub, run: Callable[[], Any]) -> None:
        self._hub = hub
        self._run = run
        self._glet: Any = None
        self._is_doomed = False
        """Killed by something that runs on its own greenlet, which must come to its end first."""
        self.children: Sequence[Task] = ()
        """Those it waits for; they die with it."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self.waiters: list[Callable[[Task], None]] = []

    def perform(self) -> None:
        """From its greenlet only: all of it, from begin to end."""
        self._hub.current = self
        try:
            self.result = self._run()
        except GreenletExit:
            self.error = Killed()
        except BaseException as error:
            self.error = error
        del self._run  # it may refer to whoever holds the task
        self._end()

    def perform_inside(self) -> None:
        """The same on the greenlet of the running task, which dies of what kills it."""
        try:
            self.result = self._run()
        except GreenletExit:
            raise
        except BaseException as error:
            self.error = error
        self.is_over = True

    def _end(self) -> None:
        self.is_over = True
        for each in self.waiters:
            each(self)
        self.waiters.clear()

    def resume(self, value: Any = None) -> None:
        """Lets it go on as soon as what runs now is at its end, the wait answered with `value`."""
        if not self.is_over:
            self._hub.ready.append((self, value))

    def kill(self) -> None:
        """From what the hub runs, never from a task: it stops where it waits, and runs no more."""
        for each in self.children:
            each.kill()
        if self.is_over:
            return
        hub = self._hub
        if self._glet is None:  # never started: there is nothing to unwind
            self.error = Killed()
            self._end()
        elif self._glet is getcurrent():
            self._is_doomed = True
        else:
            outer, hub.killer = hub.killer, getcurrent()
            self._glet.throw(GreenletExit)
            hub.killer = outer


class _Start(tuple[Any, Any]):
    """A greenlet that never ran, and what it is to be switched to with: for the main one, which alone may start it. One
    begins on top of the stack of whoever starts it, so a chain of them would grow without end."""

    __slots__ = ()


_idle: list[Any] = []
"""Greenlets whose task is over, for the next ones of any world: making one takes ten times as long as switching."""


def _work(task: Task) -> None:
    """A greenlet's life: one task after the other; between them it waits in `_idle`."""
    me = getcurrent()
    while True:
        task.perform()
        hub = task._hub
        _idle.append(me)
        if hub.killer is not None:
            task = hub.killer.switch()
        elif isinstance(task.error, Killed) and not task._is_doomed:
            task = me.parent.switch()  # nobody killed it: its world was dropped unclosed
        else:
            task = hub.drive(None, me)


class Hub:
    """The clock and the queue of what is due.

    Whoever waits plays on what is due, on its own greenlet, until somebody's wait is over: a task whose own answer
    comes next goes on without a switch, and one that hands over to another switches once instead of twice.
    """

    def __init__(self) -> None:
        self.now = 0
        self.main = getcurrent()
        self.current: Task | None = None
        self.chooser: Chooser | None = None
        self.ready: deque[tuple[Task, Any]] = deque()
        """Tasks that go on at this instant, before anything else is due, and with what answer."""
        self.killer: Any = None
        """The greenlet to go back to when the one that is being unwound is done."""
        self._queue: list[Timer] = []
        self._sequence = 0
        self._until = 0
        self._is_done: Callable[[], bool] | None = None
        self._is_step = False
        """Something ran, and `_is_done` was not asked since."""
        self._failure: BaseException | None = None

    def after(self, delay: int, run: Callable[[], None], label: str = "") -> Timer:
        """Run it in `delay` microseconds."""
        self._sequence += 1
        timer = Timer((self.now + (delay if delay > 0 else 0), self._sequence, run, label))
        heappush(self._queue, timer)
        return timer

    def spawn(self, run: Callable[[], Any], delay: int = 0, label: str = "") -> Task:
        """A task that begins in `delay` microseconds."""
        task = Task(self, run)
        self.after(delay, task.resume, label)
        return task

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
        return self.drive(task, task._glet)

    def sleep(self, delay: int) -> None:
        """Blocks the running task for so long."""
        task = self.current
        assert task is not None, "only a task can sleep"
        self.after(delay, task.resume, "wake")
        self.drive(task, task._glet)

    def together(self, calls: Sequence[Callable[[], Any]]) -> list[Task]:
        """Runs them side by side, the first one on the caller's own greenlet; returns once all are over."""
        parent = self.current
        assert parent is not None, "only a task can wait"
        tasks = [Task(self, each) for each in calls]
        if not tasks:
            return tasks
        first, *others = tasks
        left, is_waiting = len(others), False

        def one_ended(_: Task) -> None:
            nonlocal left
            left -= 1
            if is_waiting and not left:
                parent.resume()

        for each in others:
            each.waiters.append(one_ended)
            self.ready.append((each, None))
        kept = parent.children
        parent.children = [*kept, *others]
        first.perform_inside()
        if left:
            is_waiting = True
            self.drive(parent, parent._glet)
        parent.children = kept
        return tasks

    # -- the world's engine

    def run(self, until: int, is_done: Callable[[], bool] | None = None) -> None:
        """Lets time pass up to an instant, or until `is_done` after a step. The clock ends at `until` in the first
        case."""
        self._until, self._is_done, self._is_step = until, is_done, False
        if not self.drive(None, self.main):
            self.now = max(self.now, until)

    def drive(self, task: Task | None, me: Any) -> Any:
        """Plays what is due on the greenlet `me`, from where it is called until there is something to do there.

        Returns a task's answer when `task` goes on; for an idle greenlet the next task; on the main one whether `run`
        is done (False: its time is up). Whoever switches to a greenlet brings just that along.
        """
        queue, ready, main = self._queue, self.ready, self.main
        self.current = None
        while True:
            if ready:
                other, value = ready.popleft()
                if other.is_over:
                    continue
                glet = other._glet
                if glet is None:
                    glet = other._glet = self._worker()
                    value = other
                if glet or me is main:
                    found = value if glet is me else glet.switch(value)
                else:
                    found = main.switch(_Start((glet, value)))
                break
            if self._is_step:
                self._is_step = False
                if self._is_done is not None and self._is_done():
                    found = me is main or main.switch(True)
                    break
            if not queue or queue[0][0] > self._until:
                found = me is not main and main.switch(False)
                break
            timer = heappop(queue) if self.chooser is None else self._next(self.chooser)
            self.now = timer[0]
            run = timer[RUN]
            if run is None:
                continue
            timer[RUN] = None
            self._is_step = True
            try:
                run()
            except BaseException as error:
                if me is main:
                    raise
                self._failure = error
                found = main.switch(True)
                break
            if task is not None and task._is_doomed:
                raise GreenletExit
        while type(found) is _Start:
            glet, value = found
            found = glet.switch(value)
        if self._failure is not None and me is main:
            failure, self._failure = self._failure, None
            raise failure
        self.current = task
        return found

    def _worker(self) -> Any:
        """A greenlet that will perform the task it is switched to with."""
        while _idle:
            found = _idle.pop()
            if found.parent is self.main:
                return found
        return greenlet(_work, parent=self.main)

    def _next(self, chooser: Chooser) -> Timer:
        timer = heappop(self._queue)
        at = timer[0]
        due = [timer] if timer[RUN] is not None else []
        while self._queue and self._queue[0][0] == at:
            other = heappop(self._queue)
            if other[RUN] is not None:
                due.append(other)
        if not due:
            return timer
        chosen = due.pop(chooser([each[LABEL] for each in due]) if len(due) > 1 else 0)
        for each in due:
            heappush(self._queue, each)
        return chosen

    def close(self) -> None:
        """Kills nothing and runs nothing more: the world is over."""
        self._queue.clear()
        self.ready.clear()
