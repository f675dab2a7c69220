"""The table's rows: a fault, what it does to the world, and what a person should know of it.

Filled by the modules beside this one. A *trouble* is something natkeeper must act upon; a *complication* is something
that goes wrong while it acts. `World.fires` counts each time a fault really did something: one that never did fails a
campaign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper_lab.simulation.api import Call, Rule
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.machines import VPC, Machine
from natkeeper_lab.simulation.setting import STACK
from natkeeper_lab.simulation.world import World


@dataclass(frozen=True)
class Fault:
    """One row. `sees`, `does`, `never`: what the user sees, what natkeeper does, what it never does."""

    name: str
    area: str
    inject: Callable[[Act], None]
    is_complication: bool
    weight: int
    sees: str
    does: str
    never: str


FAULTS: dict[str, Fault] = {}
Inject = Callable[["Act"], None]


def fault(
    name: str, area: str, *, sees: str, does: str, never: str, weight: int = 2, complicates: bool = False
) -> Callable[[Inject], Inject]:
    """Adds a row."""

    def add(inject: Inject) -> Inject:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, area, inject, complicates, weight, sees, does, never)
        return inject

    return add


class Act:
    """One injection under way: the world, dice of its own, and when it ends."""

    def __init__(self, world: World, dice: Random, ends_at: int) -> None:
        self.world = world
        self.dice = dice
        self.ends_at = ends_at

    def fired(self, name: str) -> None:
        """It did something."""
        self.world.fired(name)

    def later(self, run: Callable[[], None]) -> None:
        """Ends it by itself, before the schedule's second phase would."""
        self.world.hub.after(self.ends_at - self.world.hub.now, run, "fault ends")

    # -- whom

    def group(self) -> str:
        """A zone; mostly the same one, so that faults meet."""
        names = [each.name for each in self.world.policy.groups]
        return names[0] if self.dice.random() < 0.7 else self.dice.choice(names)

    def table(self, group: str) -> str:
        """One of a zone's tables."""
        return self.dice.choice(self.world.policy.group(group).table_ids)

    def active(self, group: str) -> Machine | None:
        """The instance that carries the zone's traffic; None when it is none of the stack's."""
        target = self.world.route_of(self.world.policy.group(group).table_ids[0])
        return self.world.ec2.owner(target) if target else None

    def nats(self, group: str | None = None) -> list[Machine]:
        """The stack's instances that are not gone."""
        found = self.world.ec2.machines.values()
        return [
            each for each in found if not each.is_gone and each.tag(ROLE_TAG) and group in (None, each.tag(GROUP_TAG))
        ]

    def running(self, group: str | None = None) -> list[Machine]:
        """Those of them that run."""
        return [each for each in self.nats(group) if each.state == "running"]

    def foreign(self, zone: str) -> Machine:
        """Somebody else's NAT, which forwards everything that comes."""
        from natkeeper_lab.simulation.machines import Interface

        ec2 = self.world.ec2
        number = ec2.number()
        interface = Interface(f"eni-{number:017x}", zone, [f"10.9.{number % 250}.9"], False)
        interface.public[interface.primary] = f"198.51.100.{number % 250 + 1}"
        machine = Machine(f"i-{number:017x}", "t3.micro", {"Name": "theirs"}, interface, 0, "running", 0)
        ec2.interfaces[interface.interface_id] = interface
        ec2.machines[machine.instance_id] = machine
        return machine

    def stranger(self, group: str, role: str, *, is_far: bool) -> Machine:
        """Somebody else's machine that carries the tags of the zone's NAT; in another VPC, or in another subnet."""
        machine = self.foreign(group)
        machine.tags |= {STACK_TAG: STACK, GROUP_TAG: group, ROLE_TAG: role}
        machine.is_stranger = True
        machine.profile = "arn:aws:iam::123456789012:instance-profile/theirs"
        assert machine.interface is not None
        place = ("vpc-2", "subnet-far", "sg-theirs") if is_far else (VPC, "subnet-theirs", "sg-theirs")
        machine.interface.vpc_id, machine.interface.subnet_id, machine.interface.group_id = place
        machine.interface.addresses.append(f"10.9.{len(self.world.ec2.machines)}.10")
        self.world.ec2.on_change()
        return machine

    def is_ours(self, machine: Machine) -> bool:
        """By its tags."""
        return bool(machine.tag(STACK_TAG))

    # -- what happens to calls

    def rule(
        self,
        name: str,
        operations: Sequence[str],
        *,
        refuses: ApiError | None = None,
        loses: bool = False,
        delay: int = 0,
        lag: int = 0,
        times: int | None = None,
        only: Callable[[Call], bool] = lambda _: True,
    ) -> None:
        """Until the fault ends, or so many times."""

        def matches(call: Call) -> bool:
            return call.operation in operations and only(call)

        self.world.api.rules.append(Rule(name, matches, refuses, loses, delay, lag, times, self.ends_at))
