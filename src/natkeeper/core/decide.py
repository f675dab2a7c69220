"""decide(observation, memory, now, policy) -> Plan: what one group does now, what it remembers, and why.

Called by `reconcile`, once per group and turn. Total and deterministic: it escalates, it never raises. What came and
what the look shows is taken into the memory, `rules` say what follows, and what everybody wants of a plan is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.absorb import absorb
from natkeeper.core.address import as_returned
from natkeeper.core.arrival import as_canary_seen, with_asked
from natkeeper.core.bounds import bounded
from natkeeper.core.case import Case, Observation
from natkeeper.core.finish import (
    awaiting,
    describe,
    finished,
    with_warnings,
)
from natkeeper.core.incident import Doom, Exclusion, Memory
from natkeeper.core.judge import judge
from natkeeper.core.model import InstanceState, Role, Unknown
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Plan, Reason
from natkeeper.core.policy import Policy
from natkeeper.core.rules import act
from natkeeper.core.runs import WATCH_WINDOW
from natkeeper.core.view import View
from natkeeper.core.way import as_seen

UNTOLD = (Reason.UNOBSERVED, Reason.AT_REST)
"""By which nothing speaks of an outage."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


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
        plan = describe(awaiting(_acted(_settle(view), observation), view), view)
        plan = with_warnings(plan, view)
        if is_told_in_vain and plan.reason in UNTOLD and not plan.stages and not plan.memory.is_apart:
            # Nothing is remembered of the path or of the run, as without a ledger: the report may speak of another path
            # than this, or be told twice. So packets are asked before traffic moves (simulation, seed 750001007: a hung
            # NAT was left alone).
            plan = replace(plan, detail="probes failed, on a path of which nothing is known: once more", verifies=True)
        plan = with_asked(plan, view)
    return finished(plan, before, now, policy)


def _acted(view: View, observation: Observation) -> Plan:
    """What the rules plan for the group as it is now."""
    return act(Case(view, judge(view, observation.control), observation))


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
