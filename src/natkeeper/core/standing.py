"""What alarms are told of a group in each pass: is egress up, does natkeeper know, is healing stuck, is it paused.

Called by `finish`, which ends each plan with it. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.backoff import STARTING
from natkeeper.core.incident import Memory
from natkeeper.core.launches import LONGEST_WAIT, types_left
from natkeeper.core.plan import Plan, Reason, Standing
from natkeeper.core.policy import Policy, StandbyMode

BLIND = (Reason.CANNOT_LOOK, Reason.UNOBSERVED)
SETTING_UP = timedelta(minutes=9)
"""A first deployment has ten minutes to get egress, of which the alarm `egress-down` takes the last: a boot with
packages may take 450 s (`Policy.boot_limit`)."""
AWAY_TOO_LONG = timedelta(minutes=50)
"""Away for an hour rings; the alarm `not-healing` takes the last ten minutes."""
REFUSAL_STANDS = LONGEST_WAIT + timedelta(minutes=3)
"""What EC2 refused is asked for again after LONGEST_WAIT at the latest, by the next pass: no newer refusal, and it is
not wanted any more."""


def with_standing(plan: Plan, now: datetime, policy: Policy) -> Plan:
    """The plan with what alarms are told."""
    is_unknown = _is_unknown(plan, now, policy)
    return replace(
        plan,
        standing=Standing(
            _is_up(plan, now, is_unknown=is_unknown),
            is_unknown,
            _is_not_healing(plan, now, policy),
            plan.memory.is_paused(now),
        ),
    )


def _is_unknown(plan: Plan, now: datetime, policy: Policy) -> bool:
    """Nobody could look, or no packet was sent for a while, or none that says anything of the path. An instant that is
    far ahead is none that packets were sent at."""
    memory = plan.memory
    last = memory.recent[-1].sent_at if memory.recent else None
    is_heard = last is not None and abs(now - last) <= policy.freshness
    return plan.reason in BLIND or memory.unseen_since is not None or not is_heard


def _is_up(plan: Plan, now: datetime, *, is_unknown: bool) -> bool | None:
    """Down is said whatever natkeeper may do about it and whatever else it cannot see; up only where it knows."""
    memory, incident = plan.memory, plan.memory.incident
    is_lost = bool(memory.recent) and not memory.recent[-1].is_ok
    is_open = incident is not None and incident.recovered_at is None
    if memory.is_down or (is_open and (is_lost or plan.reason not in BLIND)):
        return False
    if memory.target is None:
        since = memory.not_home_since
        return False if since is not None and now - since >= SETTING_UP else None
    return None if is_unknown or is_lost or memory.is_stray else True


def _is_not_healing(plan: Plan, now: datetime, policy: Policy) -> bool | None:
    """Someone's help is wanted to get the group home. Not denied where nobody could look."""
    memory = plan.memory
    is_away_long = memory.not_home_since is not None and now - memory.not_home_since >= AWAY_TOO_LONG
    is_stuck = plan.reason is Reason.BUDGET_EXHAUSTED or refusal_of(memory, now, policy) is not None
    if is_away_long or is_stuck or memory.borrowed_at is not None:
        return True
    return None if plan.reason is Reason.CANNOT_LOOK else False


def refusal_of(memory: Memory, now: datetime, policy: Policy) -> str | None:
    """The operation and code of a launch or start that EC2 refuses and that is still wanted."""
    repairs = (memory.repair, memory.standby_repair if policy.standby is not StandbyMode.NONE else None)
    for repair in repairs:
        if repair is None or not repair.refusals:
            continue
        heard_at = max(repair.refused_at or repair.started_at, repair.started_at)
        if now - heard_at <= REFUSAL_STANDS or not types_left(memory, policy.instance_types, now):
            return repair.refusal or "RunInstances"
    starts = (each for each in memory.back_offs if each.kind == STARTING and now - each.refused_at <= REFUSAL_STANDS)
    return next((each.refusal or "StartInstances" for each in starts), None)
