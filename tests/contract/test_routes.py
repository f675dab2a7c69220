"""Routes tell the truth about their targets and accept only what AWS accepts."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.contract.scenery import Aws


def test_route_to_a_stopped_instance_is_a_blackhole(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.route_to(nat)
    assert aws.route()["State"] == "active"
    aws.stop(nat)
    assert aws.route()["State"] == "blackhole"


def test_route_to_a_terminated_instance_is_a_blackhole_and_stays(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.route_to(nat)
    aws.terminate(nat)
    route = aws.route()
    assert (route["State"], route["NetworkInterfaceId"]) == ("blackhole", nat.interface)


def test_route_to_a_detached_interface_is_a_blackhole(aws: Aws) -> None:
    nat = aws.launch_running()
    extra = aws.ec2.create_network_interface(SubnetId=aws.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    attached = aws.ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=nat.instance, DeviceIndex=1)
    aws.ec2.create_route(RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=extra)
    assert aws.route()["State"] == "active"
    aws.ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    assert aws.route()["State"] == "blackhole"


def test_route_is_active_again_when_its_instance_runs_again(ours: Aws) -> None:
    nat = ours.launch_running()
    ours.route_to(nat)
    ours.stop(nat)
    ours.ec2.start_instances(InstanceIds=[nat.instance])
    ours.wait_for(nat.instance, "running")
    assert ours.route()["State"] == "active"


def test_route_cannot_be_moved_to_a_terminated_instances_interface(aws: Aws) -> None:
    alive, dead = aws.launch_running(), aws.launch_running()
    aws.route_to(alive)
    aws.terminate(dead)
    with pytest.raises(ClientError, match=r"InvalidNetworkInterfaceID\.NotFound"):
        aws.ec2.replace_route(
            RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=dead.interface
        )
    assert aws.route()["NetworkInterfaceId"] == alive.interface


def test_replacing_a_missing_route_asks_for_create_route(ours: Aws) -> None:
    nat = ours.launch_running()
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*Use CreateRoute instead"):
        ours.ec2.replace_route(
            RouteTableId=ours.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=nat.interface
        )


def test_creating_an_existing_route_is_refused(aws: Aws) -> None:
    first, second = aws.launch_running(), aws.launch_running()
    aws.route_to(first)
    with pytest.raises(ClientError, match="RouteAlreadyExists"):
        aws.route_to(second)
    assert aws.route()["NetworkInterfaceId"] == first.interface


def test_instance_with_two_interfaces_is_no_route_target(aws: Aws) -> None:
    nat = aws.launch_running()
    extra = aws.ec2.create_network_interface(SubnetId=aws.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    aws.ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=nat.instance, DeviceIndex=1)
    with pytest.raises(ClientError, match="InvalidInstanceID"):
        aws.ec2.create_route(RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", InstanceId=nat.instance)


def test_route_to_an_instance_shows_its_interface(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.create_route(RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", InstanceId=nat.instance)
    assert aws.route()["NetworkInterfaceId"] == nat.interface


def test_route_to_an_interface_shows_its_instance(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.route_to(nat)
    assert aws.route()["InstanceId"] == nat.instance


def test_subnet_cannot_have_two_route_tables(aws: Aws) -> None:
    aws.ec2.associate_route_table(RouteTableId=aws.table, SubnetId=aws.subnet)
    other = aws.ec2.create_route_table(VpcId=aws.vpc)["RouteTable"]["RouteTableId"]
    with pytest.raises(ClientError, match=r"Resource\.AlreadyAssociated"):
        aws.ec2.associate_route_table(RouteTableId=other, SubnetId=aws.subnet)
