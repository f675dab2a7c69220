"""What other people have in the lab's account: a NAT gateway behind a table of theirs, and a machine that forwards.

Called by `scenario.scene_hands`. Made of boto3 calls.
"""

from __future__ import annotations

from collections.abc import Mapping

from natkeeper_lab.stack import ANYWHERE, Stack
from natkeeper_lab.vpc import IMAGE, make_gateway

OTHER_VPC, OTHER_SUBNET = "10.200.0.0/16", "10.200.1.0/24"
FORWARDS = """#!/bin/sh
echo 1 > /proc/sys/net/ipv4/ip_forward
nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out masquerade'
"""
"""Of somebody's own NAT, such as the AMIs of the community."""


def table_through_a_gateway(stack: Stack, group: str) -> tuple[str, set[str]]:
    """A table whose default route leads to a NAT gateway, so that packets that take it come back; and the allocations
    made for it."""
    before = _allocations(stack)
    gateway = make_gateway(stack.ec2, stack.groups[group].public_subnet)
    table = str(stack.ec2.create_route_table(VpcId=stack.vpc)["RouteTable"]["RouteTableId"])
    stack.ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NatGatewayId=gateway)
    return table, _allocations(stack) - before


def _allocations(stack: Stack) -> set[str]:
    return {one["AllocationId"] for one in stack.ec2.describe_addresses()["Addresses"]}


def launch(stack: Stack, group: str, tags: Mapping[str, str], *, is_in_our_vpc: bool) -> None:
    """A machine in the group's own public subnet or in another VPC, with its source/dest check off."""
    vpc, subnet = (stack.vpc, stack.groups[group].public_subnet) if is_in_our_vpc else _another_vpc(stack, group)
    nic = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [_open_group(stack, vpc)], "AssociatePublicIpAddress": True}
    named = [{"Key": key, "Value": text} for key, text in tags.items()]
    launched = stack.ec2.run_instances(
        ImageId=IMAGE,
        MinCount=1,
        MaxCount=1,
        UserData=FORWARDS,
        NetworkInterfaces=[nic],
        TagSpecifications=[{"ResourceType": "instance", "Tags": named}],
    )["Instances"][0]["InstanceId"]
    stack.set_source_dest_check(launched, False)


def _another_vpc(stack: Stack, zone: str) -> tuple[str, str]:
    vpc = str(stack.ec2.create_vpc(CidrBlock=OTHER_VPC)["Vpc"]["VpcId"])
    name = f"{stack.choices.api.region}{zone}"
    made = stack.ec2.create_subnet(VpcId=vpc, CidrBlock=OTHER_SUBNET, AvailabilityZone=name)
    return vpc, str(made["Subnet"]["SubnetId"])


def _open_group(stack: Stack, vpc: str) -> str:
    listed = stack.ec2.describe_security_groups()["SecurityGroups"]
    made = stack.ec2.create_security_group(GroupName=f"theirs-{len(listed)}", Description="theirs", VpcId=vpc)
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}]
    stack.ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=everything)
    return str(made["GroupId"])
