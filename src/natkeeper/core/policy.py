"""What the user chose, validated and frozen. Built by `settings`, read by the rest of `core`.

May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import cached_property


class StandbyMode(Enum):
    """Whether each group keeps a second NAT of its own."""

    NONE = "none"
    STOPPED = "stopped"
    RUNNING = "running"


@dataclass(frozen=True)
class Group:
    """An egress group: one zone's private route tables, its Elastic IP, its NAT, its prober. `subnet_id`: the public
    subnet of its NAT; `private_subnet_id`: its prober's."""

    name: str
    table_ids: tuple[str, ...]
    cidr: str
    subnet_id: str
    allocation_id: str
    public_address: str
    private_subnet_id: str
    gateway_id: str | None = None


@dataclass(frozen=True)
class ProvingAddress:
    """The stack's spare Elastic IP: a NAT that AWS gives no public address is proven through it."""

    allocation_id: str
    public: str


@dataclass(frozen=True)
class Policy:
    """Thresholds and limits, with the groups of the stack in ring order.

    Sources: `rounds_to_fail`, `interval` and `timeout` give a verdict within 3.8 s of the first lost packet; the limits
    on failovers and launches bound what a wrong verdict can cost; `freshness` spans two watch runs of 55 s.
    """

    stack: str
    groups: tuple[Group, ...]
    instance_types: tuple[str, ...] = ("t4g.nano", "t4g.micro")
    standby: StandbyMode = StandbyMode.NONE
    canary: str | None = "1.0.0.1"
    proving: ProvingAddress | None = None
    interval: timedelta = timedelta(seconds=1)
    rounds_to_fail: int = 3
    watch_run: timedelta = timedelta(seconds=55)
    quiet_period: timedelta = timedelta(seconds=300)
    max_failovers_per_hour: int = 6
    max_launches_per_day: int = 6
    freshness: timedelta = timedelta(seconds=120)
    exclusion: timedelta = timedelta(seconds=60)
    """How long a candidate that failed its verification is left alone."""
    boot_limit: timedelta = timedelta(seconds=450)
    """How long a launched NAT may take until it forwards before another is launched. Most take 30 s; a first boot that
    installs packages on 512 MB took minutes (docs/aws.md), and giving up on one that would have come launches the next
    into the same delay."""
    start_limit: timedelta = timedelta(seconds=240)
    """The same for one that was started, or that ran and forwarded nothing: it has its packages."""
    address_limit: timedelta = timedelta(seconds=30)
    """How long a NAT that has its public address may lose the canary's packets all the same: the address takes up to
    10 s to work, three rounds and their report another 10."""
    address_arrival: timedelta = timedelta(seconds=11)
    """How long after AssociateAddress was answered packets may not follow yet. AWS says nothing; reports go up to 6 s
    (docs/aws.md). 10 s are assumed, and 1 s is for clocks and for the route's own way."""
    propagation: timedelta = timedelta(seconds=1)
    """How long after its call was answered a route may still lead where it did (assumed; AWS says nothing)."""
    doom_notice: timedelta = timedelta(minutes=10)
    """How long before an announced stop the traffic leaves."""
    teaching_pause: timedelta = timedelta(milliseconds=120)
    """From routes to Elastic IP of a planned move, the address's own call included. A connection on which only the
    server speaks survives if the client acknowledges something through the new NAT meanwhile, so this must be longer
    than such a server is silent. It must stay well below 200 ms, TCP's first retransmission: at 205 ms the longest gaps
    were 107 ms longer than that (client-driven) instead of 20 to 60, at 260 ms they were 675 and 445 ms, because the
    first repeat was lost too. With no pause (two calls 5 ms apart) every stream of 50 lines a second was lost."""
    clock_error: timedelta = timedelta(milliseconds=100)
    """How far two hosts' wall clocks may differ; Lambda's real figure is unproven."""

    @property
    def canary_destination(self) -> str | None:
        """The canary as a route destination."""
        return f"{self.canary}/32" if self.canary else None

    def group(self, name: str) -> Group:
        """The group of that name. Raises KeyError for a name that settings never let in."""
        return self._named[name]

    def neighbours_of(self, name: str) -> tuple[str, ...]:
        """Whose NATs may carry the group's traffic, first choice first: the ring read forwards."""
        return self._ring[name]

    def hosted_by(self, name: str) -> tuple[str, ...]:
        """Whom the group's NAT may carry, in the order of its secondary addresses: the ring read backwards."""
        return self._ring[name][::-1]

    @cached_property
    def _named(self) -> dict[str, Group]:
        return {each.name: each for each in self.groups}

    @cached_property
    def _ring(self) -> dict[str, tuple[str, ...]]:
        names = tuple(each.name for each in self.groups)
        return {name: names[at + 1 :] + names[:at] for at, name in enumerate(names)}
