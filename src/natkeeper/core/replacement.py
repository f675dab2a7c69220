"""Launching another instance: which type, under which token, and everything that may have to come first.

Called by `heal` for a group's own NAT and by `spare` for its standby. May not import anything but the standard
library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from natkeeper.core.backoff import without_waiting
from natkeeper.core.incident import Memory, Repair
from natkeeper.core.launches import (
    TELLING,
    may_still_appear,
    next_type,
    repair_of,
    type_after,
    types_left,
    wait_after,
    with_repair,
)
from natkeeper.core.model import Instance, Role
from natkeeper.core.move import Stages
from natkeeper.core.plan import LaunchInstance, Reason, StopInstance, TerminateInstance
from natkeeper.core.room import failed_one, is_full
from natkeeper.core.view import View


@dataclass(frozen=True)
class Step:
    """The next step of healing: what to do and what to remember. `reason` None means that there is nothing to do."""

    memory: Memory
    reason: Reason | None = None
    detail: str = ""
    stages: Stages = ()
    records_first: bool = False
    verifies: bool = False
    pause: timedelta = timedelta(0)
    looks_again: bool = False
    warning: str = ""


def held_back(view: View, step: Step, otherwise: Step | None = None) -> Step:
    """The step without what EC2 refused a short while ago (`core.backoff`). Where nothing is left of what it was to do,
    it is not taken, nor remembered: `otherwise` instead, or waiting."""
    stages = without_waiting(view.memory, step.stages, view.now)
    if stages == step.stages:
        return step
    if stages:
        return replace(step, stages=stages)
    waiting = Step(view.memory, step.reason, f"{step.detail}: EC2 refused it; asked for again later")
    return otherwise or waiting


def launch(view: View, role: Role) -> Step:
    """The next step towards another instance of the role: asked for, waited for, or why not."""
    repair, types = repair_of(view.memory, role), view.policy.instance_types
    left = types_left(view.memory, types, view.now)
    other_type = None if repair is None else next_type(repair, types, left)
    may_appear = repair is not None and may_still_appear(repair, view.now)
    if not left and not may_appear:
        return _no_type(view, role)
    if repair is not None and other_type is None and (step := _refused(view, role, repair)) is not None:
        return step
    warning = _told(view, role, repair) if other_type is None else ""
    if repair is not None and may_appear:
        return _same_again(view, role, repair)
    if len(view.memory.launches) >= view.policy.max_launches_per_day:
        return _over_budget(view, role)
    if is_full(view):
        return _make_room(view, role)
    if repair is not None and other_type is not None:
        repair = replace(repair, refusals=repair.refusals - 1)  # of all types in a row, it is one refusal
    return replace(_another(view, role, repair, other_type or _wanted(repair, left)), warning=warning)


def _wanted(repair: Repair | None, left: Sequence[str]) -> str:
    return left[0] if repair is None else type_after(repair, left)


def _refused(view: View, role: Role, repair: Repair) -> Step | None:
    """AWS refused the last attempt: what stands in its way goes first, and the next waits."""
    if repair.refused_at is None:
        return None
    if (hung := _in_the_way(view, repair)) is not None:
        text = f"a quota of the account has no room for a replacement: stopping {hung.instance_id}, which is hung"
        return Step(view.memory, Reason.HEALING, text, ((StopInstance(hung.instance_id),),))
    again_at = repair.refused_at + wait_after(repair)
    if view.now >= again_at:
        return None
    return Step(view.memory, Reason.HEALING, f"AWS refused to launch a {role.value}; again at {again_at:%H:%M:%S}")


def _told(view: View, role: Role, repair: Repair | None) -> str:
    """What a person is told, once, of refusals in a row."""
    if repair is None or repair.refused_at is None or repair.refusals != TELLING:
        return ""
    if any(told.key == f"refused {repair.refusal}" for told in view.memory.told):
        return ""
    why = f" ({repair.refusal})" if repair.refusal else ""
    return f"group {view.group.name}: AWS refused to launch a {role.value} {TELLING} times in a row{why}"


def _same_again(view: View, role: Role, repair: Repair) -> Step:
    """The same token again: it returns the instance of the first call if there was one, and launches it if not."""
    if repair.is_accepted:
        text = f"waiting for the {role.value} that was launched to be visible"
        return Step(view.memory, Reason.HEALING, text)
    is_repeated = repair.is_repeated or not repair.is_turned_away
    repair = replace(repair, is_repeated=is_repeated, is_turned_away=False, refused_at=None)
    return _launch_step(view, role, repair, with_repair(view.memory, role, repair))


def _over_budget(view: View, role: Role) -> Step:
    memory = view.memory
    paid = _paid_for(memory, role)
    if paid is not None:
        return launch(view.remembering(_asked_now(memory, paid, view.now)), paid)
    text = f"group {view.group.name}: {len(memory.launches)} launches in a day, no more until one of them is old"
    return Step(memory, Reason.BUDGET_EXHAUSTED, text, warning=text)


def _another(view: View, role: Role, repair: Repair | None, wanted: str) -> Step:
    """A new attempt under a token of its own, which the day is charged with."""
    repair = replace(next_attempt(view, repair), is_launched=True, instance_type=wanted)
    memory = replace(view.memory, launches=(*view.memory.launches, view.now))
    return _launch_step(view, role, repair, with_repair(memory, role, repair))


def _in_the_way(view: View, repair: Repair) -> Instance | None:
    """The group's own NAT that runs and forwards nothing, where the account's quota refused its replacement: a new
    account has 5 vCPUs, and two t4g.nano take 4. Not before egress is elsewhere."""
    if not repair.is_quota or not view.has_egress:
        return None
    for nat in view.instances(Role.NAT):
        target = nat.target
        if nat.is_running and target not in view.used and (target is None or view.memory.proof_of(target) is None):
            return nat
    return None


def _make_room(view: View, role: Role) -> Step:
    """A replacement that failed goes before the next is launched."""
    failed = failed_one(view, role)
    if failed is None:
        return Step(view.memory, Reason.HEALING, f"a {role.value} is wanted; waiting until there is room for it")
    text = f"{failed.instance_id} carries nothing and was never proven; it goes before another is launched"
    return Step(view.memory, Reason.HEALING, text, ((TerminateInstance(failed.instance_id),),), looks_again=True)


def _no_type(view: View, role: Role) -> Step:
    """The zone has none of the user's types: nothing is asked for, and a person is told once what to do."""
    types = ", ".join(view.policy.instance_types)
    text = (
        f"group {view.group.name}: its zone does not have any of InstanceTypes ({types}); add one that it has, see "
        "`aws ec2 describe-instance-type-offerings --location-type availability-zone`"
    )
    repair = repair_of(view.memory, role) or next_attempt(view, None)
    memory = with_repair(view.memory, role, replace(repair, is_told=True))
    return Step(memory, Reason.HEALING, text, warning="" if repair.is_told else text)


