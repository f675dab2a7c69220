"""The ledger's adapter against DynamoDB on the wire: leases, memory, inbox and incidents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from natkeeper.adapters.ledger import EVENTS_LIMIT, INBOX_LIMIT, RECORD_TRIES, TWO_WRITES, DynamoLedger
from natkeeper.core.incident import Cause, Incident, Memory, Proof
from natkeeper.core.news import InstanceChanged, ProbeFailed, ProbeReport, RunMode, Tick, Verdict
from natkeeper.core.plan import IncidentClosed, IncidentOpened
from natkeeper.errors import Stale, TryAgain
from natkeeper.ports import Held, Known, Lease
from tests.support.cloud import Cloud, do_not_wait_between_attempts

LONG = timedelta(seconds=25)
NOW = datetime(2026, 3, 2, 8, 15, 3, 250_000, UTC)
MEMORY = Memory(target="eni-1", moved_at=NOW, proofs=(Proof("eni-1", NOW, NOW - timedelta(seconds=9)),), observed=99.5)
NEWS = InstanceChanged("i-0123456789abcdef0", "stopping")


@pytest.fixture(scope="module")
def deployed() -> Iterator[Cloud]:
    with Cloud(2, 1, is_seeded=False) as cloud:
        yield cloud


@pytest.fixture
def cloud(deployed: Cloud) -> Cloud:
    """With an empty ledger."""
    deployed.api.faults.clear()
    for each in deployed.dynamodb.scan(TableName="ledger")["Items"]:
        deployed.dynamodb.delete_item(TableName="ledger", Key={key: each[key] for key in ("pk", "sk")})
    return deployed


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    do_not_wait_between_attempts(monkeypatch)


@pytest.fixture
def first(cloud: Cloud) -> DynamoLedger:
    return DynamoLedger(cloud.dynamodb, "ledger", "first", now)


@pytest.fixture
def second(cloud: Cloud) -> DynamoLedger:
    return DynamoLedger(cloud.dynamodb, "ledger", "second", now)


def now() -> datetime:
    return datetime.now(UTC)


def until(span: timedelta = LONG) -> datetime:
    return now() + span


def take(ledger: DynamoLedger, span: timedelta = LONG) -> Lease:
    lease = ledger.acquire("a", until(span))
    assert isinstance(lease, Lease)
    return lease


# -- leases


def test_new_group_has_a_lease_and_an_empty_memory(first: DynamoLedger) -> None:
    lease = take(first)
    assert (lease.holder, lease.epoch, lease.memory, lease.inbox) == ("first", 1, Memory(), ())


def test_second_holder_is_told_who_has_the_lease_and_what_is_remembered(
    first: DynamoLedger, second: DynamoLedger
) -> None:
    first.record(take(first), MEMORY, release=False)
    assert second.acquire("a", until()) == Held("a", "first", MEMORY)


def test_taking_a_lease_is_one_call_whether_it_is_free_or_not(
    cloud: Cloud, first: DynamoLedger, second: DynamoLedger
) -> None:
    cloud.forget()
    take(first)
    second.acquire("a", until())
    assert [each.operation for each in cloud.calls()] == ["UpdateItem"] * 2


def test_lease_that_is_over_can_be_taken(first: DynamoLedger, second: DynamoLedger) -> None:
    before = take(first, timedelta(milliseconds=-1))
    after = take(second)
    assert after.epoch == before.epoch + 1


def test_lease_that_was_given_back_can_be_taken(first: DynamoLedger, second: DynamoLedger) -> None:
    first.record(take(first), MEMORY, release=True)
    assert take(second).memory == MEMORY


def test_lease_is_kept_while_it_is_not_given_back(first: DynamoLedger, second: DynamoLedger) -> None:
    first.record(take(first), MEMORY, release=False)
    assert isinstance(second.acquire("a", until()), Held)


def test_leases_of_two_groups_are_independent(first: DynamoLedger, second: DynamoLedger) -> None:
    take(first)
    assert isinstance(second.acquire("b", until()), Lease)


@pytest.mark.usefixtures("hasty")
def test_lease_whose_reply_was_lost_is_ours_all_the_same(cloud: Cloud, first: DynamoLedger) -> None:
    """botocore asks again, and what stands in the way is our own lease."""
    cloud.api.faults.lose_reply("UpdateItem")
    lease = take(first)
    assert lease.holder == "first"
    first.record(lease, MEMORY, release=True)
    assert first.read() == {"a": Known(MEMORY)}


# -- memory


def test_memory_comes_back_as_it_was_written(first: DynamoLedger) -> None:
    first.record(take(first), MEMORY, release=True)
    assert first.read() == {"a": Known(MEMORY)}
    assert take(first).memory == MEMORY


def test_late_record_of_a_lost_lease_is_refused_and_changes_nothing(first: DynamoLedger, second: DynamoLedger) -> None:
    late = take(first, timedelta(milliseconds=-1))
    second.record(take(second), MEMORY, release=False)
    with pytest.raises(Stale, match="LeaseLost") as trouble:
        first.record(late, Memory(target="eni-late"), release=True)
    assert "second" in str(trouble.value)
    assert second.read() == {"a": Known(MEMORY)}
    assert isinstance(first.acquire("a", until()), Held)


@pytest.mark.parametrize("news", [0, 1])
def test_late_record_is_refused_though_the_item_was_deleted_and_its_epochs_began_anew(
    news: int, cloud: Cloud, first: DynamoLedger, second: DynamoLedger
) -> None:
    late = take(first)
    cloud.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": "a"}})
    assert take(second).epoch == late.epoch
    for _ in range(news):
        first.leave("a", NEWS)
    with pytest.raises(Stale, match="LeaseLost"):
        first.record(late, Memory(target="eni-late"), release=True)
    assert first.read() == {"a": Known(Memory(), has_news=bool(news))}
    assert isinstance(first.acquire("a", until()), Held)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("release", [True, False])
def test_record_whose_reply_was_lost_is_written_once_more_and_is_the_same(
    release: bool, cloud: Cloud, first: DynamoLedger, second: DynamoLedger
) -> None:
    lease = take(first)
    second.leave("a", NEWS)
    lease = replace(lease, inbox=())
    handed = first.record(lease, MEMORY, release=False)
    cloud.api.faults.lose_reply("UpdateItem")
    assert first.record(handed, MEMORY, release=release).inbox == ()
    assert first.read() == {"a": Known(MEMORY)}
    assert isinstance(second.acquire("a", until()), Lease if release else Held)


def test_release_whose_reply_was_lost_is_done_although_news_came_before_it_was_tried_again(
    first: DynamoLedger, second: DynamoLedger
) -> None:
    """Found by the simulation (seed 840122998): the news was handed to a pass that had no lease any more."""
    lease = take(first)
    first.record(lease, MEMORY, release=True)
    second.leave("a", NEWS)
    assert first.record(lease, MEMORY, release=True).inbox == ()
    taken = take(second)
    assert (taken.memory, taken.inbox) == (MEMORY, (NEWS,))


@pytest.mark.parametrize("release", [True, False])
@pytest.mark.parametrize("known", [1, 2])
@pytest.mark.parametrize("later", [1, 2, 3])
def test_news_between_a_record_whose_reply_was_lost_and_its_second_try_is_not_dropped(
    later: int, known: int, release: bool, first: DynamoLedger, second: DynamoLedger
) -> None:
    """The first had emptied the inbox: what the second takes for known was never handed out to anybody."""
    take(first, timedelta(milliseconds=-1))
    for number in range(known):
        second.leave("a", ProbeFailed("a", f"known-{number}", "crash"))
    lease = take(first)
    first.record(lease, MEMORY, release=release)
    news = tuple(ProbeFailed("a", f"later-{number}", "crash") for number in range(later))
    for each in news:
        second.leave("a", each)
    again = first.record(lease, MEMORY, release=release)
    assert again.inbox == (() if release else news)
    if not release:
        assert first.record(again, MEMORY, release=True).inbox == ()
    assert take(second).inbox == (news if release else ())


def test_a_try_that_arrives_after_a_later_write_does_not_bring_the_older_memory_back(
    cloud: Cloud, first: DynamoLedger
) -> None:
    delayed = DelayedWrite(cloud.dynamodb)
    slow = DynamoLedger(cast(Any, delayed), "ledger", "first", now)
    lease = slow.record(take(slow), replace(MEMORY, target="eni-old"), release=False)
    slow.record(lease, MEMORY, release=False)
    with pytest.raises(cloud.dynamodb.exceptions.ConditionalCheckFailedException):
        cloud.dynamodb.update_item(**delayed.writes[0])
    assert first.read() == {"a": Known(MEMORY)}


class DelayedWrite:
    """DynamoDB's client, which keeps what the holder wrote, to be sent once more."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.writes: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **params: Any) -> Any:
        if ":memory" in params["ExpressionAttributeValues"]:
            self.writes.append(params)
        return self._client.update_item(**params)


