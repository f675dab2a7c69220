"""A NAT gateway has an address of its subnet, forwards packets, and is a target of routes only when it is there."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from natkeeper_lab.packets import SecurityRule
from tests.contract.scenery import Aws


def made(aws: Aws) -> dict[str, Any]:
    allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    return dict(aws.ec2.create_nat_gateway(SubnetId=aws.subnet, AllocationId=allocation)["NatGateway"])


def test_its_private_address_is_of_its_subnet(aws: Aws) -> None:
    address = made(aws)["NatGatewayAddresses"][0]["PrivateIp"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network("10.0.1.0/24")


def test_a_route_to_one_that_is_not_there_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InvalidNatGatewayID\.NotFound"):
        aws.ec2.create_route(
            RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-0123456789abcdef0"
        )


def test_the_packet_plane_has_it_as_a_machine_that_everything_may_cross(ours: Aws) -> None:
    gateway = made(ours)
    address = gateway["NatGatewayAddresses"][0]
    interface, everything = address["NetworkInterfaceId"], [SecurityRule("0.0.0.0/0")]
    assert ours.packets.rules[interface] == (everything, everything)
    assert ours.packets.public[address["PublicIp"]] == address["PrivateIp"]
    assert gateway["NatGatewayId"] in ours.packets.guests
    ours.ec2.create_route(
        RouteTableId=ours.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway["NatGatewayId"]
    )
    assert ours.packets.routes == {(ours.table, "0.0.0.0/0"): interface}
