"""How a plan's actions are carried out: stage after stage, each action under the lease and within the pass's time.

Called by `reconcile`, of which it is a part, as `opening` is: beside them, the only place that catches `Trouble`. May
not import boto3, adapters or handlers.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from natkeeper.asking import LAST_CALL, LAST_TRY, ask, has_time
from natkeeper.core.arrival import as_address_answered
from natkeeper.core.backoff import complaint, launch_complaint, on_done, on_refused
from natkeeper.core.incident import Memory
from natkeeper.core.launches import accepted, refused, spent, turned_away, unsupported
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.plan import (
    Action,
    LaunchInstance,
    MoveAddress,
    Plan,
    PointRoute,
    StartInstance,
    StartWatch,
    Warned,
)
from natkeeper.core.policy import Policy
from natkeeper.core.telling import remember
from natkeeper.core.way import as_answered
from natkeeper.errors import NoCapacity, Refused, Stale, Trouble
from natkeeper.opening import GroupPass
from natkeeper.ports import Outcome, Ports

LAST_LAUNCH = timedelta(seconds=14)
"""No try of RunInstances or StartInstances leaves with less of the pass left: it takes up to 9 s (`aws.LAUNCHING`),
botocore waits up to 2 s before it asks for the next one, which is refused, and the ledger's last write takes up to 3 s.
The next pass then sends it, as the first under its token."""
LEAST_PAUSE = 4
"""Of a plan's pause this part is kept however slow the calls are: the one after it may be a quick one."""
THROTTLED_FOR = timedelta(seconds=1)
"""Between two tries of a call that was throttled."""


def run_stages(group: GroupPass, plan: Plan, outcomes: list[Outcome], ports: Ports) -> None:
    """The plan's stages in order, the actions of each side by side; adds what came of them to `outcomes`."""
    took = timedelta(0)
    for number, stage in enumerate(plan.stages):
        if number and plan.pause:
            # The next call takes about as long as these did, and that time teaches too.
            ports.clock.sleep(max(plan.pause - took, plan.pause / LEAST_PAUSE))
        began = ports.clock.now()
        outcomes += cast(list[Outcome], ports.together([partial(_do, group, action, plan, ports) for action in stage]))
        took = ports.clock.now() - began


def _do(group: GroupPass, action: Action, plan: Plan, ports: Ports) -> Outcome:
    """One action. A move that is throttled insists for as long as the pass may last: its look is paid for, and coming
    back for another would cost three more calls of an account that has none to spare."""
    started = ports.clock.now()
    outcome = _try(group, action, ports)
    while plan.verifies and outcome.trouble is not None and outcome.trouble.is_throttle:
        if ports.clock.remaining() < LAST_TRY:
            break
        ports.clock.sleep(THROTTLED_FOR)
        outcome = replace(_try(group, action, ports), took=ports.clock.now() - started)
    return outcome


def _try(group: GroupPass, action: Action, ports: Ports) -> Outcome:
    started = ports.clock.now()
    if not _may_write(group, ports):
        trouble = Stale("Lease", "Expired", "the lease is over; the next pass goes on")
        return Outcome(action, trouble, timedelta(0))
    made = None
    try:
        if isinstance(action, StartWatch):
            ports.prober.start(action)
        else:
            least = LAST_LAUNCH if isinstance(action, (LaunchInstance, StartInstance)) else LAST_CALL
            made = ports.vpc.do(action, lambda: _may_write(group, ports) and has_time(ports, least))
    except Trouble as trouble:
        return Outcome(action, trouble, ports.clock.now() - started)
    return Outcome(action, None, ports.clock.now() - started, made)


def _may_write(group: GroupPass, ports: Ports) -> bool:
    """The lease is ours and not over, or there is no ledger to have one from."""
    return not group.is_lost and (group.lease is None or ports.clock.now() < group.lease.until)


