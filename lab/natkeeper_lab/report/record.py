"""A run's record, read with patience: whatever is missing, None or of another shape is left out, never an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LANES = ("packets", "events", "api", "decisions", "routes")
FAR = 1e9
"""Seconds; no run is longer, so a larger number is not a time."""


@dataclass(frozen=True)
class Moment:
    """Something in a lane, or a step. `kind` is what the lane tells apart: packet kind, state, reason code, target."""

    lane: str
    at: float | None
    group: str = ""
    text: str = ""
    kind: str = ""
    about: str = ""
    seconds: float = 0.0
    is_write: bool = False
    error: str = ""


@dataclass(frozen=True)
class Expectation:
    """What had to be true; `passed` is None when nobody judged it."""

    text: str
    passed: bool | None
    expected: str
    seen: str
    at: float | None


@dataclass(frozen=True)
class Incident:
    """An incident as natkeeper booked it; `low`, `high` and `seen` are durations, the rest are instants."""

    group: str
    cause: str
    message: str
    opened_at: float | None
    recovered_at: float | None
    closed_at: float | None
    low: float | None
    high: float | None
    seen: float | None

    @property
    def contains_truth(self) -> bool | None:
        """Whether what the lab saw lies in the interval; None when one of them is unknown."""
        if self.low is None or self.high is None or self.seen is None:
            return None
        return self.low <= self.seen <= self.high


@dataclass(frozen=True)
class Flows:
    """Connections of one kind."""

    group: str
    speaks: str
    opened: int | None
    survived: int | None
    longest_gap_ms: float | None


@dataclass(frozen=True)
class Outage:
    """A time without new connections, as the lab saw it."""

    group: str
    start: float
    end: float | None


@dataclass(frozen=True)
class Group:
    """Who carries a group's traffic at an end of the run; `tables` says where each route table pointed."""

    name: str
    nat: str
    carried_by: str
    address: str
    tables: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A record, typed."""

    name: str
    why: str
    passed: bool | None
    started_at: str
    seconds: float | None
    zones: tuple[str, ...]
    lanes: Mapping[str, tuple[Moment, ...]]
    steps: tuple[Moment, ...]
    expectations: tuple[Expectation, ...]
    incidents: tuple[Incident, ...]
    flows: tuple[Flows, ...]
    outages: tuple[Outage, ...]
    before: tuple[Group, ...]
    after: tuple[Group, ...]

    @property
    def groups_down(self) -> list[str]:
        """The groups of outages and incidents."""
        return [*(each.group for each in self.outages), *(each.group for each in self.incidents)]

    @property
    def moments(self) -> list[Moment]:
        """Steps and lanes in order of time; what has no time comes last."""
        found = [*self.steps, *(each for lane in LANES for each in self.lanes[lane])]
        return sorted(found, key=lambda each: math.inf if each.at is None else each.at)

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group named anywhere, zones first."""
        named = [*self.zones, *(each.name for each in (*self.before, *self.after))]
        named += [each.group for lane in ("packets", "decisions", "routes") for each in self.lanes[lane]]
        named += self.groups_down
        return tuple(dict.fromkeys(each for each in named if each))


def read(record: Mapping[str, Any]) -> Run:
    """The record as a Run."""
    lanes = _mapping(record.get("lanes"))
    topology = _mapping(record.get("topology"))
    expectations = tuple(_expectation(each) for each in _rows(record.get("expectations")))
    return Run(
        name=text(record.get("name")) or "a run without a name",
        why=text(record.get("why")),
        passed=_verdict(record.get("passed"), expectations),
        started_at=_instant(record.get("started_at")),
        seconds=number(record.get("seconds")),
        zones=tuple(text(each) for each in _list(record.get("zones")) if text(each)),
        lanes={lane: tuple(_moment(lane, each) for each in _rows(lanes.get(lane))) for lane in LANES},
        steps=tuple(_moment("steps", each) for each in _rows(record.get("steps"))),
        expectations=expectations,
        incidents=tuple(_incident(each) for each in _rows(record.get("incidents"))),
        flows=tuple(_flows(each) for each in _rows(record.get("flows"))),
        outages=tuple(_outages(record)),
        before=_groups(topology.get("before")),
        after=_groups(topology.get("after")),
    )


def number(value: Any) -> float | None:
    """A finite number that can be a time or a duration, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) < FAR else None


def text(value: Any) -> str:
    """Any value as text; None is empty, and true and false are written as in YAML."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(text(each) for each in value)
    return str(value)


def _moment(lane: str, row: Mapping[str, Any]) -> Moment:
    at, group, said = number(row.get("at")), text(row.get("group")), text(row.get("text"))
    if lane == "api":
        operation, error = text(row.get("operation")), text(row.get("error"))
        seconds = max(0.0, number(row.get("ms")) or 0.0) / 1000
        return Moment(lane, at, group, said, operation, "", seconds, row.get("is_write") is True, error)
    if lane == "events":
        return Moment(lane, at, group, said, text(row.get("state")), text(row.get("instance")))
    if lane == "decisions":
        return Moment(lane, at, group, said, text(row.get("reason_code")), text(row.get("carried_by")))
    if lane == "routes":
        target = text(row.get("target_name")) or text(row.get("target"))
        said = said or f"{text(row.get('table')) or 'a route table'} → {target or 'nothing'}"
        return Moment(lane, at, group, said, target, text(row.get("table")))
    if lane == "steps":
        return Moment(lane, at, group, said, text(row.get("do")), text(row.get("target")))
    return Moment(lane, at, group, said, text(row.get("kind")))


def _expectation(row: Mapping[str, Any]) -> Expectation:
    return Expectation(
        text(row.get("text")) or "an expectation without words",
        row["passed"] if isinstance(row.get("passed"), bool) else None,
        text(row.get("expected")),
        text(row.get("seen")),
        number(row.get("at")),
    )


def _incident(row: Mapping[str, Any]) -> Incident:
    times = {key: number(row.get(key)) for key in ("opened_at", "recovered_at", "closed_at", "low", "high", "seen")}
    return Incident(text(row.get("group")), text(row.get("cause")), text(row.get("message")), **times)


def _flows(row: Mapping[str, Any]) -> Flows:
    opened, survived = number(row.get("opened")), number(row.get("survived"))
    return Flows(
        text(row.get("group")),
        text(row.get("speaks")),
        None if opened is None else int(opened),
        None if survived is None else int(survived),
        number(row.get("longest_gap_ms")),
    )


def _outages(record: Mapping[str, Any]) -> list[Outage]:
    found = []
    for row in _rows(record.get("outages")):
        start, end = number(row.get("from")), number(row.get("to"))
        if start is not None:
            found.append(Outage(text(row.get("group")), start, None if end is None else max(start, end)))
    return found


def _groups(side: Any) -> tuple[Group, ...]:
    return tuple(
        Group(
            text(name),
            text(row.get("nat")),
            text(row.get("carried_by")),
            text(row.get("address")),
            {text(table): text(target) for table, target in _mapping(row.get("tables")).items()},
        )
        for name, each in _mapping(_mapping(side).get("groups")).items()
        for row in (_mapping(each),)
    )


def _verdict(passed: Any, expectations: tuple[Expectation, ...]) -> bool | None:
    if isinstance(passed, bool):
        return passed
    judged = [each.passed for each in expectations]
    return None if not judged or None in judged else all(judged)


def _instant(value: Any) -> str:
    """A wall clock's time to the second, in UTC when it was a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        except (ValueError, OverflowError, OSError):
            return ""
    return text(value)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]
