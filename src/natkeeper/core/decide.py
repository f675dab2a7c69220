"""decide(observation, memory, now, policy) -> Plan: the whole of natkeeper's judgement about one group, in one place.

Called by `reconcile`, once per group and turn. Total and deterministic: it escalates, it never raises. The order of
the questions is the order of danger: could we look, may we act, is egress alive, is anything half done, can it heal.
May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from natkeeper.core.absorb import absorb
from natkeeper.core.address import as_returned
from natkeeper.core.arrival import as_canary_seen, with_asked
from natkeeper.core.bounds import bounded
from natkeeper.core.failover import (
    PASSING,
    fail_over,
    gather,
    leave,
    make_way_for,
    mend_check,
    planned,
    present_path,
    repair_check,
)
from natkeeper.core.finish import (
    RELOOK,
    awaiting,
    describe,
    finished,
    from_step,
    plan_for,
    with_warnings,
)
from natkeeper.core.heal import heal
from natkeeper.core.incident import Cause, Doom, Exclusion, Memory
from natkeeper.core.judge import Health, Verdict, judge
from natkeeper.core.model import DEFAULT_ROUTE, ControlProbe, InstanceState, Network, Role, Unknown
from natkeeper.core.move import stages_to
from natkeeper.core.news import Command, InstanceChanged, News, ProbeReport, Verb
from natkeeper.core.plan import Plan, Reason, Warned
from natkeeper.core.policy import Group, Policy
from natkeeper.core.replacement import held_back
from natkeeper.core.runs import WATCH_WINDOW
from natkeeper.core.spare import tidy
from natkeeper.core.view import Path, View
from natkeeper.core.way import MENDING, as_seen, followed

BY_PACKETS = (*PASSING, Cause.PROBES_FAILED)
"""Causes that only say that probes failed: the control probe may find a better one. What EC2 showed stays true."""
UNTOLD = (Reason.UNOBSERVED, Reason.AT_REST)
"""By which nothing speaks of an outage."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MOVING_VERBS = (Verb.FAILOVER, Verb.SWITCHOVER)


@dataclass(frozen=True)
class Observation:
    """All that one turn knows about one group. `others`: the memories of the stack's other groups. `is_rumoured`: a run
    that nobody remembers to have started says that egress is down (`core.runs`)."""

    group: Group
    network: Network | Unknown
    others: Mapping[str, Memory] = field(default_factory=dict)
    news: Sequence[News] = ()
    control: ControlProbe | None = None
    answers: Mapping[str, ProbeReport | None] = field(default_factory=dict)
    """What the probers of other groups said that were asked (`Plan.asks`); None where one could not be."""
    is_rumoured: bool = False


def decide(observation: Observation, memory: Memory, now: datetime, policy: Policy) -> Plan:
    """The plan for one group: what to do now, what to remember, and why."""
    name = observation.group.name
    before = memory = bounded(memory, now, policy)
    if isinstance(observation.network, Unknown):
        memory = _unseen(_forget(absorb(name, memory, observation.news, now, policy), now), observation.network, now)
        if observation.network.is_throttled and (memory.is_down or memory.incident is not None):
            memory = replace(memory, throttled_at=now)
        plan = Plan(name, memory, Reason.CANNOT_LOOK, observation.network.reason)
    else:
        memory = replace(memory, unseen_since=None) if memory.unseen_since is not None else memory
        others = {other: bounded(known, now, policy) for other, known in observation.others.items()}
        view = View(observation.group, observation.network, memory, others, policy, now)
        view = replace(view, others=_others(view, observation)) if observation.answers else view
        is_told_in_vain = observation.is_rumoured or (memory.target is None and _says_down(observation))
        memory = _forget(absorb(name, as_canary_seen(as_seen(view), view), observation.news, now, policy), now)
        view = view.remembering(memory)
        plan = describe(awaiting(_act(_settle(view), observation), view), view)
        plan = with_warnings(plan, view)
        if is_told_in_vain and plan.reason in UNTOLD and not plan.stages and not plan.memory.is_apart:
            # Nothing is remembered of the path or of the run, as without a ledger: the report may speak of another path
            # than this, or be told twice. So packets are asked before traffic moves (simulation, seed 750001007: a hung
            # NAT was left alone).
            plan = replace(plan, detail="probes failed, on a path of which nothing is known: once more", verifies=True)
        plan = with_asked(plan, view)
    return finished(plan, before, now, policy)


