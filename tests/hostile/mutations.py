"""How a JSON value is made hostile: other types, sizes, characters and times. Called by the generators."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Path = tuple[str | int, ...]

HALF_A_PAIR = ("\ud800", "a\udfffb", "\udc00\ud800")
"""JSON may carry surrogates without their other half; UTF-8 may not (RFC 8259, section 8.2)."""
INSTANTS = (
    "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59-14:00", "1970-01-01",
    "2026-03-01T12:00:00", "2026-03-01T13:00:00+00:00", "2026-03-02T12:00:00Z", "0001-01-01T00:00:00+14:00",
    "2526-03-01T12:00:00+00:00", "tomorrow", "", "2026-02-30T00:00:00+00:00",
)  # fmt: skip
NUMBERS = (
    0, -1, -0.0, 1e308, -1e308, 10**30, -(10**300), float("nan"), float("inf"), float("-inf"), 1 << 53, (1 << 63) + 1,
    0.1, True, 5e-324,
)  # fmt: skip
TEXTS = (
    *HALF_A_PAIR, "", " ", "\x00", "\n{}\n", "a" * 5_000, "\u202e" * 40, "NaN", "null", "\U0001f4a5",
    "i-0a1b2c3d4e5f60718", "../../etc", "group", "%s%n{}",
    "arn:aws:lambda:us-east-1:111122223333:function:natkeeper-prober-b:$LATEST",
)  # fmt: skip


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, the whole one first."""
    yield before
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*before, key))


def at(value: Any, path: Path) -> Any:
    """What stands there."""
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """The value with something else there. Changes it in place, but for the whole one."""
    if not path:
        return new
    at(value, path[:-1])[path[-1]] = new
    return value


def hostile(dice: Random) -> Any:
    """A value that nobody expects where it will stand."""
    kind = dice.randrange(10)
    if kind < 3:
        return dice.choice(NUMBERS)
    if kind < 6:
        return dice.choice(TEXTS)
    if kind < 7:
        return dice.choice(INSTANTS)
    if kind < 8:
        return nested(dice, dice.choice((2, 30, 300)))
    return dice.choice((None, [], {}, [None], {"": None}, [[]], "x", {"S": {"S": 1}}))


def nested(dice: Random, depth: int) -> Any:
    """So many levels of lists and objects."""
    value: Any = dice.choice((None, 0, "x"))
    for _ in range(depth):
        value = [value] if dice.random() < 0.5 else {"x": value}
    return value


def _replace(value: Any, path: Path, dice: Random) -> Any:
    return put(value, path, hostile(dice))


def _remove(value: Any, path: Path, _dice: Random) -> Any:
    if path:
        parent = at(value, path[:-1])
        del parent[path[-1]]
    return value


def _duplicate(value: Any, path: Path, dice: Random) -> Any:
    """A list with one of its entries many times over, or a text that is."""
    found = at(value, path)
    if isinstance(found, list) and found:
        return put(value, path, found + [dice.choice(found)] * dice.choice((1, 40, 3_000)))
    if isinstance(found, str):
        return put(value, path, found * dice.choice((2, 50, 20_000 // (len(found) + 1))))
    return _replace(value, path, dice)


def _swap(value: Any, path: Path, dice: Random) -> Any:
    """What stands somewhere else."""
    return put(value, path, json.loads(json.dumps(at(value, dice.choice(list(paths(value)))))))


def _rename(value: Any, path: Path, dice: Random) -> Any:
    parent = at(value, path[:-1]) if path else None
    if isinstance(parent, dict):
        parent[dice.choice(TEXTS)] = parent.pop(path[-1])
    return value


def _nudge(value: Any, path: Path, dice: Random) -> Any:
    """A number, a text or an instant that is a little off."""
    found = at(value, path)
    if isinstance(found, bool) or not isinstance(found, (int, float, str)):
        return _replace(value, path, dice)
    if isinstance(found, str):
        place = dice.randrange(len(found) + 1)
        return put(value, path, found[:place] + dice.choice(TEXTS)[:8] + found[place + dice.randrange(2) :])
    return put(value, path, found * dice.choice((-1, 2, 1e6, 1e300)) + dice.choice((0, 1, -1)))


Mutation = Callable[[Any, Path, Random], Any]
MUTATIONS: tuple[Mutation, ...] = (_replace, _replace, _remove, _duplicate, _swap, _rename, _nudge)


def mutated(value: Any, dice: Random, least: int = 1) -> Any:
    """A copy with one to four mutations, each anywhere in it."""
    found = json.loads(json.dumps(value))
    for _ in range(least + dice.choice((0, 0, 0, 1, 3))):
        found = dice.choice(MUTATIONS)(found, dice.choice(list(paths(found))), dice)
    return found
