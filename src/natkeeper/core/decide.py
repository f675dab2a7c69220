"""decide(observation, memory, now, policy) -> Plan: the whole of natkeeper's judgement about one group, in one place.

Called by `reconcile`, once per group and turn. Total and deterministic: it escalates, it never raises. The order of
the questions is the order of danger: could we look, may we act, is egress alive, is anything half done, can it heal.
May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from natkeeper.core.absorb import absorb, open_incident
from natkeeper.core.heal import Step, heal, make_way, replace_hung, rouse_standby, tidy
from natkeeper.core.incident import Cause, Doom, Incident, Memory, WatchRun
from natkeeper.core.judge import Health, Verdict, judge
from natkeeper.core.model import DEFAULT_ROUTE, ControlProbe, InstanceState, Network, Role, Unknown
from natkeeper.core.move import Stages, stages_to
from natkeeper.core.news import Command, InstanceChanged, News, Verb
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    Happening,
    IncidentClosed,
    IncidentOpened,
    Plan,
    Reason,
    StartWatch,
    Warned,
)
from natkeeper.core.policy import Group, Policy
from natkeeper.core.view import Path, View

PASSING = (Cause.TRANSIENT, Cause.PLANNED_MOVE, Cause.EXTERNAL)
BY_PACKETS = (*PASSING, Cause.PROBES_FAILED)
"""Causes that only say that probes failed: the control probe may find a better one. What EC2 showed stays true."""
ZERO = timedelta(0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SHORT_RUN = timedelta(seconds=15)
"""A watch run while something is going on: its report is what wakes the next step."""
OVERDUE = timedelta(seconds=30)
"""How long after its end a run's report may still be under way before the run counts as lost."""
RELOOK = timedelta(milliseconds=500)
"""A look right after an event can be old (FACTS: eventual consistency)."""
SETTING_UP = timedelta(seconds=3)
"""How long the calls that give a group its first route may take, with botocore's back-off."""
MENDING = timedelta(seconds=30)
"""How long after a move its failed calls are made up for before the path itself is blamed."""
MAX_WATCH_STARTS = 60
MAX_CHAINED_STARTS = 50
"""The rest is for one start a minute: in an outage each run ends after three rounds, and a chain that used up all of
its starts in four minutes would be blind for the next six, in which egress may come back."""
SPACED = timedelta(seconds=20)
"""Runs that follow each other are at most SHORT_RUN apart in an outage; what is further apart, a tick began."""
WATCH_WINDOW = timedelta(minutes=10)
"""The bound of our own on the controller-prober chain, whose loop detection is off: 60 starts in 10 minutes."""


@dataclass(frozen=True)
class Observation:
    """All that one turn knows about one group. `others`: the memories of the stack's other groups."""

    group: Group
    network: Network | Unknown
    others: Mapping[str, Memory] = field(default_factory=dict)
    news: Sequence[News] = ()
    control: ControlProbe | None = None


def decide(observation: Observation, memory: Memory, now: datetime, policy: Policy) -> Plan:
    """The plan for one group: what to do now, what to remember, and why."""
    name = observation.group.name
    before = memory.incident
    memory = _forget(absorb(name, memory, observation.news, now, policy), now)
    if isinstance(observation.network, Unknown):
        plan = Plan(name, memory, Reason.CANNOT_LOOK, observation.network.reason)
    else:
        view = View(observation.group, observation.network, memory, observation.others, policy, now)
        plan = _describe(_act(_settle(view), observation), view)
    return _with_incident(_with_watch(plan, now, policy), before, now, policy)


def _forget(memory: Memory, now: datetime) -> Memory:
    """Drops what is older than the window it is counted in."""
    return replace(
        memory,
        failovers=tuple(each for each in memory.failovers if now - each < HOUR),
        launches=tuple(each for each in memory.launches if now - each < DAY),
        watch_starts=tuple(each for each in memory.watch_starts if now - each < WATCH_WINDOW),
        exclusions=tuple(each for each in memory.exclusions if now < each.until),
        paused_until=memory.paused_until if memory.is_paused(now) else None,
    )


