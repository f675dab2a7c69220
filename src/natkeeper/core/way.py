"""Whether the prober's packets go where the group's traffic belongs: only then do they prove anything of it.

Asked by `decide` of each look, and told by `acting` how a move's calls were answered. May not import anything but the
standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.evidence import as_changed
from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import Round
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
    memory = view.memory
    ways = view.probed(DEFAULT_ROUTE)
    is_stray = bool(ways) and memory.target not in (None, *ways)
    return memory if is_stray is memory.is_stray else _with(memory, view.now, is_stray=is_stray)


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

    None where that is not so, or may not be: right after a move an old look still shows the routes of before.
    """
    memory = view.memory
    last = memory.recent[-1] if memory.recent else None
    works = last is not None and last.is_ok and view.now - last.sent_at <= view.policy.freshness
    is_fresh = memory.moved_at is not None and view.now - memory.moved_at < MENDING
    ways = [each for each in view.probed(DEFAULT_ROUTE) if each is not None]
    if not memory.is_stray or not works or is_fresh or not ways:
        return None
    return replace(memory, target=max(ways, key=ways.count), is_stray=False, led_since=view.now)
