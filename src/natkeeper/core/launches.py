"""What the answer to a launch changes in what a group remembers, and how long to wait after a refusal.

Called by `heal`, which asks for launches, and by `reconcile`, which hears the answers. May not import anything but the
standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.incident import KEPT_INSTANCES, Memory, Repair, Unsupported
from natkeeper.core.model import Instance, Role

VISIBLE_AFTER = timedelta(seconds=120)
"""A launched instance may be NotFound or untagged for seconds (docs/aws.md, "Times"); two minutes is certain."""
WHOLE_SECONDS = timedelta(seconds=2)
"""EC2 gives an instance's launch time without fractions, by a clock of its own."""
FIRST_WAIT = timedelta(seconds=15)
"""After a refusal; each further one doubles it. In an outage a pass comes every three seconds: asking in each is no use
to anybody, and RunInstances has the smallest bucket of all (2 a second, EC2 Developer Guide, "Request throttling")."""
LONGEST_WAIT = timedelta(seconds=120)
"""Capacity comes back at any moment, and a zone without a NAT of its own has no second chance until then."""
TELLING = 4
"""The refusal in a row that a person is told of, once: a minute and three quarters after the first."""
UNSUPPORTED_FOR = timedelta(days=1)
"""How long a type that the zone does not have is not asked for. AWS adds types to zones, but not within an outage."""
NONE_LEFT_FOR = timedelta(hours=1)
"""How long nothing is asked for where the zone has none of the types. A new InstanceTypes is asked for at once."""


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
    return _is_missing(repair, there)


def _is_missing(repair: Repair, there: Sequence[Instance]) -> bool:
    """Everything that is there was launched before."""
    return all(each.launched_at < repair.started_at - WHOLE_SECONDS for each in there)


def is_outstanding(repair: Repair | None, there: Sequence[Instance]) -> bool:
    """A launch was asked for, and nothing came of it yet: EC2 refused it, or it was never sent, or nobody heard the
    answer. It is asked for again, and the NAT that it is to replace is not given another boot's time (simulation, seed
    1780023707: with calls of seconds the pass had no time left for it, and the next try came eight minutes later)."""
    if repair is None or not repair.is_launched or repair.is_accepted:
        return False
    return _is_missing(repair, there)


def accepted(memory: Memory, role: Role, instance_id: str | None = None) -> Memory:
    """AWS answered the launch with an instance, whose events are the group's own from now on."""
    if instance_id is not None:
        memory = memory.knowing((*(memory.instances or ()), instance_id)[-KEPT_INSTANCES:])
    repair = repair_of(memory, role)
    if repair is None:
        return memory
    over = replace(repair, is_accepted=True, refused_at=None, refusals=0, is_quota=False, refusal="")
    return with_repair(memory, role, over)


def refused(
    memory: Memory, role: Role, now: datetime, *, is_short: bool, is_quota: bool = False, code: str = ""
) -> Memory:
    """AWS answered that it launched nothing: the day's budget is for launches, so this one is given back to it.
    `is_short`: for want of capacity. `code`: AWS's.

    Not where the same token was sent before and nobody heard the answer: that call may still have launched something.
    """
    repair = repair_of(memory, role)
    if repair is None:
        return memory
    memory = with_repair(
        memory,
        role,
        replace(
            repair,
            refused_at=now,
            refusals=repair.refusals + 1,
            is_short=is_short,
            is_quota=is_quota,
            refusal=f"RunInstances: {code}" if code else "RunInstances",
        ),
    )
    if repair.is_repeated or repair.started_at not in memory.launches:
        return memory
    at = memory.launches.index(repair.started_at)
    return replace(memory, launches=(*memory.launches[:at], *memory.launches[at + 1 :]))


def unsupported(memory: Memory, role: Role, instance_type: str, now: datetime) -> Memory:
    """AWS answered that the zone does not have the type. An earlier call under the same token, which nobody heard of,
    cannot have launched it either; so this refusal is certain, and the next type may be asked for."""
    kept = (each for each in memory.unsupported if each.instance_type != instance_type and _is_recent(each, now))
    memory = replace(memory, unsupported=(*kept, Unsupported(instance_type, now)))
    repair = repair_of(memory, role)
    if repair is not None:
        memory = with_repair(memory, role, replace(repair, is_repeated=False))
    return refused(memory, role, now, is_short=True, code="Unsupported")


def spent(memory: Memory, role: Role, now: datetime) -> Memory:
    """AWS answered that the token's instance has been terminated since: that launch was made, so the day stays charged
    with it, and it is over. The next attempt has another token, and waits as after a refusal, or a machine that EC2
    ends at once would cost the day's launches within seconds."""
    repair = repair_of(memory, role)
    if repair is None:
        return memory
    over = Repair(repair.repair_id, repair.attempt, repair.started_at, refused_at=now, refusals=repair.refusals + 1)
    refusal = "RunInstances: IdempotentInstanceTerminated"
    return with_repair(memory, role, replace(over, is_told=repair.is_told, refusal=refusal))


def turned_away(memory: Memory, role: Role) -> Memory:
    """EC2 throttled the request, or natkeeper had no time for it, so it was not made: sent again it is still the
    first."""
    repair = repair_of(memory, role)
    return memory if repair is None else with_repair(memory, role, replace(repair, is_turned_away=True))


def types_left(memory: Memory, types: Sequence[str], now: datetime) -> tuple[str, ...]:
    """Those of the user's types that the zone may have, in order. Where it has none, all again after a while."""
    missing = {each.instance_type: each.at for each in memory.unsupported if _is_recent(each, now)}
    left = tuple(each for each in types if each not in missing)
    if not left and now - max(missing[each] for each in types) >= NONE_LEFT_FOR:
        return tuple(types)
    return left


def _is_recent(known: Unsupported, now: datetime) -> bool:
    return now - known.at < UNSUPPORTED_FOR


def next_type(repair: Repair, types: Sequence[str], left: Sequence[str]) -> str | None:
    """The type to ask for now that AWS has none of the one before; None where that was the last, or is still possible.
    `left`: those of the `types` that the zone may have.

    The core chooses it, and it is recorded before it is asked for: a pass that dies, or hears no answer, leaves behind
    which type may be on its way. Another one asked for beside it was a second NAT (simulation, seed 830040596).
    """
    if not repair.is_short or repair.is_repeated or repair.instance_type not in types:
        return None
    later = types[types.index(repair.instance_type) + 1 :]
    return next((each for each in later if each in left), None)


def type_after(repair: Repair, types: Sequence[str]) -> str:
    """The type to ask for after one that booted and never forwarded: the next, for it may be the machine's fault (too
    little memory for what it installs), and the first again after the last."""
    if not repair.is_accepted or repair.instance_type not in types:
        return types[0]
    return types[(types.index(repair.instance_type) + 1) % len(types)]


def wait_after(repair: Repair) -> timedelta:
    """How long after its refusal the next attempt may be made."""
    return backed_off(repair.refusals)


def backed_off(refusals: int) -> timedelta:
    """How long to wait after so many refusals in a row."""
    return min(FIRST_WAIT * (1 << min(max(refusals - 1, 0), 10)), LONGEST_WAIT)
