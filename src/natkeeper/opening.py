"""How a wake-up begins: one look, the leases that the news calls for and the other memories, in one round trip.

Called by `reconcile`, of which it is a part: beside it and `acting`, the only place that catches `Trouble`. May not
import boto3, adapters or handlers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from natkeeper.asking import ask, control_probe, has_time
from natkeeper.core.bounds import LEASE
from natkeeper.core.case import Observation
from natkeeper.core.decide import decide, watch_on
from natkeeper.core.incident import Memory
from natkeeper.core.message import message_of
from natkeeper.core.model import ControlProbe, Network, Unknown
from natkeeper.core.news import (
    Command,
    HealthNotice,
    InstanceChanged,
    News,
    ProbeFailed,
    ProbeReport,
    RebalanceRecommended,
    SpotInterruption,
)
from natkeeper.core.plan import Happening, Plan, Warned
from natkeeper.core.policy import Policy
from natkeeper.core.runs import heard, is_rumoured
from natkeeper.errors import Refused, Trouble
from natkeeper.ports import Held, Known, Lease, Ports
from natkeeper.sifting import narrowed, suspects_of

Answer = Lease | Held | Trouble
"""To asking for a lease."""
NO_ANSWERS: Mapping[str, Answer] = {}
NOTHING = Memory()
RESERVE = timedelta(seconds=9)
"""A turn is only begun with this much time left: for its look, a quick action, and the last write."""
LOOKED_BY = timedelta(seconds=10)
"""What must be left when a look comes back: a try of botocore's (3 s) that began just before, the calls of a move with
theirs, and a verification of 3 s."""


@dataclass
class GroupPass:
    """One group's way through a wake-up."""

    name: str
    memory: Memory
    lease: Lease | None
    news: tuple[News, ...]
    plan: Plan | None = None
    is_ledgerless: bool = False
    is_throttled: bool = False
    """A call of the last plan was refused for the account's request rate."""
    is_mute: bool = False
    """AWS refused to move the last plan's address, so that no packet could come back: there is nothing to verify."""
    is_lost: bool = False
    """Another pass has the lease now: hands off."""
    control: ControlProbe | None = None
    unconfirmed: tuple[News, ...] = ()
    """Notices that AWS will stop an instance, which no look has asked EC2 about yet."""
    reasons: list[str] = field(default_factory=list)
    answers: dict[str, ProbeReport | None] = field(default_factory=dict)
    """What the probers of other groups said when they were asked for this one; None where one could not be."""
    outbox: list[str] = field(default_factory=list)
    """What people are to be told, once the pass has done what it does and its memory is in the ledger."""

    def tell(self, happening: Happening, ports: Ports) -> None:
        """To log and metrics at once; to people at the end of the pass, for a message is a call that nobody's traffic
        may wait for."""
        ports.telemetry.happened(self.name, happening)
        text = message_of(self.name, happening)
        if text is not None:
            self.outbox.append(text)

    @property
    def wants_turn(self) -> bool:
        """The last plan asked to look again soon, or its verification is still to be judged."""
        if self.is_lost:
            return False
        return self.plan is None or self.plan.verifies or self.plan.wake_at is not None or bool(self.news)


