"""Checks one value of a scenario file against its kind: a duration, a count, an operation of AWS's, a group's name.

Called by `scenario.file`. ValueError says what was given and what is allowed; the caller adds file and line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from natkeeper.core.plan import Reason
from natkeeper_lab.scenario.poison import INSTANT_OF, fields_of_the_ledger
from natkeeper_lab.scenario.reading import choices
from natkeeper_lab.scenario.targets import parse_target
from natkeeper_lab.scenario.vocabulary import ALARMS, INSTANCE, METRICS, Arg

LONGEST = 86400.0
MOST = 100_000
"""Beyond these a number is a slip of the pen, and the lab would go on for years."""
SERVICES = ("ec2", "dynamodb", "lambda", "sns")


def check(arg: Arg, value: Any, zones: Sequence[str]) -> Any:
    """The value as the runner wants it."""
    if arg.kind == "choice":
        return _choice(value, arg.choices)
    return _KINDS[arg.kind](value, zones)


def _number(value: Any, _zones: Sequence[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _seconds(value: Any, zones: Sequence[str]) -> float:
    if not 0 <= (number := _number(value, zones)) <= LONGEST:
        raise ValueError(f"{value!r}: durations are seconds, 0 or more and {LONGEST:g} (a day) at most")
    return number


def _between(low: float, high: float) -> Callable[[Any, Sequence[str]], float]:
    def read(value: Any, zones: Sequence[str]) -> float:
        if not low <= (number := _number(value, zones)) <= high:
            raise ValueError(f"{value!r} is not between {low:g} and {high:g}")
        return number

    return read


def _poison(value: Any, _zones: Sequence[str]) -> Any:
    """What the ledger may be made to say: `+N` is N seconds from now, `garbage` a text that does not parse."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r}: give a text, a number, a list or a mapping")
    if isinstance(value, str) and value[:1] in ("+", "-") and not INSTANT_OF.fullmatch(value):
        raise ValueError(f"{value!r}: an instant is + or - and seconds from now, such as +3600")
    return value


def _whole(low: int) -> Callable[[Any, Sequence[str]], int]:
    def read(value: Any, _zones: Sequence[str]) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{value!r} is not a whole number of {low} or more")
        if value > MOST:
            raise ValueError(f"{value!r} is more than the lab can do; {MOST} at most")
        return value

    return read


def _text(value: Any, _zones: Sequence[str]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a text")
    return value


def _flag(value: Any, _zones: Sequence[str]) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _switch(value: Any, zones: Sequence[str]) -> bool:
    return True if value in (None, "all") else _flag(value, zones)


def _choice(value: Any, allowed: Sequence[str]) -> str:
    text = str(value).lower() if isinstance(value, str) else value
    if text not in allowed:
        raise ValueError(f"{value!r} is unknown; {choices(str(value), allowed)}")
    return str(text)


def _group(value: Any, zones: Sequence[str]) -> str:
    if value not in zones:
        raise ValueError(f"{value!r} is no zone of this scenario; its zones: {', '.join(zones)}")
    return str(value)


def _any_group(value: Any, zones: Sequence[str]) -> str:
    return "" if value in (None, True, "all") else _group(value, zones)


def _groups(value: Any, zones: Sequence[str]) -> tuple[str, ...]:
    return tuple(_group(each, zones) for each in (value if isinstance(value, list) else [value]))


def _texts(value: Any, zones: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(each, zones) for each in (value if isinstance(value, list) else [value]))


def _carrier(value: Any, zones: Sequence[str]) -> str:
    return _choice(value, ("home", "standby", "gateway", *zones))


def _route(value: Any, zones: Sequence[str]) -> Any:
    return parse_target(value, zones, INSTANCE)


def _object(value: Any, _zones: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping; write the event as AWS would send it")
    return value


def _operation(value: Any, zones: Sequence[str]) -> str:
    """A name or pattern that fits at least one operation; a misspelt one would never match, and nobody would notice."""
    text = _text(value, zones)
    service, _, pattern = text.rpartition(":")
    if service and service not in SERVICES:
        raise ValueError(f"{text!r}: service {service!r} is unknown; allowed: {', '.join(SERVICES)}")
    known = [name for each in ((service,) if service else SERVICES) for name in _operations(each)]
    if not any(fnmatchcase(name, pattern) for name in known):
        raise ValueError(f"{text!r} is no operation of {service or ', '.join(SERVICES)}; {_near(pattern, known)}")
    return text


def _near(wrong: str, known: Sequence[str]) -> str:
    return choices(wrong, known).partition("allowed")[0] or "write for instance ReplaceRoute or Describe*"


@cache
def _operations(service: str) -> tuple[str, ...]:
    from botocore.session import get_session

    return tuple(get_session().get_service_model(service).operation_names)


def _named(allowed: Sequence[str]) -> Callable[[Any, Sequence[str]], str]:
    def read(value: Any, _zones: Sequence[str]) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is unknown; {choices(str(value), allowed)}")
        return str(value)

    return read


_KINDS: Mapping[str, Callable[[Any, Sequence[str]], Any]] = {
    "number": _number,
    "seconds": _seconds,
    "percent": _between(0, 100),
    "processor": _between(1, 100),
    "rate": _between(0.01, 1000),
    "megabits": _between(0.01, 100_000),
    "share": _between(0, 1),
    "count": _whole(1),
    "natural": _whole(0),
    "text": _text,
    "file": _text,
    "texts": _texts,
    "flag": _flag,
    "switch": _switch,
    "group": _group,
    "groups": _groups,
    "any-group": _any_group,
    "carrier": _carrier,
    "route": _route,
    "object": _object,
    "operation": _operation,
    "ledger-field": lambda value, zones: _choice(_text(value, zones), fields_of_the_ledger()),
    "poison": _poison,
    "metric": _named(METRICS),
    "alarm": _named(ALARMS),
    "reason": _named([each.value for each in Reason]),
    "instance": lambda value, zones: parse_target(value, zones, INSTANCE),
}
