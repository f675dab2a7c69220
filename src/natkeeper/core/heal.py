"""Getting the group back to its own NAT: start or launch it, prepare it, prove it with packets, bring traffic home.

Called by `decide` once the traffic is safe (or nothing else can be done). Each pass takes the one next step that the
facts allow, so it can stop and go on anywhere. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from natkeeper.core.incident import Canary, Memory, Repair
from natkeeper.core.launches import TELLING, repair_of, wait_after, with_repair
from natkeeper.core.model import Instance, InstanceState, Role
from natkeeper.core.move import Stages, point_routes, stages_to
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    Reason,
    StartInstance,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.core.policy import StandbyMode
from natkeeper.core.view import Path, View

SILENT_AGAIN = timedelta(days=1)
"""Launches are counted by the day: a canary's address that is out of reach for good costs one of each day's."""
VISIBLE_AFTER = timedelta(seconds=120)
"""A launched instance may be NotFound or untagged for seconds (FACTS: eventual consistency); two minutes is certain."""


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


def heal(view: View) -> Step:
    """The next step towards the group's traffic being on its own, proven NAT."""
    home = view.home
    if home is None:
        return _launch(view, Role.NAT)
    if home.state is not InstanceState.RUNNING:
        return _wake(view, home)
    if view.is_home:
        is_done = view.memory.repair is None and view.memory.withdrawn_at is None
        return Step(view.memory if is_done else replace(view.memory, repair=None, withdrawn_at=None))
    if view.is_doomed(home):
        return _launch(view, Role.NAT)
    return _bring_home(view, home)


def replace_hung(view: View) -> Step:
    """Nothing can carry the traffic: heal, and where the NAT that carries it runs but forwards nothing, launch another.

    Not before the newest NAT has had its time to boot. Meanwhile its launch stays remembered: forgotten, as by a group
    that is home, it was made again when an older answer of EC2's did not show it (simulation, seed 7604408).
    """
    nats, home = view.instances(Role.NAT), view.home
    if not view.is_home or home is None or home.state is not InstanceState.RUNNING:
        return heal(view)
    if view.now - max(each.launched_at for each in nats) <= view.policy.repair_after:
        return Step(view.memory, Reason.HEALING, "waiting for the newest NAT, which may still be booting")
    return _launch(view, Role.NAT)


def make_way(view: View) -> Step:
    """AWS will stop the NAT in use and nothing verified can take over: launch another beside it, and let the canary
    prove it while the old one still works."""
    spare = [each for role in Role for each in view.instances(role) if not view.is_doomed(each)]
    if not spare:
        return _launch(view, Role.NAT)
    for each in spare:
        path = view.path_to(each)
        if each.is_running and path is not None and view.is_checked(path):
            text = f"turning source/dest check of {each.instance_id} off"
            return Step(view.memory, Reason.HEALING, text, ((DisableSourceDestCheck(path.target),),), looks_again=True)
    return _canary_at_rest(view)


def tidy(view: View) -> Step:
    """What is left to do once the traffic is home and alive: standby, canary, surplus instances."""
    for step in (_standby, _canary_at_rest, _surplus):
        found = step(view)
        if found.reason is not None:
            return found
        view = view.remembering(found.memory)
    return Step(view.memory)


# -- starting and launching


def rouse_standby(view: View) -> tuple[Action, ...]:
    """With nothing left to carry the traffic, a standby that waits stopped is started beside everything else."""
    standbys = view.instances(Role.STANDBY)
    return tuple(StartInstance(each.instance_id) for each in standbys if each.state is InstanceState.STOPPED)


def _launch(view: View, role: Role) -> Step:
    memory = view.memory
    repair = repair_of(memory, role)
    warning = ""
    if repair is not None and repair.refused_at is not None:
        again_at = repair.refused_at + wait_after(repair)
        if view.now < again_at:
            return Step(memory, Reason.HEALING, f"AWS refused to launch a {role.value}; again at {again_at:%H:%M:%S}")
        if repair.refusals == TELLING:
            warning = f"group {view.group.name}: AWS refused to launch a {role.value} {TELLING} times in a row"
    if repair is not None and repair.may_appear and view.now - repair.started_at < VISIBLE_AFTER:
        if repair.is_accepted:
            return Step(memory, Reason.HEALING, f"waiting for the {role.value} that was launched to be visible")
        # The same token again: it returns the instance of the first call if there was one, and launches it if not.
        repair = replace(repair, is_repeated=True, refused_at=None)
        return _launch_step(view, role, repair, with_repair(memory, role, repair))
    if len(memory.launches) >= view.policy.max_launches_per_day:
        text = f"group {view.group.name}: {len(memory.launches)} launches in a day, no more until one of them is old"
        return Step(memory, Reason.BUDGET_EXHAUSTED, text, warning=text)
    repair = replace(_next_attempt(view, repair), is_launched=True)
    memory = replace(memory, launches=(*memory.launches, view.now))
    return replace(_launch_step(view, role, repair, with_repair(memory, role, repair)), warning=warning)


