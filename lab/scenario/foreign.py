"""Other people's instances: ids that no instance of the lab has, and what becomes of them.

Called by both players. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

STATES = ("pending", "running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated")
"""A life: launched, stopped, started, terminated."""


def foreign_ids(count: int) -> list[str]:
    """The same each time, and of an instance id's form."""
    return [f"i-f0{number:015x}" for number in range(count)]


def foreign_changes(count: int) -> Iterator[tuple[str, str]]:
    """(instance id, state) of each change, one life after the other."""
    for number in range(count):
        life, moment = divmod(number, len(STATES))
        yield f"i-f1{life:015x}", STATES[moment]
