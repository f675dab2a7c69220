"""All of the world that a pass touches, in memory: a VPC that applies actions, a ledger with leases and inboxes, a
prober that answers by where the routes really lead, a clock that only calls and sleeps move, telemetry that remembers.

Calls that run together take as long as the slowest of them, so a test can count serial round trips with a clock. Any
call can be made to fail: `failing["ReplaceRoute"] = [trouble, None]` fails the first and lets the second through, a
trouble alone fails always. `lost` has names of calls that are applied and whose answer is lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE, ControlProbe, Instance, Network
from natkeeper.core.news import News, ProbeReport
from natkeeper.core.plan import (
    Action,
    Happening,
    IncidentClosed,
    IncidentOpened,
    Plan,
    StartWatch,
    Warned,
)
from natkeeper.core.policy import Policy
from natkeeper.core.runs import run_id_of
from natkeeper.errors import Stale, Trouble, TryAgain
from natkeeper.ports import Held, Known, Lease, Outcome, Ports
from natkeeper.reconcile import reconcile
from tests.support.worlds import NAMELESS, T0, World, apply, at, secs, verified


class Clock:
    """Virtual time."""

    def __init__(self, start: datetime = T0) -> None:
        self.instant = start
        self.left = secs(20)
        self.slept: list[timedelta] = []

    def now(self) -> datetime:
        return self.instant

    def remaining(self) -> timedelta:
        return self.left - (self.instant - T0)

    def sleep(self, span: timedelta) -> None:
        self.slept.append(span)
        self.instant += span


@dataclass
class Faults:
    """Which calls fail, and how long each takes. The journal lists every call in order."""

    clock: Clock
    failing: dict[str, Trouble | list[Trouble | None]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    latency: timedelta = timedelta(0)
    journal: list[tuple[str, datetime]] = field(default_factory=list)

    def call(self, name: str, effect: Callable[[], object]) -> object:
        """Raises before the effect, or after it where the answer is lost."""
        self.journal.append((name, self.clock.now()))
        self.clock.instant += self.latency
        planned = self.failing.get(name)
        if isinstance(planned, list):
            planned = planned.pop(0) if planned else None
        if planned is not None:
            raise planned
        found = effect()
        if name in self.lost:
            self.lost.discard(name)
            raise TryAgain(name, "ReadTimeout", "applied, but nobody said so")
        return found

    def count(self, name: str) -> int:
        return sum(each == name for each, _ in self.journal)


class Vpc:
    """`ports.Vpc` over a `Network`."""

    def __init__(self, network: Network, policy: Policy, faults: Faults) -> None:
        self.network = network
        self._policy = policy
        self._faults = faults
        self.done: list[Action] = []
        self.suspects: list[frozenset[str]] = []
        """Whom EC2 was asked about, call for call."""
        self.ending: dict[str, datetime] = {}
        """Which it says that it will stop, and when."""
        self.stale: list[Network] = []
        """Looks that are answered with what was true before."""
        self.before_look: list[Callable[[], None]] = []
        self.refusing: Callable[[Action], Trouble | None] = lambda _: None

    def look(
        self,
        insists: Callable[[], bool] = lambda: False,  # noqa: ARG002
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Network:
        if not goes_on():
            raise Stale("Attempt", "TooLate")
        if self.before_look:
            self.before_look.pop(0)()
        return self._faults.call("look", lambda: self.stale.pop(0) if self.stale else self.network)  # type: ignore[return-value]

    def stops(self, instance_ids: frozenset[str], goes_on: Callable[[], bool] = lambda: True) -> dict[str, datetime]:
        if not goes_on():
            raise Stale("Attempt", "TooLate")
        self.suspects.append(instance_ids)
        return self._faults.call("stops", lambda: {key: self.ending[key] for key in instance_ids & set(self.ending)})  # type: ignore[return-value]

    def do(self, action: Action, goes_on: Callable[[], bool] = lambda: True) -> str | None:
        if not goes_on():
            raise Stale("Attempt", "TooLate")

        def effect() -> str | None:
            trouble = self.refusing(action)
            if trouble is not None:
                raise trouble
            self.done.append(action)
            before = self.network.own_ids
            self.network = apply(self.network, action, self._faults.clock.now(), self._policy)
            return next(iter(self.network.own_ids - before), None)

        return self._faults.call(type(action).__name__, effect)  # type: ignore[return-value]


@dataclass
class _Item:
    memory: Memory = field(default_factory=Memory)
    epoch: int = 0
    holder: str = ""
    until: datetime | None = None
    inbox: list[News] = field(default_factory=list)
    damage: str | None = None


class Ledger:
    """`ports.Ledger`, as docs say that DynamoDB's conditions behave."""

    def __init__(self, clock: Clock, faults: Faults, holder: str = "me") -> None:
        self._clock = clock
        self._faults = faults
        self.holder = holder
        self.items: defaultdict[str, _Item] = defaultdict(_Item)
        self.notes: list[tuple[str, str]] = []
        self.during_record: list[Callable[[], None]] = []

    def read(self) -> dict[str, Known]:
        def effect() -> dict[str, Known]:
            return {name: Known(each.memory, bool(each.inbox), each.damage) for name, each in self.items.items()}

        return self._faults.call("read", effect)  # type: ignore[return-value]

    def acquire(self, group: str, until: datetime) -> Lease | Held:
        def effect() -> Lease | Held:
            item = self.items[group]
            if item.until is not None and item.until >= self._clock.now() and item.holder != self.holder:
                return Held(group, item.holder, item.memory)
            item.epoch += 1
            item.holder, item.until = self.holder, until
            return Lease(group, self.holder, item.epoch, until, item.memory, tuple(item.inbox), item.damage)

        return self._faults.call("acquire", effect)  # type: ignore[return-value]

    def record(self, lease: Lease, memory: Memory, *, release: bool) -> Lease:
        if self.during_record:
            self.during_record.pop(0)()

        def effect() -> Lease:
            item = self.items[lease.group]
            if item.holder != lease.holder or item.epoch < lease.epoch:
                raise Stale("UpdateItem", "LeaseLost", f"group {lease.group} now belongs to {item.holder}")
            fresh = item.inbox if item.epoch > lease.epoch else item.inbox[len(lease.inbox) :]
            item.memory, item.inbox, item.damage = memory, fresh, None
            item.epoch += 1
            if release and not fresh:
                item.until = None
            return replace(lease, epoch=item.epoch, memory=memory, inbox=tuple(fresh))

        return self._faults.call("release" if release else "record", effect)  # type: ignore[return-value]

    def leave(self, group: str, news: News) -> None:
        self._faults.call("leave", lambda: self.items[group].inbox.append(news))

    def note(self, happening: IncidentOpened | IncidentClosed) -> None:
        kind = "closed" if isinstance(happening, IncidentClosed) else "opened"

        def effect() -> None:
            if (kind, happening.incident.incident_id) not in self.notes:
                self.notes.append((kind, happening.incident.incident_id))

        self._faults.call("note", effect)

    def seize(self, group: str) -> None:
        """Another controller takes the lease, as after a freeze that outlived it."""
        item = self.items[group]
        item.epoch += 1
        item.holder, item.until = "somebody else", self._clock.now() + secs(25)


