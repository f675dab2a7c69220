"""EC2's answers as facts of `core.model`. Called by `adapters.ec2`, the only one that asks for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from natkeeper.core.model import Instance, InstanceState, Interface, PrivateAddress, Role, Route, RouteTable

STACK_TAG, GROUP_TAG, ROLE_TAG, GENERATION_TAG = (
    "natkeeper:stack",
    "natkeeper:group",
    "natkeeper:role",
    "natkeeper:generation",
)
_ROLES = {each.value: each for each in Role}


def instance(raw: Mapping[str, Any]) -> Instance | None:
    """From DescribeInstances; None for an instance that is no NAT of ours."""
    tags = {each["Key"]: each["Value"] for each in raw.get("Tags", [])}
    role = _ROLES.get(tags.get(ROLE_TAG, ""))
    if role is None:
        return None
    interfaces = [each for each in raw.get("NetworkInterfaces", []) if each["Attachment"].get("DeviceIndex", 0) == 0]
    return Instance(
        instance_id=raw["InstanceId"],
        group=tags.get(GROUP_TAG, ""),
        role=role,
        state=InstanceState(raw["State"]["Name"]),
        interface=_interface(interfaces[0]) if interfaces else None,
        launched_at=raw["LaunchTime"],
    )


def _interface(raw: Mapping[str, Any]) -> Interface:
    listed = sorted(raw["PrivateIpAddresses"], key=lambda each: not each.get("Primary", False))
    return Interface(
        interface_id=raw["NetworkInterfaceId"],
        addresses=tuple(
            PrivateAddress(each["PrivateIpAddress"], each.get("Association", {}).get("PublicIp")) for each in listed
        ),
        is_source_dest_checked=bool(raw.get("SourceDestCheck", True)),
    )


def route_table(raw: Mapping[str, Any]) -> RouteTable:
    """From DescribeRouteTables, IPv4 destinations only."""
    routes = {
        each["DestinationCidrBlock"]: Route(_target(each), each.get("State") == "blackhole")
        for each in raw["Routes"]
        if "DestinationCidrBlock" in each
    }
    subnets = frozenset(each["SubnetId"] for each in raw.get("Associations", ()) if "SubnetId" in each)
    return RouteTable(raw["RouteTableId"], routes, subnets)


def _target(route: Mapping[str, Any]) -> str:
    """The interface comes first: EC2 shows the instance beside it."""
    keys: Iterable[str] = ("NetworkInterfaceId", "NatGatewayId", "GatewayId", "TransitGatewayId", "InstanceId")
    return next((str(route[key]) for key in keys if route.get(key)), "unknown")
