"""Mends: a launch is idempotent by its token, honours its template and interfaces, and its interfaces die with it.

Installed by `api.mends`. May not import boto3.
"""

from __future__ import annotations

import copy
import json
from functools import partial
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidParameterCombination
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import convert_tag_spec

from natkeeper_lab.api.mends.interfaces import take_private_address
from natkeeper_lab.api.mends.refusals import parameter_value, refused
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    patches.wrap(InstanceResponse, "run_instances", partial(launch_once, {}))
    patches.wrap(InstanceBackend, "run_instances", partial(launch_from_the_template, world))
    patches.wrap(Instance, "prep_nics", prepare_interfaces)


def launch_once(tokens: dict[str, tuple[str, str]], original: Any) -> Any:
    """Moto launches a second instance for a repeated ClientToken.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """

    def run_instances(self: Any) -> Any:
        params = dict(self._get_params())
        token = params.pop("ClientToken", None)
        if not token:
            return original(self)
        fingerprint = json.dumps(params, sort_keys=True, default=str)
        if token in tokens:
            seen, reservation_id = tokens[token]
            if seen != fingerprint:
                raise refused(
                    "IdempotentParameterMismatch",
                    "The client token is associated with a different set of request parameters.",
                )
            reservation = self.ec2_backend.reservations[reservation_id]
            if all(each.state == "terminated" for each in reservation.instances):
                raise refused("IdempotentInstanceTerminated", "The instance of this client token has been terminated.")
            return ActionResult(reservation)
        result = original(self)
        tokens[token] = (fingerprint, result.result.id)
        return result

    return run_instances


def launch_from_the_template(world: World, original: Any) -> Any:
    """Moto reads little of a launch template: not its interfaces, metadata options, market or instance profile.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html
    """

    def run_instances(self: Any, image_id: Any, count: Any, user_data: Any, groups: Any, **kwargs: Any) -> Any:
        template = {}
        if kwargs.get("launch_template"):
            template = self._get_template_from_args(kwargs["launch_template"]).data
        kwargs["nics"] = _merge(template.get("NetworkInterfaces") or [], kwargs.get("nics") or [])
        kwargs["metadata_options"] = {**(template.get("MetadataOptions") or {}), **(kwargs["metadata_options"] or {})}
        market = (template.get("InstanceMarketOptions") or {}).get("MarketType")
        kwargs["instance_market_options"] = kwargs.get("instance_market_options") or market
        _refuse_groups_beside_interfaces(template, kwargs, groups)
        _refuse_too_many_addresses(world, template, kwargs)
        tags = kwargs.get("tags", {}).get("network-interface") or _template_tags(template)
        try:
            reservation = original(self, image_id, count, user_data, groups, **kwargs)
        finally:
            _forget_empty_reservations(self)
        for instance in reservation.instances:
            for nic in instance.nics.values():
                nic.add_tags(tags)
            _give_the_profile(self, instance, template, kwargs)
        return reservation

    return run_instances


def _give_the_profile(backend: Any, instance: Any, template: Any, kwargs: Any) -> None:
    """The template's, where the request names none: moto's caller associates that one."""
    profile = template.get("IamInstanceProfile")
    is_named = kwargs.get("iam_instance_profile_name") or kwargs.get("iam_instance_profile_arn")
    if profile and not is_named:
        backend.associate_iam_instance_profile(instance.id, profile.get("Name"), profile.get("Arn"))


def prepare_interfaces(original: Any) -> Any:
    """Moto keeps interfaces after their instance's end, and ignores secondary addresses at launch.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceSpecification.html
    """

    def prep_nics(self: Any, nic_spec: Any, *args: Any, **kwargs: Any) -> None:
        wanted = copy.deepcopy(nic_spec)
        for spec in nic_spec:
            if not spec.get("NetworkInterfaceId"):
                spec.setdefault("DeleteOnTermination", True)
            _refuse_address_in_use(self, spec)
        original(self, nic_spec, *args, **kwargs)
        if not wanted:
            self.nics[0].delete_on_termination = True
        for spec in wanted:
            nic = self.nics[int(spec["DeviceIndex"])]
            for address in _secondary(spec):
                taken = take_private_address(nic, address)
                nic.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": taken})

    return prep_nics


def _refuse_address_in_use(instance: Any, spec: dict[str, Any]) -> None:
    """Moto fails with an internal error. The error code is AWS's, see lab.api.mends.interfaces."""
    address = spec.get("PrivateIpAddress")
    if address and address in instance.ec2_backend.get_subnet(instance.subnet_id)._subnet_ips:
        raise refused("InvalidIPAddress.InUse", f"Address {address} is in use.")


def _secondary(spec: dict[str, Any]) -> list[str | None]:
    named = [one["PrivateIpAddress"] for one in spec.get("PrivateIpAddresses") or [] if not one.get("Primary")]
    return [*named, *[None] * int(spec.get("SecondaryPrivateIpAddressCount") or 0)]


def _forget_empty_reservations(backend: Any) -> None:
    """Moto keeps the reservation of a launch that it refused."""
    for reservation in [one for one in backend.reservations.values() if not one.instances]:
        del backend.reservations[reservation.id]


def _merge(template: list[Any], request: list[Any]) -> list[Any]:
    """The request's interface of a device index replaces members of the template's, not the whole."""
    merged = {int(nic.get("DeviceIndex", 0)): copy.deepcopy(nic) for nic in template}
    for nic in request:
        index = int(nic.get("DeviceIndex", 0))
        merged[index] = {**merged.get(index, {}), **nic}
    return [{**nic, "DeviceIndex": index} for index, nic in sorted(merged.items())]


def _refuse_groups_beside_interfaces(template: Any, kwargs: Any, names: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html (SecurityGroupId)"""
    groups = kwargs.get("security_group_ids") or names or template.get("SecurityGroupIds")
    if kwargs["nics"] and (groups or template.get("SecurityGroups")):
        raise InvalidParameterCombination(
            "Network interfaces and an instance-level security groups may not be specified on the same request"
        )


def _refuse_too_many_addresses(world: World, template: Any, kwargs: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/AvailableIpPerENI.html"""
    kind = template.get("InstanceType") if kwargs.get("is_instance_type_default") else kwargs.get("instance_type")
    limit = world.options.address_limits.get(str(kind))
    for spec in kwargs["nics"]:
        count = 1 + len(_secondary(spec))
        if limit is not None and count > limit:
            raise refused(
                "PrivateIpAddressLimitExceeded",
                f"Number of private addresses will exceed limit: {count} > {limit} for {kind}",
            )
        if spec.get("PrivateIpAddresses") and spec.get("SecondaryPrivateIpAddressCount"):
            raise parameter_value("PrivateIpAddresses and SecondaryPrivateIpAddressCount exclude each other")


def _template_tags(template: Any) -> dict[str, str]:
    specified = template.get("TagSpecifications") or []
    found: dict[str, str] = convert_tag_spec(specified).get("network-interface", {}) if specified else {}
    return found
