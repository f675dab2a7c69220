"""A NAT that fails again soon after its traffic has come home: each time the way home is longer, the way out never.

Told by `failover` when traffic leaves, asked by `heal` before it comes home. May not import anything but the standard
library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from natkeeper.core.incident import Fall, Memory
from natkeeper.core.plan import Warned
from natkeeper.core.view import View

TRUSTED_AFTER = timedelta(hours=1)
"""A NAT that lasts so long at home has come back for good; its next failure is another matter."""
REMEMBERED = timedelta(hours=6)
"""How long a fall makes the next way home longer: six times as long as the longest quiet that follows from it."""
LONGEST_QUIET = timedelta(hours=1)
"""The quiet is doubled with each fall up to this, or up to QuietPeriod where that is longer: traffic away from home
costs cross-zone transfer and a neighbour's room, a NAT that flaps costs an outage each time."""


def as_fallen(view: View) -> tuple[Memory, tuple[Warned, ...]]:
    """The memory of a group that must leave its own NAT, and what people are told if it had only just come home."""
    memory, home = view.memory, view.home
    incident = memory.incident
    if incident is not None and incident.is_last_resort and not memory.has_carried:
        return memory, ()  # it was tried while it booted, and nothing had come home
    is_return = memory.moved_at is not None and view.now - memory.moved_at < TRUSTED_AFTER
    if not view.is_home or not is_return or home is None or home.target is None:
        return memory, ()
    kept = tuple(each for each in memory.falls if view.now - each.at < REMEMBERED)
    fallen = replace(memory, falls=(*kept, Fall(home.target, view.now)))
    quiet = quiet_period(view.remembering(fallen), home.target)
    text = (
        f"group {view.group.name}: {home.instance_id} failed again soon after its traffic had come home; it must be "
        f"well for {quiet // timedelta(seconds=1)} s before traffic comes home again"
    )
    return fallen, (Warned(text, text),)


def quiet_period(view: View, target: str) -> timedelta:
    """How long it must have been well before traffic comes home to it."""
    falls = sum(each.target == target and view.now - each.at < REMEMBERED for each in view.memory.falls)
    usual = view.policy.quiet_period
    return min(usual * (1 << min(falls, 16)), max(usual, LONGEST_QUIET))
