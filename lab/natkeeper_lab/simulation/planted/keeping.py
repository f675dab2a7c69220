"""Mistakes in what is kept between passes: bounds, leases, incidents, watch runs. Rows of the planted bugs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from natkeeper import acting, reconcile
from natkeeper.adapters import items
from natkeeper.adapters.ec2 import Ec2, LaunchSettings
from natkeeper.core import absorb, case, decide, finish, incident, standing
from natkeeper.core.downtime import Downtime
from natkeeper.core.incident import Memory
from natkeeper.core.plan import DisableSourceDestCheck, Reason
from natkeeper.core.view import View
from natkeeper_lab.simulation.planted.peers import DEAD_BY_PACKETS, NO_LAUNCH
from natkeeper_lab.simulation.planted.table import Patch, mutant, original
from natkeeper_lab.simulation.setting import SECRET

ZERO = timedelta(0)
NAT_LOST = ("nat-stops", "nat-terminated")


# -- secrets


@mutant(
    "credentials-in-user-data",
    "the boot script is given the function's own credentials, which everybody on the instance can read",
    breaks=(23,),
    among=("nat-terminated",),
)
def _confides() -> Sequence[Patch]:
    begin = Ec2.__init__

    def __init__(self: Ec2, client: Any, policy: Any, launches: LaunchSettings, *rest: Any) -> None:  # noqa: N807
        def confiding(group: str, role: Any) -> tuple[str, str]:
            script, generation = launches.user_data(group, role)
            return f"{script}export AWS_SESSION_TOKEN={SECRET}\n", generation

        begin(self, client, policy, replace(launches, user_data=confiding), *rest)

    return [Patch(Ec2, "__init__", __init__)]


# -- what alarms are told


@mutant(
    "at-rest-without-a-look",
    "a good report is answered as at rest, and as known, though no look has succeeded since",
    breaks=(27,),
    among=("region-down", "expired-credentials", "unauthorised-call"),
    lasts=200,
)
def _at_rest_unseen() -> Sequence[Patch]:
    return [Patch(decide, "_unseen", lambda memory, _unknown, _now: memory)]


@mutant(
    "silence-is-knowing",
    "a group of which no packet has been heard for minutes is called known",
    breaks=(27,),
    among=("prober-not-invoked", "prober-crashes", "prober-result-lost"),
    lasts=200,
)
def _unheard() -> Sequence[Patch]:
    unknown = standing._is_unknown

    def at_ease(plan: Any, now: Any, rules: Any) -> bool:
        return plan.reason is Reason.CANNOT_LOOK and unknown(plan, now, rules)

    return [Patch(standing, "_is_unknown", at_ease)]


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
    "a pass that was frozen goes on writing when its lease and its time are over",
    breaks=(2,),
    among=("lease-ends-mid-plan",),
)
def _outlives() -> Sequence[Patch]:
    do = acting._try

    def at_any_time(group: Any, action: Any, ports: Any) -> Any:
        lease = group.lease
        group.lease = None
        try:
            return do(group, action, ports)
        finally:
            group.lease = lease

    # Its time ends before its lease, so either of the two holds it back.
    return [Patch(acting, "_try", at_any_time), Patch(acting, "has_time", lambda *_: True)]


@mutant(
    "field-of-tomorrow-is-an-error",
    "a memory that another version wrote cannot be read",
    breaks=(6, 20, 21),
    among=("old-memory",),
)
def _strict() -> Sequence[Patch]:
    salvage = original(items, "salvage")

    def strict(kind: Any, raw: Any) -> Any:
        if unknown := set(raw) - {each.name for each in fields(kind)}:
            raise KeyError(min(unknown))
        return salvage(kind, raw)

    return [Patch(items, "salvage", strict)]


# -- downtime


@mutant(
    "failures-times-interval",
    "downtime is the number of failed rounds times their interval",
    breaks=(18,),
    among=(*NAT_LOST, *DEAD_BY_PACKETS),
)
def _counted() -> Sequence[Patch]:
    def count(rounds: Any, *_: Any) -> Downtime:
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
    measure = original(incident, "measure")

    def short(rounds: Any, clock_error: Any, *_: Any) -> Downtime:
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
    tidy = original(case, "tidy")

    def again(view: View) -> Any:
        step = tidy(view)
        if step.reason is not None or view.target is None:
            return step
        return replace(step, stages=((DisableSourceDestCheck(view.target),),))

    return [Patch(case, "tidy", again)]
