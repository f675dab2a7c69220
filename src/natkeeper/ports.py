"""What `reconcile` needs from the world, as protocols. Implemented by `adapters`, by the lab and by simulations.

Every method may raise the four errors of `natkeeper.errors` and nothing else that is expected. May not import boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from natkeeper.core.incident import Memory
from natkeeper.core.model import ControlProbe, Network
from natkeeper.core.news import News, ProbeReport
from natkeeper.core.plan import Action, Happening, IncidentClosed, IncidentOpened, MoveAddress, Plan, StartWatch
from natkeeper.errors import Refused, Trouble


@dataclass(frozen=True)
class Outcome:
    """What happened to one action. `trouble` None means that AWS answered that it is done."""

    action: Action
    trouble: Trouble | None
    took: timedelta
    made: str | None = None
    """The instance that a launch made."""

    @property
    def is_address_refused(self) -> bool:
        """It may not be moved, or is none of the account's; not that there is nothing to move it to."""
        trouble = self.trouble
        is_gone = trouble is not None and trouble.code.startswith("InvalidAllocationID")
        return isinstance(self.action, MoveAddress) and (isinstance(trouble, Refused) or is_gone)


@dataclass(frozen=True)
class Lease:
    """The right to write for one group until `until`, with what the ledger held. `inbox`: news left by others.
    `damage`: what of the memory could not be read, for people; None where all of it could."""

    group: str
    holder: str
    epoch: int
    until: datetime
    memory: Memory
    inbox: tuple[News, ...] = ()
    damage: str | None = None


@dataclass(frozen=True)
class Held:
    """Somebody else has the lease; `memory` is what the ledger held."""

    group: str
    holder: str
    memory: Memory


@dataclass(frozen=True)
class Known:
    """A group's item as it was read: its memory, and whether news wait there for whoever takes the lease next.
    `damage`: what of it could not be read; None where all of it could."""

    memory: Memory
    has_news: bool = False
    damage: str | None = None


class Vpc(Protocol):
    """EC2, as far as natkeeper uses it."""

    def look(self, insists: Callable[[], bool] = ..., goes_on: Callable[[], bool] = ...) -> Network:
        """One complete look, in one round trip. What is throttled is asked for again while it `insists`; nothing leaves
        unless it `goes_on`."""

    def stops(self, instance_ids: frozenset[str], goes_on: Callable[[], bool] = ...) -> Mapping[str, datetime]:
        """When AWS will stop which of these instances of the stack, as EC2 itself says."""

    def do(self, action: Action, goes_on: Callable[[], bool] = ...) -> str | None:
        """Carry out one action that concerns EC2. Where it takes a second call, `goes_on` is asked before. The answer
        is the instance that a launch made."""


class Ledger(Protocol):
    """The table with each group's lease, memory and incidents."""

    def read(self) -> Mapping[str, Known]:
        """Every group's item, in one call."""

    def acquire(self, group: str, until: datetime) -> Lease | Held:
        """Take the lease if it is free or over; the answer carries the memory either way."""

    def record(self, lease: Lease, memory: Memory, *, release: bool) -> Lease:
        """Write the memory under the lease and drop the inbox that the lease handed out.

        News that came since are in the answer's inbox; then nothing was released, and they stay in the ledger until
        the next `record` or the next holder. Where news come faster than the memory can be written, a release leaves
        the whole inbox to the next holder, and anything else raises TryAgain. Raises Stale when the lease is lost.
        """

    def leave(self, group: str, news: News) -> None:
        """Leave news for whoever holds the lease."""

    def note(self, happening: IncidentOpened | IncidentClosed) -> None:
        """Write an incident's opening or closing; a repeat changes nothing."""


class Prober(Protocol):
    """The functions in the private subnets, and the control probe from outside."""

    def start(self, watch: StartWatch) -> None:
        """Start a watch run and do not wait."""

    def verify(self, group: str) -> ProbeReport:
        """Run a short verification and wait for its report (seconds)."""

    def control(self) -> ControlProbe:
        """Try the same targets from outside the VPC."""


class Clock(Protocol):
    """Time. Wall clock in UTC."""

    def now(self) -> datetime:
        """The present instant."""

    def remaining(self) -> timedelta:
        """How long this invocation may still run."""

    def sleep(self, span: timedelta) -> None:
        """Wait a moment (at most a second; never for EC2 to finish something)."""


class Telemetry(Protocol):
    """What people and alarms see."""

    def decided(self, plan: Plan) -> None:
        """A plan was made."""

    def acted(self, group: str, outcome: Outcome) -> None:
        """An action was answered."""

    def happened(self, group: str, happening: Happening) -> None:
        """An incident opened or closed, or a person should know something: for log and metrics."""

    def send(self, text: str) -> None:
        """A message to whoever carries the pager. One call."""

    def troubled(self, group: str | None, trouble: Trouble) -> None:
        """A call outside a plan failed: looking, the ledger, a verification."""

    def reported(self, report: ProbeReport) -> None:
        """A prober's report arrived."""


class Together(Protocol):
    """Runs calls at the same time; each result stands where its call stood, a `Trouble` in place of a result."""

    def __call__(self, calls: Sequence[Callable[[], object]]) -> list[object]: ...


class OwnInstances:
    """What a process knows of which instances are the stack's, from one wake-up to the next. It saves the ledger a read
    for each event; it is never the only reason to know something (`natkeeper.sifting`)."""

    def __init__(self) -> None:
        self._remembered: frozenset[str] = frozenset()
        self._seen: frozenset[str] = frozenset()
        self._known_at: datetime | None = None
        self._asked_at: datetime | None = None

    @property
    def ids(self) -> frozenset[str]:
        """By the ledger when it was last read, or by the last look."""
        return self._remembered | self._seen

    @property
    def is_known(self) -> bool:
        """Somebody has told, at some time."""
        return self._known_at is not None

    def add(self, ids: Iterable[str]) -> None:
        """What one group's memory says, or a launch."""
        self._remembered |= frozenset(ids)

    def remember(self, ids: Iterable[str], now: datetime) -> None:
        """What the ledger says, of every group."""
        self._remembered, self._known_at = frozenset(ids), now

    def see(self, ids: Iterable[str], now: datetime) -> None:
        """What a look shows."""
        self._seen, self._known_at = frozenset(ids), now

    def was_told_since(self, instant: datetime, now: datetime) -> bool:
        """By ledger or look. A clock that was set back makes it ask again."""
        return self._known_at is not None and instant <= self._known_at <= now

    def may_ask(self, since: datetime, now: datetime) -> bool:
        """True once in the time since then: where nobody knows, one event may cost a look, and not each."""
        if self._asked_at is not None and since <= self._asked_at <= now:
            return False
        self._asked_at = now
        return True


@dataclass(frozen=True)
class Ports:
    """All of the world that a pass touches."""

    vpc: Vpc
    ledger: Ledger
    prober: Prober
    clock: Clock
    telemetry: Telemetry
    together: Together
    own: OwnInstances = field(default_factory=OwnInstances)
