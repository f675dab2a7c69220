"""Mends: an Elastic IP sits on one private address, moves without asking, and leaves nothing behind.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateAddress.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import moto.ec2.models.elastic_ip_addresses as elastic
from moto.core.responses import ActionResult
from moto.ec2.models.elastic_ip_addresses import ElasticAddress, ElasticAddressBackend
from moto.ec2.responses.elastic_ip_addresses import ElasticIPAddresses
from moto.ec2.utils import random_eip_association_id

from natkeeper_lab.api import addresses
from natkeeper_lab.api.mends.public_addresses import grow_later
from natkeeper_lab.api.mends.refusals import parameter_value, refused, several_interfaces
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    patches.replace(elastic, "random_ip", partial(next_elastic_address, world))
    patches.replace(ElasticAddress, "private_ip_address", property(private_address_of))
    patches.replace(ElasticAddress, "instance_id", property(instance_id_of))
    patches.replace(ElasticAddressBackend, "associate_address", associate_primary(world))
    patches.replace(ElasticAddressBackend, "disassociate_address", disassociate(world))
    patches.replace(ElasticIPAddresses, "associate_address", associate_on_the_wire(world))


def next_elastic_address(world: World) -> str:
    """Moto's Elastic IPs are random addresses of 127.0.0.0/8, which no packet plane can use."""
    found = world.elastic_pool.take({eip.public_ip for eip in world.ec2.addresses})
    if found is None:
        raise refused("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    return found


def private_address_of(eip: Any) -> str | None:
    """Moto always answers the interface's primary address."""
    if eip.eni is None:
        return None
    chosen: str = getattr(eip, "lab_private", None) or eip.eni.private_ip_address
    return chosen


def instance_id_of(eip: Any) -> str | None:
    """AWS shows the instance of the interface too; moto only one that was named in AssociateAddress."""
    instance = eip.eni.instance if eip.eni is not None else None
    return instance.id if instance is not None else None


def associate(world: World, eip: Any, eni: Any, private: str | None, *, may_move: bool) -> None:
    """Put the Elastic IP on the private address (the primary if None), taking each from whatever it was on."""
    private = private or eni.private_ip_address
    if private not in [item["PrivateIpAddress"] for item in eni.private_ip_addresses]:
        raise parameter_value(f"Address {private} is not assigned to network interface {eni.id}")
    if eip.eni is eni and eip.private_ip_address == private:
        return
    displaced, former = addresses.elastic_at(eni, private), addresses.packets_at(eip)
    if not may_move and (eip.eni is not None or displaced is not None):
        raise refused(
            "Resource.AlreadyAssociated", f"resource {eip.allocation_id} is already associated with another resource"
        )
    if displaced is not None:
        _clear(displaced)
    _leave(world, eip)
    eip.eni, eip.lab_private, eip.instance = eni, private, eni.instance
    eip.association_id = random_eip_association_id()
    _follow(world, eip, former)
    if private == eni.private_ip_address:
        addresses.drop_auto_address(eni)


def _follow(world: World, eip: Any, former: tuple[Any, str] | None) -> None:
    """Packets follow an association only after a while; moto knows no packets."""
    paces = world.paces
    if paces.remap <= 0:
        return
    waiting = eip.lab_under_way = addresses.UnderWay(former if paces.remap_model == "late" else None)

    def arrive() -> None:
        with world.changing():
            if addresses.under_way(eip) is waiting:
                eip.lab_under_way = None

    world.after_the_answer(paces.remap, arrive)


def associate_primary(world: World) -> Any:
    """The backend's own entry, used by moto's NAT gateways."""

    def associate_address(
        self: Any,
        instance: Any = None,
        eni: Any = None,
        address: str | None = None,
        allocation_id: str | None = None,
        reassociate: bool = True,
    ) -> Any:
        eip = (self.address_by_ip([address]) if address else self.address_by_allocation([allocation_id]))[0]
        associate(world, eip, eni or instance.nics[0], None, may_move=reassociate)
        return eip

    return associate_address


def associate_on_the_wire(world: World) -> Any:
    """Moto ignores PrivateIpAddress and refuses to move an address unless AllowReassociation is given."""

    def associate_address(self: Any) -> Any:
        backend, params = self.ec2_backend, self._get_params()
        if public := params.get("PublicIp"):
            eip = backend.address_by_ip([public])[0]
        else:
            eip = backend.address_by_allocation([params.get("AllocationId")])[0]
        eni = _interface(backend, params)
        may_move = str(params.get("AllowReassociation", True)).lower() == "true"
        associate(world, eip, eni, params.get("PrivateIpAddress"), may_move=may_move)
        return ActionResult({"AssociationId": eip.association_id})

    return associate_address


def disassociate(world: World) -> Any:
    """Moto gives the interface a new public address at once, whether or not its primary address lost one."""

    def disassociate_address(self: Any, address: str | None = None, association_id: str | None = None) -> None:
        found = self.address_by_ip([address]) if address else self.address_by_association([association_id])
        _leave(world, found[0])

    return disassociate_address


def _interface(backend: Any, params: Any) -> Any:
    if eni_id := params.get("NetworkInterfaceId"):
        return backend.get_network_interface(eni_id)
    if not (instance_id := params.get("InstanceId")):
        raise refused("MissingParameter", "Either 'InstanceId' or 'NetworkInterfaceId' must be provided")
    instance = backend.get_instance(instance_id)
    if instance._state.name not in ("running", "stopped", "stopping"):
        raise refused(
            "InvalidInstanceID",
            f"The {instance._state.name} instance '{instance_id}' is not in a valid state for this operation.",
        )
    if len(instance.nics) > 1:
        raise several_interfaces(instance_id)
    return instance.nics[0]


def _clear(eip: Any) -> None:
    eip.eni = eip.instance = eip.association_id = eip.lab_private = eip.lab_under_way = None


def _leave(world: World, eip: Any) -> None:
    """Take the Elastic IP away; the interface that lost it may grow an auto-assigned address after a while."""
    eni, private = eip.eni, private_address_of(eip)
    _clear(eip)
    if eni is not None and private == eni.private_ip_address:
        grow_later(world, eni)
