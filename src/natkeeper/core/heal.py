"""Getting the group back to its own NAT: start or launch it, prepare it, prove it with packets, bring traffic home.

Called by `decide` once the traffic is safe (or nothing else can be done). Each pass takes the one next step that the
facts allow, so it can stop and go on anywhere. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from natkeeper.core.backoff import waits, without_waiting
from natkeeper.core.incident import Memory, Repair
from natkeeper.core.launches import (
    TELLING,
    WHOLE_SECONDS,
    may_still_appear,
    next_type,
    repair_of,
    type_after,
    types_left,
    wait_after,
    with_repair,
)
from natkeeper.core.model import Instance, InstanceState, Role
from natkeeper.core.move import Stages, stages_to
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    LaunchInstance,
    Reason,
    StartInstance,
    StopInstance,
    TerminateInstance,
)
from natkeeper.core.proving import bare_again, canary_on, fails_at
from natkeeper.core.room import failed_one, is_full
from natkeeper.core.view import Path, View

TURN_SECONDS = 45
"""Long enough for the canary's address to follow (10 s) and for `Policy.address_limit` after it."""


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


def heal(view: View) -> Step:
    """The next step towards the group's traffic being on its own, proven NAT."""
    home = view.home
    if home is None:
        return launch(view, Role.NAT)
    if home.state is not InstanceState.RUNNING:
        return wake(view, home)
    if view.is_home:
        return Step(_at_home(view))
    if view.is_doomed(home):
        return launch(view, Role.NAT)
    return _bring_home(view, _whose_turn(view, home))


