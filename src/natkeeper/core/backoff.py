"""What EC2 refuses of healing and tidying is asked for again later, not in every pass; and it is said once.

Called by `finish` and `decide`, which hold such actions back, and by `acting`, which hears the answers. What moves
traffic is never held back, nor is a launch, which `launches` minds. May not import anything but the standard library's
data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from natkeeper.core.incident import MOVING_ADDRESS, BackOff, Memory
from natkeeper.core.launches import backed_off
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.move import Stages
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    GivePublicAddress,
    MoveAddress,
    PointRoute,
    ReleaseAddress,
    StartInstance,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)

STARTING = "starting an instance"
KINDS: dict[type, str] = {
    MoveAddress: MOVING_ADDRESS,
    PointRoute: "the canary route",
    DisableSourceDestCheck: "turning source/dest check off",
    GivePublicAddress: "a public address to prove a NAT with",
    TakePublicAddress: "taking a public address away",
    ReleaseAddress: "taking the proving address off",
    StartInstance: STARTING,
    StopInstance: "stopping an instance",
    TerminateInstance: "terminating an instance",
}
REMEDIES = {
    "AuthFailure": "allow it in the controller's role, and see whether the address is still this account's",
    "RouteLimitExceeded": "the route table is full: delete a route, or ask for a higher quota of routes per table "
    "(Service Quotas, Amazon VPC)",
    "UnauthorizedOperation": "allow it in the controller's role and in the account's policies",
    "OperationNotPermitted": "see whether somebody protects the instance from being stopped or terminated",
}
OTHERWISE = "see the code in the EC2 API reference"


def kind_of(action: Action) -> str | None:
    """What is backed off together; None for what never is. A full table refuses every canary, so that one's kind is
    not of its table or target."""
    if isinstance(action, PointRoute) and action.destination == DEFAULT_ROUTE:
        return None
    return KINDS.get(type(action))


def waits(memory: Memory, action: Action, now: datetime) -> bool:
    """EC2 refused such an action, and its time has not come again."""
    known = _known(memory, kind_of(action))
    return known is not None and now < known.refused_at + backed_off(known.refusals)


def without_waiting(memory: Memory, stages: Stages, now: datetime) -> Stages:
    """The stages without what waits."""
    kept = (tuple(action for action in stage if not waits(memory, action, now)) for stage in stages)
    return tuple(stage for stage in kept if stage)


def on_refused(memory: Memory, action: Action, now: datetime, refusal: str = "") -> Memory:
    """EC2 refused it: the next time is later, and after that later still. `refusal`: its operation and code."""
    kind = kind_of(action)
    if kind is None:
        return memory
    known = _known(memory, kind)
    refusals = 1 if known is None else known.refusals + 1
    others = tuple(each for each in memory.back_offs if each.kind != kind)
    return replace(memory, back_offs=(*others, BackOff(kind, now, refusals, refusal)))


def on_done(memory: Memory, action: Action) -> Memory:
    """EC2 did it: whatever refused such actions is over."""
    known = _known(memory, kind_of(action))
    if known is None:
        return memory
    return replace(memory, back_offs=tuple(each for each in memory.back_offs if each is not known))


def complaint(group: str, memory: Memory, action: Action, code: str) -> str | None:
    """What a person should know of the refusal that `memory` has just taken in; None where they know already."""
    known = _known(memory, kind_of(action))
    if known is None or known.refusals > 1:
        return None
    remedy = REMEDIES.get(code, OTHERWISE)
    refusal = known.refusal or code
    return f"group {group}: EC2 refuses {known.kind} ({refusal}): {remedy}. It is asked for again ever more slowly"


def launch_complaint(group: str, refusal: str, code: str) -> str:
    """What a person should know of a launch that EC2 refuses for another reason than want of capacity."""
    remedy = REMEDIES.get(code, OTHERWISE)
    return f"group {group}: EC2 refuses a launch ({refusal}): {remedy}. It is asked for again ever more slowly"


def _known(memory: Memory, kind: str | None) -> BackOff | None:
    return next((each for each in memory.back_offs if each.kind == kind), None)
