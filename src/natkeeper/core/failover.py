"""Where traffic goes when its path is dead, doomed, or to be left on purpose: what the rules find, and what they plan.

A verified candidate first, the last resort only when nothing is verified, and the limits on both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.absorb import open_incident
from natkeeper.core.checked import as_found_on
from natkeeper.core.finish import from_step, plan_for
from natkeeper.core.flapping import as_fallen
from natkeeper.core.heal import heal, replace_hung, rouse_standby
from natkeeper.core.incident import Cause, Exclusion, Memory
from natkeeper.core.judge import Verdict
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.move import Stages, move_address, stages_to
from natkeeper.core.overload import is_no_better
from natkeeper.core.plan import DisableSourceDestCheck, LaunchInstance, Plan, Reason, StartInstance, Warned
from natkeeper.core.replacement import held_back
from natkeeper.core.spare import make_way
from natkeeper.core.telling import check_warning
from natkeeper.core.view import Path, View

BY_ADDRESS = (Cause.ADDRESS_GONE, Cause.ADDRESS_REFUSED)
"""Why packets are lost, where EC2 shows it."""
PASSING = (Cause.TRANSIENT, Cause.PLANNED_MOVE, Cause.EXTERNAL)
ZERO = timedelta(0)
AGAIN = timedelta(seconds=20)
"""How long a path on which packets failed is left alone at least, whatever proves it."""
SETTING_UP = timedelta(seconds=3)
"""How long the calls that give a group its first route may take, with botocore's back-off."""


def _rousing(view: View, plan: Plan) -> Stages:
    """The plan's stages, and last the start of standbys that wait stopped."""
    return tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)


def over_budget(view: View) -> Plan:
    """Traffic stays where it is. What gets a NAT of the group's own to run again moves nothing, so that goes on."""
    text = f"group {view.group.name}: {len(view.memory.failovers)} failovers in an hour; holding still, please look"
    plan = from_step(view, replace_hung(view))
    happenings = (*plan.happenings, Warned(text, "failovers in an hour"))
    return replace(
        plan, reason=Reason.BUDGET_EXHAUSTED, detail=text, stages=_rousing(view, plan), happenings=happenings
    )


def to_ask(view: View, verified: Sequence[Path], answered: Collection[str]) -> tuple[str, ...]:
    """Who must say whether it fails too, before traffic moves on packets alone. Whatever makes every NAT of the stack
    drop packets (a security group, Block Public Access) does so at the same moment, and moving between them is only
    noise. Nobody is asked where one of the candidates has carried packets since: at rest, the canary's. A gateway is
    for when all of them fail.
    """
    nats = [each for each in verified if each.instance is not None]
    if any(view.is_verified_since(each, view.failing_since) for each in nats):
        return ()
    names = {view.askable(each) for each in nats}
    return tuple(sorted(each for each in names if each is not None and each not in answered))


def is_apart(view: View, path: Path, answered: Mapping[str, bool]) -> bool:
    """It carried packets after this group's began to fail; or nobody could be asked, and its last word counts."""
    if view.is_verified_since(path, view.failing_since):
        return True
    name = view.askable(path)
    return name is None or answered.get(name) is False


def last_lost(view: View) -> datetime:
    """When its last lost round was sent, as far as anybody has heard."""
    return max((each.sent_at for each in view.memory.recent if not each.is_ok), default=view.now)


def first_path(view: View, verified: Sequence[Path]) -> tuple[Path, str] | None:
    """Where the first route of a new group may lead; None while nothing is proven and a canary can prove it."""
    if verified:
        return verified[0], "the group's first route"
    home = view.home
    path = view.path_to(home) if home is not None and home.is_running and view.policy.canary is None else None
    return (path, "the group's first route, unproven: there is no canary address") if path is not None else None


def set_up(view: View, path: Path, text: str) -> Plan:
    """The first route of a group that never had one. Egress begins with it: the rounds that failed before it belong to
    no incident."""
    plan = move_to(view, path, Reason.ADOPT, text)
    return replace(plan, memory=replace(plan.memory, measured_until=view.now + SETTING_UP))


def mark_dead(view: View, verdict: Verdict) -> Memory:
    """What is remembered of a path that is dead: an incident, and nothing that proves it."""
    memory = view.memory
    cause = verdict.cause or Cause.PROBES_FAILED
    incident = memory.incident or open_incident(view.group.name, cause, view.now, memory)
    is_known_better = incident.cause is Cause.PROBES_FAILED and cause in BY_ADDRESS
    if incident.cause in PASSING or is_known_better:
        incident = replace(incident, cause=cause)
    memory = replace(memory, incident=replace(incident, recovered_at=None), stable_since=None)
    if view.target is None:
        return memory
    is_loss = cause is Cause.PROBES_FAILED and memory.through_at is not None
    if is_loss and not memory.is_excluded(view.target, view.now):
        memory = memory.with_loss(Exclusion(view.target, view.now, view.now))
    return memory.without_proof(view.target)


def back_again(view: View) -> Path | None:
    """A path that was left, and forwards again."""
    return next((path for path in view.paths if forwards_again(view, path)), None)


def guess(view: View) -> Path | None:
    """Where traffic may go though no packet has been there, or was lost there a moment ago: the present path is proven
    dead and nothing is verified."""
    for path in () if _may_still_boot(view) else view.paths:
        is_excluded = view.memory.is_excluded(path.target, view.now)
        is_left_alone = is_excluded or view.is_mute(path) or path.target == view.target or is_no_better(view, path)
        if path.instance and path.instance.is_running and not is_left_alone:
            return path
    return None


