"""What the answer to a launch changes in what a group remembers, and how long to wait after a refusal.

Called by `heal`, which asks for launches, and by `reconcile`, which hears the answers. May not import anything but the
standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.incident import Memory, Repair
from natkeeper.core.model import Instance, Role

VISIBLE_AFTER = timedelta(seconds=120)
"""A launched instance may be NotFound or untagged for seconds (FACTS: eventual consistency); two minutes is certain."""
WHOLE_SECONDS = timedelta(seconds=2)
"""EC2 gives an instance's launch time without fractions, by a clock of its own."""
FIRST_WAIT = timedelta(seconds=15)
"""After a refusal; each further one doubles it. In an outage a pass comes every three seconds: asking in each is no use
to anybody, and RunInstances has the smallest bucket of all (2 a second, EC2 Developer Guide, "Request throttling")."""
LONGEST_WAIT = timedelta(seconds=120)
"""Capacity comes back at any moment, and a zone without a NAT of its own has no second chance until then."""
TELLING = 4
"""The refusal in a row that a person is told of, once: a minute and three quarters after the first."""


def repair_of(memory: Memory, role: Role) -> Repair | None:
    """The attempt under way for the role."""
    return memory.repair if role is Role.NAT else memory.standby_repair


def with_repair(memory: Memory, role: Role, repair: Repair) -> Memory:
    """The memory with that attempt under way."""
    return replace(memory, repair=repair) if role is Role.NAT else replace(memory, standby_repair=repair)


def may_still_appear(repair: Repair, now: datetime) -> bool:
    """What it launched, if anything, may not be visible yet."""
    return repair.may_appear and now - repair.started_at < VISIBLE_AFTER


def is_unseen(memory: Memory, role: Role, there: Sequence[Instance], now: datetime) -> bool:
    """A launch for the role may be on its way that no look has shown yet."""
    repair = repair_of(memory, role)
    if repair is None or not may_still_appear(repair, now):
        return False
    return all(each.launched_at < repair.started_at - WHOLE_SECONDS for each in there)


def accepted(memory: Memory, role: Role) -> Memory:
    """AWS answered the launch with an instance."""
    repair = repair_of(memory, role)
    if repair is None:
        return memory
    return with_repair(memory, role, replace(repair, is_accepted=True, refused_at=None, refusals=0))


def refused(memory: Memory, role: Role, now: datetime, *, is_short: bool) -> Memory:
    """AWS answered that it launched nothing: the day's budget is for launches, so this one is given back to it.
    `is_short`: for want of capacity.

    Not where the same token was sent before and nobody heard the answer: that call may still have launched something.
    """
    repair = repair_of(memory, role)
    if repair is None:
        return memory
    memory = with_repair(memory, role, replace(repair, refused_at=now, refusals=repair.refusals + 1, is_short=is_short))
    if repair.is_repeated or repair.started_at not in memory.launches:
        return memory
    at = memory.launches.index(repair.started_at)
    return replace(memory, launches=(*memory.launches[:at], *memory.launches[at + 1 :]))


def turned_away(memory: Memory, role: Role) -> Memory:
    """EC2 throttled the request, so it was not made: sent again it is still the first."""
    repair = repair_of(memory, role)
    return memory if repair is None else with_repair(memory, role, replace(repair, is_turned_away=True))


def next_type(repair: Repair, types: Sequence[str]) -> str | None:
    """The type to ask for now that AWS has none of the one before; None where that was the last, or is still possible.

    The core chooses it, and it is recorded before it is asked for: a pass that dies, or hears no answer, leaves behind
    which type may be on its way. Another one asked for beside it was a second NAT (simulation, seed 830040596).
    """
    if not repair.is_short or repair.is_repeated or repair.instance_type not in types:
        return None
    later = types[types.index(repair.instance_type) + 1 :]
    return later[0] if later else None


def type_after(repair: Repair, types: Sequence[str]) -> str:
    """The type to ask for after one that booted and never forwarded: the next, for it may be the machine's fault (too
    little memory for what it installs), and the first again after the last."""
    if not repair.is_accepted or repair.instance_type not in types:
        return types[0]
    return types[(types.index(repair.instance_type) + 1) % len(types)]


def wait_after(repair: Repair) -> timedelta:
    """How long after its refusal the next attempt may be made."""
    return min(FIRST_WAIT * (1 << min(repair.refusals - 1, 10)), LONGEST_WAIT)
