"""Lambda in the simulated account: the controller and the probers, invoked, retried, killed, and heard of.

Called by the clients, the bus and the schedule. Asynchronous invocations are queued, tried again after one and two
minutes when the function fails, and their end goes to destinations; delivery is at least once (Lambda developer guide,
"Asynchronous invocation"). A retry has the same request id; its pass has a lease's name of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from natkeeper.ports import OwnInstances
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.errors import NoAnswer
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation, destination
from natkeeper_lab.simulation.limits import EVENT, check, size
from natkeeper_lab.simulation.probes import Run

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World

RETRIES = (60 * SECOND, 120 * SECOND)
QUEUE = (5_000, 60_000)
"""From the queue to a warm function, microseconds."""
COLD = (150_000, 700_000)
COLD_SHARE = 0.1
PROBER_START = (20_000, 150_000)
CRASH = (200_000, 8 * SECOND)
"""From a prober's start to its death: a sandbox that cannot import it dies at once, one whose host dies later."""
HOST_CLOCK_ERROR = 45_000
"""How far a host's wall clock may be off: two of them stay within Policy.clock_error of each other."""


class Functions:
    """The stack's functions. `probers`: runs in flight."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.probers: list[Run] = []
        self.invocations: list[Invocation] = []
        self.environments: list[OwnInstances] = []
        """What the controller's warm environments know that have nothing to do now."""
        self.throttled_until = 0
        self.probers_fail_until = 0
        self.duplicates = 0
        """So many more results of probers are delivered twice."""
        self.lost_results = 0
        self.copies = 1
        """So many controllers stand beside each other, and everything wakes all of them."""
        self.queued = 0
        """So many events wait for the controller, those included that Lambda will try again."""
        self._numbers = 0

    def next_number(self) -> int:
        """For ids: the next one."""
        self._numbers += 1
        return self._numbers

    # -- the controller

    def wake(self, event: Any, request_id: str | None = None, attempt: int = 0) -> None:
        """Queues one asynchronous invocation of the controller, and of each of its copies."""
        assert size(event) <= EVENT, "Lambda takes no event of that size"
        self._queue(event, request_id, attempt)
        for _ in range(self.copies - 1):
            self._queue(event)

    def _queue(self, event: Any, request_id: str | None = None, attempt: int = 0) -> None:
        world = self._world
        if request_id is None:
            request_id = f"r{self.next_number()}"
        self.queued += 1
        low, high = COLD if world.dice.random() < COLD_SHARE else QUEUE
        delay = world.dice.randrange(low, high)
        world.hub.after(delay, lambda: self._begin(event, request_id, attempt), "invoke")

    def _begin(self, event: Any, request_id: str, attempt: int) -> None:
        world = self._world
        if world.hub.now < self.throttled_until:
            world.fired("controller-throttled")
            delay = world.dice.randrange(SECOND, 5 * SECOND)
            world.hub.after(delay, lambda: self._begin(event, request_id, attempt), "throttled")
            return
        self.queued -= 1
        invocation = Invocation(world, event, request_id, world.controller_skew + self._clock_error())
        if self.environments:
            invocation.own = self.environments.pop()
        self.invocations.append(invocation)
        task = world.hub.spawn(invocation.run, label="begin")
        invocation.task = task
        timer = world.hub.after(invocation.deadline - world.hub.now, lambda: self._time_out(invocation), "time-out")

        def over(_: Any) -> None:
            invocation.is_over = True
            timer.cancel()
            self.invocations.remove(invocation)
            if task.error is None:
                self.environments.append(invocation.own)
            else:
                self._failed(invocation, attempt, task.error)
            world.ended(invocation, task.error)

        task.waiters.append(over)
        world.woken(invocation)

    def _time_out(self, invocation: Invocation) -> None:
        if invocation not in self.invocations:
            return  # it ended while its host's time stood still
        if invocation.frozen_until > self._world.hub.now:
            # The whole host stood still: its time-out stands still with it.
            delay = invocation.frozen_until - self._world.hub.now + SECOND
            self._world.hub.after(delay, lambda: self._time_out(invocation), "time-out")
            return
        self._world.timed_out(invocation)
        invocation.end()

    def _failed(self, invocation: Invocation, attempt: int, error: BaseException) -> None:
        self._world.crashed(invocation, error)
        if attempt < len(RETRIES):
            event, request_id = invocation.event, invocation.request_id
            self.queued += 1

            def again() -> None:
                self.queued -= 1
                self.wake(event, request_id, attempt + 1)

            self._world.hub.after(RETRIES[attempt], again, "retry")

    # -- the probers

    def submit(self, call: Call, is_waited_for: bool, patience: int, resume: Callable[[Any], None]) -> None:
        """An Invoke of a prober reaches Lambda."""
        world = self._world
        world.sending(call)
        if call.invocation.is_over:
            return
        check(call.operation, call.params)
        rule = world.api.rule_for(call)
        if rule is not None and rule.refuses is not None:
            refusal = rule.refuses
            world.hub.after(20_000, lambda: resume(refusal), "Invoke")
            return
        request = json.loads(call.params["Payload"])
        late = rule.delay if rule is not None else 0
        if not is_waited_for:
            world.hub.after(10_000 + late, lambda: self._accept(call, request, resume), "Invoke")
            return
        world.hub.after(patience, lambda: resume(NoAnswer()), "Invoke")
        world.hub.after(
            10_000 + late, lambda: self._start(call, request, lambda _, report: _answer(resume, report)), "Invoke"
        )

    def _accept(self, call: Call, request: dict[str, Any], resume: Callable[[Any], None]) -> None:
        self._start(call, request, self._deliver)
        self._world.hub.after(10_000, lambda: resume({"StatusCode": 202}), "Invoke")

    def _start(self, call: Call, request: dict[str, Any], ended: Callable[[Run, dict[str, Any] | None], None]) -> None:
        world = self._world
        world.applied(call, None)
        number, group = self.next_number(), request["group"]

        def finish(run: Run, report: dict[str, Any]) -> None:
            self.probers.remove(run)
            ended(run, report)

        run = Run(
            world.hub,
            world.seed * 1_000_003 + number,
            request,
            world.prober_skew.get(group, 0) + self._clock_error(),
            lambda: world.paths(group),
            finish,
            world.carried,
        )

        def begin() -> None:
            if world.hub.now < self.probers_fail_until:
                world.fired("prober-crashes")
                world.hub.after(world.dice.randrange(*CRASH), lambda: ended(run, None), "prober dies")
                return
            self.probers.append(run)
            run.begin()

        world.hub.after(world.dice.randrange(*PROBER_START), begin, "prober")

    def _deliver(self, run: Run, report: dict[str, Any] | None) -> None:
        """The run's end as a destination: a record that wakes the controller."""
        function = f"prober-{run.group}"
        if report is None:
            error = {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out"}
            self._hand_over(destination(run.request, function, error, "RetriesExhausted", "Unhandled"))
            return
        if self.lost_results > 0:
            self.lost_results -= 1
            self._world.fired("prober-result-lost")
            return
        record = destination(run.request, function, report, "Success", None)
        self._hand_over(record)
        if self.duplicates > 0:
            self.duplicates -= 1
            self._world.fired("prober-result-twice")
            self._hand_over(record)

    def _hand_over(self, record: dict[str, Any]) -> None:
        """To the controller's queue, which a destination may take its time to reach."""
        delay = self._world.ec2.draw(self._world.ec2.paces.destination)
        if not delay:
            self.wake(record)
            return
        self.queued += 1

        def arrive() -> None:
            self.queued -= 1
            self.wake(record)

        self._world.hub.after(delay, arrive, "destination")

    def path_changed(self) -> None:
        """Something that packets notice happened."""
        for each in list(self.probers):
            each.path_changed()

    def _clock_error(self) -> int:
        return self._world.dice.randrange(-HOST_CLOCK_ERROR, HOST_CLOCK_ERROR)


def _answer(resume: Callable[[Any], None], report: dict[str, Any] | None) -> None:
    if report is None:
        resume({"StatusCode": 200, "FunctionError": "Unhandled", "Payload": BytesIO(b'{"errorMessage": "died"}')})
        return
    resume({"StatusCode": 200, "Payload": BytesIO(json.dumps(report).encode())})
