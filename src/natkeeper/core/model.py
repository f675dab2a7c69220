"""Frozen facts about AWS, as one look found them. Built by `adapters.ec2`, read by the rest of `core`.

Nothing here decides anything. What follows from a fact alone is worked out once and kept with it, because every group
asks several times in every pass. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cached_property

DEFAULT_ROUTE = "0.0.0.0/0"


class InstanceState(Enum):
    """EC2's instance states."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"

    @property
    def is_gone(self) -> bool:
        """It will never run again."""
        return self in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


class Role(Enum):
    """What an instance is for: the group's own NAT, or a second one of the same group."""

    NAT = "nat"
    STANDBY = "standby"


@dataclass(frozen=True)
class PrivateAddress:
    """One private address of an interface and the public one it is translated to, if any."""

    address: str
    public: str | None = None


@dataclass(frozen=True)
class Interface:
    """An instance's primary network interface. `addresses[0]` is the primary private address."""

    interface_id: str
    addresses: tuple[PrivateAddress, ...]
    is_source_dest_checked: bool

    @property
    def primary(self) -> PrivateAddress:
        """The address the instance boots with."""
        return self.addresses[0]

    @cached_property
    def secondaries(self) -> tuple[PrivateAddress, ...]:
        """Sorted by number, as the boot script sorts them: the k-th belongs to the k-th hosted group."""
        return tuple(sorted(self.addresses[1:], key=lambda each: [int(part) for part in each.address.split(".")]))


@dataclass(frozen=True)
class Instance:
    """A NAT instance of this stack. `interface` is None when EC2 shows none (terminated, or still being made)."""

    instance_id: str
    group: str
    role: Role
    state: InstanceState
    interface: Interface | None
    launched_at: datetime
    interruption_at: datetime | None = None
    """When AWS will stop or take it back, where AWS's API (not an event) confirmed it."""

    @property
    def is_running(self) -> bool:
        """Running and on the network."""
        return self.state is InstanceState.RUNNING and self.interface is not None

    @property
    def target(self) -> str | None:
        """What a route to it points at, where EC2 shows that."""
        return self.interface.interface_id if self.interface is not None else None


@dataclass(frozen=True)
class Route:
    """Where one destination of a route table points: `eni-…`, `nat-…` or anything else that AWS allows."""

    target: str
    is_blackhole: bool = False


@dataclass(frozen=True)
class RouteTable:
    """A route table's IPv4 routes by destination, and the subnets that are associated with it by name."""

    table_id: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    subnet_ids: frozenset[str] = frozenset()
    is_main: bool = False
    """The VPC's main table, which carries every subnet that is associated with none by name."""


@dataclass(frozen=True)
class Stranger:
    """A machine that carries the tags of the stack's NATs and is none of them. `differs`: what gives it away, for
    people."""

    instance_id: str
    group: str
    differs: str


@dataclass(frozen=True)
class ElasticIp:
    """An Elastic IP and the private address it is on (both None when it is on nothing)."""

    allocation_id: str
    public: str
    interface_id: str | None = None
    private: str | None = None
    association_id: str | None = None


@dataclass(frozen=True)
class Network:
    """One complete look at a stack: every NAT instance, every configured table and address that exists."""

    instances: tuple[Instance, ...]
    tables: Mapping[str, RouteTable]
    addresses: Mapping[str, ElasticIp]
    unasked: frozenset[str] = frozenset()
    """Of these instances AWS was said to stop them, and EC2 did not answer whether it will."""
    strangers: tuple[Stranger, ...] = ()
    """What has the stack's tags and nothing else of its NATs: left alone, and told."""
    associations: Mapping[str, str | None] = field(default_factory=dict)
    """For a prober's subnet that none of its group's tables names: the table that does. None: no table does, so that
    its packets follow the VPC's main one. Missing: EC2 did not say."""

    @cached_property
    def own_ids(self) -> frozenset[str]:
        """The stack's instances that are not gone."""
        return frozenset(each.instance_id for each in self.instances if not each.state.is_gone)

    def with_stops(self, stops: Mapping[str, datetime]) -> Network:
        """The same look with what EC2 confirmed of announced stops."""
        told = (replace(each, interruption_at=stops.get(each.instance_id)) for each in self.instances)
        return replace(self, instances=tuple(told))

    @cached_property
    def default_targets(self) -> frozenset[str | None]:
        """Whatever a default route of the stack points at: it carries somebody's traffic, whatever the ledger says."""
        routes = (each.routes.get(DEFAULT_ROUTE) for each in self.tables.values())
        return frozenset(each.target for each in routes if each is not None)

    @cached_property
    def alive(self) -> Mapping[tuple[str, Role], tuple[Instance, ...]]:
        """The instances that are not gone, by group and role, newest first."""
        found: dict[tuple[str, Role], tuple[Instance, ...]] = {}
        for each in sorted(self.instances, key=lambda each: (each.launched_at, each.instance_id), reverse=True):
            if not each.state.is_gone:
                found[each.group, each.role] = (*found.get((each.group, each.role), ()), each)
        return found

    def owner_of(self, interface_id: str) -> Instance | None:
        """The instance whose interface this is, or None when no NAT of the stack has it."""
        for instance in self.instances:
            if instance.interface is not None and instance.interface.interface_id == interface_id:
                return instance
        return None


@dataclass(frozen=True)
class Unknown:
    """We could not look. Never "down", never "up"."""

    reason: str
    is_throttled: bool = False
    """Only for the account's request rate."""


@dataclass(frozen=True)
class ControlProbe:
    """What the same targets looked like from outside the VPC. `is_ok`: a quorum of them answered."""

    is_ok: bool
    detail: str = ""