def test_read_returns_every_group_in_one_consistent_call(cloud: Cloud, first: DynamoLedger) -> None:
    for group in ("a", "b"):
        lease = first.acquire(group, until())
        assert isinstance(lease, Lease)
        first.record(lease, replace(MEMORY, target=f"eni-{group}"), release=True)
    cloud.forget()
    assert {name: each.memory.target for name, each in first.read().items()} == {"a": "eni-a", "b": "eni-b"}
    (call,) = cloud.calls()
    assert (call.operation, call.params["ConsistentRead"]) == ("Query", True)


def test_reading_an_empty_ledger_finds_nothing(first: DynamoLedger) -> None:
    assert first.read() == {}


# -- news for the holder


def test_news_left_while_the_lease_is_held_reaches_the_holder_at_its_next_write(
    first: DynamoLedger, second: DynamoLedger
) -> None:
    lease = take(first)
    second.leave("a", NEWS)
    handed = first.record(lease, MEMORY, release=True)
    assert handed.inbox == (NEWS,)
    assert isinstance(second.acquire("a", until()), Held)  # nothing was released: the holder has work to do
    assert first.record(handed, MEMORY, release=True).inbox == ()
    assert take(second).inbox == ()


def test_news_left_meanwhile_reaches_the_next_holder_when_this_one_dies(
    first: DynamoLedger, second: DynamoLedger
) -> None:
    take(first, timedelta(milliseconds=-1))
    second.leave("a", NEWS)
    second.leave("a", ProbeFailed("a", "run-1", "crash"))
    assert take(second).inbox == (NEWS, ProbeFailed("a", "run-1", "crash"))


