"""The stack that a schedule is played on: what the user chose, and the account as it is at rest.

Called by `simulation.world`. The policy comes out of `natkeeper.settings.parse`, as on Lambda.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial

from natkeeper.adapters.codec import encode
from natkeeper.adapters.ec2 import LaunchSettings
from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.adapters.prober import ProbeSettings
from natkeeper.core.incident import Canary, Memory, Proof
from natkeeper.core.model import Role
from natkeeper.core.news import Round
from natkeeper.core.policy import Group, Policy
from natkeeper.settings import Settings, parse
from natkeeper.wiring import user_data
from natkeeper_lab.simulation.answers import BEGINNING
from natkeeper_lab.simulation.dynamo import Item
from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import (
    DEFAULT_ROUTE,
    PROFILE,
    SECURITY_GROUP,
    VPC,
    Elastic,
    Interface,
    Machine,
    Table,
)
from natkeeper_lab.simulation.packets import Packets

STACK = "simulated"
CANARY = "1.0.0.1"
CANARY_ROUTE = f"{CANARY}/32"
PROVING, PROVING_ADDRESS = "eipalloc-proving", "203.0.113.240"
GATEWAY_ADDRESS = "203.0.113.250"
SECRET = "simulated-secret"
"""What the controller is told and has no business to pass on: its credentials, and more than it reads of an event."""


@dataclass(frozen=True)
class Setting:
    """What differs between stacks. Times in seconds. `begins`: `at-rest`; `unknown` (at rest, and an empty ledger);
    `bare` (no NAT, no default route: the first deployment)."""

    zones: int = 2
    tables: int = 2
    standby: str = "none"
    has_gateway: bool = False
    gateways: tuple[str, ...] = ()
    """Zones that have a NAT gateway, where not all do."""
    has_canary: bool = True
    has_proving: bool = True
    quiet: int = 20
    run: int = 30
    instance_types: str = "t4g.nano,t4g.micro"
    begins: str = "at-rest"
    failovers: int = 6
    launches: int = 6
    """MaxFailoversPerHour and MaxLaunchesPerDay: small ones are used up within a schedule."""
    env: tuple[tuple[str, str], ...] = ()
    """More of the controller's environment, as a scenario file gives it."""


@cache
def settings_of(setting: Setting) -> Settings:
    """Parsed from an environment as the template writes it."""
    env = {
        **dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), SECRET),
        "NATKEEPER_STACK": STACK,
        "NATKEEPER_INSTANCE_TYPES": setting.instance_types,
        "NATKEEPER_STANDBY": setting.standby,
        "NATKEEPER_PROBE_TARGETS": "tcp://192.0.2.1:443,tcp://192.0.2.2:443,https://192.0.2.3/",
        "NATKEEPER_CANARY_ADDRESS": CANARY if setting.has_canary else "",
        "NATKEEPER_PROVING_ALLOCATION": PROVING if setting.has_proving else "",
        "NATKEEPER_PROVING_ADDRESS": PROVING_ADDRESS if setting.has_proving else "",
        "NATKEEPER_EGRESS_PROFILE": "all",
        "NATKEEPER_LAUNCH_TEMPLATE": "lt-1",
        "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
        "NATKEEPER_VPC_ID": VPC,
        "NATKEEPER_SECURITY_GROUP": SECURITY_GROUP,
        "NATKEEPER_INSTANCE_PROFILE": PROFILE,
        "NATKEEPER_LEDGER": "ledger",
        "NATKEEPER_TOPIC": "topic",
        "NATKEEPER_QUIET_PERIOD": str(setting.quiet),
        "NATKEEPER_PROBE_RUN": str(setting.run),
        "NATKEEPER_MAX_FAILOVERS_PER_HOUR": str(setting.failovers),
        "NATKEEPER_MAX_LAUNCHES_PER_DAY": str(setting.launches),
    }
    for number, zone in enumerate("abc"[: setting.zones]):
        env[f"NATKEEPER_GROUP_{zone.upper()}"] = json.dumps(
            {
                "tables": ",".join(tables_of(zone, setting.tables)),
                "cidr": f"10.{100 + number}.0.0/16",
                "subnet": f"subnet-{zone}",
                "private": f"subnet-private-{zone}",
                "allocation": f"eipalloc-{zone}",
                "address": f"203.0.113.{number + 1}",
                "prober": f"prober-{zone}",
                "gateway": f"nat-{zone}" if setting.has_gateway or zone in setting.gateways else "",
            }
        )
    return parse(env | dict(setting.env))


def tables_of(zone: str, count: int) -> list[str]:
    """The ids of a zone's private route tables; the first one is the prober's subnet's."""
    return [f"rtb-{zone}{number}" for number in range(1, count + 1)]


def launches_of(setting: Setting) -> LaunchSettings:
    """With the boot script that EC2 would get, rendered when something is launched.

    Stacks whose scripts are alike share them: rendering one takes as long as a whole schedule.
    """
    return _launches(setting.zones, setting.has_canary)