def decide_for(
    group: GroupPass, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> Plan:
    """The core's plan for one group on what this wake-up knows."""
    now = ports.clock.now()
    observation = Observation(
        group=policy.group(group.name),
        network=network,
        others={name: memory for name, memory in others.items() if name != group.name},
        news=heard(group.name, group.memory, group.news, now, policy),
        control=group.control,
        answers={name: _dated(name, each, now, policy) for name, each in group.answers.items()},
        is_rumoured=is_rumoured(group.name, group.memory, group.news, now),
    )
    return decide(observation, group.memory, now, policy)


def _dated(name: str, answer: ProbeReport | None, now: datetime, policy: Policy) -> ProbeReport | None:
    """What another group's prober said, by this clock."""
    told = heard(name, NOTHING, [answer], now, policy) if answer is not None else ()
    return next((each for each in told if isinstance(each, ProbeReport)), None)


@dataclass(frozen=True)
class _Again:
    """The answer to asking for a lease again, after the news were left in its inbox."""

    answer: Lease | Held


def open_pass(
    news: Sequence[News], ports: Ports, policy: Policy, early: Mapping[str, Answer] = NO_ANSWERS
) -> tuple[Network | Unknown, list[GroupPass], dict[str, Memory]]:
    """The first round trip: the look, the leases that the news calls for and that were not asked for `early`, the other
    groups' memories, all at once.

    The control probe goes with them when a report says that egress is down, so that it costs no time of its own.
    """
    names = [each.name for each in policy.groups]
    urgent = [name for name in names if any(_is_urgent(each, name) for each in news)]
    asking = [name for name in urgent if name not in early]
    until = ports.clock.now() + LEASE
    suspects = suspects_of(news)
    is_unfinished = any(isinstance(each, Lease) and each.memory.is_unfinished for each in early.values())
    looked, asked, read, *answered = ports.together(
        [
            partial(look, ports, suspects, is_urgent=is_unfinished or any(_is_alarming(each) for each in news)),
            partial(control_probe, ports) if _is_down(news) else _nothing,
            ports.ledger.read if len(urgent) < len(names) else _nothing,
            *(partial(ports.ledger.acquire, name, until) for name in asking),
        ]
    )
    network = cast(Network | Unknown, looked)
    news = narrowed(news, ports)
    known = _readable(read, ports, policy)
    others = {name: each.memory for name, each in known.items()}
    leases = {**early, **dict(zip(asking, answered, strict=True))}
    answers = {name: _insist(name, answer, until, news, ports) for name, answer in leases.items()}
    groups = [_admit(name, answers.get(name), others, news, ports) for name in names]
    for each in groups:
        each.control = cast(ControlProbe | None, asked)
    others |= {each.name: each.memory for each in groups}
    late = [each for each in groups if each.lease is None and each.name not in urgent]
    unheard = {name for name, each in known.items() if each.has_news or each.damage}
    wanting = [
        each for each in late if each.name in unheard or _has_something_to_do(each, network, others, ports, policy)
    ]
    given = ports.together([partial(ports.ledger.acquire, each.name, until) for each in wanting])
    for group, answer in zip(wanting, given, strict=True):
        groups[groups.index(group)] = _admit(group.name, answer, others, news, ports)
    left = suspects_of([each for group in groups for each in group.news])
    if left - suspects:
        # A notice that an inbox came with is asked about too, for nobody else will.
        network = look(ports, left) if isinstance(network, Unknown) else _with_stops(network, left, ports)
    return network, groups, others


def ask_early(news: Sequence[News], ports: Ports, policy: Policy) -> dict[str, Answer]:
    """The lease of the group of a report that may need no look: the memory that comes with it tells. Empty for all
    other news, whose leases are asked for beside the look."""
    if len(news) != 1 or not isinstance(report := news[0], ProbeReport):
        return {}
    is_known = report.group in {each.name for each in policy.groups}
    if not is_known or not all(each.is_ok for each in report.rounds):
        return {}
    try:
        return {report.group: ports.ledger.acquire(report.group, ports.clock.now() + LEASE)}
    except Trouble as trouble:
        return {report.group: trouble}


def open_calm(early: Mapping[str, Answer], news: Sequence[News], ports: Ports, policy: Policy) -> GroupPass | None:
    """The pass that needs no look (`core.decide.watch_on`), with its plan made. None: somebody must look."""
    for name, lease in early.items():
        if isinstance(lease, Lease) and not lease.inbox and lease.damage is None:
            ports.own.add(lease.memory.instances or ())
            now = ports.clock.now()
            reports = [each for each in heard(name, lease.memory, news, now, policy) if isinstance(each, ProbeReport)]
            plan = watch_on(name, lease.memory, reports[0], now, policy) if reports else None
            if plan is not None:
                return GroupPass(name, plan.unclosed, lease, (), plan, reasons=[plan.reason.value])
    return None


def look(ports: Ports, suspects: frozenset[str], *, is_urgent: bool = False) -> Network | Unknown:
    """One look; what cannot be seen is Unknown, never empty. An urgent one insists where it is only throttled."""

    def insists() -> bool:
        return is_urgent and ports.clock.remaining() > LOOKED_BY

    try:
        network = ports.vpc.look(insists, partial(has_time, ports))
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return Unknown(str(trouble), trouble.is_throttle)
    ports.own.see(network.own_ids, ports.clock.now())
    return _with_stops(network, suspects, ports)


def _with_stops(network: Network, suspects: frozenset[str], ports: Ports) -> Network:
    """The look with what EC2 says of announced stops of the stack's own instances, and of no others: a notice of AWS
    Health names the whole account's. Where EC2 does not answer, everything else of the look stays known."""
    own = suspects & network.own_ids
    if not own:
        return network
    try:
        return network.with_stops(ports.vpc.stops(own, partial(has_time, ports)))
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return replace(network, unasked=own)


def _nothing() -> None:
    """Stands where a call is not needed."""


def _readable(found: object, ports: Ports, policy: Policy) -> dict[str, Known]:
    """The items of the stack's groups. Others are of a group that was removed, or nobody's."""
    if isinstance(found, Trouble):
        ports.telemetry.troubled(None, found)
        return {}
    names = {each.name for each in policy.groups}
    return {name: each for name, each in cast(Mapping[str, Known], found or {}).items() if name in names}


def _admit(name: str, answer: object, others: Mapping[str, Memory], news: Sequence[News], ports: Ports) -> GroupPass:
    """A group with its lease, without one because somebody else has it, or without a ledger at all."""
    if isinstance(answer, _Again):
        answer, news = answer.answer, ()
    if isinstance(answer, Lease):
        ports.own.add(answer.memory.instances or ())
        group = GroupPass(name, answer.memory, answer, (*answer.inbox, *news))
        if answer.damage is not None:
            _tell_of_damage(group, answer.damage, ports)
        return group
    if isinstance(answer, Held):
        return GroupPass(name, answer.memory, None, (), reasons=["held-by-another-pass"])
    if isinstance(answer, Trouble):
        ports.telemetry.troubled(name, answer)
        return GroupPass(name, others.get(name, NOTHING), None, tuple(news), is_ledgerless=True)
    return GroupPass(name, others.get(name, NOTHING), None, tuple(news))


def _tell_of_damage(group: GroupPass, damage: str, ports: Ports) -> None:
    """Once: this pass goes on with what could be read, and its last write makes the item whole."""
    ports.telemetry.troubled(group.name, Refused("UpdateItem", "UnreadableItem", damage))
    text = (
        f"group {group.name}: not all that the ledger remembered of it can be read ({damage}). natkeeper goes on with "
        f"the rest, and writes the item anew; see who writes to the table beside it"
    )
    group.tell(Warned(text, "broken-item"), ports)


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
    group: GroupPass, network: Network | Unknown, others: Mapping[str, Memory], ports: Ports, policy: Policy
) -> bool:
    """At rest a pass writes nothing, not even a lease: decide on what was read, and take the lease if it matters."""
    plan = decide_for(group, network, others, ports, policy)
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


