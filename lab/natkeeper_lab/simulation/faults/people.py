"""Somebody with a console, a pipeline, or a second stack. Rows of the fault table."""

from __future__ import annotations

from typing import Any

from natkeeper.adapters.ec2_facts import STACK_TAG
from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, Elastic, Machine, Table


def _say(act: Act, **wish: Any) -> None:
    act.world.functions.wake({"natkeeper": wish})


@fault(
    "route-edited",
    "People",
    weight=3,
    sees="an incident if packets were lost; `converge` in the log",
    does="puts the route back where the group's traffic belongs",
    never="gives up a NAT that packets have proven for a route that somebody else wrote, or moves traffic from such a "
    "route to one that they have not",
)
def _edited(act: Act) -> None:
    group = act.group()
    others = [each for each in act.nats() if each.interface is not None]
    machine = act.dice.choice([*others, act.foreign(group)])
    assert machine.interface is not None
    act.fired("route-edited")
    act.world.ec2.set_route(act.table(group), machine.interface.interface_id)


@fault(
    "route-deleted",
    "People",
    weight=3,
    sees="an incident of the packets that were lost",
    does="creates the route anew, to where the traffic belongs",
    never="leaves a private subnet pointing at nothing",
)
def _deleted(act: Act) -> None:
    act.fired("route-deleted")
    act.world.ec2.delete_route(act.table(act.group()))


@fault(
    "all-routes-deleted",
    "People",
    weight=2,
    sees="an incident of the packets that were lost, in every zone; `converge` in the log",
    does="creates them all",
    never="takes a stack that lost its routes for a new one",
)
def _all_deleted(act: Act) -> None:
    act.fired("all-routes-deleted")
    for group in act.world.policy.groups:
        for table in group.table_ids:
            act.world.ec2.delete_route(table)


@fault(
    "tag-removed",
    "People",
    weight=2,
    sees="another NAT is launched; the untagged one is left alone",
    does="no longer counts the instance as its own: launches another, proves it, and moves the traffic to it; until "
    "then the untagged one carries it",
    never="touches an instance without its tag",
)
def _tag(act: Act) -> None:
    found = act.nats(act.group())
    if found:
        machine = found[0]
        machine.tags.pop(STACK_TAG, None)
        act.world.api.ec2.on_change()
        act.fired("tag-removed")


@fault(
    "nat-terminated",
    "People",
    weight=6,
    sees="a message as after a stop; a new instance",
    does="moves the traffic to a neighbour and launches a replacement",
    never="waits for the dying instance to let its interface go",
)
def _terminated(act: Act) -> None:
    machine = act.active(act.group())
    if machine is not None and act.is_ours(machine):
        act.fired("nat-terminated")
        act.world.ec2.terminate(machine)


@fault(
    "tagged-foreign-instance",
    "People",
    weight=3,
    sees="a message that names the machine and what of it is not the stack's",
    does="leaves it alone; heals with NATs of its own",
    never="stops, starts or terminates it, gives it an address, or leads traffic to it",
)
def _tagged(act: Act) -> None:
    machine = act.stranger(act.group(), act.dice.choice(("nat", "standby")), is_far=act.dice.random() < 0.5)
    machine.state = act.dice.choice(("running", "running", "stopped"))
    machine.launched_at = act.dice.choice((0, act.world.hub.now))
    act.world.ec2.on_change()
    act.fired("tagged-foreign-instance")


@fault(
    "association-lost",
    "People",
    weight=3,
    complicates=True,
    sees="`unobserved`, with the subnet and the table that it is behind, and a message",
    does="looks on, moves traffic where EC2 itself says that its path is dead, and counts packets again once the "
    "subnet is back",
    never="takes packets of another path for proof of its NATs, or for their death",
)
def _association(act: Act) -> None:
    """By a table that works, one of another zone's, or none: then the main table, which leads nowhere."""
    world, group = act.world, act.world.policy.group(act.group())
    others = [each.table_ids[0] for each in world.policy.groups if each.name != group.name]
    theirs = act.foreign(group.name).interface
    assert theirs is not None
    table = f"rtb-theirs-{theirs.interface_id[-4:]}"
    world.ec2.tables[table] = Table(table, {DEFAULT_ROUTE: theirs.interface_id})
    act.fired("association-lost")
    world.ec2.associate(group.private_subnet_id, act.dice.choice((table, table, None, *others[:1])))

    def put_back() -> None:
        world.ec2.associate(group.private_subnet_id, group.table_ids[0])
        world.packets.sees_again(group.name)  # where no pass has looked meanwhile, nobody knows (seed 1740018353)

    if act.dice.random() < 0.5:
        act.later(put_back)