def _paid_for(memory: Memory, role: Role) -> Role | None:
    """Whose launch the day's budget was charged with, and nobody answered. For want of a NAT a standby's will do, which
    is wanted in any case (simulation, seed 870031121: the one launch of the day went to a standby that AWS never made,
    and then the NAT died)."""
    for each in (Role.NAT, Role.STANDBY) if role is Role.NAT else (Role.STANDBY,):
        repair = repair_of(memory, each)
        if repair is not None and repair.may_appear and not repair.is_accepted and repair.started_at in memory.launches:
            return each
    return None


def _asked_now(memory: Memory, role: Role, now: datetime) -> Memory:
    """That launch is made now, if it was not before: it counts from here, and has as long again to be visible."""
    repair = repair_of(memory, role)
    assert repair is not None
    launches = tuple(now if each == repair.started_at else each for each in memory.launches)
    return replace(with_repair(memory, role, replace(repair, started_at=now)), launches=launches)


def _launch_step(view: View, role: Role, repair: Repair, memory: Memory) -> Step:
    token = f"{repair.repair_id}-{role.value}-{repair.attempt}"
    types = view.policy.instance_types
    instance_type = repair.instance_type or types[0]
    left = types_left(memory, types, view.now)
    has_alternative = next_type(replace(repair, is_short=True), types, left) is not None
    launch = LaunchInstance(view.group.name, role, token, instance_type, has_alternative)
    text = f"launching a {role.value} for group {view.group.name}, attempt {repair.attempt}"
    return Step(memory, Reason.HEALING, text, ((launch,),), records_first=True)


def next_attempt(view: View, repair: Repair | None) -> Repair:
    if repair is not None:
        fresh = Repair(repair.repair_id, repair.attempt + 1, view.now, refusals=repair.refusals)
        return replace(fresh, is_told=repair.is_told, refusal=repair.refusal)
    incident = view.memory.incident
    name = incident.incident_id if incident is not None else f"{view.group.name}-{view.now:%Y%m%dT%H%M%S}"
    return Repair(name, 1, view.now)
