"""The pass: observe, decide, record, act, verify, record. Called by the controller's handler, the lab and simulations.

One call of `reconcile` is one wake-up. It looks once at the whole stack and treats the groups side by side, each under
its own lease, so that one group's trouble never delays another's. While a group's plan asks for another turn (after a
verification, or to read something back) it looks again, a bounded number of times. This is the only place that catches
`Trouble`. May not import boto3, adapters or handlers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from natkeeper.core.absorb import absorb
from natkeeper.core.decide import Observation, decide
from natkeeper.core.incident import Memory
from natkeeper.core.model import ControlProbe, Network, Role, Unknown
from natkeeper.core.news import (
    Command,
    HealthNotice,
    InstanceChanged,
    News,
    ProbeFailed,
    ProbeReport,
    RebalanceRecommended,
    SpotInterruption,
    Verdict,
)
from natkeeper.core.plan import Action, IncidentClosed, IncidentOpened, LaunchInstance, Plan, Reason, StartWatch, Warned
from natkeeper.core.policy import Policy
from natkeeper.errors import Stale, Trouble
from natkeeper.ports import Held, Lease, Outcome, Ports

MAX_TURNS = 6
"""Turns of one wake-up: control probe, failover, verified, next candidate, verified, read back."""
LEASE = timedelta(seconds=25)
"""Longer than the controller's time-out of 20 s, so that a lease never ends under a pass that is still alive."""
RESERVE = timedelta(seconds=5)
"""A turn is only begun with this much time left: a verification takes up to 3 s, the calls around it one."""
PATIENCE = timedelta(seconds=1)
"""The longest wait between two turns; whatever takes longer is left to the next trigger."""
LEDGERLESS = (Reason.FAIL_OVER, Reason.LAST_RESORT)
"""All that is done without a ledger: with no memory, anything slower than a failover could repeat itself for ever."""


@dataclass
class _Group:
    """One group's way through a wake-up."""

    name: str
    memory: Memory
    lease: Lease | None
    news: tuple[News, ...]
    plan: Plan | None = None
    is_ledgerless: bool = False
    is_lost: bool = False
    """Another pass has the lease now: hands off."""
    control: ControlProbe | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def wants_turn(self) -> bool:
        """The last plan asked to look again soon, or its verification is still to be judged."""
        if self.is_lost:
            return False
        return self.plan is None or self.plan.verifies or self.plan.wake_at is not None or bool(self.news)


@dataclass(frozen=True)
class _Again:
    """The answer to asking for a lease again, after the news were left in its inbox."""

    answer: Lease | Held


def reconcile(news: Sequence[News], ports: Ports, policy: Policy) -> dict[str, list[str]]:
    """Runs one wake-up for all groups; returns each group's reason codes, in order."""
    for each in news:
        if isinstance(each, ProbeReport):
            ports.telemetry.reported(each)
    network, groups, others = _open(news, ports, policy)
    active = [each for each in groups if each.lease is not None or each.is_ledgerless]
    for turn in range(MAX_TURNS):
        if turn:
            if not active or not _wait(active, ports):
                break
            network = _look(ports, frozenset())
            _ask_control(active, ports)
        others |= {each.name: each.memory for each in groups}
        ports.together([partial(_turn, each, network, others, ports, policy) for each in active])
        ports.together([partial(_close, each, ports) for each in active if not each.wants_turn])
        active = [each for each in active if each.wants_turn]
    for group in active:
        # Out of time: what was just learned is remembered all the same, and judged in the next wake-up.
        group.memory = absorb(group.name, group.memory, group.news, ports.clock.now(), policy)
        group.news = ()
    ports.together([partial(_close, each, ports) for each in active])
    return {each.name: each.reasons for each in groups}


# -- observing


def _open(
    news: Sequence[News], ports: Ports, policy: Policy
) -> tuple[Network | Unknown, list[_Group], dict[str, Memory]]:
    """The first round trip: the look, the leases that the news calls for, the other groups' memories, all at once.

    The control probe goes with them when a report says that egress is down, so that it costs no time of its own.
    """
    names = [each.name for each in policy.groups]
    urgent = [name for name in names if any(_is_urgent(each, name) for each in news)]
    until = ports.clock.now() + LEASE
    suspects = frozenset(instance for each in news for instance in _suspects(each))
    is_down = any(isinstance(each, ProbeReport) and each.verdict is Verdict.DOWN for each in news)
    looked, asked, read, *answered = ports.together(
        [
            partial(_look, ports, suspects),
            partial(_control, ports) if is_down else _nothing,
            ports.ledger.read if len(urgent) < len(names) else _nothing,
            *(partial(ports.ledger.acquire, name, until) for name in urgent),
        ]
    )
    network = cast(Network | Unknown, looked)
    others = _readable(read, ports)
    answers = {name: _insist(name, answer, until, news, ports) for name, answer in zip(urgent, answered, strict=True)}
    groups = [_admit(name, answers.get(name), others, news, ports) for name in names]
    for each in groups:
        each.control = cast(ControlProbe | None, asked)
    others |= {each.name: each.memory for each in groups}
    late = [each for each in groups if each.lease is None and each.name not in urgent]
    wanting = [each for each in late if _has_something_to_do(each, network, others, ports, policy)]
    given = ports.together([partial(ports.ledger.acquire, each.name, until) for each in wanting])
    for group, answer in zip(wanting, given, strict=True):
        groups[groups.index(group)] = _admit(group.name, answer, others, news, ports)
    return network, groups, others


