"""RULES: the whole of natkeeper's judgement about one group, in the order in which it is asked.

The first rule that finds something decides, and the last one always does. `decide` reads the table; the page
docs/decision-table.md is made from it. What a rule finds is worked out in `case` and the modules it asks; what it plans
is beside it, or in the module of its subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from natkeeper.core.address import borrow
from natkeeper.core.case import Case
from natkeeper.core.failover import (
    PASSING,
    back_again,
    first_path,
    guess,
    is_torn,
    last_lost,
    make_way_for,
    mend_check,
    move_to,
    no_candidate,
    over_budget,
    planned,
    repair_check,
    set_up,
    to_ask,
    try_last,
    waking_beside,
)
from natkeeper.core.finish import RELOOK, from_step, plan_for
from natkeeper.core.heal import heal
from natkeeper.core.incident import Cause, Memory
from natkeeper.core.judge import Health
from natkeeper.core.model import DEFAULT_ROUTE, Instance
from natkeeper.core.move import Stages, stages_to
from natkeeper.core.news import InstanceChanged
from natkeeper.core.overload import hold, wait
from natkeeper.core.plan import Plan, Reason, Warned
from natkeeper.core.replacement import held_back
from natkeeper.core.view import Path
from natkeeper.core.way import MENDING, followed

BY_PACKETS = (*PASSING, Cause.PROBES_FAILED)
"""Causes that only say that probes failed: the control probe may find a better one. What EC2 showed stays true."""
ASKING = "probes fail, and no candidate has carried a packet since: asking whether the others' packets get through"
BACK = "what failed with this group's path is back since its last round was sent: its next rounds will tell"
ANY = frozenset(Health)
DEAD = frozenset({Health.DEAD})
WORKS = frozenset({Health.ALIVE})
UNSEEN = frozenset({Health.UNOBSERVED})
HELD = frozenset({Health.NEEDS_CONTROL, Health.EXTERNAL, Health.COMMON_MODE})


@dataclass(frozen=True)
class Rule:
    """One question. `on`: the verdicts on the group's path under which it is asked. `finds` returns what the plan needs
    (None: the rule does not apply), `plans` makes the plan of it. `when` and `then` say the same to people."""

    name: str
    reason: Reason
    on: frozenset[Health]
    when: str
    then: str
    finds: Callable[[Case], Any]
    plans: Callable[[Case, Any], Plan]
    beside: str = ""
    """What the plan does beside its own subject."""
    is_apart_from_next: bool = False
    """Never applies together with the rule after it, so that their order says nothing."""
    edges: tuple[tuple[str, str], ...] = ()
    """From which state of the group's traffic to which it leads: home, suspected, away, proving, quiet."""


def act(case: Case) -> Plan:
    """The plan of the first rule that finds something."""
    found = ((rule, what) for rule in RULES if case.health in rule.on and (what := rule.finds(case)) is not None)
    rule, what = next(found)
    return rule.plans(case, what)


def _if(holds: bool) -> bool | None:
    return True if holds else None


# -- before anything else


def _plan_pause(case: Case, _found: bool) -> Plan:
    return plan_for(case.seen, Reason.PAUSED, f"paused until {case.seen.memory.paused_until:%H:%M:%S}")


def _find_unfinished(case: Case) -> Stages | None:
    """Probes speak of the path that routes and address really take. While those are not on the recorded one (a call of
    a move failed, somebody deleted a route), failed probes say nothing against it: put them there, then judge.

    Not for ever: once a verification failed too (it is excluded) and the move is no longer fresh, only a group with no
    route at all on the path is mended again; a single table that refuses every call must not hold the others there.
    """
    view = case.seen
    present = view.present
    if present is None or (present.instance is not None and not present.instance.is_running):
        return None
    is_fresh = view.memory.moved_at is not None and view.now - view.memory.moved_at < MENDING
    is_known = view.is_usable(present) and view.is_verified(present)
    is_lost = any(not each.is_ok for each in view.memory.recent[-1:])
    if case.health is Health.UNOBSERVED and not (is_known or (is_fresh and is_lost)):
        return None
    stages = stages_to(view, present, is_planned=False)
    is_elsewhere = present.target not in view.points_at(DEFAULT_ROUTE).values()
    is_blamed = view.memory.is_excluded(present.target, view.now)
    return stages if stages and (is_elsewhere or is_fresh or not is_blamed) else None


