"""`scenario.hands.Hands` of the simulation: a world on virtual time, changed as people change it.

Made by `simulation.scenario.stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from natkeeper.core.policy import Policy
from natkeeper_lab.scenario.hands import CannotDo
from natkeeper_lab.simulation.answers import instant, wanted
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, VPC, Interface, Machine, Table
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
    account, region, vpc = ACCOUNT, REGION, VPC
    is_closing = False
    """A world that is over runs nothing more."""

    def __init__(self, stage: Stage) -> None:
        self.sight = stage
        self._world = stage.world
        self._ec2, self._packets = stage.world.ec2, stage.world.packets
        self.zones_down, self.blocked = self._packets.zones_down, cast(Set[int], frozenset())
        self.faults = CallFaults(stage.world.api)
        self.events = stage.world.bus

    @property
    def policy(self) -> Policy:
        return self._world.policy

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

    def ec2(self, operation: str, **params: Any) -> Mapping[str, Any]:
        if not operation.startswith("Describe"):
            return self._ec2.apply(operation, params)
        items = [item for item in self._world.answers.items(operation, 0) if wanted(item, params["Filters"])]
        is_of_instances = operation == "DescribeInstances"
        return {"Reservations": [{"Instances": [item]} for item in items]} if is_of_instances else {"Addresses": items}

    # -- instances and places

    def set_guest(self, instance_id: str, name: str, value: Any) -> bool:
        machine = self._ec2.machines[instance_id]
        if machine.state != "running":
            return False
        setattr(machine, name, value)
        self._world.packets_changed()
        return True

    def break_user_data(self, group: str | None, without: str) -> None:
        self._ec2.left_out = lambda zone: without if group in (None, zone) else ""

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

    def set_zone(self, zone: str, *, is_down: bool) -> None:
        (self.zones_down.add if is_down else self.zones_down.discard)(zone)
        self._world.packets_changed()

    def block_targets(self, indexes: Set[int]) -> None:
        self.blocked = indexes
        self._packets.targets_down = len(indexes)
        self._world.packets_changed()

    def block_public_access(self, is_blocked: bool) -> None:
        self._packets.is_public_access_blocked = is_blocked
        self._world.packets_changed()

    def put_subnet(self, group: str, which: str) -> bool:
        """Somebody has one table at most, and one gateway."""
        ec2, subnet = self._ec2, self.policy.group(group).private_subnet_id
        is_named = any(subnet in table.subnet_ids for table in ec2.tables.values())
        self._packets.gateways[OTHERS_GATEWAY] = OTHERS_ADDRESS
        ec2.tables.setdefault(OTHERS_TABLE, Table(OTHERS_TABLE, {DEFAULT_ROUTE: OTHERS_GATEWAY}))
        ec2.associate(subnet, {"main": MAIN_TABLE, "other": OTHERS_TABLE, "none": None}[which])
        return is_named or which != "none"

    # -- AWS's own times and answers

    def set_time(self, name: str, value: float | str | None) -> None:
        self._ec2.paces = replace(self._ec2.paces, **changed(self._ec2.paces, name, value))

    def lag(self, operation: str, seconds: float) -> None:
        self.faults.lag(f"ec2:{operation}", seconds)

    # -- functions and the ledger

    def deliver(self, event: dict[str, Any]) -> None:
        self._world.functions.wake(event)

    def wake(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """Lambda tries one that ends in an error again."""
        functions, journal = self._world.functions, self.sight.journal
        request_id = f"operator{functions.next_number()}"
        functions.wake(event, request_id)
        self.sight.until("the controller's answer to the operator", lambda: request_id in journal.over, ANSWERED)
        return {"refused": journal.refused[request_id]} if request_id in journal.refused else {}

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
