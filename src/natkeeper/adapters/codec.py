"""Frozen dataclasses to JSON and back, for the ledger. Unknown fields are dropped and missing ones take their default,
so that a memory written by an older or a newer version is read. Called by `adapters.ledger`.

How a type is read or written is worked out once for each type and not for each value: a pass reads every group's
memory, and on Lambda's smallest share of a processor walking the type hints each time took longer than deciding."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]


def encode(value: Any) -> Any:
    """JSON-able form; defaults are left out, so that a memory at rest stays small."""
    write = _WRITERS[type(value)]
    return value if write is None else write(value)


def decode(kind: type[T], raw: Mapping[str, Any]) -> T:
    """The dataclass `kind` from what `encode` made, whatever version made it."""
    readers = _READERS[kind]
    known = {}
    for key, each in raw.items():
        if key in readers:
            read = readers[key]
            known[key] = each if read is None else read(each)
    return kind(**known)


def learn(kind: type) -> None:
    """Works out ahead how values of the type, and of those in its fields, are read and written."""
    _ = _WRITERS[kind]
    if kind in _READERS:
        return
    _ = _READERS[kind]
    for hint in get_type_hints(kind).values():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                learn(part)


class _OncePerType(dict[type, T]):
    """What `make` finds for a type, found when it is first asked for."""

    def __init__(self, make: Callable[[type], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, kind: type) -> T:
        found = self[kind] = self._make(kind)
        return found


# -- writing


def _writer(kind: type) -> Writer | None:
    """How values of exactly this type are written; None: as they are."""
    if is_dataclass(kind):
        return partial(_write_fields, tuple((each.name, each.default) for each in fields(kind)))
    if issubclass(kind, Enum):
        return lambda value: value.value
    if issubclass(kind, datetime):
        return datetime.isoformat
    if issubclass(kind, timedelta):
        return timedelta.total_seconds
    return _write_row if issubclass(kind, tuple) else None


def _write_fields(named: Iterable[tuple[str, Any]], value: Any) -> dict[str, Any]:
    found = {}
    for name, default in named:
        each = getattr(value, name)
        if each is not default and each != default:
            write = _WRITERS[type(each)]
            found[name] = each if write is None else write(each)
    return found


def _write_row(row: tuple[Any, ...]) -> list[Any]:
    return [encode(each) for each in row]


_WRITERS = _OncePerType(_writer)


# -- reading


def _readers(kind: type) -> dict[str, Reader | None]:
    return {name: _reader(hint) for name, hint in get_type_hints(kind).items()}


def _reader(hint: Any) -> Reader | None:
    """How a field of this type is read; None: as it is."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _optional(next(each for each in get_args(hint) if each is not type(None)))
    if origin is tuple:
        return partial(_read_row, _optional(get_args(hint)[0]))
    if hint is datetime:
        return datetime.fromisoformat
    if hint is timedelta:
        return lambda raw: timedelta(seconds=raw)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return partial(decode, cast(Any, hint)) if is_dataclass(hint) else None


def _optional(hint: Any) -> Reader | None:
    read = _reader(hint)
    return None if read is None else partial(_maybe, read)


def _maybe(read: Reader, raw: Any) -> Any:
    """None for what is optional and cannot be read, such as a cause that only a newer version knows: after a rollback
    a group without that memory is better than a group without a controller."""
    try:
        return None if raw is None else read(raw)
    except (ValueError, TypeError):
        return None


def _read_row(read: Reader | None, raw: Iterable[Any]) -> tuple[Any, ...]:
    known = raw if read is None else map(read, raw)
    return tuple(each for each in known if each is not None)


_READERS = _OncePerType(_readers)
