"""Mends: auto-assigned public addresses come and go as on AWS, and every description shows who has which.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterface

from natkeeper_lab.api import addresses
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    patches.replace(NetworkInterface, "public_ip", public_ip_of_the_primary())
    patches.replace(NetworkInterface, "check_auto_public_ip", assign_from_the_lab(world))
    patches.replace(NetworkInterface, "stop", release_when_stopped)
    patches.replace(NetworkInterface, "association", property(association_of_the_primary))
    patches.replace(NetworkInterface, "instance_private_ip_address_list", property(all_private_addresses))
    patches.replace(NetworkInterface, "network_interface_private_ip_address_list", property(all_private_addresses))


def public_ip_of_the_primary() -> Any:
    """Moto stores one public address per interface, wherever on the interface it belongs. Writes are ignored."""

    def read(self: Any) -> str | None:
        found = addresses.public_at(self, getattr(self, "private_ip_address", None))
        return found[0] if found else None

    return property(read, lambda _self, _value: None)


def assign_from_the_lab(world: World) -> Any:
    """Auto-assigned addresses come from the lab's range, and not while an Elastic IP has the primary address."""

    def check_auto_public_ip(self: Any) -> None:
        addresses.grow_auto_address(world, self)

    return check_auto_public_ip


def grow_later(world: World, eni: Any) -> None:
    """An Elastic IP left the primary address, or the attribute was set: an auto-assigned address comes after a while.

    Moto gives it at once; AWS "within a few minutes", and at once only at a launch or start.
    """
    seconds = world.paces.public_address
    if seconds is None or not addresses.is_auto_wanted(eni):
        return

    def grow() -> None:
        with world.changing():
            is_alive = eni.id in eni.ec2_backend.enis and eni.instance is not None
            if is_alive and eni.instance._state.name in ("pending", "running"):
                addresses.grow_auto_address(world, eni)

    if seconds > 0:
        world.after_the_answer(seconds, grow)
    else:
        grow()


def release_when_stopped(self: Any) -> None:
    """A stopped instance loses its auto-assigned address and keeps its Elastic IPs; moto drops the latter too."""
    addresses.drop_auto_address(self)


def association_of_the_primary(self: Any) -> dict[str, Any] | None:
    """Moto shows an empty association where AWS shows none."""
    return association_of(self, self.private_ip_address) or None


def association_of(eni: Any, private: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAssociation.html"""
    found = addresses.public_at(eni, private)
    if found is None:
        return {}
    public, owner = found
    answer = {"PublicIp": public, "IpOwnerId": owner, "PublicDnsName": _dns_name(public)}
    if eip := addresses.elastic_at(eni, private):
        answer |= {"AllocationId": eip.allocation_id, "AssociationId": eip.association_id}
    return answer


def all_private_addresses(self: Any) -> list[dict[str, Any]]:
    """Moto shows a public address on the primary only.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstancePrivateIpAddress.html
    """
    shown = []
    for item in self.private_ip_addresses:
        private = item["PrivateIpAddress"]
        answer: dict[str, Any] = {"PrivateIpAddress": private, "Primary": private == self.private_ip_address}
        if association := association_of(self, private):
            answer["Association"] = association
        shown.append(answer)
    return sorted(shown, key=lambda one: not one["Primary"])


def _dns_name(public: str) -> str:
    return f"ec2-{public.replace('.', '-')}.compute-1.amazonaws.com"
