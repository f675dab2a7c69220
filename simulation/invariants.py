"""DESIGN.md's invariants, each a function with its number, held against every step of a simulated world.

`Invariants` is the world's judge: what a call did is judged at the instant of its effect, a plan when it is made, an
incident when it closes, an invocation when it ends. What can only be judged once the faults are over (3, 4, 6, 21) and
what holds at rest (5, 22, 24) is in `simulation.aftermath`. Each function is given the book and returns what is wrong,
or None. The truth comes from the world, never from natkeeper's own memory, except where the invariant is about that.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.core.incident import Cause
from natkeeper.core.model import DEFAULT_ROUTE, Network
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    Happening,
    IncidentClosed,
    MoveAddress,
    Plan,
    PointRoute,
    Reason,
    StartWatch,
    TerminateInstance,
)
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome
from simulation.answers import BEGINNING
from simulation.api import Call
from simulation.book import HELD, MOVES, Book, Move, on_hub
from simulation.errors import ApiError
from simulation.hub import SECOND, Killed
from simulation.invocation import Invocation
from simulation.truth import truth_of
from simulation.world import Judge, World

OfCall = Callable[[Book, Call], str | None]
OfPlan = Callable[[Book, Invocation, Plan], str | None]
SETTLED = 30 * SECOND
"""So long must a path have worked without a lost packet before leaving it is a mistake: a report of failures may be
held up for a minute by Lambda's retries."""
BEGINS = int(BEGINNING.timestamp()) * SECOND
FAILOVERS = (Reason.FAIL_OVER, Reason.LAST_RESORT)
RACE = 12 * SECOND
"""Targets that come back between three failed rounds and the control probe look like a NAT that failed. Nothing that is
quick enough can tell the two apart; after a verdict of `external`, natkeeper waits for newer rounds."""
EYES = 15 * SECOND
"""So long after a prober's own way was whole again may a verdict of before it still move traffic."""
WAITING = (Reason.UNOBSERVED, Reason.NEEDS_CONTROL_PROBE, Reason.LOOK_AGAIN, Reason.CANNOT_LOOK)
"""What a plan says that knows nothing new."""
SEEN_LATE = 15 * SECOND
"""From a packet to the plan that counts on it: the rest of a run, its delivery, the wake-up."""


# -- 1: routes go only where packets have been


