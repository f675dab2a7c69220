"""What a plan may be: invariants judged when it is made, each with its number.

Each function is given the book, the invocation and the plan, and returns what is wrong, or None. Called by
`simulation.invariants`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from natkeeper.core.incident import MOVING_ADDRESS, Cause
from natkeeper.core.model import DEFAULT_ROUTE, Network
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    MoveAddress,
    Plan,
    PointRoute,
    Reason,
    StartWatch,
    TerminateInstance,
)
from natkeeper_lab.simulation.book import MOVES, Book, Move, on_hub
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants.calls import lease_of
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.packets import Fate

OfPlan = Callable[[Book, Invocation, Plan], str | None]
FAILOVERS = (Reason.FAIL_OVER, Reason.LAST_RESORT)
PROVEN_WITHIN = 135 * SECOND
"""A proof is fresh for two minutes, and was heard of SEEN_LATE after its packets."""
WELL_KNOWN = 150 * SECOND
"""So long after a path works for a group everybody has been told of it: two watch runs and a tick between them."""
SEEN_LATE = 15 * SECOND
"""From a packet to the plan that counts on it: the rest of a run, its delivery, the wake-up."""
FAILS = 2 * SECOND
"""From the first of three lost rounds to the last."""
UNTOLD = ("clock-skew", "association-lost", "names-only")
"""With these nobody knows which came first; packets went another way meanwhile; or who is asked cannot say, for no name
is resolved (seeds 1740005842, 1740010212, 1740019260)."""


def route_goes_where_packets_were(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """1. A route is only ever moved to an interface of this stack, running, check off as read, verified fresh."""
    if plan.reason in (Reason.LAST_RESORT, Reason.BORROW_ADDRESS) or invocation.seen is None:
        return None  # nothing that is verified is left
    for target in {each.target for each in plan.actions if is_default(each) and each.target.startswith("eni-")}:  # type: ignore[union-attr]
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
        # When a canary was pointed is told by the controller's clock, when its packets left by the prober's. By one
        # that lags and then does not, or by one that is ahead, packets of the old way came after it (seeds 9006402,
        # 200112569); the move's own verification corrects that.
        is_deceived = bool(book.world.fires["clock-behind"] or book.world.fires["prober-clock-wrong"])
        is_proven = (carried is not None and book.now - carried <= limit) or is_deceived
        if not is_proven and plan.reason is not Reason.CONVERGE and book.world.setting.has_canary:
            return f"{plan.reason.value}: a route to {target}, through which no packet went in the last two minutes"
    return None


def another_path_proves_nothing(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """29. No packet counts as evidence of a path that it did not take: of the time in which the prober's subnet was
    behind somebody else's table, and a look has shown it, nothing is remembered as proof."""
    since, seen = book.world.apart_since(plan.group), invocation.seen
    if since is None or seen is None or book.world.fires["clock-skew"]:
        return None
    group = book.world.policy.group(plan.group)
    own = [seen.tables[each] for each in group.table_ids if each in seen.tables]
    if any(group.private_subnet_id in each.subnet_ids for each in own):
        return None  # an old answer of EC2's
    counted = [each for each in plan.memory.proofs if on_hub(each.at) > since]
    if counted:
        return f"{plan.reason.value}: {counted[0].target} is proven by packets of another path"
    if plan.memory.is_down:
        return f"{plan.reason.value}: {plan.memory.target} is dead by packets of another path"
    return "at rest, and packets take another path" if plan.reason is Reason.AT_REST else None


