"""What the API accepts, the packet plane is told: in order, completely, and loudly when it fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from natkeeper_lab.api import PacketsError
from natkeeper_lab.packets import SecurityRule
from tests.contract.conftest import Start
from tests.contract.scenery import Aws


def test_subnet_uses_the_main_table_until_it_is_given_another(ours: Aws) -> None:
    main = ours.ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [ours.vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"][0]["RouteTableId"]
    assert ours.packets.subnets[ours.subnet] == ("10.0.1.0/24", main)
    association = ours.ec2.associate_route_table(RouteTableId=ours.table, SubnetId=ours.subnet)["AssociationId"]
    assert ours.packets.subnets[ours.subnet] == ("10.0.1.0/24", ours.table)
    ours.ec2.disassociate_route_table(AssociationId=association)
    assert ours.packets.subnets[ours.subnet] == ("10.0.1.0/24", main)


def test_internet_gateway_route_reaches_the_plane(ours: Aws) -> None:
    gateway = ours.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ours.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=ours.vpc)
    ours.ec2.create_route(RouteTableId=ours.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert ours.packets.routes == {(ours.table, "0.0.0.0/0"): gateway}


def test_routes_follow_create_replace_and_delete(ours: Aws) -> None:
    first, second = ours.launch_running(), ours.launch_running()
    ours.route_to(first)
    assert ours.packets.routes == {(ours.table, "0.0.0.0/0"): first.interface}
    ours.ec2.replace_route(
        RouteTableId=ours.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=second.interface
    )
    assert ours.packets.routes == {(ours.table, "0.0.0.0/0"): second.interface}
    ours.ec2.delete_route(RouteTableId=ours.table, DestinationCidrBlock="0.0.0.0/0")
    assert ours.packets.routes == {}


def test_security_rules_reach_the_interface_at_launch_and_when_they_change(ours: Aws) -> None:
    nat = ours.launch_running()
    everywhere = SecurityRule("0.0.0.0/0")
    assert ours.packets.rules[nat.interface] == ([], [everywhere])
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
    ours.ec2.authorize_security_group_ingress(GroupId=ours.group, IpPermissions=[permission])
    assert ours.packets.rules[nat.interface] == ([SecurityRule("10.0.0.0/16", "tcp", 80, 443)], [everywhere])
    ours.ec2.revoke_security_group_ingress(GroupId=ours.group, IpPermissions=[permission])
    assert ours.packets.rules[nat.interface] == ([], [everywhere])


def test_rule_that_names_a_group_allows_its_members(ours: Aws) -> None:
    members = ours.ec2.create_security_group(GroupName="members", Description="m", VpcId=ours.vpc)["GroupId"]
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": members}]}
    ours.ec2.authorize_security_group_ingress(GroupId=ours.group, IpPermissions=[pair])
    nat = ours.launch_running()
    ours.launch_running(
        {"DeviceIndex": 0, "SubnetId": ours.subnet, "Groups": [members], "PrivateIpAddress": "10.0.1.9"}
    )
    assert ours.packets.rules[nat.interface][0] == [SecurityRule("10.0.1.9/32")]


def test_guest_boots_with_the_interfaces_addresses_in_place(ours: Aws) -> None:
    nat = ours.launch_running(ours.nic(PrivateIpAddress="10.0.1.20", SecondaryPrivateIpAddressCount=1))
    names = [verb[0] for verb in ours.packets.verbs if nat.interface in verb]
    assert names == ["add_interface", "set_security_rules", "boot"]
    assert ours.packets.interfaces[nat.interface][0] == "10.0.1.20"
    assert len(ours.packets.interfaces[nat.interface]) == 2


def test_assigned_addresses_reach_the_interface(ours: Aws) -> None:
    nat = ours.launch_running()
    ours.ec2.assign_private_ip_addresses(NetworkInterfaceId=nat.interface, PrivateIpAddresses=["10.0.1.77"])
    assert ours.packets.interfaces[nat.interface][1:] == ["10.0.1.77"]


def test_guest_is_off_when_stop_is_answered(ours: Aws) -> None:
    nat = ours.launch_running()
    ours.ec2.stop_instances(InstanceIds=[nat.instance])
    assert ours.packets.guests == {}
    assert nat.interface in ours.packets.interfaces


def test_elastic_ip_moves_in_one_step(ours: Aws) -> None:
    first, second = ours.launch_running(), ours.launch_running()
    allocation, public = ours.address()
    for nat in (first, second):
        ours.ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=nat.interface)
    mapped = [verb[1:] for verb in ours.packets.verbs if verb[0] == "map_public_address"]
    targets = [ours.packets.interfaces[nat.interface][0] for nat in (first, second)]
    assert mapped == [(public, target) for target in targets]


def test_terminated_instance_leaves_the_plane(ours: Aws) -> None:
    nat = ours.launch_running(ours.nic(AssociatePublicIpAddress=True))
    ours.terminate(nat)
    assert nat.interface not in ours.packets.interfaces
    assert ours.packets.public == {}


def test_refused_change_says_nothing(ours: Aws) -> None:
    ours.api.faults.fail("CreateRouteTable", "RequestLimitExceeded")
    before = list(ours.packets.verbs)
    with pytest.raises(ClientError):
        ours.ec2.create_route_table(VpcId=ours.vpc)
    assert ours.packets.verbs == before


def test_broken_plane_fails_the_call_and_the_lab(ours: Aws) -> None:
    def refuse(*verb: Any) -> None:
        if verb[0] == "set_route":
            raise OSError("no such device")

    nat = ours.launch_running()
    ours.packets.before = refuse
    with pytest.raises(ClientError, match="packet plane"):
        ours.route_to(nat)
    with pytest.raises(ExceptionGroup) as failed:
        ours.api.stop()
    assert failed.group_contains(OSError, match="no such device")
    assert issubclass(PacketsError, RuntimeError)


def test_route_tables_move_side_by_side(start: Start) -> None:
    aws = start(boot_seconds=0.0)
    nat = aws.launch_running()
    tables = [aws.ec2.create_route_table(VpcId=aws.vpc)["RouteTable"]["RouteTableId"] for _ in range(8)]
    together = threading.Barrier(len(tables), timeout=60)  # whoever waits for another to be done breaks it
    aws.packets.before = lambda *_: together.wait()

    def create(table: str) -> None:
        aws.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=nat.interface)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, tables))
    assert len(aws.packets.routes) == 8


def test_writes_to_one_route_end_as_the_api_says(ours: Aws) -> None:
    nats = [ours.launch_running() for _ in range(4)]
    ours.route_to(nats[0])

    def replace(index: int) -> None:
        ours.ec2.replace_route(
            RouteTableId=ours.table,
            DestinationCidrBlock="0.0.0.0/0",
            NetworkInterfaceId=nats[index % 4].interface,
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(replace, range(40)))
    assert ours.packets.routes == {(ours.table, "0.0.0.0/0"): ours.route()["NetworkInterfaceId"]}
