"""29. Nothing that the ledger says locks a group for longer than a lease, or is of a time that has not been.

Called by `simulation.invariants.judge` with each call to the ledger's table, at the instant of its effect, and at the
end of an invocation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from natkeeper.core.bounds import LEASE
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.book import SKEW, Book, on_hub
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation

LONGEST = LEASE // timedelta(microseconds=1)
GRACE = 8 * SECOND
"""For clocks that differ, and for a call on either side of the lease: each takes up to 3 s, with its second try."""
ANSWERS = ("ConditionalCheckFailedException", "ValidationException")
"""Of the table to a call that is as it should be, and to one that a broken item makes impossible."""
AHEAD_BY_NATURE = ("until", "paused_until", "dooms")
"""An exclusion's end, a pause's, and the stops that AWS announced. The first two have bounds of their own."""
INSTANTS = re.compile(r'"(\d{4}-\d\d-\d\dT[^"]{8,})"')


def note_lease(book: Book, call: Call, error: ApiError | None) -> None:
    """Who is given a lease, or refused it. While the table answers nobody, nobody is refused."""
    if error is not None and error.code not in ANSWERS:
        book.refused_since.clear()
    if error is None and ":memory" in call.params.get("ExpressionAttributeValues", {}):
        book.refused_since.pop(str(call.params["Key"]["sk"]["S"]), None)  # its holder lives (seed 1780048945)
    group = _asked_for(call)
    if group is None:
        return
    if error is None:
        book.refused_since.pop(group, None)
    elif error.code == "ConditionalCheckFailedException":
        since, _ = book.refused_since.get(group, (book.now, 0))
        book.refused_since[group] = (since, call.invocation.serial)


def lease_is_no_longer_than_a_lease(book: Book, invocation: Invocation) -> str | None:
    """Whoever asks is given the lease, at the latest when one has passed in which it was refused and nobody got it.
    Asked when an invocation ends: it may be refused, and see then that the lease is none."""
    longest = LONGEST + GRACE + (SKEW if book.world.fires["clock-skew"] else 0)
    for group, (since, serial) in book.refused_since.items():
        if serial == invocation.serial and book.now - since > longest:
            return f"zone {group} has been locked for {(book.now - since) / 1e6:.0f} s: nobody is given its lease"
    return None


def _asked_for(call: Call) -> str | None:
    """Whose lease the call takes, by an update or with the whole item."""
    if call.operation == "UpdateItem" and ":until" in call.params["ExpressionAttributeValues"]:
        return str(call.params["Key"]["sk"]["S"])
    if call.operation == "PutItem" and "lease_until" in call.params["Item"]:
        return str(call.params["Item"]["sk"]["S"])
    return None


def nothing_of_the_future_is_remembered(call: Call) -> str | None:
    """Of what natkeeper writes down itself, by its own clock."""
    if call.operation != "UpdateItem":
        return None
    memory = call.params["ExpressionAttributeValues"].get(":memory")
    if memory is None:
        return None
    latest = call.sent_at + call.invocation.skew + LONGEST + GRACE
    if all(on_hub(_instant(each)) <= latest for each in INSTANTS.findall(memory["S"])):
        return None
    late = [name for name, at in _named(json.loads(memory["S"])) if on_hub(at) > latest]
    return f"zone {call.params['Key']['sk']['S']} remembers {late[0]} of the future" if late else None


def _named(value: Any, name: str = "") -> Iterator[tuple[str, datetime]]:
    """Each instant, with its field."""
    if name in AHEAD_BY_NATURE:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _named(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from _named(child, name)
    elif isinstance(value, str) and INSTANTS.fullmatch(f'"{value}"'):
        yield name, _instant(value)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