def event_alone_moves_nothing(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """7. No write is justified by an event's content alone: what is left must be dead by EC2's own word or by rounds
    that failed, or be announced by EC2's own API."""
    if not any(is_default(each) for each in plan.actions) or invocation.seen is None:
        return None
    if plan.reason is Reason.LEAVE_DOOMED:
        machines = book.world.ec2.machines.values()
        is_announced = any(each.is_doomed_at or each.is_spot_ending_at for each in machines)
        return None if is_announced else "leave-doomed, and EC2's API has announced nothing"
    incident = plan.memory.incident
    if plan.reason not in FAILOVERS or incident is None or _is_dead_by_state(book, invocation, plan.group):
        return None
    if book.world.fires["clock-skew"]:
        return None  # a run is dated by the clock that started it, so its rounds may belong to no incident
    # Rounds that failed right after a group's first route belong to no incident (seeds 60001053, 60008941).
    before = book.plans.get(plan.group)
    was_down = plan.group in book.down_since or (before is not None and before[1].memory.is_down)
    # By a clock that was set back, rounds of before are newer than those that failed, of which fewer are kept then.
    was_down = was_down or (plan.memory.is_down and bool(book.world.fires["clock-skew"]))
    is_seen = was_down or any(not each.is_ok for each in (*incident.rounds, *plan.memory.recent))
    return None if is_seen else f"{plan.reason.value} from what EC2 shows running, and no round has failed"


def kill_and_move_are_apart(_book: Book, _invocation: Invocation, plan: Plan) -> str | None:
    """9. The other half: no plan terminates and moves."""
    kills = any(isinstance(each, TerminateInstance) for each in plan.actions)
    moves = any(isinstance(each, MoveAddress) or is_default(each) for each in plan.actions)
    return f"{plan.reason.value}: terminates and moves in one plan" if kills and moves else None


def blind_means_still(_book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """10. Could not look is Unknown: zero writes."""
    acts = [each for each in plan.actions if not isinstance(each, StartWatch)]
    return f"{plan.reason.value}: {acts[0]} without having looked" if acts and invocation.seen is None else None


def common_mode_holds(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """11. If the control probe fails too, or all groups fail together with their instances running, hold."""
    world, incident = book.world, plan.memory.incident
    if plan.reason not in (Reason.FAIL_OVER, Reason.LAST_RESORT) or incident is None:
        return None
    if plan.reason is Reason.LAST_RESORT and world.fires["memory-lost"]:
        return None  # that the others fail too was forgotten, and nothing proves any NAT (seed 1710001967)
    if not any(is_default(each) for each in plan.actions) or _is_dead_by_state(book, invocation, plan.group):
        return None
    if invocation.control is None or not invocation.control.is_ok:
        return "failover by probes alone, without a control probe that succeeded"
    if all(each.target.startswith("nat-") for each in plan.actions if is_default(each)):  # type: ignore[union-attr]
        return None  # a gateway shares nothing with NAT instances that all fail
    began, carried = _last_dark_since(book, plan.group), world.carried_at.get(plan.memory.target or "")
    if began is None:
        began = invocation.began_at - FAILS  # some packets are lost and some are not: then by the newest (1792002527)
    if carried is not None and carried >= began:
        return None  # packets get through there meanwhile, so it is apart from what the others suffer (seed 1790021387)
    groups = world.policy.groups
    others = [each.name for each in groups if each.name != plan.group]
    is_common = bool(others) and all(_is_known_down(book, invocation, each) for each in others)
    targets = {world.route_of(each.table_ids[0]) for each in groups}
    # natkeeper goes by where it moved everybody, which a table that refuses, or a move that is under way, contradicts
    # for a while (seeds 6028839, 10012053).
    moved = {book.recorded.get(each.name, world.route_of(each.table_ids[0])) for each in groups}
    if len(targets) < 2 or len(moved) < 2:
        return None  # one NAT carries everybody, and it is that one's fault
    # As the look showed them: an old answer may not have the routes that a move has just made (seed 200044753).
    shown = invocation.seen.default_targets if invocation.seen is not None else frozenset()
    # And one that traffic was moved from without a ledger is still the recorded one (seed 300010402).
    known = targets | moved
    owners = [invocation.seen.owner_of(each or "") if invocation.seen is not None else None for each in known]
    are_running = known <= shown and all(each is not None and each.is_running for each in owners)
    return "failover while every zone fails with its NAT running" if is_common and are_running else None


def candidate_has_carried_since(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """11. The other half: on packets alone, traffic only follows packets that were sent after its own began to fail."""
    world = book.world
    if plan.reason is not Reason.FAIL_OVER or not any(is_default(each) for each in plan.actions):
        return None
    if _is_dead_by_state(book, invocation, plan.group) or (invocation.serial, plan.group) in book.ledgerless:
        return None
    if invocation.serial in book.unasked or any(world.fires[each] for each in UNTOLD):
        return None
    began = _dark_since(book, plan.group)
    target = plan.memory.target or ""
    users = [name for name, known in book.recorded.items() if name != plan.group and known == target]
    if not any(book.now - book.recorded_at.get(name, -SEEN_LATE) >= SEEN_LATE for name in users):
        return None  # as far as the pass knew nobody else's traffic is on it, so nobody could be asked
    if any(world.route_of(world.policy.group(each).table_ids[0]) != target for each in users):
        return None  # who was asked answers by a route that somebody has put there since the look (seed 1710019001)
    carried = world.carried_at.get(target)
    if began is None or began > invocation.began_at - FAILS or _last_lost(plan) < began:
        return None  # what it was told of was another outage, which is over (seeds 1740020960, 70781569)
    if not target.startswith("eni-") or (carried is not None and carried >= began):
        return None
    return f"fail-over to {target}, through which no packet went since zone {plan.group} began to fail"


def _last_lost(plan: Plan) -> int:
    """When the newest lost round that the pass knew of was sent."""
    return max((on_hub(each.sent_at) for each in plan.memory.recent if not each.is_ok), default=0)


def _last_dark_since(book: Book, group: str) -> int | None:
    """The same for the last time that none did, where that is over: the news of its end is on its way."""
    fates = list(book.world.fates[group])
    while fates and fates[-1][1].is_ok and not fates[-1][1].loss:
        fates.pop()
    return _dark_at_the_end_of(fates)


def _dark_since(book: Book, group: str) -> int | None:
    """Since when no new connection of the group's gets through; None where one does, or some do or did just before."""
    return _dark_at_the_end_of(book.world.fates[group])


def _dark_at_the_end_of(fates: Sequence[tuple[int, Fate]]) -> int | None:
    since = None
    for at, fate in reversed(fates):
        if fate.loss:
            return None
        if fate.is_ok or not fate.is_known:
            break
        since = at
    return since


def borrows_only_in_need(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """8. Another address stands in for a group's own only where that is gone or refused."""
    if plan.reason is not Reason.BORROW_ADDRESS:
        return None
    group = book.world.policy.group(plan.group)
    is_shown = invocation.seen is not None and group.allocation_id in invocation.seen.addresses
    is_refused = any(each.kind == MOVING_ADDRESS for each in plan.memory.back_offs)
    if is_shown and not is_refused:
        return f"zone {plan.group} borrows an address while its own is there"
    return None


def hysteresis_holds(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """12. k failed rounds before traffic leaves, and a quiet period before it comes home."""
    policy, incident = book.world.policy, plan.memory.incident
    if plan.reason is Reason.GO_HOME and plan.stages and not book.world.fires["clock-skew"]:
        left = [each.at for each in remembered_moves(book, invocation, plan.group) if each.reason in FAILOVERS]
        if left and book.now - left[-1] < policy.quiet_period.total_seconds() * SECOND - SECOND:
            return f"home again {(book.now - left[-1]) / 1e6:.1f} s after a failover"
    is_by_packets = plan.reason is Reason.FAIL_OVER and not _is_dead_by_state(book, invocation, plan.group)
    # By a prober's wrong clock, failed rounds may lie before the incident and not be counted in it (seed 200006649).
    if book.world.fires["clock-skew"]:
        return None
    if is_by_packets and incident is not None and incident.cause is Cause.PROBES_FAILED:
        # Rounds of before a group's first route belong to no incident (seed 200054227).
        failed = max(sum(not each.is_ok for each in rounds) for rounds in (incident.rounds, plan.memory.recent))
        if failed and failed < min(policy.rounds_to_fail, 2):
            return f"failover after {failed} failed rounds"
    return None


def failovers_are_bounded(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """13. Failovers per hour are bounded; exhausted means hold, but beside a path that is proven (30)."""
    if plan.reason not in FAILOVERS or not any(is_default(each) for each in plan.actions):
        return None
    if (invocation.serial, plan.group) in book.ledgerless or book.world.fires["memory-lost"]:
        return None
    if book.world.fires["clock-behind"]:
        return None  # by a clock that lags by more than a lease, a failover of a moment ago has not been (29)
    if not has_its_lease(book, invocation, plan.group):
        return None  # frozen past its lease: nothing of what it still plans gets through (seed 9011590)
    known = remembered_moves(book, invocation, plan.group)
    made = sum(each.reason in FAILOVERS and book.now - each.at < 3600 * SECOND for each in known)
    limit = book.world.policy.max_failovers_per_hour
    if plan.reason is Reason.FAIL_OVER and _forwarded_lately(book, plan.memory.target or ""):
        return None
    return f"failover number {made + 1} within an hour; {limit} are allowed" if made >= limit else None


def _forwarded_lately(book: Book, target: str) -> bool:
    """By the truth: packets get through it, or did a moment ago."""
    carried = book.world.carried_at.get(target)
    return target.startswith("nat-") or (carried is not None and book.now - carried <= PROVEN_WITHIN)


def no_budget_keeps_dark(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """30. No budget leaves a group dark beside a path that is proven: another group has been at home on it for longer
    than a proof is fresh, and this one's packets were not lost there within the hour."""
    if plan.reason is not Reason.BUDGET_EXHAUSTED or invocation.seen is None:
        return None
    if book.world.fires["memory-lost"] or book.world.fires["association-lost"]:
        return None  # what nobody remembers, or saw on another path, proves nothing (seeds 1720018742, 1750021802)
    if not plan.memory.is_down and _runs(invocation.seen, plan.memory.target or ""):
        return None  # nobody has said that it is dark: its address may be on its way
    if _dark_since(book, plan.group) is None or (invocation.serial, plan.group) in book.ledgerless:
        return None
    if _has_no_address(book, invocation, plan.group):
        return None  # its packets would leave from nowhere there
    failed = {each.target for each in plan.memory.exclusions} | {plan.memory.target}
    for group in book.world.policy.groups:
        known = book.recorded.get(group.name)
        owner = invocation.seen.owner_of(known or "")
        works_since = book.world.works_since[group.name]
        if book.world.setting.begins != "at-rest" and works_since is not None:
            works_since = max(works_since, 0)  # nothing was remembered when it began
        is_proven = works_since is not None and book.now - works_since > WELL_KNOWN
        is_own = owner is not None and owner.group == group.name and owner.is_running
        if (invocation.serial, group.name) in book.ledgerless:
            continue  # what it says of its path could not be read (seed 1710016250)
        if group.name != plan.group and is_own and is_proven and known not in failed and _is_fit(book, known or ""):
            return f"zone {plan.group} is held dark by a budget beside {known}, which zone {group.name} uses"
    return None


def _is_fit(book: Book, target: str) -> bool:
    """Nothing is wrong with it that a look or a notice tells."""
    machine = book.world.ec2.owner(target)
    if machine is None or machine.interface is None or machine.interface.is_checked or machine.loss:
        return False
    return machine.is_spot_ending_at is None and machine.is_doomed_at is None


def paused_means_still(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """16. Paused means zero writes."""
    until = plan.memory.paused_until
    acts = [each for each in plan.actions if not isinstance(each, StartWatch)]
    if acts and until is not None and book.now + invocation.skew < on_hub(until):
        return f"{plan.reason.value}: {acts[0]} while paused"
    return None


def every_table_is_tried(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """17. A plan that moves routes has a call for every table that is not there yet."""
    if plan.reason not in MOVES or invocation.seen is None or plan.memory.target is None:
        return None
    pointed = {each.table_id for each in plan.actions if is_default(each)}  # type: ignore[union-attr]
    if not pointed:
        return None
    targets = {each.target for each in plan.actions if is_default(each)}  # type: ignore[union-attr]
    missing = [
        table_id
        for table_id in book.world.policy.group(plan.group).table_ids
        if (table := invocation.seen.tables.get(table_id)) is not None
        and table_id not in pointed
        and (DEFAULT_ROUTE not in table.routes or table.routes[DEFAULT_ROUTE].target not in targets)
    ]
    return f"{plan.reason.value}: no call for {missing[0]}" if missing else None


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
    if seen is None or _has_no_address(book, invocation, group):
        return True
    tables = [seen.tables.get(each) for each in book.world.policy.group(group).table_ids]
    routes = [each.routes.get(DEFAULT_ROUTE) for each in tables if each is not None]
    left = {each.target for each in routes if each is not None}
    incident = invocation.plans[group].memory.incident
    recorded = before[1].memory.target if before is not None else incident.from_target if incident is not None else None
    belonged = {recorded} if recorded is not None else set()
    # The plan of a pass that died before it wrote it down is remembered by nobody (seed 100000908).
    written = {each for each in (book.recorded.get(group),) if each is not None}
    blamed = {incident.from_target} if incident is not None and incident.from_target is not None else set()
    return any(
        targets and not any(_runs(seen, each) for each in targets) for targets in (left, belonged, written, blamed)
    )


def _has_no_address(book: Book, invocation: Invocation, group: str) -> bool:
    """Its Elastic IP is gone by the look, or EC2 refuses to move it: packets leave from nowhere, whatever NATs do."""
    plan, seen = invocation.plans[group], invocation.seen
    if seen is None:
        return False
    is_refused = any(each.kind == MOVING_ADDRESS and each.refusals > 1 for each in plan.memory.back_offs)
    return is_refused or book.world.policy.group(group).allocation_id not in seen.addresses


def _runs(seen: Network, target: str) -> bool:
    owner = seen.owner_of(target)
    return target.startswith("nat-") or (owner is not None and owner.is_running)


def remembered_moves(book: Book, invocation: Invocation, group: str) -> list[Move]:
    """What a pass without a ledger did, or one whose record did not get through, nobody else could remember (seed
    10003429); nor what one planned that died before its record got through (seed 6005390)."""
    return [
        each
        for each in book.moves[group]
        if (each.serial, group) not in book.ledgerless
        and (each.serial == invocation.serial or each not in book.unrecorded[group])
    ]


def has_its_lease(book: Book, invocation: Invocation, group: str) -> bool:
    holder, until = lease_of(book, invocation, group)
    return holder == invocation.holder and book.now <= until


def is_default(action: object) -> bool:
    return isinstance(action, PointRoute) and action.destination == DEFAULT_ROUTE


PLANS: tuple[tuple[int, OfPlan], ...] = (
    (1, route_goes_where_packets_were),
    (7, event_alone_moves_nothing),
    (8, borrows_only_in_need),
    (9, kill_and_move_are_apart),
    (10, blind_means_still),
    (11, common_mode_holds),
    (11, candidate_has_carried_since),
    (12, hysteresis_holds),
    (13, failovers_are_bounded),
    (30, no_budget_keeps_dark),
    (16, paused_means_still),
    (17, every_table_is_tried),
)
"""None of them finds anything in a plan that neither acts nor moves."""
