"""What people are told, and that they are told it once: warnings, pauses, an incident that lasts, what is left to do.

Called by `finish`, which ends each plan with it, and by `acting`, which hears what EC2 refuses. `message` makes
sentences of it. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.incident import Cause, Incident, Memory, Told
from natkeeper.core.plan import Happening, IncidentLasts, Plan, Reason, Warned
from natkeeper.core.policy import Policy
from natkeeper.core.standing import refusal_of

LASTING = timedelta(seconds=20)
"""An incident that is over before is told once, when it ends: a failover takes one to four seconds, and 11 more where
packets are slow to follow the Elastic IP (`Policy.address_arrival`). With 5 s each of those made two messages."""
UNHEARD = timedelta(seconds=60)
"""While something is going on a run lasts for 15 s, and is overdue 30 s later (`finish.SHORT_RUN`, `finish.OVERDUE`).
The next one is heard of within 15: silence is no good sign by then."""
TOLD_AGAIN_AFTER = timedelta(hours=6)
"""A warning is repeated no sooner, however many passes would: within that time the same person is on call."""
KEPT_KEYS = 16
"""Warnings remembered: a group has a dozen kinds of them."""
LONGEST_KEY = 60
"""Characters; enough to tell a group's warnings apart."""
QUIET = (Cause.TRANSIENT, Cause.PLANNED_MOVE)
"""In the ledger, the metrics and the log, but on nobody's pager: nothing was lost that a retry did not mend."""
CHECK_KEY = "source-dest-check"
STUCK = (Reason.BUDGET_EXHAUSTED, Reason.NO_CANDIDATE, Reason.PAUSED, Reason.CANNOT_LOOK, Reason.COMMON_MODE)
"""While a plan is one of these nothing is being mended."""


def remember(memory: Memory, key: str, now: datetime) -> Memory | None:
    """The memory with the warning given; None where it was given a short while ago."""
    key = key[:LONGEST_KEY]
    fresh = tuple(each for each in memory.told if timedelta(0) <= now - each.at < TOLD_AGAIN_AFTER)
    if any(each.key == key for each in fresh):
        return None
    return replace(memory, told=(*fresh, Told(key, now))[-KEPT_KEYS:])


def with_warnings_once(plan: Plan, now: datetime) -> Plan:
    """The plan without the warnings that people have had already."""
    memory, kept = plan.memory, list[Happening]()
    for happening in plan.happenings:
        if isinstance(happening, Warned) and happening.key is not None:
            given = remember(memory, happening.key, now)
            if given is None:
                continue
            memory = given
        kept.append(happening)
    return replace(plan, memory=memory, happenings=tuple(kept)) if plan.happenings else plan


def with_pause(plan: Plan, before: datetime | None) -> Plan:
    """Says that a pause began or ended. `before`: until when the group was paused as far as the last pass knew."""
    until = plan.memory.paused_until
    if (before is None) is (until is None):
        return plan
    if until is not None:
        text = f"group {plan.group}: paused until {until:%H:%M:%S} UTC; natkeeper watches and changes nothing"
        return _adding(plan, Warned(text, f"paused {until.isoformat()}"))
    text = f"group {plan.group}: the pause is over; natkeeper acts again"
    assert before is not None
    return _adding(plan, Warned(text, f"resumed {before.isoformat()}"))


def with_lasting_incident(plan: Plan, now: datetime, policy: Policy) -> Plan:
    """Says once of an incident that it has not ended within seconds, and what is being done about it."""
    incident = plan.memory.incident
    if incident is None or incident.is_told or incident.recovered_at is not None or incident.cause in QUIET:
        return plan
    if not _is_lasting(plan, incident, now):
        return plan
    refusal = refusal_of(plan.memory, now, policy)
    detail = plan.detail if refusal is None else f"{plan.detail}; EC2 refuses {refusal}"
    incident = replace(incident, is_told=True)
    plan = replace(plan, memory=replace(plan.memory, incident=incident))
    return _adding(plan, IncidentLasts(incident, detail))


def _is_lasting(plan: Plan, incident: Incident, now: datetime) -> bool:
    """A packet was lost that long after it began, or nothing can carry the traffic still. That no good word has come
    says little, for the report of the run that saw egress come back may be under way; but not for ever."""
    lost = [each.sent_at for each in plan.memory.recent[-1:] if not each.is_ok]
    is_seen = any(each - incident.opened_at >= LASTING for each in lost) or plan.reason is Reason.NO_CANDIDATE
    lasts = now - incident.opened_at
    return lasts >= UNHEARD or (is_seen and lasts >= LASTING)


def is_quiet(incident: Incident, memory: Memory, now: datetime) -> bool:
    """Nobody's pager rings for its end. Of a check that is turned on again and again a person hears once."""
    if incident.is_told:
        return False
    is_known_check = incident.cause is Cause.SOURCE_DEST_CHECK and remember(memory, CHECK_KEY, now) is None
    return incident.cause in QUIET or is_known_check


def left_to_do(plan: Plan, now: datetime, policy: Policy) -> str:
    """What is left for a person when an incident ends; empty where natkeeper sees to it."""
    refusal = refusal_of(plan.memory, now, policy)
    if refusal is not None:
        return f"EC2 refuses {refusal}"
    if plan.reason in STUCK:
        return plan.detail
    if plan.memory.borrowed_at is not None:
        return "its own Elastic IP is gone, or may not be moved: give it back, or update the stack with another"
    if plan.memory.not_home_since is not None and policy.canary is None:
        return "nothing can prove the group's own NAT, for there is no canary address: use `switchover` to go home"
    return ""


def check_warning(group: str, memory: Memory) -> Warned:
    """Somebody turned a source/dest check on, and it was found before packets were lost."""
    what = f"group {group}: source/dest check was turned on ({times_mended(memory)})"
    return Warned(f"{what}; natkeeper turns it off again; {WHO}", CHECK_KEY)


WHO = "CloudTrail's ModifyInstanceAttribute or ModifyNetworkInterfaceAttribute says who did it"


def times_mended(memory: Memory) -> str:
    """How often within the hour."""
    times = len(memory.checks_mended)
    return "once within an hour" if times == 1 else f"{times} times within an hour"


def _adding(plan: Plan, happening: Happening) -> Plan:
    return replace(plan, happenings=(*plan.happenings, happening))
