"""One scenario from the first call to the last expectation: build, settle, watch, play, judge, close.

Called by the command line and by tests. Runs inside `sandbox` only. `Run.record()` is the JSON of the contract with
the report.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from natkeeper_lab.scenario import expect, ledger_looks, metric_looks, record
from natkeeper_lab.scenario.expect import Verdict
from natkeeper_lab.scenario.file import Expectation, Scenario
from natkeeper_lab.scenario.invariants import Invariants
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.scenario.times import Times
from natkeeper_lab.scenario.verbs import take
from natkeeper_lab.scenario.verbs.aws import set_times

ALL = Expectation("invariants", True, {}, None, None, None, 0)
DRAINING = 2.5
"""After the last outage, an established connection's next repeat may take this long (TCP's back-off after a few seconds
of silence) before it shows that it lives."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `void`: why it could not be judged at all; then nothing has passed."""

    scenario: Scenario
    verdicts: tuple[Verdict, ...]
    seconds: float
    record: dict[str, Any]
    void: str = ""

    @property
    def passed(self) -> bool:
        """Every expectation holds."""
        return not self.void and all(each.passed for each in self.verdicts)


def play(
    scenario: Scenario,
    scale: float = 1.0,
    say: Say = lambda _line: None,
    while_building: AbstractContextManager[None] | None = None,
    times: Times | None = None,
) -> Outcome:
    """Plays one scenario. What the lab itself cannot do ends in `void`, never in a pass.

    `while_building` is held until the VPC stands. `times`: AWS's own, from the clock's zero on.
    """
    began, started_at = time.monotonic(), datetime.now(UTC)
    run: Run | None = None
    verdicts: list[Verdict] = []
    void = ""
    document: dict[str, Any] = {}
    try:
        with while_building or nullcontext():
            run = Run(scenario, scale, say, times or {})
        verdicts = run.play()
    except (CannotJudge, TimeoutError, ValueError, RuntimeError) as problem:
        void = f"{type(problem).__name__}: {problem}" if not isinstance(problem, CannotJudge) else str(problem)
        if not isinstance(problem, CannotJudge):
            traceback.print_exc()
    if run is not None:
        document = record.of(run.scene, verdicts, started_at, time.monotonic() - began, void)
        try:
            run.scene.close()
        except ExceptionGroup as problem:
            void = void or f"the lab itself failed: {problem.exceptions[0]!r}"
    document["passed"] = not void and all(each.passed for each in verdicts)
    return Outcome(scenario, tuple(verdicts), time.monotonic() - began, document, void)


class Run:
    """Made when the VPC stands and natkeeper is not yet switched on."""

    def __init__(self, scenario: Scenario, scale: float, say: Say, times: Times) -> None:
        self.scenario, self.say, self.times = scenario, say, times
        self.scene = Scene(scenario, scale)
        self._step_at: list[float] = []
        self._verdicts: dict[int, Verdict] = {}
        self._problems: list[BaseException] = []

    def play(self) -> list[Verdict]:
        """From switching on to the last verdict, in the file's order."""
        scene = self.scene
        scene.invariants = Invariants(scene)
        scene.settle()
        metric_looks.warm_up(scene)
        scene.start_watching()
        set_times(scene.hands, self.times)
        self._timeline()
        self._await()
        self._finish()
        if self._problems:
            raise self._problems[0]
        for number, each in enumerate(self.scenario.expect):
            if number not in self._verdicts:
                self._keep(number, expect.judge_at_the_end(scene, each, self._since(each)))
        if not any(each.kind == "invariants" for each in self.scenario.expect):
            self._keep(len(self.scenario.expect), expect.judge_at_the_end(scene, ALL, scene.zero))
        return [self._verdicts[number] for number in sorted(self._verdicts)]

    # -- the timeline

    def _timeline(self) -> None:
        self._threads: list[threading.Thread] = []
        for number, step in enumerate(self.scenario.timeline, 1):
            time.sleep(max(0.0, self.scene.zero + step.at - time.monotonic()))
            self.say(f"{self.scene.seconds(time.monotonic()):8.2f}  {step.text}")
            self._step_at.append(time.monotonic())
            if step.do == "resume":
                self.scene.invariants.paused(step.args["group"], is_paused=False)
            take(self.scene.hands, step)
            if step.do == "pause":
                self.scene.invariants.paused(step.args["group"], is_paused=True)
            thread = threading.Thread(target=self._await_after, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    # -- expectations

    def _await(self) -> None:
        """Those that count from the last step, in the file's order; then those that counted from earlier ones."""
        self._judge(lambda each: each.after is None, self._last_step_at)
        for thread in self._threads:
            thread.join()
        rest = self._last_step_at + expect.OBSERVED - time.monotonic()
        time.sleep(max(0.0, rest))

    def _await_after(self, number: int) -> None:
        try:
            self._judge(lambda each: each.after == number, self._step_at[number - 1])
        except BaseException as problem:
            self._problems.append(problem)

    def _judge(self, is_mine: Callable[[Expectation], bool], step_at: float) -> None:
        for number, each in enumerate(self.scenario.expect):
            if is_mine(each) and not expect.is_at_the_end(each):
                self._keep(number, expect.await_one(self.scene, each, step_at))

    def _keep(self, number: int, verdict: Verdict) -> None:
        self._verdicts[number] = verdict
        self.say(f"{verdict.at:8.2f}  {'ok    ' if verdict.passed else 'BROKEN'}  {verdict.text}")

    @property
    def _last_step_at(self) -> float:
        return self._step_at[-1] if self._step_at else self.scene.zero

    def _since(self, expectation: Expectation) -> float:
        return self._step_at[expectation.after - 1] if expectation.after is not None else self.scene.zero

    def _finish(self) -> None:
        """Lets what is under way end: incidents, and connections that are still waiting for TCP's next repeat."""
        scene = self.scene
        asked = [each for each in self.scenario.expect if each.kind == "incidents"]
        wanted = [each for each in asked if expect.is_at_the_end(each)]
        deadline = time.monotonic() + scene.pace.patience + scene.pace.run
        while time.monotonic() < deadline and any(
            ledger_looks.is_pending(scene, each.subject, each.args["count"]) for each in wanted
        ):
            time.sleep(0.25)
        if self.scenario.flows:
            ends = [each.last_failed_ns / 1e9 for ruler in scene.rulers.values() for each in ruler.outages(scene.zero)]
            every = max(each.every for each in self.scenario.flows)
            time.sleep(max(0.0, max(ends, default=0.0) + DRAINING + 3 * every - time.monotonic()))
        scene.stop_watching()
