"""What `reconcile` needs from the world, as protocols. Implemented by `adapters`, by the lab and by simulations.

Every method may raise the four errors of `natkeeper.errors` and nothing else that is expected. May not import boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from natkeeper.core.incident import Memory
from natkeeper.core.model import ControlProbe, Network
from natkeeper.core.news import News, ProbeReport
from natkeeper.core.plan import Action, Happening, IncidentClosed, IncidentOpened, Plan, StartWatch
from natkeeper.errors import Trouble


@dataclass(frozen=True)
class Outcome:
    """What happened to one action. `trouble` None means that AWS answered that it is done."""

    action: Action
    trouble: Trouble | None
    took: timedelta


@dataclass(frozen=True)
class Lease:
    """The right to write for one group until `until`, with what the ledger held. `inbox`: news left by others."""

    group: str
    holder: str
    epoch: int
    until: datetime
    memory: Memory
    inbox: tuple[News, ...] = ()


@dataclass(frozen=True)
class Held:
    """Somebody else has the lease; `memory` is what the ledger held."""

    group: str
    holder: str
    memory: Memory


@dataclass(frozen=True)
class Known:
    """A group's item as it was read: its memory, and whether news wait there for whoever takes the lease next."""

    memory: Memory
    has_news: bool = False


class Vpc(Protocol):
    """EC2, as far as natkeeper uses it."""

    def look(
        self, suspects: frozenset[str], insists: Callable[[], bool] = ..., goes_on: Callable[[], bool] = ...
    ) -> Network:
        """One complete look, in one round trip. `suspects`: instances whose announced stop is to be confirmed. What is
        throttled is asked for again while it `insists`; nothing leaves unless it `goes_on`."""

    def do(self, action: Action, goes_on: Callable[[], bool] = ...) -> None:
        """Carry out one action that concerns EC2. Where it takes a second call, `goes_on` is asked before."""


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
        """An incident opened or closed, or a person should know something."""

    def troubled(self, group: str | None, trouble: Trouble) -> None:
        """A call outside a plan failed: looking, the ledger, a verification."""

    def reported(self, report: ProbeReport) -> None:
        """A prober's report arrived."""


class Together(Protocol):
    """Runs calls at the same time; each result stands where its call stood, a `Trouble` in place of a result."""

    def __call__(self, calls: Sequence[Callable[[], object]]) -> list[object]: ...


@dataclass(frozen=True)
class Ports:
    """All of the world that a pass touches."""

    vpc: Vpc
    ledger: Ledger
    prober: Prober
    clock: Clock
    telemetry: Telemetry
    together: Together