@cache
def _launches(zones: int, has_canary: bool) -> LaunchSettings:
    alike = settings_of(Setting(zones=zones, has_canary=has_canary))
    return LaunchSettings("lt-1", "1", SECURITY_GROUP, cache(partial(user_data, alike)), VPC, PROFILE)


def probes_of(setting: Setting) -> ProbeSettings:
    """What probers are asked for."""
    settings = settings_of(setting)
    policy = settings.policy
    return ProbeSettings(
        functions=settings.probers,
        targets=settings.targets,
        interval=policy.interval.total_seconds(),
        timeout=settings.timeout,
        rounds_to_fail=policy.rounds_to_fail,
        canary=policy.canary,
    )


def furnish(ec2: Ec2, packets: Packets, setting: Setting) -> dict[tuple[str, str], Item]:
    """Makes the account, and returns the ledger's items, as they are when nothing is wrong."""
    policy = settings_of(setting).policy
    packets.configure(policy)
    items: dict[tuple[str, str], Item] = {}
    nats = {}
    if policy.proving is not None:
        ec2.elastics[PROVING] = Elastic(PROVING, PROVING_ADDRESS)
    for each in policy.groups:
        ec2.subnets[each.subnet_id] = each.name
        ec2.elastics[each.allocation_id] = Elastic(each.allocation_id, each.public_address)
        for table_id in each.table_ids:
            ec2.tables[table_id] = Table(table_id)
        ec2.tables[each.table_ids[0]].subnet_ids = (each.private_subnet_id,)
        if each.gateway_id is not None:
            packets.gateways[each.gateway_id] = GATEWAY_ADDRESS
        if setting.begins != "bare":
            nats[each.name] = _nat(ec2, each, 1 + min(1, len(policy.groups) - 1))
    ec2.tables["rtb-main"] = Table("rtb-main", is_main=True)
    ec2.tables["rtb-foreign"] = Table("rtb-foreign", {DEFAULT_ROUTE: "igw-1", "10.9.0.0/16": "pcx-1"})
    if setting.begins == "bare":
        return items
    for each in policy.groups:
        memory = _settle(ec2, policy, each, nats)
        if setting.begins == "at-rest":
            items["group", each.name] = {
                "pk": {"S": "group"},
                "sk": {"S": each.name},
                "epoch": {"N": "7"},
                "holder": {"S": "r0"},
                "lease_until": {"N": "0"},
                "inbox": {"L": []},
                "memory": {"S": json.dumps(encode(memory))},
            }
    return items


def _nat(ec2: Ec2, group: Group, addresses: int) -> Machine:
    number = ec2.number()
    interface = Interface(
        f"eni-{number:017x}", group.name, [f"10.0.{10 + number}.{10 + each}" for each in range(addresses)], False
    )
    tags = {STACK_TAG: STACK, GROUP_TAG: group.name, ROLE_TAG: Role.NAT.value}
    machine = Machine(f"i-{number:017x}", "t4g.nano", tags, interface, -3600 * SECOND, "running", -3500 * SECOND)
    ec2.interfaces[interface.interface_id] = interface
    ec2.machines[machine.instance_id] = machine
    return machine


def _settle(ec2: Ec2, policy: Policy, group: Group, nats: dict[str, Machine]) -> Memory:
    """Routes, canary and Elastic IP where they belong; the memory of ten quiet minutes."""
    home = nats[group.name].interface
    assert home is not None
    home.public[home.primary] = group.public_address
    elastic = ec2.elastics[group.allocation_id]
    elastic.interface_id, elastic.private = home.interface_id, home.primary
    neighbours = policy.neighbours_of(group.name)
    spare = nats[neighbours[0]].interface if neighbours else None
    long_ago, just_now = BEGINNING - timedelta(minutes=10), BEGINNING - timedelta(seconds=2)
    proofs = [Proof(home.interface_id, just_now, long_ago)]
    canary = None
    for table_id in group.table_ids:
        ec2.tables[table_id].routes[DEFAULT_ROUTE] = home.interface_id
    if policy.canary is not None and spare is not None:
        canary = Canary(spare.interface_id, long_ago)
        proofs.append(Proof(spare.interface_id, just_now, long_ago))
        for table_id in group.table_ids:
            ec2.tables[table_id].routes[CANARY_ROUTE] = spare.interface_id
    recent = tuple(
        Round(just_now - timedelta(seconds=back), f"clock-before-{group.name}", True, 8.0) for back in (3, 2, 1, 0)
    )
    return Memory(
        target=home.interface_id,
        instances=(nats[group.name].instance_id,),
        recent=recent,
        proofs=tuple(proofs),
        egress_address=group.public_address,
        canary=canary,
        stable_since=long_ago,
        observed=100.0,
        settled_since=long_ago,
    )