def _is_alarming(news: News) -> bool:
    """Egress may be down because of it, so a look is worth waiting for."""
    if isinstance(news, ProbeReport):
        return news.is_down
    return isinstance(news, (InstanceChanged, SpotInterruption))


def look_again(groups: Sequence[GroupPass], ports: Ports) -> Network | Unknown:
    """The look before a later turn, and beside it the control probe where a group asks for one or a report has said
    since that egress is down. What an earlier one said is old by then: targets that failed after it made two NATs look
    dead, one after the other (simulation, seed 200122064)."""
    news = [each for group in groups for each in (*group.unconfirmed, *group.news)]
    is_wanted = any(each.plan is not None and each.plan.wants_control_probe for each in groups)
    asked = sorted({name for each in groups if each.plan is not None for name in each.plan.asks})
    network, control, *answers = ports.together(
        [
            partial(look, ports, suspects_of(news)),
            partial(control_probe, ports) if is_wanted or asked or _is_down(news) else _nothing,
            *(partial(ask, name, ports) for name in asked),
        ]
    )
    said = dict(zip(asked, cast(list[ProbeReport | None], answers), strict=True))
    for each in groups:
        each.control = cast(ControlProbe | None, control)
        # Kept for the pass: whoever was asked a moment ago is not asked again at each report.
        each.answers |= {name: said[name] for name in each.plan.asks} if each.plan is not None else {}
    return cast(Network | Unknown, network)


def _is_down(news: Sequence[News]) -> bool:
    return any(isinstance(each, ProbeReport) and each.is_down for each in news)