def _unseen(memory: Memory, unknown: Unknown, now: datetime) -> Memory:
    """Nobody could look: a good report is no reason to say that all is at rest, and the passes after this one look.
    Where EC2 throttles the account they do not, for what they ask for is what it lacks; they say that nobody knows."""
    rest = memory.rest if unknown.is_throttled else None
    since = memory.unseen_since if memory.unseen_since is not None else now
    if (rest, since) == (memory.rest, memory.unseen_since):
        return memory
    return replace(memory, rest=rest, unseen_since=since)


def _others(view: View, observation: Observation) -> Mapping[str, Memory]:
    """The other groups' memories, with what their probers answered. Each hears of it by itself, and writes it."""
    told = {name: each for name, each in observation.answers.items() if each is not None}
    return {**view.others, **{name: _with_answer(view, name, each) for name, each in told.items()}}


def _with_answer(view: View, name: str, answer: ProbeReport) -> Memory:
    """Judged as that group would: what gets through by somebody else's route says nothing of the NAT."""
    theirs = replace(view, group=view.policy.group(name), memory=view.others.get(name, Memory()))
    return absorb(name, as_seen(theirs), (answer,), view.now, view.policy)


def _says_down(observation: Observation) -> bool:
    name = observation.group.name
    reports = (each for each in observation.news if isinstance(each, ProbeReport))
    return any(each.group == name and each.is_down for each in reports)


