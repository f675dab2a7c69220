"""One scenario's world, as the lab's looks see it (`scenario.sight.Sight`), and what a target means at this moment.

Called by `simulation.scenario.run`; `hands` act on it. The pace is the lab's (`scenario.pace`) and not AWS's, so that
the deadlines in a file mean the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG
from natkeeper_lab.scenario.file import Scenario
from natkeeper_lab.scenario.foreign import is_theirs
from natkeeper_lab.scenario.pace import pace
from natkeeper_lab.scenario.sight import GONE, PATIENT_MS, STRICT_MS, CannotJudge, moment
from natkeeper_lab.scenario.targets import Target
from natkeeper_lab.simulation.answers import BEGINNING
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.machines import Machine
from natkeeper_lab.simulation.packets import Fate
from natkeeper_lab.simulation.scenario.hands import StageHands
from natkeeper_lab.simulation.scenario.journal import Journal
from natkeeper_lab.simulation.scenario.ruler import REPEAT, Ruler
from natkeeper_lab.simulation.scenario.scenery import CALL, loads, paces, setting
from natkeeper_lab.simulation.world import Judge, World

SETTLING = 90.0
POLL = 0.05
SAMPLE = SECOND // 4


class Stage:
    """Built at rest, with an empty ledger; `settle` switches natkeeper on."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed = scenario, seed
        self.pace = pace(scenario.stack, 1.0)
        self.setting = setting(scenario, self.pace)
        self._paths: dict[str, Fate] = {}
        self._addresses: dict[str, list[tuple[float, str]]] = {group: [] for group in scenario.zones}
        self.bench = _Bench(self._turned)
        self.world = World(seed, self.setting, cast(Judge, self.bench), paces(self.pace))
        self.world.api.latency = CALL
        self.world.packets.loads = loads(scenario)
        self.world.answers.keeps_history = any(each.do == "api_stale" for each in scenario.timeline)
        self.judge = Invariants()
        self.judge.watch(self.world)
        self.journal = Journal(self.world)
        self.bench.judges = [self.judge, self.journal]
        self.hands = StageHands(self)
        self.invariants = _Invariants(self)
        self.zero = self.switched_on_at = 0.0
        self.rulers: dict[str, Ruler] = {}
        self.patient: dict[str, Ruler] = {}
        self.fates: tuple[Any, ...] = ()
        self.initial: dict[str, list[Machine]] = {}
        self.before_targets: dict[str, str | None] = {}
        self.before_addresses: dict[str, str | None] = {}

    # -- before the clock

    def settle(self) -> None:
        """natkeeper is switched on and comes to rest: home, verified, backed as far as this stack can be."""
        self.switched_on_at = self.now()
        self._tick()
        self.until("natkeeper at rest before the first step", self._is_settled, SETTLING)

    def _is_settled(self) -> bool:
        last = {name: each.fields for name, each in self.journal.last.items()}
        if len(last) < len(self.scenario.zones) or any(each["reason_code"] != "at-rest" for each in last.values()):
            return False
        if len(self.scenario.zones) > 1 and self.setting.has_canary and not all(e["is_backed"] for e in last.values()):
            return False
        wanted = {"none": None, "stopped": "stopped", "running": "running"}[self.setting.standby]
        return wanted is None or all(
            [each.state for each in self.of(group, "standby")] == [wanted] for group in self.scenario.zones
        )

    def _tick(self) -> None:
        """The schedule, at the lab's pace."""
        world = self.world
        if world.hub.now >= world.bus.no_ticks_until:
            world.functions.wake(TICK)
        world.hub.after(int(self.pace.tick * SECOND), self._tick, "tick")

    def _sample(self) -> None:
        self.journal.count()
        self.world.hub.after(SAMPLE, self._sample, "sample")

    def start_watching(self) -> None:
        """Rulers; then the clock's zero, anywhere in the course of a watch run."""
        self.sleep(self.world.dice.random() * self.pace.run)
        hub = self.world.hub
        self._paths = {group: self._path(group) for group in self.scenario.zones}
        for number, (group, fate) in enumerate(self._paths.items()):
            self._note(group, fate)
            self.rulers[group] = Ruler(hub, self.seed + number, fate, STRICT_MS)
            if group in self.scenario.groups_asked("never_down"):
                self.patient[group] = Ruler(hub, self.seed + number, fate, PATIENT_MS)
        self.sleep(1.0)
        self.initial = {group: [*self.of(group, "nat"), *self.of(group, "standby")] for group in self.scenario.zones}
        self.before_targets = dict(self.journal.targets)
        self.before_addresses = {group: self.fetch(group) for group in self.scenario.zones}
        self._sample()
        self.zero = self.now()

    def _path(self, group: str) -> Fate:
        return self.world.packets.path(group, self.world.policy.group(group).table_ids[0])

    def _turned(self) -> None:
        for group, before in self._paths.items():
            fate = self._path(group)
            if fate != before:
                self._paths[group] = fate
                self._note(group, fate)
                for each in (self.rulers, self.patient):
                    if group in each:
                        each[group].turned(fate)

    def _note(self, group: str, fate: Fate) -> None:
        if fate.is_ok and fate.address is not None:
            self._addresses[group].append((self.now(), fate.address))

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits; CannotJudge names what did not come."""
        deadline = self.now() + seconds
        while not condition():
            if self.now() > deadline:
                raise CannotJudge(f"waited {seconds:g} s in vain for {what}")
            self.sleep(POLL)

    # -- `Sight`

    def now(self) -> float:
        """Virtual seconds."""
        return self.world.hub.now / SECOND

    def sleep(self, seconds: float) -> None:
        """Lets virtual time pass."""
        self.world.hub.sleep(int(max(0.0, seconds) * SECOND))

    def instant(self, text: Any) -> float:
        """A time in the ledger."""
        return moment(text) - BEGINNING.timestamp()

    def seconds(self, at: float) -> float:
        """Since the clock's zero."""
        return round(at - self.zero, 3)

    def tables_of(self, group: str) -> Sequence[str]:
        """The group's private route tables."""
        return self.world.policy.group(group).table_ids

    def fetch(self, group: str) -> str | None:
        """The address from which the far end sees the group now; a page may take 2 s, as in the lab."""
        if not self._path(group).is_ok:
            self.sleep(REPEAT / SECOND)
        fate = self._path(group)
        return fate.address if fate.is_ok else None

    def addresses_seen(self, group: str) -> list[tuple[float, str]]:
        """Whom the far end saw the group as, each time that its path changed."""
        return self._addresses[group]

    def machine(self, target: Target) -> Machine:
        """The instance a target means now."""
        if target.kind != "active":
            found = self.of(target.group, target.kind)
        else:
            used = self.world.route_of(self.tables_of(target.group)[0])
            owner = self.world.ec2.owner(used) if used is not None else None
            found = [owner] if owner is not None else []
        if not found:
            raise CannotJudge(f"there is no {target.text} at this moment")
        return found[0]

    def initial_of(self, target: Target) -> str:
        """The instance that a target meant before the first step; empty when there was none."""
        wanted = "standby" if target.kind == "standby" else "nat"
        found = self.initial.get(target.group, [])
        return next((each.instance_id for each in found if each.tag(ROLE_TAG) == wanted), "")

    def state_of(self, instance_id: str) -> str:
        """How an instance is."""
        found = self.world.ec2.machines.get(instance_id)
        return found.state if found is not None else ""

    def ledger(self, group: str) -> list[dict[str, Any]]:
        """The group's incidents as the ledger has them."""
        items = [each for (pk, _), each in self.world.table.items.items() if pk == f"incident#{group}"]
        found = [{key: next(iter(value.values())) for key, value in each.items()} for each in items]
        return sorted(found, key=lambda each: str(each["opened_at"]))

    # -- asking

    def of(self, group: str, role: str) -> list[Machine]:
        """The group's instances of a role that are not gone: the one that carries traffic, then running, then new."""
        used = {self.world.route_of(table) for table in self.tables_of(group)}
        found = [
            each
            for each in self.world.ec2.machines.values()
            if each.tag(GROUP_TAG) == group and each.tag(ROLE_TAG) == role and each.state not in GONE
            if not is_theirs(each.tags)
        ]
        found.sort(key=lambda each: each.launched_at, reverse=True)
        return sorted(
            found,
            key=lambda each: (
                each.interface is None or each.interface.interface_id not in used,
                each.state != "running",
            ),
        )

    def in_background(self, run: Callable[[], object]) -> None:
        """Something that a step begins and does not wait for."""
        self.world.hub.spawn(run, label="step")


class _Invariants:
    """`scenario.sight.Judges`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def counts(self) -> Sequence[tuple[float, str, int]]:
        return self._stage.journal.counts

    def broken(self) -> list[str]:
        """Violations since the clock's zero, and before."""
        return [
            f"invariant {each.number} at {self._stage.seconds(each.at / SECOND):.2f} s: {each.text}"
            for each in self._stage.judge.book.violations
        ]


class _Bench:
    """Several judges of one world: each is told all of it, in order."""

    def __init__(self, turned: Callable[[], None]) -> None:
        self.judges: list[Judge | Journal] = []
        self._turned = turned

    def changed(self) -> None:
        for each in self.judges:
            each.changed()
        self._turned()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*given: Any) -> None:
            for each in self.judges:
                getattr(each, name)(*given)

        return tell