def _look(ports: Ports, suspects: frozenset[str]) -> Network | Unknown:
    try:
        return ports.vpc.look(suspects)
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return Unknown(str(trouble))


def _nothing() -> None:
    """Stands where a call is not needed."""


def _control(ports: Ports) -> ControlProbe | None:
    try:
        return ports.prober.control()
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return None


def _readable(found: object, ports: Ports) -> dict[str, Memory]:
    if isinstance(found, Trouble):
        ports.telemetry.troubled(None, found)
        return {}
    return dict(cast(Mapping[str, Memory], found or {}))


def _admit(name: str, answer: object, others: Mapping[str, Memory], news: Sequence[News], ports: Ports) -> _Group:
    """A group with its lease, without one because somebody else has it, or without a ledger at all."""
    if isinstance(answer, _Again):
        answer, news = answer.answer, ()
    if isinstance(answer, Lease):
        return _Group(name, answer.memory, answer, (*answer.inbox, *news))
    if isinstance(answer, Held):
        return _Group(name, answer.memory, None, (), reasons=["held-by-another-pass"])
    if isinstance(answer, Trouble):
        ports.telemetry.troubled(name, answer)
        return _Group(name, others.get(name, Memory()), None, tuple(news), is_ledgerless=True)
    return _Group(name, others.get(name, Memory()), None, tuple(news))


def _insist(name: str, answer: object, until: datetime, news: Sequence[News], ports: Ports) -> object:
    """Somebody else has the lease: leave the news for them, and ask once more, because they may have finished in
    between; then the news is in the inbox that comes with the lease."""
    if not isinstance(answer, Held):
        return answer
    try:
        for each in news:
            if _is_urgent(each, name):
                ports.ledger.leave(name, each)
        return _Again(ports.ledger.acquire(name, until))
    except Trouble as trouble:
        ports.telemetry.troubled(name, trouble)
        return answer