def _settle(view: View) -> View:
    """What the look itself teaches: where the traffic is if nothing is recorded, and which proofs died."""
    memory = view.memory
    if memory.target is None and view.majority is not None:
        memory = replace(memory, target=view.majority)
    for proof in memory.proofs:
        owner = view.network.owner_of(proof.target)
        if owner is not None and owner.state is not InstanceState.RUNNING:
            memory = memory.without_proof(proof.target)
    memory = _without_stray_canary(view, memory)
    seen = {each.instance_id: each.interruption_at for each in view.network.instances if each.interruption_at}
    kept = (each for each in memory.dooms if each.instance_id not in seen and view.now - each.at < DAY)
    dooms = (*kept, *(Doom(instance_id, at) for instance_id, at in seen.items()))
    return replace(view, memory=replace(memory, dooms=dooms))


def _without_stray_canary(view: View, memory: Memory) -> Memory:
    """A canary whose route is not where the record says (the call failed, somebody deleted it) went another way: what
    it proved is void, and it is pointed anew."""
    canary, destination = memory.canary, view.policy.canary_destination
    if canary is None or destination is None or canary.target == memory.target:
        return memory
    if all(each == canary.target for each in view.points_at(destination).values()):
        return memory
    return replace(memory.without_proof(canary.target), canary=None)


# -- the questions, in order


def _act(view: View, observation: Observation) -> Plan:
    if view.memory.is_paused(view.now):
        return _plan(view, Reason.PAUSED, f"paused until {view.memory.paused_until:%H:%M:%S}")
    verdict = judge(view, observation.control)
    wish = _wish(view, observation.news)
    mending = _mend(view, verdict)
    if mending is not None:
        return mending
    if verdict.health is Health.DEAD:
        return _fail_over(view, verdict)
    if verdict.health in (Health.NEEDS_CONTROL, Health.EXTERNAL, Health.COMMON_MODE):
        return _hold(view, verdict)
    if wish is not None:
        return _obey(view, wish)
    if verdict.health is Health.UNOBSERVED:
        return _unobserved(view, verdict, observation.news)
    return _alive(view, observation.news)


def _plan(view: View, reason: Reason, detail: str = "") -> Plan:
    return Plan(view.group.name, view.memory, reason, detail)


def _hold(view: View, verdict: Verdict) -> Plan:
    reasons = {
        Health.NEEDS_CONTROL: Reason.NEEDS_CONTROL_PROBE,
        Health.EXTERNAL: Reason.EXTERNAL,
        Health.COMMON_MODE: Reason.COMMON_MODE,
    }
    plan = _plan(view, reasons[verdict.health], verdict.detail)
    if verdict.health is Health.NEEDS_CONTROL:
        return replace(plan, wants_control_probe=True, wake_at=view.now)
    incident = plan.memory.incident
    if verdict.health is Health.EXTERNAL and incident is not None and incident.cause in BY_PACKETS:
        return replace(plan, memory=replace(plan.memory, incident=replace(incident, cause=Cause.EXTERNAL)))
    return plan


def _unobserved(view: View, verdict: Verdict, news: Sequence[News]) -> Plan:
    repair = _repair_check(view)
    if repair:
        return replace(_plan(view, Reason.HEALING, "source/dest check was on"), stages=repair)
    return _look_again(view, news) or _plan(view, Reason.UNOBSERVED, verdict.detail)


def _alive(view: View, news: Sequence[News]) -> Plan:
    repair = _repair_check(view)
    if repair:
        return replace(_plan(view, Reason.HEALING, "source/dest check was on"), stages=repair, verifies=True)
    again = _look_again(view, news)
    if again is not None:
        return again
    present = _present(view)
    is_doomed = present is not None and present.instance is not None and view.is_doomed(present.instance)
    if present is not None and is_doomed and (leaving := _leave(view, present)):
        return leaving
    if present is not None and (stages := stages_to(view, present, is_planned=False)):
        text = f"routes or address were not all on {present.target}"
        return replace(_plan(view, Reason.CONVERGE, text), stages=stages, verifies=True)
    if present is not None and is_doomed:
        return _make_way(view, present)
    step = heal(view)
    if step.reason is None and view.is_home:
        step = tidy(replace(view, memory=step.memory))
    return _from_step(view, step)


