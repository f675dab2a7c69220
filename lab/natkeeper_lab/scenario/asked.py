"""What the lab's EC2 says of subnets' route tables, and of the machines that a call would need.

Called by `scenario.scene_hands`. Made of boto3 calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from natkeeper_lab.stack import Stack


class Association(NamedTuple):
    """The main table's own names no subnet."""

    table: str
    id: str
    subnet: str | None


def associations(stack: Stack) -> list[Association]:
    """Those of the stack's VPC."""
    only = [{"Name": "vpc-id", "Values": [stack.vpc]}]
    tables = stack.ec2.describe_route_tables(Filters=only)["RouteTables"]
    listed = [one for table in tables for one in table["Associations"] if one.get("Main") or "SubnetId" in one]
    return [Association(one["RouteTableId"], one["RouteTableAssociationId"], one.get("SubnetId")) for one in listed]


def machines_asked_for(stack: Stack, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(instance type, zone) of each machine that a launch or a start with these parameters would need."""
    if ids := params.get("InstanceIds"):
        found = stack.ec2.describe_instances(InstanceIds=list(ids))["Reservations"]
        machines = [machine for one in found for machine in one["Instances"]]
        return [(one["InstanceType"], _zone(stack, one["Placement"])) for one in machines]
    specified = (params.get("NetworkInterfaces") or [{}])[0]
    subnet = specified.get("SubnetId") or params.get("SubnetId")
    subnets = stack.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"] if subnet else []
    return [(str(params.get("InstanceType", "")), _zone(stack, one)) for one in subnets]


def _zone(stack: Stack, placed: Mapping[str, Any]) -> str:
    return str(placed["AvailabilityZone"]).removeprefix(stack.choices.api.region)
