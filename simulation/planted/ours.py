"""Mistakes that natkeeper itself could make, one for each thing that it promises. Rows of the planted bugs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from natkeeper import opening, reconcile
from natkeeper.adapters.ec2 import Ec2
from natkeeper.core import absorb, decide, failover, finish, heal, incident, judge
from natkeeper.core.downtime import Downtime
from natkeeper.core.incident import Memory
from natkeeper.core.move import point_routes
from natkeeper.core.plan import DisableSourceDestCheck, MoveAddress, Reason, TerminateInstance
from natkeeper.core.view import View
from natkeeper.errors import Trouble
from simulation.planted.peers import DEAD_BY_PACKETS, NO_LAUNCH
from simulation.planted.table import Patch, mutant

ZERO = timedelta(0)
NAT_LOST = ("nat-stops", "nat-terminated")


# -- failover


@mutant(
    "common-mode-is-a-failover",
    "when every zone fails at once while its NAT runs, traffic is moved all the same",
    breaks=(11,),
    among=("all-nats-hang", "targets-down"),
)
def _no_common_mode() -> Sequence[Patch]:
    return [Patch(judge, "_runs", lambda _view, _target: False)]


@mutant(
    "event-is-the-truth",
    "an event that says a NAT stopped is enough to move",
    breaks=(8, 11),
    among=("event-forged",),
)
def _believes() -> Sequence[Patch]:
    look_again = decide._look_again

    def believe(view: View, news: Any) -> Any:
        if look_again(view, news) is None:
            return None
        return failover.fail_over(view, judge.Verdict(judge.Health.DEAD, incident.Cause.INSTANCE_STOPPED, "an event"))

    return [Patch(decide, "_look_again", believe)]


@mutant(
    "control-probe-is-not-read",
    "the control probe is sent and its answer is not read",
    breaks=(11,),
    among=("targets-down",),
)
def _control_unread() -> Sequence[Patch]:
    by_probes = judge._by_probes

    def unread(view: View, control: Any) -> Any:
        return by_probes(view, replace(control, is_ok=True) if control is not None else None)

    return [Patch(judge, "_by_probes", unread)]


@mutant(
    "one-table-is-enough",
    "a move has a call for the first table only",
    breaks=(17,),
    among=NAT_LOST,
)
def _one_table() -> Sequence[Patch]:
    from natkeeper.core import move

    return [Patch(move, "point_routes", lambda *args: point_routes(*args)[:1])]


@mutant(
    "missing-route-is-only-replaced",
    "a route that somebody deleted is replaced, which EC2 refuses, and never created",
    breaks=(21,),
    among=("route-deleted", "all-routes-deleted"),
)
def _never_created() -> Sequence[Patch]:
    def refuse(_self: Ec2, _action: Any) -> None:
        raise Trouble("CreateRoute", "NotAsked")

    return [Patch(Ec2, "_create_route", refuse)]


@mutant(
    "address-stays-behind",
    "routes are moved, and the Elastic IP is left where it was",
    breaks=(6, 22),
    among=NAT_LOST,
    home=True,
)
def _no_address() -> Sequence[Patch]:
    do = Ec2.do

    def skip(self: Ec2, action: Any) -> None:
        if not isinstance(action, MoveAddress):
            do(self, action)

    return [Patch(Ec2, "do", skip)]


# -- healing


@mutant(
    "launch-in-every-pass",
    "a replacement that is not visible yet is launched again, under the next token",
    breaks=(13, 14),
    among=("not-found-after-launch", "tags-come-late", "stuck-pending"),
)
def _impatient() -> Sequence[Patch]:
    return [Patch(heal, "VISIBLE_AFTER", ZERO)]


@mutant(
    "token-without-attempt",
    "every attempt of a repair has the same token: EC2 answers with the instance that failed",
    breaks=(6, 21),
    among=("user-data-fails", "kms-key-disabled", "stuck-pending"),
)
def _same_token() -> Sequence[Patch]:
    step = heal._launch_step

    def again(view: View, role: Any, repair: Any, memory: Memory) -> Any:
        return step(view, role, replace(repair, attempt=1), memory)

    return [Patch(heal, "_launch_step", again)]


@mutant(
    "check-stays-on",
    "nobody turns the source/dest check of a replacement off",
    breaks=(1, 6, 21),
    among=("nat-terminated",),
)
def _check_on() -> Sequence[Patch]:
    do = Ec2.do

    def skip(self: Ec2, action: Any) -> None:
        if not isinstance(action, DisableSourceDestCheck):
            do(self, action)

    return [Patch(Ec2, "do", skip)]


@mutant(
    "home-at-once",
    "traffic goes home as soon as the canary has passed, without the quiet period",
    breaks=(12,),
    among=("hang-passes", "old-nat-comes-back", "nat-stops"),
)
def _not_quiet() -> Sequence[Patch]:
    bring = heal._return

    def hurry(view: View, *rest: Any) -> Any:
        return bring(replace(view, policy=replace(view.policy, quiet_period=ZERO)), *rest)

    return [Patch(heal, "_return", hurry)]


@mutant(
    "hung-nat-is-kept",
    "a NAT that runs and forwards nothing is never replaced while nothing else can carry its traffic",
    breaks=(21,),
    among=DEAD_BY_PACKETS,
)
def _kept() -> Sequence[Patch]:
    return [Patch(failover, "replace_hung", heal.heal)]


# -- canary and proof


@mutant(
    "canary-went-another-way",
    "a canary whose route is not where the record says still proves the NAT on record",
    breaks=(1,),
    among=("one-table-refuses", "unauthorised-call", "late-write"),
    home=True,
)
def _stray() -> Sequence[Patch]:
    return [Patch(decide, "_without_stray_canary", lambda _view, memory: memory)]


@mutant(
    "running-long-enough-is-proven",
    "a group's own NAT that has run for the quiet period is gone home to, whatever its canary says",
    breaks=(1,),
    among=("user-data-fails", "old-nat-comes-back", "nat-stops"),
)
def _unasked() -> Sequence[Patch]:
    def prove(view: View, path: Any, home: Any) -> Any:
        since = max(home.launched_at, view.memory.moved_at or home.launched_at)
        return heal._return(
            replace(view, memory=view.memory.with_proof(path.target, since, view.now, ZERO)), path, home
        )

    return [Patch(heal, "_prove", prove)]


# -- what is left alone


@mutant(
    "surplus-is-the-wrong-one",
    "of two NATs the one that carries the traffic is terminated",
    breaks=(8, 9),
    among=("user-data-fails", "stuck-pending", *DEAD_BY_PACKETS),
    home=True,
)
def _wrong_one() -> Sequence[Patch]:
    surplus = heal._surplus

    def other(view: View) -> Any:
        found = surplus(view)
        if found.stages and view.home is not None:
            return replace(found, stages=((TerminateInstance(view.home.instance_id),),))
        return found

    return [Patch(heal, "_surplus", other)]


@mutant(
    "killed-before-it-is-replaced",
    "a group's own NAT that does not pass its proof is terminated first and replaced then",
    breaks=(9,),
    among=DEAD_BY_PACKETS,
)
def _kill_first() -> Sequence[Patch]:
    def prove(view: View, _path: Any, home: Any) -> Any:
        kill = ((TerminateInstance(home.instance_id),),)
        return heal.Step(view.memory, Reason.HEALING, "it does not forward", kill)

    return [Patch(heal, "_prove", prove)]


@mutant(
    "kill-while-moving",
    "what is replaced is terminated in the plan that takes its traffic away",
    breaks=(9,),
    among=NAT_LOST,
)
def _kills_at_once() -> Sequence[Patch]:
    move = failover._move

    def and_kill(view: View, *rest: Any) -> Any:
        plan = move(view, *rest)
        left = view.network.owner_of(view.target or "")
        kill = ((TerminateInstance(left.instance_id),),) if left is not None else ()
        return replace(plan, stages=(*plan.stages, *kill))

    return [Patch(failover, "_move", and_kill)]


@mutant(
    "pause-is-forgotten",
    "a pause is remembered, and what is due is done all the same",
    breaks=(16,),
    among=("paused-mid-incident",),
)
def _no_pause() -> Sequence[Patch]:
    act = decide._act

    def go_on(view: View, observation: Any) -> Any:
        until = view.memory.paused_until
        plan = act(replace(view, memory=replace(view.memory, paused_until=None)), observation)
        return replace(plan, memory=replace(plan.memory, paused_until=until))

    return [Patch(decide, "_act", go_on)]


# -- bounds


@mutant(
    "failovers-are-not-counted",
    "the memory of failovers is dropped, so the bound on them never bites",
    breaks=(13,),
    bounds=True,
    among=("prober-cut-off", "zone-lost", "security-group-changed", "nat-stops", *DEAD_BY_PACKETS),
)
def _uncounted() -> Sequence[Patch]:
    forget = decide._forget
    return [Patch(decide, "_forget", lambda memory, now: replace(forget(memory, now), failovers=()))]


@mutant(
    "launches-are-not-counted",
    "the memory of launches is dropped, so the bound on them never bites",
    breaks=(13,),
    bounds=True,
    among=("kms-key-disabled", "user-data-fails", "stuck-pending", *NO_LAUNCH),
)
def _endless() -> Sequence[Patch]:
    forget = decide._forget
    return [Patch(decide, "_forget", lambda memory, now: replace(forget(memory, now), launches=()))]


@mutant(
    "heals-without-a-ledger",
    "with a ledger that is down everything is done as usual, on no memory",
    breaks=(6, 13, 14, 21),
    among=("ledger-down", "ledger-throttled"),
)
def _no_restriction() -> Sequence[Patch]:
    return [Patch(reconcile, "_restrict", lambda plan, _group: plan)]


# -- leases


@mutant(
    "lease-has-no-end",
    "a pass that was frozen goes on writing when its lease is over",
    breaks=(2,),
    among=("lease-ends-mid-plan",),
)
def _outlives() -> Sequence[Patch]:
    do = reconcile._do

    def at_any_time(group: Any, action: Any, ports: Any) -> Any:
        lease = group.lease
        group.lease = None
        try:
            return do(group, action, ports)
        finally:
            group.lease = lease

    return [Patch(reconcile, "_do", at_any_time)]


@mutant(
    "lost-lease-is-ignored",
    "a pass that hears of another holder goes on",
    breaks=(2, 13, 14, 19),
    among=("lease-ends-mid-plan", "invocation-delivered-twice", "two-controllers", "clock-ahead"),
)
def _goes_on() -> Sequence[Patch]:
    record = reconcile._record

    def shrug(group: Any, ports: Any, **how: Any) -> bool:
        record(group, ports, **how)
        group.is_lost = False
        return True

    return [Patch(reconcile, "_record", shrug)]


@mutant(
    "news-is-dropped",
    "news that meets a taken lease is not left for its holder",
    breaks=(6, 21),
    among=("two-controllers", "event-burst", "slow-api"),
)
def _dropped() -> Sequence[Patch]:
    return [Patch(opening, "_insist", lambda _name, answer, *_rest: answer)]


# -- downtime


@mutant(
    "failures-times-interval",
    "downtime is the number of failed rounds times their interval",
    breaks=(18,),
    among=(*NAT_LOST, *DEAD_BY_PACKETS),
)
def _counted() -> Sequence[Patch]:
    def count(rounds: Any, _clock_error: Any) -> Downtime:
        counted = timedelta(seconds=sum(not each.is_ok for each in rounds))
        return Downtime(counted, counted)

    return [Patch(incident, "measure", count)]


@mutant(
    "downtime-ends-with-the-last-failure",
    "downtime goes from the first failed round to the last one, and is claimed to be exact",
    breaks=(18,),
    among=(*NAT_LOST, *DEAD_BY_PACKETS),
)
def _too_short() -> Sequence[Patch]:
    measure = incident.measure

    def short(rounds: Any, clock_error: Any) -> Downtime:
        failed = sorted(each.sent_at for each in rounds if not each.is_ok)
        span = failed[-1] - failed[0] if failed else ZERO
        return Downtime(measure(rounds, clock_error).low, span)

    return [Patch(incident, "measure", short)]


@mutant(
    "incident-stays-open",
    "an incident that is over is never closed",
    breaks=(19, 22),
    among=NAT_LOST,
    home=True,
)
def _never_closes() -> Sequence[Patch]:
    return [Patch(finish, "_is_measured", lambda *_: False)]


# -- watching


@mutant(
    "lost-run-is-waited-for",
    "a prober's run whose report never comes is waited for",
    breaks=(21,),
    among=("prober-result-lost",),
)
def _waits_for_ever() -> Sequence[Patch]:
    return [Patch(finish, "OVERDUE", timedelta(hours=1))]


@mutant(
    "dead-prober-is-an-outage",
    "a prober that died counts as a path that is down",
    breaks=(8, 11, 12),
    among=("prober-crashes",),
)
def _blames() -> Sequence[Patch]:
    end = absorb._end_watch

    def blame(memory: Memory, run_id: str) -> Memory:
        found = end(memory, run_id)
        is_report = any(run_id == each for each in memory.seen_runs)
        return found if is_report else replace(found, is_down=True)

    return [Patch(absorb, "_end_watch", blame)]


@mutant(
    "writes-at-rest",
    "every pass turns the source/dest check off once more, whether it is on or not",
    breaks=(5,),
    home=True,
)
def _busy() -> Sequence[Patch]:
    tidy = decide.tidy

    def again(view: View) -> Any:
        step = tidy(view)
        if step.reason is not None or view.target is None:
            return step
        return replace(step, stages=((DisableSourceDestCheck(view.target),),))

    return [Patch(decide, "tidy", again)]


@mutant(
    "doomed-nat-is-kept",
    "an announced stop is confirmed and forgotten",
    breaks=(21,),
    among=("retirement-announced", "spot-interruption"),
)
def _not_doomed() -> Sequence[Patch]:
    return [Patch(View, "is_doomed", lambda _self, _instance: False)]