def watch_on(name: str, memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Plan | None:
    """The plan without a look, for a report that says of a group at rest that all is well: the next run is started, and
    that is all. None when somebody should look.

    Reports come twice a minute from each stack, and a look is three calls: of an account with 500 stacks that was more
    than EC2's buckets refill, at rest, so that nothing was left for the day on which looks are needed. What packets
    do not show (a route edited on another table, a tag, a canary's drift) the minute's tick finds.
    """
    memory = bounded(memory, now, policy)
    is_good = bool(report.rounds) and all(each.is_ok for each in report.rounds)
    is_canary_good = memory.rest is False or all(each.is_ok for each in report.canary)
    is_awaited = memory.standby_repair is not None  # until a look has seen it run, its loss would pass for a slow start
    is_resting = memory.rest is not None and memory.incident is None and is_canary_good and not is_awaited
    is_waiting = memory.is_yielding(now) and not memory.is_unfinished
    if not is_good or not (is_resting or is_waiting) or memory.is_paused(now):
        return None
    known = _forget(absorb(name, memory, (report,), now, policy), now)
    if known.is_down or known.is_apart:
        return None
    if is_resting:
        plan = Plan(name, known, Reason.AT_REST, carried_by=name, is_backed=memory.rest)
    else:
        plan = Plan(name, known, Reason.HEALING, "egress works; the rest waits: EC2 throttles this account")
    return finished(plan, memory, now, policy)


def _forget(memory: Memory, now: datetime) -> Memory:
    """Drops what is older than the window it is counted in."""
    failovers = tuple(each for each in memory.failovers if now - each < HOUR)
    launches = tuple(each for each in memory.launches if now - each < DAY)
    starts = tuple(each for each in memory.watch_starts if now - each < WATCH_WINDOW)
    exclusions = tuple(each for each in memory.exclusions if now < each.until or _is_remembered(each, now))
    paused_until = memory.paused_until if memory.is_paused(now) else None
    mended = tuple(each for each in memory.checks_mended if now - each < HOUR)
    kept = (failovers, launches, starts, exclusions, paused_until, mended)
    known = (memory.failovers, memory.launches, memory.watch_starts, memory.exclusions, memory.paused_until)
    if kept == (*known, memory.checks_mended):
        return memory
    return replace(
        memory,
        failovers=failovers,
        launches=launches,
        watch_starts=starts,
        exclusions=exclusions,
        paused_until=paused_until,
        checks_mended=mended,
    )


def _is_remembered(exclusion: Exclusion, now: datetime) -> bool:
    """Over the hour's failovers it counts that it failed, though it is left alone no longer."""
    return exclusion.since is not None and now - exclusion.since < HOUR


def _settle(view: View) -> View:
    """What the look itself teaches: where the traffic is if nothing is recorded, and which proofs died. One of a path
    that was left and is none of the stack's is no use: traffic was moved without a ledger, and the record is of a NAT
    that is gone (simulation, seed 300182978: one table stayed on a dead NAT until the proof was old)."""
    memory = view.memory
    if memory.target is None and view.majority is not None:
        memory = replace(memory, target=view.majority)
    for proof in memory.proofs:
        owner = view.network.owner_of(proof.target)
        is_gone = owner is None and memory.is_stray and proof.target == memory.target
        if is_gone or (owner is not None and owner.state is not InstanceState.RUNNING):
            memory = memory.without_proof(proof.target)
    own = (*view.instances(Role.NAT), *view.instances(Role.STANDBY))
    memory = _without_stray_canary(view, as_returned(view, memory)).knowing([each.instance_id for each in own])
    seen = {each.instance_id: each.interruption_at for each in view.network.instances if each.interruption_at}
    kept = (each for each in memory.dooms if each.instance_id not in seen and view.now - each.at < DAY)
    dooms = (*kept, *(Doom(instance_id, at) for instance_id, at in seen.items()))
    return view.remembering(memory if dooms == memory.dooms else replace(memory, dooms=dooms))


def _without_stray_canary(view: View, memory: Memory) -> Memory:
    """A canary whose route is not where the record says (the call failed, somebody deleted it) went another way: what
    it proved is void, and it is pointed anew."""
    canary, destination = memory.canary, view.policy.canary_destination
    if canary is None or destination is None or canary.target == memory.target:
        return memory
    if all(each == canary.target for each in view.probed(destination)):
        return memory
    return replace(memory.without_proof(canary.target), canary=None)


# -- the questions, in order


def _act(view: View, observation: Observation) -> Plan:
    if view.memory.is_paused(view.now):
        return plan_for(view, Reason.PAUSED, f"paused until {view.memory.paused_until:%H:%M:%S}")
    verdict = judge(view, observation.control)
    wish = _wish(view, observation.news)
    mending = _mend(view, verdict)
    if mending is not None:
        return mending
    if verdict.health is Health.DEAD:
        return fail_over(view, verdict, {name: each is not None for name, each in observation.answers.items()})
    if verdict.health in (Health.NEEDS_CONTROL, Health.EXTERNAL, Health.COMMON_MODE):
        return _hold(view, verdict, observation.control)
    if wish is not None:
        return _obey(view, wish)
    if verdict.health is Health.UNOBSERVED:
        return _unobserved(view, verdict, observation.news)
    return _alive(view, observation.news)


def _hold(view: View, verdict: Verdict, control: ControlProbe | None) -> Plan:
    reasons = {
        Health.NEEDS_CONTROL: Reason.NEEDS_CONTROL_PROBE,
        Health.EXTERNAL: Reason.EXTERNAL,
        Health.COMMON_MODE: Reason.COMMON_MODE,
    }
    plan = plan_for(view, reasons[verdict.health], verdict.detail)
    if verdict.health is Health.NEEDS_CONTROL:
        return replace(plan, wants_control_probe=True, wake_at=view.now)
    if verdict.health is not Health.EXTERNAL:
        return plan
    memory, incident = plan.memory, plan.memory.incident
    if control is not None and not control.is_ok:
        memory = replace(memory, external_at=view.now, targets_back_at=None)
    elif memory.targets_back_at is None:
        memory = replace(memory, targets_back_at=view.now)
    if incident is not None and incident.cause in BY_PACKETS:
        memory = replace(memory, incident=replace(incident, cause=Cause.EXTERNAL))
    return replace(plan, memory=memory)


def _unobserved(view: View, verdict: Verdict, news: Sequence[News]) -> Plan:
    return (
        mend_check(view)
        or _look_again(view, news)
        or _follow(view)
        or plan_for(view, Reason.UNOBSERVED, verdict.detail)
    )


def _follow(view: View) -> Plan | None:
    memory = followed(view)
    if memory is None:
        return None
    text = f"packets get through by {memory.target}, which is not natkeeper's route; {view.target} is not proven"
    return plan_for(view.remembering(memory), Reason.UNOBSERVED, text)


def _alive(view: View, news: Sequence[News]) -> Plan:
    mending = mend_check(view)
    if mending is not None:
        return mending
    again = _look_again(view, news)
    if again is not None:
        return again
    present = present_path(view)
    is_doomed = present is not None and present.instance is not None and view.is_doomed(present.instance)
    if present is not None and is_doomed and (leaving := leave(view, present)):
        return leaving
    if present is not None and (stages := stages_to(view, present, is_planned=False)):
        text = f"routes or address were not all on {present.target}"
        plan = replace(plan_for(view, Reason.CONVERGE, text), stages=stages, verifies=True)
        return _healing_beside(view, plan)
    if present is not None and is_doomed:
        return make_way_for(view, present)
    if present is None and (gathering := gather(view)):
        return gathering
    step = heal(view)
    if step.reason is None:
        step = tidy(view.remembering(step.memory))
    return from_step(view, step)


def _healing_beside(view: View, plan: Plan) -> Plan:
    """A table that refuses every call is mended again in every pass; the own NAT must not wait for it."""
    step = held_back(view, heal(view))
    if step.reason is not Reason.HEALING:
        return plan
    stages = (*plan.stages, *step.stages)
    return replace(plan, memory=step.memory, stages=stages, records_first=step.records_first)


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
            return replace(plan_for(view, Reason.LOOK_AGAIN, text), wake_at=view.now + RELOOK)
    return None


# -- moving, where it is not a failover


def _mend(view: View, verdict: Verdict) -> Plan | None:
    """Probes speak of the path that routes and address really take. While those are not on the recorded one (a call of
    a move failed, somebody deleted a route), failed probes say nothing against it: put them there, then judge.

    Not for ever: once a verification failed too (it is excluded) and the move is no longer fresh, only a group with no
    route at all on the path is mended again; a single table that refuses every call must not hold the others there.
    """
    present = present_path(view)
    if verdict.health in (Health.ALIVE, Health.EXTERNAL) or present is None:
        return None
    if present.instance is not None and not present.instance.is_running:
        return None
    is_fresh = view.memory.moved_at is not None and view.now - view.memory.moved_at < MENDING
    is_known = view.is_usable(present) and view.is_verified(present)
    is_lost = any(not each.is_ok for each in view.memory.recent[-1:])
    if verdict.health is Health.UNOBSERVED and not (is_known or (is_fresh and is_lost)):
        return None
    stages = stages_to(view, present, is_planned=False)
    is_elsewhere = present.target not in view.points_at(DEFAULT_ROUTE).values()
    is_blamed = view.memory.is_excluded(present.target, view.now)
    if not stages or not (is_elsewhere or is_fresh or not is_blamed):
        return None
    text = f"routes or address were not all on {present.target}, so probes say nothing about it"
    view = view.remembering(replace(view.memory, is_down=False))
    return replace(plan_for(view, Reason.CONVERGE, text), stages=(*repair_check(view), *stages), verifies=True)


def _wish(view: View, news: Sequence[News]) -> Command | None:
    """The operator's, unless it was answered already: a failover that Lambda delivers twice would go there and back."""
    for each in news:
        is_ours = isinstance(each, Command) and each.group in (None, view.group.name) and each.verb in MOVING_VERBS
        if isinstance(each, Command) and is_ours and each.request_id not in view.memory.obeyed:
            return each
    return None


def _obey(view: View, wish: Command) -> Plan:
    """An operator's move is a planned one, and goes only where packets have been."""
    view = view.remembering(view.memory.obeying(wish.request_id))
    for path in view.paths:
        if path.target == view.target or not _is_wanted(view, path, wish):
            continue
        if view.is_usable(path) and view.is_verified(path):
            return planned(view, path, Reason.OPERATOR_MOVE, f"{wish.verb.value} to {path.target}")
    text = f"group {view.group.name}: {wish.verb.value} refused, nothing that fits is verified; traffic stays"
    return replace(
        plan_for(view, Reason.OPERATOR_REFUSED, text), happenings=(Warned(text, f"refused {wish.request_id}"),)
    )


def _is_wanted(view: View, path: Path, wish: Command) -> bool:
    if wish.verb is Verb.FAILOVER or wish.to is None:
        return True
    owner = path.instance.group if path.instance is not None else "gateway"
    return owner == (view.group.name if wish.to == "home" else wish.to)