def _launch_step(view: View, role: Role, repair: Repair, memory: Memory) -> Step:
    token = f"{repair.repair_id}-{role.value}-{repair.attempt}"
    launch = LaunchInstance(view.group.name, role, token)
    text = f"launching a {role.value} for group {view.group.name}, attempt {repair.attempt}"
    return Step(memory, Reason.HEALING, text, ((launch,),), records_first=True)


def _next_attempt(view: View, repair: Repair | None) -> Repair:
    if repair is not None:
        return Repair(repair.repair_id, repair.attempt + 1, view.now, refusals=repair.refusals)
    incident = view.memory.incident
    name = incident.incident_id if incident is not None else f"{view.group.name}-{view.now:%Y%m%dT%H%M%S}"
    return Repair(name, 1, view.now)


def _wake(view: View, instance: Instance) -> Step:
    """Start what is stopped, wait for what is changing, and launch another when that takes too long."""
    memory, role = view.memory, instance.role
    repair = repair_of(memory, role)
    if repair is None:
        repair = _next_attempt(view, None)
        memory = with_repair(memory, role, repair)
    elif view.now - repair.started_at > view.policy.repair_after:
        return _launch(view, role)
    if instance.state is not InstanceState.STOPPED:
        return Step(memory, Reason.HEALING, f"waiting for {instance.instance_id}, which is {instance.state.value}")
    text = f"starting {instance.instance_id}"
    return Step(memory, Reason.HEALING, text, ((StartInstance(instance.instance_id),),))


# -- coming home


def _bring_home(view: View, home: Instance) -> Step:
    path = view.path_to(home)
    if path is None:
        return _wake(view, home)
    if view.is_checked(path):
        text = f"turning source/dest check of {home.instance_id} off"
        return Step(view.memory, Reason.HEALING, text, ((DisableSourceDestCheck(path.target),),), looks_again=True)
    destination = view.policy.canary_destination
    if destination is None:
        text = "no canary address is configured, so nothing can prove the group's own NAT: use `switchover` to go home"
        return Step(view.memory, Reason.HEALING, text)
    if view.is_verified(path) and view.is_usable(path):
        return _return(view, path, home)
    return _prove(view, path, home, destination)


def _prove(view: View, path: Path, home: Instance, destination: str) -> Step:
    """Point the canary at it, with a public address for the canary's packets, and let the prober look."""
    assert home.interface is not None
    memory = view.memory
    if _is_yielding(view):
        return Step(memory, Reason.HEALING, f"proving {home.instance_id} waits: EC2 throttles this account")
    if memory.withdrawn_at is not None:
        # The canary was silenced on purpose; from now on it may be asked again.
        memory = replace(memory, withdrawn_at=None, canary=None)
    actions: list[Action] = []
    if home.interface.primary.public is None:
        actions.append(GivePublicAddress(path.target))
    actions += point_routes(view, destination, path.target)
    canary = memory.canary
    if canary is None or canary.target != path.target:
        canary = Canary(path.target, view.now)
    repair = memory.repair or _next_attempt(view, None)
    if view.now - max(repair.started_at, canary.pointed_at) > view.policy.repair_after:
        return replace(_launch(view, Role.NAT), detail=f"{home.instance_id} does not forward")
    memory = replace(memory, canary=canary, repair=repair)
    detail = f"proving {home.instance_id} with canary packets"
    return Step(memory, Reason.HEALING, detail, (tuple(actions),) if actions else ())


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
        stages: Stages = ((TakePublicAddress(path.target),),)
        return Step(
            replace(memory, withdrawn_at=view.now), Reason.HEALING, text, stages, records_first=True, looks_again=True
        )
    stages = stages_to(view, path, is_planned=True)
    memory = replace(memory, target=path.target, moved_at=view.now, withdrawn_at=None, stable_since=None, repair=None)
    text = f"bringing traffic home to {home.instance_id}"
    pause = view.policy.teaching_pause
    return Step(memory, Reason.GO_HOME, text, stages, records_first=True, verifies=True, pause=pause)


def _is_yielding(view: View) -> bool:
    """Other groups of the account, which this one cannot see, may need the same bucket for their default routes. Only a
    group that has egress may wait (simulation, seed 1006198: a first deployment waited without any)."""
    return view.memory.is_yielding(view.now) and view.has_egress


# -- at rest


