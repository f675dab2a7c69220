"""Mends: a NAT gateway forwards packets, from an address of its own subnet.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import moto.ec2.models.nat_gateways as nat_gateways
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.route_tables import RouteBackend

from natkeeper_lab.api import guests
from natkeeper_lab.api.mends.refusals import refused
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World

SCRIPT = """#!/bin/sh
set -eu
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
for device in /proc/sys/net/ipv4/conf/*/; do echo 0 > "${device}rp_filter"; done
nft -f - <<'RULES'
table ip gateway {
  chain out {
    type nat hook postrouting priority 100; policy accept;
    masquerade
  }
}
RULES
"""
"""What AWS runs inside is its own affair; a new connection that it never saw is none of its."""


def install(patches: Patches, world: World) -> None:
    # Moto draws its private address from all there are; without one its interface gets one of the subnet.
    patches.replace(nat_gateways, "random_private_ip", lambda: None)
    patches.wrap(NatGatewayBackend, "create_nat_gateway", partial(forward_packets, world))
    for name in ("create_route", "replace_route"):
        patches.wrap(RouteBackend, name, refuse_what_is_not_there)


def forward_packets(world: World, original: Any) -> Any:
    """Moto's NAT gateway is a description only."""

    def create_nat_gateway(self: Any, *args: Any, **kwargs: Any) -> Any:
        gateway = original(self, *args, **kwargs)
        guests.run(world, gateway.id, gateway._eni.id, SCRIPT)
        return gateway

    return create_nat_gateway


def refuse_what_is_not_there(original: Any) -> Any:
    """Moto takes a route to a NAT gateway that it does not know for one to nothing.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (InvalidNatGatewayID.NotFound)
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.get("nat_gateway_id")
        if wanted and wanted not in self.nat_gateways:
            raise refused("InvalidNatGatewayID.NotFound", f"The natGateway ID '{wanted}' does not exist")
        return original(self, *args, **kwargs)

    return call
