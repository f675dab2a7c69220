"""`scenario.hands.Hands` of the simulation: a world on virtual time, changed as people change it.

Made by `simulation.scenario.stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from natkeeper.core.policy import Policy
from natkeeper_lab.scenario.hands import CannotDo, Power
from natkeeper_lab.scenario.times import Times
from natkeeper_lab.simulation.answers import instant
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, Interface, Machine, Table
from natkeeper_lab.simulation.scenario.crash import Crash
from natkeeper_lab.simulation.scenario.faults import CallFaults
from natkeeper_lab.simulation.scenario.times import changed
from natkeeper_lab.simulation.setting import launches_of, settings_of

if TYPE_CHECKING:
    from natkeeper_lab.simulation.scenario.stage import Stage

ANSWERED = 60.0
"""An operator's invocation is over by then: the controller's time-out is 20 s."""
MAIN_TABLE, OTHERS_TABLE = "rtb-main", "rtb-others"
OTHERS_GATEWAY, OTHERS_ADDRESS = "nat-others", "203.0.113.251"
OTHERS_VPC, OTHERS_GROUP = "vpc-others", "sg-others"


class StageHands:
    """What changes the account says so at once, as the world's own people do."""

    refusals: type[Exception] = ApiError
    account, region = ACCOUNT, REGION
    is_closing = False
    """A world that is over runs nothing more."""

    def __init__(self, stage: Stage) -> None:
        self.sight = stage
        self._world = stage.world
        self._ec2, self._packets = stage.world.ec2, stage.world.packets
        self.blocked: Set[int] = frozenset()
        self.faults = CallFaults(stage.world.api)
        self.events = stage.world.bus

    @property
    def policy(self) -> Policy:
        return self._world.policy

    @property
    def zones_down(self) -> Set[str]:
        return self._packets.zones_down

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        self.sight.journal.is_by_hand = True
        try:
            yield
        finally:
            self.sight.journal.is_by_hand = False

    def aside(self, run: Callable[[], object]) -> None:
        self.sight.in_background(run)

    def wall(self) -> datetime:
        return instant(self._world.hub.now)

    # -- instances

    def power(self, how: Power, instance_id: str) -> None:
        if how == "reboot":
            self._ec2.reboot(self._ec2.machines[instance_id])
        else:
            self._ec2.apply(f"{how.title()}Instances", {"InstanceIds": [instance_id]})

    def set_guest(self, instance_id: str, name: str, value: Any) -> bool:
        machine = self._ec2.machines[instance_id]
        if machine.state != "running":
            return False
        setattr(machine, name, value)
        self._world.packets_changed()
        return True

    def interface_of(self, instance_id: str) -> str:
        interface = self._ec2.machines[instance_id].interface
        return interface.interface_id if interface is not None else ""

    def check(self, interface_id: str) -> None:
        self._ec2.interfaces[interface_id].is_checked = True
        self._ec2.on_change()

    def break_user_data(self, group: str | None, without: str) -> None:
        self._ec2.left_out = lambda zone: without if group in (None, zone) else ""

    def remove_tag(self, instance_id: str, key: str) -> None:
        self._ec2.machines[instance_id].tags.pop(key, None)
        self._ec2.on_change()

    def launch_theirs(self, group: str, tags: Mapping[str, str], *, is_in_our_vpc: bool) -> None:
        ec2, number = self._ec2, self._ec2.number()
        interface = Interface(f"eni-{number:017x}", group, [f"10.9.{number % 250}.9"], False, group_id=OTHERS_GROUP)
        interface.public[interface.primary] = f"198.51.100.{number % 250 + 1}"
        if not is_in_our_vpc:
            interface.vpc_id, interface.subnet_id = OTHERS_VPC, f"subnet-others-{group}"
        machine = Machine(f"i-{number:017x}", "t3.micro", dict(tags), interface, ec2.hub.now, "running", ec2.hub.now)
        ec2.interfaces[interface.interface_id] = interface
        ec2.machines[machine.instance_id] = machine
        ec2.on_change()

    # -- places, routes and addresses

    def set_zone(self, zone: str, *, is_down: bool) -> None:
        zones = self._packets.zones_down
        (zones.add if is_down else zones.discard)(zone)
        self._world.packets_changed()

    def block_targets(self, indexes: Set[int]) -> None:
        self.blocked = indexes
        self._packets.targets_down = len(indexes)
        self._world.packets_changed()

    def block_public_access(self, is_blocked: bool) -> None:
        self._packets.is_public_access_blocked = is_blocked
        self._world.packets_changed()

    def set_route(self, table_id: str, interface_id: str | None) -> None:
        if interface_id is None:
            self._ec2.delete_route(table_id)
        else:
            self._ec2.set_route(table_id, interface_id)

    def add_table(self, interface_id: str) -> None:
        table_id = f"rtb-added{len(self._ec2.tables)}"
        self._ec2.tables[table_id] = Table(table_id, {DEFAULT_ROUTE: interface_id})
        self._ec2.on_change()

    def table_by_name(self, group: str) -> str:
        found = (table.table_id for table in self._ec2.tables.values() if self._subnet(group) in table.subnet_ids)
        return next(found, "")

    def table_for(self, _group: str, which: str) -> str:
        """There is one of somebody's at most, and everybody's gateway is the same."""
        if which == "main":
            return MAIN_TABLE
        self._packets.gateways[OTHERS_GATEWAY] = OTHERS_ADDRESS
        self._ec2.tables.setdefault(OTHERS_TABLE, Table(OTHERS_TABLE, {DEFAULT_ROUTE: OTHERS_GATEWAY}))
        return OTHERS_TABLE

    def associate_subnet(self, group: str, table_id: str | None) -> None:
        self._ec2.associate(self._subnet(group), table_id)

    def _subnet(self, group: str) -> str:
        return self.policy.group(group).private_subnet_id

    def association_of(self, allocation_id: str) -> str | None:
        found = self._ec2.elastics.get(allocation_id)
        if found is None:
            return None
        return found.association_id if found.interface_id is not None else ""

    def disassociate(self, association_id: str) -> None:
        self._ec2.apply("DisassociateAddress", {"AssociationId": association_id})

    def release(self, allocation_id: str) -> None:
        del self._ec2.elastics[allocation_id]
        self._ec2.on_change()

    # -- events

    def publish(self, source: str, kind: str, detail: dict[str, Any]) -> None:
        self._world.bus.publish(source, kind, detail)

    def deliver(self, event: dict[str, Any]) -> None:
        self._world.functions.wake(event)

    def wake(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """Lambda tries one that ends in an error again."""
        functions, journal = self._world.functions, self.sight.journal
        request_id = f"operator{functions.next_number()}"
        functions.wake(event, request_id)
        self.sight.until("the controller's answer to the operator", lambda: request_id in journal.over, ANSWERED)
        return {"refused": journal.refused[request_id]} if request_id in journal.refused else {}

    def mark_spot(self, instance_id: str) -> None:
        self._world.bus.warn_of_spot(self._ec2.machines[instance_id])

    def retire(self, instance_id: str, seconds: float, notice: dict[str, Any]) -> None:
        self._ec2.machines[instance_id].is_doomed_at = self._world.hub.now + int(seconds * SECOND)
        self.publish("aws.health", "AWS Health Event", notice)

    def know_foreign(self, instance_ids: Sequence[str]) -> None:
        """Nobody asks this EC2 about them."""

    def change_foreign(self, instance_id: str, state: str) -> None:
        self._world.bus.state_changed(instance_id, state)

    # -- AWS's own times and answers

    def set_times(self, times: Times) -> None:
        for name, value in times.items():
            if name == "call":
                self.faults.pace(float(value), "ec2:*")
            else:
                self._ec2.paces = replace(self._ec2.paces, **changed(self._ec2.paces, name, value))

    def lag(self, operation: str, seconds: float) -> None:
        self.faults.lag(f"ec2:{operation}", seconds)

    def machines_asked_for(self, params: Mapping[str, Any]) -> list[tuple[str, str]]:
        if "InstanceIds" not in params:
            return [(params["InstanceType"], self._ec2.subnets[params["NetworkInterfaces"][0]["SubnetId"]])]
        found = [self._ec2.machines.get(instance_id) for instance_id in params["InstanceIds"]]
        return [(machine.kind, machine.interface.zone) for machine in found if machine and machine.interface]

    # -- functions and the ledger

    def crash_controller(self, after_calls: int) -> None:
        Crash(self._world, after_calls)

    def skew(self, function: str, seconds: float) -> None:
        self._world.fired("clock-skew")
        if function == "controller":
            self._world.controller_skew = int(seconds * SECOND)
        else:
            self._world.prober_skew[function.removeprefix("prober-")] = int(seconds * SECOND)

    def set_cpu_share(self, _function: str, _percent: float | None) -> None:
        raise CannotDo("a share of a processor is not simulated; the lab limits real processes")

    def stop_schedule(self, seconds: float) -> None:
        self._world.bus.no_ticks_until = self._world.hub.now + int(seconds * SECOND)

    def add_controller(self) -> None:
        self._world.functions.copies += 1

    def deploy_generation(self) -> None:
        world = self._world
        env = {**dict(world.setting.env), "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "2"}
        world.setting = replace(world.setting, env=tuple(sorted(env.items())))
        world.settings, world.launches = settings_of(world.setting), launches_of(world.setting)
        world.policy = world.settings.policy

    def item(self, group: str) -> Mapping[str, Any]:
        return self._world.table.items.get(("group", group), {})

    def write(self, group: str, attribute: str, value: Mapping[str, Any]) -> None:
        items = self._world.table.items
        items["group", group] = items["group", group] | {attribute: value}
