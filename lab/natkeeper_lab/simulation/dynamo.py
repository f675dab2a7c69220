"""One DynamoDB table: conditional updates and puts, and a query, for the expressions that natkeeper's ledger uses.

Called by `simulation.api`. A small reader of DynamoDB's condition and update expressions
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html); what it cannot read is an error,
so that a change of the ledger's expressions cannot pass unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.limits import check_item

Item = dict[str, Any]
Values = Mapping[str, Any]
Condition = Callable[[Item, Values], bool]
Change = Callable[[Item, Values], None]


class ConditionFailed(ApiError):
    """ConditionalCheckFailedException; `item` is what ALL_OLD returns."""

    def __init__(self, item: Item) -> None:
        super().__init__("ConditionalCheckFailedException", "The conditional request failed")
        self.item = item


class Table:
    """Items by (pk, sk)."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def apply(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One call reaches the table. Raises ApiError as DynamoDB would answer."""
        if operation == "Query":
            values = params["ExpressionAttributeValues"]
            wanted, named = values[":pk"]["S"], values.get(":sk", {}).get("S")
            return {
                "Items": [dict(item) for (pk, sk), item in self.items.items() if pk == wanted and named in (None, sk)]
            }
        if operation == "UpdateItem":
            return self._update(params)
        return self._put(params)

    def _update(self, params: Mapping[str, Any]) -> dict[str, Any]:
        key = (params["Key"]["pk"]["S"], params["Key"]["sk"]["S"])
        item, values = self.items.get(key, {}), params["ExpressionAttributeValues"]
        if not condition(params["ConditionExpression"])(item, values):
            raise ConditionFailed(dict(item))
        changed = dict(item) or {"pk": {"S": key[0]}, "sk": {"S": key[1]}}
        for each in changes(params["UpdateExpression"]):
            each(changed, values)
        check_item(changed)
        self.items[key] = changed
        return {"Attributes": dict(changed)}

    def _put(self, params: Mapping[str, Any]) -> dict[str, Any]:
        item = dict(params["Item"])
        key, values = (item["pk"]["S"], item["sk"]["S"]), params.get("ExpressionAttributeValues", {})
        if not condition(params["ConditionExpression"])(self.items.get(key, {}), values):
            raise ConditionFailed(dict(self.items.get(key, {})))
        self.items[key] = item
        return {}


_MISSING = re.compile(r"attribute_not_exists\((\w+)\)")
_COMPARED = re.compile(r"(size\()?(\w+)\)? (=|<) (:\w+)")
_SIZED = ("S", "B", "L", "M", "SS", "NS", "BS")
"""What has a size (Developer Guide, "size")."""
_SET = re.compile(r"(\w+) = (?:(if_not_exists|list_append)\((\w+), (:\w+)\)|(:\w+))")


@cache
def condition(text: str) -> Condition:
    """ORs of ANDs of comparisons, as written."""
    either = [[_atom(each) for each in part.split(" AND ")] for part in text.split(" OR ")]

    def holds(item: Item, values: Values) -> bool:
        for part in either:
            for each in part:
                if not each(item, values):
                    break
            else:
                return True
        return False

    return holds


def _atom(text: str) -> Condition:
    if (found := _MISSING.fullmatch(text)) is not None:
        name = found[1]
        return lambda item, _: name not in item
    found = _COMPARED.fullmatch(text)
    if found is None:
        raise ValueError(f"condition {text!r} is not one that the simulated table reads")
    is_size, name, sign, value = bool(found[1]), found[2], found[3], found[4]

    def compare(item: Item, values: Values) -> bool:
        if name not in item:
            return False
        left = {"N": str(_size(item[name]))} if is_size else item[name]
        if left.keys() != values[value].keys():
            return False  # nothing of one type is equal to, less or greater than something of another
        one, other = _plain(left), _plain(values[value])
        return bool(one == other if sign == "=" else one < other)

    return compare


def _size(value: Mapping[str, Any]) -> int:
    kind, found = next(iter(value.items()))
    if kind not in _SIZED:
        raise ApiError(
            "ValidationException", f"Incorrect operand type for operator or function; function: size, {kind}"
        )
    return len(found)


def _plain(value: Mapping[str, Any]) -> Any:
    if "N" in value:
        return Decimal(value["N"])
    return next(iter(value.values()))


@cache
def changes(text: str) -> tuple[Change, ...]:
    """`SET a = :v, … ADD n :one`."""
    setting, _, adding = text.removeprefix("SET ").partition(" ADD ")
    found = [_setting(each) for each in re.split(r", (?=\w+ = )", setting)]
    if adding:
        name, value = adding.split(" ")
        found.append(lambda item, values: item.update({name: _sum(item.get(name), values[value])}))
    return tuple(found)


def _sum(before: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, str]:
    if before is not None and "N" not in before:
        raise _wrong_type()
    return {"N": format((_plain(before) if before is not None else 0) + _plain(more), "f")}


def _wrong_type() -> ApiError:
    return ApiError("ValidationException", "An operand in the update expression has an incorrect data type")


def _setting(text: str) -> Change:
    found = _SET.fullmatch(text)
    if found is None:
        raise ValueError(f"update {text!r} is not one that the simulated table reads")
    name, function, other, argument, plain = found.groups()

    def change(item: Item, values: Values) -> None:
        if function == "if_not_exists":
            item[name] = item.get(other, values[argument])
        elif function == "list_append":
            if other not in item:
                raise ApiError("ValidationException", "The provided expression refers to an attribute that is missing")
            if "L" not in item[other]:
                raise _wrong_type()
            item[name] = {"L": [*item[other]["L"], *values[argument]["L"]]}
        else:
            item[name] = values[plain]

    return change
