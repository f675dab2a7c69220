"""A NAT that is too small, not dead: loss that follows the group's traffic from one NAT to the next.

Where a group's packets were lost on a neighbour's NAT, and that one's own get through again since they left, the load
is to blame. Traffic that goes to and fro would take every group's packets along in turn. Asked by `failover` before it
leaves. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.finish import plan_for
from natkeeper.core.incident import Cause
from natkeeper.core.judge import Verdict
from natkeeper.core.plan import Plan, Reason, Warned
from natkeeper.core.view import Path, View

FIRST_WAIT = timedelta(seconds=20)
"""How long nothing at all must have got through on the present path before such a NAT is tried again: an overloaded one
lets a round through now and then (with two thirds of the packets lost, one in twenty), a dead one none. Longer would
leave a group on a dead NAT beside a proven one for as long (simulation). It is doubled with each pair of the hour's
failovers."""
LONGEST_WAIT = timedelta(minutes=10)
SETTLES = timedelta(seconds=5)
"""Three rounds, and their report."""


def is_spared(view: View, path: Path) -> bool:
    """It is a neighbour's, this group's packets were lost there within the hour and its own get through since, and the
    present path may let some through."""
    failed = next((each for each in view.memory.exclusions if each.target == path.target), None)
    is_neighbours = path.instance is not None and path.instance.group != view.group.name
    if failed is None or failed.is_guess or not is_neighbours or not view.is_mended(path, failed):
        return False
    times = len(view.memory.failovers) // 2
    wait = min(FIRST_WAIT * (1 << min(max(times - 1, 0), 8)), LONGEST_WAIT)
    return view.now - _last_through(view) < wait


def has_just_been_left(view: View) -> bool:
    """Another group's packets were lost on the present NAT too, and it left a moment ago: rounds sent since then tell
    whether its load was to blame."""
    failed = (each for other in view.others.values() for each in other.exclusions if each.target == view.target)
    return any(each.since is not None and timedelta(0) <= view.now - each.since < SETTLES for each in failed)


def wait(view: View, verdict: Verdict) -> Plan:
    """Until those rounds have been sent."""
    text = f"{verdict.detail}; another group left {view.target} a moment ago, and rounds sent since then will tell"
    return plan_for(view, Reason.OVERLOADED, text)


def hold(view: View, spared: Path, verdict: Verdict) -> Plan:
    """Traffic stays where some of it may get through."""
    text = f"{verdict.detail}; {spared.target} lost this group's packets and carries its own since: too small for both"
    memory = view.memory
    incident = replace(memory.incident, cause=Cause.OVERLOADED) if memory.incident is not None else None
    plan = plan_for(view.remembering(replace(memory, incident=incident)), Reason.OVERLOADED, text)
    told = Warned(f"group {view.group.name}: {text}; take a larger instance type", "overload")
    return replace(plan, happenings=(told,))


def _last_through(view: View) -> datetime:
    """When a round last got through on the present path, or when traffic came to it."""
    memory = view.memory
    rounds = (*memory.recent, *(memory.incident.rounds if memory.incident is not None else ()))
    since = memory.moved_at or view.now - LONGEST_WAIT
    return max([since, *(each.sent_at for each in rounds if each.is_ok and since < each.sent_at <= view.now)])
