"""Keeping somebody ready to take over: the standby, the canary that proves the next choice, and no more than that.

Asked by `case` once the traffic is home and alive (`tidy`), and by `failover` while AWS is about to stop the NAT in
use (`make_way`). May not import anything but the standard library's data types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from natkeeper.core.heal import is_yielding, wake
from natkeeper.core.incident import Memory
from natkeeper.core.launches import is_outstanding, may_still_appear
from natkeeper.core.model import Instance, InstanceState, Role
from natkeeper.core.plan import Action, DisableSourceDestCheck, Reason, StopInstance, TerminateInstance
from natkeeper.core.policy import StandbyMode
from natkeeper.core.proving import canary_at, canary_on
from natkeeper.core.replacement import Step, held_back, launch
from natkeeper.core.view import Path, View

SILENT_AGAIN = timedelta(days=1)
"""Launches are counted by the day: a canary's address that is out of reach for good costs one of each day's."""


def tidy(view: View) -> Step:
    """What is left to do once the traffic is home and alive: standby, canary, surplus instances."""
    for step in (_standby, _canary_at_rest, _surplus):
        found = held_back(view, step(view), Step(view.memory))
        if found.reason is not None:
            return found
        view = view.remembering(found.memory)
    return Step(view.memory)


def make_way(view: View) -> Step:
    """AWS will stop the NAT in use and nothing verified can take over: launch another beside it, and let the canary
    prove it while the old one still works."""
    spare = [each for role in Role for each in view.instances(role) if not view.is_doomed(each)]
    if not spare:
        return launch(view, Role.NAT)
    for each in spare:
        path = view.path_to(each)
        if each.is_running and path is not None and view.is_checked(path):
            text = f"turning source/dest check of {each.instance_id} off"
            return Step(view.memory, Reason.HEALING, text, ((DisableSourceDestCheck(path.target),),), looks_again=True)
    return _canary_at_rest(view)


def _standby(view: View) -> Step:
    mode = view.policy.standby
    if mode is StandbyMode.NONE:
        return Step(view.memory)
    standby = next(iter(view.instances(Role.STANDBY)), None)
    if standby is None or _is_stuck(view, standby):
        return launch(view, Role.STANDBY)
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
            return wake(view, standby)
        return Step(replace(view.memory, standby_repair=None) if standby.is_running else view.memory)
    is_alone = len(view.instances(Role.STANDBY)) == 1  # or the one that it replaced would be the last that runs
    if standby.is_running and path is not None and is_alone and _may_wait_stopped(view, path):
        text = f"{standby.instance_id} is proven; it waits stopped"
        return Step(
            replace(view.memory, standby_repair=None), Reason.TIDYING, text, ((StopInstance(standby.instance_id),),)
        )
    return Step(view.memory)


def _is_stuck(view: View, standby: Instance) -> bool:
    """Still pending when a boot would have been over twice: EC2 will not finish it (simulation, seed 10076)."""
    return standby.state is InstanceState.PENDING and view.now - standby.launched_at > view.boot_time(standby)


def _is_silent(view: View, standby: Instance, path: Path) -> bool:
    """It runs, and its canary's packets have been lost for as long as a NAT may take to begin forwarding. One that
    waits for a public address, or has had it for a moment only, is not."""
    canary = view.memory.canary
    if canary is None or canary.target != path.target or canary.failed_since is None:
        return False
    if canary.addressed_at is None or view.now - canary.addressed_at <= view.policy.address_limit:
        return False
    return view.now - max(canary.failed_since, standby.launched_at) > view.boot_time(standby)


def _replace_silent(view: View, standby: Instance) -> Step:
    """Another one, once (simulation, seed 1006535): if that is silent too, it may be the canary's address that is out
    of reach, and launches are not for that. Until one is proven, or a day later, nothing more is done: somebody was
    told, and the alarm `standby-not-ready` rings on."""
    memory, repair = view.memory, view.memory.standby_repair
    is_on_its_way = repair is not None and repair.is_accepted and may_still_appear(repair, view.now)
    is_tried = memory.standby_replaced_at is not None and view.now - memory.standby_replaced_at < SILENT_AGAIN
    if is_outstanding(repair, [standby]) or is_on_its_way:
        return launch(view, Role.STANDBY)
    if is_tried:
        return Step(memory)
    text = (
        f"group {view.group.name}: standby {standby.instance_id} runs and forwards nothing; launching another. If that "
        f"forwards nothing either, see whether the canary address {view.policy.canary} is out of reach"
    )
    step = launch(view.remembering(replace(memory, standby_replaced_at=view.now)), Role.STANDBY)
    return replace(step, warning=step.warning or text)


def _is_proven(view: View, path: Path) -> bool:
    return view.policy.canary is None or view.memory.proof_of(path.target) is not None


def _may_wait_stopped(view: View, path: Path) -> bool:
    """Proven, home has been quiet, and nobody's route leads to it: a person may have put one there (seed 500038091)."""
    return path.target not in view.used and _has_rested(view) and _is_proven(view, path)


def _has_rested(view: View) -> bool:
    since = view.memory.stable_since
    return since is not None and view.now - since >= view.policy.quiet_period


def _canary_at_rest(view: View) -> Step:
    """The canary watches the path that would be used next, so that it is proven before it is needed."""
    if view.policy.canary_destination is None:
        return Step(view.memory)
    running = [each for each in view.paths if each.instance is not None and each.instance.is_running]
    other = [each for each in running if each.target != view.target and not view.is_checked(each)]
    spare = next((each for each in other if each.instance is not view.home), None)
    if spare is None:
        return Step(view.memory)
    memory, actions = _watched(view, spare)
    if actions and is_yielding(view):
        # No rest, or it would wait for a tick once the yielding is over (seed 4003998). Meanwhile nobody looks for it.
        return Step(
            view.memory, Reason.TIDYING, f"pointing the canary at {spare.target} waits: EC2 throttles this account"
        )
    if not actions:
        return Step(memory)
    return Step(memory, Reason.TIDYING, f"pointing the canary at {spare.target}, the next choice", (actions,))


def _watched(view: View, spare: Path) -> tuple[Memory, tuple[Action, ...]]:
    """The canary through it. A standby of the group's own may lack a public address for that, a neighbour's NAT has its
    own group's."""
    if spare.instance is not None and spare.instance.role is Role.STANDBY:
        return canary_on(view, spare, spare.instance)
    canary, actions = canary_at(view, spare)
    return replace(view.memory, canary=canary), actions


def _surplus(view: View) -> Step:
    """Quarantine before kill: a second NAT goes only when home has been quiet, and while nobody's traffic is on it."""
    used = view.used
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
