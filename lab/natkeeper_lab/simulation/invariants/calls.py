"""What a call may be: invariants judged when it leaves or at the instant of its effect, each with its number.

Each function is given the book and the call, and returns what is wrong, or None. Called by `simulation.invariants`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.core.failover import BY_ADDRESS
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.plan import Reason
from natkeeper_lab.simulation.answers import BEGINNING
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.book import Book
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.setting import PROVING, SECRET

WRITTEN = ("RunInstances", "UpdateItem", "PutItem", "Invoke")
"""Calls whose parameters somebody else may read later."""
OfCall = Callable[[Book, Call], str | None]
SETTLED = 30 * SECOND
"""So long must a path have worked without a lost packet before leaving it is a mistake: a report of failures may be ten
seconds old, and the rounds in it as many more."""
BEGINS = int(BEGINNING.timestamp()) * SECOND
RACE = 12 * SECOND
"""Targets that come back between three failed rounds and the control probe look like a NAT that failed. Nothing that is
quick enough can tell the two apart; after a verdict of `external`, natkeeper waits for newer rounds."""
EYES = 15 * SECOND
"""So long after a prober's own way was whole again may a verdict of before it still move traffic."""


def write_has_a_lease(book: Book, call: Call) -> str | None:
    """2. No write without a live lease (unless the ledger is unreachable), and none is begun after it ended."""
    invocation, group = call.invocation, group_of(book, call)
    if group is None or (invocation.serial, group) in book.ledgerless:
        return None
    holder, until = lease_of(book, invocation, group)
    if holder == invocation.holder and not book.world.fires["item-poisoned"]:
        late = call.sent_at - until
        return f"{call.operation} for zone {group}, whose lease ended {late / 1e6:.3f} s before" if late > 0 else None
    if not book.world.fires["clock-skew"] and not book.world.fires["memory-lost"]:
        return f"{call.operation} for zone {group} under a lease that {holder} has"
    return None


def lease_of(book: Book, invocation: Invocation, group: str) -> tuple[str | None, int]:
    """Who has the group's lease by the table, and until when in microseconds, by the invocation's own clock."""
    item = book.world.table.items.get(("group", group), {})
    until = int(Decimal(item.get("lease_until", {}).get("N", "0"))) * 1000 - BEGINS - invocation.skew
    return item.get("holder", {}).get("S"), until


def group_of(book: Book, call: Call) -> str | None:
    """Whose write it is, where the call itself says so."""
    if "RouteTableId" in call.params:
        return book.group_of_table(call.params["RouteTableId"])
    if "AllocationId" in call.params and call.params["AllocationId"] != PROVING:
        return book.group_of_address(call.params["AllocationId"])
    if "AllocationId" in call.params:
        borrower, target = book.borrowers.get(call.invocation.serial, (None, None))
        if target == call.params["NetworkInterfaceId"]:
            return borrower
        owner = book.world.ec2.owner(call.params["NetworkInterfaceId"])
        return (owner.tag(GROUP_TAG) or None) if owner is not None else None
    if call.operation in ("StartInstances", "StopInstances", "TerminateInstances"):
        machine = book.world.ec2.machines.get(call.params["InstanceIds"][0])
        return (machine.tag(GROUP_TAG) or None) if machine is not None else None
    if call.operation == "RunInstances":
        return book.world.ec2.subnets.get(call.params["NetworkInterfaces"][0]["SubnetId"])
    return None


def token_is_used_alike(_book: Book, call: Call) -> str | None:
    """5. ClientToken is a function of group, incident and attempt: never the same one for another request."""
    return (
        None if call.operation != "RunInstances" or len(call.params["ClientToken"]) <= 64 else "ClientToken is too long"
    )


def healthy_nat_is_left_alone(book: Book, call: Call) -> str | None:
    """8. A verified-healthy active NAT is never stopped, terminated or routed away from.

    What was on its way when traffic came to it, nobody can call back (seed 200003232: half a minute late).
    """
    world = book.world
    if call.operation in ("StopInstances", "TerminateInstances"):
        machine = world.ec2.machines.get(call.params["InstanceIds"][0])
        used = {world.route_of(table) for each in world.policy.groups for table in each.table_ids}
        if machine is not None and machine.interface is not None and machine.interface.interface_id in used:
            target = machine.interface.interface_id
            since = [each.at for moves in book.moves.values() for each in moves if each.target == target]
            if any(at >= call.sent_at for at in since):
                return None
            return f"{call.operation} of {machine.instance_id}, which a default route points at"
    return None


