"""Somebody turns the source/dest check of the NAT in use on again: what that is remembered as.

Asked by `failover`, which turns it off again, and by `absorb`, which hears of the packets that were lost. May not
import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.incident import Cause, Memory

KEPT = 60
"""Instants remembered: more than one a minute is said as that many."""
SETTLED = timedelta(seconds=30)
"""Before that, after a move, it may be natkeeper's own call that a look does not show yet (`way.MENDING`)."""
SHOWN = timedelta(seconds=5)
"""How long after it was turned off a look may still show it on: the same again, not once more."""
FOUND_WITHIN = timedelta(seconds=70)
"""From the first lost packet to the look that finds it at the latest: a minute's tick and its pass."""
FOUND = (Cause.TRANSIENT, Cause.PROBES_FAILED)
"""What an incident is called before its cause is found."""


def as_found_on(memory: Memory, now: datetime) -> Memory:
    """The memory once a look shows the check on."""
    if memory.moved_at is not None and now - memory.moved_at < SETTLED and not memory.has_carried:
        return memory
    known, incident = memory.checks_mended, memory.incident
    if not known or now - known[-1] >= SHOWN:
        known = (*known, now)[-KEPT:]
    if incident is not None and incident.cause in FOUND:
        incident = replace(incident, cause=Cause.SOURCE_DEST_CHECK)
    return replace(memory, checks_mended=known, incident=incident)


def was_found_on(memory: Memory, first_lost_at: datetime) -> bool:
    """The check was found on shortly after that packet was lost, or was being turned off: so it was lost for that."""
    return any(-SHOWN <= each - first_lost_at <= FOUND_WITHIN for each in memory.checks_mended)
