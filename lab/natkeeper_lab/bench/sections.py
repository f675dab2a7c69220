"""The benchmark's sections with real packets: which events are played how often, and what rows that gives.

Called by `tools/bench.py`. Several runs are played in one lab: between two of them everything is back as it was, which
each keeper's `recover` waits for. Runs inside `sandbox` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from natkeeper_lab.bench import bare, event_rows, play
from natkeeper_lab.bench.keeper import Natkeeper
from natkeeper_lab.bench.orders import RIGHT, WRONG, ByHand, Order
from natkeeper_lab.bench.peer import Peer
from natkeeper_lab.bench.play import Event, Played
from natkeeper_lab.bench.rig import Rig
from natkeeper_lab.bench.rows import Row

BASELINE_RUNS = 3
"""The baseline's figures are there to be compared, and its hangs take half a minute each."""

RUNS_OF_A_RIG = 5
"""natkeeper starts a prober at most 60 times in ten minutes, which its runs of 55 s never come near to. The lab's runs
of 5 s do after a few minutes, and then a hang waits for the schedule's next minute."""


@dataclass
class Bench:
    """What was played so far. `bare_ms`: the bare calls, run by run; `failures`: runs that could not be measured."""

    runs: int
    say: Callable[[str], None]
    natkeeper: dict[str, list[Played]] = field(default_factory=dict)
    baseline: dict[str, list[Played]] = field(default_factory=dict)
    by_hand: dict[str, list[Played]] = field(default_factory=dict)
    bare_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """Everything that was played, each figure beside its floor and the baseline's."""
        rows: list[Row] = []
        if self.bare_ms:
            rows.append(Row("bare calls", "describe, then address and routes", "ms", tuple(self.bare_ms)))
        for name in dict.fromkeys((*self.natkeeper, *self.baseline)):
            rows += event_rows.rows(name, self.natkeeper.get(name, []), self.baseline.get(name, []), self.bare_ms)
        for order in (RIGHT, *WRONG):
            rows += event_rows.order_rows(order, self.by_hand.get(order.name, []))
        return rows

    # -- sections

    def flows(self) -> None:
        """Must-be-true: the stop and the planned move, and the wrong orders of both."""
        with Natkeeper() as rig:
            self._orders(rig)
        self._keep_awake(2, (play.AWAY, play.HOME), 2 * RUNS_OF_A_RIG)
        self._keep_awake(2, (play.STOP,), RUNS_OF_A_RIG)

    def faults(self) -> None:
        """A hang and a termination."""
        if not self.bare_ms:
            with Natkeeper() as rig:
                self._measure_bare_calls(rig)
        self._keep_awake(2, (play.HANG,), RUNS_OF_A_RIG)
        self._keep_awake(2, (play.TERMINATE,), RUNS_OF_A_RIG)

    def zones(self) -> None:
        """Must-be-true: one of three zones is lost."""
        self._keep_awake(3, (play.ZONE_LOSS,), RUNS_OF_A_RIG)

    def peer(self) -> None:
        """The baseline through the same events."""
        runs = range(min(self.runs, BASELINE_RUNS))
        with Peer() as rig:
            self._repeat(rig, self.baseline, (play.AWAY, play.HOME), runs)
            for event in (play.STOP, play.TERMINATE, play.HANG):
                self._repeat(rig, self.baseline, (event,), runs)
        with Peer(zones=3) as rig:
            self._repeat(rig, self.baseline, (play.ZONE_LOSS,), runs)

    def _keep_awake(self, zones: int, events: tuple[Event, ...], at_most: int) -> None:
        """All runs of natkeeper's, so many in one lab."""
        for first in range(0, self.runs, at_most):
            with Natkeeper(zones=zones) as rig:
                rig.switch_on()
                self._repeat(rig, self.natkeeper, events, range(first, min(first + at_most, self.runs)))

    # -- their parts

    def _orders(self, rig: Rig) -> None:
        self._measure_bare_calls(rig)
        hand = ByHand(rig)
        for order in (RIGHT, *WRONG):
            for run in range(self.runs):
                self._keep(self.by_hand, order, hand.play(order), run)

    def _measure_bare_calls(self, rig: Rig) -> None:
        """There and back again, so an even number of times, by a process with the controller's share."""
        there, home = rig.nat("b"), rig.nat("a")
        addresses = rig.stack.describe(there)["NetworkInterfaces"][0]["PrivateIpAddresses"]
        landing = next(each["PrivateIpAddress"] for each in addresses if not each["Primary"])
        wanted = {
            "allocation": rig.stack.groups["a"].allocation,
            "tables": rig.stack.groups["a"].tables,
            "places": [[rig.stack.interface_of(there), landing], [rig.stack.interface_of(home), None]],
            "runs": 2 * self.runs,
        }
        self.bare_ms += bare.measure(wanted, rig.share)

    def _repeat(self, rig: Rig, kept: dict[str, list[Played]], events: tuple[Event, ...], runs: range) -> None:
        """Each run plays the events in a row, and then waits until all is well again; where it is not, that is all."""
        who = "baseline" if kept is self.baseline else "natkeeper"
        for run in runs:
            began = time.monotonic()
            try:
                played = [play.play(rig, event) for event in events]
                for event, each in zip(events, played, strict=True):
                    self._keep(kept, event, each, run, who)
                if any(event_rows.is_late(each) for each in played):
                    self._tell(*rig.account(began))
                rig.recover()
            except (TimeoutError, RuntimeError) as problem:
                names = " and ".join(each.name for each in events)
                self.failures.append(f"{who}, {names}, run {run + 1}: {problem}; this lab is given up")
                self._tell(f"  {self.failures[-1]}", *rig.account(began))
                return

    def _tell(self, *lines: str) -> None:
        for each in lines:
            self.say(each)

    def _keep(
        self, kept: dict[str, list[Played]], what: Event | Order, played: Played, run: int, who: str = "by hand"
    ) -> None:
        kept.setdefault(what.name, []).append(played)
        self.say(f"  {who}, {what.name} {run + 1}: {event_rows.told(played)}")
