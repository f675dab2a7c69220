"""What an expectation may look at, whoever plays the scenario: the lab with packets, the simulation on virtual time.

`looks`, `ledger_looks`, `metric_looks` and `expect` know a scene only as a `Sight`, so that an expectation means the
same in both. Instants are seconds on the own clock of whoever plays. May not import anything that needs an emulator
or a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from natkeeper_lab.measure import Outage, Probe
from natkeeper_lab.scenario.file import Scenario
from natkeeper_lab.scenario.pace import Pace
from natkeeper_lab.scenario.targets import Target

GONE = ("shutting-down", "terminated")
STRICT_MS = 800
"""Under a second, so that a repeated SYN does not hide a lost one."""
PATIENT_MS = 2000
"""Lets the kernel repeat a lost SYN once (after 1 s): such a connection was slow, but it did not fail."""
INTERVAL_MS = {STRICT_MS: 10, PATIENT_MS: 50}
TOLERANCE = 2 * INTERVAL_MS[STRICT_MS] / 1000
"""How far the player's own figure for an outage may be off: a probe's interval at either end."""


def name_of(target: str | None, owners: Mapping[str, tuple[str, str]]) -> str:
    """What a report and a verdict call a route's target: `NAT a`, `standby a`, the target itself, or `nothing`.

    `owners` says which interface is whose: (group, role).
    """
    if target is None:
        return "nothing"
    group, role = owners.get(target, ("", ""))
    return f"{'NAT' if role == 'nat' else role} {group}" if group else target


def where_of(group: str, targets: Set[str | None], owners: Mapping[str, tuple[str, str]]) -> str:
    """Where a group's default routes are, all its tables together: home, away, gateway, none or split."""
    if len(targets) > 1:
        return "split"
    target = next(iter(targets))
    if target is None:
        return "none"
    if target.startswith("nat-"):
        return "gateway"
    return "home" if owners.get(target) == (group, "nat") else "away"


class CannotJudge(Exception):
    """A step cannot be made, or an expectation not be judged, here and now: the run is void, not passed."""


class Rulers(Protocol):
    """New connections from one zone."""

    @property
    def known_until(self) -> float:
        """Connections begun before this have an end that is known."""

    def outages(self, since: float) -> Sequence[Outage]:
        """Rows of failed connections since then."""

    def failed(self, since: float) -> Sequence[Probe]:
        """Connections that failed since then."""


class Calls(Protocol):
    """One answered call."""

    @property
    def service(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def operation(self) -> str: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def ended_at(self) -> float: ...


@dataclass(frozen=True)
class RouteChange:
    """A group's default route, as somebody left it. `where`: home, away, gateway, none, or split between tables."""

    at: float
    table: str
    group: str
    target: str | None
    where: str
    is_by_hand: bool


@dataclass(frozen=True)
class Line:
    """One line of the controller's log, parsed."""

    at: float
    fields: Mapping[str, Any]


class Machines(Protocol):
    """One instance."""

    @property
    def instance_id(self) -> str: ...
    @property
    def state(self) -> str: ...


class Journals(Protocol):
    """What happened, with times."""

    @property
    def targets(self) -> Mapping[str, str | None]: ...
    @property
    def routes(self) -> Sequence[RouteChange]: ...
    def where(self, group: str) -> str: ...
    def carried_by(self, target: str | None) -> str: ...
    def writes(self, since: float = 0.0) -> Sequence[Calls]: ...
    def own_calls(self, since: float = 0.0) -> Sequence[Calls]: ...
    def groups_of(self, call: Any) -> set[str]: ...
    def lines(self, since: float = 0.0) -> Sequence[Line]: ...
    def decisions(self, since: float = 0.0) -> Sequence[Line]: ...
    def throttles(self, since: float = 0.0) -> Sequence[float]: ...


class Judges(Protocol):
    """The invariants. `counts`: when, which group, how many instances that are not gone."""

    @property
    def counts(self) -> Sequence[tuple[float, str, int]]: ...
    def broken(self) -> Sequence[str]: ...


class Sight(Protocol):
    """A scenario under way."""

    @property
    def scenario(self) -> Scenario: ...
    @property
    def pace(self) -> Pace: ...
    @property
    def zero(self) -> float: ...
    @property
    def switched_on_at(self) -> float: ...
    @property
    def fates(self) -> Sequence[Any]: ...
    @property
    def rulers(self) -> Mapping[str, Rulers]: ...
    @property
    def patient(self) -> Mapping[str, Rulers]: ...
    @property
    def before_targets(self) -> Mapping[str, str | None]: ...
    @property
    def before_addresses(self) -> Mapping[str, str | None]: ...
    @property
    def journal(self) -> Journals: ...
    @property
    def invariants(self) -> Judges: ...

    def now(self) -> float:
        """The player's clock."""

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""

    def instant(self, text: Any) -> float:
        """A time in the ledger on the player's clock."""

    def seconds(self, at: float) -> float:
        """Since the clock's zero."""

    def tables_of(self, group: str) -> Sequence[str]:
        """The group's private route tables."""

    def fetch(self, group: str) -> str | None:
        """The address from which the far end sees the group now."""

    def addresses_seen(self, group: str) -> Sequence[tuple[float, str]]:
        """Whom the far end saw the group as, and when, in order; at least each time that it changed."""

    def machine(self, target: Target) -> Machines:
        """The instance a target means now. CannotJudge when there is none."""

    def initial_of(self, target: Target) -> str:
        """The instance that a target meant before the first step; empty when there was none."""

    def state_of(self, instance_id: str) -> str:
        """How an instance is; empty when there is none of that id any more."""

    def ledger(self, group: str) -> Sequence[dict[str, Any]]:
        """The group's incidents as the ledger has them."""


def moment(text: Any) -> float:
    """Seconds since 1970 of a time in the ledger."""
    return datetime.fromisoformat(str(text)).timestamp()
