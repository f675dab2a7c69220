"""EC2 in the simulated account: applies one call at an instant, and lets machines change state in their own time.

Called by `simulation.client` when a call reaches AWS, and by people and faults of the world directly. Semantics follow
the EC2 API reference and user guide (docs/aws.md); answers are made in
`simulation.answers`. Knows nothing of natkeeper but that instances carry tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from natkeeper_lab.simulation.account import Account
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import Hub
from natkeeper_lab.simulation.machines import FOREVER, Interface, Machine
from natkeeper_lab.simulation.paces import Paces, Span

__all__ = ["Ec2", "Paces"]

ADDRESSES = {"nano": 2, "micro": 2, "small": 4, "medium": 6}
"""Private addresses per interface of the t4g sizes (EC2 user guide, "IP addresses per network interface")."""
Emit = Callable[[str, str], None]
"""(instance id, state): an EC2 Instance State-change Notification."""


class Ec2(Account):
    """The account with its machines' lives, and the one way in for calls."""

    def __init__(self, hub: Hub, dice: Random, paces: Paces, emit: Emit, on_change: Callable[[], None]) -> None:
        super().__init__(hub, dice, paces, on_change)
        self.emit = emit
        self.is_script_broken: Callable[[str], bool] = lambda _zone: False
        self.left_out: Callable[[str], str] = lambda _zone: ""
        """What a machine launched from now on in a zone boots without: its `script`, the `rules` in it, or nothing."""
        self.visible_after = 0
        self.tagged_after = 0
        self.stuck_pending = False
        self.tokens: dict[str, tuple[str, str]] = {}

    # -- entry

    def apply(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One writing call reaches AWS. Raises ApiError as AWS would answer."""
        return _OPERATIONS[operation](self, params)

    # -- machines

    def _run_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        token, asked = params["ClientToken"], repr(sorted(params.items()))
        if token in self.tokens:
            instance_id, before = self.tokens[token]
            if before != asked:
                raise ApiError("IdempotentParameterMismatch", "The client token was used with other parameters")
            if self.machines[instance_id].state == "terminated":
                raise ApiError("IdempotentInstanceTerminated", f"{instance_id} has been terminated since")
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
        interface.subnet_id, interface.group_id = wanted["SubnetId"], wanted.get("Groups", ["sg-default"])[0]
        left_out = self.left_out(zone)
        machine.is_script_good, machine.loads_rules = left_out != "script", left_out != "rules"
        machine.visible_from = self.hub.now + self.visible_after
        machine.tagged_from = machine.visible_from + self.tagged_after
        self.machines[machine.instance_id] = machine
        self.tokens[token] = (machine.instance_id, asked)
        self._boot(machine, self.paces.script)
        return self._launched(machine)

    def _launched(self, machine: Machine) -> dict[str, Any]:
        return {"Instances": [{"InstanceId": machine.instance_id}]}

    def _boot(self, machine: Machine, script: Span) -> None:
        interface = machine.interface
        assert interface is not None
        machine.state, machine.launched_at = "pending", self.hub.now
        machine.reboot()
        self._give_public(interface)
        to_running = FOREVER if self.stuck_pending else self.draw(self.paces.to_running)
        is_good = machine.is_script_good and not self.is_script_broken(interface.zone)
        machine.forwards_from = self.hub.now + to_running + self.draw(script) if is_good else FOREVER
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
            self._boot(machine, self.paces.start_script)
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

    def _reboot(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self.reboot(self._machine(params["InstanceIds"][0]))
        return {}

    def reboot(self, machine: Machine) -> None:
        """It stays running, and forwards again once it has started as after a stop; user data runs no second time."""
        if machine.state != "running":
            raise ApiError("IncorrectInstanceState", f"The instance is {machine.state}")
        if machine.forwards_from < FOREVER:
            delay = self.draw(self.paces.to_running) + self.draw(self.paces.start_script)
            machine.forwards_from = self.hub.now + delay
            self.hub.after(delay, self.on_change, "script")
        machine.reboot()
        self.on_change()

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
        if interface is not None and not self._elastic_on(interface, interface.primary):
            interface.public.pop(interface.primary, None)
        self.on_change()
        self.emit(machine.instance_id, state)

    def _delete_tags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        for instance_id in params["Resources"]:
            for tag in params["Tags"]:
                self._machine(instance_id).tags.pop(tag["Key"], None)
        self.on_change()
        return {}

    def _machine(self, instance_id: str) -> Machine:
        machine = self.machines.get(instance_id)
        if machine is None or self.hub.now < machine.visible_from:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return machine


_OPERATIONS: dict[str, Callable[[Ec2, Mapping[str, Any]], dict[str, Any]]] = {
    "ReplaceRoute": Ec2._replace_route,
    "CreateRoute": Ec2._create_route,
    "DeleteRoute": Ec2._delete_route,
    "CreateRouteTable": Ec2._create_table,
    "AssociateAddress": Ec2._associate_address,
    "DisassociateAddress": Ec2._disassociate_address,
    "ReleaseAddress": Ec2._release_address,
    "ModifyNetworkInterfaceAttribute": Ec2._modify_interface,
    "RunInstances": Ec2._run_instances,
    "StartInstances": Ec2._start,
    "StopInstances": Ec2._stop,
    "RebootInstances": Ec2._reboot,
    "TerminateInstances": Ec2._terminate,
    "DeleteTags": Ec2._delete_tags,
}
