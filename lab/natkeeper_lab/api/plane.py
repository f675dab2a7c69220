"""The packet plane as the API's state demands it, and the verbs that lead from one such state to the next.

`api.projection` builds a Plane, `api.outbox` applies the verbs. May not import moto or boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from natkeeper_lab.packets import Packets, SecurityRule

STRUCTURE = "structure"
PUBLIC = "public"


@dataclass(frozen=True)
class Subnet:
    cidr: str
    table_id: str


@dataclass(frozen=True)
class Interface:
    """`addresses[0]` is the primary."""

    subnet_id: str
    addresses: tuple[str, ...]
    ingress: tuple[SecurityRule, ...]
    egress: tuple[SecurityRule, ...]
    is_checked: bool


@dataclass(frozen=True)
class Plane:
    """`routes` maps (table, destination) to a target; `public` maps a public address to a private one."""

    tables: frozenset[str] = frozenset()
    routes: dict[tuple[str, str], str] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    public: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verb:
    """Verbs of one lane run in order; those of STRUCTURE run before any other lane's."""

    lane: str
    apply: Callable[[Packets], None]


def difference(old: Plane, new: Plane) -> Iterator[Verb]:
    """The verbs that turn `old` into `new`."""
    for table in sorted(new.tables - old.tables):
        yield Verb(STRUCTURE, lambda packets, table=table: packets.add_route_table(table))  # type: ignore[misc]
    yield from _subnets(old, new)
    yield from _interfaces(old, new)
    yield from _public(old, new)
    yield from _routes(old, new)
    for gone in sorted(old.interfaces.keys() - new.interfaces.keys()):
        yield Verb(STRUCTURE, lambda packets, gone=gone: packets.delete_interface(gone))  # type: ignore[misc]


def _subnets(old: Plane, new: Plane) -> Iterator[Verb]:
    for subnet_id, subnet in new.subnets.items():
        before = old.subnets.get(subnet_id)
        if before is None:
            yield _add_subnet(subnet_id, subnet)
        elif before.table_id != subnet.table_id:
            yield _use_table(subnet_id, subnet.table_id)


def _add_subnet(subnet_id: str, subnet: Subnet) -> Verb:
    return Verb(STRUCTURE, lambda packets: packets.add_subnet(subnet_id, subnet.cidr, subnet.table_id))


def _use_table(subnet_id: str, table_id: str) -> Verb:
    return Verb(STRUCTURE, lambda packets: packets.use_route_table(subnet_id, table_id))


def _interfaces(old: Plane, new: Plane) -> Iterator[Verb]:
    for interface_id, interface in new.interfaces.items():
        before = old.interfaces.get(interface_id)
        if before is None:
            yield _add_interface(interface_id, interface)
            yield _rules(interface_id, interface)
            if not interface.is_checked:
                yield _check(interface_id, interface)
            continue
        if before.addresses != interface.addresses:
            yield _addresses(interface_id, interface)
        if (before.ingress, before.egress) != (interface.ingress, interface.egress):
            yield _rules(interface_id, interface)
        if before.is_checked != interface.is_checked:
            yield _check(interface_id, interface)


def _add_interface(interface_id: str, interface: Interface) -> Verb:
    addresses = list(interface.addresses)
    return Verb(STRUCTURE, lambda packets: packets.add_interface(interface_id, interface.subnet_id, addresses))


def _addresses(interface_id: str, interface: Interface) -> Verb:
    return Verb(STRUCTURE, lambda packets: packets.set_addresses(interface_id, list(interface.addresses)))


def _rules(interface_id: str, interface: Interface) -> Verb:
    ingress, egress = list(interface.ingress), list(interface.egress)
    return Verb(STRUCTURE, lambda packets: packets.set_security_rules(interface_id, ingress, egress))


def _check(interface_id: str, interface: Interface) -> Verb:
    return Verb(STRUCTURE, lambda packets: packets.set_source_dest_check(interface_id, interface.is_checked))


def _public(old: Plane, new: Plane) -> Iterator[Verb]:
    for gone in sorted(old.public.keys() - new.public.keys()):
        yield _map(gone, None)
    for public, private in new.public.items():
        if old.public.get(public) != private:
            yield _map(public, private)


def _map(public: str, private: str | None) -> Verb:
    return Verb(PUBLIC, lambda packets: packets.map_public_address(public, private))


def _routes(old: Plane, new: Plane) -> Iterator[Verb]:
    for key in sorted(old.routes.keys() - new.routes.keys()):
        if key[0] in new.tables:
            yield _route(key, None)
    for key, target in new.routes.items():
        if old.routes.get(key) != target:
            yield _route(key, target)


def _route(key: tuple[str, str], target: str | None) -> Verb:
    table, destination = key
    return Verb(f"routes:{table}", lambda packets: packets.set_route(table, destination, target))
