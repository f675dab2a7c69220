"""Which news is about the stack at all: an event of somebody else's instance costs no call to EC2 and no write.

Every state change of the region wakes the controller, because an EventBridge rule can filter by neither tag nor VPC
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html). Called by `reconcile`, of
which it is a part. May not import boto3, adapters or handlers. docs/decisions.md, 36, says what it costs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from natkeeper.core.model import Network, Unknown
from natkeeper.core.news import HealthNotice, News, SpotInterruption, concerning, instances_of
from natkeeper.core.policy import Policy
from natkeeper.errors import Trouble
from natkeeper.ports import Ports

FRESH = timedelta(seconds=5)
"""How long a process goes by what it was told of the stack's instances before it reads the ledger again. An instance
that another process launched meanwhile is taken for somebody else's until then; packets and ticks see it all the same.
So 100 events a second cost each process one read in five seconds."""
MOST_ASKS = 60
"""Passes that ask EC2 about an announced stop in vain. At rest a pass comes twice a minute, so for half an hour."""
MOST_NAMED = 20
"""Ids kept of a notice while nobody knows which are the stack's: more than three groups ever have at once."""


def sift(news: Sequence[News], ports: Ports, policy: Policy) -> tuple[News, ...]:
    """The news without what is about other people's instances only.

    An id that this process knows costs nothing, so a failover that an event begins waits for no read. For any other id
    the ledger is read. Only where that does not tell (no ledger, or a group that nobody has looked at) it takes a look,
    and for one event in `FRESH` at most.
    """
    own, now = ports.own, ports.clock.now()
    named = {each for one in news for each in instances_of(one)}
    if named <= own.ids:
        return only(news, named)
    if not own.was_told_since(now - FRESH, now):
        _ask_the_ledger(ports, policy)
    if not own.is_known and own.may_ask(now - FRESH, now):
        return tuple(news)
    return only(news, own.ids)


def narrowed(news: Sequence[News], ports: Ports) -> tuple[News, ...]:
    """What may be left in an inbox: about the stack's own instances, or, where nobody knows which these are, of bounded
    length. AWS Health names every affected instance of the account, on pages of up to 256 KB (AWS Health User Guide,
    "Pagination of AWS Health events on EventBridge")."""
    if ports.own.is_known:
        return only(news, ports.own.ids)
    return tuple(
        replace(each, instance_ids=each.instance_ids[:MOST_NAMED]) if isinstance(each, HealthNotice) else each
        for each in news
    )


def only(news: Sequence[News], ids: Collection[str]) -> tuple[News, ...]:
    """What is about these instances, or about none."""
    return tuple(found for each in news if (found := concerning(each, ids)) is not None)


def suspects_of(news: Sequence[News]) -> frozenset[str]:
    """The instances that AWS is said to stop."""
    spots = [each.instance_id for each in news if isinstance(each, SpotInterruption)]
    return frozenset(spots).union(*(each.instance_ids for each in news if isinstance(each, HealthNotice)))


def unanswered(news: Sequence[News], network: Network | Unknown, ports: Ports) -> tuple[News, ...]:
    """Announced stops that this look could not ask EC2 about; they stay to be asked about."""
    notices = [each for each in news if isinstance(each, (SpotInterruption, HealthNotice))]
    return narrowed(notices, ports) if isinstance(network, Unknown) else only(notices, network.unasked)


def once_more(notice: News) -> News | None:
    """The notice, for the next pass; None after so many that the answer will not come any more."""
    assert isinstance(notice, (SpotInterruption, HealthNotice))
    return replace(notice, asks=notice.asks + 1) if notice.asks < MOST_ASKS else None


def _ask_the_ledger(ports: Ports, policy: Policy) -> None:
    """A group without a memory, or with one of before there were ids in it, may have any instance: nobody knows."""
    try:
        found = ports.ledger.read()
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return
    known = [found[each.name].memory.instances for each in policy.groups if each.name in found]
    told = [each for each in known if each is not None]
    if len(told) == len(policy.groups):
        ports.own.remember((each for ids in told for each in ids), ports.clock.now())
