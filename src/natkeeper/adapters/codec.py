"""Frozen dataclasses to JSON and back, for the ledger. Unknown fields are dropped and missing ones take their default,
so that a memory written by an older or a newer version is read. Called by `adapters.ledger`.

How a type is read or written is worked out once for each type and not for each value: a pass reads every group's
memory, and on Lambda's smallest share of a processor walking the type hints each time took longer than deciding.

What is read is checked to be of its field's type, because anybody who may write to the table may have: a number in
place of an instant would end every pass of every group. What cannot be read is left out and named (`salvage`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from math import isfinite
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

YEARS = range(2000, 9000)
"""Of an instant: arithmetic with one near either end of the calendar overflows."""
LONGEST_SPAN = 366 * 86_400
"""Seconds. Nothing that natkeeper remembers lasts for longer than a year."""
LONGEST_TEXT = 2048
"""An id of AWS's has 40 characters, a prober's clock 36."""
LARGEST_WHOLE = 1 << 53
"""Beyond it a JSON number is not exact (RFC 8259, section 6)."""
UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError, KeyError)
"""What reading a value of another type than its field's raises."""


def encode(value: Any) -> Any:
    """JSON-able form; defaults are left out, so that a memory at rest stays small."""
    write = _WRITERS[type(value)]
    return value if write is None else write(value)


def decode(kind: type[T], raw: Mapping[str, Any]) -> T:
    """The dataclass `kind` from what `encode` made, whatever version made it, as far as it can be read. TypeError
    where a field that has no default is missing."""
    return salvage(kind, raw)[0]


def salvage(kind: type[T], raw: Mapping[str, Any]) -> tuple[T, tuple[str, ...]]:
    """The same, and the names of the fields of which not all could be read."""
    known, lost = _fields_of(kind, raw)
    return kind(**known), tuple(lost)


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


class _Partly(ValueError):
    """Not all of a value could be read; `kept` is the rest."""

    def __init__(self, kept: Any) -> None:
        super().__init__("not all of it can be read")
        self.kept = kept


def _readers(kind: type) -> dict[str, Reader]:
    return {name: _reader(hint) for name, hint in get_type_hints(kind).items()}


def _fields_of(kind: type, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What could be read, and the names of the fields of which not all could."""
    readers, known, lost = _READERS[kind], dict[str, Any](), list[str]()
    for key, each in raw.items():
        if key not in readers:
            continue
        try:
            known[key] = readers[key](each)
        except _Partly as partly:
            known[key] = partly.kept
            lost.append(key)
        except UNREADABLE:
            lost.append(key)
    return known, lost


def _reader(hint: Any) -> Reader:
    """How a field of this type is read."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return partial(_maybe, _reader(next(each for each in get_args(hint) if each is not type(None))))
    if origin is tuple:
        return partial(_read_row, _reader(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return partial(_read_object, hint) if is_dataclass(hint) else _PLAIN[hint]


def _maybe(read: Reader, raw: Any) -> Any:
    return None if raw is None else read(raw)


def _read_object(kind: Any, raw: Any) -> Any:
    known, lost = _fields_of(kind, raw)
    found = kind(**known)
    if lost:
        raise _Partly(found)
    return found


def _read_row(read: Reader, raw: Any) -> tuple[Any, ...]:
    """Without what cannot be read, such as an incident's cause that only a newer version knows: after a rollback a
    group without that memory is better than a group without a controller."""
    if not isinstance(raw, list):
        raise TypeError(f"expected a list, got a {type(raw).__name__}")
    known, is_whole = [], True
    for each in raw:
        try:
            known.append(read(each))
        except _Partly as partly:
            known.append(partly.kept)
            is_whole = False
        except UNREADABLE:
            is_whole = False
    if not is_whole:
        raise _Partly(tuple(known))
    return tuple(known)


def _text(raw: Any) -> str:
    """Surrogates without their other half are no text: they can be written to neither a log nor a message."""
    if not isinstance(raw, str) or len(raw) > LONGEST_TEXT:
        raise TypeError(f"expected a text, got a {type(raw).__name__}")
    raw.encode()
    return raw


def _flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise TypeError(f"expected true or false, got a {type(raw).__name__}")
    return raw


def _number(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or abs(raw) > LARGEST_WHOLE or not isfinite(raw):
        raise TypeError(f"expected a number, got a {type(raw).__name__}")
    return raw


def _whole(raw: Any) -> int:
    if not isinstance(raw, int):
        raise TypeError(f"expected a whole number, got a {type(raw).__name__}")
    return cast(int, _number(raw))


def _instant(raw: Any) -> datetime:
    found = datetime.fromisoformat(raw)
    if found.tzinfo is None or found.year not in YEARS:
        raise ValueError("expected an instant with its offset from UTC")
    return found if found.tzinfo is UTC else found.astimezone(UTC)


def _span(raw: Any) -> timedelta:
    if abs(_number(raw)) > LONGEST_SPAN:
        raise ValueError("expected a span of a year at most")
    return timedelta(seconds=raw)


_PLAIN: Mapping[Any, Reader] = {
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
    datetime: _instant,
    timedelta: _span,
}
_READERS = _OncePerType(_readers)
