"""What the ledger needs of DynamoDB. Moto does it right; these tests notice if it stops doing so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.scenery import Aws


@pytest.fixture
def table(ours: Aws) -> Any:
    dynamodb = ours.client("dynamodb")
    dynamodb.create_table(
        TableName="ledger",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    return dynamodb


KEY = {"pk": {"S": "stack"}, "sk": {"S": "group#a"}}


def acquire(table: Any, owner: str, epoch: int) -> Any:
    return table.update_item(
        TableName="ledger",
        Key=KEY,
        UpdateExpression="SET #o = :owner, epoch = :next",
        ConditionExpression="attribute_not_exists(pk) OR epoch = :last",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={
            ":owner": {"S": owner},
            ":last": {"N": str(epoch)},
            ":next": {"N": str(epoch + 1)},
        },
        ReturnValues="ALL_NEW",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )


def test_conditional_update_is_a_compare_and_set(table: Any) -> None:
    assert acquire(table, "first", 0)["Attributes"]["epoch"] == {"N": "1"}
    with pytest.raises(table.exceptions.ConditionalCheckFailedException):
        acquire(table, "second", 0)
    assert table.get_item(TableName="ledger", Key=KEY, ConsistentRead=True)["Item"]["owner"] == {"S": "first"}


def test_failed_condition_names_the_holder(table: Any) -> None:
    acquire(table, "first", 0)
    with pytest.raises(table.exceptions.ConditionalCheckFailedException) as refusal:
        acquire(table, "second", 0)
    assert refusal.value.response["Item"] == {**KEY, "owner": {"S": "first"}, "epoch": {"N": "1"}}


def test_failed_condition_on_a_missing_item_names_nobody(table: Any) -> None:
    with pytest.raises(table.exceptions.ConditionalCheckFailedException) as refusal:
        table.update_item(
            TableName="ledger",
            Key=KEY,
            UpdateExpression="SET epoch = :one",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert "Item" not in refusal.value.response


def test_lists_grow_from_nothing(table: Any) -> None:
    for entry in ("one", "two"):
        table.update_item(
            TableName="ledger",
            Key=KEY,
            UpdateExpression="SET entries = list_append(if_not_exists(entries, :none), :entry)",
            ExpressionAttributeValues={":none": {"L": []}, ":entry": {"L": [{"S": entry}]}},
        )
    item = table.get_item(TableName="ledger", Key=KEY)["Item"]
    assert item["entries"] == {"L": [{"S": "one"}, {"S": "two"}]}


def test_one_consistent_query_returns_every_group(table: Any) -> None:
    for group in ("a", "b", "c"):
        key = {"pk": {"S": "stack"}, "sk": {"S": f"group#{group}"}}
        table.put_item(TableName="ledger", Item=key)
    table.put_item(TableName="ledger", Item={"pk": {"S": "stack"}, "sk": {"S": "incident#1"}})
    answer = table.query(
        TableName="ledger",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
        ExpressionAttributeValues={":pk": {"S": "stack"}, ":prefix": {"S": "group#"}},
        ConsistentRead=True,
    )
    assert [item["sk"]["S"] for item in answer["Items"]] == ["group#a", "group#b", "group#c"]
