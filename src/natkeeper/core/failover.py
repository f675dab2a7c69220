"""Where traffic goes when its path is dead, doomed, or to be left on purpose.

Called by `decide`. A verified candidate first, the last resort only when nothing is verified, and the limits on both.
May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.absorb import open_incident
from natkeeper.core.address import borrow
from natkeeper.core.checked import as_found_on
from natkeeper.core.finish import from_step, plan_for
from natkeeper.core.flapping import as_fallen
from natkeeper.core.heal import heal, replace_hung, rouse_standby
from natkeeper.core.incident import Cause, Exclusion, Memory
from natkeeper.core.judge import Verdict
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.move import Stages, move_address, stages_to
from natkeeper.core.overload import guest_to_blame, hold, is_no_better, is_spared, wait
from natkeeper.core.plan import DisableSourceDestCheck, LaunchInstance, Plan, Reason, StartInstance, Warned
from natkeeper.core.replacement import held_back
from natkeeper.core.spare import make_way
from natkeeper.core.telling import check_warning
from natkeeper.core.view import Path, View

BY_ADDRESS = (Cause.ADDRESS_GONE, Cause.ADDRESS_REFUSED)
"""Why packets are lost, where EC2 shows it."""
PASSING = (Cause.TRANSIENT, Cause.PLANNED_MOVE, Cause.EXTERNAL)
ZERO = timedelta(0)
NOBODY: Mapping[str, bool] = {}
BACK = "what failed with this group's path is back since its last round was sent: its next rounds will tell"
ASKING = "probes fail, and no candidate has carried a packet since: asking whether the others' packets get through"
AGAIN = timedelta(seconds=20)
"""How long a path on which packets failed is left alone at least, whatever proves it."""
SETTING_UP = timedelta(seconds=3)
"""How long the calls that give a group its first route may take, with botocore's back-off."""


def fail_over(view: View, verdict: Verdict, answered: Mapping[str, bool] = NOBODY) -> Plan:
    """The present path is dead: mend it with one call, move, or hold and heal. `answered`: the groups that were asked
    whether their packets get through, and whether they could say."""
    is_new = view.memory.incident is None and view.memory.moved_at is None and verdict.cause is Cause.ROUTE_MISSING
    if is_new:
        return _set_up(view, _verified(view))
    view = view.remembering(_mark_dead(view, verdict))
    if verdict.cause is Cause.PROBES_FAILED:
        return _by_packets(view, verdict, answered)
    routed = set(view.points_at(DEFAULT_ROUTE).values())
    settled = next((each for each in _others(view) if routed == {each.target}), None)
    if settled is not None:
        # Moved without a ledger, so the record is old: what carries the traffic is verified, not left for another.
        return _move(view, settled, Reason.FAIL_OVER, f"{verdict.detail}; routes are on {settled.target} already")
    return _leave(view, verdict, _verified(view))


def _others(view: View) -> list[Path]:
    return [each for each in view.paths if each.target != view.target and view.is_usable(each)]


def _verified(view: View) -> list[Path]:
    return [each for each in _others(view) if view.is_verified(each)]


def _by_packets(view: View, verdict: Verdict, answered: Mapping[str, bool]) -> Plan:
    """EC2 shows nothing wrong with the present path: what makes its packets fail may make them fail anywhere."""
    if (mending := mend_check(view)) is not None:
        # One call mends the path in use; if it does not, the failed verification sends the next turn elsewhere.
        return mending
    if (guest := guest_to_blame(view)) is not None:
        return wait(view, verdict, guest)
    verified = _verified(view)
    if asks := _to_ask(view, verified, answered):
        return replace(plan_for(view, Reason.ASK_NEIGHBOURS, ASKING), asks=asks, wake_at=view.now)
    verified = [each for each in verified if _is_apart(view, each, answered)]
    if verified and all(view.is_back_since(each, _last_lost(view)) for each in verified):
        return plan_for(view, Reason.COMMON_MODE, BACK)
    spared = [each for each in verified if is_spared(view, each)]
    if spared and len(spared) == len(verified):
        return hold(view, spared[0], verdict)
    return _leave(view, verdict, [each for each in verified if each not in spared])


def _leave(view: View, verdict: Verdict, verified: Sequence[Path]) -> Plan:
    """To the best of what is verified, within the hour's budget; else as far as one may without."""
    is_spent = len(view.memory.failovers) >= view.policy.max_failovers_per_hour
    if is_spent:
        verified = [each for each in verified if not _has_failed_here(view, each)]
    if verified:
        return _move(view, verified[0], Reason.FAIL_OVER, verdict.detail)
    return _over_budget(view) if is_spent else _no_verified_candidate(view, verdict)


def _has_failed_here(view: View, path: Path) -> bool:
    """Within the hour this group's packets never got through there, and nothing has begun to since: to go there once
    more is a shuffle. What is proven otherwise is gone to, however many failovers there were."""
    failed = view.memory.loss_on(path.target)
    return failed is not None and not failed.had_carried and not view.is_mended(path, failed)


def _over_budget(view: View) -> Plan:
    """Traffic stays where it is. What gets a NAT of the group's own to run again moves nothing, so that goes on."""
    text = f"group {view.group.name}: {len(view.memory.failovers)} failovers in an hour; holding still, please look"
    plan = from_step(view, replace_hung(view))
    stages = tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)
    happenings = (*plan.happenings, Warned(text, "failovers in an hour"))
    return replace(plan, reason=Reason.BUDGET_EXHAUSTED, detail=text, stages=stages, happenings=happenings)


def _to_ask(view: View, verified: Sequence[Path], answered: Mapping[str, bool]) -> tuple[str, ...]:
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


