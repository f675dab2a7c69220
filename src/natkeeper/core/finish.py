"""Finishing a plan: who carries the traffic, the watch run beside it, what opened or closed with it, and what is told.

May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.arrival import is_under_way, settled_at
from natkeeper.core.evidence import disturbed, is_changing
from natkeeper.core.incident import Cause, Incident, Memory, WatchRun
from natkeeper.core.model import Role, Stranger
from natkeeper.core.plan import (
    AddressArrived,
    IncidentClosed,
    IncidentOpened,
    Plan,
    Reason,
    StartWatch,
    Warned,
)
from natkeeper.core.policy import Policy
from natkeeper.core.replacement import Step, held_back
from natkeeper.core.runs import run_id_of
from natkeeper.core.standing import with_standing
from natkeeper.core.telling import (
    CHECK_KEY,
    QUIET,
    is_quiet,
    left_to_do,
    remember,
    times_mended,
    with_lasting_incident,
    with_pause,
    with_warnings_once,
)
from natkeeper.core.view import View
from natkeeper.core.way import another_way

IS_HEARD = timedelta(seconds=7)
"""From the last round that a run's word rests on to a pass that has heard it: its time-out, and `judge.DELIVERY`."""
SHORT_RUN = timedelta(seconds=15)
"""A watch run while something is going on: its report is what wakes the next step."""
OVERDUE = timedelta(seconds=30)
"""How long after its end a run's report may still be under way before the run counts as lost."""
MAX_WATCH_STARTS = 60
"""Within `WATCH_WINDOW`: the bound of our own on the controller-prober chain, whose loop detection is off."""
MAX_CHAINED_STARTS = 50
"""The rest is for one start a minute: in an outage each run ends after three rounds, and a chain that used up all of
its starts in four minutes would be blind for the next six, in which egress may come back."""
SPACED = timedelta(seconds=20)
"""Runs that follow each other are at most SHORT_RUN apart in an outage; what is further apart, a tick began."""
RELOOK = timedelta(milliseconds=500)
"""A look right after an event can be old (docs/aws.md: EC2 is eventually consistent)."""


def plan_for(view: View, reason: Reason, detail: str) -> Plan:
    """A plan that does nothing yet."""
    return Plan(view.group.name, view.memory, reason, detail)


def describe(plan: Plan, view: View) -> Plan:
    """What people want to see of every plan: who carries the traffic, and whether somebody else could. A group that
    rests with them is remembered to, so that a good report needs no look."""
    view = view.remembering(plan.memory)
    carrier = "unknown"
    for path in view.paths:
        if path.target == view.target:
            owner = path.instance
            carrier = "gateway" if owner is None else "standby" if owner.role is Role.STANDBY else owner.group
    is_backed = view.next_choice is not None
    rest = is_backed if plan.reason is Reason.AT_REST and carrier == plan.group else None
    memory = plan.memory
    away_since = None if carrier == plan.group else memory.not_home_since
    if carrier != plan.group and (away_since is None or away_since > view.now):
        away_since = view.now
    if memory.rest is not rest or memory.is_unfinished or memory.not_home_since != away_since:
        memory = replace(memory, rest=rest, is_unfinished=False, not_home_since=away_since)
    return replace(plan, memory=memory, carried_by=carrier, is_backed=is_backed, probed_tables=view.probed_tables)


def with_warnings(plan: Plan, view: View) -> Plan:
    """Says that packets take another path than the group's, and of each machine that carries the stack's tags and is
    none of its NATs. In each pass: `telling` sees to it that a person hears of it once."""
    view, name = view.remembering(plan.memory), view.group.name
    elsewhere = another_way(view)
    told = [Warned(f"group {name}: {elsewhere}", "another path")] if elsewhere else []
    told += [
        Warned(_stranger(each), f"stranger {each.instance_id}") for each in view.network.strangers if each.group == name
    ]
    return replace(plan, happenings=(*plan.happenings, *told)) if told else plan


def _stranger(each: Stranger) -> str:
    return (
        f"group {each.group}: {each.instance_id} carries this stack's tags and is none of its NATs: {each.differs}. "
        "It is left alone; terminate it or take its tags off"
    )


def awaiting(plan: Plan, view: View) -> Plan:
    """Nothing else to do or to say while the Elastic IP is on its way and packets are lost."""
    memory, last = plan.memory, plan.memory.recent[-1:]
    is_lost = bool(last) and not last[0].is_ok
    if plan.reason not in (Reason.AT_REST, Reason.UNOBSERVED) or not is_lost:
        return plan
    settled = settled_at(memory, view.policy)
    if settled is None or not is_under_way(memory, view.now, view.policy):
        return plan
    text = f"the Elastic IP may be on its way to {memory.target} until {settled:%H:%M:%S}"
    return replace(plan, reason=Reason.AWAITING_ADDRESS, detail=text)


def from_step(view: View, step: Step) -> Plan:
    """The plan of a step of healing, as far as it does not wait for what EC2 refused."""
    step = held_back(view, step)
    return Plan(
        view.group.name,
        step.memory,
        step.reason or Reason.AT_REST,
        step.detail,
        step.stages,
        pause=step.pause,
        verifies=step.verifies,
        records_first=step.records_first,
        wake_at=view.now + RELOOK if step.looks_again else None,
        happenings=(Warned(step.warning, step.warning),) if step.warning else (),
    )


