"""What a memory may say of time: an instant that has not been is not believed, however it came into the ledger.

Called by `decide` before anything else, on each group's memory. A poisoned or corrupted item, or one that was written
by a clock far ahead, must not lock its group: an instant of the future would be waited for (docs/decisions.md, 59). May
not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from natkeeper.core.downtime import Disturbance
from natkeeper.core.incident import RECENT_ROUNDS, Incident, Memory, WatchRun
from natkeeper.core.news import Round
from natkeeper.core.policy import Policy

LEASE = timedelta(seconds=25)
"""Longer than the controller's time-out of 20 s, so that a lease never ends under a pass that is still alive."""
LONGEST_PAUSE = timedelta(minutes=1440)
"""The longest that a command may ask for (`triggers.event`)."""
LEAST_RUN = timedelta(seconds=15)
"""A watch run while something is going on (`finish.SHORT_RUN`), however short the user's own are."""

TARGETS = ("eni-", "nat-")
"""How the ids of what a default route may lead to begin: an interface, a NAT gateway."""
REACHED = (
    *("moved_at", "led_since", "failing_since", "external_at", "targets_back_at", "withdrawn_at", "stable_since"),
    *("standby_replaced_at", "borrowed_at", "not_home_since", "unseen_since", "settled_since"),
    *("apart_since", "apart_until", "strange_at"),
)
"""Instants from which something counts. The latest that each can have been is now: packets of before count for nothing,
and the next report decides; the quiet period begins anew."""
SPACED = ("failovers", "launches", "watch_starts", "checks_mended")
"""Instants that are counted. What has not been does not count, and nothing happens twice at one instant."""


def bounded(memory: Memory, now: datetime, policy: Policy) -> Memory:
    """The memory without what cannot have been by now; itself, where all of it can.

    What is up to a lease ahead is left: hosts' clocks differ a little, and after a lease it is ahead no more.
    """
    latest = now + LEASE
    changes: dict[str, Any] = {}
    for name in REACHED:
        known = getattr(memory, name)
        if known is not None and known > latest:
            # A group without a target has never been moved: it is being set up (simulation, seed 5400858).
            changes[name] = now if memory.target is not None or name != "moved_at" else None
    for name in SPACED:
        known = getattr(memory, name)
        if len(set(known)) < len(known) or any(each > latest for each in known):
            changes[name] = tuple(sorted({each for each in known if each <= latest}))
    for name, bound in _PARTS.items():
        known = getattr(memory, name)
        if known is not None and (found := bound(known, now, latest)) is not known:
            changes[name] = found
    changes |= _ends(memory, now, policy)
    return replace(memory, **changes) if changes else memory


def _ends(memory: Memory, now: datetime, policy: Policy) -> dict[str, Any]:
    """What lies ahead by its nature, and has a longest time; the verdict, which nobody can have heard yet; and where
    traffic cannot belong: without a target, the routes say where it is."""
    latest, changes = now + LEASE, dict[str, Any]()
    if memory.target is not None and not memory.target.startswith(TARGETS):
        changes["target"] = None
    if memory.down_at is not None and memory.down_at > latest:
        changes |= {"is_down": False, "down_at": None, "failing_since": None}
    if memory.strange_address is not None and (memory.strange_at is None or memory.strange_at > latest):
        changes |= {"strange_address": None, "strange_at": None}  # nobody can have seen it there
    if memory.paused_until is not None and memory.paused_until > latest + LONGEST_PAUSE:
        changes["paused_until"] = None
    longest = latest + policy.exclusion
    kept = tuple(each for each in memory.exclusions if each.until <= longest and (each.since or now) <= latest)
    if kept != memory.exclusions:
        changes["exclusions"] = kept
    if memory.watch is not None and (found := _watch(memory.watch, now, policy)) != memory.watch:
        changes["watch"] = found
    return changes


def _watch(watch: WatchRun, now: datetime, policy: Policy) -> WatchRun | None:
    """None: nobody can have started it. A longer run than the user's was asked for by other settings, or by nobody."""
    if watch.started_at > now + LEASE:
        return None
    return replace(watch, lasts=min(max(watch.lasts, timedelta(0)), max(policy.watch_run, LEAST_RUN)))


# -- parts of a memory


def _rounds(rounds: tuple[Round, ...], _now: datetime, latest: datetime) -> tuple[Round, ...]:
    """In order, and no more than are kept."""
    sent = [each.sent_at for each in rounds]
    if len(sent) <= RECENT_ROUNDS and all(each <= latest for each in sent) and sent == sorted(sent):
        return rounds
    return tuple(sorted((each for each in rounds if each.sent_at <= latest), key=_sent_at))[-RECENT_ROUNDS:]


def _sent_at(each: Round) -> datetime:
    return each.sent_at


def _those(name: str, row: Any, _now: datetime, latest: datetime) -> Any:
    """Of a row, those whose instant of this name has been: what is dated ahead proves and forbids nothing."""
    kept = tuple(each for each in row if getattr(each, name) <= latest)
    return row if len(kept) == len(row) else kept


def _reached(names: Sequence[str], part: Any, now: datetime, latest: datetime) -> Any:
    """Of a record, these instants: each was by now at the latest."""
    ahead = [name for name in names if (at := getattr(part, name)) is not None and at > latest]
    return replace(part, **dict.fromkeys(ahead, now)) if ahead else part


def _incident(incident: Incident, now: datetime, latest: datetime) -> Incident:
    found: Incident = _reached(("opened_at", "recovered_at"), incident, now, latest)
    if all(each.sent_at <= latest for each in found.rounds) and all(_was(each, latest) for each in found.disturbances):
        return found
    return replace(
        found,
        rounds=tuple(each for each in found.rounds if each.sent_at <= latest),
        disturbances=tuple(each for each in found.disturbances if _was(each, latest)),
    )


def _was(disturbance: Disturbance, latest: datetime) -> bool:
    proof = disturbance.proof
    instants = (disturbance.begin, disturbance.end, proof.sent_at if proof is not None else None)
    return all(each is None or each <= latest for each in instants)


def _has_been(at: datetime, _now: datetime, latest: datetime) -> datetime | None:
    """Of an instant from which something is waited for that is not urgent, or up to which all is told: it never was."""
    return at if at <= latest else None


_PARTS: Mapping[str, Callable[[Any, datetime, datetime], Any]] = {
    "recent": _rounds,
    "proofs": partial(_those, "at"),
    "unsupported": partial(_those, "at"),
    "falls": partial(_those, "at"),
    "told": partial(_those, "at"),
    "back_offs": partial(_those, "refused_at"),
    "canary": partial(_reached, ("pointed_at", "addressed_at", "asked_at", "failed_since")),
    "address_move": partial(_reached, ("asked_at", "answered_at", "through_at")),
    "repair": partial(_reached, ("started_at", "refused_at")),
    "standby_repair": partial(_reached, ("started_at", "refused_at")),
    "incident": _incident,
    "throttled_at": _has_been,
    "measured_until": _has_been,
    "through_at": _has_been,
}