def try_last(view: View, path: Path, verdict: Verdict) -> Plan:
    """The last resort, which a person hears of."""
    text = f"{verdict.detail}; nothing verified is left, trying {path.target}"
    plan = move_to(view, path, Reason.LAST_RESORT, text)
    return replace(plan, happenings=(*plan.happenings, Warned(f"group {view.group.name}: {text}")))


def no_candidate(view: View, verdict: Verdict) -> Plan:
    """Nothing can carry the traffic: get something that can."""
    plan = from_step(view, replace_hung(view))
    text = f"group {view.group.name} has no egress and nothing can carry it: {verdict.detail}; {plan.detail}"
    return replace(
        plan, reason=Reason.NO_CANDIDATE, detail=text, stages=_rousing(view, plan), happenings=(Warned(text),)
    )


def forwards_again(view: View, path: Path) -> bool:
    """It is left alone, because this group's packets failed there, but the canary has proven it since. That canary
    leaves from another address, and may pass where the group's packets do not; so it counts where nothing else is left,
    and not at once (simulation, seed 1750028888: dark for 38 s beside a NAT whose zone was back)."""
    found, proof = view.memory.exclusion_of(path.target, view.now), view.memory.proof_of(path.target)
    if found is None or found.since is None or proof is None or path.target == view.target:
        return False
    is_proven = proof.since > found.since and view.is_proven(path.target)
    return is_proven and view.is_fit(path) and view.now - found.since >= AGAIN


def waking_beside(view: View, plan: Plan) -> Plan:
    """The same, and what gets the group's own NAT to run: it may have the address that this plan lacks."""
    view = view.remembering(plan.memory)
    step = held_back(view, heal(view))
    actions = [each for stage in step.stages for each in stage]
    if not any(isinstance(each, (StartInstance, LaunchInstance)) for each in actions):
        return plan
    stages = (*plan.stages, *step.stages)
    return replace(plan, memory=step.memory, stages=stages, records_first=step.records_first)


def _may_still_boot(view: View) -> bool:
    """The traffic was moved to a NAT that was booting, and nothing verified is left: it may forward at any moment.
    Without a canary address nobody can ask the others meanwhile, so they are tried."""
    if view.policy.canary is None:
        return False
    owner = view.network.owner_of(view.target) if view.target is not None else None
    is_booting = owner is not None and owner.is_running and view.now - owner.launched_at < view.boot_time(owner)
    return is_booting and view.memory.moved_at is not None and not view.memory.has_carried


def move_to(view: View, path: Path, reason: Reason, detail: str) -> Plan:
    """Everything that moves traffic because the present path is dead."""
    is_failover = reason in (Reason.FAIL_OVER, Reason.LAST_RESORT)
    memory, warnings = as_fallen(view)
    stages = stages_to(view, path, is_planned=False)
    if view.is_checked(path):
        stages = ((DisableSourceDestCheck(path.target),), *stages)
    if memory.incident is not None:
        is_last = reason is Reason.LAST_RESORT
        incident = replace(memory.incident, to_target=path.target, is_last_resort=is_last)
        memory = replace(memory, incident=incident)
    failovers = (*memory.failovers, view.now) if is_failover else memory.failovers
    memory = replace(memory.moving(path.target, view.now), is_down=False, failovers=failovers)
    plan = Plan(view.group.name, memory, reason, detail, stages, verifies=True)
    return replace(plan, wake_at=view.now, happenings=warnings)


def planned(view: View, path: Path, reason: Reason, detail: str) -> Plan:
    """A move on purpose, while the present path still works."""
    memory = view.memory.moving(path.target, view.now)
    plan = Plan(view.group.name, memory, reason, detail, stages_to(view, path, is_planned=True))
    return replace(plan, verifies=True, records_first=True, pause=view.policy.teaching_pause if path.is_bare else ZERO)


def is_torn(view: View) -> bool:
    """Somebody's route carries a part of the group, while another of its tables leads nowhere, or to a NAT that nothing
    proves. No probe sees that one, and it cannot follow to what is none of natkeeper's (simulation, seed 410058546: it
    was dark until another NAT had been launched)."""
    ours = {path.target: path for path in view.paths}
    ways = set(view.points_at(DEFAULT_ROUTE).values()) - {view.target}
    return any(way is None or (way in ours and not view.is_verified(ours[way])) for way in ways)


def make_way_for(view: View, present: Path) -> Plan:
    """Nothing verified can take over from a NAT that AWS will stop: use the notice to get something that can."""
    plan = from_step(view, make_way(view))
    text = f"AWS will stop {present.target} soon, and nothing verified can take over; {plan.detail}"
    return replace(plan, reason=Reason.NO_CANDIDATE, detail=text, stages=_rousing(view, plan))


def mend_check(view: View) -> Plan | None:
    """The plan that turns the source/dest check of the path in use off again; None where it is off. What was lost
    meanwhile was lost for that, and a person is told so."""
    repair = repair_check(view)
    if not repair:
        return None
    memory = as_found_on(view.memory, view.now)
    plan = plan_for(view.remembering(memory), Reason.HEALING, "source/dest check was on")
    is_told_now = memory.incident is None and memory.checks_mended != view.memory.checks_mended
    happenings = (check_warning(view.group.name, memory),) if is_told_now else ()
    present = view.present
    # The address with it: a verification that fails for want of that would condemn a NAT that works.
    address = move_address(view, present) if present is not None else ()
    stages = (*repair, address) if address else repair
    return replace(plan, stages=stages, verifies=True, happenings=happenings)


def repair_check(view: View) -> Stages:
    """Drift on the path in use: its source/dest check was turned on again."""
    present = view.present
    if (
        present is not None
        and present.instance is not None
        and present.instance.is_running
        and view.is_checked(present)
    ):
        return ((DisableSourceDestCheck(present.target),),)
    return ()
