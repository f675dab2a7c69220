"""Whether the prober's packets go where the group's traffic belongs: only then do they prove anything of it.

Three ways to be wrong about it: its own route leads elsewhere (*stray*: somebody edited it), its subnet is behind
another table than the group's (*apart*, by the look), or the far end sees it from another address than the group's
(*apart*, by the report). Asked by `decide` of each look, by `absorb` of each report, and told by `acting` how a move's
calls were answered. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.evidence import as_changed
from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import ProbeReport, Round
from natkeeper.core.plan import Action, Plan, PointRoute, Reason
from natkeeper.core.policy import Policy
from natkeeper.core.view import View

MENDING = timedelta(seconds=30)
"""How long after a move its failed calls are made up for before the path itself is blamed, and its routes may be shown
as they were before."""
LEFT_DEAD = (Reason.FAIL_OVER,)
"""Moves off a path on which nothing gets through, to one that is verified already. After a last resort what gets
through at once may have gone the old way, which had come back: it would prove a NAT that is still booting."""


def as_seen(view: View) -> Memory:
    """The memory after a look, of which the report that woke the pass is told nothing yet."""
    memory = _as_associated(_as_settled(view), view)
    ways = view.probed(DEFAULT_ROUTE)
    is_stray = bool(ways) and memory.target not in (None, *ways)
    return memory if is_stray is memory.is_stray else _with(memory, view.now, is_stray=is_stray)


def _as_settled(view: View) -> Memory:
    """Whether packets must now be seen from the group's Elastic IP. Where they need not be (a gateway, a NAT without an
    address for this group, an address that is gone, refused or under way), what they are seen from says nothing."""
    memory, group = view.memory, view.group
    path = next((each for each in view.paths if each.target == view.target), None)
    landing = path.landing if path is not None else None
    elastic = view.network.addresses.get(group.allocation_id)
    if landing is None or elastic is None or view.is_address_stuck:
        until = view.now if memory.strange_address is not None else memory.apart_until
        return replace(memory, settled_since=None, strange_address=None, strange_at=None, apart_until=until)
    is_there = (elastic.interface_id, elastic.private) == (view.target, landing)
    is_routed = set(view.points_at(DEFAULT_ROUTE).values()) == {view.target}
    is_settled = is_there and is_routed and memory.address_move is None
    return replace(memory, settled_since=(memory.settled_since or view.now) if is_settled else None)


def _as_associated(memory: Memory, view: View) -> Memory:
    """Whether the prober's subnet is behind one of the group's tables. Once it is again, what is sent from now on
    counts; a changed association takes as long to propagate as a changed route."""
    if not view.probed_tables:
        apart = replace(memory, apart_since=view.now, strange_address=None, strange_at=None)
        return memory if memory.apart_since is not None else _blinded(apart)
    if memory.apart_since is None:
        return memory
    return replace(memory, apart_since=None, apart_until=view.now + view.policy.propagation)


def _blinded(memory: Memory) -> Memory:
    """Without all that packets have shown, for nobody knows since when they have gone another way."""
    return replace(memory, proofs=(), canary=None, is_down=False, down_at=None, stable_since=None)


def as_reported(memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Memory:
    """The memory after a report's public address: another one than the group's, while its path is settled, means that
    the packets went another way; its own again, that they do no more.

    Only where the page is known to tell the truth: it has told an address of the stack's before, or does so now. The
    user chooses the page, and one that always shows some other address must not make natkeeper blind for good.
    """
    seen, at, own = report.egress_address, report.egress_address_at, policy.group(report.group).public_address
    if seen is None or at is None:
        return _as_worn_out(memory, report, now, policy)
    if seen == own:
        return _as_its_own(memory, at)
    since = memory.settled_since
    is_expected = since is not None and at > max(since, memory.moved_at or since) + policy.address_arrival
    known = {*(each.public_address for each in policy.groups), policy.proving.public if policy.proving else own}
    is_true = seen in known or memory.egress_address in known
    if not is_expected or not is_true or _is_of_before(memory, at):
        return memory
    strange = replace(memory, strange_address=seen, strange_at=min(at, now))
    return strange if memory.strange_address is not None else _blinded(strange)


def _as_worn_out(memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Memory:
    """An address that was seen a while ago does not excuse for ever what is lost now: the packets may go the group's
    way again, and find a NAT that is hung, which shows no address at all."""
    seen_at, last = memory.strange_at, report.rounds[-1:]
    is_lost = bool(last) and not last[0].is_ok
    if seen_at is None or not is_lost or now - seen_at <= policy.freshness:
        return memory
    return _as_its_own(memory, seen_at)


def _as_its_own(memory: Memory, until: datetime) -> Memory:
    """Seen from the group's own address again: what was sent after that counts."""
    if memory.strange_address is None:
        return memory
    until = max(until, memory.apart_until or until)
    return replace(memory, strange_address=None, strange_at=None, apart_until=until)