def _is_apart(view: View, path: Path, answered: Mapping[str, bool]) -> bool:
    """It carried packets after this group's began to fail; or nobody could be asked, and its last word counts."""
    if view.is_verified_since(path, view.failing_since):
        return True
    name = view.askable(path)
    return name is None or answered.get(name) is False


def _last_lost(view: View) -> datetime:
    """When its last lost round was sent, as far as anybody has heard."""
    return max((each.sent_at for each in view.memory.recent if not each.is_ok), default=view.now)


def _set_up(view: View, verified: Sequence[Path]) -> Plan:
    """A group that never had a default route: launch, prove, and only then let the first packet in."""
    running = [each for each in view.paths if each.instance is view.home and view.home and view.home.is_running]
    if verified:
        plan = _move(view, verified[0], Reason.ADOPT, "the group's first route")
    elif running and view.policy.canary is None:
        plan = _move(view, running[0], Reason.ADOPT, "the group's first route, unproven: there is no canary address")
    else:
        return from_step(view, heal(view))
    # Egress begins with that route: the rounds that failed before it belong to no incident.
    return replace(plan, memory=replace(plan.memory, measured_until=view.now + SETTING_UP))


def _mark_dead(view: View, verdict: Verdict) -> Memory:
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


def _no_verified_candidate(view: View, verdict: Verdict) -> Plan:
    """Proven dead and nothing verified: the one case in which traffic may go where no packet has been, or where they
    failed a moment ago."""
    again = next((each for each in view.paths if _forwards_again(view, each)), None)
    if again is not None:
        return _move(view, again, Reason.FAIL_OVER, f"{verdict.detail}; {again.target} forwards again")
    for path in () if _may_still_boot(view) else view.paths:
        is_excluded = view.memory.is_excluded(path.target, view.now)
        is_left_alone = is_excluded or view.is_mute(path) or path.target == view.target or is_no_better(view, path)
        if path.instance and path.instance.is_running and not is_left_alone:
            text = f"{verdict.detail}; nothing verified is left, trying {path.target}"
            plan = _move(view, path, Reason.LAST_RESORT, text)
            return replace(plan, happenings=(*plan.happenings, Warned(f"group {view.group.name}: {text}")))
    if view.is_address_stuck and (borrowing := borrow(view, verdict)) is not None:
        return _waking_beside(view, borrowing)
    plan = from_step(view, replace_hung(view))
    text = f"group {view.group.name} has no egress and nothing can carry it: {verdict.detail}; {plan.detail}"
    stages = tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)
    return replace(plan, reason=Reason.NO_CANDIDATE, detail=text, stages=stages, happenings=(Warned(text),))


def _forwards_again(view: View, path: Path) -> bool:
    """It is left alone, because this group's packets failed there, but the canary has proven it since. That canary
    leaves from another address, and may pass where the group's packets do not; so it counts where nothing else is left,
    and not at once (simulation, seed 1750028888: dark for 38 s beside a NAT whose zone was back)."""
    found, proof = view.memory.exclusion_of(path.target, view.now), view.memory.proof_of(path.target)
    if found is None or found.since is None or proof is None or path.target == view.target:
        return False
    is_proven = proof.since > found.since and view.is_proven(path.target)
    return is_proven and view.is_fit(path) and view.now - found.since >= AGAIN


def _waking_beside(view: View, plan: Plan) -> Plan:
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


def _move(view: View, path: Path, reason: Reason, detail: str) -> Plan:
    """Everything that moves traffic because the present path is dead."""
    is_failover = reason in (Reason.FAIL_OVER, Reason.LAST_RESORT)
    memory, warnings = as_fallen(view) if is_failover else (view.memory, ())
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


def leave(view: View, present: Path) -> Plan | None:
    """A planned move away from a NAT that AWS will stop; None when nothing verified can take over."""
    path = view.next_choice
    return planned(view, path, Reason.LEAVE_DOOMED, f"AWS will stop {present.target} soon") if path else None


def gather(view: View) -> Plan | None:
    """A planned move of a group that somebody's route carries while another of its tables leads nowhere, or to a NAT
    that nothing proves. No probe sees that one, and it cannot follow to what is none of natkeeper's (simulation, seed
    410058546: it was dark until another NAT had been launched). None when nothing verified can take both.
    """
    ours = {each.target: each for each in view.paths}
    ways = set(view.points_at(DEFAULT_ROUTE).values()) - {view.target}
    dark = [each for each in ways if each is None or (each in ours and not view.is_verified(ours[each]))]
    path = view.next_choice
    if not dark or path is None:
        return None
    return planned(view, path, Reason.CONVERGE, f"{view.target} carries a part of the group only")


def make_way_for(view: View, present: Path) -> Plan:
    """Nothing verified can take over from a NAT that AWS will stop: use the notice to get something that can."""
    plan = from_step(view, make_way(view))
    text = f"AWS will stop {present.target} soon, and nothing verified can take over; {plan.detail}"
    stages = tuple(stage for stage in (*plan.stages, rouse_standby(view)) if stage)
    return replace(plan, reason=Reason.NO_CANDIDATE, detail=text, stages=stages)


def present_path(view: View) -> Path | None:
    """The path the traffic belongs on; None when its target is none of ours."""
    return next((each for each in view.paths if each.target == view.target), None)


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
    present = present_path(view)
    # The address with it: a verification that fails for want of that would condemn a NAT that works.
    address = move_address(view, present) if present is not None else ()
    stages = (*repair, address) if address else repair
    return replace(plan, stages=stages, verifies=True, happenings=happenings)


def repair_check(view: View) -> Stages:
    """Drift on the path in use: its source/dest check was turned on again."""
    present = present_path(view)
    if (
        present is not None
        and present.instance is not None
        and present.instance.is_running
        and view.is_checked(present)
    ):
        return ((DisableSourceDestCheck(present.target),),)
    return ()
