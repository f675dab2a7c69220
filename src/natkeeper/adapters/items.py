"""What a group's item in the ledger's table says, of which nothing need be what natkeeper wrote.

Called by `ledger`. Never raises: what cannot be read is left out, and named for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from natkeeper.adapters.codec import encode, salvage
from natkeeper.core.bounds import LEASE
from natkeeper.core.incident import Memory
from natkeeper.core.news import News, ProbeReport, RunMode, Tick
from natkeeper.triggers import Malformed, from_record

Item = Mapping[str, Any]

CLOCKS = timedelta(seconds=1)
"""How much further ahead than its length another host's lease may end: ten times what hosts' clocks may differ by
(`Policy.clock_error`)."""
LONGEST_EPOCH = 15
"""Digits: a write a second for 30 million years. DynamoDB rounds after 38 (Developer Guide, "Data types")."""
LONGEST_MEMORY = 100_000
"""Characters, of ASCII as `encoded` writes them. One with an incident of 160 rounds has 25,000 and may have the
instants of 1,000 failovers and launches (settings), and DynamoDB takes 400 KB an item."""


def milliseconds(moment: datetime) -> str:
    """As leases are written."""
    return str(int(moment.timestamp() * 1000))


def encoded(memory: Memory) -> str:
    """As it is written."""
    return json.dumps(encode(memory), separators=(",", ":"))


def epoch_of(item: Item) -> int | None:
    """None where it is no count of writes."""
    text = item.get("epoch", {}).get("N", "")
    return int(text) if text.isdecimal() and len(text) <= LONGEST_EPOCH else None


def entries_of(item: Item) -> list[Any] | None:
    """Of the inbox; None where it is no list."""
    found: list[Any] | None = item.get("inbox", {}).get("L")
    return found


def is_free(item: Item, holder: str, now: datetime) -> bool:
    """Nobody's, over, ours already, or endless."""
    ends_at = _decimal(item.get("lease_until", {}).get("N"))
    is_over = ends_at is None or ends_at < int(milliseconds(now))
    return is_over or item.get("holder") == {"S": holder} or is_endless(item, now)


def is_endless(item: Item, now: datetime) -> bool:
    """Its lease ends later than any that natkeeper takes, or is no instant: natkeeper did not write it."""
    lease = item.get("lease_until")
    if lease is None:
        return False
    ends_at = _decimal(lease.get("N"))
    return ends_at is None or ends_at > int(milliseconds(now + LEASE + CLOCKS))


def _decimal(text: str | None) -> Decimal | None:
    """DynamoDB's numbers are decimal fractions of any size; None where it is none."""
    try:
        found = Decimal(text or "")
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def broken_parts(item: Item) -> str:
    """What of the item, beside its memory, is not as natkeeper writes it, for people."""
    found = {"epoch": epoch_of(item) is None, "inbox": entries_of(item) is None}
    named = [name for name, is_broken in found.items() if is_broken]
    return ", ".join(named or ["lease_until, or the item's size"])


def memory_of(item: Item) -> tuple[Memory, str | None]:
    """What the item remembers, and what of it cannot be read. An item without a memory is a new one."""
    if "memory" not in item:
        return Memory(), None
    text = item["memory"].get("S", "")
    return _memory_of(text) if text.isascii() and len(text) <= LONGEST_MEMORY else (Memory(), "memory")


@lru_cache(maxsize=32)
def _memory_of(text: str) -> tuple[Memory, str | None]:
    """Kept, because a pass reads every group's item and most of them are as the pass before left them. 32: the items of
    three groups, several times over."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        return Memory(), "memory"
    memory, lost = salvage(Memory, raw)
    return memory, ", ".join(lost) or None


def news_of(entry: Item) -> News:
    """An entry that cannot be read stands for a reason to look, so that none is uncounted. A verification is waited for
    by whoever asked for it, so one in an inbox was left there by nobody of ours."""
    try:
        found = from_record(json.loads(entry.get("S", "")))
    except (ValueError, RecursionError, Malformed):
        return Tick()
    return Tick() if isinstance(found, ProbeReport) and found.mode is RunMode.VERIFY else found
