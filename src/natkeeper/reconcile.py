"""The pass: observe, decide, record, act, verify, record. Called by the controller's handler, the lab and simulations.

One call of `reconcile` is one wake-up. It looks once at the whole stack and treats the groups side by side, each under
its own lease, so that one group's trouble never delays another's. While a group's plan asks for another turn (after a
verification, or to read something back) it looks again, a bounded number of times. This is the only place that catches
`Trouble` (with its parts, `opening`, `asking` and `acting`). May not import boto3, adapters or handlers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from natkeeper.acting import judge_outcome, run_stages, verify
from natkeeper.asking import LAST_TRY
from natkeeper.core.absorb import absorb
from natkeeper.core.decide import UNTOLD
from natkeeper.core.finish import with_watch
from natkeeper.core.incident import Memory
from natkeeper.core.model import Network, Unknown
from natkeeper.core.news import News, ProbeReport, Tick
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    IncidentClosed,
    IncidentOpened,
    LaunchInstance,
    Plan,
    Reason,
    StartWatch,
)
from natkeeper.core.policy import Policy
from natkeeper.core.runs import heard
from natkeeper.core.standing import with_standing
from natkeeper.errors import Stale, Trouble, TryAgain
from natkeeper.opening import (
    RESERVE,
    GroupPass,
    ask_early,
    decide_for,
    look_again,
    open_calm,
    open_pass,
)
from natkeeper.ports import Outcome, Ports
from natkeeper.sifting import once_more, sift, unanswered

MAX_TURNS = 8
"""Turns of one wake-up: control probe, the others asked, failover, verified, the others asked, next candidate,
verified, read back."""
PATIENCE = timedelta(seconds=1)
"""The longest wait between two turns; whatever takes longer is left to the next trigger."""
LEAVING_TRIES = 3
"""Each is one write, and ends unless news came beside it."""
POSTING = timedelta(seconds=1)
"""What a message must have left of the pass: a call takes 0.1 s. Nothing comes after it, so one that takes longer ends
with the pass."""
LEDGERLESS = (Reason.FAIL_OVER, Reason.LAST_RESORT)
"""All that moves without a ledger: with no memory, anything slower than a failover could repeat itself for ever."""


def reconcile(news: Sequence[News], ports: Ports, policy: Policy) -> dict[str, list[str]]:
    """Runs one wake-up for all groups; returns each group's reason codes, in order. None where the news is about other
    people's instances, for which nothing is looked at and nothing written."""
    for each in news:
        if isinstance(each, ProbeReport):
            ports.telemetry.reported(each)
    news = sift(news, ports, policy)
    if not news:
        return {}
    early = ask_early(news, ports, policy)
    calm = open_calm(early, news, ports, policy)
    if calm is not None and calm.plan is not None:
        ports.telemetry.decided(calm.plan)
        _perform(calm, calm.plan, ports, policy)
        _tell(calm, calm.plan, ports, is_recorded=False)
        _close(calm, ports)
        if calm.is_lost or not calm.news:
            _post(calm, ports)
            return {calm.name: calm.reasons}
        news, early = calm.news, {}  # left in the inbox meanwhile; the lease is still ours, and is asked for again
    network, groups, others = open_pass(news, ports, policy, early)
    active = [each for each in groups if each.lease is not None or each.is_ledgerless]
    for turn in range(MAX_TURNS):
        if turn:
            if not active or not _wait(active, ports):
                break
            network = look_again(active, ports)
        others |= {each.name: each.memory for each in groups}
        ports.together([partial(_turn, each, network, others, ports, policy) for each in active])
        ports.together([partial(_close, each, ports) for each in active if not each.wants_turn])
        active = [each for each in active if each.wants_turn]
    ports.together([partial(_leave, each, ports, policy) for each in active])
    ports.together([partial(_hand_on, each, ports) for each in groups if each.unconfirmed])
    passes = groups if calm is None else [calm, *groups]
    ports.together([partial(_post, each, ports) for each in passes if each.outbox])
    return {each.name: each.reasons for each in groups}


