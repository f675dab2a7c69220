"""Public addresses: who has which, and what happens to them when they move, stop or end."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import Start
from tests.contract.scenery import Aws, Nat, eventually


def publics(aws: Aws, nat: Nat) -> dict[str, Any]:
    """Private address to the association that DescribeInstances shows."""
    addresses = aws.interface(nat.instance)["PrivateIpAddresses"]
    return {one["PrivateIpAddress"]: one.get("Association") for one in addresses}


def launch_with_secondary(aws: Aws, **members: Any) -> tuple[Nat, str, str]:
    """A NAT with its primary and its secondary private address."""
    nat = aws.launch_running(aws.nic(**members))
    aws.ec2.assign_private_ip_addresses(NetworkInterfaceId=nat.interface, SecondaryPrivateIpAddressCount=1)
    primary, secondary = publics(aws, nat)
    return nat, primary, secondary


def associate(aws: Aws, allocation: str, nat: Nat, private: str | None = None, **params: Any) -> str:
    if private is not None:
        params["PrivateIpAddress"] = private
    answer = aws.ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=nat.interface, **params)
    association: str = answer["AssociationId"]
    return association


def set_auto(aws: Aws, nat: Nat, is_on: bool) -> None:
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=nat.interface, AssociatePublicIpAddress=is_on)


def test_elastic_ip_on_a_secondary_address_shows_there_and_only_there(aws: Aws) -> None:
    nat, primary, secondary = launch_with_secondary(aws)
    allocation, public = aws.address()
    associate(aws, allocation, nat, secondary)
    shown = publics(aws, nat)
    assert shown[primary] is None
    assert shown[secondary]["PublicIp"] == public
    assert shown[secondary]["IpOwnerId"] == "123456789012"
    described = aws.ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    assert described["PrivateIpAddress"] == secondary
    assert described["InstanceId"] == nat.instance


def test_describe_network_interfaces_shows_secondary_associations(aws: Aws) -> None:
    nat, _, secondary = launch_with_secondary(aws)
    allocation, public = aws.address()
    association = associate(aws, allocation, nat, secondary)
    interface = aws.ec2.describe_network_interfaces(NetworkInterfaceIds=[nat.interface])["NetworkInterfaces"][0]
    shown = {one["PrivateIpAddress"]: one.get("Association", {}) for one in interface["PrivateIpAddresses"]}
    assert shown[secondary]["PublicIp"] == public
    assert shown[secondary]["AllocationId"] == allocation
    assert shown[secondary]["AssociationId"] == association


def test_elastic_ip_moves_without_being_asked_twice(aws: Aws) -> None:
    first, second = aws.launch_running(), aws.launch_running()
    allocation, public = aws.address()
    associate(aws, allocation, first)
    associate(aws, allocation, second)
    assert "Association" not in aws.interface(first.instance)
    assert aws.interface(second.instance)["Association"]["PublicIp"] == public


def test_elastic_ip_stays_when_reassociation_is_forbidden(ours: Aws) -> None:
    first, second = ours.launch_running(), ours.launch_running()
    allocation, public = ours.address()
    associate(ours, allocation, first)
    with pytest.raises(ClientError, match=r"Resource\.AlreadyAssociated"):
        associate(ours, allocation, second, AllowReassociation=False)
    assert ours.interface(first.instance)["Association"]["PublicIp"] == public


def test_associating_again_changes_nothing(aws: Aws) -> None:
    nat = aws.launch_running()
    allocation, _ = aws.address()
    assert associate(aws, allocation, nat) == associate(aws, allocation, nat)


def test_elastic_ip_displaces_the_one_that_was_there(aws: Aws) -> None:
    nat = aws.launch_running()
    (old, _), (new, public) = aws.address(), aws.address()
    associate(aws, old, nat)
    associate(aws, new, nat)
    assert aws.interface(nat.instance)["Association"]["PublicIp"] == public
    assert "AssociationId" not in aws.ec2.describe_addresses(AllocationIds=[old])["Addresses"][0]


def test_elastic_ip_needs_a_private_address_of_the_interface(aws: Aws) -> None:
    nat = aws.launch_running()
    allocation, _ = aws.address()
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        associate(aws, allocation, nat, "10.0.1.99")


def test_elastic_ip_cannot_go_to_a_deleted_interface(aws: Aws) -> None:
    nat = aws.launch_running()
    allocation, _ = aws.address()
    aws.terminate(nat)
    with pytest.raises(ClientError, match=r"InvalidNetworkInterfaceID\.NotFound"):
        associate(aws, allocation, nat)


def test_terminated_instance_leaves_its_elastic_ip_unassociated(aws: Aws) -> None:
    nat = aws.launch_running()
    allocation, _ = aws.address()
    associate(aws, allocation, nat)
    aws.terminate(nat)
    assert "AssociationId" not in aws.ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]


def test_stopped_instance_keeps_its_elastic_ip(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    allocation, public = aws.address()
    associate(aws, allocation, nat)
    aws.stop(nat)
    assert aws.interface(nat.instance)["Association"]["PublicIp"] == public


def test_auto_assigned_address_belongs_to_amazon(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    assert aws.interface(nat.instance)["Association"]["IpOwnerId"] == "amazon"


def test_elastic_ip_on_the_primary_releases_the_auto_assigned_address(ours: Aws) -> None:
    nat = ours.launch_running(ours.nic(AssociatePublicIpAddress=True))
    auto = ours.interface(nat.instance)["Association"]["PublicIp"]
    allocation, public = ours.address()
    associate(ours, allocation, nat)
    assert ours.instance(nat.instance)["PublicIpAddress"] == public
    assert auto not in ours.packets.public


def test_elastic_ip_on_a_secondary_leaves_the_auto_assigned_address_alone(aws: Aws) -> None:
    nat, primary, secondary = launch_with_secondary(aws, AssociatePublicIpAddress=True)
    auto = publics(aws, nat)[primary]["PublicIp"]
    allocation, public = aws.address()
    associate(aws, allocation, nat, secondary)
    shown = publics(aws, nat)
    assert (shown[primary]["PublicIp"], shown[secondary]["PublicIp"]) == (auto, public)


def test_auto_assigned_address_grows_back_after_the_elastic_ip_left(start: Start) -> None:
    aws = start(auto_address_delay=0.2)
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    allocation, _ = aws.address()
    association = associate(aws, allocation, nat)
    aws.ec2.disassociate_address(AssociationId=association)
    assert "Association" not in aws.interface(nat.instance)
    owner = eventually(lambda: aws.interface(nat.instance).get("Association"))["IpOwnerId"]
    assert owner == "amazon"


def test_address_does_not_grow_back_once_the_attribute_is_off(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    set_auto(aws, nat, False)
    allocation, _ = aws.address()
    association = associate(aws, allocation, nat)
    aws.ec2.disassociate_address(AssociationId=association)
    assert "Association" not in aws.interface(nat.instance)


def test_auto_assigned_address_can_be_taken_away_and_given_back(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    set_auto(aws, nat, False)
    assert "Association" not in aws.interface(nat.instance)
    assert "PublicIpAddress" not in aws.instance(nat.instance)
    set_auto(aws, nat, True)
    assert aws.interface(nat.instance)["Association"]["IpOwnerId"] == "amazon"


def test_attribute_can_be_read_back(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    set_auto(aws, nat, False)
    answer = aws.ec2.describe_network_interface_attribute(
        NetworkInterfaceId=nat.interface, Attribute="associatePublicIpAddress"
    )
    assert answer["AssociatePublicIpAddress"] is False


def test_auto_assigned_address_is_released_on_stop_and_renewed_on_start(ours: Aws) -> None:
    nat = ours.launch_running(ours.nic(AssociatePublicIpAddress=True))
    before = ours.interface(nat.instance)["Association"]["PublicIp"]
    ours.stop(nat)
    assert "Association" not in ours.interface(nat.instance)
    ours.ec2.start_instances(InstanceIds=[nat.instance])
    ours.wait_for(nat.instance, "running")
    assert ours.interface(nat.instance)["Association"]["PublicIp"] not in (None, before)


def test_bare_instance_stays_bare_through_stop_and_start(ours: Aws) -> None:
    nat = ours.launch_running(ours.nic(AssociatePublicIpAddress=True))
    set_auto(ours, nat, False)
    ours.stop(nat)
    ours.ec2.start_instances(InstanceIds=[nat.instance])
    ours.wait_for(nat.instance, "running")
    assert "Association" not in ours.interface(nat.instance)


def test_public_addresses_come_from_the_labs_ranges(aws: Aws) -> None:
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    _, elastic = aws.address()
    auto = aws.interface(nat.instance)["Association"]["PublicIp"]
    lab = ipaddress.ip_network("198.51.100.0/24")
    assert ipaddress.ip_address(elastic) in lab
    assert ipaddress.ip_address(auto) in lab
    assert elastic < "198.51.100.128" or len(elastic) < len("198.51.100.128")


def test_exhausted_elastic_ips_are_refused(start: Start) -> None:
    aws = start(elastic_addresses=("198.51.100.10", "198.51.100.11"))
    aws.address()
    aws.address()
    with pytest.raises(ClientError, match="AddressLimitExceeded"):
        aws.address()


def test_unassigned_private_address_loses_its_elastic_ip(aws: Aws) -> None:
    nat, _, secondary = launch_with_secondary(aws)
    allocation, _ = aws.address()
    associate(aws, allocation, nat, secondary)
    aws.ec2.unassign_private_ip_addresses(NetworkInterfaceId=nat.interface, PrivateIpAddresses=[secondary])
    assert "AssociationId" not in aws.ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]


def test_private_addresses_are_never_the_subnets_own(aws: Aws) -> None:
    # Every free address of two small subnets: moto's random draw cannot miss the reserved ones by chance.
    for third in (2, 3):
        small = aws.ec2.create_subnet(VpcId=aws.vpc, CidrBlock=f"10.0.{third}.0/28")["Subnet"]["SubnetId"]
        interface = aws.ec2.create_network_interface(SubnetId=small)["NetworkInterface"]["NetworkInterfaceId"]
        aws.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=10)
        shown = aws.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
        used = {one["PrivateIpAddress"] for one in shown["PrivateIpAddresses"]}
        assert used == {f"10.0.{third}.{last}" for last in range(4, 15)}


def test_one_interface_carries_the_elastic_ips_of_two_groups(ours: Aws) -> None:
    nat, primary, secondary = launch_with_secondary(ours)
    (own, own_public), (guest, guest_public) = ours.address(), ours.address()
    associate(ours, own, nat, primary)
    associate(ours, guest, nat, secondary)
    assert ours.packets.public == {own_public: primary, guest_public: secondary}
