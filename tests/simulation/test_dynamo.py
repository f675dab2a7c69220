"""The simulated table behind the real ledger adapter: its own expressions, read and applied as DynamoDB would."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from natkeeper.adapters.ledger import INBOX_LIMIT, DynamoLedger
from natkeeper.core.incident import Cause, Incident, Memory
from natkeeper.core.news import InstanceChanged, ProbeFailed, Tick
from natkeeper.core.plan import IncidentClosed, IncidentOpened
from natkeeper.errors import Stale
from natkeeper.ports import Held, Known, Lease
from natkeeper_lab.simulation.client import ConditionalCheckFailedException
from natkeeper_lab.simulation.dynamo import ConditionFailed, Table, changes, condition
from natkeeper_lab.simulation.errors import ApiError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=25)
INCIDENT = Incident("a-1", "a", Cause.INSTANCE_STOPPED, NOW, "eni-1")


class Client:
    """boto3's client, as far as the ledger uses it, straight on the table."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, table: Table) -> None:
        self.table = table

    def _call(self, operation: str, params: dict[str, Any]) -> Any:
        try:
            return self.table.apply(operation, params)
        except ConditionFailed as refused:
            response = {"Error": {"Code": refused.code, "Message": ""}, "Item": refused.item}
            raise ConditionalCheckFailedException(cast(Any, response), operation) from refused
        except ApiError as refused:
            response = {"Error": {"Code": refused.code, "Message": refused.message}}
            raise ClientError(cast(Any, response), operation) from refused

    def query(self, **params: Any) -> Any:
        return self._call("Query", params)

    def update_item(self, **params: Any) -> Any:
        return self._call("UpdateItem", params)

    def put_item(self, **params: Any) -> Any:
        return self._call("PutItem", params)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def ledger(table: Table) -> Callable[..., DynamoLedger]:
    def make(holder: str, at: datetime = NOW) -> DynamoLedger:
        return DynamoLedger(cast(Any, Client(table)), "ledger", holder, lambda: at)

    return make


def held(ledger: DynamoLedger, until: datetime = SOON) -> Lease:
    found = ledger.acquire("a", until)
    assert isinstance(found, Lease)
    return found


def test_a_lease_is_given_to_one_and_told_to_the_other(ledger: Callable[..., DynamoLedger]) -> None:
    assert held(ledger("one")).epoch == 1
    assert ledger("two").acquire("a", SOON) == Held("a", "one", Memory())


def test_its_holder_takes_it_again_and_the_epoch_goes_up(ledger: Callable[..., DynamoLedger]) -> None:
    held(ledger("one"))
    assert held(ledger("one")).epoch == 2


def test_a_lease_that_is_over_or_given_back_is_free(ledger: Callable[..., DynamoLedger]) -> None:
    held(ledger("one"))
    assert held(ledger("two", SOON + timedelta(seconds=1)), SOON + timedelta(seconds=30)).epoch == 2
    ledger("two").record(held(ledger("two")), Memory(target="eni-2"), release=True)
    assert held(ledger("three")).memory == Memory(target="eni-2")


def test_a_record_of_a_lease_that_was_lost_is_refused_and_changes_nothing(
    ledger: Callable[..., DynamoLedger],
) -> None:
    lost = held(ledger("one"))
    held(ledger("two", SOON + timedelta(seconds=1)), SOON + timedelta(seconds=30))
    with pytest.raises(Stale):
        ledger("one").record(lost, Memory(target="eni-9"), release=False)
    assert ledger("one").read() == {"a": Known(Memory())}


def test_a_record_of_before_the_item_was_deleted_is_refused_though_the_epoch_is_the_same_again(
    ledger: Callable[..., DynamoLedger], table: Table
) -> None:
    """Or it gave back somebody else's lease, under which a launch was under way (seed 6005164)."""
    before = held(ledger("one"))
    table.items.clear()
    after = held(ledger("two"))
    assert after.epoch == before.epoch
    with pytest.raises(Stale):
        ledger("one").record(before, Memory(target="eni-9"), release=True)
    assert ledger("one").read() == {"a": Known(Memory())}
    assert isinstance(ledger("three").acquire("a", SOON), Held)


def test_news_left_meanwhile_come_back_with_the_record(ledger: Callable[..., DynamoLedger]) -> None:
    lease = held(ledger("one"))
    ledger("two").leave("a", InstanceChanged("i-0123456789abcdef0", "stopped"))
    lease = ledger("one").record(lease, Memory(target="eni-1"), release=True)
    assert lease.inbox == (InstanceChanged("i-0123456789abcdef0", "stopped"),)
    assert ledger("two").acquire("a", SOON) == Held("a", "one", Memory(target="eni-1"))
    assert ledger("one").record(lease, Memory(target="eni-1"), release=True).inbox == ()


