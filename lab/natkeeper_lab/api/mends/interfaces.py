"""Mends: an interface's source/dest check, groups, addresses and end belong to it and show wherever AWS shows them.

Installed by `api.mends`. May not import boto3.
"""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces

from natkeeper_lab.api import addresses
from natkeeper_lab.api.mends.public_addresses import grow_later
from natkeeper_lab.api.mends.refusals import parameter_value, refused, several_interfaces
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    patches.replace(Instance, "source_dest_check", source_dest_check_of_the_interface())
    patches.wrap(InstanceBackend, "modify_instance_attribute", refuse_source_dest_check_of_several)
    patches.replace(NetworkInterface, "group_set", property(lambda self: self._group_set))
    patches.replace(Instance, "security_groups", groups_of_the_interface())
    patches.wrap(NetworkInterfaceBackend, "create_network_interface", create_within_the_subnet)
    patches.wrap(NetworkInterfaceBackend, "delete_network_interface", refuse_to_delete_in_use)
    patches.wrap(NetworkInterfaceBackend, "assign_private_ip_addresses", assign_from_the_subnet)
    patches.wrap(NetworkInterfaceBackend, "unassign_private_ip_addresses", forget_public_of_unassigned)
    patches.wrap(
        ElasticNetworkInterfaces, "modify_network_interface_attribute", partial(give_or_take_auto_address, world)
    )
    patches.wrap(ElasticNetworkInterfaces, "describe_network_interface_attribute", describe_auto_address)
    for name in ("private_ip", "private_ip_address", "public_ip", "public_ip_address"):
        patches.wrap(Instance, name, without_interfaces(None))
    for name in ("private_dns_name", "subnet_id", "vpc_id"):
        patches.wrap(Instance, name, without_interfaces("" if name == "private_dns_name" else None))


def without_interfaces(absent: str | None) -> Any:
    """A terminated instance has no interface, hence no address, subnet or VPC; moto keeps showing the last ones.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
    """

    def make(original: Any) -> Any:
        return property(
            lambda self: absent if self.__dict__.get("nics") == {} and _is_over(self) else _get(original, self)
        )

    return make


def _is_over(instance: Any) -> bool:
    return "_state" in instance.__dict__ and instance._state.name == "terminated"


def _get(descriptor: Any, instance: Any) -> Any:
    return descriptor.__get__(instance, type(instance))


def source_dest_check_of_the_interface() -> Any:
    """Moto keeps one flag on the instance and another on the interface; on AWS there is the interface's only.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html (SourceDestCheck)
    """

    def read(self: Any) -> bool:
        nic = self.__dict__.get("nics", {}).get(0)
        return True if nic is None else bool(nic.source_dest_check)

    def write(self: Any, value: Any) -> None:
        if nic := self.__dict__.get("nics", {}).get(0):
            nic.source_dest_check = str(value).lower() == "true"

    return property(read, write)


def refuse_source_dest_check_of_several(original: Any) -> Any:
    """With several interfaces AWS wants ModifyNetworkInterfaceAttribute (same page)."""

    def modify(self: Any, instance_id: str, key: str, value: Any) -> Any:
        if key == "source_dest_check" and len(self.get_instance(instance_id).nics) > 1:
            raise several_interfaces(instance_id)
        return original(self, instance_id, key, value)

    return modify


def groups_of_the_interface() -> Any:
    """Moto adds the instance's groups to the interface's, so that a group once given can never be taken away.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyNetworkInterfaceAttribute.html (Groups)
    """

    def read(self: Any) -> Any:
        nic = self.__dict__.get("nics", {}).get(0)
        return self.__dict__.get("lab_groups", []) if nic is None else nic._group_set

    def write(self: Any, groups: Any) -> None:
        self.__dict__["lab_groups"] = groups
        if nic := self.__dict__.get("nics", {}).get(0):
            nic._group_set = list(groups)

    return property(read, write)


def refuse_to_delete_in_use(original: Any) -> Any:
    """Moto deletes an interface under a running instance.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNetworkInterface.html
    """

    def delete(self: Any, eni_id: str) -> None:
        eni = self.get_network_interface(eni_id)
        if eni.instance is not None and eni.instance._state.name != "shutting-down":
            raise refused("InvalidParameterValue", f"Network interface '{eni_id}' is currently in use.")
        for eip in [eip for eip in self.addresses if eip.eni is eni]:
            self.disassociate_address(association_id=eip.association_id)
        addresses.drop_auto_address(eni)
        original(self, eni_id)

    return delete


