"""The simulated account's network: route tables, addresses and interfaces, and the calls that change them.

The half of `simulation.ec2` that is not about machines; nobody else builds on it. Semantics follow the EC2 API
reference and user guide (shared facts: "Routes and addresses", "Emulators"). Instants are the hub's microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from simulation.errors import ApiError
from simulation.hub import SECOND, Hub
from simulation.machines import DEFAULT_ROUTE, Elastic, Interface, Machine, Table


@dataclass(frozen=True, slots=True)
class Paces:
    """How long AWS takes, in microseconds (from, to). Boot and start: shared facts, "The NAT instance" (21 to 26 s);
    remap and public addresses are *unproven* on AWS, so the world draws them widely."""

    to_running: tuple[int, int] = (4 * SECOND, 12 * SECOND)
    script: tuple[int, int] = (8 * SECOND, 18 * SECOND)
    to_stopped: tuple[int, int] = (2 * SECOND, 25 * SECOND)
    to_terminated: tuple[int, int] = (2 * SECOND, 20 * SECOND)
    remap: tuple[int, int] = (0, SECOND)
    public: tuple[int, int] = (0, 8 * SECOND)


class Account:
    """The state, and what moves packets from one machine to another. `on_change` is called after everything that
    packets or answers could notice."""

    def __init__(self, hub: Hub, dice: Random, paces: Paces, on_change: Callable[[], None]) -> None:
        self.hub = hub
        self.dice = dice
        self.paces = paces
        self.on_change = on_change
        self.machines: dict[str, Machine] = {}
        self.interfaces: dict[str, Interface] = {}
        self.tables: dict[str, Table] = {}
        self.elastics: dict[str, Elastic] = {}
        self.subnets: dict[str, str] = {}
        """Subnet to zone."""
        self._numbers = 0
        self._owners: dict[str, Machine] = {}

    def draw(self, span: tuple[int, int]) -> int:
        """An instant inside a span."""
        low, high = span
        return low if low == high else self.dice.randrange(low, high)

    def number(self) -> int:
        """For ids: the next one."""
        self._numbers += 1
        return self._numbers

    def owner(self, interface_id: str) -> Machine | None:
        """The machine whose interface this is."""
        found = self._owners.get(interface_id)
        if found is not None and found.interface is not None and found.instance_id in self.machines:
            return found
        for each in self.machines.values():
            if each.interface is not None and each.interface.interface_id == interface_id:
                self._owners[interface_id] = each
                return each
        return None

    # -- routes

    def _replace_route(self, params: Mapping[str, Any]) -> dict[str, Any]:
        table, destination = self._table(params["RouteTableId"]), params["DestinationCidrBlock"]
        if destination not in table.routes:
            code = "InvalidRoute.NotFound" if self.dice.random() < 0.5 else "InvalidParameterValue"
            raise ApiError(code, f"There is no route defined for '{destination}'. Use CreateRoute instead")
        table.routes[destination] = self._route_target(params)
        self.on_change()
        return {}

    def _create_route(self, params: Mapping[str, Any]) -> dict[str, Any]:
        table, destination = self._table(params["RouteTableId"]), params["DestinationCidrBlock"]
        target = self._route_target(params)
        if table.routes.get(destination, target) != target:
            raise ApiError("RouteAlreadyExists", f"The route identified by {destination} already exists")
        table.routes[destination] = target
        self.on_change()
        return {"Return": True}

    def delete_route(self, table_id: str, destination: str = DEFAULT_ROUTE) -> None:
        """A person does it."""
        self.tables[table_id].routes.pop(destination, None)
        self.on_change()

    def set_route(self, table_id: str, target: str, destination: str = DEFAULT_ROUTE) -> None:
        """A person does it."""
        self.tables[table_id].routes[destination] = target
        self.on_change()

    def _table(self, table_id: str) -> Table:
        if table_id not in self.tables:
            raise ApiError("InvalidRouteTableID.NotFound", f"The routeTable ID '{table_id}' does not exist")
        return self.tables[table_id]

    def _route_target(self, params: Mapping[str, Any]) -> str:
        if "NatGatewayId" in params:
            return str(params["NatGatewayId"])
        if "InstanceId" in params:
            # EC2 API reference, ReplaceRoute: refused once the instance has a second interface, so never counted on.
            text = f"There are multiple interfaces attached to instance '{params['InstanceId']}'"
            raise ApiError("InvalidInstanceID", text)
        return self._interface(params["NetworkInterfaceId"]).interface_id

    def _interface(self, interface_id: str) -> Interface:
        if interface_id not in self.interfaces:
            raise ApiError(
                "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{interface_id}' does not exist"
            )
        return self.interfaces[interface_id]

    # -- addresses

    def _associate_address(self, params: Mapping[str, Any]) -> dict[str, Any]:
        elastic = self.elastics.get(params["AllocationId"])
        if elastic is None:
            raise ApiError("InvalidAllocationID.NotFound", "The allocation ID does not exist")
        interface, private = self._interface(params["NetworkInterfaceId"]), params["PrivateIpAddress"]
        if private not in interface.addresses:
            raise ApiError("InvalidParameterValue", f"{private} is not on {interface.interface_id}")
        if (elastic.interface_id, elastic.private) != (interface.interface_id, private):
            self.release(elastic)
            interface.public.pop(private, None)
            elastic.interface_id, elastic.private = interface.interface_id, private
            delay = self.draw(self.paces.remap)
            elastic.works_from = self.hub.now + delay
            self.hub.after(delay, lambda: self._map(elastic, interface, private), "remap")
            self.on_change()
        return {"AssociationId": f"eipassoc-{elastic.allocation_id}"}

    def _map(self, elastic: Elastic, interface: Interface, private: str) -> None:
        if elastic.interface_id == interface.interface_id and elastic.private == private:
            interface.public[private] = elastic.public
            self.on_change()

    def release(self, elastic: Elastic) -> None:
        """Takes it off whatever it is on, which may get an address of AWS's again."""
        interface = self.interfaces.get(elastic.interface_id or "")
        if interface is not None and elastic.private is not None:
            if interface.public.get(elastic.private) == elastic.public:
                del interface.public[elastic.private]
            self._give_public(interface)
        elastic.interface_id = elastic.private = None

    def _give_public(self, interface: Interface) -> None:
        """An auto-assigned address comes after a while, if the attribute is on and the primary has none."""

        def come() -> None:
            owner = self.owner(interface.interface_id)
            is_free = interface.primary not in interface.public and not self._elastic_on(interface)
            if interface.has_auto_public and is_free and owner is not None and owner.state in ("pending", "running"):
                interface.public[interface.primary] = f"198.51.100.{self.number() % 250 + 1}"
                self.on_change()

        if interface.has_auto_public:
            self.hub.after(self.draw(self.paces.public), come, "public address")

    def _elastic_on(self, interface: Interface) -> bool:
        return any(
            each.interface_id == interface.interface_id and each.private == interface.primary
            for each in self.elastics.values()
        )

    # -- interfaces

    def _modify_interface(self, params: Mapping[str, Any]) -> dict[str, Any]:
        interface = self._interface(params["NetworkInterfaceId"])
        if "SourceDestCheck" in params:
            interface.is_checked = params["SourceDestCheck"]["Value"]
        if "AssociatePublicIpAddress" in params:
            interface.has_auto_public = params["AssociatePublicIpAddress"]
            if interface.has_auto_public:
                self._give_public(interface)
            elif not self._elastic_on(interface) and interface.primary in interface.public:
                self.hub.after(self.draw(self.paces.public), lambda: self._take_public(interface), "public address")
        self.on_change()
        return {}

    def _take_public(self, interface: Interface) -> None:
        if not interface.has_auto_public and not self._elastic_on(interface):
            interface.public.pop(interface.primary, None)
            self.on_change()