def _has_something_to_do(
    group: _Group, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> bool:
    """At rest a pass writes nothing, not even a lease: decide on what was read, and take the lease if it matters."""
    plan = _decide(group, network, others, ports, policy)
    if plan.stages or plan.memory != group.memory or plan.wants_control_probe:
        return True
    group.reasons.append(plan.reason.value)
    ports.telemetry.decided(plan)
    return False


def _is_urgent(news: News, group: str) -> bool:
    """News that changes what the group remembers or may call for a move: worth taking the lease in the first trip."""
    if isinstance(news, (ProbeReport, ProbeFailed)):
        return news.group == group
    if isinstance(news, Command):
        return news.group in (None, group)
    return isinstance(news, (InstanceChanged, SpotInterruption, RebalanceRecommended, HealthNotice))


def _suspects(news: News) -> tuple[str, ...]:
    if isinstance(news, SpotInterruption):
        return (news.instance_id,)
    return news.instance_ids if isinstance(news, HealthNotice) else ()


def _ask_control(groups: Sequence[_Group], ports: Ports) -> None:
    """The control probe is sent once for all groups that want it."""
    asking = [each for each in groups if each.plan is not None and each.plan.wants_control_probe]
    control = _control(ports) if asking else None
    for each in asking:
        each.control = control


def _wait(groups: Sequence[_Group], ports: Ports) -> bool:
    """Waits until the first group wants its turn; False when that is too long or the invocation is nearly over."""
    now = ports.clock.now()
    wakes = [each.plan.wake_at for each in groups if each.plan is not None and each.plan.wake_at is not None]
    spans = [max(each - now, timedelta(0)) for each in wakes] or [timedelta(0)]
    if min(spans) > PATIENCE or ports.clock.remaining() < RESERVE:
        return False
    ports.clock.sleep(min(spans))
    return True


# -- one turn of one group


def _decide(
    group: _Group, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> Plan:
    observation = Observation(
        group=policy.group(group.name),
        network=network,
        others={name: memory for name, memory in others.items() if name != group.name},
        news=group.news,
        control=group.control,
    )
    return decide(observation, group.memory, ports.clock.now(), policy)


def _turn(
    group: _Group, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> None:
    before, news = group.memory, group.news
    plan = _restrict(_decide(group, network, others, ports, policy), group)
    group.plan, group.memory, group.news = plan, plan.memory, ()
    group.reasons.append(plan.reason.value)
    ports.telemetry.decided(plan)
    if plan.records_first and not _record(group, ports):
        # Nothing was done, so nothing may say it was: the next turn decides anew on the memory and news of this one.
        group.memory, group.news = before, news
        group.plan = replace(plan, verifies=False, wake_at=ports.clock.now() + PATIENCE)
        return
    _perform(group, plan, ports)
    if group.is_lost:
        return
    for each in plan.happenings:
        ports.telemetry.happened(group.name, each)
        if not isinstance(each, Warned):
            _note(group, each, ports)
    if plan.verifies:
        _verify(group, ports)


def _restrict(plan: Plan, group: _Group) -> Plan:
    """Without a ledger only failovers are done, and a run is only started in place of the one that just ended."""
    if not group.is_ledgerless:
        return plan
    may_watch = any(isinstance(each, (ProbeReport, ProbeFailed)) and each.group == group.name for each in group.news)
    has_moved = any(each.value in group.reasons for each in LEDGERLESS)
    may_act = plan.reason in LEDGERLESS or (has_moved and plan.reason is Reason.CONVERGE)
    stages = tuple(
        tuple(each for each in stage if (may_watch if isinstance(each, StartWatch) else may_act))
        for stage in plan.stages
    )
    is_control_wanted = plan.wants_control_probe
    return replace(
        plan,
        stages=stages,
        happenings=(),
        verifies=plan.verifies and may_act,
        records_first=False,
        wake_at=plan.wake_at if may_act or is_control_wanted else None,
    )


def _perform(group: _Group, plan: Plan, ports: Ports) -> None:
    """The stages, with the memory written before them or, for a move, beside them.

    Beside, because a move is idempotent and the next pass sees where routes and address are: writing the intent first
    would add a round trip to every failover and make nothing safer. Beside all of them, so that no stage of a move
    waits for a slow ledger.
    """
    record = partial(_record, group, ports)
    outcomes: list[Outcome] = []
    stages = partial(_stages, group, plan, outcomes, ports)
    ports.together([record, stages] if plan.verifies and plan.stages and not plan.records_first else [stages])
    for each in outcomes:
        _judge_outcome(group, each, ports)


def _stages(group: _Group, plan: Plan, outcomes: list[Outcome], ports: Ports) -> None:
    for number, stage in enumerate(plan.stages):
        if number and plan.pause:
            ports.clock.sleep(plan.pause)
        outcomes += cast(list[Outcome], ports.together([partial(_do, group, action, ports) for action in stage]))


def _do(group: _Group, action: Action, ports: Ports) -> Outcome:
    started = ports.clock.now()
    if group.is_lost or (group.lease is not None and started >= group.lease.until):
        trouble = Stale("Lease", "Expired", "the lease is over; the next pass goes on")
        return Outcome(action, trouble, timedelta(0))
    try:
        if isinstance(action, StartWatch):
            ports.prober.start(action)
        else:
            ports.vpc.do(action)
    except Trouble as trouble:
        return Outcome(action, trouble, ports.clock.now() - started)
    return Outcome(action, None, ports.clock.now() - started)


def _judge_outcome(group: _Group, outcome: Outcome, ports: Ports) -> None:
    ports.telemetry.acted(group.name, outcome)
    action, memory = outcome.action, group.memory
    if outcome.trouble is not None and isinstance(action, StartWatch):
        group.memory = replace(memory, watch=None)
    if outcome.trouble is None and isinstance(action, LaunchInstance):
        if action.role is Role.NAT and memory.repair is not None:
            group.memory = replace(memory, repair=replace(memory.repair, is_accepted=True))
        elif action.role is Role.STANDBY and memory.standby_repair is not None:
            group.memory = replace(memory, standby_repair=replace(memory.standby_repair, is_accepted=True))


def _verify(group: _Group, ports: Ports) -> None:
    try:
        report = ports.prober.verify(group.name)
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)
        return
    ports.telemetry.reported(report)
    group.news = (*group.news, report)


def _note(group: _Group, happening: IncidentOpened | IncidentClosed, ports: Ports) -> None:
    try:
        ports.ledger.note(happening)
    except Trouble as trouble:
        ports.telemetry.troubled(group.name, trouble)


def _record(group: _Group, ports: Ports, *, release: bool = False) -> bool:
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


def _close(group: _Group, ports: Ports) -> None:
    """The last write: the memory with the lease given back, unless news came meanwhile that want another turn."""
    if group.lease is not None and not group.is_lost and _record(group, ports, release=True) and not group.news:
        group.lease = None
