"""One elastic network interface: a namespace between the VPC's router and a guest, which outlives the guest.

Called by `network.network`. Here live the source/dest check, the security group with its own connection tracking,
and the address instance metadata answers on. May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from natkeeper_lab.network.kernel import Kernel
from natkeeper_lab.network.security_group import (
    TOWARDS_GUEST,
    TOWARDS_VPC,
    MidStream,
    conntrack_settings,
    ruleset,
)
from natkeeper_lab.packets import SecurityRule

ROUTER_END = "169.254.0.1"  # the VPC's router as every interface sees it
INTERFACE_END = "169.254.0.2"  # every interface as the router sees it; told apart by device
METADATA_ADDRESS = "169.254.169.254"  # EC2 user guide, "Instance metadata"
FROM_GUEST, FROM_VPC = 1, 2  # routing tables: by where a packet came in, so that traffic only ever crosses


@dataclass
class Interface:
    """`number` makes device names and MAC addresses, which are too short for an `eni-…`."""

    interface_id: str
    number: int
    subnet_id: str
    subnet: IPv4Network
    addresses: list[str]
    mid_stream: MidStream
    is_checked: bool = True
    ingress: Sequence[SecurityRule] = ()
    egress: Sequence[SecurityRule] = ()
    guest: str | None = field(default=None, init=False)

    @property
    def namespace(self) -> str:
        return self.interface_id

    @property
    def router_device(self) -> str:
        return f"v{self.number}"

    @property
    def subnet_gateway(self) -> str:
        return str(self.subnet[1])  # VPC user guide, "Subnet CIDR blocks": the router is the second address

    @property
    def guest_mac(self) -> str:
        return self.mac(1)

    def mac(self, end: int) -> str:
        return f"02:00:{self.number >> 8:02x}:{self.number & 255:02x}:00:{end:02x}"

    def plug_into(self, kernel: Kernel, router: str) -> None:
        kernel.create(self.namespace, {"net.ipv4.ip_forward": 1})
        kernel.cable(self.namespace, TOWARDS_VPC, router, self.router_device, (self.mac(3), self.mac(4)))
        kernel.neighbour(self.namespace, TOWARDS_VPC, ROUTER_END, self.mac(4))
        kernel.neighbour(router, self.router_device, INTERFACE_END, self.mac(3))
        kernel.route(self.namespace, "0.0.0.0/0", TOWARDS_VPC, ROUTER_END, FROM_GUEST)
        kernel.silence(self.namespace, table=FROM_VPC)
        kernel.rule(self.namespace, 100, FROM_GUEST, iifname=TOWARDS_GUEST)
        kernel.rule(self.namespace, 101, FROM_VPC, iifname=TOWARDS_VPC)
        kernel.address(self.namespace, "lo", f"{METADATA_ADDRESS}/32")
        self.enforce(kernel)
        kernel.sysctl(self.namespace, conntrack_settings(self.mid_stream))  # exist once the rules use conntrack

    def enforce(self, kernel: Kernel) -> None:
        kernel.nft(self.namespace, ruleset(self.addresses, self.ingress, self.egress, self.is_checked))

    def wire(self, kernel: Kernel, guest: str, device: str) -> None:
        """Give the guest its cable and its primary address, as DHCP would; secondary ones are the guest's affair."""
        primary, gateway = self.addresses[0], self.subnet_gateway
        kernel.cable(self.namespace, TOWARDS_GUEST, guest, device, (self.mac(2), self.guest_mac))
        self._face_guest(kernel)
        kernel.address(guest, device, f"{primary}/{self.subnet.prefixlen}")
        kernel.route(guest, "0.0.0.0/0", device, gateway)
        kernel.route(self.namespace, "0.0.0.0/0", TOWARDS_GUEST, primary, FROM_VPC)
        self.guest = guest

    def wire_machine(self, kernel: Kernel, guest: str) -> None:
        """Give a virtual machine a device to plug into; it has to ask DHCP for its address."""
        kernel.tap(self.namespace, TOWARDS_GUEST)
        self._face_guest(kernel)
        kernel.route(self.namespace, "0.0.0.0/0", TOWARDS_GUEST, self.addresses[0], FROM_VPC)
        self.guest = guest

    def _face_guest(self, kernel: Kernel) -> None:
        kernel.sysctl(
            self.namespace,
            {f"net.ipv4.conf.{TOWARDS_GUEST}.proxy_arp": 1, f"net.ipv4.neigh.{TOWARDS_GUEST}.proxy_delay": 0},
        )
        kernel.address(self.namespace, TOWARDS_GUEST, f"{self.subnet_gateway}/32")
        kernel.neighbour(self.namespace, TOWARDS_GUEST, self.addresses[0], self.guest_mac)
        kernel.route(self.namespace, f"{self.addresses[0]}/32", TOWARDS_GUEST)

    def unwire(self, kernel: Kernel) -> None:
        kernel.cut(self.namespace, TOWARDS_GUEST)
        self.guest = None