def finished(plan: Plan, before: Memory, now: datetime, policy: Policy) -> Plan:
    """The plan with its watch run, and with everything that somebody is told of it."""
    plan = with_incident(with_watch(plan, now, policy), before.incident, now, policy)
    plan = with_pause(with_arrival(plan, before.address_took), before.paused_until)
    plan = with_warnings_once(with_lasting_incident(plan, now, policy), now)
    return with_standing(plan, now, policy)


def with_watch(plan: Plan, now: datetime, policy: Policy) -> Plan:
    """Keeps exactly one watch run in flight, started beside the plan's first calls so that it costs no time."""
    memory = plan.memory
    watch = memory.watch
    is_running = watch is not None and now < watch.started_at + watch.lasts + OVERDUE
    if is_running and not _is_unheard(memory, now, policy):
        return plan
    starts = memory.watch_starts
    is_chained = bool(starts) and now - starts[-1] < SPACED
    if len(starts) >= (MAX_CHAINED_STARTS if is_chained else MAX_WATCH_STARTS):
        return plan
    is_resting = plan.reason in (Reason.AT_REST, Reason.PAUSED) and memory.incident is None
    lasts = policy.watch_run if is_resting else min(policy.watch_run, SHORT_RUN)
    run_id = run_id_of(plan.group, now)
    start = StartWatch(plan.group, run_id, lasts)
    memory = replace(memory, watch=WatchRun(run_id, now, lasts), watch_starts=(*starts, now))
    first, *rest = plan.stages or ((),)
    return replace(plan, memory=memory, stages=((*first, start), *rest))


def _is_unheard(memory: Memory, now: datetime, policy: Policy) -> bool:
    """The newest round that anybody heard of was lost while the run was on its way, so it has said by now that egress
    is down, or back. Nobody heard: a pass without a ledger got its report, or Lambda lost it (simulation, seed
    1740009658: the group was dark for two minutes, until the run would have been over)."""
    watch, last = memory.watch, memory.recent[-1] if memory.recent else None
    if watch is None or last is None or last.is_ok or last.sent_at <= watch.started_at:
        return False
    return now - last.sent_at > policy.rounds_to_fail * policy.interval + IS_HEARD


def with_incident(plan: Plan, before: Incident | None, now: datetime, policy: Policy) -> Plan:
    """Says what opened and what closed. An incident closes once, when it has recovered and its best measure is in.
    Until then what a plan does to the path is the incident's, and so is the moment at which it was found dead."""
    plan = _named(plan)
    incident = plan.memory.incident
    if incident is None:
        return plan
    is_closed = _is_measured(incident, plan.memory, now, policy)
    if not is_closed and (is_changing(plan) or _is_found_dead(incident, before, now)):
        incident = disturbed(incident, now, is_over=not is_changing(plan))
        plan = replace(plan, memory=replace(plan.memory, incident=incident))
    if before is None or before.incident_id != incident.incident_id:
        plan = replace(plan, happenings=(*plan.happenings, IncidentOpened(incident)))
    return _closed(plan, incident, now, policy) if is_closed else plan


def _closed(plan: Plan, incident: Incident, now: datetime, policy: Policy) -> Plan:
    happenings = (*plan.happenings, _closing(plan, incident, now, policy))
    until = max((each.sent_at for each in incident.rounds), default=now)
    memory = replace(plan.memory, incident=None, measured_until=until)
    if incident.cause is Cause.SOURCE_DEST_CHECK:
        memory = remember(memory, CHECK_KEY, now) or memory
    return replace(plan, memory=memory, happenings=happenings)


def _is_found_dead(incident: Incident, before: Incident | None, now: datetime) -> bool:
    """By what EC2 shows, or again after egress was back. An incident that failed rounds opened has those."""
    if before is None or before.incident_id != incident.incident_id:
        return incident.opened_at == now
    return before.recovered_at is not None and incident.recovered_at is None


def _named(plan: Plan) -> Plan:
    """An incident that began with a lost packet or two, and has become an outage, is called one: nobody is told of the
    first (it was one of all groups together, and natkeeper holds)."""
    memory, incident = plan.memory, plan.memory.incident
    if incident is None or not memory.is_down or incident.cause not in QUIET:
        return plan
    incident = replace(incident, cause=Cause.PROBES_FAILED)
    return replace(plan, memory=replace(memory, incident=incident))


def _closing(plan: Plan, incident: Incident, now: datetime, policy: Policy) -> IncidentClosed:
    """What is told of an incident that is over."""
    measured = incident.downtime(policy.clock_error)
    left = left_to_do(plan, now, policy)
    if incident.cause is Cause.SOURCE_DEST_CHECK and not left:
        left = f"it happened {times_mended(plan.memory)}"
    is_silent = is_quiet(incident, plan.memory, now)
    return IncidentClosed(incident, measured.low, measured.high, now, left, is_silent)


def with_arrival(plan: Plan, before: timedelta | None) -> Plan:
    """Says how long AWS took to bring the Elastic IP, once that is known."""
    took = plan.memory.address_took
    if took is None or took == before:
        return plan
    return replace(plan, happenings=(*plan.happenings, AddressArrived(took)))


def _is_measured(incident: Incident, memory: Memory, now: datetime, policy: Policy) -> bool:
    """A watch run that began before the recovery has the rounds that bound the downtime best: wait for its report, but
    not longer than such a report can take."""
    if incident.recovered_at is None:
        return False
    if now >= incident.recovered_at + policy.watch_run + OVERDUE:
        return True
    is_reported = memory.watch is None or memory.watch.started_at > incident.recovered_at
    return is_reported and incident.address_after is not None