class Prober:
    """`ports.Prober`: a verification sees what the group's first table leads to, unless told otherwise."""

    def __init__(self, vpc: Vpc, policy: Policy, clock: Clock, faults: Faults) -> None:
        self._vpc = vpc
        self._policy = policy
        self._clock = clock
        self._faults = faults
        self.hung: set[str] = set()
        self.started: list[StartWatch] = []
        self.verified: list[str] = []
        self.outside = ControlProbe(True)
        self.answers: list[ControlProbe] = []
        """Of the control probe, before `outside`."""

    def start(self, watch: StartWatch) -> None:
        self._faults.call("StartWatch", lambda: self.started.append(watch))

    def verify(self, group: str) -> ProbeReport:
        def effect() -> ProbeReport:
            self.verified.append(group)
            now = (self._clock.now() - T0).total_seconds()
            self._clock.instant += secs(0.5)
            pattern = "oo" if self.forwards(group) else "xxx"
            run_id = f"verify-{group}-{len(self.verified)}"
            return verified(pattern, now + 0.01, name=group, run_id=run_id, canary=pattern)

        return self._faults.call("verify", effect)  # type: ignore[return-value]

    def control(self) -> ControlProbe:
        return self._faults.call("control", lambda: self.answers.pop(0) if self.answers else self.outside)  # type: ignore[return-value]

    def forwards(self, group: str) -> bool:
        route = self._vpc.network.tables[self._policy.group(group).table_ids[0]].routes.get(DEFAULT_ROUTE)
        if route is None or route.target in self.hung:
            return False
        owner: Instance | None = self._vpc.network.owner_of(route.target)
        if owner is None or owner.interface is None:
            return route.target.startswith("nat-")
        return owner.is_running and not owner.interface.is_source_dest_checked


