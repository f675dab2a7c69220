"""What expectations count: seconds without egress, failovers, moves, addresses, messages, calls.

Called by `scenario.looks`. Each answers (it holds, what was expected, what was seen, when it broke).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.sight import Calls, RouteChange, Sight

Seen = tuple[bool, str, str, float | None]
READS = ("Describe", "Get", "List", "Query", "Scan", "BatchGet", "TransactGet")
FAILOVERS = ("fail-over", "last-resort")
DEFAULT = "0.0.0.0/0"
LOG_IS_LATE = 1.0
"""A decision is printed before its calls are made, and read from a pipe by a machine that may be busy."""


def _at_most(times: Sequence[float], limit: int) -> float | None:
    return times[limit] if len(times) > limit else None


# -- packets


def dark(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """An outage that is not over counts up to now."""
    limit = expectation.args["at_most"]
    outages = [each for each in scene.rulers[expectation.subject].outages(since) if each.first_failed_ns / 1e9 <= until]
    ends = [each.first_ok_after_ns for each in outages]
    spans = [
        each.downtime_seen_ns / 1e9 if end is not None else max(0.0, until - each.first_failed_ns / 1e9)
        for each, end in zip(outages, ends, strict=True)
    ]
    told = ", ".join(
        f"{span:.2f} s at {scene.seconds(each.first_failed_ns / 1e9):.2f} s"
        for span, each in zip(spans, outages, strict=True)
    )
    expected = f"zone {expectation.subject} without egress for at most {limit:g} s"
    return sum(spans) <= limit, expected, f"{sum(spans):.2f} s: {told or 'no outage'}", None


def egress_addresses(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Those seen since, and the one that was seen when it began."""
    group, limit = expectation.subject, expectation.args["at_most"]
    seen = [(at, address) for at, address in scene.addresses_seen(group) if at <= until]
    before = [address for at, address in seen if at <= since][-1:]
    first: dict[str, float] = dict.fromkeys(before, since)
    for at, address in seen:
        if at > since:
            first.setdefault(address, at)
    told = ", ".join(f"{address} from {scene.seconds(at):.2f} s" for address, at in first.items())
    expected = f"at most {limit} public address{'es' * (limit != 1)} of zone {group} seen by the far end"
    return len(first) <= limit, expected, told or "none", _at_most(list(first.values()), limit)


# -- routes


def _moves(scene: Sight, group: str, since: float, until: float) -> list[RouteChange]:
    """natkeeper's, each by its first table: tables that go to one target are one move."""
    last = {table: scene.before_targets[table] for table in scene.tables_of(group)}
    found: list[RouteChange] = []
    moved: set[str] = set()
    for change in sorted(scene.journal.routes, key=lambda each: each.at):
        if change.group != group or change.at < scene.zero or change.at > until:
            continue
        former, last[change.table] = last[change.table], change.target
        if change.is_by_hand or change.target == former:
            continue
        if not found or found[-1].target != change.target or change.table in moved:
            found.append(change)
            moved = set()
        moved.add(change.table)
    return [each for each in found if each.at >= since]