def healthy_nat_keeps_its_routes(book: Book, call: Call) -> str | None:
    """8. The other half, judged when the call leaves: nobody is routed away from what works."""
    world = book.world
    if call.operation not in ("ReplaceRoute", "CreateRoute") or call.params["DestinationCidrBlock"] != DEFAULT_ROUTE:
        return None
    group = book.group_of_table(call.params["RouteTableId"])
    if group is None or call.params["RouteTableId"] != world.policy.group(group).table_ids[0]:
        return None
    plan = call.invocation.plans.get(group)
    if plan is None or plan.reason not in (Reason.FAIL_OVER, Reason.LAST_RESORT):
        return None
    incident = plan.memory.incident
    if incident is not None and incident.cause in BY_ADDRESS:
        return None  # its packets would leave from nowhere there; what still gets through goes the way of before
    since, through = world.works_since[group], world.route_of(call.params["RouteTableId"])
    owner = world.ec2.owner(through or "")
    if through == call.params.get("NetworkInterfaceId") or owner is None or owner.instance_id not in book.ours:
        return None  # already there, or on something that is none of natkeeper's NATs
    if owner.state != "running":
        return None  # it works no more; packets that still get through go the way of before, until routes have spread
    if owner.is_spot_ending_at is not None or owner.is_doomed_at is not None:
        return None  # AWS will take it: the place it was to be left for is gone, so it is left for another (810147382)
    table = call.invocation.seen.tables.get(call.params["RouteTableId"]) if call.invocation.seen is not None else None
    if table is not None and DEFAULT_ROUTE in table.routes and table.routes[DEFAULT_ROUTE].target != through:
        return None  # an old answer of EC2's showed the route that somebody has edited since (seed 200148229)
    if world.fires["clock-skew"]:
        return None  # which rounds came after what cannot be told by clocks that are seconds apart
    left = {world.route_of(each) for each in world.policy.group(group).table_ids}
    if len(left - {call.params.get("NetworkInterfaceId")}) > 1:
        return (
            None  # somebody put this table elsewhere: it goes with the others, which are on a dead one (seed 9007577)
        )
    if world.fires["association-lost"] and world.fires["stale-describe"]:
        return None  # an old answer showed its prober's subnet where it was before (seed 1740037952)
    if call.sent_at - world.packets.seeing_again_at.get(group, -SECOND * 3600) < EYES:
        return None  # natkeeper is deceived by its own eyes, which it bounds but cannot know
    if call.sent_at - world.packets.targets_back_at < RACE:
        return None
    if since is not None and call.sent_at - since > SETTLED:
        return f"{plan.reason.value} away from {through}, which has worked for {(book.now - since) / 1e6:.0f} s"
    return None


def last_nat_is_kept(book: Book, call: Call) -> str | None:
    """9. Quarantine before kill: never in a plan that moves routes, and never the last NAT."""
    if call.operation != "TerminateInstances":
        return None
    machines = book.world.ec2.machines
    machine = machines.get(call.params["InstanceIds"][0])
    if machine is None:
        return None
    group, role = machine.tag(GROUP_TAG), machine.tag(ROLE_TAG)
    # A replacement that no packet ever went through makes room for the next, also beside one that is only stopped.
    has_never_carried = machine.interface is None or machine.interface.interface_id not in book.world.carried_at
    others = [
        each
        for each in machines.values()
        if each is not machine
        and each.instance_id in book.ours
        and each.tag(GROUP_TAG) == group
        and each.tag(ROLE_TAG) == role
        and (each.state == "running" or (has_never_carried and not each.is_gone))
    ]
    return None if others else f"{machine.instance_id} was the last NAT of zone {group} that runs"


def blind_calls_nothing(_book: Book, call: Call) -> str | None:
    """10. And no call either."""
    return f"{call.operation} without having looked" if call.invocation.seen is None else None


