"""Reads the packet plane that the API's state stands for out of moto's EC2 backend.

`api.world` calls it with the world locked after each change. Default VPCs are left out: they hold nothing of the
lab's. A NAT gateway's interface has no security group and checks nothing. May not import boto3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from natkeeper_lab.api.addresses import auto_address, packets_at
from natkeeper_lab.api.plane import Interface, Plane, Subnet
from natkeeper_lab.packets import SecurityRule


def project(backend: Any) -> Plane:
    vpcs = {vpc.id for vpc in backend.vpcs.values() if not _is_default(vpc)}
    tables = [table for table in backend.route_tables.values() if table.vpc_id in vpcs]
    managed = {gateway._eni.id for gateway in backend.nat_gateways.values()}
    enis = [eni for eni in backend.enis.values() if eni.subnet.vpc_id in vpcs]
    return Plane(
        tables=frozenset(table.id for table in tables),
        routes={(table.id, cidr): target for table in tables for cidr, target in _routes(table)},
        subnets=_subnets(backend, vpcs, tables),
        interfaces={eni.id: _gateway(eni) if eni.id in managed else _interface(eni, enis) for eni in enis},
        public=_public(backend, enis),
    )


def _is_default(vpc: Any) -> bool:
    return str(vpc.is_default).lower() == "true"


def _routes(table: Any) -> Iterator[tuple[str, str]]:
    for route in table._routes.values():
        if route.local or not route.destination_cidr_block:
            continue
        if route.interface is not None:
            yield route.destination_cidr_block, route.interface.id
        elif route.gateway is not None and route.gateway.id.startswith("igw-"):
            yield route.destination_cidr_block, route.gateway.id
        elif route.nat_gateway is not None:
            yield route.destination_cidr_block, route.nat_gateway._eni.id


def _subnets(backend: Any, vpcs: set[str], tables: list[Any]) -> dict[str, Subnet]:
    mains = {table.vpc_id: table.id for table in tables if table.main_association_id is not None}
    chosen = {target: table.id for table in tables for target in table._associations.values()}
    found = [subnet for zones in backend.subnets.values() for subnet in zones.values() if subnet.vpc_id in vpcs]
    return {
        subnet.id: Subnet(str(subnet.cidr_block), chosen.get(subnet.id, mains.get(subnet.vpc_id, "")))
        for subnet in found
    }


def _interface(eni: Any, enis: list[Any]) -> Interface:
    return Interface(
        subnet_id=eni.subnet.id,
        addresses=tuple(addresses_of(eni)),
        ingress=_rules((rule for group in eni.group_set for rule in group.ingress_rules), enis),
        egress=_rules((rule for group in eni.group_set for rule in group.egress_rules), enis),
        is_checked=bool(eni.source_dest_check),
    )


def _gateway(eni: Any) -> Interface:
    everything = (SecurityRule("0.0.0.0/0"),)
    return Interface(eni.subnet.id, tuple(addresses_of(eni)), everything, everything, is_checked=False)


def addresses_of(eni: Any) -> list[str]:
    """The interface's private addresses, the primary first."""
    others = [item["PrivateIpAddress"] for item in eni.private_ip_addresses]
    return [eni.private_ip_address, *(address for address in others if address != eni.private_ip_address)]


def _rules(rules: Iterable[Any], enis: list[Any]) -> tuple[SecurityRule, ...]:
    found = {rule for raw in rules for rule in _rule(raw, enis)}
    return tuple(sorted(found, key=repr))


def _rule(rule: Any, enis: list[Any]) -> Iterator[SecurityRule]:
    protocol, first, last = str(rule.ip_protocol), rule.from_port, rule.to_port
    if protocol in ("-1", "icmp") or first is None or first < 0:
        first = last = None
    for cidr in _cidrs(rule, enis):
        yield SecurityRule(cidr, protocol, first, last)


def _cidrs(rule: Any, enis: list[Any]) -> Iterator[str]:
    if cidr := rule.ip_range.get("CidrIp"):
        yield str(ipaddress.ip_network(cidr, strict=False))
    if rule.source_group and (group_id := rule.source_group.get("GroupId")):
        for eni in enis:
            if any(group.id == group_id for group in eni.group_set):
                yield from (f"{address}/32" for address in addresses_of(eni))


def _public(backend: Any, enis: list[Any]) -> dict[str, str]:
    known = {eni.id for eni in enis}
    ways = [(eip.public_ip, way) for eip in backend.addresses if (way := packets_at(eip))]
    maps = {public: private for public, (eni, private) in ways if eni.id in known}
    return maps | {auto: eni.private_ip_address for eni in enis if (auto := auto_address(eni))}