def moves(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Away and home again are two."""
    return _counted_moves(scene, expectation, "moves", _moves(scene, expectation.subject, since, until))


def failovers(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Moves that natkeeper decided on because egress had failed."""
    group = expectation.subject
    found = [each for each in _moves(scene, group, since, until) if _reason(scene, each) in FAILOVERS]
    return _counted_moves(scene, expectation, "failovers", found)


def _counted_moves(scene: Sight, expectation: Expectation, what: str, found: Sequence[RouteChange]) -> Seen:
    limit = expectation.args["at_most"]
    told = ", ".join(f"to {scene.journal.carried_by(each.target)} at {scene.seconds(each.at):.2f} s" for each in found)
    expected = f"at most {limit} {what} of zone {expectation.subject}"
    return len(found) <= limit, expected, f"{len(found)}: {told}", _at_most([each.at for each in found], limit)


def _reason(scene: Sight, move: RouteChange) -> str:
    """Why: of the latest decision that points this table at this target."""
    reasons = [
        str(line.fields["reason_code"])
        for line in scene.journal.decisions()
        if line.at <= move.at + LOG_IS_LATE and line.fields["group"] == move.group
        if any(_points(action, move) for action in line.fields.get("actions", ()))
    ]
    return reasons[-1] if reasons else ""


def _points(action: Mapping[str, Any], move: RouteChange) -> bool:
    wanted = {"destination": DEFAULT, "target": move.target, "table_id": move.table}
    return all(action.get(key) == value for key, value in wanted.items())


# -- calls


def _fits(call: Calls, pattern: str | None) -> bool:
    service, _, name = (pattern or "*").rpartition(":")
    return service in ("", call.service) and fnmatchcase(call.operation, name)


def _is_counted_as_write(call: Calls, pattern: str | None) -> bool:
    """A pattern that names reads, such as Describe*, means them."""
    if not call.operation.startswith(READS):
        return True
    return pattern is not None and pattern.rpartition(":")[2].startswith(READS)


def writes(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Applied ones; without an operation those to EC2."""
    pattern, group = expectation.args["operation"], expectation.subject
    calls = scene.journal.writes(since) if pattern is None else scene.journal.own_calls(since)
    found = [
        each
        for each in calls
        if _fits(each, pattern) and _is_counted_as_write(each, pattern) and each.error_code is None
        if each.ended_at <= until and (not group or group in scene.journal.groups_of(each))
    ]
    what = f"{pattern or 'EC2 writes'}{f' for zone {group}' if group else ''}"
    return _counted_calls(scene, expectation, what, found)


def calls(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Every one that was made, reads and refused ones too."""
    pattern = expectation.args["operation"]
    found = [each for each in scene.journal.own_calls(since) if _fits(each, pattern) and each.ended_at <= until]
    return _counted_calls(scene, expectation, f"calls of {pattern}", found)


def _counted_calls(scene: Sight, expectation: Expectation, what: str, found: Sequence[Calls]) -> Seen:
    limit = expectation.args["at_most"]
    told = ", ".join(f"{each.operation} at {scene.seconds(each.ended_at):.2f} s" for each in found[:6])
    broke = _at_most([each.ended_at for each in found], limit)
    return len(found) <= limit, f"at most {limit} {what}", f"{len(found)}: {told}", broke


# -- messages


def told_about(scene: Sight, group: str, since: float, until: float) -> list[tuple[float, str]]:
    """Published to the stack's topic; of a group if they name its zone, alone or in a row of zones."""
    names = re.compile(rf"\bzones? (?:[a-z](?:, | and ))*{group}\b" if group else "")
    found = [
        (each.ended_at, str(each.params.get("Message", "")))
        for each in scene.journal.own_calls(since)
        if (each.service, each.operation) == ("sns", "Publish") and each.error_code is None and each.ended_at <= until
    ]
    return [(at, text) for at, text in found if names.search(text)]


def message(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Somebody was told."""
    group, wanted = expectation.subject, expectation.args["contains"]
    found = told_about(scene, group, since, until)
    fitting = [(at, text) for at, text in found if wanted in text]
    expected = f"a message{f' about zone {group}' if group else ''} that contains {wanted!r}"
    if fitting:
        at, text = fitting[0]
        return True, expected, f"at {scene.seconds(at):.2f} s: {text}", at
    return False, expected, "; ".join(text for _, text in found) or "no message", None


def messages(scene: Sight, expectation: Expectation, since: float, until: float) -> Seen:
    """Nobody was told more often than that."""
    group, limit = expectation.subject, expectation.args["at_most"]
    found = told_about(scene, group, since, until)
    told = "; ".join(f"at {scene.seconds(at):.2f} s: {text}" for at, text in found)
    expected = f"at most {limit} messages{f' about zone {group}' if group else ''}"
    return len(found) <= limit, expected, f"{len(found)}: {told}", _at_most([at for at, _ in found], limit)