def operator_is_obeyed_once(book: Book, call: Call) -> str | None:
    """12. One request of an operator moves a group once, however often Lambda delivers it: never there and back.

    By number, for a pass may obey what another one left in the inbox.
    """
    if call.operation not in ("ReplaceRoute", "CreateRoute") or call.params["DestinationCidrBlock"] != DEFAULT_ROUTE:
        return None
    group = book.group_of_table(call.params["RouteTableId"])
    plan = call.invocation.plans.get(group or "")
    if group is None or plan is None or plan.reason is not Reason.OPERATOR_MOVE or book.world.fires["memory-lost"]:
        return None  # what was obeyed before, nobody can know whose memory somebody deleted
    book.obeyed[group].add((call.invocation.serial, call.params.get("NetworkInterfaceId")))
    made, asked = len(book.obeyed[group]), len(book.world.asked[group] | book.world.asked[None])
    return f"zone {group} was moved {made} times for {asked} requests of an operator" if made > asked else None


def launches_are_bounded(book: Book, call: Call) -> str | None:
    """13. Launches per day are bounded."""
    group = group_of(book, call) if call.operation == "RunInstances" else None
    if group is None or book.world.fires["memory-lost"] or book.world.fires["clock-behind"]:
        return None  # somebody deleted the count; by a clock that lags by more than a lease it is of the future (29)
    made = book.launches[group]
    limit = book.world.policy.max_launches_per_day
    return f"{len(made)} launches for zone {group} in a day; {limit} are allowed" if len(made) > limit else None


def one_replacement_at_a_time(book: Book, call: Call) -> str | None:
    """14. At most one replacement in flight per group. One that AWS did not show to the pass, as the stack's, where
    somebody deleted what natkeeper remembered of it, nobody can know (seeds 4001345, 6000974, 200039754)."""
    if call.operation != "RunInstances":
        return None
    tags = {each["Key"]: each["Value"] for each in call.params["TagSpecifications"][0]["Tags"]}
    seen = call.invocation.seen
    shown = {each.instance_id for each in seen.instances} if seen is not None else set()
    is_remembered = not book.world.fires["memory-lost"]
    alike = [
        each
        for each in book.world.ec2.machines.values()
        if each.state == "pending"
        and each.token
        and (is_remembered or each.instance_id in shown or each.token == call.params["ClientToken"])
        and (each.tag(GROUP_TAG), each.tag(ROLE_TAG)) == (tags[GROUP_TAG], tags[ROLE_TAG])
        and book.now - each.launched_at < 110 * SECOND
    ]
    return f"{len(alike)} replacements for zone {tags[GROUP_TAG]} in flight" if len(alike) > 1 else None


def never_two_too_many(book: Book, call: Call) -> str | None:
    """26. Never more than one instance of a group beyond what it wants, whatever AWS's times are. What somebody deleted
    natkeeper's memory of, or took its tags off, it cannot count."""
    if call.operation != "RunInstances" or book.world.fires["memory-lost"]:
        return None
    tags = {each["Key"]: each["Value"] for each in call.params["TagSpecifications"][0]["Tags"]}
    wanted = 1 if book.world.setting.standby == "none" else 2
    there = [
        each.instance_id
        for each in book.world.ec2.machines.values()
        if each.tag(GROUP_TAG) == tags[GROUP_TAG] and each.tag(STACK_TAG) and not each.is_gone
        if each.instance_id in book.ours
    ]
    return (
        f"{len(there)} instances of zone {tags[GROUP_TAG]}, which wants {wanted}" if len(there) > wanted + 1 else None
    )


