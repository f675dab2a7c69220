"""A packet plane that only remembers what it was told, for tests of the lab's API without a kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from natkeeper_lab.packets import Packets, SecurityRule


class RecordingPackets:
    """`verbs` is everything that was said, in order; the rest is the state it adds up to.

    `before` is called with each verb's name and arguments before it takes effect: raise in it to break the plane.
    """

    def __init__(self) -> None:
        self.verbs: list[tuple[Any, ...]] = []
        self.routes: dict[tuple[str, str], str] = {}
        self.subnets: dict[str, tuple[str, str]] = {}
        self.tables: set[str] = set()
        self.interfaces: dict[str, list[str]] = {}
        self.checks: dict[str, bool] = {}
        self.rules: dict[str, tuple[list[SecurityRule], list[SecurityRule]]] = {}
        self.public: dict[str, str] = {}
        self.guests: dict[str, tuple[str, str]] = {}
        self.before: Callable[..., None] = lambda *_: None
        self._lock = threading.Lock()

    def _say(self, *verb: Any) -> None:
        self.before(*verb)
        with self._lock:
            self.verbs.append(verb)

    def add_route_table(self, table_id: str) -> None:
        self._say("add_route_table", table_id)
        self.tables.add(table_id)

    def set_route(self, table_id: str, destination: str, target: str | None) -> None:
        self._say("set_route", table_id, destination, target)
        assert table_id in self.tables
        if target is None:
            self.routes.pop((table_id, destination), None)
        else:
            self.routes[table_id, destination] = target

    def add_subnet(self, subnet_id: str, cidr: str, table_id: str) -> None:
        self._say("add_subnet", subnet_id, cidr, table_id)
        assert table_id in self.tables
        self.subnets[subnet_id] = (cidr, table_id)

    def use_route_table(self, subnet_id: str, table_id: str) -> None:
        self._say("use_route_table", subnet_id, table_id)
        self.subnets[subnet_id] = (self.subnets[subnet_id][0], table_id)

    def add_interface(self, interface_id: str, subnet_id: str, addresses: list[str]) -> None:
        self._say("add_interface", interface_id, subnet_id, addresses)
        assert subnet_id in self.subnets
        self.interfaces[interface_id] = addresses
        self.checks[interface_id] = True

    def set_addresses(self, interface_id: str, addresses: list[str]) -> None:
        self._say("set_addresses", interface_id, addresses)
        self.interfaces[interface_id] = addresses

    def set_source_dest_check(self, interface_id: str, is_on: bool) -> None:
        self._say("set_source_dest_check", interface_id, is_on)
        self.checks[interface_id] = is_on

    def set_security_rules(self, interface_id: str, ingress: list[SecurityRule], egress: list[SecurityRule]) -> None:
        self._say("set_security_rules", interface_id, ingress, egress)
        self.rules[interface_id] = (ingress, egress)

    def delete_interface(self, interface_id: str) -> None:
        self._say("delete_interface", interface_id)
        del self.interfaces[interface_id]

    def map_public_address(self, public: str, private: str | None) -> None:
        self._say("map_public_address", public, private)
        if private is None:
            self.public.pop(public, None)
        else:
            self.public[public] = private

    def boot(self, instance_id: str, interface_id: str, user_data: str) -> None:
        self._say("boot", instance_id, interface_id, user_data)
        assert interface_id in self.interfaces
        self.guests[instance_id] = (interface_id, user_data)

    def power_off(self, instance_id: str) -> None:
        self._say("power_off", instance_id)
        self.guests.pop(instance_id, None)


_: type[Packets] = RecordingPackets
