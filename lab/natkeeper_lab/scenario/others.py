"""What other people do to the account, and what is said in natkeeper's name: the verbs of both, done to a scene.

Called by `scenario.steps`. CannotJudge when a step cannot be made; that voids the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from natkeeper_lab.api.world import ACCOUNT
from natkeeper_lab.scenario import mishaps
from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.foreign import their_tags
from natkeeper_lab.scenario.forged import forged_record
from natkeeper_lab.scenario.poison import poisoned
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.stack import ANYWHERE
from natkeeper_lab.vpc import IMAGE, address_of, make_gateway

LEASE_ENDS = 10.0
"""So long is waited for a lease to be given back: its holder would write over what the ledger is made to say."""
OTHER_VPC, OTHER_SUBNET = "10.200.0.0/16", "10.200.1.0/24"
FORWARDS = """#!/bin/sh
echo 1 > /proc/sys/net/ipv4/ip_forward
nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out masquerade'
"""
"""Of somebody's own NAT, such as the AMIs of the community."""


# -- addresses and places


def _elastic_of(scene: Scene, step: Step) -> dict[str, Any]:
    allocation = scene.stack.groups[step.args["group"]].allocation
    found = address_of(scene.stack.ec2, allocation)
    if not found:
        raise CannotJudge(f"step {step.text}: {allocation} is released already")
    return found


def _disassociate(scene: Scene, step: Step) -> None:
    """Somebody takes the group's Elastic IP off what it is on; it still belongs to the account."""
    found = _elastic_of(scene, step)
    if "AssociationId" not in found:
        raise CannotJudge(f"step {step.text}: it is on nothing at this moment")
    scene.stack.ec2.disassociate_address(AssociationId=found["AssociationId"])


def _release(scene: Scene, step: Step) -> None:
    """Somebody gives the group's Elastic IP back to AWS, which takes none that is on something
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html)."""
    found = _elastic_of(scene, step)
    if "AssociationId" in found:
        scene.stack.ec2.disassociate_address(AssociationId=found["AssociationId"])
    scene.stack.ec2.release_address(AllocationId=found["AllocationId"])


def _associate_subnet(scene: Scene, step: Step) -> None:
    """The prober's subnet is on another table from now on; the workloads' stays."""
    ec2, subnet = scene.stack.ec2, scene.stack.groups[step.args["group"]].private_subnet
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [scene.stack.vpc]}])["RouteTables"]
    listed = [(each, table) for table in tables for each in table["Associations"]]
    now = next((each for each, _ in listed if each.get("SubnetId") == subnet), None)
    if step.args["table"] == "none":
        if now is None:
            raise CannotJudge(f"step {step.text}: the subnet is on no table by name already")
        ec2.disassociate_route_table(AssociationId=now["RouteTableAssociationId"])
        return
    main = next(table["RouteTableId"] for each, table in listed if each.get("Main"))
    table = main if step.args["table"] == "main" else _others_table(scene, step.args["group"])
    if now is None:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    else:
        ec2.replace_route_table_association(AssociationId=now["RouteTableAssociationId"], RouteTableId=table)


def _others_table(scene: Scene, group: str) -> str:
    """Somebody's table, whose default route leads to a NAT gateway of theirs: packets that take it come back."""
    ec2, parts = scene.stack.ec2, scene.stack.groups[group]
    before = {each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]}
    gateway = make_gateway(ec2, parts.public_subnet)
    scene.theirs |= {each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]} - before
    table = str(ec2.create_route_table(VpcId=scene.stack.vpc)["RouteTable"]["RouteTableId"])
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NatGatewayId=gateway)
    return table


def _block_public_access(scene: Scene, _step: Step) -> None:
    gateways = scene.stack.ec2.describe_nat_gateways()["NatGateways"]
    scene.stack.network.block_public_access([each["NatGatewayAddresses"][0]["PrivateIp"] for each in gateways])


def _unblock_public_access(scene: Scene, _step: Step) -> None:
    scene.stack.network.block_public_access(None)


