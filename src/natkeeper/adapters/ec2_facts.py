"""EC2's answers as facts of `core.model`. Called by `adapters.ec2`, the only one that asks for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from natkeeper.core.model import Instance, InstanceState, Interface, PrivateAddress, Role, Route, RouteTable

STACK_TAG, GROUP_TAG, ROLE_TAG, GENERATION_TAG = (
    "natkeeper:stack",
    "natkeeper:group",
    "natkeeper:role",
    "natkeeper:generation",
)
_ROLES = {each.value: each for each in Role}


@dataclass(frozen=True)
class Marks:
    """What every NAT of the stack has beside its tags, which anybody can copy. `subnets`: group to public subnet."""

    vpc_id: str
    security_group: str
    instance_profile: str
    subnets: Mapping[str, str]


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


def differs(raw: Mapping[str, Any], group: str, marks: Marks) -> str:
    """What of a tagged instance is not as the stack launches it, for people; empty for one of the stack's own.

    An instance that is gone may have lost all of it in EC2's answer, and counts by what is left: nothing is done to it.
    """
    profile = raw.get("IamInstanceProfile", {}).get("Arn")
    groups = sorted(each["GroupId"] for each in raw.get("SecurityGroups", ()))
    shown = (
        ("VPC", raw.get("VpcId"), marks.vpc_id),
        ("subnet", raw.get("SubnetId"), marks.subnets[group]),
        (
            "security group",
            marks.security_group if marks.security_group in groups else ", ".join(groups),
            marks.security_group,
        ),
        ("instance profile", profile, marks.instance_profile),
    )
    is_gone = InstanceState(raw["State"]["Name"]).is_gone
    wrong = [(name, is_, wanted) for name, is_, wanted in shown if is_ != wanted and not (is_gone and not is_)]
    return "; ".join(f"its {name} is {is_ or 'none'}, not {wanted}" for name, is_, wanted in wrong)


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
    associations = [each for each in raw.get("Associations", ()) if _is_in_force(each)]
    subnets = frozenset(each["SubnetId"] for each in associations if "SubnetId" in each)
    is_main = any(each.get("Main", False) for each in associations)
    return RouteTable(raw["RouteTableId"], routes, subnets, is_main)


def _is_in_force(association: Mapping[str, Any]) -> bool:
    state = association.get("AssociationState", {}).get("State", "associated")
    return state in ("associating", "associated")


def named_by(tables: Iterable[RouteTable], subnet_ids: Iterable[str]) -> dict[str, str | None]:
    """For each of the subnets the table that it is associated with by name, of all that EC2 found; None for none."""
    found = {subnet: each.table_id for each in tables for subnet in each.subnet_ids}
    return {each: found.get(each) for each in subnet_ids}


def _target(route: Mapping[str, Any]) -> str:
    """The interface comes first: EC2 shows the instance beside it."""
    keys: Iterable[str] = ("NetworkInterfaceId", "NatGatewayId", "GatewayId", "TransitGatewayId", "InstanceId")
    return next((str(route[key]) for key in keys if route.get(key)), "unknown")