def take_private_address(eni: Any, wanted: str | None = None) -> str:
    """A free address of the interface's subnet. InvalidIPAddress.InUse or InvalidParameterValue when there is none."""
    subnet = eni.subnet
    used = {item["PrivateIpAddress"] for other in eni.ec2_backend.enis.values() for item in other.private_ip_addresses}
    used |= {item["PrivateIpAddress"] for item in eni.private_ip_addresses}
    if wanted is None:
        free: str = subnet.get_available_subnet_ip(instance=eni)
        while free in used:
            free = subnet.get_available_subnet_ip(instance=eni)
        return free
    if ipaddress.ip_address(wanted) not in subnet.cidr:
        raise parameter_value(f"Address {wanted} does not fall within the subnet's address range")
    if wanted in used or wanted in subnet._subnet_ips:
        raise refused("InvalidIPAddress.InUse", f"Address {wanted} is in use.")
    subnet.request_ip(wanted, instance=eni)
    return wanted


def create_within_the_subnet(original: Any) -> Any:
    """Moto draws a new interface's addresses at random, the subnet's router and broadcast addresses among them.

    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
    """

    def create(self: Any, subnet: Any, address: Any, addresses: Any = None, *args: Any, **kwargs: Any) -> Any:
        subnet = self.get_subnet(subnet) if isinstance(subnet, str) else subnet
        secondary = int(kwargs.pop("secondary_ips_count", None) or 0)
        if not address and not addresses:
            address = subnet.get_available_subnet_ip(instance=None)
        eni = original(self, subnet, address, addresses, *args, **kwargs)
        for _ in range(secondary):
            eni.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": take_private_address(eni)})
        return eni

    return create


def assign_from_the_subnet(_original: Any) -> Any:
    """Moto draws secondary addresses at random, the subnet's router and broadcast addresses among them.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignPrivateIpAddresses.html
    """

    def assign(self: Any, eni_id: str, private_ip_addresses: Any = None, secondary_ips_count: Any = None) -> Any:
        eni = self.get_network_interface(eni_id)
        held = [item["PrivateIpAddress"] for item in eni.private_ip_addresses]
        wanted: list[str | None] = [address for address in private_ip_addresses or [] if address not in held]
        wanted += [None] * int(secondary_ips_count or 0)
        for address in wanted:
            taken = take_private_address(eni, address)
            eni.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": taken})
        return eni

    return assign


def forget_public_of_unassigned(original: Any) -> Any:
    """An Elastic IP does not stay on a private address that was unassigned, and the subnet gets the address back.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_UnassignPrivateIpAddresses.html
    """

    def unassign(self: Any, eni_id: str, private_ip_address: Any = None) -> Any:
        eni = self.get_network_interface(eni_id)
        for address in private_ip_address or []:
            if address == eni.private_ip_address:
                raise parameter_value(f"{address} is the primary address of {eni_id} and cannot be unassigned")
            if eip := addresses.elastic_at(eni, address):
                self.disassociate_address(association_id=eip.association_id)
            eni.subnet.del_subnet_ip(address)
        return original(self, eni_id, private_ip_address)

    return unassign


def give_or_take_auto_address(world: World, original: Any) -> Any:
    """Moto ignores AssociatePublicIpAddress.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyNetworkInterfaceAttribute.html
    """

    def modify(self: Any) -> Any:
        wanted = self._get_param("AssociatePublicIpAddress")
        if wanted is None:
            return original(self)
        eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
        if eni.device_index != 0 or eni.instance is None:
            raise parameter_value("AssociatePublicIpAddress is for the primary network interface of an instance")
        eni.public_ip_auto_assign = str(wanted).lower() == "true"
        if not eni.public_ip_auto_assign:
            addresses.drop_auto_address(eni)
        elif eni.instance._state.name in ("pending", "running"):
            grow_later(world, eni)
        return original(self)

    return modify


def describe_auto_address(original: Any) -> Any:
    """Moto does not know the attribute `associatePublicIpAddress`.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaceAttribute.html
    """

    def describe(self: Any) -> Any:
        if self._get_param("Attribute") != "associatePublicIpAddress":
            return original(self)
        eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
        return ActionResult({"NetworkInterfaceId": eni.id, "AssociatePublicIpAddress": addresses.is_auto_wanted(eni)})

    return describe