def _plan_unfinished(case: Case, stages: Stages) -> Plan:
    view = case.seen.remembering(replace(case.seen.memory, is_down=False))
    text = f"routes or address were not all on {view.target}, so probes say nothing about it"
    return replace(plan_for(view, Reason.CONVERGE, text), stages=(*repair_check(view), *stages), verifies=True)


# -- whose fault it is


def _plan_control(case: Case, _found: bool) -> Plan:
    plan = plan_for(case.view, Reason.NEEDS_CONTROL_PROBE, case.verdict.detail)
    return replace(plan, wants_control_probe=True, wake_at=case.view.now)


def _plan_external(case: Case, _found: bool) -> Plan:
    view, control = case.view, case.observation.control
    memory, incident = view.memory, view.memory.incident
    if control is not None and not control.is_ok:
        memory = replace(memory, external_at=view.now, targets_back_at=None)
    elif memory.targets_back_at is None:
        memory = replace(memory, targets_back_at=view.now)
    if incident is not None and incident.cause in BY_PACKETS:
        memory = replace(memory, incident=replace(incident, cause=Cause.EXTERNAL))
    return plan_for(view.remembering(memory), Reason.EXTERNAL, case.verdict.detail)


# -- what an operator or an event says


def _obeying(case: Case) -> Case:
    assert case.command is not None
    return replace(case, seen=case.seen.remembering(case.seen.memory.obeying(case.command.request_id)))


def _plan_operators_move(case: Case, path: Path) -> Plan:
    assert case.command is not None
    text = f"{case.command.verb.value} to {path.target}"
    return planned(_obeying(case).view, path, Reason.OPERATOR_MOVE, text)


def _plan_refusal(case: Case, _found: bool) -> Plan:
    view, command = _obeying(case).view, case.command
    assert command is not None
    text = f"group {view.group.name}: {command.verb.value} refused, nothing that fits is verified; traffic stays"
    warning = Warned(text, f"refused {command.request_id}")
    return replace(plan_for(view, Reason.OPERATOR_REFUSED, text), happenings=(warning,))


def _plan_look(case: Case, found: tuple[InstanceChanged, Instance]) -> Plan:
    event, owner = found
    text = f"an event says {event.instance_id} is {event.state}, EC2 shows {owner.state.value}"
    return replace(plan_for(case.view, Reason.LOOK_AGAIN, text), wake_at=case.view.now + RELOOK)


def _plan_following(case: Case, memory: Memory) -> Plan:
    view = case.view
    text = f"packets get through by {memory.target}, which is not natkeeper's route; {view.target} is not proven"
    return plan_for(view.remembering(memory), Reason.UNOBSERVED, text)


# -- the path is dead


def _find_askable(case: Case) -> tuple[str, ...] | None:
    return to_ask(case.view, case.verified, case.observation.answers) or None if case.is_by_packets else None


def _plan_asking(case: Case, names: tuple[str, ...]) -> Plan:
    return replace(plan_for(case.view, Reason.ASK_NEIGHBOURS, ASKING), asks=names, wake_at=case.view.now)


def _are_all_back(case: Case) -> bool:
    lost_at = last_lost(case.view)
    is_back = bool(case.apart) and all(case.view.is_back_since(path, lost_at) for path in case.apart)
    return case.is_by_packets and is_back


def _find_settled(case: Case) -> Path | None:
    """Traffic was moved there without a ledger, so the record is old."""
    if case.is_by_packets:
        return None
    routed = set(case.view.points_at(DEFAULT_ROUTE).values())
    return next((path for path in case.usable if routed == {path.target}), None)


def _plan_settled(case: Case, path: Path) -> Plan:
    """What carries the traffic is verified, not left for another."""
    text = f"{case.verdict.detail}; routes are on {path.target} already"
    return move_to(case.view, path, Reason.FAIL_OVER, text)


def _plan_back_again(case: Case, path: Path) -> Plan:
    return move_to(case.view, path, Reason.FAIL_OVER, f"{case.verdict.detail}; {path.target} forwards again")


