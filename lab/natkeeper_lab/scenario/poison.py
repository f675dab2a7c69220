"""What the ledger may be made to say: one field of a group's item, or of the memory that is kept in it.

Called by `scenario.verbs` and by the check of scenario files. Pure. An item is in DynamoDB's form, as in
`{"lease_until": {"N": "0"}}`.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from natkeeper.core.incident import Memory

INSTANT_OF = re.compile(r"[+-]\d{1,12}(?:\.\d+)?")
"""`+N`: N seconds from now."""
GARBAGE = "garbage"
ITEM = ("holder", "epoch", "lease_until", "inbox", "memory")
"""What an item has beside its key (`natkeeper.adapters.ledger`)."""
MANY = 60
"""So many instants stand in a list that is given one: more than any limit that counts them."""
_ISO = re.compile(r"\d{4}-\d\d-\d\dT.*")


def fields_of_the_ledger() -> tuple[str, ...]:
    """The fields of an item, and those of a memory."""
    return (*ITEM, *(each.name for each in fields(Memory)))


def poisoned(item: Mapping[str, Any], field: str, value: Any, now: datetime) -> dict[str, Any]:
    """The attributes that differ afterwards. ValueError where the field holds nothing that `+N` could be put into."""
    if field in ITEM:
        return {field: _attribute(field, value, now)}
    memory = json.loads(item["memory"]["S"]) if "memory" in item else {}
    memory[field] = _in_memory(field, memory.get(field), value, now)
    return {"memory": {"S": json.dumps(memory, separators=(",", ":"))}}


def _attribute(field: str, value: Any, now: datetime) -> dict[str, Any]:
    at = _instant(value, now)
    if at is not None:
        return {"N": str(int(at.timestamp() * 1000))} if field == "lease_until" else {"S": at.isoformat()}
    return _in_dynamo(value)


def _in_dynamo(value: Any) -> dict[str, Any]:
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html"""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float)):
        return {"N": str(value)}
    if isinstance(value, list):
        return {"L": [_in_dynamo(each) for each in value]}
    if isinstance(value, dict):
        return {"M": {key: _in_dynamo(each) for key, each in value.items()}}
    return {"S": str(value)}


def _in_memory(field: str, before: Any, value: Any, now: datetime) -> Any:
    at = _instant(value, now)
    if at is None:
        return value
    hint = typing.get_type_hints(Memory)[field]
    kinds = (hint, *typing.get_args(hint))
    if datetime in kinds:
        return [at.isoformat()] * MANY if typing.get_origin(hint) is tuple else at.isoformat()
    found = _moved(before, at.isoformat())
    if found == before:
        raise ValueError(f"{field} holds no instant at this moment ({before!r:.80}); give a value in its own form")
    return found


def _moved(value: Any, at: str) -> Any:
    """The same with every instant in it put to `at`."""
    if isinstance(value, dict):
        return {key: _moved(each, at) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, at) for each in value]
    return at if isinstance(value, str) and _ISO.fullmatch(value) else value


def _instant(value: Any, now: datetime) -> datetime | None:
    is_one = isinstance(value, str) and INSTANT_OF.fullmatch(value)
    return now + timedelta(seconds=float(value)) if is_one else None