def _look_again(view: View, news: Sequence[News]) -> Plan | None:
    """An event says that the NAT in use stopped, and EC2's API does not show it yet: ask once more before resting."""
    owner = view.network.owner_of(view.target or "")
    for each in news:
        if (
            isinstance(each, InstanceChanged)
            and owner is not None
            and each.instance_id == owner.instance_id
            and each.state not in (InstanceState.RUNNING.value, InstanceState.PENDING.value)
        ):
            text = f"an event says {each.instance_id} is {each.state}, EC2 shows {owner.state.value}"
            return replace(_plan(view, Reason.LOOK_AGAIN, text), wake_at=view.now + RELOOK)
    return None


# -- moving


def _mend(view: View, verdict: Verdict) -> Plan | None:
    """Probes speak of the path that routes and address really take. While those are not on the recorded one (a call of
    a move failed, somebody deleted a route), failed probes say nothing against it: put them there, then judge.

    Not for ever: once a verification failed too (it is excluded) and the move is no longer fresh, only a group with no
    route at all on the path is mended again; a single table that refuses every call must not hold the others there.
    """
    present = _present(view)
    if verdict.health in (Health.ALIVE, Health.EXTERNAL) or present is None:
        return None
    if present.instance is not None and not present.instance.is_running:
        return None
    if verdict.health is Health.UNOBSERVED and not (view.is_usable(present) and view.is_verified(present)):
        return None
    stages = stages_to(view, present, is_planned=False)
    is_elsewhere = present.target not in view.points_at(DEFAULT_ROUTE).values()
    is_fresh = view.memory.moved_at is not None and view.now - view.memory.moved_at < MENDING
    is_blamed = view.memory.is_excluded(present.target, view.now)
    if not stages or not (is_elsewhere or is_fresh or not is_blamed):
        return None
    text = f"routes or address were not all on {present.target}, so probes say nothing about it"
    return replace(_plan(view, Reason.CONVERGE, text), stages=(*_repair_check(view), *stages), verifies=True)


def _present(view: View) -> Path | None:
    return next((each for each in view.paths() if each.target == view.target), None)


def _repair_check(view: View) -> Stages:
    present = _present(view)
    if (
        present is not None
        and present.instance is not None
        and present.instance.is_running
        and view.is_checked(present)
    ):
        return ((DisableSourceDestCheck(present.target),),)
    return ()


def _fail_over(view: View, verdict: Verdict) -> Plan:
    is_new = view.memory.incident is None and view.memory.moved_at is None and verdict.cause is Cause.ROUTE_MISSING
    if not is_new:
        view = replace(view, memory=_mark_dead(view, verdict))
    repair = _repair_check(view)
    if repair and verdict.cause is Cause.PROBES_FAILED:
        # One call mends the path in use; if it does not, the failed verification sends the next turn elsewhere.
        return replace(_plan(view, Reason.HEALING, "source/dest check was on"), stages=repair, verifies=True)
    others = [each for each in view.paths() if each.target != view.target and view.is_usable(each)]
    verified = [each for each in others if view.is_verified(each)]
    if is_new:
        return _set_up(view, verified)
    if len(view.memory.failovers) >= view.policy.max_failovers_per_hour:
        # Traffic stays where it is; getting the group's own NAT to run again moves nothing, so that goes on.
        text = f"group {view.group.name}: {len(view.memory.failovers)} failovers in an hour; holding still, please look"
        healing = _from_step(view, heal(view))
        return replace(healing, reason=Reason.BUDGET_EXHAUSTED, detail=text, happenings=(Warned(text),))
    if verified:
        return _move(view, verified[0], Reason.FAIL_OVER, verdict.detail)
    return _no_verified_candidate(view, verdict)


