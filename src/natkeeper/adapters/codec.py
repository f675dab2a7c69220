"""Frozen dataclasses to JSON and back, for the ledger. Unknown fields are dropped and missing ones take their default,
so that a memory written by an older or a newer version is read. Called by `adapters.ledger`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def encode(value: Any) -> Any:
    """JSON-able form; defaults are left out, so that a memory at rest stays small."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: encode(getattr(value, each.name))
            for each in fields(value)
            if getattr(value, each.name) != each.default
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [encode(each) for each in value]
    return value


def decode(kind: type[T], raw: Mapping[str, Any]) -> T:
    """The dataclass `kind` from what `encode` made, whatever version made it."""
    hints: dict[str, Any] = _hints(cast(Any, kind))
    known = {key: _value(hints[key], each) for key, each in raw.items() if key in hints}
    return kind(**known)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _maybe(kind: Any, raw: Any) -> Any:
    """None for what is optional and cannot be read, such as a cause that only a newer version knows: after a rollback
    a group without that memory is better than a group without a controller."""
    try:
        return None if raw is None else _value(kind, raw)
    except (ValueError, TypeError):
        return None


def _value(kind: Any, raw: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _maybe(next(each for each in get_args(kind) if each is not type(None)), raw)
    if origin is tuple:
        known = (_maybe(get_args(kind)[0], each) for each in raw)
        return tuple(each for each in known if each is not None)
    if kind is datetime:
        return datetime.fromisoformat(raw)
    if kind is timedelta:
        return timedelta(seconds=raw)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(raw)
    return decode(cast(Any, kind), raw) if is_dataclass(kind) else raw
