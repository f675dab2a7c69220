"""Everything that natkeeper can decide, do, say and run into, by name: what a campaign must have seen.

`World` counts under these names; `simulation.tally` says which were never counted. The set is made from natkeeper's own
closed types, so a new Reason, Cause, Action, Happening or Trouble is in it at once and must be reached.
"""

from __future__ import annotations

from typing import get_args

from natkeeper.core.incident import Cause
from natkeeper.core.plan import Action, Happening, IncidentClosed, Reason
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome

NO_INCIDENTS = (Cause.ROUTE_MISSING,)
"""Nothing is recorded and no table has a route: the group is being set up, which opens no incident (decision 9)."""


def of_happening(happening: Happening) -> tuple[str, ...]:
    """An incident's cause counts when it closes: it may get a better one while it is open."""
    found = (type(happening).__name__,)
    return (*found, f"cause:{happening.incident.cause.value}") if isinstance(happening, IncidentClosed) else found


def of_trouble(trouble: Trouble) -> str:
    """One of the four typed errors."""
    return f"trouble:{type(trouble).__name__}"


def of_outcome(outcome: Outcome) -> str:
    """An action that was done, or what stood in its way."""
    if outcome.trouble is not None:
        return of_trouble(outcome.trouble)
    return f"action:{type(outcome.action).__name__}"


TRANSITIONS: tuple[str, ...] = (
    *(each.value for each in Reason),
    *(each.__name__ for each in get_args(Happening)),
    *(f"cause:{each.value}" for each in Cause if each not in NO_INCIDENTS),
    *(f"trouble:{each.__name__}" for each in Trouble.__subclasses__()),
    *(f"action:{each.__name__}" for each in get_args(Action)),
)
"""Reasons of plans by their value; the others by kind and name."""