def _set_up(view: View, verified: Sequence[Path]) -> Plan:
    """A group that never had a default route: launch, prove, and only then let the first packet in."""
    running = [each for each in view.paths() if each.instance is view.home and view.home and view.home.is_running]
    if verified:
        plan = _move(view, verified[0], Reason.ADOPT, "the group's first route")
    elif running and view.policy.canary is None:
        plan = _move(view, running[0], Reason.ADOPT, "the group's first route, unproven: there is no canary address")
    else:
        return _from_step(view, heal(view))
    # Egress begins with that route: the rounds that failed before it belong to no incident.
    return replace(plan, memory=replace(plan.memory, measured_until=view.now + SETTING_UP))


def _mark_dead(view: View, verdict: Verdict) -> Memory:
    memory = view.memory
    cause = verdict.cause or Cause.PROBES_FAILED
    incident = memory.incident or open_incident(view.group.name, cause, view.now, memory)
    if incident.cause in PASSING:
        incident = replace(incident, cause=cause)
    memory = replace(memory, incident=replace(incident, recovered_at=None), stable_since=None)
    return memory.without_proof(view.target) if view.target is not None else memory


def _no_verified_candidate(view: View, verdict: Verdict) -> Plan:
    """Proven dead and nothing verified: the one case in which traffic may go where no packet has been."""
    for path in view.paths():
        is_excluded = view.memory.is_excluded(path.target, view.now)
        if path.target != view.target and path.instance and path.instance.is_running and not is_excluded:
            text = f"{verdict.detail}; nothing verified is left, trying {path.target}"
            plan = _move(view, path, Reason.LAST_RESORT, text)
            return replace(plan, happenings=(Warned(f"group {view.group.name}: {text}"),))
    plan = _from_step(view, replace_hung(view))
    text = f"group {view.group.name} has no egress and nothing can carry it: {verdict.detail}; {plan.detail}"
    stages = tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)
    return replace(plan, reason=Reason.NO_CANDIDATE, detail=text, stages=stages, happenings=(Warned(text),))


def _move(view: View, path: Path, reason: Reason, detail: str) -> Plan:
    """Everything that moves traffic because the present path is dead."""
    memory = view.memory
    stages = stages_to(view, path, is_planned=False)
    if path.instance is not None and view.is_checked(path):
        stages = ((DisableSourceDestCheck(path.target),), *stages)
    if memory.incident is not None:
        is_last = reason is Reason.LAST_RESORT
        incident = replace(memory.incident, to_target=path.target, is_last_resort=is_last)
        memory = replace(memory, incident=incident)
    is_failover = reason in (Reason.FAIL_OVER, Reason.LAST_RESORT)
    memory = replace(
        memory,
        target=path.target,
        moved_at=view.now,
        is_down=False,
        stable_since=None,
        withdrawn_at=None,
        failovers=(*memory.failovers, view.now) if is_failover else memory.failovers,
    )
    plan = Plan(view.group.name, memory, reason, detail, stages, verifies=True)
    return replace(plan, wake_at=view.now)


def _planned(view: View, path: Path, reason: Reason, detail: str) -> Plan:
    memory = replace(view.memory, target=path.target, moved_at=view.now, stable_since=None, withdrawn_at=None)
    plan = Plan(view.group.name, memory, reason, detail, stages_to(view, path, is_planned=True))
    return replace(plan, verifies=True, records_first=True, pause=view.policy.teaching_pause if path.is_bare else ZERO)


def _leave(view: View, present: Path) -> Plan | None:
    for path in view.paths():
        if path.target != present.target and view.is_usable(path) and view.is_verified(path):
            return _planned(view, path, Reason.LEAVE_DOOMED, f"AWS will stop {present.target} soon")
    return None


def _make_way(view: View, present: Path) -> Plan:
    """Nothing verified can take over from a NAT that AWS will stop: use the notice to get something that can."""
    plan = _from_step(view, make_way(view))
    text = f"AWS will stop {present.target} soon, and nothing verified can take over; {plan.detail}"
    stages = tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)
    return replace(plan, reason=Reason.NO_CANDIDATE, detail=text, stages=stages)


def _wish(view: View, news: Sequence[News]) -> Command | None:
    for each in news:
        if isinstance(each, Command) and each.group in (None, view.group.name) and each.verb in MOVING_VERBS:
            return each
    return None