def _standby(view: View) -> Step:
    mode = view.policy.standby
    if mode is StandbyMode.NONE:
        return Step(view.memory)
    standby = next(iter(view.instances(Role.STANDBY)), None)
    if standby is None or _is_stuck(view, standby):
        return _launch(view, Role.STANDBY)
    path = view.path_to(standby)
    if standby.is_running and path is not None and view.is_checked(path):
        text = f"turning source/dest check of {standby.instance_id} off"
        return Step(view.memory, Reason.TIDYING, text, ((DisableSourceDestCheck(path.target),),))
    if standby.is_running and path is not None:
        if _is_silent(view, standby, path):
            return _replace_silent(view, standby)
        if view.memory.standby_replaced_at is not None and view.memory.proof_of(path.target) is not None:
            view = view.remembering(replace(view.memory, standby_replaced_at=None))
    if mode is StandbyMode.RUNNING:
        if standby.state is InstanceState.STOPPED:
            return _wake(view, standby)
        return Step(replace(view.memory, standby_repair=None) if standby.is_running else view.memory)
    is_alone = len(view.instances(Role.STANDBY)) == 1  # or the one that it replaced would be the last that runs
    if standby.is_running and path is not None and is_alone and _has_rested(view) and _is_proven(view, path):
        text = f"{standby.instance_id} is proven; it waits stopped"
        return Step(
            replace(view.memory, standby_repair=None), Reason.TIDYING, text, ((StopInstance(standby.instance_id),),)
        )
    return Step(view.memory)


def _is_stuck(view: View, standby: Instance) -> bool:
    """Still pending when a boot would have been over twice: EC2 will not finish it (simulation, seed 10076)."""
    return standby.state is InstanceState.PENDING and view.now - standby.launched_at > view.policy.repair_after


def _is_silent(view: View, standby: Instance, path: Path) -> bool:
    """It runs, and its canary's packets have been lost for as long as a NAT may take to begin forwarding."""
    canary = view.memory.canary
    if canary is None or canary.target != path.target or canary.failed_since is None:
        return False
    return view.now - max(canary.failed_since, standby.launched_at) > view.policy.repair_after


def _replace_silent(view: View, standby: Instance) -> Step:
    """Another one, once (simulation, seed 1006535): if that is silent too, it may be the canary's address that is out
    of reach, and launches are not for that. Until one is proven, or a day later, nothing more is done: somebody was
    told, and the alarm `standby-not-ready` rings on."""
    memory, repair = view.memory, view.memory.standby_repair
    is_asked = repair is not None and repair.is_launched and not repair.is_accepted
    is_on_its_way = repair is not None and repair.is_accepted and view.now - repair.started_at < VISIBLE_AFTER
    is_tried = memory.standby_replaced_at is not None and view.now - memory.standby_replaced_at < SILENT_AGAIN
    if is_asked or is_on_its_way:
        return _launch(view, Role.STANDBY)
    if is_tried:
        return Step(memory)
    text = (
        f"group {view.group.name}: standby {standby.instance_id} runs and forwards nothing; launching another. If that "
        f"forwards nothing either, see whether the canary address {view.policy.canary} is out of reach"
    )
    step = _launch(view.remembering(replace(memory, standby_replaced_at=view.now)), Role.STANDBY)
    return replace(step, warning=step.warning or text)


def _is_proven(view: View, path: Path) -> bool:
    return view.policy.canary is None or view.memory.proof_of(path.target) is not None


def _has_rested(view: View) -> bool:
    since = view.memory.stable_since
    return since is not None and view.now - since >= view.policy.quiet_period


def _canary_at_rest(view: View) -> Step:
    """The canary watches the path that would be used next, so that it is proven before it is needed."""
    destination = view.policy.canary_destination
    if destination is None:
        return Step(view.memory)
    running = [each for each in view.paths if each.instance is not None and each.instance.is_running]
    other = [each for each in running if each.target != view.target and not view.is_checked(each)]
    spare = next((each for each in other if each.instance is not view.home), None)
    if spare is None:
        return Step(view.memory)
    actions = point_routes(view, destination, spare.target)
    memory = view.memory
    if actions and _is_yielding(view):
        # No rest, or it would wait for a tick once the yielding is over (seed 4003998). Meanwhile nobody looks for it.
        return Step(memory, Reason.TIDYING, f"pointing the canary at {spare.target} waits: EC2 throttles this account")
    if memory.canary is None or memory.canary.target != spare.target:
        memory = replace(memory, canary=Canary(spare.target, view.now))
    if not actions:
        return Step(memory)
    return Step(memory, Reason.TIDYING, f"pointing the canary at {spare.target}, the next choice", (actions,))


def _surplus(view: View) -> Step:
    """Quarantine before kill: a second NAT goes only when home has been quiet, and while nobody's traffic is on it."""
    used = {view.target} | {each.target for each in view.others.values()} | view.network.default_targets
    standby, *old = view.instances(Role.STANDBY) or (None,)
    replaced = old if standby is not None and standby.state is not InstanceState.PENDING else []
    for instance in (*view.instances(Role.NAT), *replaced):
        interface = instance.interface
        if instance is view.home or (interface is not None and interface.interface_id in used):
            continue
        if not _has_rested(view):
            # Not at rest yet, or reports would not look any more, and it would stay until a tick (seed 1000036).
            text = f"{instance.instance_id} has been replaced; it goes once home has been quiet"
            return Step(view.memory, Reason.TIDYING, text)
        text = f"{instance.instance_id} has been replaced and carries nothing"
        return Step(view.memory, Reason.TIDYING, text, ((TerminateInstance(instance.instance_id),),))
    return Step(view.memory)