def _find_loan(case: Case) -> Plan | None:
    return borrow(case.view, case.verdict) if case.view.is_address_stuck else None


# -- egress works


def _plan_evacuation(case: Case, path: Path) -> Plan:
    return planned(case.view, path, Reason.LEAVE_DOOMED, f"AWS will stop {case.view.target} soon")


def _find_stray(case: Case) -> Stages | None:
    present = case.view.present
    return stages_to(case.view, present, is_planned=False) or None if present is not None else None


def _plan_convergence(case: Case, stages: Stages) -> Plan:
    """A table that refuses every call is mended again in every pass; the own NAT must not wait for it."""
    view = case.view
    plan = plan_for(view, Reason.CONVERGE, f"routes or address were not all on {view.target}")
    plan = replace(plan, stages=stages, verifies=True)
    step = held_back(view, heal(view))
    if step.reason is not Reason.HEALING:
        return plan
    return replace(plan, memory=step.memory, stages=(*stages, *step.stages), records_first=step.records_first)


def _plan_gathering(case: Case, path: Path) -> Plan:
    return planned(case.view, path, Reason.CONVERGE, f"{case.view.target} carries a part of the group only")


def _step(reason: Reason | None) -> Callable[[Case], bool | None]:
    return lambda case: _if(case.step.reason is reason)


def _plan_step(case: Case, _found: bool) -> Plan:
    return from_step(case.view, case.step)