def judge_outcome(group: GroupPass, outcome: Outcome, ports: Ports, policy: Policy) -> None:
    """What an action's answer changes in what the group remembers."""
    ports.telemetry.acted(group.name, outcome)
    action, memory = outcome.action, group.memory
    if outcome.trouble is not None and not isinstance(action, StartWatch):
        if outcome.trouble.is_throttle:
            # Not done yet, so packets cannot say anything against where it was to lead: no verification would be fair.
            group.is_throttled = True
            memory = replace(memory, throttled_at=ports.clock.now())
        # Whatever it failed of: throttled, and then too late to be sent again, left a table on the dead path for a
        # minute, for whoever yields is not looked at (scale, 500 stacks).
        is_move = group.plan is not None and group.plan.verifies
        group.memory = memory = replace(memory, is_unfinished=memory.is_unfinished or is_move)
    if isinstance(action, MoveAddress) and action.interface_id == memory.target:
        group.is_mute = outcome.is_address_refused
        is_refused = outcome.trouble is not None and (outcome.trouble.is_refusal or outcome.trouble.is_throttle)
        group.memory = memory = as_address_answered(memory, ports.clock.now(), is_refused=is_refused)
    if isinstance(action, PointRoute) and action.destination != DEFAULT_ROUTE:
        group.memory = memory = _with_canary(memory, outcome, ports.clock.now())
    elif group.plan is not None:
        is_done = outcome.trouble is None
        group.memory = memory = as_answered(memory, group.plan, action, ports.clock.now(), policy, is_done=is_done)
    if outcome.trouble is not None and isinstance(action, StartWatch):
        group.memory = replace(memory, watch=None)
    _back_off(group, outcome, ports)
    if isinstance(action, LaunchInstance):
        _judge_launch(group, action, outcome, ports)


def _back_off(group: GroupPass, outcome: Outcome, ports: Ports) -> None:
    """What EC2 refuses is asked for less and less often, and said once. What failed otherwise is not refused."""
    action, trouble = outcome.action, outcome.trouble
    if trouble is None:
        group.memory = on_done(group.memory, action)
    elif isinstance(trouble, (Refused, NoCapacity)) or outcome.is_address_refused:
        refusal = f"{trouble.operation}: {trouble.code}"
        group.memory = on_refused(group.memory, action, ports.clock.now(), refusal)
        text = complaint(group.name, group.memory, action, trouble.code)
        if text is not None:
            _warn(group, Warned(text, f"refused {refusal}"), ports)


def _warn(group: GroupPass, warning: Warned, ports: Ports) -> None:
    """What a person should know of an answer, unless they do."""
    memory = remember(group.memory, str(warning.key), ports.clock.now())
    if memory is not None:
        group.memory = memory
        group.tell(warning, ports)


def _judge_launch(group: GroupPass, action: LaunchInstance, outcome: Outcome, ports: Ports) -> None:
    trouble = outcome.trouble
    memory, role, now = group.memory, action.role, ports.clock.now()
    if trouble is None:
        group.memory = accepted(memory, role, outcome.made)
        ports.own.add(group.memory.instances or ())
    elif trouble.is_unsupported:
        group.memory = unsupported(memory, role, action.instance_type, now)
    elif trouble.is_spent:
        group.memory = spent(memory, role, now)
    elif trouble.is_refusal:
        is_short = isinstance(trouble, NoCapacity)
        group.memory = refused(memory, role, now, is_short=is_short, is_quota=trouble.is_quota, code=trouble.code)
        if isinstance(trouble, Refused):
            # Capacity may come back by itself, and is told of after a while; what is not allowed waits for a person.
            refusal = f"RunInstances: {trouble.code}"
            text = launch_complaint(group.name, refusal, trouble.code)
            _warn(group, Warned(text, f"refused {refusal}"), ports)
    elif trouble.is_throttle or trouble.is_unsent:
        group.memory = turned_away(memory, role)
    if isinstance(trouble, NoCapacity) and action.has_alternative and group.plan is not None:
        group.plan = replace(group.plan, wake_at=now)


def _with_canary(memory: Memory, outcome: Outcome, now: datetime) -> Memory:
    """The canary stands where it was pointed since that was answered: until then its packets went the old way, and must
    not be credited to the new one (simulation, seed 1002118). Without an answer nobody knows since when: a look will
    tell that it is there, and its packets count from then."""
    if memory.canary is None:
        return memory
    is_there = outcome.trouble is None
    return replace(memory, canary=replace(memory.canary, pointed_at=now) if is_there else None)


def verify(group: GroupPass, ports: Ports) -> None:
    """Asks the prober whether packets get through; its report is the group's news for the next turn."""
    report = ask(group.name, ports)
    if report is not None:
        group.news = (*group.news, report)