def _wait(groups: Sequence[GroupPass], ports: Ports) -> bool:
    """Waits until the first group wants its turn; False when that is too long or the invocation is nearly over."""
    now = ports.clock.now()
    wakes = [each.plan.wake_at for each in groups if each.plan is not None and each.plan.wake_at is not None]
    spans = [max(each - now, timedelta(0)) for each in wakes] or [timedelta(0)]
    # Too late to ask is not asked in vain: the next report's pass does.
    least = LAST_TRY if any(each.plan is not None and each.plan.asks for each in groups) else RESERVE
    if min(spans) > PATIENCE or ports.clock.remaining() < least:
        return False
    ports.clock.sleep(min(spans))
    return True


# -- one turn of one group


def _turn(
    group: GroupPass, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> None:
    before, news = group.memory, group.news
    group.unconfirmed = unanswered((*group.unconfirmed, *news), network, ports)
    plan = _restrict(decide_for(group, network, others, ports, policy), group)
    group.plan, group.memory, group.news = plan, plan.unclosed, ()
    if plan.verifies:
        group.answers = {}  # traffic is elsewhere: what was asked for the path before says nothing any more
    group.reasons.append(plan.reason.value)
    ports.telemetry.decided(plan)
    if plan.records_first and not _record(group, ports):
        # Nothing was done, so nothing may say it was: the next turn decides anew on the memory and news of this one.
        group.memory, group.news = before, news
        group.plan = replace(plan, verifies=False, wake_at=ports.clock.now() + PATIENCE)
        return
    is_recorded = _perform(group, plan, ports, policy) or plan.records_first
    if not is_recorded and plan.is_opening:
        is_recorded = not group.is_lost and _record(group, ports)
    if group.is_lost:
        return
    _tell(group, plan, ports, is_recorded=is_recorded)
    if plan.verifies and not group.is_throttled and not group.is_mute:
        verify(group, ports)


def _restrict(plan: Plan, group: GroupPass) -> Plan:
    """Without a ledger only failovers are done, and runs are started by ticks alone: a report that Lambda delivers
    twice would start two, whose reports start four (simulation, seed 10003429), and nobody would remember.

    No launch, whatever it comes with: another pass without a ledger would make one of its own (seed 2004548). The
    source/dest check is turned off, and that is verified: as often as it is done it is the same, and while it is due
    on the path in use no failover comes before it (seed 810126881: a group was dark until the ledger answered).
    """
    if not group.is_ledgerless:
        return plan
    may_watch = any(isinstance(each, Tick) for each in group.news)
    has_moved = any(each.value in group.reasons for each in LEDGERLESS)
    may_act = plan.reason in LEDGERLESS or (has_moved and plan.reason is Reason.CONVERGE)
    allowed = {StartWatch: may_watch, LaunchInstance: False, DisableSourceDestCheck: True}
    stages = tuple(tuple(each for each in stage if allowed.get(type(each), may_act)) for stage in plan.stages)
    is_mended = any(isinstance(each, DisableSourceDestCheck) for stage in stages for each in stage)
    is_asking = plan.wants_control_probe or bool(plan.asks)
    return replace(
        plan,
        stages=stages,
        happenings=(),
        verifies=plan.verifies and (may_act or is_mended or plan.reason in UNTOLD),
        records_first=False,
        wake_at=plan.wake_at if may_act or is_asking else None,
    )


def _perform(group: GroupPass, plan: Plan, ports: Ports, policy: Policy) -> bool:
    """The stages, with the memory written before them or, for a move, beside them; True when it was written beside.

    Beside, because a move is idempotent and the next pass sees where routes and address are: writing the intent first
    would add a round trip to every failover and make nothing safer. Beside all of them, so that no stage of a move
    waits for a slow ledger.
    """
    record = partial(_record, group, ports)
    outcomes: list[Outcome] = []
    group.is_throttled = group.is_mute = False
    stages = partial(run_stages, group, plan, outcomes, ports)
    is_beside = plan.verifies and bool(plan.stages) and not plan.records_first
    done = ports.together([record, stages] if is_beside else [stages])
    for each in outcomes:
        judge_outcome(group, each, ports, policy)
    return is_beside and done[0] is True


def _tell(group: GroupPass, plan: Plan, ports: Ports, *, is_recorded: bool) -> None:
    """An opening is only noted once the memory has the incident: a pass that dies after the note would leave one that
    nobody remembers, and nobody ever closes (simulation, seed 6019134). A closing's note has all that an opening's has,
    so one that ends at once needs no other (small worlds: a pass died between the two); until the ledger takes it, the
    memory keeps the incident, and the next plan closes it again (seed 6021618)."""
    for each in plan.happenings:
        if isinstance(each, IncidentClosed):
            if isinstance(_note(group, each, ports), TryAgain):
                continue
            group.memory = replace(group.memory, incident=None)
        group.tell(each, ports)
        if isinstance(each, IncidentOpened) and is_recorded and plan.is_opening:
            _note(group, each, ports)


def _note(group: GroupPass, happening: IncidentOpened | IncidentClosed, ports: Ports) -> Trouble | None:
    try:
        ports.ledger.note(happening)
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)
        return trouble
    return None


