"""Launches are idempotent by token and honour their template, interfaces and limits."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.scenery import Aws


def test_repeated_client_token_launches_one_instance(aws: Aws) -> None:
    first = aws.launch(ClientToken="group-a-1")
    again = aws.launch(ClientToken="group-a-1")
    assert again["InstanceId"] == first["InstanceId"]
    assert len(aws.ec2.describe_instances()["Reservations"]) == 1


def test_concurrent_launches_with_one_token_launch_one_instance(aws: Aws) -> None:
    with ThreadPoolExecutor(8) as pool:
        launched = pool.map(lambda _: aws.launch(ClientToken="group-a-1")["InstanceId"], range(8))
        assert len(set(launched)) == 1


def test_token_with_other_parameters_is_refused(aws: Aws) -> None:
    aws.launch(ClientToken="group-a-1")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        aws.launch(ClientToken="group-a-1", InstanceType="t4g.small")


def test_the_token_of_an_instance_that_has_been_terminated_launches_no_other(aws: Aws) -> None:
    """https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"""
    nat = aws.launch_running(ClientToken="group-a-1")
    aws.terminate(nat)
    with pytest.raises(ClientError, match="IdempotentInstanceTerminated"):
        aws.launch(ClientToken="group-a-1")


def test_two_tokens_launch_two_instances(ours: Aws) -> None:
    assert ours.launch(ClientToken="1")["InstanceId"] != ours.launch(ClientToken="2")["InstanceId"]


def test_secondary_addresses_asked_for_at_launch_are_there(aws: Aws) -> None:
    nic = aws.launch(aws.nic(SecondaryPrivateIpAddressCount=1, PrivateIpAddress="10.0.1.20"))["NetworkInterfaces"][0]
    primary, secondary = nic["PrivateIpAddresses"]
    assert (primary["PrivateIpAddress"], primary["Primary"]) == ("10.0.1.20", True)
    assert secondary["Primary"] is False


def test_more_addresses_than_the_instance_type_has_are_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        aws.launch(aws.nic(SecondaryPrivateIpAddressCount=2), InstanceType="t4g.nano")


def test_bigger_instance_type_has_more_addresses(ours: Aws) -> None:
    nic = ours.nic(SecondaryPrivateIpAddressCount=3)
    launched = ours.launch(nic, InstanceType="t4g.small")
    assert len(launched["NetworkInterfaces"][0]["PrivateIpAddresses"]) == 4


def test_private_address_in_use_is_refused(aws: Aws) -> None:
    aws.launch(aws.nic(PrivateIpAddress="10.0.1.20"))
    with pytest.raises(ClientError, match=r"InvalidIPAddress\.InUse"):
        aws.launch(aws.nic(PrivateIpAddress="10.0.1.20"))


def test_interface_created_at_launch_dies_with_its_instance(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.terminate(nat)
    with pytest.raises(ClientError, match=r"InvalidNetworkInterfaceID\.NotFound"):
        aws.ec2.describe_network_interfaces(NetworkInterfaceIds=[nat.interface])


def test_template_and_request_make_one_launch(ours: Aws) -> None:
    data = {
        "ImageId": "ami-from-template",
        "InstanceType": "t4g.nano",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]},
            {"ResourceType": "network-interface", "Tags": [{"Key": "from", "Value": "template"}]},
        ],
    }
    template = ours.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    instance = ours.ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        InstanceType="t4g.micro",
        LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"},
        NetworkInterfaces=[ours.nic(AssociatePublicIpAddress=True, SecondaryPrivateIpAddressCount=1)],
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "group", "Value": "a"}]}],
        UserData="#!/bin/sh\nexit 0\n",
        ClientToken="t",
    )["Instances"][0]
    assert (instance["ImageId"], instance["InstanceType"]) == ("ami-from-template", "t4g.micro")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert tags["group"] == "a"
    assert tags["from"] == "template"
    nic = ours.ec2.describe_network_interfaces()["NetworkInterfaces"][0]
    assert nic["TagSet"] == [{"Key": "from", "Value": "template"}]
    ours.wait_for(instance["InstanceId"], "running")
    assert ours.packets.guests[instance["InstanceId"]] == (nic["NetworkInterfaceId"], "#!/bin/sh\nexit 0\n")


def test_metadata_options_come_from_the_template(aws: Aws) -> None:
    data = {"MetadataOptions": {"HttpTokens": "required"}}
    template = aws.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    launched = aws.launch(LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"], "Version": "$Latest"})
    assert launched["MetadataOptions"]["HttpTokens"] == "required"


def test_the_instance_profile_comes_from_the_template_and_the_request_overrides_it(aws: Aws) -> None:
    iam: Any = aws.client("iam")
    made = [iam.create_instance_profile(InstanceProfileName=each)["InstanceProfile"]["Arn"] for each in ("nat", "own")]
    data = {"IamInstanceProfile": {"Arn": made[0]}}
    template = aws.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    chosen = {"LaunchTemplateId": template["LaunchTemplateId"]}
    launched = aws.launch(LaunchTemplate=chosen)
    assert aws.instance(launched["InstanceId"])["IamInstanceProfile"]["Arn"] == made[0]
    launched = aws.launch(LaunchTemplate=chosen, IamInstanceProfile={"Arn": made[1]})
    assert aws.instance(launched["InstanceId"])["IamInstanceProfile"]["Arn"] == made[1]


def test_interfaces_come_from_the_template_member_by_member(aws: Aws) -> None:
    data = {"ImageId": "ami-1", "NetworkInterfaces": [{"DeviceIndex": 0, "AssociatePublicIpAddress": True}]}
    template = aws.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    launched = aws.launch(LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"]})
    assert launched["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == "amazon"


def test_security_groups_beside_interfaces_are_refused(aws: Aws) -> None:
    data = {"SecurityGroupIds": [aws.group]}
    template = aws.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        aws.launch(LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"]})


def test_user_data_of_the_template_boots_the_guest(ours: Aws) -> None:
    data = {"UserData": base64.b64encode(b"#!/bin/sh\n").decode()}
    template = ours.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)["LaunchTemplate"]
    nat = ours.launch_running(LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"]})
    assert ours.packets.guests[nat.instance] == (nat.interface, "#!/bin/sh\n")
