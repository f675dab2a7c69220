"""What EC2 has in the simulated account: instances, interfaces, addresses, tables.

State only; `simulation.ec2` changes it. Instants are the hub's microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from natkeeper_lab.simulation.hub import SECOND

DEFAULT_ROUTE = "0.0.0.0/0"
PROFILE = "arn:aws:iam::123456789012:instance-profile/nat"
FOREVER = 1 << 60
VPC, SECURITY_GROUP = "vpc-1", "sg-1"


@dataclass(slots=True, eq=False)
class Interface:
    """A network interface with its private addresses, the primary first. `public`: private to public address, where the
    internet gateway translates it now."""

    interface_id: str
    zone: str
    addresses: list[str]
    is_checked: bool = True
    public: dict[str, str] = field(default_factory=dict)
    has_auto_public: bool = False
    """The attribute AssociatePublicIpAddress: an address of AWS's on the primary whenever it has no other."""
    is_group_open: bool = True
    """The security group lets the private subnets in."""
    vpc_id: str = VPC
    subnet_id: str = ""
    """Empty: the public subnet of its zone."""
    group_id: str = SECURITY_GROUP

    @property
    def primary(self) -> str:
        return self.addresses[0]


@dataclass(slots=True, eq=False)
class Machine:
    """An instance, with what a guest inside it does to packets."""

    instance_id: str
    kind: str
    tags: dict[str, str]
    interface: Interface | None
    launched_at: int
    state: str = "pending"
    forwards_from: int = FOREVER
    """When its boot script is done; FOREVER when the script fails."""
    is_script_good: bool = True
    loads_rules: bool = True
    """False: its script ends well, and has loaded no rule."""
    is_hung: bool = False
    is_forwarding: bool = True
    has_ruleset: bool = True
    takes_new_flows: bool = True
    loss: float = 0.0
    latency_ms: float = 0.0
    megabits: float | None = None
    """What it can carry in a second, both ways together; None: whatever comes."""
    visible_from: int = 0
    tagged_from: int = 0
    is_doomed_at: int | None = None
    """AWS scheduled its end: DescribeInstanceStatus says so."""
    is_spot_ending_at: int | None = None
    is_replacement: bool = False
    token: str = ""
    profile: str = PROFILE
    is_stranger: bool = False
    """Somebody put the stack's tags on a machine that is none of its NATs."""

    @property
    def is_gone(self) -> bool:
        return self.state in ("shutting-down", "terminated")

    def tag(self, key: str) -> str:
        """What it is to the stack, by its tags; a stranger's say nothing, whatever EC2 shows of them."""
        return "" if self.is_stranger else self.tags.get(key, "")

    def reboot(self) -> None:
        """What a fresh boot puts right."""
        self.is_hung = False
        self.is_forwarding = self.takes_new_flows = True
        self.has_ruleset = self.loads_rules
        self.loss = self.latency_ms = 0.0
        self.megabits = None


@dataclass(slots=True, eq=False)
class Elastic:
    """An Elastic IP, where the API shows it. Packets follow an association only after a remap (`Interface.public`)."""

    allocation_id: str
    public: str
    interface_id: str | None = None
    private: str | None = None
    follows_at: int = -3600 * SECOND
    """When packets follow the last association, or did."""

    @property
    def association_id(self) -> str:
        """Of the association that it has now, if it has one."""
        return f"eipassoc-{self.allocation_id}-{self.interface_id}-{self.private}"


@dataclass(slots=True, eq=False)
class Table:
    """A route table: destination to target, as the API shows it. `lagging`: what packets still take meanwhile."""

    table_id: str
    routes: dict[str, str] = field(default_factory=dict)
    subnet_ids: tuple[str, ...] = ()
    is_main: bool = False
    """The VPC's: of every subnet that is on no table by name."""
    lagging: dict[str, str | None] = field(default_factory=dict)
    lags_until: dict[str, int] = field(default_factory=dict)

    def taken(self, destination: str) -> str | None:
        """The target that packets for exactly this destination take now; None where they find no such route."""
        return self.lagging[destination] if destination in self.lagging else self.routes.get(destination)
