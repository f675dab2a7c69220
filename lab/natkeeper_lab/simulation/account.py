"""The simulated account's network: route tables, addresses and interfaces, and the calls that change them.

The half of `simulation.ec2` that is not about machines; nobody else builds on it. Semantics follow the EC2 API
reference and user guide (docs/aws.md). Instants are the hub's microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import Hub
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, VPC, Elastic, Interface, Machine, Table
from natkeeper_lab.simulation.paces import Paces


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

    def table_of(self, subnet_id: str) -> str | None:
        """The table whose routes the subnet's packets follow: by name, else the VPC's main one."""
        named = (each.table_id for each in self.tables.values() if subnet_id in each.subnet_ids)
        main = (each.table_id for each in self.tables.values() if each.is_main)
        return next(named, None) or next(main, None)

    def associate(self, subnet_id: str, table_id: str | None) -> None:
        """A person does it; None leaves it to the main table."""
        for each in self.tables.values():
            each.subnet_ids = tuple(one for one in each.subnet_ids if one != subnet_id)
        if table_id is not None:
            self.tables[table_id].subnet_ids += (subnet_id,)
        self.on_change()

    def _replace_route(self, params: Mapping[str, Any]) -> dict[str, Any]:
        table, destination = self._table(params["RouteTableId"]), params["DestinationCidrBlock"]
        if destination not in table.routes:
            code = "InvalidRoute.NotFound" if self.dice.random() < 0.5 else "InvalidParameterValue"
            raise ApiError(code, f"There is no route defined for '{destination}'. Use CreateRoute instead")
        self._set(table, destination, self._route_target(params))
        return {}

    def _create_route(self, params: Mapping[str, Any]) -> dict[str, Any]:
        table, destination = self._table(params["RouteTableId"]), params["DestinationCidrBlock"]
        target = self._route_target(params)
        if table.routes.get(destination, target) != target:
            raise ApiError("RouteAlreadyExists", f"The route identified by {destination} already exists")
        self._set(table, destination, target)
        return {"Return": True}

    def _delete_route(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self.delete_route(self._table(params["RouteTableId"]).table_id, params["DestinationCidrBlock"])
        return {}

    def delete_route(self, table_id: str, destination: str = DEFAULT_ROUTE) -> None:
        """A person does it."""
        self._set(self.tables[table_id], destination, None)

    def set_route(self, table_id: str, target: str, destination: str = DEFAULT_ROUTE) -> None:
        """A person does it."""
        self._set(self.tables[table_id], destination, target)

    def _set(self, table: Table, destination: str, target: str | None) -> None:
        """EC2 shows the route at once; packets take the old one until it has propagated."""
        before = table.routes.get(destination)
        if target is None:
            table.routes.pop(destination, None)
        else:
            table.routes[destination] = target
        delay = self.draw(self.paces.propagation)
        if delay and before != target:
            until = self.hub.now + delay
            table.lagging.setdefault(destination, before)
            table.lags_until[destination] = until
            self.hub.after(delay, lambda: self._propagated(table, destination, until), "route propagates")
        self.on_change()

    def _propagated(self, table: Table, destination: str, until: int) -> None:
        if table.lags_until.get(destination) == until:
            del table.lagging[destination], table.lags_until[destination]
            self.on_change()

    def _create_table(self, _params: Mapping[str, Any]) -> dict[str, Any]:
        table = Table(f"rtb-added{len(self.tables)}")
        self.tables[table.table_id] = table
        self.on_change()
        return {"RouteTable": {"RouteTableId": table.table_id}}

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
        interface = self._interface(params["NetworkInterfaceId"])
        if interface.vpc_id != VPC:
            text = f"{params['RouteTableId']} and {interface.interface_id} belong to different networks"
            raise ApiError("InvalidParameterValue", text)
        return interface.interface_id

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
            left = self.interfaces.get(elastic.interface_id or "")
            self._displace(interface, private, by=elastic)
            elastic.interface_id, elastic.private = interface.interface_id, private
            if left is not None:
                self._give_public(left)
            delay = self.draw(self.paces.remap)
            elastic.follows_at = self.hub.now + delay
            if self.paces.is_remap_dark and delay:
                self._unmap(elastic)
            self.hub.after(delay, lambda: self._map(elastic, interface, private), "remap")
            self.on_change()
        return {"AssociationId": elastic.association_id}

    def _displace(self, interface: Interface, private: str, by: Elastic) -> None:
        """What the address had as public identity goes: AWS releases one of its own, and keeps an Elastic IP that
        another takes the place of (EC2 API reference, AssociateAddress)."""
        for elastic in self.elastics.values():
            if elastic is not by and (elastic.interface_id, elastic.private) == (interface.interface_id, private):
                elastic.interface_id = elastic.private = None
                self._unmap(elastic)
        if interface.public.get(private) != by.public:
            interface.public.pop(private, None)

    def _map(self, elastic: Elastic, interface: Interface, private: str) -> None:
        if elastic.interface_id == interface.interface_id and elastic.private == private:
            self._unmap(elastic)
            interface.public[private] = elastic.public
            self.on_change()

    def _unmap(self, elastic: Elastic) -> None:
        """Packets of wherever it was translated until now have no public identity any more."""
        for interface in self.interfaces.values():
            for private in [each for each, public in interface.public.items() if public == elastic.public]:
                del interface.public[private]

    def _disassociate_address(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = [each for each in self.elastics.values() if each.association_id == params["AssociationId"]]
        if not found or found[0].interface_id is None:
            raise ApiError("InvalidAssociationID.NotFound", "The association ID does not exist")
        self.release(found[0])
        self.on_change()
        return {}

    def _release_address(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = self.elastics.get(params["AllocationId"])
        if found is None or found.interface_id is not None:
            code = "InvalidAllocationID.NotFound" if found is None else "InvalidIPAddress.InUse"
            raise ApiError(code, f"{params['AllocationId']} cannot be released")
        del self.elastics[found.allocation_id]
        self.on_change()
        return {}

    def release(self, elastic: Elastic) -> None:
        """Takes it off whatever it is on, which may get an address of AWS's again."""
        interface = self.interfaces.get(elastic.interface_id or "")
        elastic.interface_id = elastic.private = None
        self._unmap(elastic)
        if interface is not None:
            self._give_public(interface)

    def _give_public(self, interface: Interface) -> None:
        """An auto-assigned address comes after a while, if the attribute is on and the primary has none; never while
        any address of the interface has an Elastic IP (EC2 user guide, "Public IPv4 addresses")."""
        if self.paces.public is None:
            return

        def come() -> None:
            owner = self.owner(interface.interface_id)
            is_free = interface.primary not in interface.public and not self._elastic_on(interface)
            if interface.has_auto_public and is_free and owner is not None and owner.state in ("pending", "running"):
                interface.public[interface.primary] = f"198.51.100.{self.number() % 250 + 1}"
                self.on_change()

        if interface.has_auto_public:
            self.hub.after(self.draw(self.paces.public), come, "public address")

    def _elastic_on(self, interface: Interface, private: str | None = None) -> bool:
        return any(
            each.interface_id == interface.interface_id and private in (None, each.private)
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
            elif not self._elastic_on(interface, interface.primary) and interface.primary in interface.public:
                delay = self.draw(self.paces.taken)
                self.hub.after(delay, lambda: self._take_public(interface), "public address")
        self.on_change()
        return {}

    def _take_public(self, interface: Interface) -> None:
        if not interface.has_auto_public and not self._elastic_on(interface, interface.primary):
            interface.public.pop(interface.primary, None)
            self.on_change()