def _is_of_before(memory: Memory, at: datetime) -> bool:
    return memory.apart_since is not None or (memory.apart_until is not None and at <= memory.apart_until)


def on_the_path(memory: Memory, report: ProbeReport) -> ProbeReport:
    """The report with what its packets show of the group's own path only."""
    if memory.is_apart:
        return replace(report, rounds=(), canary=(), egress_address=None, egress_address_at=None)
    until = memory.apart_until
    if until is None or not any(each.sent_at <= until for each in (*report.rounds, *report.canary)):
        return report
    at = report.egress_address_at
    is_own = at is not None and at >= until
    return replace(
        report,
        rounds=tuple(each for each in report.rounds if each.sent_at > until),
        canary=tuple(each for each in report.canary if each.sent_at > until),
        egress_address=report.egress_address if is_own else None,
        egress_address_at=at if is_own else None,
    )


def another_way(view: View) -> str:
    """Why nothing is known of the group's path, and what a person can do; empty where its packets take it."""
    memory, group = view.memory, view.group
    if memory.apart_since is not None:
        return (
            f"{_behind(view)}; nothing is known of the group's path: associate it with {' or '.join(group.table_ids)}"
        )
    if memory.strange_address is not None:
        return (
            f"the prober of subnet {group.private_subnet_id} is seen from {memory.strange_address}, not from the "
            f"group's {group.public_address}; its packets take another path, so nothing is known of the group's: see "
            f"whether the prober is in that subnet, and for more specific routes in {', '.join(group.table_ids)}"
        )
    return ""


def _behind(view: View) -> str:
    subnet, others = view.group.private_subnet_id, view.network.associations
    if subnet not in others:
        return f"EC2 did not say which route table the prober's subnet {subnet} uses"
    table = others[subnet]
    if table is None:
        return f"the prober's subnet {subnet} uses the VPC's main route table, which is none of the group's"
    return f"the prober's subnet {subnet} is associated with {table}, which is none of the group's tables"


def as_answered(memory: Memory, plan: Plan, action: Action, now: datetime, policy: Policy, *, is_done: bool) -> Memory:
    """The memory after a call of the plan's: what gets through by a route that stayed where it was says nothing of
    where it should lead (simulation, seed 200004304)."""
    memory = as_changed(memory, plan, action, now, policy)
    if not isinstance(action, PointRoute) or action.destination != DEFAULT_ROUTE:
        return memory
    is_probed = action.table_id in plan.probed_tables
    if not is_probed:
        return memory
    # What was left on purpose still works: until the route has propagated, packets that get through may go the old way.
    return _with(memory, now if plan.reason in LEFT_DEAD else now + policy.propagation, is_stray=not is_done)


def _with(memory: Memory, now: datetime, *, is_stray: bool) -> Memory:
    return replace(memory, is_stray=is_stray, led_since=memory.led_since if is_stray else now)


def proving(memory: Memory, rounds: Sequence[Round]) -> tuple[Round, ...]:
    """Those of the rounds that were sent while the way led where the traffic belongs.

    While somebody's own route had the prober's packets, a NAT that was still booting passed for proven, and others'
    traffic was moved to it (simulation, seeds 132510121, 300066606).
    """
    if memory.is_stray:
        return ()
    return tuple(each for each in rounds if memory.led_since is None or each.sent_at > memory.led_since)


def followed(view: View) -> Memory | None:
    """Somebody's route carries the group's packets, and where natkeeper wanted them none has been: so they are left
    where they get through, and come home as from anywhere else, once the canary has proven the group's own NAT.

    None where that is not so, or may not be: right after a move, or after routes were put back, an old look still shows
    those of before (simulation, seed 1780046607).
    """
    memory = view.memory
    last = memory.recent[-1] if memory.recent else None
    works = last is not None and last.is_ok and view.now - last.sent_at <= view.policy.freshness
    changed = [each for each in (memory.moved_at, memory.led_since) if each is not None]
    is_fresh = bool(changed) and view.now - max(changed) < MENDING
    ways = [each for each in view.probed(DEFAULT_ROUTE) if each is not None]
    if not memory.is_stray or not works or is_fresh or not ways:
        return None
    return replace(memory, target=ways[0], is_stray=False, led_since=view.now)