class Telemetry:
    """Remembers what people would see."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.plans: list[Plan] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.happenings: list[tuple[str, Happening]] = []
        self.troubles: list[tuple[str | None, Trouble]] = []
        self.reports: list[ProbeReport] = []
        self.messages: list[str] = []

    def decided(self, plan: Plan) -> None:
        self.plans.append(plan)

    def acted(self, group: str, outcome: Outcome) -> None:
        self.outcomes.append((group, outcome))

    def happened(self, group: str, happening: Happening) -> None:
        self.happenings.append((group, happening))

    def troubled(self, group: str | None, trouble: Trouble) -> None:
        self.troubles.append((group, trouble))

    def reported(self, report: ProbeReport) -> None:
        self.reports.append(report)

    def send(self, text: str) -> None:
        self._faults.call("send", lambda: self.messages.append(text))

    @property
    def failed(self) -> list[Trouble]:
        return [each.trouble for _, each in self.outcomes if each.trouble is not None]

    @property
    def warnings(self) -> list[str]:
        return [each.text for _, each in self.happenings if isinstance(each, Warned)]


class Together:
    """One after the other in fact, at the same time on the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        begun = ended = self._clock.instant
        found: list[object] = []
        for each in calls:
            self._clock.instant = begun
            try:
                found.append(each())
            except Trouble as trouble:
                found.append(trouble)
            ended = max(ended, self._clock.instant)
        self._clock.instant = ended
        return found


class Stack:
    """A world with a controller beside it."""

    def __init__(self, world: World) -> None:
        self._runs = 0
        self.policy = world.policy
        self.clock = Clock(at(world.now))
        self.faults = Faults(self.clock)
        self.vpc = Vpc(world.seen, world.policy, self.faults)
        self.ledger = Ledger(self.clock, self.faults)
        for name, memory in world.memories.items():
            self.ledger.items[name].memory = memory
        self.prober = Prober(self.vpc, world.policy, self.clock, self.faults)
        self.telemetry = Telemetry(self.faults)
        together = Together(self.clock)
        self.ports = Ports(self.vpc, self.ledger, self.prober, self.clock, self.telemetry, together)
        # A process that has had a pass already, as nearly every one has: reports and ticks keep it warm.
        self.ports.own.add(each.instance_id for each in world.seen.instances)

    def wake(self, *news: News) -> dict[str, list[str]]:
        return reconcile([self._started(each) for each in news], self.ports, self.policy)

    def _started(self, news: News) -> News:
        """A report to which its test gave no run is of one that the group's memory knows: of no other is it heard."""
        if not isinstance(news, ProbeReport) or not news.run_id.startswith(NAMELESS) or not news.rounds:
            return news
        item, self._runs = self.ledger.items[news.group], self._runs + 1
        began_at = news.rounds[0].sent_at - timedelta(milliseconds=self._runs)
        item.memory = replace(item.memory, watch_starts=(began_at, *item.memory.watch_starts))
        return replace(news, run_id=run_id_of(news.group, began_at))

    def later(self, seconds: float) -> Stack:
        self.clock.instant += secs(seconds)
        self.clock.left = self.clock.instant - T0 + secs(20)
        return self

    def memory(self, name: str = "a") -> Memory:
        return self.ledger.items[name].memory

    def route(self, table: str = "rtb-a") -> str | None:
        route = self.vpc.network.tables[table].routes.get(DEFAULT_ROUTE)
        return route.target if route else None

    def calls(self) -> Counter[str]:
        return Counter(name for name, _ in self.faults.journal)

    def written(self) -> list[str]:
        """Every call that changes something, in EC2 or the ledger."""
        harmless = ("look", "read", "control", "verify", "stops", "send")
        return [name for name, _ in self.faults.journal if name not in harmless]