def route_goes_where_packets_were(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """1. A route is only ever moved to an interface of this stack, running, check off as read, verified fresh."""
    if plan.reason is Reason.LAST_RESORT or invocation.seen is None:
        return None
    for target in {each.target for each in plan.actions if _is_default(each) and each.target.startswith("eni-")}:  # type: ignore[union-attr]
        owner = invocation.seen.owner_of(target)
        if owner is None:
            return f"{plan.reason.value}: a route to {target}, which no NAT of the stack has"
        if not owner.is_running:
            return f"{plan.reason.value}: a route to {target}, whose instance is {owner.state.value}"
        is_turned_off = any(
            isinstance(each, DisableSourceDestCheck) and each.interface_id == target for each in plan.actions
        )
        assert owner.interface is not None
        if owner.interface.is_source_dest_checked and not is_turned_off:
            return f"{plan.reason.value}: a route to {target} while its source/dest check is on"
        carried = book.world.carried_at.get(target)
        limit = book.world.policy.freshness.total_seconds() * SECOND + SEEN_LATE
        # When a canary was pointed is told by the controller's clock. By one that lags seconds and then does not,
        # packets of the old way came after it (seed 9006402); the move's own verification corrects that.
        is_proven = (carried is not None and book.now - carried <= limit) or bool(book.world.fires["clock-behind"])
        if not is_proven and plan.reason is not Reason.CONVERGE and book.world.setting.has_canary:
            return f"{plan.reason.value}: a route to {target}, through which no packet went in the last two minutes"
    return None


def _is_default(action: object) -> bool:
    return isinstance(action, PointRoute) and action.destination == DEFAULT_ROUTE


# -- 2: leases


def write_has_a_lease(book: Book, call: Call) -> str | None:
    """2. No write without a live lease (unless the ledger is unreachable), and none is begun after it ended."""
    invocation, group = call.invocation, _group_of(book, call)
    if group is None or (invocation.serial, group) in book.ledgerless:
        return None
    item = book.world.table.items.get(("group", group), {})
    until = int(item.get("lease_until", {}).get("N", 0)) * 1000 - BEGINS - invocation.skew
    if item.get("holder", {}).get("S") == invocation.holder:
        late = call.sent_at - until
        return f"{call.operation} for zone {group}, whose lease ended {late / 1e6:.3f} s before" if late > 0 else None
    if not book.world.fires["clock-skew"] and not book.world.fires["memory-lost"]:
        return f"{call.operation} for zone {group} under a lease that {item.get('holder', {}).get('S')} has"
    return None


def _group_of(book: Book, call: Call) -> str | None:
    """Whose write it is, where the call itself says so."""
    if "RouteTableId" in call.params:
        return book.group_of_table(call.params["RouteTableId"])
    if "AllocationId" in call.params:
        return book.group_of_address(call.params["AllocationId"])
    if call.operation in ("StartInstances", "StopInstances", "TerminateInstances"):
        machine = book.world.ec2.machines.get(call.params["InstanceIds"][0])
        return (machine.tag(GROUP_TAG) or None) if machine is not None else None
    if call.operation == "RunInstances":
        return book.world.ec2.subnets.get(call.params["NetworkInterfaces"][0]["SubnetId"])
    return None


# -- 5: tokens


def token_is_used_alike(_book: Book, call: Call) -> str | None:
    """5. ClientToken is a function of group, incident and attempt: never the same one for another request."""
    return (
        None if call.operation != "RunInstances" or len(call.params["ClientToken"]) <= 64 else "ClientToken is too long"
    )


# -- 7: events


def event_alone_moves_nothing(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """7. No write is justified by an event's content alone: what is left must be dead by EC2's own word or by rounds
    that failed, or be announced by EC2's own API."""
    if not any(_is_default(each) for each in plan.actions) or invocation.seen is None:
        return None
    if plan.reason is Reason.LEAVE_DOOMED:
        machines = book.world.ec2.machines.values()
        is_announced = any(each.is_doomed_at or each.is_spot_ending_at for each in machines)
        return None if is_announced else "leave-doomed, and EC2's API has announced nothing"
    incident = plan.memory.incident
    if plan.reason not in FAILOVERS or incident is None or _is_dead_by_state(book, invocation, plan.group):
        return None
    is_seen = plan.group in book.down_since or any(not each.is_ok for each in incident.rounds)
    return None if is_seen else f"{plan.reason.value} from what EC2 shows running, and no round has failed"


# -- 8, 9: what carries traffic is left alone


def healthy_nat_is_left_alone(book: Book, call: Call) -> str | None:
    """8. A verified-healthy active NAT is never stopped, terminated or routed away from."""
    world = book.world
    if call.operation in ("StopInstances", "TerminateInstances"):
        machine = world.ec2.machines.get(call.params["InstanceIds"][0])
        used = {world.route_of(table) for each in world.policy.groups for table in each.table_ids}
        if machine is not None and machine.interface is not None and machine.interface.interface_id in used:
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
    since, through = world.works_since[group], world.route_of(call.params["RouteTableId"])
    owner = world.ec2.owner(through or "")
    if through == call.params.get("NetworkInterfaceId") or owner is None or owner.instance_id not in book.ours:
        return None  # already there, or on something that is none of natkeeper's NATs
    if world.fires["clock-skew"]:
        return None  # which rounds came after what cannot be told by clocks that are seconds apart
    left = {world.route_of(each) for each in world.policy.group(group).table_ids}
    if len(left - {call.params.get("NetworkInterfaceId")}) > 1:
        return (
            None  # somebody put this table elsewhere: it goes with the others, which are on a dead one (seed 9007577)
        )
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
    others = [
        each
        for each in machines.values()
        if each is not machine
        and each.tag(GROUP_TAG) == group
        and each.tag(ROLE_TAG) == role
        and each.state == "running"
    ]
    return None if others else f"{machine.instance_id} was the last NAT of zone {group} that runs"


def kill_and_move_are_apart(_book: Book, _invocation: Invocation, plan: Plan) -> str | None:
    """9. The other half: no plan terminates and moves."""
    kills = any(isinstance(each, TerminateInstance) for each in plan.actions)
    moves = any(isinstance(each, MoveAddress) or _is_default(each) for each in plan.actions)
    return f"{plan.reason.value}: terminates and moves in one plan" if kills and moves else None


# -- 10, 16: standing still


def blind_means_still(_book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """10. Could not look is Unknown: zero writes."""
    acts = [each for each in plan.actions if not isinstance(each, StartWatch)]
    return f"{plan.reason.value}: {acts[0]} without having looked" if acts and invocation.seen is None else None


def blind_calls_nothing(_book: Book, call: Call) -> str | None:
    """10. And no call either."""
    return f"{call.operation} without having looked" if call.invocation.seen is None else None


def paused_means_still(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """16. Paused means zero writes."""
    until = plan.memory.paused_until
    acts = [each for each in plan.actions if not isinstance(each, StartWatch)]
    if acts and until is not None and book.now + invocation.skew < on_hub(until):
        return f"{plan.reason.value}: {acts[0]} while paused"
    return None


# -- 11, 12, 13: bounds on wrong verdicts


def common_mode_holds(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """11. If the control probe fails too, or all groups fail together with their instances running, hold."""
    world, incident = book.world, plan.memory.incident
    if plan.reason not in (Reason.FAIL_OVER, Reason.LAST_RESORT) or incident is None:
        return None
    if not any(_is_default(each) for each in plan.actions) or _is_dead_by_state(book, invocation, plan.group):
        return None
    if invocation.control is None or not invocation.control.is_ok:
        return "failover by probes alone, without a control probe that succeeded"
    groups = world.policy.groups
    others = [each.name for each in groups if each.name != plan.group]
    is_common = bool(others) and all(_is_known_down(book, invocation, each) for each in others)
    targets = {world.route_of(each.table_ids[0]) for each in groups}
    # natkeeper goes by where it moved everybody, which a table that refuses, or a move that is under way, contradicts
    # for a while (seeds 6028839, 10012053).
    moved = {book.recorded.get(each.name, world.route_of(each.table_ids[0])) for each in groups}
    if len(targets) < 2 or len(moved) < 2:
        return None  # one NAT carries everybody, and it is that one's fault
    owners = [invocation.seen.owner_of(each or "") if invocation.seen is not None else None for each in targets]
    are_running = all(each is not None and each.is_running for each in owners)
    return "failover while every zone fails with its NAT running" if is_common and are_running else None


def _is_known_down(book: Book, invocation: Invocation, group: str) -> bool:
    """The pass could know that the group's probes fail: the ledger said so before the pass began and read it.

    What was written later it never read. Without a ledger it knows nothing of the others, and must fail over all the
    same (seeds 6009538, 6018956). And of a group that it has taken on itself it knows more than the ledger: the report
    that probes succeed again may be what it woke up for, and is written when it ends (seeds 6013950, 6014318, 6017489).
    """
    since, own = book.down_since.get(group), invocation.plans.get(group)
    if since is None or (invocation.serial, group) in book.ledgerless:
        return False
    return since < invocation.began_at and (own is None or own.memory.is_down)


def _is_dead_by_state(book: Book, invocation: Invocation, group: str) -> bool:
    """What traffic is taken off is gone, stopped or unknown by EC2's own word: then no packet is asked."""
    seen, before = invocation.seen, book.plans.get(group)
    if seen is None:
        return True
    tables = [seen.tables.get(each) for each in book.world.policy.group(group).table_ids]
    routes = [each.routes.get(DEFAULT_ROUTE) for each in tables if each is not None]
    left = {each.target for each in routes if each is not None}
    incident = invocation.plans[group].memory.incident
    recorded = before[1].memory.target if before is not None else incident.from_target if incident is not None else None
    belonged = {recorded} if recorded is not None else set()
    blamed = {incident.from_target} if incident is not None and incident.from_target is not None else set()
    return any(targets and not any(_runs(seen, each) for each in targets) for targets in (left, belonged, blamed))


def _runs(seen: Network, target: str) -> bool:
    owner = seen.owner_of(target)
    return target.startswith("nat-") or (owner is not None and owner.is_running)


def hysteresis_holds(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """12. k failed rounds before traffic leaves, and a quiet period before it comes home."""
    policy, incident = book.world.policy, plan.memory.incident
    if plan.reason is Reason.GO_HOME and plan.stages and not book.world.fires["clock-skew"]:
        left = [each.at for each in _remembered_moves(book, invocation, plan.group) if each.reason in FAILOVERS]
        if left and book.now - left[-1] < policy.quiet_period.total_seconds() * SECOND - SECOND:
            return f"home again {(book.now - left[-1]) / 1e6:.1f} s after a failover"
    is_by_packets = plan.reason is Reason.FAIL_OVER and not _is_dead_by_state(book, invocation, plan.group)
    if is_by_packets and incident is not None and incident.cause is Cause.PROBES_FAILED:
        failed = sum(not each.is_ok for each in incident.rounds)
        if failed and failed < min(policy.rounds_to_fail, 2):
            return f"failover after {failed} failed rounds"
    return None


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


def failovers_are_bounded(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """13. Failovers per hour are bounded; exhausted means hold."""
    if plan.reason not in FAILOVERS or not any(_is_default(each) for each in plan.actions):
        return None
    if (invocation.serial, plan.group) in book.ledgerless or book.world.fires["memory-lost"]:
        return None
    if not _has_its_lease(book, invocation, plan.group):
        return None  # frozen past its lease: nothing of what it still plans gets through (seed 9011590)
    known = _remembered_moves(book, invocation, plan.group)
    made = sum(each.reason in FAILOVERS and book.now - each.at < 3600 * SECOND for each in known)
    limit = book.world.policy.max_failovers_per_hour
    return f"failover number {made + 1} within an hour; {limit} are allowed" if made >= limit else None


def _remembered_moves(book: Book, invocation: Invocation, group: str) -> list[Move]:
    """What a pass without a ledger did, or one whose record did not get through, nobody else could remember (seed
    10003429); nor what one planned that died before its record got through (seed 6005390)."""
    return [
        each
        for each in book.moves[group]
        if (each.serial, group) not in book.ledgerless
        and (each.serial == invocation.serial or each not in book.unrecorded[group])
    ]


def _has_its_lease(book: Book, invocation: Invocation, group: str) -> bool:
    item = book.world.table.items.get(("group", group), {})
    until = int(item.get("lease_until", {}).get("N", 0)) * 1000 - BEGINS - invocation.skew
    return bool(item.get("holder", {}).get("S") == invocation.holder and book.now <= until)


def launches_are_bounded(book: Book, call: Call) -> str | None:
    """13. Launches per day are bounded."""
    group = _group_of(book, call) if call.operation == "RunInstances" else None
    if group is None or book.world.fires["memory-lost"]:
        return None  # somebody deleted the count
    made = book.launches[group]
    limit = book.world.policy.max_launches_per_day
    return f"{len(made)} launches for zone {group} in a day; {limit} are allowed" if len(made) > limit else None


def one_replacement_at_a_time(book: Book, call: Call) -> str | None:
    """14. At most one replacement in flight per group. One that AWS does not show as the stack's, or not yet, where
    somebody deleted what natkeeper remembered of it, nobody can know (seeds 4001345, 6000974)."""
    if call.operation != "RunInstances":
        return None
    tags = {each["Key"]: each["Value"] for each in call.params["TagSpecifications"][0]["Tags"]}
    alike = [
        each
        for each in book.world.ec2.machines.values()
        if each.state == "pending"
        and each.token
        and not (book.world.fires["memory-lost"] and not (each.tag(STACK_TAG) and each.tagged_from <= book.now))
        and (each.tag(GROUP_TAG), each.tag(ROLE_TAG)) == (tags[GROUP_TAG], tags[ROLE_TAG])
        and book.now - each.launched_at < 110 * SECOND
    ]
    return f"{len(alike)} replacements for zone {tags[GROUP_TAG]} in flight" if len(alike) > 1 else None


# -- 15: blast radius


def only_what_is_ours(book: Book, call: Call) -> str | None:
    """15. Other groups, other VPCs and routes we do not own stay byte-identical."""
    params = call.params
    if "RouteTableId" in params:
        if book.group_of_table(params["RouteTableId"]) is None:
            return f"{call.operation} on {params['RouteTableId']}, which is not the stack's"
        if params["DestinationCidrBlock"] not in (DEFAULT_ROUTE, book.world.policy.canary_destination):
            return f"{call.operation} of {params['DestinationCidrBlock']}"
    if "AllocationId" in params and book.group_of_address(params["AllocationId"]) is None:
        return f"{call.operation} of {params['AllocationId']}, which is not the stack's"
    named = params.get("InstanceIds", ())
    foreign = [each for each in named if each in book.world.ec2.machines and each not in book.ours]
    return f"{call.operation} of {foreign[0]}, which is not natkeeper's" if foreign else None


def nothing_is_deleted(_book: Book, call: Call) -> str | None:
    """24. No private subnet is left pointing at nothing: no route, address or interface is ever deleted."""
    is_deleting = call.operation.startswith(("Delete", "Release", "Disassociate", "Detach"))
    return f"{call.operation} is none of natkeeper's calls" if is_deleting else None


# -- 17: every table


def every_table_is_tried(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """17. A plan that moves routes has a call for every table that is not there yet."""
    if plan.reason not in MOVES or invocation.seen is None or plan.memory.target is None:
        return None
    pointed = {each.table_id for each in plan.actions if _is_default(each)}  # type: ignore[union-attr]
    if not pointed:
        return None
    targets = {each.target for each in plan.actions if _is_default(each)}  # type: ignore[union-attr]
    missing = [
        table_id
        for table_id in book.world.policy.group(plan.group).table_ids
        if (table := invocation.seen.tables.get(table_id)) is not None
        and table_id not in pointed
        and (DEFAULT_ROUTE not in table.routes or table.routes[DEFAULT_ROUTE].target not in targets)
    ]
    return f"{plan.reason.value}: no call for {missing[0]}" if missing else None


# -- 18: downtime


def interval_contains_the_truth(book: Book, closed: IncidentClosed) -> str | None:
    """18. lo ≤ true downtime ≤ hi, always."""
    truth = truth_of(book.world, closed.incident)
    if truth is None:
        return None
    low, high = truth
    if closed.low.total_seconds() * SECOND > high:
        return (
            f"{closed.incident.incident_id}: at least {closed.low.total_seconds():.3f} s, but it was {high / 1e6:.3f} s"
        )
    if closed.high is not None and closed.high.total_seconds() * SECOND < low:
        return (
            f"{closed.incident.incident_id}: at most {closed.high.total_seconds():.3f} s, but it was {low / 1e6:.3f} s"
        )
    return None


# -- 23: secrets

SECRET = "AKIASIMULATEDSECRET"


def no_secret_is_written(_book: Book, call: Call) -> str | None:
    """23. No secret in the ledger or user data."""
    if call.operation not in ("RunInstances", "UpdateItem", "PutItem"):
        return None
    return "a secret in a call" if SECRET in json.dumps(call.params, default=str) else None


SENT: tuple[tuple[int, OfCall], ...] = (
    (2, write_has_a_lease),
    (8, healthy_nat_keeps_its_routes),
    (10, blind_calls_nothing),
    (12, operator_is_obeyed_once),
)
WRITES: tuple[tuple[int, OfCall], ...] = (
    (5, token_is_used_alike),
    (8, healthy_nat_is_left_alone),
    (9, last_nat_is_kept),
    (13, launches_are_bounded),
    (14, one_replacement_at_a_time),
    (15, only_what_is_ours),
    (24, nothing_is_deleted),
)
PLANS: tuple[tuple[int, OfPlan], ...] = (  # none of them finds anything in a plan that neither acts nor moves
    (1, route_goes_where_packets_were),
    (7, event_alone_moves_nothing),
    (9, kill_and_move_are_apart),
    (10, blind_means_still),
    (11, common_mode_holds),
    (12, hysteresis_holds),
    (13, failovers_are_bounded),
    (16, paused_means_still),
    (17, every_table_is_tried),
)


class Invariants(Judge):
    """The world's judge. `book.violations` is what did not hold."""

    def __init__(self) -> None:
        self.book: Book

    def watch(self, world: World) -> None:
        """Begins with a world as it stands."""
        self.book = Book(world)
        self.book.ours = set(world.ec2.machines)
        for (kind, group), item in world.table.items.items():
            if kind == "group" and "memory" in item:
                self._remembered(group, item["memory"]["S"])

    def sent(self, call: Call) -> None:
        """When a call leaves: once it is on its way, nothing can hold it back."""
        if not call.is_write:
            return
        for number, judge in SENT:
            if (wrong := judge(self.book, call)) is not None:
                self.book.broke(number, wrong)

    def called(self, call: Call, error: ApiError | None) -> None:
        """At the instant of a call's effect."""
        book = self.book
        if call.operation == "Invoke" and call.params["InvocationType"] == "RequestResponse":
            book.unproven -= {each for each in book.unproven if each[0] == call.invocation.serial}
        if not call.is_write:
            if call.service == "dynamodb" and call.operation != "Query" and error is None:
                book.ledger_writes += 1
                self._recorded(call)
            return
        if call.operation == "RunInstances" and error is None:
            self._launched(call)
        for number, judge in WRITES:
            if (wrong := judge(book, call)) is not None:
                book.broke(number, wrong)
        if error is None:
            book.writes += 1
            book.wrote_at = book.now
        elif error.code == "IdempotentParameterMismatch":
            book.broke(5, f"token {call.params['ClientToken']} was used for another request")

    def _recorded(self, call: Call) -> None:
        """What a group is remembered to say of its path: that is all that the other groups' passes can know of it. A
        verdict that died with its pass is none (seed 1000372)."""
        memory = call.params.get("ExpressionAttributeValues", {}).get(":memory")
        if memory is None:
            return
        group = call.params["Key"]["sk"]["S"]
        self.book.was_recorded(group, call.invocation.serial)
        self._remembered(group, memory["S"])

    def _remembered(self, group: str, memory: str) -> None:
        known = json.loads(memory)
        self.book.recorded[group] = str(known.get("target"))
        if known.get("is_down"):
            self.book.down_since.setdefault(group, self.book.now)
        else:
            self.book.down_since.pop(group, None)

    def _launched(self, call: Call) -> None:
        book = self.book
        new = [each for each in book.world.ec2.machines.values() if each.token == call.params["ClientToken"]]
        fresh = [each for each in new if each.instance_id not in book.ours]
        book.ours |= {each.instance_id for each in fresh}
        group = _group_of(book, call)
        if fresh and group is not None:
            book.launches[group] = [each for each in book.launches[group] if book.now - each < 86_400 * SECOND]
            book.launches[group].append(book.now)

    def decided(self, invocation: Invocation, plan: Plan) -> None:
        """When a plan is made."""
        book = self.book
        if plan.stages or plan.reason in MOVES:
            for number, judge in PLANS:
                if (wrong := judge(book, invocation, plan)) is not None:
                    book.broke(number, wrong)
        key = (invocation.serial, plan.group)
        if plan.reason in MOVES and any(_is_default(each) for each in plan.actions):
            move = Move(book.now, plan.reason, plan.memory.target or "", invocation.serial)
            book.moves[plan.group].append(move)
            book.unrecorded[plan.group].add(move)
            book.unproven.add(key)
        book.expected[key] = book.expected.get(key, 0) + len(plan.actions)
        book.plans[plan.group] = (invocation.serial, plan)
        if plan.reason in HELD:
            book.held_at = book.now
        if plan.reason is Reason.PAUSED:
            book.paused_at[plan.group] = book.now
        else:
            book.paused_at.pop(plan.group, None)

    def acted(self, invocation: Invocation, group: str, outcome: Outcome) -> None:
        """Each action has an outcome. What was only throttled is not done yet, so there is nothing to ask packets."""
        self.book.expected[invocation.serial, group] -= 1
        if outcome.trouble is not None and outcome.trouble.is_throttle:
            self.book.unproven.discard((invocation.serial, group))

    def troubled(self, invocation: Invocation, group: str | None, trouble: Trouble) -> None:
        """A ledger that cannot be reached, or a lease that is lost, changes what may be asked of a pass."""
        for name in [group] if group is not None else [each.name for each in self.book.world.policy.groups]:
            if trouble.operation in ("UpdateItem", "Query"):
                self.book.ledgerless.add((invocation.serial, name))
            if trouble.operation == "Invoke":
                self.book.unproven.discard((invocation.serial, name))

    def happened(self, _invocation: Invocation, _group: str, happening: Happening) -> None:
        """Incidents."""
        if isinstance(happening, IncidentClosed):
            if (wrong := interval_contains_the_truth(self.book, happening)) is not None:
                self.book.broke(18, wrong)
            self.book.closed[happening.incident.incident_id] += 1

    def timed_out(self, invocation: Invocation) -> None:
        """20. A pass stops before Lambda's deadline, unless its host stood still."""
        if not invocation.frozen_until:
            self.book.broke(20, f"a pass was at work until its time-out: {invocation.calls} calls")

    def ended(self, invocation: Invocation, error: BaseException | None) -> None:
        """17. Every action of every plan was tried, unless the controller died or lost its lease. 20. A pass ends by
        itself: an exception is a bug. 21. Whoever moved a group asked whether packets get through."""
        book = self.book
        if error is not None and not isinstance(error, Killed):
            book.broke(20, f"a pass raised {error!r}")
        if error is None:
            for group in book.unrecorded:
                book.was_recorded(group, invocation.serial)  # or should have been: it had the time
        for key in [each for each in book.unproven if each[0] == invocation.serial]:
            book.unproven.discard(key)
            if error is None and key not in book.ledgerless:
                book.broke(21, f"zone {key[1]} was moved, and nobody asked whether packets get through")
        for key in [each for each in book.expected if each[0] == invocation.serial]:
            left = book.expected.pop(key)
            if left and error is None and key not in book.ledgerless:
                book.broke(17, f"{left} actions of {key[1]}'s plan were never tried")

    def changed(self) -> None:
        """Nothing is judged by state alone."""