def _whose_turn(view: View, home: Instance) -> Instance:
    """Without egress, several NATs may forward first: a hung one that was rebooted, or its replacement,
    whose boot may take minutes. The canary goes to each of them in turn."""
    nats = [each for each in view.instances(Role.NAT) if each.is_running and not view.is_doomed(each)]
    if view.has_egress or len(nats) < 2:
        return home
    return nats[int(view.now.timestamp()) // TURN_SECONDS % len(nats)]


def _at_home(view: View) -> Memory:
    """Nothing is under way any more, but a launch that is not visible yet: forgotten because an old look showed a home
    that is gone, it was made again when another did not show what it launched (simulation, seed 400006845). One that is
    visible is over, or the next would wait for it when that NAT dies young."""
    memory, kept = view.memory, view.memory.repair
    newest = max(each.launched_at for each in view.instances(Role.NAT))
    if kept is not None and (not may_still_appear(kept, view.now) or newest >= kept.started_at - WHOLE_SECONDS):
        kept = None
    if memory.repair is kept and memory.withdrawn_at is None:
        return memory
    return replace(memory, repair=kept, withdrawn_at=None)


def replace_hung(view: View) -> Step:
    """Nothing can carry the traffic: heal, and where the NAT that carries it runs but forwards nothing, launch another.

    Not before the newest NAT has had its time to boot; the canary says as soon as that is over (simulation, seed
    740036522: nobody asked, and it waited for its turn as a last resort). Meanwhile its launch stays remembered:
    forgotten, as by a group that is home, it was made again when an older answer of EC2's did not show it (seed
    7604408).
    """
    nats, home = view.instances(Role.NAT), view.home
    if not view.is_home or home is None or home.state is not InstanceState.RUNNING:
        return heal(view)
    newest = max(nats, key=lambda each: each.launched_at)
    if view.now - newest.launched_at > view.boot_time(newest):
        return launch(view, Role.NAT)
    if newest is not home and newest.is_running:
        return _bring_home(view, newest)
    return Step(view.memory, Reason.HEALING, "waiting for the newest NAT, which may still be booting")


# -- starting and launching


def rouse_standby(view: View) -> tuple[Action, ...]:
    """With nothing left to carry the traffic, a standby that waits stopped is started beside everything else."""
    standbys = view.instances(Role.STANDBY)
    starts = (StartInstance(each.instance_id) for each in standbys if each.state is InstanceState.STOPPED)
    return tuple(each for each in starts if not waits(view.memory, each, view.now))


def launch(view: View, role: Role) -> Step:
    memory = view.memory
    repair = repair_of(memory, role)
    warning = ""
    left = types_left(memory, view.policy.instance_types, view.now)
    other_type = None if repair is None else next_type(repair, view.policy.instance_types, left)
    if not left and not (repair is not None and may_still_appear(repair, view.now)):
        return _no_type(view, role)
    if repair is not None and repair.refused_at is not None and other_type is None:
        if (hung := _in_the_way(view, repair)) is not None:
            text = f"a quota of the account has no room for a replacement: stopping {hung.instance_id}, which is hung"
            return Step(memory, Reason.HEALING, text, ((StopInstance(hung.instance_id),),))
        again_at = repair.refused_at + wait_after(repair)
        if view.now < again_at:
            return Step(memory, Reason.HEALING, f"AWS refused to launch a {role.value}; again at {again_at:%H:%M:%S}")
        if repair.refusals == TELLING:
            warning = f"group {view.group.name}: AWS refused to launch a {role.value} {TELLING} times in a row"
    if repair is not None and may_still_appear(repair, view.now):
        if repair.is_accepted:
            return Step(memory, Reason.HEALING, f"waiting for the {role.value} that was launched to be visible")
        # The same token again: it returns the instance of the first call if there was one, and launches it if not.
        is_repeated = repair.is_repeated or not repair.is_turned_away
        repair = replace(repair, is_repeated=is_repeated, is_turned_away=False, refused_at=None)
        return _launch_step(view, role, repair, with_repair(memory, role, repair))
    if len(memory.launches) >= view.policy.max_launches_per_day:
        paid = _paid_for(memory, role)
        if paid is not None:
            return launch(view.remembering(_asked_now(memory, paid, view.now)), paid)
        text = f"group {view.group.name}: {len(memory.launches)} launches in a day, no more until one of them is old"
        return Step(memory, Reason.BUDGET_EXHAUSTED, text, warning=text)
    if is_full(view):
        return _make_room(view, role)
    wanted = left[0] if repair is None else other_type or type_after(repair, left)
    if repair is not None and other_type is not None:
        repair = replace(repair, refusals=repair.refusals - 1)  # of all types in a row, it is one refusal
    repair = replace(_next_attempt(view, repair), is_launched=True, instance_type=wanted)
    memory = replace(memory, launches=(*memory.launches, view.now))
    return replace(_launch_step(view, role, repair, with_repair(memory, role, repair)), warning=warning)


def _in_the_way(view: View, repair: Repair) -> Instance | None:
    """The group's own NAT that runs and forwards nothing, where the account's quota refused its replacement: a new
    account has 5 vCPUs, and two t4g.nano take 4. Not before egress is elsewhere."""
    if not repair.is_quota or not view.has_egress:
        return None
    for nat in view.instances(Role.NAT):
        target = nat.interface.interface_id if nat.interface is not None else None
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
    repair = repair_of(view.memory, role) or _next_attempt(view, None)
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


def _next_attempt(view: View, repair: Repair | None) -> Repair:
    if repair is not None:
        fresh = Repair(repair.repair_id, repair.attempt + 1, view.now, refusals=repair.refusals)
        return replace(fresh, is_told=repair.is_told)
    incident = view.memory.incident
    name = incident.incident_id if incident is not None else f"{view.group.name}-{view.now:%Y%m%dT%H%M%S}"
    return Repair(name, 1, view.now)


def wake(view: View, instance: Instance) -> Step:
    """Start what is stopped, wait for what is changing, and launch another when that takes too long."""
    memory, role = view.memory, instance.role
    repair = repair_of(memory, role)
    if repair is None:
        repair = _next_attempt(view, None)
        memory = with_repair(memory, role, repair)
    elif view.now - max(repair.started_at, instance.launched_at) > view.boot_time(instance):
        return launch(view, role)
    if instance.state is InstanceState.STOPPED and repair.is_quota:
        return launch(view.remembering(memory), role)  # it was stopped to make room for this
    if instance.state is not InstanceState.STOPPED:
        return Step(memory, Reason.HEALING, f"waiting for {instance.instance_id}, which is {instance.state.value}")
    text = f"starting {instance.instance_id}"
    return Step(memory, Reason.HEALING, text, ((StartInstance(instance.instance_id),),))


# -- coming home


def _bring_home(view: View, home: Instance) -> Step:
    path = view.path_to(home)
    if path is None:
        return wake(view, home)
    if view.is_checked(path):
        text = f"turning source/dest check of {home.instance_id} off"
        return Step(view.memory, Reason.HEALING, text, ((DisableSourceDestCheck(path.target),),), looks_again=True)
    if view.policy.canary_destination is None:
        text = "no canary address is configured, so nothing can prove the group's own NAT: use `switchover` to go home"
        return Step(view.memory, Reason.HEALING, text)
    if view.is_verified(path) and view.is_usable(path):
        return _return(view, path, home)
    return _prove(view, path, home)


def _prove(view: View, path: Path, home: Instance) -> Step:
    """Point the canary at it, with a public address for the canary's packets, and let the prober look."""
    memory = view.memory
    if is_yielding(view):
        return Step(memory, Reason.HEALING, f"proving {home.instance_id} waits: EC2 throttles this account")
    if memory.withdrawn_at is not None:
        # The canary was silenced on purpose; from now on it may be asked again.
        memory = replace(memory, withdrawn_at=None, canary=None)
    repair = memory.repair or _next_attempt(view, None)
    view = view.remembering(replace(memory, repair=repair))
    memory, actions = canary_on(view, path, home)
    assert memory.canary is not None
    failed_at = fails_at(view, home, memory.canary)
    if failed_at is not None and view.now > failed_at:
        step = launch(view, Role.NAT)
        return replace(step, detail=f"{home.instance_id} does not forward; {step.detail}")
    detail = f"proving {home.instance_id} with canary packets"
    if failed_at is None:
        detail += "; it has no public address yet"
    return Step(memory, Reason.HEALING, detail, (actions,) if actions else ())


def _return(view: View, path: Path, home: Instance) -> Step:
    """Proven: wait for the quiet period, take the public address away, read it back, go home."""
    memory = view.memory
    proof = memory.proof_of(path.target)
    if proof is None or memory.stable_since is None:
        return Step(memory, Reason.HEALING, "waiting for probes to confirm the present path")
    ready_at = max(proof.since, memory.stable_since) + view.policy.quiet_period
    if view.now < ready_at:
        return Step(memory, Reason.HEALING, f"{home.instance_id} is proven; quiet until {ready_at:%H:%M:%S}")
    if not path.is_bare:
        text = f"making the landing address of {home.instance_id} bare"
        withdrawn, stages = replace(memory, withdrawn_at=view.now), bare_again(view, path, home)
        return Step(withdrawn, Reason.HEALING, text, stages, records_first=True, looks_again=True)
    stages = stages_to(view, path, is_planned=True)
    memory = replace(memory.moving(path.target, view.now), repair=None)
    text = f"bringing traffic home to {home.instance_id}"
    pause = view.policy.teaching_pause
    return Step(memory, Reason.GO_HOME, text, stages, records_first=True, verifies=True, pause=pause)


def is_yielding(view: View) -> bool:
    """Other groups of the account, which this one cannot see, may need the same bucket for their default routes. Only a
    group that has egress may wait (simulation, seed 1006198: a first deployment waited without any)."""
    return view.memory.is_yielding(view.now) and view.has_egress


# -- at rest