def only_what_is_ours(book: Book, call: Call) -> str | None:
    """15. Other groups, other VPCs and routes we do not own stay byte-identical."""
    params = call.params
    if "RouteTableId" in params:
        if book.group_of_table(params["RouteTableId"]) is None:
            return f"{call.operation} on {params['RouteTableId']}, which is not the stack's"
        if params["DestinationCidrBlock"] not in (DEFAULT_ROUTE, book.world.policy.canary_destination):
            return f"{call.operation} of {params['DestinationCidrBlock']}"
    if params.get("AllocationId", PROVING) != PROVING and book.group_of_address(params["AllocationId"]) is None:
        return f"{call.operation} of {params['AllocationId']}, which is not the stack's"
    target = book.world.ec2.owner(params.get("NetworkInterfaceId", ""))
    if target is not None and target.instance_id not in book.ours:
        return f"{call.operation} to {target.instance_id}, which is not natkeeper's"
    named = params.get("InstanceIds", ())
    foreign = [each for each in named if each in book.world.ec2.machines and each not in book.ours]
    return f"{call.operation} of {foreign[0]}, which is not natkeeper's" if foreign else None


def no_secret_is_written(call: Call) -> str | None:
    """23. No secret in the ledger, in user data or in what a prober is asked: neither the function's own credentials
    nor what an event carries beside the fields that natkeeper reads."""
    return f"a secret in {call.operation}" if call.operation in WRITTEN and SECRET in repr(call.params) else None


def proving_address_proves_only(book: Book, call: Call) -> str | None:
    """8. The stack's proving address is only put where nobody's traffic is: packets would leave from it. What was on
    its way when traffic came there, nobody can call back; the next look puts the group's own address there again."""
    if call.params.get("AllocationId") != PROVING:
        return None
    target = call.params["NetworkInterfaceId"]
    if any(each.at >= call.sent_at for moves in book.moves.values() for each in moves if each.target == target):
        return None
    if call.invocation.serial in book.borrowers:
        return None  # it stands in for one that is gone or refused, which `borrows_only_in_need` judges
    owner = book.world.ec2.owner(target)
    group = owner.tag(GROUP_TAG) if owner is not None else None
    if group is not None and lease_of(book, call.invocation, group)[0] not in (None, call.invocation.holder):
        return None  # another pass took the group's lease, and moved it since the look (seed 1720017540)
    if group is None or book.world.route_of(table := book.world.policy.group(group).table_ids[0]) != target:
        return None
    if not book.moves[group] and book.recorded.get(group) is None:
        return None  # a first deployment, into which somebody put that route (seed 1790001303): it has to be proven
    shown = call.invocation.seen.tables.get(table) if call.invocation.seen is not None else None
    route = shown.routes.get(DEFAULT_ROUTE) if shown is not None else None
    moves = [
        each
        for each in book.moves[group]
        if each not in book.unrecorded[group] or each.serial == call.invocation.serial
    ]  # of one by a pass without a ledger nobody else could know (seed 1710019764)
    if (not moves or moves[-1].target != target) and (route is None or route.target != target):
        return None  # an old answer of EC2's did not show the route that somebody has put there by hand
    return f"the proving address is put on {target}, which carries its own group"


def nothing_is_deleted(book: Book, call: Call) -> str | None:
    """24. No private subnet is left pointing at nothing: no route, address or interface is ever deleted. The proving
    address is taken off a NAT that it proved: that takes nobody's traffic with it."""
    proving = book.world.ec2.elastics.get(PROVING)
    if call.operation == "DisassociateAddress" and proving is not None:
        is_proving = call.params["AssociationId"].startswith(f"eipassoc-{PROVING}-")
        return None if is_proving else f"{call.operation} of a group's own address"
    is_deleting = call.operation.startswith(("Delete", "Release", "Disassociate", "Detach"))
    return f"{call.operation} is none of natkeeper's calls" if is_deleting else None


SENT: tuple[tuple[int, OfCall], ...] = (
    (2, write_has_a_lease),
    (8, healthy_nat_keeps_its_routes),
    (10, blind_calls_nothing),
    (12, operator_is_obeyed_once),
)
"""When it leaves: once it is on its way, nothing can hold it back. Of writes to EC2."""
WRITES: tuple[tuple[int, OfCall], ...] = (
    (5, token_is_used_alike),
    (8, healthy_nat_is_left_alone),
    (8, proving_address_proves_only),
    (9, last_nat_is_kept),
    (13, launches_are_bounded),
    (14, one_replacement_at_a_time),
    (15, only_what_is_ours),
    (26, never_two_too_many),
    (24, nothing_is_deleted),
)
"""At the instant of its effect. Of writes to EC2."""