def test_news_for_nobody_wait_for_whoever_takes_the_lease(ledger: Callable[..., DynamoLedger]) -> None:
    ledger("one").record(held(ledger("one")), Memory(), release=True)
    ledger("two").leave("a", Tick())
    assert held(ledger("three")).inbox == (Tick(),)


def test_a_full_inbox_keeps_what_it_has(ledger: Callable[..., DynamoLedger], table: Table) -> None:
    held(ledger("one"))
    for number in range(INBOX_LIMIT + 5):
        ledger("two").leave("a", ProbeFailed("a", f"run-{number}", "crash"))
    assert len(table.items["group", "a"]["inbox"]["L"]) == INBOX_LIMIT


def test_an_incident_opens_once_and_closes_once(ledger: Callable[..., DynamoLedger], table: Table) -> None:
    closed = IncidentClosed(INCIDENT, timedelta(seconds=1), timedelta(seconds=2), NOW)
    ledger("one").note(IncidentOpened(INCIDENT))
    ledger("one").note(closed)
    before = dict(table.items["incident#a", "a-1"])
    ledger("two").note(IncidentOpened(INCIDENT))
    ledger("two").note(IncidentClosed(INCIDENT, timedelta(0), None, SOON))
    assert table.items["incident#a", "a-1"] == before
    assert before["closed_at"] == {"S": NOW.isoformat()}


def test_a_query_tells_the_groups_and_no_incident(ledger: Callable[..., DynamoLedger]) -> None:
    held(ledger("one"))
    ledger("one").note(IncidentOpened(INCIDENT))
    assert set(ledger("one").read()) == {"a"}


@pytest.mark.parametrize("text", ["begins_with(pk, :a)", "epoch > :one", "NOT epoch = :one", "(a = :b)"])
def test_a_condition_that_it_cannot_read_is_an_error_and_not_a_yes(text: str) -> None:
    with pytest.raises(ValueError, match="not one that the simulated table reads"):
        condition(text)


@pytest.mark.parametrize("text", ["REMOVE memory", "SET a = b + :c", "SET a = :b, REMOVE c"])
def test_an_update_that_it_cannot_read_is_an_error_and_not_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="not one that the simulated table reads"):
        changes(text)


def test_and_binds_closer_than_or() -> None:
    asks = condition("attribute_not_exists(a) OR b = :one AND c < :two")
    values = {":one": {"N": "1"}, ":two": {"N": "2"}}
    assert asks({}, values)
    assert asks({"a": {"N": "0"}, "b": {"N": "1"}, "c": {"N": "1"}}, values)
    assert not asks({"a": {"N": "0"}, "b": {"N": "1"}, "c": {"N": "2"}}, values)
    assert not asks({"a": {"N": "0"}, "c": {"N": "1"}}, values)


def test_numbers_are_compared_as_numbers() -> None:
    assert condition("n < :v")({"n": {"N": "9"}}, {":v": {"N": "10"}})


def test_values_of_two_types_are_neither_equal_nor_less() -> None:
    item, values = {"until": {"S": "1"}}, {":at": {"N": "5"}}
    assert not any(condition(f"until {sign} :at")(item, values) for sign in "=<")
    assert condition("until < :at")({"until": {"N": "1E-30"}}, values)


@pytest.mark.parametrize(("condition_text", "item"), [("size(until) = :at", {"until": {"N": "1"}})])
def test_a_number_has_no_size(condition_text: str, item: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="Incorrect operand type"):
        condition(condition_text)(item, {":at": {"N": "1"}})


@pytest.mark.parametrize("broken", [{"epoch": {"S": "7"}}, {"inbox": {"S": "[]"}}, {"lease_until": {"S": "never"}}])
@pytest.mark.parametrize("note", ["", "x" * 399_900])
def test_an_item_to_which_no_update_can_be_made_is_written_anew(
    note: str, broken: dict[str, dict[str, str]], table: Table, ledger: Any
) -> None:
    first = ledger("one").acquire("a", SOON)
    assert isinstance(first, Lease)
    ledger("one").record(first, Memory(target="eni-1"), release=True)
    item = table.items["group", "a"]
    table.items["group", "a"] = {**item, **broken, "note": {"S": note}}
    lease = ledger("two").acquire("a", SOON)
    assert isinstance(lease, Lease)
    assert lease.memory == Memory(target="eni-1")
    assert lease.damage is not None
    assert isinstance(ledger("one").acquire("a", SOON), Held)
