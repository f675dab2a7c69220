"""The VPC's router: local traffic first, then the route table of the subnet a packet came from.

Called by `network.network`. Knows interfaces and tables, not instances. May not import boto3, moto or `api`.
"""

from __future__ import annotations

from collections.abc import Iterable

from natkeeper_lab.network.interface import INTERFACE_END, Interface
from natkeeper_lab.network.kernel import Kernel

NAMESPACE = "vpc"
GATEWAY_DEVICE = "igw"
GATEWAY = "169.254.1.2"
LOCAL, PER_SUBNET = 500, 1000  # rule priorities: a VPC's local route beats what its tables say
MAIN_TABLE = 254  # linux/rtnetlink.h
FIRST_TABLE = 1001


class Router:
    def __init__(self, kernel: Kernel, vpc_cidr: str) -> None:
        self._kernel = kernel
        self._vpc_cidr = vpc_cidr
        self._tables: dict[str, int] = {}
        self._routes: dict[tuple[str, str], str] = {}
        self._subnet_tables: dict[str, str] = {}
        self._ports: dict[str, Interface] = {}
        self._owners: dict[str, str] = {}

    def build(self) -> None:
        self._kernel.create(NAMESPACE, {"net.ipv4.ip_forward": 1})
        self._kernel.rule(NAMESPACE, LOCAL, MAIN_TABLE, dst=self._vpc_cidr)
        self._kernel.silence(NAMESPACE, self._vpc_cidr)

    def add_table(self, table_id: str) -> None:
        if table_id not in self._tables:
            self._tables[table_id] = FIRST_TABLE + len(self._tables)
            self._kernel.silence(NAMESPACE, table=self._tables[table_id])

    def set_route(self, table_id: str, destination: str, target: str | None) -> None:
        key = (table_id, destination)
        if target is None:
            if self._routes.pop(key, None) is not None:
                self._kernel.no_route(NAMESPACE, destination, self._tables[table_id])
            return
        self._routes[key] = target
        self._apply(key)

    def add_subnet(self, subnet_id: str, table_id: str) -> None:
        self._subnet_tables.setdefault(subnet_id, table_id)

    def use_table(self, subnet_id: str, table_id: str) -> None:
        """The new rule goes in behind the old one, so no packet finds neither."""
        former, self._subnet_tables[subnet_id] = self._subnet_tables[subnet_id], table_id
        if former == table_id:
            return
        for port in self._ports.values():
            if port.subnet_id == subnet_id:
                self._steer(port, table_id)
                self._steer(port, former, "del")

    def attach(self, port: Interface) -> None:
        self._ports[port.interface_id] = port
        self._steer(port, self._subnet_tables[port.subnet_id])
        self.own(port)
        self._reapply(port.interface_id)

    def detach(self, port: Interface) -> None:
        """The interface's routes stay and drop everything, as a blackhole route in a real route table."""
        del self._ports[port.interface_id]
        self._reapply(port.interface_id)
        self.disown(port, port.addresses)
        self._steer(port, self._subnet_tables[port.subnet_id], "del")

    def own(self, port: Interface) -> None:
        for address in port.addresses:
            self._owners[address] = port.interface_id
            self._kernel.route(NAMESPACE, f"{address}/32", port.router_device, INTERFACE_END)

    def disown(self, port: Interface, addresses: Iterable[str]) -> None:
        for address in addresses:
            if self._owners.get(address) == port.interface_id:  # else it has moved on already
                del self._owners[address]
                self._kernel.no_route(NAMESPACE, f"{address}/32")

    def _steer(self, port: Interface, table_id: str, verb: str = "add") -> None:
        self._kernel.rule(NAMESPACE, PER_SUBNET, self._tables[table_id], verb, iifname=port.router_device)

    def _reapply(self, target: str) -> None:
        for key, wanted in self._routes.items():
            if wanted == target:
                self._apply(key)

    def _apply(self, key: tuple[str, str]) -> None:
        (table_id, destination), target = key, self._routes[key]
        table = self._tables[table_id]
        if target.startswith("igw-"):
            self._kernel.route(NAMESPACE, destination, GATEWAY_DEVICE, GATEWAY, table)
        elif target in self._ports:
            self._kernel.route(NAMESPACE, destination, self._ports[target].router_device, INTERFACE_END, table)
        else:
            self._kernel.silence(NAMESPACE, destination, table, metric=0)
