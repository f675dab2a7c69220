"""One scenario on virtual time, from switching on to the last verdict; and the command that plays files.

`run` is called by the command line. When an expectation is judged, and what it looks at, is the lab's own code
(`scenario.expect`, `scenario.looks`); what only real packets can show is said by name and is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natkeeper_lab.scenario import expect, ledger_looks, metric_looks
from natkeeper_lab.scenario.expect import Verdict
from natkeeper_lab.scenario.file import BadScenario, Expectation, Scenario, parse
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.scenario.times import Times
from natkeeper_lab.scenario.verbs import take
from natkeeper_lab.scenario.verbs.aws import set_times
from natkeeper_lab.simulation.hub import SECOND, Task
from natkeeper_lab.simulation.scenario.stage import POLL, Stage

HOLDS, BROKEN, NOT_JUDGED = 0, 1, 2
ALL = Expectation("invariants", True, {}, None, None, None, 0)
NO_FLOWS = "established connections are not simulated; the lab judges this with real ones"
LONGEST = 24 * 3600 * SECOND
Say = Callable[[str], None]


@dataclass(frozen=True)
class NotJudged:
    """An expectation that virtual time cannot show, and why."""

    expectation: Expectation
    why: str


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `void`: why it could not be judged at all; then nothing has passed."""

    scenario: Scenario
    seed: int
    verdicts: tuple[Verdict, ...]
    not_judged: tuple[NotJudged, ...]
    seconds: float
    void: str = ""

    @property
    def is_judged(self) -> bool:
        """Something that the file asks for was decided; a file that asks for nothing is about the invariants."""
        asked = len(self.scenario.expect)
        return not self.void and (asked == 0 or len(self.not_judged) < asked)

    @property
    def code(self) -> int:
        """Exit code."""
        if not all(each.passed for each in self.verdicts):
            return BROKEN
        return HOLDS if self.is_judged else NOT_JUDGED

    @property
    def word(self) -> str:
        """For people."""
        return {HOLDS: "PASS", BROKEN: "FAIL", NOT_JUDGED: "NOT JUDGED"}[self.code]


def play(scenario: Scenario, seed: int = 1, say: Say = lambda _line: None, times: Times | None = None) -> Outcome:
    """Plays one scenario. What the simulation cannot do ends in `void` or `not_judged`, never in a pass. `times`: AWS's
    own, from the clock's zero on."""
    try:
        playing = Run(scenario, seed, say, times or {})
    except ValueError as problem:  # BadSettings: a template parameter that natkeeper refuses
        return Outcome(scenario, seed, (), (), 0.0, f"{type(problem).__name__}: {problem}")
    return playing.play()


class Run:
    """Made when the account stands and natkeeper is not yet switched on."""

    def __init__(self, scenario: Scenario, seed: int, say: Say, times: Times) -> None:
        self.scenario, self.say, self.times = scenario, say, times
        self.stage = Stage(scenario, seed)
        self._step_at: list[float] = []
        self._verdicts: dict[int, Verdict] = {}
        self._aside = {number: NO_FLOWS for number, each in enumerate(scenario.expect) if each.kind == "flows"}

    def play(self) -> Outcome:
        """All of it; verdicts in the file's order."""
        hub, void = self.stage.world.hub, ""
        task = hub.spawn(self._whole, label="scenario")
        hub.run(LONGEST, lambda: task.is_over)
        if isinstance(task.error, CannotJudge):
            void = str(task.error)
        elif task.error is not None:
            raise task.error
        elif not task.is_over:
            void = f"it was not over after {LONGEST // SECOND} s"
        seconds = self.stage.now()
        self.stage.world.close()
        verdicts = tuple(self._verdicts[number] for number in sorted(self._verdicts))
        aside = tuple(NotJudged(self.scenario.expect[number], why) for number, why in self._aside.items())
        return Outcome(self.scenario, self.stage.seed, verdicts, aside, seconds, void)

    def _whole(self) -> None:
        stage = self.stage
        stage.settle()
        metric_looks.warm_up(stage)
        stage.start_watching()
        set_times(stage.hands, self.times)
        self._timeline()
        self._await()
        self._finish()
        for number, each in enumerate(self.scenario.expect):
            if number not in self._verdicts and number not in self._aside:
                self._keep(number, expect.judge_at_the_end(stage, each, self._since(each)))
        if not any(each.kind == "invariants" for each in self.scenario.expect):
            self._keep(len(self.scenario.expect), expect.judge_at_the_end(stage, ALL, stage.zero))

    # -- the timeline

    def _timeline(self) -> None:
        stage, self._tasks = self.stage, list[Task]()
        for number, step in enumerate(self.scenario.timeline, 1):
            stage.sleep(stage.zero + step.at - stage.now())
            self.say(f"{stage.seconds(stage.now()):8.2f}  {step.text}")
            self._step_at.append(stage.now())
            take(stage.hands, step)
            self._tasks.append(stage.world.hub.spawn(lambda number=number: self._await_after(number)))  # type: ignore[misc]

    # -- expectations

    def _await(self) -> None:
        """Those that count from the last step, in the file's order; then those that counted from earlier ones."""
        stage = self.stage
        self._judge(lambda each: each.after is None, self._last_step_at)
        for each in self._tasks:
            while not each.is_over:
                stage.sleep(POLL)
            if each.error is not None:
                raise each.error
        stage.sleep(self._last_step_at + expect.OBSERVED - stage.now())

    def _await_after(self, number: int) -> None:
        self._judge(lambda each: each.after == number, self._step_at[number - 1])

    def _judge(self, is_mine: Callable[[Expectation], bool], step_at: float) -> None:
        for number, each in enumerate(self.scenario.expect):
            if is_mine(each) and number not in self._aside and not expect.is_at_the_end(each):
                self._keep(number, expect.await_one(self.stage, each, step_at))

    def _keep(self, number: int, verdict: Verdict) -> None:
        self._verdicts[number] = verdict
        self.say(f"{verdict.at:8.2f}  {'ok    ' if verdict.passed else 'BROKEN'}  {verdict.text}")

    @property
    def _last_step_at(self) -> float:
        return self._step_at[-1] if self._step_at else self.stage.zero

    def _since(self, expectation: Expectation) -> float:
        return self._step_at[expectation.after - 1] if expectation.after is not None else self.stage.zero

    def _finish(self) -> None:
        """Lets incidents that are under way end."""
        stage = self.stage
        wanted = [each for each in self.scenario.expect if each.kind == "incidents" and expect.is_at_the_end(each)]
        deadline = stage.now() + stage.pace.patience + stage.pace.run
        while stage.now() < deadline and any(
            ledger_looks.is_pending(stage, each.subject, each.args["count"]) for each in wanted
        ):
            stage.sleep(0.25)


