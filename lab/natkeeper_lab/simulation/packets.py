"""What becomes of a new connection: from a group's private subnet, and from outside the VPC.

Called by the probers (`simulation.probes`), which see nothing else, and by the invariants, as the truth that probes are
held against. A path is followed as packets would follow it: route, interface, guest, translation, internet gateway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, FOREVER, Interface, Machine

if TYPE_CHECKING:
    from natkeeper.core.policy import Policy
    from natkeeper_lab.simulation.ec2 import Ec2

TIMEOUT_MS = 800.0
"""ProbeTimeout's default: a slower answer is none."""
RTT_MS = 8.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to new connections now. `loss`: share of packets lost on the way. `address`: whom the far end sees.
    `is_known` False: names cannot be resolved, so nothing is sent. `through`: the interface or gateway that carries."""

    is_ok: bool
    loss: float = 0.0
    rtt_ms: float = RTT_MS
    address: str | None = None
    is_known: bool = True
    through: str | None = None
    why: str = ""


DEAD = {
    why: Fate(False, why=why)
    for why in (
        *(
            "no route",
            "interface gone",
            "not running",
            "booting",
            "hung",
            "not forwarding",
            "no ruleset",
            "no new flows",
        ),
        *("source/dest check", "security group", "zone down", "no public address", "gateway down", "too slow"),
        *("targets down", "prober cut off", "public access blocked"),
    )
}
UNKNOWN = Fate(False, is_known=False, why="no names")


@lru_cache(maxsize=256)
def _carried(loss: float, rtt_ms: float, address: str, through: str) -> Fate:
    return Fate(True, loss, rtt_ms, address, through=through)


@cache
def _number(address: str) -> int:
    return int(IPv4Address(address))


class Packets:
    """The ways packets take. `targets_down`: how many of the three probe targets nobody can reach."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self.zones_down: set[str] = set()
        self.targets_down = 0
        self.targets_back_at = -3600 * SECOND
        self.are_names_dead = False
        self.cut_off: set[str] = set()
        """Groups whose prober's own way to its NAT is broken."""
        self.seeing_again_at: dict[str, int] = {}
        """When it was whole again; far in the future while it is not."""
        self.gateways: dict[str, str | None] = {}
        """NAT gateway to its public address; None while it is broken."""
        self.is_public_access_blocked = False
        """VPC Block Public Access, ingress-only: what comes in for a NAT gateway passes, for an instance nothing."""
        self.loads: dict[str, float] = {}
        """Group to the Mbit/s that its workloads make, both ways together."""
        self._homes: dict[str, str] = {}
        self._orders: dict[tuple[str, str], int] = {}

    def cut(self, group: str) -> None:
        """The prober's own way breaks."""
        self.cut_off.add(group)
        self.seeing_again_at[group] = FOREVER

    def mend(self, group: str) -> None:
        """It is whole again."""
        if group in self.cut_off:
            self.cut_off.remove(group)
            self.sees_again(group)

    def sees_again(self, group: str) -> None:
        """What its prober says from now on is of the group's own path; what it has said may not be known as such."""
        if group not in self.cut_off:
            self.seeing_again_at[group] = self._ec2.hub.now

    def configure(self, policy: Policy) -> None:
        """Who may host whom, as NATs are told when they boot."""
        self._homes = {each.name: each.table_ids[0] for each in policy.groups}
        self._orders = {
            (host.name, hosted): number
            for host in policy.groups
            for number, hosted in enumerate(policy.hosted_by(host.name))
        }

    def from_inside(self, group: str, table_id: str, destination: str = DEFAULT_ROUTE) -> Fate:
        """A new connection from a host behind this table to the internet (or to the canary's address)."""
        return self.to_the_prober(group, self.path(group, table_id, destination), destination)

    def to_the_prober(self, group: str, way: Fate, destination: str = DEFAULT_ROUTE) -> Fate:
        """What a prober meets on a way that is `way` to a workload."""
        if group in self.cut_off:
            return DEAD["prober cut off"]
        if self.are_names_dead:
            return UNKNOWN
        if destination == DEFAULT_ROUTE and self.targets_down >= 2:
            return DEAD["targets down"]
        return way

    def path(self, group: str, table_id: str, destination: str = DEFAULT_ROUTE) -> Fate:
        """The same for a workload that needs none of the probes' targets."""
        table = self._ec2.tables.get(table_id)
        target = None if table is None else table.taken(destination) or table.taken(DEFAULT_ROUTE)
        if target is None:
            return DEAD["no route"]
        if target.startswith("nat-"):
            address = self.gateways.get(target)
            return DEAD["gateway down"] if address is None else Fate(True, address=address, through=target)
        return self._through(group, target, is_canary=destination != DEFAULT_ROUTE)

    def _through(self, group: str, target: str, *, is_canary: bool) -> Fate:
        machine = self._ec2.owner(target)
        if machine is None or machine.interface is None:
            return DEAD["interface gone"]
        interface = machine.interface
        why = self.guest(machine, interface)
        if why is not None:
            return DEAD[why]
        landing = interface.primary if is_canary else self.landing(machine, interface, group)
        public = interface.public.get(landing)
        if public is None:
            return DEAD["no public address"]
        if self.is_public_access_blocked:
            return DEAD["public access blocked"]
        rtt = RTT_MS + machine.latency_ms
        if rtt > TIMEOUT_MS:
            return DEAD["too slow"]
        return _carried(max(machine.loss, self._overload(machine, target)), rtt, public, target)

    def _overload(self, machine: Machine, target: str) -> float:
        """The share of packets above what the machine can carry: it follows the load from one NAT to another. TCP sends
        the less the more of it is lost: what is offered falls with the share that arrives, and settles between."""
        if machine.megabits is None:
            return 0.0
        tables = self._ec2.tables
        load = sum(
            each for group, each in self.loads.items() if tables[self._homes[group]].taken(DEFAULT_ROUTE) == target
        )
        return max(0.0, 1 - math.sqrt(machine.megabits / load)) if load else 0.0

    def lose_targets(self, count: int, now: int) -> None:
        """From now on so many targets are out of reach. Two make a probe fail; when fewer do, they are back."""
        if count < 2 <= self.targets_down:
            self.targets_back_at = now
        self.targets_down = count

    def guest(self, machine: Machine, interface: Interface) -> str | None:
        """Why the machine forwards nothing, or None."""
        if machine.state != "running":
            return "not running"
        if interface.zone in self.zones_down:
            return "zone down"
        if self._ec2.hub.now < machine.forwards_from:
            return "booting"
        if machine.is_hung:
            return "hung"
        if not machine.is_forwarding:
            return "not forwarding"
        if not machine.has_ruleset:
            return "no ruleset"
        if not machine.takes_new_flows:
            return "no new flows"
        if interface.is_checked:
            return "source/dest check"
        return None if interface.is_group_open else "security group"

    def landing(self, machine: Machine, interface: Interface, group: str) -> str:
        """The private address that this group's packets are translated to: `nat_instance`'s rule."""
        owner = machine.tag(GROUP_TAG)
        if machine.tag(ROLE_TAG) == "standby":
            number = 0 if owner == group else None
        elif owner == group or not machine.tag(STACK_TAG):
            return interface.primary
        else:
            number = self._orders.get((owner, group))
        if number is None or number >= len(interface.addresses) - 1:
            return interface.primary
        return sorted(interface.addresses[1:], key=_number)[number]

    @property
    def outside(self) -> bool:
        """Whether a quorum of the probe targets answers somebody who is not in the VPC."""
        return self.targets_down < 2
