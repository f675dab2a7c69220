"""Source/dest check and security groups belong to the interface, wherever they were set."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.contract.scenery import Aws


def test_source_dest_check_set_on_the_instance_reaches_its_interface(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.modify_instance_attribute(InstanceId=nat.instance, SourceDestCheck={"Value": False})
    assert aws.interface(nat.instance)["SourceDestCheck"] is False


def test_source_dest_check_set_on_the_interface_reaches_its_instance(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=nat.interface, SourceDestCheck={"Value": False})
    assert aws.instance(nat.instance)["SourceDestCheck"] is False
    answer = aws.ec2.describe_instance_attribute(InstanceId=nat.instance, Attribute="sourceDestCheck")
    assert answer["SourceDestCheck"]["Value"] is False


def test_source_dest_check_survives_stop_and_start(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.modify_instance_attribute(InstanceId=nat.instance, SourceDestCheck={"Value": False})
    aws.stop(nat)
    aws.ec2.start_instances(InstanceIds=[nat.instance])
    aws.wait_for(nat.instance, "running")
    assert aws.interface(nat.instance)["SourceDestCheck"] is False


def test_source_dest_check_is_on_after_launch(ours: Aws) -> None:
    nat = ours.launch_running()
    assert ours.interface(nat.instance)["SourceDestCheck"] is True
    assert ours.packets.checks[nat.interface] is True


def test_source_dest_check_of_an_instance_with_two_interfaces_is_refused(aws: Aws) -> None:
    nat = aws.launch_running()
    extra = aws.ec2.create_network_interface(SubnetId=aws.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    aws.ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=nat.instance, DeviceIndex=1)
    with pytest.raises(ClientError, match="InvalidInstanceID"):
        aws.ec2.modify_instance_attribute(InstanceId=nat.instance, SourceDestCheck={"Value": False})


def test_security_group_taken_from_the_interface_is_gone(aws: Aws) -> None:
    instance = aws.ec2.run_instances(
        ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=aws.subnet, SecurityGroupIds=[aws.group]
    )["Instances"][0]
    interface = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    other = aws.ec2.create_security_group(GroupName="other", Description="other", VpcId=aws.vpc)["GroupId"]
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[other])
    assert [group["GroupId"] for group in aws.interface(instance["InstanceId"])["Groups"]] == [other]


def test_interface_in_use_cannot_be_deleted(aws: Aws) -> None:
    nat = aws.launch_running()
    with pytest.raises(ClientError, match="currently in use"):
        aws.ec2.delete_network_interface(NetworkInterfaceId=nat.interface)
