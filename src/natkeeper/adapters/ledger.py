"""The ledger in DynamoDB. Implements `ports.Ledger`; built by `wiring`.

One item per group (pk `group`, sk its name): lease (holder, epoch, until), memory and inbox. One item per incident
(pk `incident#<group>`, sk its id). A conditional UpdateItem is a true compare-and-set, and a refused one answers with
the item (ALL_OLD), so taking a lease, reading the memory and learning the holder are one call. The lease prevents
flapping; it is not mutual exclusion, for ReplaceRoute has no fencing: every write must be harmless when late.

Whatever else may write to the table, nothing in it stops a pass: each item is read by itself, what cannot be read of it
is left out and named (`damage`), a lease is never longer than a lease, and an item whose frame is broken is written
anew by whoever takes its lease. docs/decisions.md, 59.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from natkeeper.adapters.aws import typed_errors
from natkeeper.adapters.items import (
    Item,
    broken_parts,
    encoded,
    entries_of,
    epoch_of,
    is_endless,
    is_free,
    memory_of,
    milliseconds,
    news_of,
)
from natkeeper.core.incident import Memory
from natkeeper.core.news import Command, HealthNotice, News, ProbeFailed, ProbeReport, SpotInterruption
from natkeeper.core.plan import IncidentClosed, IncidentOpened
from natkeeper.errors import Refused, Stale, TryAgain
from natkeeper.ports import Held, Known, Lease
from natkeeper.triggers import to_record

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

GROUP = "group"
INBOX_LIMIT = 20
"""News kept for a holder: a run's report is 3 KB."""
EVENTS_LIMIT = 10
"""Of these what a look would show too: a burst of events must leave room for a report, a command or a notice, of
which nobody else will ever hear (simulation, seed 41017798: three failed rounds were dropped)."""
SAID_ONCE = (ProbeReport, ProbeFailed, Command, SpotInterruption, HealthNotice)
KEPT = timedelta(days=400)
"""How long an incident stays in the table."""
FREE = "attribute_not_exists(lease_until) OR lease_until < :now OR holder = :holder"
"""Never taken, over, or ours already."""
TAKING = "SET holder = :holder, lease_until = :until, inbox = if_not_exists(inbox, :empty) ADD epoch :one"
FRAME = ("holder", "epoch", "lease_until")
"""What changes whenever a lease is taken or given back."""
MOST_PAGES = 8
"""Of a read. Three groups' items fit into one of 1 MB; somebody else's, of 400 KB at most, may stand before them."""
BROKEN = "ValidationException"
"""What DynamoDB says where an attribute is not of the type that an update needs, or the item would be too large (API
reference, "UpdateItem")."""
OURS = "holder = :holder AND epoch = :epoch"
REFUSED = "ConditionalCheckFailedException"
RECORD_TRIES = 4
"""A stop brings two events, a tick and a prober's report within a second or two, each of which may leave its news while
the holder writes. Giving up on the closing write keeps the lease for its 25 s, in which nobody acts for the group."""
TWO_WRITES = timedelta(seconds=6)
"""Each may take 3 s: two tries of a second and the wait between. With less of the pass left, a release that news came
beside is not made again for them, or AWS ends the pass in the middle of it (busy inbox and slow writes: four in a row
took 4 s)."""
LONG = timedelta(days=1)


