"""What one move may follow another for: invariants about an Elastic IP that is slow to follow, each with its number.

Each function is given the book, the invocation and the plan, and returns what is wrong, or None. Called by
`simulation.invariants.judge`.
"""

from __future__ import annotations

from natkeeper.adapters.ec2_facts import GROUP_TAG
from natkeeper.core.plan import Plan
from natkeeper_lab.simulation.book import Book, Move
from natkeeper_lab.simulation.bus import MINUTE
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants.calls import EYES, RACE
from natkeeper_lab.simulation.invariants.plans import FAILOVERS, has_its_lease, is_default
from natkeeper_lab.simulation.invocation import Invocation

FRESH = 30 * SECOND
"""So long after the address has come may what was lost before it still be heard of; whoever is left later than that is
judged by invariant 8."""


def one_cause_brings_one_failover(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """25. One cause brings at most one failover, unless the new path is really dead."""
    before = _left(book, invocation, plan)
    if before is None or before.reason not in FAILOVERS or not _works_but_for_its_address(book, plan.group, before):
        return None
    return f"{plan.reason.value} away from {before.target}, which forwards and waited for its address only"


def planned_move_is_not_rolled_back(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """28. A planned move is not rolled back while the address may be under way."""
    before = _left(book, invocation, plan)
    if before is None or before.reason in FAILOVERS or not _works_but_for_its_address(book, plan.group, before):
        return None
    return f"{before.reason.value} to {before.target} was rolled back, which waited for its address only"


def a_move_is_followed_only_when_its_target_is_dead(book: Book, invocation: Invocation, plan: Plan) -> str | None:
    """31. Two moves within a minute only if packets proved the first one's target dead, whatever the reasons are."""
    before = _left(book, invocation, plan)
    if before is None or book.now - before.at > MINUTE or not _works(book, plan.group, before):
        return None
    after = (book.now - before.at) / 1e6
    return f"{plan.reason.value} away from {before.target}, which works, {after:.1f} s after {before.reason.value}"


def _left(book: Book, invocation: Invocation, plan: Plan) -> Move | None:
    """The move to what a failover by packets leaves now; None where nothing is left so, or nobody could remember it."""
    if plan.reason not in FAILOVERS or not any(is_default(each) for each in plan.actions):
        return None
    if book.world.fires["memory-lost"] or (invocation.serial, plan.group) in book.ledgerless:
        return None
    if not has_its_lease(book, invocation, plan.group):
        return None  # frozen past its lease: nothing of what it still plans gets through
    incident = plan.memory.incident
    known = [each for each in book.moves[plan.group] if each not in book.unrecorded[plan.group]]
    last = known[-1] if known else None
    if last is None or last.target == plan.memory.target:
        return None
    return last if incident is not None and book.world.route_of(_table(book, plan.group)) == last.target else None


def _works_but_for_its_address(book: Book, group: str, move: Move) -> bool:
    """By the truth: it works, or would, and its address came, or would have, a moment ago."""
    elastic = book.world.ec2.elastics.get(book.world.policy.group(group).allocation_id)
    return elastic is not None and book.now - elastic.follows_at < FRESH and _works(book, group, move)


def _works(book: Book, group: str, move: Move) -> bool:
    """By the truth: the NAT has forwarded ever since the move, and the group's address is on it, or on its way."""
    world = book.world
    since = book.forwards_since.get(move.target)
    if since is None or since > move.at or not move.target.startswith("eni-"):
        return False
    owner = world.ec2.owner(move.target)
    elastic = world.ec2.elastics.get(world.policy.group(group).allocation_id)
    if owner is None or owner.interface is None or elastic is None or elastic.interface_id != move.target:
        return False
    if elastic.private != world.packets.landing(owner, owner.interface, group) or owner.loss or owner.latency_ms:
        return False
    if owner.is_spot_ending_at is not None or owner.is_doomed_at is not None:
        return False
    if world.packets.is_public_access_blocked or owner.megabits is not None:
        return False
    if world.fires["nats-too-small"]:
        return False  # the load is less by now, and packets that it cost are still told of
    if world.fires["address-released"]:
        return False  # packets of the NAT's own group and canary left from it (seed 1740022881)
    return not _is_deceived(book, group, owner.tag(GROUP_TAG))


def _is_deceived(book: Book, group: str, owner: str) -> bool:
    """The own way of its prober, or of that of the NAT's group, which is asked too (seed 1740034494), the targets, or
    clocks that are seconds apart made it look dead."""
    world = book.world
    since = max(world.packets.seeing_again_at.get(each, -3600 * SECOND) for each in (group, owner))
    is_blind = book.now - since < EYES
    return is_blind or book.now - world.packets.targets_back_at < RACE or bool(world.fires["clock-skew"])


def _table(book: Book, group: str) -> str:
    return book.world.policy.group(group).table_ids[0]
