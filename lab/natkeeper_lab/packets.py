"""What the lab's EC2 API tells the lab's network: the only words the two halves share.

The API side (`api`) owns the truth about ids and states and calls these verbs after each change it has accepted.
The network side (`network`) makes the kernel behave that way. Either can be tested alone: the API with a recording
fake of this protocol, the network by calling it directly. Calls come one at a time or from several threads at once.

May not import boto3, moto or pyroute2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SecurityRule:
    """One allow rule of a security group. `protocol` is tcp, udp, icmp or -1 (all); ports inclusive, both or none."""

    cidr: str
    protocol: str = "-1"
    from_port: int | None = None
    to_port: int | None = None


class Packets(Protocol):
    """A VPC's packet plane. Every verb returns once the kernel behaves as told; none raises for a repeat."""

    def add_route_table(self, table_id: str) -> None: ...

    def set_route(self, table_id: str, destination: str, target: str | None) -> None:
        """`target` is an `eni-…`, an `igw-…` or None (no such route). A route to a dead interface drops in silence."""

    def add_subnet(self, subnet_id: str, cidr: str, table_id: str) -> None: ...

    def use_route_table(self, subnet_id: str, table_id: str) -> None: ...

    def add_interface(self, interface_id: str, subnet_id: str, addresses: list[str]) -> None:
        """`addresses[0]` is the primary. Source/dest check starts on; no security group means nothing passes."""

    def set_addresses(self, interface_id: str, addresses: list[str]) -> None: ...

    def set_source_dest_check(self, interface_id: str, is_on: bool) -> None: ...

    def set_security_rules(
        self, interface_id: str, ingress: list[SecurityRule], egress: list[SecurityRule]
    ) -> None: ...

    def delete_interface(self, interface_id: str) -> None: ...

    def map_public_address(self, public: str, private: str | None) -> None:
        """The internet gateway's 1:1 translation, moved atomically; None takes the public address away."""

    def boot(self, instance_id: str, interface_id: str, user_data: str) -> None:
        """Start the guest behind the interface and run its user data; returns when the guest is on the wire."""

    def power_off(self, instance_id: str) -> None:
        """The guest is gone at once, in silence; its interface stays."""
