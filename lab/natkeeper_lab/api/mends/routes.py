"""Mends: a route to a dead target is a blackhole, and only targets that AWS accepts are accepted.

Installed by `api.mends`. May not import boto3.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import RouteAlreadyExistsError
from moto.ec2.models.route_tables import Route, RouteBackend

from natkeeper_lab.api.mends.refusals import refused, several_interfaces
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, _world: World) -> None:
    patches.replace(Route, "state", property(state_of))
    patches.replace(Route, "instance_id", property(instance_id_of))
    patches.wrap(RouteBackend, "create_route", refuse_what_exists)
    patches.wrap(RouteBackend, "create_route", aim_at_the_interface)
    patches.wrap(RouteBackend, "replace_route", aim_at_the_interface)
    patches.wrap(RouteBackend, "associate_route_table", refuse_second_table)


def state_of(route: Any) -> str:
    """Moto's routes are always active.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html (State)
    """
    eni = route.interface
    if eni is None:
        return "active"
    is_deleted = eni.id not in eni.ec2_backend.enis
    if is_deleted or eni.instance is None or eni.instance._state.name in ("stopped", "terminated"):
        return "blackhole"
    return "active"


def instance_id_of(route: Any) -> str | None:
    """AWS names the instance of a route's interface too (same page, InstanceId)."""
    eni = route.interface
    if eni is None or eni.instance is None or eni.id not in eni.ec2_backend.enis:
        return None
    instance_id: str = eni.instance.id
    return instance_id


def aim_at_the_interface(original: Any) -> Any:
    """An instance id stands for its only interface; with several it is refused.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceRoute.html (InstanceId)
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if instance_id := kwargs.get("instance_id"):
            instance = self.get_instance(instance_id)
            if len(instance.nics) > 1:
                raise several_interfaces(instance_id)
            if not instance.nics:
                raise refused("InvalidInstanceID", f"The instance '{instance_id}' has no network interface")
            kwargs = {**kwargs, "instance_id": None, "interface_id": instance.nics[0].id}
        elif interface_id := kwargs.get("interface_id"):
            # Moto forgets the old target before it finds out that the new one does not exist.
            self.get_network_interface(interface_id)
        return original(self, *args, **kwargs)

    return call


def refuse_what_exists(original: Any) -> Any:
    """Moto's CreateRoute to an interface silently replaces a route that exists.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (RouteAlreadyExists)
    """

    def create_route(self: Any, route_table_id: str, cidr: Any = None, *args: Any, **kwargs: Any) -> Any:
        cidr = kwargs.pop("destination_cidr_block", cidr)
        table = self.get_route_table(route_table_id)
        if cidr and any(route.destination_cidr_block == cidr and not route.local for route in table.routes):
            raise RouteAlreadyExistsError(cidr)
        return original(self, route_table_id, cidr, *args, **kwargs)

    return create_route


def refuse_second_table(original: Any) -> Any:
    """Moto answers the old association when a subnet is associated with another table.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (Resource.AlreadyAssociated)
    """

    def associate(self: Any, route_table_id: str, gateway_id: Any = None, subnet_id: Any = None) -> Any:
        for table in self.route_tables.values():
            if table.id != route_table_id and subnet_id in table._associations.values():
                raise refused(
                    "Resource.AlreadyAssociated",
                    f"the association of {subnet_id} with {route_table_id} conflicts with an existing one",
                )
        return original(self, route_table_id, gateway_id, subnet_id)

    return associate
