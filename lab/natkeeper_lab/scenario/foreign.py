"""Other people's instances: ids that no instance of the lab has, what becomes of them, and those with our tags.

Called by `scenario.verbs` and by both players. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG

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


THEIRS = "owner"
"""A tag of which natkeeper knows nothing, by which the players tell such a machine from the stack's own."""


def their_tags(stack: str, group: str, role: str) -> dict[str, str]:
    """Those of somebody else's machine that carries our three."""
    return {STACK_TAG: stack, GROUP_TAG: group, ROLE_TAG: role, THEIRS: "somebody else"}


def is_theirs(tags: Mapping[str, str]) -> bool:
    """Somebody else's, whatever else it carries."""
    return THEIRS in tags