RULES = (
    Rule(
        "paused",
        Reason.PAUSED,
        ANY,
        "an operator has paused the group, and the pause is not over",
        "nothing is written; packets are watched on",
        lambda case: _if(case.seen.memory.is_paused(case.seen.now)),
        _plan_pause,
    ),
    Rule(
        "unfinished move",
        Reason.CONVERGE,
        ANY - WORKS - {Health.EXTERNAL},
        "routes or address are not on the recorded path, which runs: packets say nothing about it yet",
        "they are put there, and packets are asked",
        _find_unfinished,
        _plan_unfinished,
        beside="its source/dest check is turned off where it is on",
        is_apart_from_next=True,
    ),
    Rule(
        "first route",
        Reason.ADOPT,
        DEAD,
        "the group never had a default route, and a path is proven (or no canary address is configured)",
        "the group's first route leads there",
        lambda case: first_path(case.view, case.verified) if case.is_new else None,
        lambda case, found: set_up(case.view, *found),
        edges=(("proving", "home"),),
    ),
    Rule(
        "first NAT",
        Reason.HEALING,
        DEAD,
        "the group never had a default route, and nothing is proven",
        "its NAT is launched, prepared and proven",
        lambda case: _if(case.is_new),
        lambda case, _: from_step(case.view, heal(case.view)),
    ),
    Rule(
        "control probe",
        Reason.NEEDS_CONTROL_PROBE,
        frozenset({Health.NEEDS_CONTROL}),
        "probes fail, and nobody has tried the targets from outside the VPC",
        "the control probe is sent, and the turn is repeated with its answer",
        lambda _: True,
        _plan_control,
        edges=(("home", "suspected"), ("away", "suspected")),
    ),
    Rule(
        "targets down",
        Reason.EXTERNAL,
        frozenset({Health.EXTERNAL}),
        "the targets fail from outside the VPC too, or failed a moment ago",
        "nothing moves; an open incident is called external",
        lambda _: True,
        _plan_external,
        edges=(("suspected", "home"),),
    ),
    Rule(
        "common mode",
        Reason.COMMON_MODE,
        frozenset({Health.COMMON_MODE}),
        "every group fails at once while its NAT runs, and nothing apart from them carries packets",
        "nothing moves",
        lambda _: True,
        lambda case, _: plan_for(case.view, Reason.COMMON_MODE, case.verdict.detail),
    ),
    Rule(
        "operator's move",
        Reason.OPERATOR_MOVE,
        WORKS | UNSEEN,
        "an operator asks for a move, and something that fits is verified",
        "a planned move there",
        lambda case: case.chosen,
        _plan_operators_move,
        edges=(("home", "away"), ("away", "home")),
    ),
    Rule(
        "operator refused",
        Reason.OPERATOR_REFUSED,
        WORKS | UNSEEN,
        "an operator asks for a move, and nothing that fits is verified",
        "traffic stays, and the operator is told",
        lambda case: case.command,
        _plan_refusal,
    ),
    Rule(
        "source/dest check",
        Reason.HEALING,
        DEAD | WORKS | UNSEEN,
        "the source/dest check of the path in use is on (and EC2 shows nothing else wrong with it)",
        "it is turned off, and packets are asked",
        lambda case: mend_check(case.view) if case.health is not Health.DEAD or case.is_by_packets else None,
        lambda _, plan: plan,
        beside="the group's address with it, where that is elsewhere",
    ),
    Rule(
        "event ahead of EC2",
        Reason.LOOK_AGAIN,
        WORKS | UNSEEN,
        "an event says that the NAT in use stopped, and EC2's API does not show it yet",
        "one more look, half a second later",
        lambda case: case.contradicted,
        _plan_look,
    ),
    Rule(
        "somebody's route works",
        Reason.UNOBSERVED,
        UNSEEN,
        "packets get through by a route that is not natkeeper's, and the recorded path is not proven",
        "the group follows that route",
        lambda case: followed(case.view),
        _plan_following,
    ),
    Rule(
        "unobserved",
        Reason.UNOBSERVED,
        UNSEEN,
        "no packet has said lately whether the path works",
        "nothing; a watch run is started",
        lambda _: True,
        lambda case, _: plan_for(case.view, Reason.UNOBSERVED, case.verdict.detail),
    ),
    Rule(
        "guest to blame",
        Reason.OVERLOADED,
        DEAD,
        "probes fail, and another group's traffic has just come to this NAT, or just left it",
        "nothing until rounds have been sent without that traffic",
        lambda case: case.guest_to_blame if case.is_by_packets else None,
        lambda case, guest: wait(case.view, case.verdict, guest),
    ),
    Rule(
        "ask the others",
        Reason.ASK_NEIGHBOURS,
        DEAD,
        "probes fail, and no candidate has carried a packet since they began to",
        "the groups on the candidates are asked whether their packets get through",
        _find_askable,
        _plan_asking,
        is_apart_from_next=True,
    ),
    Rule(
        "all are back",
        Reason.COMMON_MODE,
        DEAD,
        "probes failed, and every candidate has come back since the last lost round",
        "nothing moves: the next rounds will tell",
        lambda case: _if(_are_all_back(case)),
        lambda case, _: plan_for(case.view, Reason.COMMON_MODE, BACK),
    ),
    Rule(
        "too small for both",
        Reason.OVERLOADED,
        DEAD,
        "every candidate lost this group's packets within the hour and carries its own group's since",
        "traffic stays where some of it gets through, and a person is told",
        lambda case: _if(bool(case.spared) and len(case.spared) == len(case.apart)),
        lambda case, _: hold(case.view, case.spared[0], case.verdict),
        is_apart_from_next=True,
    ),
    Rule(
        "moved already",
        Reason.FAIL_OVER,
        DEAD,
        "EC2 shows the recorded path dead, and all routes lead to another that is usable",
        "that one becomes the group's path, and packets are asked",
        _find_settled,
        _plan_settled,
        edges=(("home", "away"),),
    ),
    Rule(
        "fail over",
        Reason.FAIL_OVER,
        DEAD,
        "the path is dead and another is verified (over the hour's failovers: one on which this group's packets never "
        "failed)",
        "address and routes move there, and packets are asked",
        lambda case: case.choice,
        lambda case, path: move_to(case.view, path, Reason.FAIL_OVER, case.verdict.detail),
        edges=(("suspected", "away"), ("home", "away")),
    ),
    Rule(
        "failovers spent",
        Reason.BUDGET_EXHAUSTED,
        DEAD,
        "the path is dead, nothing else is left, and the hour's failovers are used up",
        "traffic stays, and a person is told",
        lambda case: _if(case.is_spent),
        lambda case, _: over_budget(case.view),
        beside="the group's own NAT is started or replaced, and stopped standbys are started",
    ),
    Rule(
        "forwards again",
        Reason.FAIL_OVER,
        DEAD,
        "nothing is verified, and the canary has proven a path that was left 20 s ago or more",
        "address and routes move there, and packets are asked",
        lambda case: back_again(case.view),
        _plan_back_again,
        edges=(("suspected", "away"),),
    ),
    Rule(
        "last resort",
        Reason.LAST_RESORT,
        DEAD,
        "nothing is verified, and another NAT runs that packets were not just lost on",
        "address and routes move there unproven, packets are asked, and a person is told",
        lambda case: guess(case.view),
        lambda case, path: try_last(case.view, path, case.verdict),
        edges=(("suspected", "away"),),
    ),
    Rule(
        "another address",
        Reason.BORROW_ADDRESS,
        DEAD,
        "the group's Elastic IP is gone or EC2 refuses to move it, and another address can be had",
        "that address stands in for it, and a person is told what to do",
        _find_loan,
        lambda case, plan: waking_beside(case.view, plan),
        beside="the group's own NAT is started or launched",
    ),
    Rule(
        "no candidate",
        Reason.NO_CANDIDATE,
        DEAD,
        "nothing can carry the traffic",
        "the group's own NAT is started or replaced, and a person is told",
        lambda _: True,
        lambda case, _: no_candidate(case.view, case.verdict),
        beside="stopped standbys are started",
    ),
    Rule(
        "leave before AWS does",
        Reason.LEAVE_DOOMED,
        WORKS,
        "AWS will stop the NAT in use, and another path is verified",
        "a planned move there",
        lambda case: case.view.next_choice if case.doomed is not None else None,
        _plan_evacuation,
        edges=(("home", "away"),),
    ),
    Rule(
        "converge",
        Reason.CONVERGE,
        WORKS,
        "egress works, and routes or address are not all on the group's path",
        "they are put there, and packets are asked",
        _find_stray,
        _plan_convergence,
        beside="the next step of healing",
    ),
    Rule(
        "make way",
        Reason.NO_CANDIDATE,
        WORKS,
        "AWS will stop the NAT in use, and nothing else is verified",
        "another NAT is launched or proven before that",
        lambda case: case.doomed,
        lambda case, path: make_way_for(case.view, path),
        beside="stopped standbys are started",
        is_apart_from_next=True,
    ),
    Rule(
        "torn group",
        Reason.CONVERGE,
        WORKS,
        "a route that is not natkeeper's carries a part of the group, the rest leads nowhere, and a path is verified",
        "a planned move of all of it there",
        lambda case: case.view.next_choice if case.view.present is None and is_torn(case.view) else None,
        _plan_gathering,
    ),
    Rule(
        "go home",
        Reason.GO_HOME,
        WORKS,
        "the group is away, its own NAT is proven, and both paths have been quiet",
        "a planned move home",
        _step(Reason.GO_HOME),
        _plan_step,
        edges=(("quiet", "home"),),
        is_apart_from_next=True,
    ),
    Rule(
        "launches spent",
        Reason.BUDGET_EXHAUSTED,
        WORKS,
        "a NAT or standby is wanted, and the day's launches are used up",
        "nothing is launched, and a person is told",
        _step(Reason.BUDGET_EXHAUSTED),
        _plan_step,
        is_apart_from_next=True,
    ),
    Rule(
        "heal",
        Reason.HEALING,
        WORKS,
        "the group is away, or a standby is wanted",
        "the one next step: start or launch it, turn its check off, prove it, wait for quiet, take its address away",
        _step(Reason.HEALING),
        _plan_step,
        edges=(("away", "proving"), ("proving", "quiet"), ("proving", "away")),
        is_apart_from_next=True,
    ),
    Rule(
        "tidy",
        Reason.TIDYING,
        WORKS,
        "the group is home, and its standby, its canary or a NAT that was replaced is not as wanted",
        "the one next step towards that",
        _step(Reason.TIDYING),
        _plan_step,
    ),
    Rule(
        "at rest",
        Reason.AT_REST,
        ANY,
        "nothing is left to do",
        "nothing; a watch run is started where none is under way",
        lambda _: True,
        _plan_step,
        edges=(("home", "home"),),
    ),
)