# -- machines


def _tag_foreign(scene: Scene, step: Step) -> None:
    """Somebody's machine that forwards whatever comes, and carries our three tags, in the zone's own public subnet or
    in another VPC. It is made beside the timeline: a launch takes its time."""
    threading.Thread(target=_launch_theirs, args=(scene, step), daemon=True).start()


def _launch_theirs(scene: Scene, step: Step) -> None:
    stack, group = scene.stack, step.args["group"] or scene.scenario.zones[0]
    if step.args["vpc"] == "same":
        vpc, subnet = stack.vpc, stack.groups[group].public_subnet
    else:
        vpc, subnet = _another_vpc(scene, group)
    made = stack.ec2.create_security_group(GroupName=f"theirs-{step.line}", Description="theirs", VpcId=vpc)
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}]
    stack.ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=everything)
    tags = their_tags(stack.settings.policy.stack, group, step.args["role"])
    nic = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [made["GroupId"]], "AssociatePublicIpAddress": True}
    launched = stack.ec2.run_instances(
        ImageId=IMAGE,
        MinCount=1,
        MaxCount=1,
        UserData=FORWARDS,
        NetworkInterfaces=[nic],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": text} for key, text in tags.items()]}
        ],
    )["Instances"][0]["InstanceId"]
    stack.set_source_dest_check(launched, False)


def _another_vpc(scene: Scene, zone: str) -> tuple[str, str]:
    ec2 = scene.stack.ec2
    vpc = str(ec2.create_vpc(CidrBlock=OTHER_VPC)["Vpc"]["VpcId"])
    name = f"{scene.stack.choices.api.region}{zone}"
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=OTHER_SUBNET, AvailabilityZone=name)
    return vpc, str(made["Subnet"]["SubnetId"])


# -- what is said in natkeeper's name


def _forge(scene: Scene, step: Step) -> None:
    """A destination's record of a function that is no prober of ours."""
    at = datetime.now(UTC) + timedelta(seconds=step.args["ahead"])
    region = scene.stack.choices.api.region
    record = forged_record(step.args["group"], step.args["says"], at, ACCOUNT, region)
    threading.Thread(target=mishaps.wake, args=(scene, record), daemon=True).start()


def _poison(scene: Scene, step: Step) -> None:
    """Somebody writes to the ledger."""
    group, deadline = step.args["group"], time.monotonic() + LEASE_ENDS
    while (item := _item(scene, group)) and _is_held(item) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not item:
        raise CannotJudge(f"step {step.text}: the ledger has no item of zone {group} yet")
    try:
        changed = poisoned(item, step.args["field"], step.args["value"], datetime.now(UTC))
    except ValueError as problem:
        raise CannotJudge(f"step {step.text}: {problem}") from None
    ((name, value),) = changed.items()
    scene.stack.dynamodb.update_item(
        TableName=scene.stack.ledger,
        Key=_key(group),
        UpdateExpression="SET #field = :value",
        ExpressionAttributeNames={"#field": name},
        ExpressionAttributeValues={":value": value},
    )


def _key(group: str) -> dict[str, Any]:
    return {"pk": {"S": "group"}, "sk": {"S": group}}


def _item(scene: Scene, group: str) -> dict[str, Any]:
    found = scene.stack.dynamodb.get_item(TableName=scene.stack.ledger, Key=_key(group), ConsistentRead=True)
    return dict(found.get("Item", {}))


def _is_held(item: Mapping[str, Any]) -> bool:
    return float(item.get("lease_until", {}).get("N", 0)) > time.time() * 1000


VERBS: Mapping[str, Callable[[Scene, Step], None]] = {
    "disassociate_address": _disassociate,
    "release_address": _release,
    "associate_subnet": _associate_subnet,
    "block_public_access": _block_public_access,
    "unblock_public_access": _unblock_public_access,
    "tag_foreign_instance": _tag_foreign,
    "forged_report": _forge,
    "poison_ledger": _poison,
}
