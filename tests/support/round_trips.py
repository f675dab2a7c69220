"""Serial API round trips, read off the lab's own record of calls: structure, not time."""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.api import Call


def longest_chain(calls: Sequence[Call], last: Call) -> list[Call]:
    """The longest row of calls that ends in `last`, each of which began only after the one before was answered."""
    chains: dict[int, list[Call]] = {}
    for call in sorted(calls, key=lambda each: each.started_at):
        before = [chain for chain in chains.values() if chain[-1].ended_at <= call.started_at]
        chains[id(call)] = [*max(before, key=len, default=[]), call]
    return chains[id(last)]


def last_of(calls: Sequence[Call], operation: str, destination: str) -> Call:
    """The last call of a route operation on this destination to be answered."""
    found = [
        each for each in calls if each.operation == operation and each.params.get("DestinationCidrBlock") == destination
    ]
    return max(found, key=lambda each: each.ended_at)


def begun_before(calls: Sequence[Call], last: Call) -> list[Call]:
    """Every call that was asked before `last` was answered."""
    return [each for each in calls if each.started_at < last.ended_at]
