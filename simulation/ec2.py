"""EC2 in the simulated account: applies one call at an instant, and lets machines change state in their own time.

Called by `simulation.client` when a call reaches AWS, and by people and faults of the world directly. Semantics follow
the EC2 API reference and user guide (shared facts: "Routes and addresses", "Emulators"); answers are made in
`simulation.answers`. Knows nothing of natkeeper but that instances carry tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from simulation.errors import ApiError
from simulation.hub import SECOND, Hub
from simulation.machines import DEFAULT_ROUTE, FOREVER, Elastic, Interface, Machine, Table

ADDRESSES = {"nano": 2, "micro": 2, "small": 4, "medium": 6}
"""Private addresses per interface of the t4g sizes (EC2 user guide, "IP addresses per network interface")."""
Emit = Callable[[str, str], None]
"""(instance id, state): an EC2 Instance State-change Notification."""


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


class Ec2:
    """The state and its operations. `on_change` is called after everything that packets or answers could notice."""

    def __init__(self, hub: Hub, dice: Random, paces: Paces, emit: Emit, on_change: Callable[[], None]) -> None:
        self.hub = hub
        self.dice = dice
        self.paces = paces
        self.machines: dict[str, Machine] = {}
        self.interfaces: dict[str, Interface] = {}
        self.tables: dict[str, Table] = {}
        self.elastics: dict[str, Elastic] = {}
        self.subnets: dict[str, str] = {}
        """Subnet to zone."""
        self.is_script_broken: Callable[[str], bool] = lambda _zone: False
        self.visible_after = 0
        self.tagged_after = 0
        self.stuck_pending = False
        self.emit = emit
        self.on_change = on_change
        self.tokens: dict[str, tuple[str, str]] = {}
        self._numbers = 0

    # -- entry

    def apply(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One writing call reaches AWS. Raises ApiError as AWS would answer."""
        return _OPERATIONS[operation](self, params)

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
        return next((each for each in self.machines.values() if _has(each, interface_id)), None)

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

    # -- machines

    def _run_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        token, asked = params["ClientToken"], repr(sorted(params.items()))
        if token in self.tokens:
            instance_id, before = self.tokens[token]
            if before != asked:
                raise ApiError("IdempotentParameterMismatch", "The client token was used with other parameters")
            return self._launched(self.machines[instance_id])
        wanted = params["NetworkInterfaces"][0]
        zone, kind = self.subnets[wanted["SubnetId"]], params["InstanceType"]
        spare = wanted.get("SecondaryPrivateIpAddressCount", 0)
        if spare >= ADDRESSES.get(kind.rpartition(".")[2], 2):
            raise ApiError("PrivateIpAddressLimitExceeded", f"{kind} has fewer private addresses per interface")
        number = self.number()
        interface = Interface(
            f"eni-{number:017x}", zone, [f"10.0.{10 + number % 240}.{10 + each}" for each in range(1 + spare)]
        )
        interface.has_auto_public = wanted["AssociatePublicIpAddress"]
        self.interfaces[interface.interface_id] = interface
        tags = {each["Key"]: each["Value"] for each in params["TagSpecifications"][0]["Tags"]}
        machine = Machine(f"i-{number:017x}", kind, tags, interface, self.hub.now, token=token)
        machine.visible_from = self.hub.now + self.visible_after
        machine.tagged_from = machine.visible_from + self.tagged_after
        self.machines[machine.instance_id] = machine
        self.tokens[token] = (machine.instance_id, asked)
        self._boot(machine)
        return self._launched(machine)

    def _launched(self, machine: Machine) -> dict[str, Any]:
        return {"Instances": [{"InstanceId": machine.instance_id}]}

    def _boot(self, machine: Machine) -> None:
        interface = machine.interface
        assert interface is not None
        machine.state, machine.launched_at = "pending", self.hub.now
        machine.reboot()
        self._give_public(interface)
        to_running = FOREVER if self.stuck_pending else self.draw(self.paces.to_running)
        is_good = machine.is_script_good and not self.is_script_broken(interface.zone)
        machine.forwards_from = self.hub.now + to_running + self.draw(self.paces.script) if is_good else FOREVER
        self.emit(machine.instance_id, "pending")
        self._later(machine, to_running, "pending", "running")
        if is_good:
            self.hub.after(machine.forwards_from - self.hub.now, self.on_change, "script")
        self.on_change()

    def _later(self, machine: Machine, delay: int, before: str, after: str) -> None:
        """One transition in its own time, unless the machine is elsewhere by then."""

        def change() -> None:
            if machine.state != before:
                return
            machine.state = after
            if after == "terminated":
                self._drop_interface(machine)
            self.on_change()
            self.emit(machine.instance_id, after)

        if delay < FOREVER:
            self.hub.after(delay, change, after)

    def _drop_interface(self, machine: Machine) -> None:
        interface = machine.interface
        if interface is None:
            return
        for elastic in self.elastics.values():
            if elastic.interface_id == interface.interface_id:
                elastic.interface_id = elastic.private = None
        self.interfaces.pop(interface.interface_id, None)
        machine.interface = None

    def _start(self, params: Mapping[str, Any]) -> dict[str, Any]:
        machine = self._machine(params["InstanceIds"][0])
        if machine.state not in ("stopped", "running", "pending"):
            raise ApiError("IncorrectInstanceState", f"The instance is {machine.state}")
        if machine.state == "stopped":
            self._boot(machine)
        return {"StartingInstances": []}

    def _stop(self, params: Mapping[str, Any]) -> dict[str, Any]:
        machine = self._machine(params["InstanceIds"][0])
        if machine.is_gone:
            raise ApiError("IncorrectInstanceState", f"The instance is {machine.state}")
        self.stop(machine)
        return {"StoppingInstances": []}

    def stop(self, machine: Machine) -> None:
        """Packets end at once; EC2 says stopping, and after a while stopped."""
        if machine.state in ("running", "pending"):
            self._end(machine, "stopping")
            self._later(machine, self.draw(self.paces.to_stopped), "stopping", "stopped")

    def _terminate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self.terminate(self._machine(params["InstanceIds"][0]))
        return {"TerminatingInstances": []}

    def terminate(self, machine: Machine) -> None:
        """Gone, and its interface with it once it is terminated."""
        if not machine.is_gone:
            self._end(machine, "shutting-down")
            self._later(machine, self.draw(self.paces.to_terminated), "shutting-down", "terminated")

    def _end(self, machine: Machine, state: str) -> None:
        machine.state = state
        machine.forwards_from = FOREVER
        interface = machine.interface
        if interface is not None and not self._elastic_on(interface):
            interface.public.pop(interface.primary, None)
        self.on_change()
        self.emit(machine.instance_id, state)

    def _machine(self, instance_id: str) -> Machine:
        machine = self.machines.get(instance_id)
        if machine is None or self.hub.now < machine.visible_from:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return machine


def _has(machine: Machine, interface_id: str) -> bool:
    return machine.interface is not None and machine.interface.interface_id == interface_id


_OPERATIONS: dict[str, Callable[[Ec2, Mapping[str, Any]], dict[str, Any]]] = {
    "ReplaceRoute": Ec2._replace_route,
    "CreateRoute": Ec2._create_route,
    "AssociateAddress": Ec2._associate_address,
    "ModifyNetworkInterfaceAttribute": Ec2._modify_interface,
    "RunInstances": Ec2._run_instances,
    "StartInstances": Ec2._start,
    "StopInstances": Ec2._stop,
    "TerminateInstances": Ec2._terminate,
}
