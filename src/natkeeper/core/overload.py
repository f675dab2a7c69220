"""A NAT that is too small, not dead: loss that follows the group's traffic from one NAT to the next.

Where a group's packets were lost on a neighbour's NAT, and that one's own get through again since they left, the load
is to blame. Traffic that goes to and fro would take every group's packets along in turn. Asked by `failover` before it
leaves. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from natkeeper.core.finish import plan_for
from natkeeper.core.incident import Cause, Memory
from natkeeper.core.judge import Verdict
from natkeeper.core.plan import Plan, Reason, Warned
from natkeeper.core.view import Path, View

FIRST_WAIT = timedelta(seconds=20)
"""How long nothing at all must have got through on the present path before such a NAT is tried again: a small one
answers now and then (with two thirds of the packets lost, three rounds of ten have an answer), a dead one never. With
10 s one run in seven went there once more (simulation); longer leaves a group as long on a dead NAT beside a proven
one."""
FIRST_STAY = timedelta(minutes=2)
"""How long it stays where something gets through: then the other one is tried again, for it may have lost packets for a
reason of its own. Both are doubled with each pair of the hour's failovers."""
LONGEST_WAIT = timedelta(minutes=10)
SETTLES = timedelta(seconds=5)
"""Three rounds, and their report."""
FINDS_OUT = timedelta(seconds=10)
"""So long after its traffic came may a guest take to see that it loses packets there, and to leave. A NAT that has let
something through since it began to fail is given longer."""
LEFT = "another group left {} a moment ago, and rounds sent since then will tell"
CAME = "another group's traffic came to {} a moment ago, and some packets get through: it may be too much for it"
ZERO = timedelta(0)


def is_spared(view: View, path: Path) -> bool:
    """It is a neighbour's, this group's packets were lost there within the hour and its own get through since, and the
    present path may let some through."""
    failed = view.memory.loss_on(path.target)
    if failed is None or failed.since is None or failed.is_guess or path.instance is None:
        return False
    owner = view.others.get(path.instance.group)
    theirs = owner.proof_of(path.target) if owner is not None else None
    return theirs is not None and theirs.at > failed.since and _lets_some_through(view)


def is_no_better(view: View, path: Path) -> bool:
    """This group's packets were lost there too, nothing proves it since, and the present path lets some through."""
    return view.memory.loss_on(path.target) is not None and _lets_some_through(view)


def _lets_some_through(view: View) -> bool:
    moved_at = view.memory.moved_at
    if moved_at is None or view.now - moved_at >= _damped(view, FIRST_STAY):
        return False
    return view.now - max(moved_at, view.memory.through_at or moved_at) < _damped(view, FIRST_WAIT)


def _damped(view: View, first: timedelta) -> timedelta:
    pairs = len(view.memory.failovers) // 2
    return min(first * (1 << min(max(pairs - 1, 0), 8)), LONGEST_WAIT)


def guest_to_blame(view: View) -> str | None:
    """What another group's traffic has to do with it: it lost packets on the present NAT too and left a moment ago, or
    it came there a moment ago and something still gets through. None: nothing, as far as anybody knows."""
    others = view.others.values()
    if any(_has_left(view, each) for each in others):
        return LEFT
    return CAME if any(_has_crowded(view, each) for each in others) else None


def _has_left(view: View, other: Memory) -> bool:
    failed = other.loss_on(view.target)
    if failed is None or failed.since is None or other.target == view.target:
        return False
    return ZERO <= view.now - failed.since < SETTLES


def _has_crowded(view: View, other: Memory) -> bool:
    through_at, came_at = view.memory.through_at, other.moved_at
    if other.target != view.target or through_at is None or came_at is None:
        return False
    failing_since = view.memory.failing_since
    is_lossy = failing_since is not None and failing_since < through_at
    return came_at < through_at and view.now - came_at < (FIRST_WAIT if is_lossy else FINDS_OUT)


def wait(view: View, verdict: Verdict, guest: str) -> Plan:
    """Until rounds have been sent without that traffic."""
    text = f"{verdict.detail}; {guest.format(view.target)}"
    return plan_for(view, Reason.OVERLOADED, text)


def hold(view: View, spared: Path, verdict: Verdict) -> Plan:
    """Traffic stays where some of it may get through."""
    text = f"{verdict.detail}; {spared.target} lost this group's packets and carries its own since: too small for both"
    memory = view.memory
    incident = replace(memory.incident, cause=Cause.OVERLOADED) if memory.incident is not None else None
    plan = plan_for(view.remembering(replace(memory, incident=incident)), Reason.OVERLOADED, text)
    told = Warned(f"group {view.group.name}: {text}; take a larger instance type", "overload")
    return replace(plan, happenings=(told,))
