"""Getting the group back to its own NAT: start or launch it, prepare it, prove it with packets, bring traffic home.

Asked by `case` once the traffic is safe (or nothing else can be done). Each pass takes the one next step that the
facts allow, so it can stop and go on anywhere. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from natkeeper.core.backoff import waits
from natkeeper.core.flapping import quiet_period
from natkeeper.core.incident import Memory
from natkeeper.core.launches import (
    WHOLE_SECONDS,
    may_still_appear,
    repair_of,
    with_repair,
)
from natkeeper.core.model import Instance, InstanceState, Role
from natkeeper.core.move import stages_to
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    Reason,
    StartInstance,
)
from natkeeper.core.proving import bare_again, canary_on, fails_at
from natkeeper.core.replacement import Step, launch, next_attempt
from natkeeper.core.view import Path, View
from natkeeper.core.way import another_way

TURN_SECONDS = 45
"""Long enough for the canary's address to follow (10 s) and for `Policy.address_limit` after it."""


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
    return home if view.has_egress or len(nats) < 2 else _in_turn(view, nats)


def _in_turn(view: View, nats: Sequence[Instance]) -> Instance:
    return nats[int(view.now.timestamp()) // TURN_SECONDS % len(nats)]


def _ask(view: View, nat: Instance) -> Step:
    """Whether one that was left forwards again, while the traffic waits for another to boot. It is not given up for
    that: the one that boots has its time."""
    path = view.path_to(nat)
    text = f"waiting for the newest NAT, which may still be booting; asking {nat.instance_id} meanwhile"
    assert path is not None
    if view.policy.canary_destination is None:
        return Step(view.memory, Reason.HEALING, text)
    if view.is_checked(path):
        return Step(view.memory, Reason.HEALING, text, ((DisableSourceDestCheck(path.target),),))
    memory, actions = canary_on(view, path, nat)
    return Step(memory, Reason.HEALING, text, (actions,) if actions else ())


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
    others = [each for each in nats if each is not home and each.is_running]
    if others:
        return _ask(view, _in_turn(view, others))
    return Step(view.memory, Reason.HEALING, "waiting for the newest NAT, which may still be booting")


# -- starting and launching


def rouse_standby(view: View) -> tuple[Action, ...]:
    """With nothing left to carry the traffic, a standby that waits stopped is started beside everything else."""
    standbys = view.instances(Role.STANDBY)
    starts = (StartInstance(each.instance_id) for each in standbys if each.state is InstanceState.STOPPED)
    return tuple(each for each in starts if not waits(view.memory, each, view.now))


def wake(view: View, instance: Instance) -> Step:
    """Start what is stopped, wait for what is changing, and launch another when that takes too long."""
    memory, role = view.memory, instance.role
    repair = repair_of(memory, role)
    if repair is None:
        repair = next_attempt(view, None)
        memory = with_repair(memory, role, repair)
    elif repair.is_turned_away or view.now - max(repair.started_at, instance.launched_at) > view.boot_time(instance):
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
    if view.is_proven(path.target) and view.is_usable(path):
        return _return(view, path, home)
    return _prove(view, path, home)


def _prove(view: View, path: Path, home: Instance) -> Step:
    """Point the canary at it, with a public address for the canary's packets, and let the prober look."""
    memory = view.memory
    if memory.is_apart:
        text = f"nothing can prove {home.instance_id}: {another_way(view)}"
        return Step(memory, Reason.HEALING, text)
    if is_yielding(view):
        return Step(memory, Reason.HEALING, f"proving {home.instance_id} waits: EC2 throttles this account")
    if memory.withdrawn_at is not None:
        # The canary was silenced on purpose; from now on it may be asked again.
        memory = replace(memory, withdrawn_at=None, canary=None)
    repair = memory.repair or next_attempt(view, None)
    view = view.remembering(replace(memory, repair=repair))
    memory, actions = canary_on(view, path, home)
    assert memory.canary is not None
    failed_at = fails_at(view, home, memory.canary)
    if failed_at is not None and view.now > failed_at:
        step = launch(view.remembering(memory), Role.NAT)
        text = f"{home.instance_id} does not forward; {step.detail}"
        return replace(step, detail=text, stages=step.stages or ((actions,) if actions else ()))
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
    ready_at = max(proof.since, memory.stable_since) + quiet_period(view, path.target)
    if view.now < ready_at:
        return Step(memory, Reason.HEALING, f"{home.instance_id} is proven; quiet until {ready_at:%H:%M:%S}")
    if view.now - proof.at > view.policy.freshness / 2:
        # Between taking its address away and going home it would cease to count, and all would begin anew (simulation,
        # calls of seconds). A report is a minute away.
        return Step(memory, Reason.HEALING, f"{home.instance_id} was proven a while ago; the next report is waited for")
    if not path.is_bare and not view.is_address_stuck:
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