MOVING_VERBS = (Verb.FAILOVER, Verb.SWITCHOVER)


def _obey(view: View, wish: Command) -> Plan:
    """An operator's move is a planned one, and goes only where packets have been."""
    for path in view.paths():
        if path.target == view.target or not _is_wanted(view, path, wish):
            continue
        if view.is_usable(path) and view.is_verified(path):
            return _planned(view, path, Reason.OPERATOR_MOVE, f"{wish.verb.value} to {path.target}")
    text = f"group {view.group.name}: {wish.verb.value} refused, nothing that fits is verified; traffic stays"
    return replace(_plan(view, Reason.OPERATOR_REFUSED, text), happenings=(Warned(text),))


def _is_wanted(view: View, path: Path, wish: Command) -> bool:
    if wish.verb is Verb.FAILOVER or wish.to is None:
        return True
    owner = path.instance.group if path.instance is not None else "gateway"
    return owner == (view.group.name if wish.to == "home" else wish.to)


# -- finishing the plan


def _describe(plan: Plan, view: View) -> Plan:
    """What people want to see of every plan: who carries the traffic, and whether somebody else could."""
    view = replace(view, memory=plan.memory)
    carrier = "unknown"
    for path in view.paths():
        if path.target == view.target:
            owner = path.instance
            carrier = "gateway" if owner is None else "standby" if owner.role is Role.STANDBY else owner.group
    spare = [each for each in view.paths() if each.target != view.target]
    is_backed = any(view.is_usable(each) and view.is_verified(each) for each in spare)
    return replace(plan, carried_by=carrier, is_backed=is_backed)


def _from_step(view: View, step: Step) -> Plan:
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
        happenings=(Warned(step.warning),) if step.warning else (),
    )


def _with_watch(plan: Plan, now: datetime, policy: Policy) -> Plan:
    """Keeps exactly one watch run in flight, started beside the plan's first calls so that it costs no time."""
    memory = plan.memory
    watch = memory.watch
    if watch is not None and now < watch.started_at + watch.lasts + OVERDUE:
        return plan
    starts = memory.watch_starts
    is_chained = bool(starts) and now - starts[-1] < SPACED
    if len(starts) >= (MAX_CHAINED_STARTS if is_chained else MAX_WATCH_STARTS):
        return plan
    is_resting = plan.reason in (Reason.AT_REST, Reason.PAUSED) and memory.incident is None
    lasts = policy.watch_run if is_resting else min(policy.watch_run, SHORT_RUN)
    run_id = f"{plan.group}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}"
    start = StartWatch(plan.group, run_id, lasts)
    memory = replace(memory, watch=WatchRun(run_id, now, lasts), watch_starts=(*starts, now))
    first, *rest = plan.stages or ((),)
    return replace(plan, memory=memory, stages=((*first, start), *rest))


def _with_incident(plan: Plan, before: Incident | None, now: datetime, policy: Policy) -> Plan:
    """Says what opened and what closed. An incident closes once, when it has recovered and its best measure is in."""
    incident = plan.memory.incident
    if incident is None:
        return plan
    happenings: list[Happening] = list(plan.happenings)
    if before is None or before.incident_id != incident.incident_id:
        happenings.append(IncidentOpened(incident))
    if not _is_measured(incident, plan.memory, now, policy):
        return replace(plan, happenings=tuple(happenings))
    measured = incident.downtime(policy.clock_error)
    happenings.append(IncidentClosed(incident, measured.low, measured.high, now))
    until = max((each.sent_at for each in incident.rounds), default=now)
    memory = replace(plan.memory, incident=None, measured_until=until)
    return replace(plan, memory=memory, happenings=tuple(happenings))


def _is_measured(incident: Incident, memory: Memory, now: datetime, policy: Policy) -> bool:
    """A watch run that began before the recovery has the rounds that bound the downtime best: wait for its report, but
    not longer than such a report can take."""
    if incident.recovered_at is None:
        return False
    if now >= incident.recovered_at + policy.watch_run + OVERDUE:
        return True
    is_reported = memory.watch is None or memory.watch.started_at > incident.recovered_at
    return is_reported and incident.address_after is not None
