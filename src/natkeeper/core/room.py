"""Room for another launch: a group never has more than one instance beyond those that it wants.

Every instance costs, an account has few (a new one has 5 vCPUs, of which a t4g.nano takes 2), and a replacement that
failed is not made better by another beside it. Called by `heal` right before a new launch. May not import anything but
the standard library's data types.
"""

from __future__ import annotations

from natkeeper.core.launches import is_unseen
from natkeeper.core.model import Instance, Role
from natkeeper.core.policy import StandbyMode
from natkeeper.core.view import View


def is_full(view: View) -> bool:
    """Another launch would be the second instance beyond what the group wants, as far as can be seen."""
    there = sum(len(view.instances(role)) for role in Role)
    coming = sum(is_unseen(view.memory, role, view.instances(role), view.now) for role in Role)
    return there + coming > sum(_wanted(view, role) for role in Role)


def failed_one(view: View, wanted: Role) -> Instance | None:
    """The instance that goes before another is launched: a newer one beside others of its role, that carries nobody's
    traffic and that no packet has proven. None where there is no such."""
    for role in (wanted, *(each for each in Role if each is not wanted)):
        there = view.instances(role)
        if len(there) <= _wanted(view, role):
            continue
        for instance in there:
            target = instance.target
            if target is None or not (target in view.used or view.is_proven(target)):
                return instance
    return None


def _wanted(view: View, role: Role) -> int:
    return 1 if role is Role.NAT else int(view.policy.standby is not StandbyMode.NONE)
