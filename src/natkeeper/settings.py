"""The controller's settings from its environment: parsed once per cold start, frozen, refused by name when wrong.

Called by `wiring`. The template's Rules catch what CloudFormation can see; what it cannot (overlapping CIDRs, a table
in two groups) is refused here, before the first call to AWS. May not import boto3 or read the environment by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Literal, cast

from natkeeper.core.policy import Group, Policy, ProvingAddress, StandbyMode
from natkeeper.probing import parse_targets

ZONES = ("a", "b", "c")
_PRIVATE = "a prober there would see a path that no workload takes: give one of the zone's private subnets"


class BadSettings(ValueError):
    """A setting that cannot work: the message names the setting and the remedy."""


@dataclass(frozen=True)
class Settings:
    """Everything the controller knows without asking AWS."""

    policy: Policy
    probers: Mapping[str, str]
    launch_template: str
    launch_template_version: str
    vpc_id: str
    security_group: str
    instance_profile: str
    egress_profile: Literal["all", "web"]
    ledger: str
    topic: str
    targets: tuple[str, ...]
    timeout: float


def parse(env: Mapping[str, str]) -> Settings:
    """Settings from `NATKEEPER_*`. Raises BadSettings for the first one that is missing or wrong."""
    reader = _Reader(env)
    groups, probers = _groups(reader)
    interval = reader.number("NATKEEPER_PROBE_INTERVAL", 1, 0.1, 60)
    timeout = reader.number("NATKEEPER_PROBE_TIMEOUT", 0.8, 0.01, 0.99)
    targets, hosts = _targets(reader)
    return Settings(
        policy=Policy(
            stack=reader.text("NATKEEPER_STACK"),
            groups=groups,
            instance_types=_instance_types(reader),
            standby=_choice(reader, "NATKEEPER_STANDBY", StandbyMode),
            canary=_canary(reader, hosts),
            proving=_proving(reader, groups),
            interval=timedelta(seconds=interval),
            rounds_to_fail=int(reader.number("NATKEEPER_PROBE_ROUNDS_TO_FAIL", 3, 2, 10)),
            watch_run=timedelta(seconds=reader.number("NATKEEPER_PROBE_RUN", 55, 3, 800)),
            quiet_period=timedelta(seconds=reader.number("NATKEEPER_QUIET_PERIOD", 300, 0, 86400)),
            max_failovers_per_hour=int(reader.number("NATKEEPER_MAX_FAILOVERS_PER_HOUR", 6, 1, 1000)),
            max_launches_per_day=int(reader.number("NATKEEPER_MAX_LAUNCHES_PER_DAY", 6, 1, 1000)),
        ),
        probers=probers,
        launch_template=reader.text("NATKEEPER_LAUNCH_TEMPLATE"),
        launch_template_version=reader.text("NATKEEPER_LAUNCH_TEMPLATE_VERSION"),
        vpc_id=reader.text("NATKEEPER_VPC_ID"),
        security_group=reader.text("NATKEEPER_SECURITY_GROUP"),
        instance_profile=reader.text("NATKEEPER_INSTANCE_PROFILE"),
        egress_profile=_profile(reader),
        ledger=reader.text("NATKEEPER_LEDGER"),
        topic=reader.text("NATKEEPER_TOPIC"),
        targets=targets,
        timeout=timeout,
    )


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str:
        value = self._env.get(name, "").strip()
        if not value:
            raise BadSettings(
                f"{name}: missing; the template sets it, so deploy the template that belongs to this code"
            )
        return value

    def maybe(self, name: str) -> str:
        return self._env.get(name, "").strip()

    def number(self, name: str, default: float, low: float, high: float) -> float:
        raw = self.maybe(name)
        try:
            value = float(raw) if raw else default
        except ValueError:
            raise BadSettings(f"{name}: {raw!r} is not a number; give one from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise BadSettings(f"{name}: {value:g} is out of range; give a number from {low:g} to {high:g}")
        return value


def _groups(reader: _Reader) -> tuple[tuple[Group, ...], dict[str, str]]:
    groups: list[Group] = []
    probers: dict[str, str] = {}
    for zone in ZONES:
        name = f"NATKEEPER_GROUP_{zone.upper()}"
        raw = reader.maybe(name)
        if raw:
            group, probers[zone] = _group(name, zone, raw)
            groups.append(group)
    if not groups:
        raise BadSettings("NATKEEPER_GROUP_A: missing; at least one zone is needed")
    for one, other in combinations(groups, 2):
        _refuse_shared_subnets(one, other)
        if IPv4Network(one.cidr).overlaps(IPv4Network(other.cidr)):
            raise BadSettings(
                f"NATKEEPER_GROUP_{other.name.upper()}: its CIDR {other.cidr} overlaps zone {one.name}'s {one.cidr}; "
                f"a NAT could not tell their packets apart: give each zone a CIDR of its own"
            )
        if one.allocation_id == other.allocation_id or one.public_address == other.public_address:
            raise BadSettings(
                f"NATKEEPER_GROUP_{other.name.upper()}: its Elastic IP or allocation is zone {one.name}'s too; "
                f"each zone needs one of its own, or the zones would take it from each other for ever"
            )
        if shared := set(one.table_ids) & set(other.table_ids):
            raise BadSettings(
                f"NATKEEPER_GROUP_{other.name.upper()}: route table {min(shared)} is zone {one.name}'s too; "
                f"a table belongs to one zone"
            )
    return tuple(groups), probers


def _refuse_shared_subnets(one: Group, other: Group) -> None:
    """A prober behind another zone's route table reports of that zone's NAT."""
    name = f"NATKEEPER_GROUP_{other.name.upper()}"
    if other.private_subnet_id == one.private_subnet_id:
        raise BadSettings(
            f"{name}: `private` {other.private_subnet_id} is zone {one.name}'s too; its prober would report of zone "
            f"{one.name}'s path: give a private subnet behind one of zone {other.name}'s own route tables"
        )
    if other.subnet_id == one.subnet_id:
        raise BadSettings(
            f"{name}: `subnet` {other.subnet_id} is zone {one.name}'s too; a zone cannot be its own neighbour: give a "
            f"public subnet in another zone"
        )
    for zone, public in ((other, one), (one, other)):
        if zone.private_subnet_id == public.subnet_id:
            raise BadSettings(
                f"NATKEEPER_GROUP_{zone.name.upper()}: `private` {zone.private_subnet_id} is zone {public.name}'s "
                f"public subnet; {_PRIVATE}"
            )


def _group(name: str, zone: str, raw: str) -> tuple[Group, str]:
    try:
        fields = json.loads(raw)
    except ValueError as error:
        raise BadSettings(f"{name}: not JSON ({error}); the template writes it") from None
    if not isinstance(fields, dict):
        raise BadSettings(f"{name}: a JSON object is expected; the template writes it")

    def field(key: str) -> str:
        value = fields.get(key)
        if not isinstance(value, str) or not value.strip():
            raise BadSettings(f"{name}: `{key}` is missing or empty; zone {zone} needs it")
        return value.strip()

    tables = tuple(each.strip() for each in field("tables").split(",") if each.strip())
    if not tables or len(set(tables)) != len(tables):
        raise BadSettings(f"{name}: `tables` must list each private route table once, not {fields['tables']!r}")
    try:
        cidr = str(IPv4Network(field("cidr")))
    except ValueError as error:
        raise BadSettings(f"{name}: `cidr` {error}; give the zone's private CIDR, such as 10.0.2.0/24") from None
    try:
        address = str(IPv4Address(field("address")))
    except ValueError as error:
        raise BadSettings(f"{name}: `address` {error}; it is the zone's Elastic IP") from None
    gateway = str(fields.get("gateway") or "").strip()
    subnet, private = field("subnet"), field("private")
    if private == subnet:
        raise BadSettings(f"{name}: `private` {private} is the zone's public subnet; {_PRIVATE}")
    group = Group(zone, tables, cidr, subnet, field("allocation"), address, private, gateway or None)
    return group, field("prober")


def _instance_types(reader: _Reader) -> tuple[str, ...]:
    types = tuple(each.strip() for each in reader.text("NATKEEPER_INSTANCE_TYPES").split(",") if each.strip())
    if not types:
        raise BadSettings("NATKEEPER_INSTANCE_TYPES: empty; list at least one, such as t4g.nano,t4g.micro")
    return types


def _choice(reader: _Reader, name: str, kind: type[StandbyMode]) -> StandbyMode:
    raw = reader.text(name)
    try:
        return kind(raw)
    except ValueError:
        raise BadSettings(f"{name}: {raw!r} is none of {', '.join(each.value for each in kind)}") from None


def _targets(reader: _Reader) -> tuple[tuple[str, ...], frozenset[str]]:
    """The targets as written, and their hosts."""
    texts = tuple(each.strip() for each in reader.text("NATKEEPER_PROBE_TARGETS").split(",") if each.strip())
    if len(texts) < 3:
        raise BadSettings(f"NATKEEPER_PROBE_TARGETS: {len(texts)} given; a quorum needs at least 3 independent ones")
    try:
        return texts, frozenset(each.host for each in parse_targets(texts, field="NATKEEPER_PROBE_TARGETS"))
    except ValueError as error:
        raise BadSettings(str(error)) from error


def _canary(reader: _Reader, targets: frozenset[str]) -> str | None:
    raw = reader.maybe("NATKEEPER_CANARY_ADDRESS")
    if not raw:
        return None
    if raw in targets:
        raise BadSettings(
            f"NATKEEPER_CANARY_ADDRESS: {raw} is a probe target too; its route would send that target's probes through "
            f"the candidate instead of the path that is judged: choose another address"
        )
    try:
        return str(IPv4Address(raw))
    except ValueError:
        raise BadSettings(
            f"NATKEEPER_CANARY_ADDRESS: {raw!r} is no IPv4 address; give one, or leave it empty"
        ) from None


def _proving(reader: _Reader, groups: Sequence[Group]) -> ProvingAddress | None:
    allocation, raw = reader.maybe("NATKEEPER_PROVING_ALLOCATION"), reader.maybe("NATKEEPER_PROVING_ADDRESS")
    if not allocation and not raw:
        return None
    if not allocation or not raw:
        missing = "NATKEEPER_PROVING_ADDRESS" if allocation else "NATKEEPER_PROVING_ALLOCATION"
        raise BadSettings(f"{missing}: missing; the proving address needs both, or leave both empty")
    try:
        public = str(IPv4Address(raw))
    except ValueError as error:
        raise BadSettings(f"NATKEEPER_PROVING_ADDRESS: {error}; it is the stack's spare Elastic IP") from None
    if taken := [each.name for each in groups if allocation == each.allocation_id or public == each.public_address]:
        raise BadSettings(
            f"NATKEEPER_PROVING_ALLOCATION: it is zone {taken[0]}'s Elastic IP; proving a NAT with it would take that "
            f"zone's traffic down: give one that no zone uses, or leave it empty"
        )
    return ProvingAddress(allocation, public)


def _profile(reader: _Reader) -> Literal["all", "web"]:
    raw = reader.text("NATKEEPER_EGRESS_PROFILE")
    if raw not in ("all", "web"):
        raise BadSettings(f"NATKEEPER_EGRESS_PROFILE: {raw!r} is neither all nor web")
    return cast(Literal["all", "web"], raw)