def _rewrite(act: Act, name: str, every: int, machine: Machine, tables: list[str]) -> None:
    """Somebody who puts their route back again and again."""
    world = act.world

    def again() -> None:
        if world.hub.now >= act.ends_at or machine.interface is None:
            return
        act.fired(name)
        for each in tables:
            world.ec2.set_route(each, machine.interface.interface_id)
        world.hub.after(every, again, name)

    again()


@fault(
    "second-stack",
    "People",
    weight=2,
    sees="`converge` again and again in the log",
    does="puts its routes back once a pass, no faster",
    never="fights more often than it is woken",
)
def _second(act: Act) -> None:
    group = act.group()
    tables = list(act.world.policy.group(group).table_ids)
    _rewrite(act, "second-stack", act.dice.randrange(5, 20) * SECOND, act.foreign(group), tables)


@fault(
    "terraform-puts-it-back",
    "People",
    weight=2,
    sees="`converge` in the log once a minute",
    does="puts its route back in the next pass",
    never="gives in to a route that leads to a dead NAT",
)
def _terraform(act: Act) -> None:
    group = act.group()
    found = act.nats(group)
    if found:
        tables = list(act.world.policy.group(group).table_ids)
        _rewrite(act, "terraform-puts-it-back", 60 * SECOND, found[0], tables)


@fault(
    "address-moved-by-hand",
    "People",
    weight=2,
    sees="`converge` in the log",
    does="moves the Elastic IP back to the landing address of the group's traffic",
    never="leaves a group on another address without saying so",
)
def _address(act: Act) -> None:
    group = act.world.policy.group(act.group())
    elastic = act.world.ec2.elastics.get(group.allocation_id)
    if elastic is None:
        return  # somebody has released it
    act.fired("address-moved-by-hand")
    act.world.ec2.release(elastic)
    act.world._changed()


@fault(
    "address-released",
    "People",
    weight=2,
    sees='"zone a\'s Elastic IP is gone, …, the egress address changed", `borrow-address`, `failover-failed`',
    does="lets the proving address stand in for it where the traffic is, or asks AWS for one; moves back to its own "
    "once there is one",
    never="moves traffic between NATs that all lack the address",
)
def _released(act: Act) -> None:
    world = act.world
    group = world.policy.group(act.group())
    elastic = world.ec2.elastics.get(group.allocation_id)
    if elastic is None:
        return
    act.fired("address-released")
    world.ec2.release(elastic)
    del world.ec2.elastics[group.allocation_id]
    world._changed()

    def restore() -> None:
        world.ec2.elastics[group.allocation_id] = Elastic(group.allocation_id, group.public_address)
        world._changed()

    act.later(restore)


@fault(
    "paused-mid-incident",
    "People",
    complicates=True,
    weight=3,
    sees="stillness, with metrics, until the pause ends or `resume`",
    does="observes and measures, and writes nothing",
    never="stays paused for ever: a pause has an end",
)
def _paused(act: Act) -> None:
    act.fired("paused-mid-incident")
    _say(act, command="pause", group=act.group(), minutes=1)


@fault(
    "resumed",
    "People",
    complicates=True,
    sees="what had waited is done",
    does="acts in the same pass",
    never="needs another trigger to go on",
)
def _resumed(act: Act) -> None:
    act.fired("resumed")
    _say(act, command="resume")


@fault(
    "failover-by-hand",
    "People",
    weight=2,
    sees="a planned move",
    does="moves to the first verified candidate, as a planned move",
    never="moves to something that is not verified because a person said so",
)
def _failover(act: Act) -> None:
    act.fired("failover-by-hand")
    _say(act, command="failover", group=act.group())


@fault(
    "switchover-by-hand",
    "People",
    weight=2,
    sees="a planned move, or a warning that says why not",
    does="moves to the NAT that was named, if it is verified",
    never="moves to something that is not verified because a person said so",
)
def _switchover(act: Act) -> None:
    names = [each.name for each in act.world.policy.groups]
    group = act.group()
    others = [each for each in names if each != group]
    act.fired("switchover-by-hand")
    _say(act, command="switchover", group=group, to=act.dice.choice([*others, "home"]))


@fault(
    "old-nat-comes-back",
    "People",
    weight=3,
    sees="traffic comes home to it once it is proven",
    does="proves it by canary, waits for the quiet period, goes home as a planned move",
    never="goes home because EC2 says that it runs",
)
def _comes_back(act: Act) -> None:
    world = act.world
    machine = act.active(act.group())
    if machine is None or not act.is_ours(machine):
        return
    world.ec2.stop(machine)
    act.fired("old-nat-comes-back")

    def start() -> None:
        if machine.state == "stopped":
            world.ec2.apply("StartInstances", {"InstanceIds": [machine.instance_id]})

    world.hub.after(act.dice.randrange(6, 30) * SECOND, start, "somebody starts it")
