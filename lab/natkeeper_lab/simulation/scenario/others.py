"""What other people do to the account, and what is said in natkeeper's name: the verbs of both, done to a world.

Called by `simulation.scenario.steps`. CannotJudge when a step cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.foreign import their_tags
from natkeeper_lab.scenario.forged import forged_record
from natkeeper_lab.scenario.poison import poisoned
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.simulation.answers import BEGINNING, instant
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, Elastic, Interface, Machine, Table
from natkeeper_lab.simulation.scenario.stage import Stage

OTHERS_TABLE, MAIN_TABLE = "rtb-others", "rtb-main"
OTHERS_GATEWAY, OTHERS_ADDRESS = "nat-others", "203.0.113.251"
OTHERS_VPC, OTHERS_GROUP = "vpc-others", "sg-others"
LEASE_ENDS = 10 * SECOND
"""So long is waited for a lease to be given back: its holder would write over what the ledger is made to say."""
STEP = SECOND // 20


# -- addresses and places


def elastic_of(stage: Stage, step: Step) -> Elastic:
    """The group's Elastic IP. CannotJudge when it is gone already."""
    allocation = stage.world.policy.group(step.args["group"]).allocation_id
    found = stage.world.ec2.elastics.get(allocation)
    if found is None:
        raise CannotJudge(f"step {step.text}: {allocation} is released already")
    return found


def _disassociate(stage: Stage, step: Step) -> None:
    """Somebody takes the group's Elastic IP off what it is on; it still belongs to the account."""
    elastic = elastic_of(stage, step)
    if elastic.interface_id is None:
        raise CannotJudge(f"step {step.text}: it is on nothing at this moment")
    stage.world.ec2.release(elastic)
    stage.world.ec2.on_change()


def _release(stage: Stage, step: Step) -> None:
    """Somebody gives the group's Elastic IP back to AWS: there is none of that allocation any more."""
    elastic = elastic_of(stage, step)
    stage.world.ec2.release(elastic)
    del stage.world.ec2.elastics[elastic.allocation_id]
    stage.world.ec2.on_change()


def _associate_subnet(stage: Stage, step: Step) -> None:
    """The prober's subnet is on another table from now on; the workloads' stays."""
    ec2, packets = stage.world.ec2, stage.world.packets
    group = stage.world.policy.group(step.args["group"])
    subnet = group.private_subnet_id
    packets.gateways[OTHERS_GATEWAY] = OTHERS_ADDRESS
    ec2.tables.setdefault(OTHERS_TABLE, Table(OTHERS_TABLE, {DEFAULT_ROUTE: OTHERS_GATEWAY}))
    for each in ec2.tables.values():
        each.subnet_ids = tuple(one for one in each.subnet_ids if one != subnet)
    wanted = OTHERS_TABLE if step.args["table"] == "other" else MAIN_TABLE
    if step.args["table"] != "none":
        ec2.tables[wanted].subnet_ids += (subnet,)
    ec2.on_change()


def _public_access(is_blocked: bool) -> Callable[[Stage, Step], None]:
    def change(stage: Stage, _step: Step) -> None:
        stage.world.packets.is_public_access_blocked = is_blocked
        stage.world.packets_changed()

    return change


# -- machines


def _tag_foreign(stage: Stage, step: Step) -> None:
    """Somebody's machine that forwards whatever comes, and carries our three tags, in the zone's own public subnet or
    in another VPC."""
    ec2, policy = stage.world.ec2, stage.world.policy
    group, number = step.args["group"] or policy.groups[0].name, ec2.number()
    interface = Interface(f"eni-{number:017x}", group, [f"10.9.{number % 250}.9"], False, group_id=OTHERS_GROUP)
    interface.public[interface.primary] = f"198.51.100.{number % 250 + 1}"
    if step.args["vpc"] == "other":
        interface.vpc_id, interface.subnet_id = OTHERS_VPC, f"subnet-others-{group}"
    tags = their_tags(policy.stack, group, step.args["role"])
    machine = Machine(f"i-{number:017x}", "t3.micro", tags, interface, ec2.hub.now, "running", ec2.hub.now)
    ec2.interfaces[interface.interface_id] = interface
    ec2.machines[machine.instance_id] = machine
    ec2.on_change()


# -- what is said in natkeeper's name


def _forge(stage: Stage, step: Step) -> None:
    """A destination's record of a function that is no prober of ours."""
    at = instant(stage.world.hub.now) + timedelta(seconds=step.args["ahead"])
    record = forged_record(step.args["group"], step.args["says"], at, ACCOUNT, REGION)
    stage.world.functions.wake(record)


def _poison(stage: Stage, step: Step) -> None:
    """Somebody writes to the ledger."""
    world, group = stage.world, step.args["group"]
    _wait_for_its_lease(stage, group)
    item = world.table.items.get(("group", group))
    if item is None:
        raise CannotJudge(f"step {step.text}: the ledger has no item of zone {group} yet")
    try:
        changed = poisoned(item, step.args["field"], step.args["value"], instant(world.hub.now))
    except ValueError as problem:
        raise CannotJudge(f"step {step.text}: {problem}") from None
    world.table.items["group", group] = item | changed


def _wait_for_its_lease(stage: Stage, group: str) -> None:
    world, deadline = stage.world, stage.world.hub.now + LEASE_ENDS
    begins = BEGINNING.timestamp() * 1000

    def until() -> float:
        found = world.table.items.get(("group", group), {}).get("lease_until", {}).get("N", "0")
        return (float(found) - begins) * 1000

    while world.hub.now < min(until(), deadline):
        world.hub.sleep(STEP)


VERBS: Mapping[str, Callable[[Stage, Step], None]] = {
    "disassociate_address": _disassociate,
    "release_address": _release,
    "associate_subnet": _associate_subnet,
    "block_public_access": _public_access(True),
    "unblock_public_access": _public_access(False),
    "tag_foreign_instance": _tag_foreign,
    "forged_report": _forge,
    "poison_ledger": _poison,
}