def _record(group: GroupPass, ports: Ports, *, release: bool = False) -> bool:
    """Writes the memory; False when the lease is lost, after which this pass leaves the group alone."""
    if group.lease is None:
        return group.is_ledgerless
    try:
        group.lease = ports.ledger.record(group.lease, group.memory, release=release)
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)
        group.is_lost = group.is_lost or isinstance(trouble, Stale)
        return False
    group.news = (*group.news, *group.lease.inbox)
    return True


def _leave(group: GroupPass, ports: Ports, policy: Policy) -> None:
    """Out of time: what was just learned is remembered all the same, the next run started in place of one that ended,
    and the lease given back; the next wake-up judges. A lease kept for news that came with the last write would shut
    everybody out for 25 s, and without a run nobody would look before the next tick."""
    for _ in range(LEAVING_TRIES):
        now = ports.clock.now()
        told = heard(group.name, group.memory, group.news, now, policy)
        memory = absorb(group.name, group.memory, told, now, policy)
        plan = Plan(group.name, memory, Reason.LOOK_AGAIN, "out of time; the next wake-up goes on")
        plan = _restrict(with_standing(with_watch(plan, now, policy), now, policy), group)
        group.memory, group.news = plan.memory, ()
        if plan.actions:
            ports.telemetry.decided(plan)
        _perform(group, plan, ports, policy)
        _close(group, ports)
        if group.lease is None or group.is_lost or not group.news:
            return


def _hand_on(group: GroupPass, ports: Ports) -> None:
    """Notices that could not be asked about are left for the next pass: AWS gives each only once (simulation, seed
    30000218: a spot warning came while no look got through, and traffic stayed until the instance was taken)."""
    kept = [each for notice in group.unconfirmed if (each := once_more(notice)) is not None]
    if len(kept) < len(group.unconfirmed):
        ports.telemetry.troubled(group.name, TryAgain("DescribeInstanceStatus", "GivenUp", "asked in vain too often"))
    try:
        for each in kept:
            ports.ledger.leave(group.name, each)
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)


def _post(group: GroupPass, ports: Ports) -> None:
    """Sends what people are to be told, in one message. Last of all, so that it delays nothing, and only where the
    ledger knows that they were told: otherwise the next pass tells them."""
    is_recorded = group.lease is None or group.lease.memory == group.memory
    if not group.outbox or not is_recorded or group.is_lost or group.is_ledgerless:
        return
    if ports.clock.remaining() < POSTING:
        ports.telemetry.troubled(group.name, TryAgain("Publish", "OutOfTime", "\n".join(group.outbox)))
        return
    try:
        ports.telemetry.send("\n".join(group.outbox))
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)


def _close(group: GroupPass, ports: Ports) -> None:
    """The last write: the memory with the lease given back, unless news came meanwhile that want another turn."""
    if group.lease is not None and not group.is_lost and _record(group, ports, release=True) and not group.news:
        group.lease = None
