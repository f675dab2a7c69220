"""Whether the group's Elastic IP may still be on its way, and how long AWS took to bring it.

AssociateAddress is answered before packets follow. AWS says nothing of how long after; reports say 1 to 6 s
(docs/aws.md). Until it must have come, packets that are lost say nothing against the path, unless the NAT itself is
shown to forward nothing. Asked by `absorb` and `decide`; `acting` tells how the call was answered. May not import
anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.incident import AddressMove, Memory
from natkeeper.core.model import Role
from natkeeper.core.news import Round
from natkeeper.core.plan import MoveAddress, Plan
from natkeeper.core.policy import Policy
from natkeeper.core.view import NOTHING, View

UNANSWERED = timedelta(seconds=12)
"""How long after it was asked for a call that nobody heard the answer of may still be applied: three attempts of 3 s
with botocore's back-off."""


def with_asked(plan: Plan, view: View) -> Plan:
    """The plan, its memory knowing that an address is asked to move to where the group's traffic belongs: its own
    Elastic IP, or one that stands in for it."""
    moves = [each for each in plan.actions if isinstance(each, MoveAddress) and each.interface_id == plan.memory.target]
    if not moves:
        return _with_found(plan, view)
    move = moves[-1]
    is_apart = _has_canary_of_its_own(view, move.interface_id, move.private)
    asked = AddressMove(move.interface_id, view.now, has_canary_of_its_own=is_apart)
    return replace(plan, memory=replace(plan.memory, address_move=asked, address_took=None))


def _with_found(plan: Plan, view: View) -> Plan:
    """The same where the address is on the new path already. A pass without a ledger put it there, nobody knows when:
    it may be on its way like any other."""
    memory, elastic = plan.memory, view.network.addresses.get(view.group.allocation_id)
    is_moving = memory.target != view.memory.target and memory.moved_at == view.now
    if not is_moving or elastic is None or elastic.interface_id is None or elastic.interface_id != memory.target:
        return plan
    is_apart = _has_canary_of_its_own(view, elastic.interface_id, elastic.private)
    found = AddressMove(elastic.interface_id, view.now, view.now, is_apart, is_found=True)
    return replace(plan, memory=replace(memory, address_move=found))


def as_canary_seen(memory: Memory, view: View) -> Memory:
    """The memory after a look: a NAT whose primary address has lost its public one, because its own group has left it
    meanwhile, silences the canary whether it forwards or not."""
    move = memory.address_move
    if move is None or not move.has_canary_of_its_own or _has_canary_of_its_own(view, move.target):
        return memory
    return replace(memory, address_move=replace(move, has_canary_of_its_own=False))


def _has_canary_of_its_own(view: View, target: str, landing: str | None = None) -> bool:
    """The canary through it leaves from another public address than the group's packets, one that is not under way
    itself: its own group's, which has come, or a standby's own."""
    owner = view.network.owner_of(target)
    if owner is None or owner.interface is None or owner.interface.primary.address == landing:
        return False
    primary = owner.interface.primary
    if owner.role is Role.STANDBY:
        return primary.public is not None and primary.public != _spare(view)
    is_under_way = view.others.get(owner.group, NOTHING).address_move is not None
    return primary.public == view.policy.group(owner.group).public_address and not is_under_way


def _spare(view: View) -> str | None:
    return view.policy.proving.public if view.policy.proving is not None else None


def as_address_answered(memory: Memory, now: datetime, *, is_refused: bool) -> Memory:
    """The memory after AssociateAddress was answered, or given up on: packets may follow from here on."""
    move = memory.address_move
    if move is None:
        return memory
    return replace(memory, address_move=None if is_refused else replace(move, answered_at=now))


def settled_at(memory: Memory, policy: Policy) -> datetime | None:
    """From when on lost packets speak against the path; None where no address is on its way."""
    move = memory.address_move
    if move is None or move.target != memory.target:
        return None
    since = move.answered_at or move.asked_at + UNANSWERED
    return since + policy.address_arrival


def is_under_way(memory: Memory, now: datetime, policy: Policy) -> bool:
    """The address may come at any moment, and no packet has got through yet."""
    settled = settled_at(memory, policy)
    is_through = memory.address_move is not None and memory.address_move.through_at is not None
    return settled is not None and now <= settled and not is_through


def speaking(memory: Memory, failed: Sequence[Round], policy: Policy) -> tuple[Round, ...]:
    """Those of the failed rounds that cannot be an address under way, nor have gone by a route of before."""
    since = [each for each in (settled_at(memory, policy), memory.led_since) if each is not None]
    return tuple(each for each in failed if all(each.sent_at > instant for instant in since))


def is_silent(memory: Memory, canary: Sequence[Round], rounds_to_fail: int) -> bool:
    """The canary, which leaves from another address of the same NAT, fails too: so the NAT forwards nothing.

    Only where the canary had passed before, or it may be its own address that is out of reach.
    """
    move, pointed = memory.address_move, memory.canary
    if move is None or pointed is None or pointed.target != memory.target or not move.has_canary_of_its_own:
        return False
    since = max(move.asked_at, pointed.pointed_at)
    sent = [each for each in canary if each.sent_at > since][-rounds_to_fail:]
    was_proven = memory.proof_of(pointed.target) is not None and pointed.failed_since is None
    return was_proven and len(sent) == rounds_to_fail and not any(each.is_ok for each in sent)


def as_got_through(memory: Memory, row: Sequence[Round], policy: Policy) -> Memory:
    """The memory after packets got through: the address has come. What AWS took is noted once they cannot have gone the
    old way any more, for a changed route takes up to a second to propagate."""
    move = memory.address_move
    if move is None or move.target != memory.target:
        return memory
    since = move.answered_at or move.asked_at
    row = [each for each in row if each.sent_at >= since]
    if not row:
        return memory
    through_at = move.through_at or row[0].sent_at
    if row[-1].sent_at < since + policy.propagation:
        return replace(memory, address_move=replace(move, through_at=through_at))
    if move.is_found:
        return replace(memory, address_move=None)
    took = through_at - since
    incident = memory.incident
    if incident is not None and incident.address_took is None:
        incident = replace(incident, address_took=took)
    return replace(memory, address_move=None, address_took=took, incident=incident)


def as_lost_again(memory: Memory) -> Memory:
    """The memory after packets were lost: those that had got through went the old way."""
    move = memory.address_move
    if move is None or move.through_at is None:
        return memory
    return replace(memory, address_move=replace(move, through_at=None))