def test_news_that_a_holder_never_wrote_after_reaches_the_one_after_it(
    first: DynamoLedger, second: DynamoLedger
) -> None:
    take(first, timedelta(milliseconds=-1))
    second.leave("a", NEWS)
    assert take(first, timedelta(milliseconds=-1)).inbox == (NEWS,)
    assert take(second).inbox == (NEWS,)


def test_news_is_handed_out_once(first: DynamoLedger, second: DynamoLedger) -> None:
    lease = take(first)
    second.leave("a", NEWS)
    handed = first.record(lease, MEMORY, release=False)
    later = InstanceChanged("i-0123456789abcdef0", "stopped")
    second.leave("a", later)
    assert first.record(handed, MEMORY, release=False).inbox == (later,)


class BusyInbox:
    """DynamoDB's client, with somebody who leaves more news just before each of the holder's first writes."""

    def __init__(self, client: Any, ledger: DynamoLedger, times: int) -> None:
        self._client, self._ledger, self._left = client, ledger, times
        self.at_last: Callable[[], object] = lambda: None
        """Before the write that gives the lease back whatever is in the inbox."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **params: Any) -> Any:
        if self._left and ":memory" in params["ExpressionAttributeValues"]:
            self._left -= 1
            self._ledger.leave("a", ProbeFailed("a", f"run-{self._left}", "crash"))
        elif "size(" not in params["ConditionExpression"] and ":memory" in params["ExpressionAttributeValues"]:
            self.at_last()
        return self._client.update_item(**params)


def test_a_burst_of_news_does_not_keep_the_memory_from_being_written(cloud: Cloud, second: DynamoLedger) -> None:
    first = DynamoLedger(cast(Any, BusyInbox(cloud.dynamodb, second, 3)), "ledger", "first", now)
    handed = first.record(take(first), MEMORY, release=True)
    assert len(handed.inbox) == 3
    assert first.read() == {"a": Known(MEMORY, has_news=True)}
    assert first.record(handed, MEMORY, release=True).inbox == ()
    assert isinstance(second.acquire("a", until()), Lease)


def test_a_burst_that_does_not_end_does_not_keep_the_lease_either(cloud: Cloud, second: DynamoLedger) -> None:
    """Simulation, seed 41017798: kept for its 25 s, it shut out the report of three failed rounds."""
    first = DynamoLedger(cast(Any, BusyInbox(cloud.dynamodb, second, RECORD_TRIES + 1)), "ledger", "first", now)
    assert first.record(take(first), MEMORY, release=True).inbox == ()
    found = second.acquire("a", until())
    assert isinstance(found, Lease)
    assert found.memory == MEMORY
    assert len(found.inbox) == RECORD_TRIES + 1


def test_news_beside_a_release_are_left_to_the_next_holder_when_no_time_is_left(
    cloud: Cloud, second: DynamoLedger
) -> None:
    busy = cast(Any, BusyInbox(cloud.dynamodb, second, 1))
    first = DynamoLedger(busy, "ledger", "first", now, lambda: TWO_WRITES - timedelta(milliseconds=1))
    assert first.record(take(first), MEMORY, release=True).inbox == ()
    found = second.acquire("a", until())
    assert isinstance(found, Lease)
    assert (found.memory, len(found.inbox)) == (MEMORY, 1)


def test_a_burst_that_does_not_end_keeps_a_pass_from_going_on_as_if_it_were_written(
    cloud: Cloud, second: DynamoLedger
) -> None:
    first = DynamoLedger(cast(Any, BusyInbox(cloud.dynamodb, second, RECORD_TRIES + 1)), "ledger", "first", now)
    with pytest.raises(TryAgain, match="InboxBusy"):
        first.record(take(first), MEMORY, release=False)
    assert isinstance(second.acquire("a", until()), Held)


@pytest.mark.usefixtures("hasty")
def test_a_lease_that_is_given_up_in_a_burst_is_given_up_though_the_reply_is_lost(
    cloud: Cloud, second: DynamoLedger
) -> None:
    busy = BusyInbox(cloud.dynamodb, second, RECORD_TRIES + 1)
    busy.at_last = lambda: cloud.api.faults.lose_reply("UpdateItem")
    first = DynamoLedger(cast(Any, busy), "ledger", "first", now)
    assert first.record(take(first), MEMORY, release=True).inbox == ()
    assert take(second).memory == MEMORY


def test_a_lease_that_is_lost_in_a_burst_is_not_given_back(cloud: Cloud, second: DynamoLedger) -> None:
    """By somebody who deletes the item between the last two tries."""
    busy = BusyInbox(cloud.dynamodb, second, RECORD_TRIES + 1)
    first = DynamoLedger(cast(Any, busy), "ledger", "first", now)
    lease = take(first)
    busy.at_last = lambda: cloud.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": "a"}})
    with pytest.raises(Stale, match="LeaseLost"):
        first.record(lease, MEMORY, release=True)


def test_a_burst_of_events_leaves_room_for_a_report(first: DynamoLedger, second: DynamoLedger) -> None:
    take(first, timedelta(milliseconds=-1))
    for _ in range(INBOX_LIMIT):
        second.leave("a", NEWS)
    second.leave("a", ProbeFailed("a", "run-1", "crash"))
    inbox = take(second).inbox
    assert inbox == (NEWS,) * EVENTS_LIMIT + (ProbeFailed("a", "run-1", "crash"),)


def test_full_inbox_keeps_what_it_has(first: DynamoLedger, second: DynamoLedger) -> None:
    take(first, timedelta(milliseconds=-1))
    for number in range(INBOX_LIMIT + 2):
        second.leave("a", ProbeFailed("a", f"run-{number}", "crash"))
    inbox = take(second).inbox
    assert len(inbox) == INBOX_LIMIT
    assert inbox[0] == ProbeFailed("a", "run-0", "crash")


# -- incidents

OPENED = IncidentOpened(
    Incident("a-1", "a", Cause.INSTANCE_STOPPED, NOW, "eni-1", to_target="eni-2", address_before="198.51.100.10")
)
CLOSED = IncidentClosed(
    replace(OPENED.incident, recovered_at=NOW + timedelta(seconds=3), address_after="198.51.100.10"),
    timedelta(seconds=2.5),
    timedelta(seconds=3.25),
    NOW + timedelta(minutes=1),
)


def test_incident_opens_once(cloud: Cloud, first: DynamoLedger) -> None:
    first.note(OPENED)
    first.note(replace(OPENED, incident=replace(OPENED.incident, cause=Cause.PROBES_FAILED)))
    (found,) = cloud.incidents("a")
    assert (found["sk"], found["cause"], found["from_target"]) == ("a-1", "instance-stopped", "eni-1")
    assert "closed_at" not in found


def test_incident_closes_once_with_its_interval(cloud: Cloud, first: DynamoLedger) -> None:
    first.note(OPENED)
    first.note(CLOSED)
    first.note(replace(CLOSED, low=timedelta(0), closed_at=NOW + timedelta(hours=1)))
    (found,) = cloud.incidents("a")
    assert found["closed_at"] == (NOW + timedelta(minutes=1)).isoformat()
    assert (found["downtime_low_ms"], found["downtime_high_ms"]) == ("2500", "3250")
    assert found["recovered_at"] == (NOW + timedelta(seconds=3)).isoformat()


def test_incident_that_is_closed_does_not_open_again(cloud: Cloud, first: DynamoLedger) -> None:
    for each in (OPENED, CLOSED, OPENED):
        first.note(each)
    (found,) = cloud.incidents("a")
    assert "closed_at" in found


def test_incident_whose_opening_was_lost_is_still_closed(cloud: Cloud, first: DynamoLedger) -> None:
    first.note(CLOSED)
    assert cloud.incidents("a")[0]["opened_at"] == NOW.isoformat()


def test_incident_without_an_observed_end_has_no_upper_bound(cloud: Cloud, first: DynamoLedger) -> None:
    first.note(replace(CLOSED, high=None))
    assert "downtime_high_ms" not in cloud.incidents("a")[0]


def test_incidents_expire_after_more_than_a_year(cloud: Cloud, first: DynamoLedger) -> None:
    first.note(OPENED)
    expires = datetime.fromtimestamp(int(cloud.incidents("a")[0]["expires_at"]), UTC)
    assert expires - NOW > timedelta(days=365)


# -- errors


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("code", ["InternalServerError", "ProvisionedThroughputExceededException"])
def test_ledger_that_cannot_answer_is_to_be_tried_again(code: str, cloud: Cloud, first: DynamoLedger) -> None:
    cloud.api.faults.fail("dynamodb:*", code, times=None)
    for call in (first.read, lambda: first.acquire("a", until()), lambda: first.note(OPENED)):
        with pytest.raises(TryAgain, match=code):
            call()


# -- an item that is not as natkeeper writes it

# moto compares values of two types, and fails; tests/simulation/test_dynamo.py has a lease that is a text.
BROKEN_ITEMS: dict[str, dict[str, Any]] = {
    "epoch is a text": {"epoch": {"S": "seven"}},
    "epoch is a fraction": {"epoch": {"N": "0.5"}},
    "epoch is beyond counting": {"epoch": {"N": "9" * 38}},
    "inbox is a text": {"inbox": {"S": "[]"}},
    "inbox is a number": {"inbox": {"N": "1"}},
    "lease is for years": {"lease_until": {"N": "9772366400000"}},
    "holder is a number": {"holder": {"N": "1"}},
}


def written(first: DynamoLedger, cloud: Cloud, broken: dict[str, Any]) -> None:
    """An item with a memory, given back; then somebody writes to it."""
    first.record(take(first), MEMORY, release=True)
    item = cloud.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": "a"}})["Item"]
    cloud.dynamodb.put_item(TableName="ledger", Item={**item, **broken})


@pytest.mark.parametrize("broken", BROKEN_ITEMS.values(), ids=BROKEN_ITEMS.keys())
def test_a_broken_item_is_taken_and_written_anew_with_what_it_remembered(
    broken: dict[str, Any], cloud: Cloud, first: DynamoLedger, second: DynamoLedger
) -> None:
    written(first, cloud, broken)
    assert second.read()["a"].memory == MEMORY
    lease = take(second)
    assert lease.memory == MEMORY
    assert isinstance(first.acquire("a", until()), Held)
    second.leave("a", NEWS)
    lease = second.record(lease, MEMORY, release=False)
    assert lease.inbox == (NEWS,)
    second.record(lease, MEMORY, release=True)
    lease = take(first)
    assert (lease.memory, lease.damage, lease.inbox) == (MEMORY, None, ())


@pytest.mark.parametrize(
    ("memory", "left"),
    [
        ({"N": "1"}, Memory()),
        ({"S": "{"}, Memory()),
        ({"S": "[]"}, Memory()),
        ({"S": "[" * 9_000}, Memory()),
        ({"S": '{"target": "eni-1", "failovers": 5}'}, Memory(target="eni-1")),
        ({"S": '{"target": "eni-1", "observed": NaN}'}, Memory(target="eni-1")),
        ({"S": '{"target": "eni-1", "moved_at": "2026-03-02T08:15:03"}'}, Memory(target="eni-1")),
        ({"S": '{"target": "eni-1", "egress_address": "\\ud800"}'}, Memory(target="eni-1")),
    ],
)
def test_what_cannot_be_read_of_a_memory_is_left_out_and_named(
    memory: dict[str, str], left: Memory, cloud: Cloud, first: DynamoLedger
) -> None:
    written(first, cloud, {"memory": memory})
    assert first.read()["a"].memory == left
    lease = take(first)
    assert lease.memory == left
    assert lease.damage is not None
    first.record(lease, left, release=True)
    assert first.read() == {"a": Known(left)}


def test_one_broken_item_leaves_the_others_readable(cloud: Cloud, first: DynamoLedger) -> None:
    written(first, cloud, {"memory": {"N": "1"}})
    lease = first.acquire("b", until())
    assert isinstance(lease, Lease)
    first.record(lease, MEMORY, release=True)
    cloud.dynamodb.put_item(
        TableName="ledger", Item={"pk": {"S": "group"}, "sk": {"S": "stray"}, "memory": {"SS": ["x"]}}
    )
    assert first.read()["b"] == Known(MEMORY)


def test_entries_that_cannot_be_read_are_a_reason_to_look_and_are_counted(cloud: Cloud, first: DynamoLedger) -> None:
    entries = [{"N": "1"}, {"S": "{"}, {"S": '{"type": "InstanceChanged", "instance_id": 5, "state": null}'}]
    written(first, cloud, {"inbox": {"L": entries}})
    lease = take(first)
    assert lease.inbox == (Tick(),) * 3
    assert first.record(lease, MEMORY, release=True).inbox == ()


def test_a_verification_in_an_inbox_was_left_by_nobody(first: DynamoLedger) -> None:
    forged = ProbeReport("a", "verify-a-1", RunMode.VERIFY, Verdict.DOWN, ())
    take(first, timedelta(milliseconds=-1))
    first.leave("a", forged)
    assert take(first).inbox == (Tick(),)


def test_a_lease_that_somebody_has_is_not_taken_with_a_broken_item(
    cloud: Cloud, first: DynamoLedger, second: DynamoLedger
) -> None:
    lease = take(first)
    item = cloud.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": "a"}})["Item"]
    cloud.dynamodb.put_item(TableName="ledger", Item={**item, "epoch": {"S": "seven"}})
    assert isinstance(second.acquire("a", until()), Held)
    with pytest.raises(Stale):
        first.record(lease, MEMORY, release=True)


def test_a_write_of_a_broken_item_that_arrives_late_brings_nothing_back(cloud: Cloud, first: DynamoLedger) -> None:
    written(first, cloud, {"epoch": {"S": "seven"}})
    delayed = DelayedPut(cloud.dynamodb)
    slow = DynamoLedger(cast(Any, delayed), "ledger", "first", now)
    newer = replace(MEMORY, target="eni-newer")
    slow.record(take(slow), newer, release=True)
    with pytest.raises(cloud.dynamodb.exceptions.ConditionalCheckFailedException):
        cloud.dynamodb.put_item(**delayed.writes[0])
    assert first.read() == {"a": Known(newer)}


class DelayedPut:
    """DynamoDB's client, which keeps what was put, to be sent once more."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.writes: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **params: Any) -> Any:
        self.writes.append(params)
        return self._client.put_item(**params)


def test_a_read_goes_on_behind_strangers_items(cloud: Cloud, first: DynamoLedger) -> None:
    """DynamoDB answers 1 MB at a time."""
    for number in range(4):
        stray = {"pk": {"S": "group"}, "sk": {"S": f"0-{number}"}, "note": {"S": "x" * 380_000}}
        cloud.dynamodb.put_item(TableName="ledger", Item=stray)
    first.record(take(first), MEMORY, release=True)
    assert first.read()["a"] == Known(MEMORY)