# -- the command


def run(files: Sequence[Path], json_out: Path | None = None, seed: int = 1, times: Times | None = None) -> int:
    """Plays every file (or folder of them). 0: everything judged holds; 1: something does not; 2: a bad file, or a run
    in which nothing could be judged."""
    paths = [path for each in files for path in (sorted(each.glob("*.yaml")) if each.is_dir() else [each])]
    if not paths:
        print("there is no scenario there")
        return NOT_JUDGED
    codes, records = [], []
    for path in paths:
        try:
            scenario = parse(path)
        except BadScenario as problem:
            print(problem)
            codes.append(NOT_JUDGED)
            continue
        print(f"--- {scenario.name}: {' '.join(scenario.why.split())}", flush=True)
        outcome = play(scenario, seed, print if len(paths) == 1 else lambda _line: None, times)
        tell(outcome)
        codes.append(outcome.code)
        records.append(record(outcome))
    if json_out is not None:
        json_out.write_text(json.dumps(records[0] if len(paths) == 1 and records else records, indent=1) + "\n")
    if len(paths) > 1:
        print(f"\n{codes.count(HOLDS)} of {len(paths)} scenarios passed on virtual time, seed {seed}")
    return BROKEN if BROKEN in codes else max(codes)


def tell(outcome: Outcome) -> None:
    """What people read at the end of a run."""
    for each in outcome.verdicts:
        if not each.passed:
            line = f" (line {each.expectation.line})" if each.expectation and each.expectation.line else ""
            print(f"    {each.text}{line}\n      expected: {each.expected}\n      seen:     {each.seen}")
            print(f"      when:     {each.at:.2f} s after the clock's zero")
    for aside in outcome.not_judged:
        print(f"    not judged: {aside.expectation.text} (line {aside.expectation.line}): {aside.why}")
    if outcome.void:
        print(f"    {outcome.scenario.path}: this run cannot be judged: {outcome.void}")
    print(f"{outcome.word}  {outcome.scenario.name}, {outcome.seconds:.0f} virtual seconds, seed {outcome.seed}")


def record(outcome: Outcome) -> dict[str, Any]:
    """For machines."""
    return {
        "version": 1,
        "name": outcome.scenario.name,
        "seed": outcome.seed,
        "result": outcome.word.lower(),
        "void": outcome.void,
        "virtual_seconds": round(outcome.seconds, 3),
        "expectations": [
            {"text": each.text, "passed": each.passed, "expected": each.expected, "seen": each.seen, "at": each.at}
            for each in outcome.verdicts
        ],
        "not_judged": [{"text": each.expectation.text, "why": each.why} for each in outcome.not_judged],
    }
