"""Faults one after the other, time, wake-ups and an operator in any order that hypothesis can think of: the invariants
hold after every step, and once the faults are over there is egress.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from natkeeper_lab.simulation import aftermath
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.campaign import _stop_faults
from natkeeper_lab.simulation.faults import COMPLICATIONS, FAULTS, TROUBLES, Act
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World

EFFORT = int(os.environ.get("NATKEEPER_EFFORT", "1"))
"""Multiplies the examples: 1 tries the same ones every time, `NATKEEPER_EFFORT=30` searches anew for some minutes."""
STEPS = 10
MOST_FAULTS = 4
"""More at the same time tell less: a schedule of the campaign has up to five."""
SEEDS = st.integers(0, 1 << 16)
LASTING = st.integers(2, 40)
SETTINGS = st.builds(
    Setting,
    zones=st.sampled_from([1, 2, 3]),
    tables=st.sampled_from([1, 2]),
    standby=st.sampled_from(["none", "stopped", "running"]),
    quiet=st.just(20),
    run=st.sampled_from([20, 30, 55]),
    begins=st.sampled_from(["at-rest", "at-rest", "unknown", "bare"]),
).filter(lambda each: each.zones > 1 or each.standby != "none")


class Operations(RuleBasedStateMachine):
    """One world, from a seed and a setting that hypothesis chooses."""

    world: World
    judge: Invariants
    fires: ClassVar[Counter[str]] = Counter()
    """How often which fault did something, over all examples."""

    @initialize(seed=SEEDS, setting=SETTINGS, name=st.sampled_from(TROUBLES), seconds=LASTING)
    def begin(self, seed: int, setting: Setting, name: str, seconds: int) -> None:
        self.judge = Invariants()
        self.world = World(seed, setting, self.judge)
        self.judge.watch(self.world)
        self.world.story = []
        self.world.start()
        self.injected = 0
        self.inject(name, seconds, seed)

    @precondition(lambda self: self.injected < MOST_FAULTS)
    @rule(name=st.sampled_from(TROUBLES), seconds=LASTING, seed=SEEDS)
    def trouble(self, name: str, seconds: int, seed: int) -> None:
        self.inject(name, seconds, seed)

    @precondition(lambda self: self.injected < MOST_FAULTS)
    @rule(name=st.sampled_from(COMPLICATIONS), seconds=LASTING, seed=SEEDS)
    def complicate(self, name: str, seconds: int, seed: int) -> None:
        self.inject(name, seconds, seed)

    def inject(self, name: str, seconds: int, seed: int) -> None:
        act = Act(self.world, Random(seed), self.world.hub.now + seconds * SECOND)
        # Not from here but out of the queue: what a fault does, it does between two steps of the world.
        self.world.hub.after(0, lambda: FAULTS[name].inject(act), name)
        self.run(0)
        self.injected += 1

    @rule(milliseconds=st.sampled_from([10, 300, 3_000, 20_000, 70_000]))
    def let_time_pass(self, milliseconds: int) -> None:
        self.run(milliseconds * 1000)

    @rule()
    def wake(self) -> None:
        self.world.functions.wake(TICK)
        self.run(100_000)

    @rule(command=st.sampled_from(["pause", "resume", "failover", "home"]), zone=st.sampled_from("abc"))
    def command(self, command: str, zone: str) -> None:
        names = [each.name for each in self.world.policy.groups]
        wish = {"command": command, "group": zone if zone in names else names[0]}
        if command == "home":
            wish |= {"command": "switchover", "to": "home"}
        self.world.functions.wake({"natkeeper": {**wish, "minutes": 1} if command == "pause" else wish})
        self.run(SECOND)

    def run(self, span: int) -> None:
        self.world.hub.run(self.world.hub.now + span, lambda: bool(self.judge.book.violations))

    @invariant()
    def invariants_hold(self) -> None:
        if hasattr(self, "world"):
            assert self.judge.book.violations == [], self.told()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.judge.book.violations:
                _stop_faults(self.world)
                aftermath.judge_egress(self.judge.book)
                assert self.judge.book.violations == [], self.told()
        finally:
            self.fires.update(self.world.fires)
            self.world.close()

    def told(self) -> str:
        """The end of the story, without the calls that only look."""
        lines = [f"{at / 1e6:9.3f} {line}" for at, line in self.world.story or [] if ": Describe" not in line]
        return f"seed {self.world.seed}, {self.world.setting}\n" + "\n".join(lines[-60:])


def test_whatever_the_order_of_faults_and_commands_the_invariants_hold_and_egress_comes_back() -> None:
    Operations.fires.clear()
    run_state_machine_as_test(
        Operations,
        settings=settings(
            max_examples=40 * EFFORT,
            stateful_step_count=STEPS,
            derandomize=EFFORT == 1,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
    print(f"{sum(Operations.fires.values())} times a fault did something: {dict(Operations.fires)}")
    assert len(Operations.fires) > 15


def test_a_launch_falls_back_to_the_next_type_only_under_a_live_lease() -> None:
    """What the operations above found, shrunk."""
    one = Operations()
    setting = Setting(zones=2, tables=1, quiet=20, run=20, begins="bare")
    one.begin(name="subnet-full", setting=setting, seed=23, seconds=21)
    one.wake()
    one.inject("forwarding-off", 5, 5482)
    one.wake()
    one.inject("zone-lost", 6, 48780)
    one.inject("lease-ends-mid-plan", 4, 182)
    for _ in range(4):
        one.wake()
    one.teardown()
