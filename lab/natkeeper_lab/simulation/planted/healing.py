"""Mistakes in healing and proving: getting a group back to its own NAT. Rows of the planted bugs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from natkeeper import acting
from natkeeper.adapters.ec2 import Ec2
from natkeeper.core import decide, failover, heal, launches, proving, replacement
from natkeeper.core.incident import Memory
from natkeeper.core.plan import DisableSourceDestCheck
from natkeeper.core.view import View
from natkeeper_lab.simulation.planted.peers import DEAD_BY_PACKETS
from natkeeper_lab.simulation.planted.table import Patch, mutant

ZERO = timedelta(0)
NAT_LOST = ("nat-stops", "nat-terminated")


# -- healing


@mutant(
    "launch-in-every-pass",
    "a replacement that is not visible yet is launched again, under the next token",
    breaks=(13, 14),
    among=("not-found-after-launch", "tags-come-late", "stuck-pending"),
)
def _impatient() -> Sequence[Patch]:
    return [Patch(launches, "VISIBLE_AFTER", ZERO)]


@mutant(
    "ghost-awaited",
    "what was launched and never appeared is waited for five times as long",
    breaks=(6,),
    among=("kms-key-disabled",),
    home=True,
)
def _ghost() -> Sequence[Patch]:
    return [Patch(launches, "VISIBLE_AFTER", 5 * launches.VISIBLE_AFTER)]


@mutant(
    "token-without-attempt",
    "every attempt of a repair has the same token: EC2 answers with the instance that failed",
    breaks=(6, 21),
    among=("user-data-fails", "kms-key-disabled", "stuck-pending"),
)
def _same_token() -> Sequence[Patch]:
    step = replacement._launch_step

    def again(view: View, role: Any, repair: Any, memory: Memory) -> Any:
        return step(view, role, replace(repair, attempt=1), memory)

    return [Patch(replacement, "_launch_step", again)]


@mutant(
    "check-stays-on",
    "nobody turns the source/dest check of a replacement off",
    breaks=(1, 6, 21),
    among=("nat-terminated",),
)
def _check_on() -> Sequence[Patch]:
    do = Ec2.do

    def skip(self: Ec2, action: Any, *rest: Any) -> None:
        if not isinstance(action, DisableSourceDestCheck):
            do(self, action, *rest)

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
    "launched-beside-the-failed-one",
    "a boot that takes longer than a quick one is given up, and the next is launched beside it",
    breaks=(26,),
    among=DEAD_BY_PACKETS,
)
def _no_room() -> Sequence[Patch]:
    return [
        Patch(replacement, "is_full", lambda _view: False),
        Patch(View, "boot_time", lambda _view, _instance: timedelta(seconds=25)),
    ]


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
    among=("one-table-refuses", "unauthorised-call"),
    lasts=60,
    home=True,
)
def _stray() -> Sequence[Patch]:
    return [
        Patch(decide, "_without_stray_canary", lambda _view, memory: memory),
        Patch(acting, "_with_canary", lambda memory, _outcome, _now: memory),
    ]


@mutant(
    "proves-what-carries-traffic",
    "the proving address is asked for without looking whether the group's traffic leads there by now",
    breaks=(8,),
    among=("one-table-refuses", "route-edited"),
)
def _lends_regardless() -> Sequence[Patch]:
    return [Patch(proving, "DEFAULT_ROUTE", "no route")]


@mutant(
    "running-long-enough-is-proven",
    "a group's own NAT that has run for the quiet period is gone home to, whatever its canary says",
    breaks=(1,),
    among=("user-data-fails", "old-nat-comes-back", "nat-stops"),
)
def _unasked() -> Sequence[Patch]:
    def prove(view: View, path: Any, home: Any, *_: Any) -> Any:
        since = max(home.launched_at, view.memory.moved_at or home.launched_at)
        return heal._return(
            replace(view, memory=view.memory.with_proof(path.target, since, view.now, ZERO)), path, home
        )

    return [Patch(heal, "_prove", prove)]