class DynamoLedger:
    """`ports.Ledger` on a boto3 client. `holder` names this invocation; `now` is its wall clock, for lease ends;
    `remaining` is how long it may still run."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        holder: str,
        now: Callable[[], datetime],
        remaining: Callable[[], timedelta] = lambda: LONG,
    ) -> None:
        self._client = client
        self._table = table
        self._holder = holder
        self._now = now
        self._remaining = remaining

    def read(self) -> Mapping[str, Known]:
        """One strongly consistent Query; three groups' items are far below its page of 1 MB."""
        items = self._query("pk = :pk", {":pk": {"S": GROUP}})
        return {each["sk"]["S"]: _known(each) for each in items}

    def _query(self, keys: str, values: Item) -> list[Item]:
        items: list[Item] = []
        asked: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": keys,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        for _ in range(MOST_PAGES):
            with typed_errors("Query"):
                answer = self._client.query(**asked)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                break
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return items

    def acquire(self, group: str, until: datetime) -> Lease | Held:
        """Free, over, never taken, or ours already. `until` is wall clock; DynamoDB has no clock of its own to compare
        with.

        Ours already: when the answer to the first try is lost, botocore tries again, and must not be refused by the
        lease that it took itself; the epoch goes up once more, and is the one that counts.
        """
        try:
            item = self._take(group, until)
        except _Refused as refused:
            # Told by the answer, and never by the condition of the call that takes the lease: a try of it that arrives
            # late would take a lease that was given since for too long (simulation, seed 5000241).
            if not is_endless(refused.item, self._now()):
                return _held(group, refused.item)
            item = None
        if item is None:
            return self._repair(group, until)
        epoch, inbox = epoch_of(item), entries_of(item)
        if epoch is None or inbox is None:
            return self._write_anew(group, until, item)
        memory, damage = memory_of(item)
        return Lease(group, self._holder, epoch, until, memory, tuple(map(news_of, inbox)), damage)

    def _take(self, group: str, until: datetime) -> Item | None:
        """The item with its lease taken; None where it is such that DynamoDB can make no update to it."""
        values = {
            ":holder": {"S": self._holder},
            ":until": {"N": milliseconds(until)},
            ":now": {"N": milliseconds(self._now())},
            ":one": {"N": "1"},
            ":empty": {"L": []},
        }
        try:
            return self._update(group, TAKING, FREE, values)
        except Refused as refused:
            if refused.code != BROKEN:
                raise
            return None

    def _repair(self, group: str, until: datetime) -> Lease | Held:
        """The lease of an item that cannot be taken as it is: looked at, and written anew unless somebody has it. Two
        calls more, once for each such item."""
        item = next(iter(self._query("pk = :pk AND sk = :sk", {":pk": {"S": GROUP}, ":sk": {"S": group}})), {})
        if not is_free(item, self._holder, self._now()):
            return _held(group, item)
        return self._write_anew(group, until, item)

    def _write_anew(self, group: str, until: datetime, item: Item) -> Lease | Held:
        """Takes the lease with the whole item written, of which what it remembers is kept as far as it can be read. On
        condition that its frame is as it was seen, so that a try that arrives late does nothing."""
        memory, damage = memory_of(item)
        epoch = (epoch_of(item) or 0) + 1
        written: dict[str, Any] = {
            "pk": {"S": GROUP},
            "sk": {"S": group},
            "holder": {"S": self._holder},
            "lease_until": {"N": milliseconds(until)},
            "epoch": {"N": str(epoch)},
            "inbox": {"L": []},
            "memory": {"S": encoded(memory)},
        }
        try:
            self._put(written, item)
        except _Refused as refused:
            return _held(group, refused.item)
        damage = ", ".join(part for part in (broken_parts(item), damage) if part)
        return Lease(group, self._holder, epoch, until, memory, (), damage)

    def _put(self, written: Item, seen: Item) -> None:
        there = [name for name in FRAME if name in seen]
        as_seen = [f"{name} = :{name}" if name in there else f"attribute_not_exists({name})" for name in FRAME]
        asked: dict[str, Any] = {"TableName": self._table, "Item": written}
        asked["ConditionExpression"] = " AND ".join(as_seen)
        if there:
            asked["ExpressionAttributeValues"] = {f":{name}": seen[name] for name in there}
        with typed_errors("PutItem"):
            try:
                self._client.put_item(**asked, ReturnValuesOnConditionCheckFailure="ALL_OLD")
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise _Refused(error.response.get("Item", {})) from error  # type: ignore[arg-type]

    def record(self, lease: Lease, memory: Memory, *, release: bool) -> Lease:
        """Memory and lease in one write, on condition that holder, epoch and inbox are as this holder knows them.

        The epoch goes up with each write. A try that arrives late, after a later write, is refused by it; and one that
        was applied, whose reply was lost and which is made again, is seen to be the second: what is in the inbox now
        came after the first. Without it, news was dropped that came between the two (the first had emptied the inbox).

        The holder too: the epoch begins anew once somebody deleted the item, and one of before would write over, and
        give back, the lease of whoever has the same number now (simulation, seed 6005164).
        """
        change = "memory = :memory, inbox = :empty"
        values: dict[str, Any] = {":empty": {"L": []}, ":known": {"N": str(len(lease.inbox))}}
        if release:
            change, values = f"{change}, lease_until = :zero", {**values, ":zero": {"N": "0"}}
        try:
            self._write(lease, memory, change, values)
        except _Refused as refused:
            return self._record_beside_news(lease, memory, refused.item, release=release)
        return replace(lease, epoch=lease.epoch + 1, memory=memory, inbox=())

    def _record_beside_news(self, lease: Lease, memory: Memory, item: Mapping[str, Any], *, release: bool) -> Lease:
        """Somebody left news: write the memory, keep what was not handed out yet, and hand it out now.

        A release whose reply was lost is refused when it is tried again: the lease is given back already, and what came
        in between is for whoever takes it next (simulation, seed 840122998: the pass went on).

        Where news come too fast for that, or no time is left for them, a release gives up the lease all the same. What
        was handed out stays in the inbox then and is heard twice, which changes nothing; a lease kept would shut
        everybody out for its 25 s.
        """
        for _ in range(RECORD_TRIES):
            lease, fresh = _as_it_stands(lease, item)
            if release and item.get("lease_until") == {"N": "0"}:
                return replace(lease, memory=memory, inbox=())
            if release and self._remaining() < TWO_WRITES:
                break
            change = "memory = :memory, inbox = :fresh"
            values = {":fresh": {"L": fresh}, ":known": {"N": str(len(entries_of(item) or ()))}}
            try:
                self._write(lease, memory, change, values)
            except _Refused as refused:
                item = refused.item
            else:
                return replace(lease, epoch=lease.epoch + 1, memory=memory, inbox=tuple(map(news_of, fresh)))
        if not release:
            raise TryAgain("UpdateItem", "InboxBusy", "news kept arriving while the memory was written")
        try:
            self._write(lease, memory, "memory = :memory, lease_until = :zero", {":zero": {"N": "0"}})
        except _Refused as refused:
            _as_it_stands(lease, refused.item)
        return replace(lease, memory=memory, inbox=())

    def _write(self, lease: Lease, memory: Memory, change: str, values: Mapping[str, Any]) -> None:
        """A write under the lease, on condition that it is the lease's turn and, where `values` say how long the inbox
        is known to be, that nobody left news since."""
        condition = f"{OURS} AND size(inbox) = :known" if ":known" in values else OURS
        ours = {
            ":holder": {"S": lease.holder},
            ":epoch": {"N": str(lease.epoch)},
            ":memory": {"S": encoded(memory)},
            ":one": {"N": "1"},
        }
        self._update(lease.group, f"SET {change} ADD epoch :one", condition, {**ours, **values})

    def leave(self, group: str, news: News) -> None:
        """Appends to the inbox; a full one keeps what it has, because the holder will look for itself anyway."""
        limit = INBOX_LIMIT if isinstance(news, SAID_ONCE) else EVENTS_LIMIT
        entry = {"L": [{"S": json.dumps(to_record(news), separators=(",", ":"))}]}
        try:
            self._update(
                group,
                "SET inbox = list_append(inbox, :entry)",
                "size(inbox) < :limit",
                {":entry": entry, ":limit": {"N": str(limit)}},
            )
        except _Refused:
            return

    def note(self, happening: IncidentOpened | IncidentClosed) -> None:
        """Opens once and closes once: the conditions make a repeat a no-op."""
        incident = happening.incident
        is_closing = isinstance(happening, IncidentClosed)
        condition = "attribute_not_exists(closed_at)" if is_closing else "attribute_not_exists(pk)"
        fields: dict[str, Any] = {
            "cause": incident.cause.value,
            "opened_at": incident.opened_at.isoformat(),
            "from_target": incident.from_target,
            "to_target": incident.to_target,
            "address_before": incident.address_before,
            "address_after": incident.address_after,
            "is_last_resort": incident.is_last_resort,
            "recovered_at": incident.recovered_at.isoformat() if incident.recovered_at else None,
        }
        if isinstance(happening, IncidentClosed):
            fields["closed_at"] = happening.closed_at.isoformat()
            fields["downtime_low_ms"] = round(happening.low.total_seconds() * 1000)
            fields["downtime_high_ms"] = (
                None if happening.high is None else round(happening.high.total_seconds() * 1000)
            )
        item = {key: _attribute(value) for key, value in fields.items() if value is not None}
        item |= {
            "pk": {"S": f"incident#{incident.group}"},
            "sk": {"S": incident.incident_id},
            "expires_at": {"N": str(int((incident.opened_at + KEPT).timestamp()))},
        }
        try:
            with typed_errors("PutItem"):
                self._client.put_item(TableName=self._table, Item=item, ConditionExpression=condition)
        except Stale:
            return

    def _update(self, group: str, change: str, condition: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        with typed_errors("UpdateItem"):
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": GROUP}, "sk": {"S": group}},
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=dict(values),
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise _Refused(error.response.get("Item", {})) from error  # type: ignore[arg-type]
        return answer["Attributes"]


class _Refused(Exception):
    """The condition did not hold; `item` is what the table has."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        super().__init__(REFUSED)
        self.item = item


def _as_it_stands(lease: Lease, item: Mapping[str, Any]) -> tuple[Lease, list[Any]]:
    """The lease with the item's epoch, and what of its inbox was not handed out yet; raises Stale where it is lost.

    An epoch further on is this holder's own: a write of its that nobody answered, which took out what it had known.
    """
    epoch, inbox = epoch_of(item), entries_of(item)
    if epoch is None or inbox is None or item.get("holder") != {"S": lease.holder} or epoch < lease.epoch:
        raise _lost(lease, item)
    return replace(lease, epoch=epoch), inbox if epoch > lease.epoch else inbox[len(lease.inbox) :]


def _lost(lease: Lease, item: Mapping[str, Any]) -> Stale:
    holder = item.get("holder", {}).get("S")
    return Stale("UpdateItem", "LeaseLost", f"group {lease.group} now belongs to {holder}")


def _known(item: Item) -> Known:
    memory, damage = memory_of(item)
    return Known(memory, bool(entries_of(item)), damage)


def _held(group: str, item: Item) -> Held:
    return Held(group, item.get("holder", {}).get("S", "unknown"), memory_of(item)[0])


def _attribute(value: str | int | bool) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}
