"""Mistakes in whom to believe: leases, instants, reports. Rows of the planted bugs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from natkeeper import opening, reconcile
from natkeeper.adapters import ledger
from natkeeper.core import bounds, decide, runs
from natkeeper.triggers import event
from natkeeper_lab.simulation.planted.table import Patch, mutant, original


@mutant(
    "a-lease-of-any-length",
    "a lease is respected however long it claims to last",
    breaks=(29,),
    among=("lease-without-end",),
)
def _any_length() -> Sequence[Patch]:
    return [Patch(ledger, "is_endless", lambda *_: False)]


@mutant(
    "the-future-is-believed",
    "an instant that has not been is waited for, however it came into the ledger",
    breaks=(29,),
    among=("memory-of-the-future",),
)
def _believed() -> Sequence[Patch]:
    return [Patch(decide, "bounded", lambda memory, *_: memory)]


@mutant(
    "a-prober-dates-its-runs",
    "a report is of the time that its prober says, an hour ahead or not",
    breaks=(29,),
    among=("report-of-another-time",),
)
def _dated_by_itself() -> Sequence[Patch]:
    return [Patch(runs, "_dated", lambda report, *_: report), Patch(bounds, "LEASE", timedelta(days=9000))]


@mutant(
    "any-function-reports",
    "a report counts whatever function of the account it comes from",
    breaks=(8, 11),
    among=("report-forged",),
)
def _anybody() -> Sequence[Patch]:
    return [Patch(event, "_check_prober", lambda *_: None)]


@mutant(
    "any-run-reports",
    "a report counts whether its run was started or not",
    breaks=(8, 11),
    among=("report-forged",),
)
def _any_run() -> Sequence[Patch]:
    def all_of_it(_group: str, _memory: Any, news: Any, *_: Any) -> Any:
        return tuple(news)

    return [Patch(opening, "heard", all_of_it), Patch(reconcile, "heard", all_of_it)]


@mutant(
    "one-broken-item-stops-all",
    "an item that cannot be read whole is an error of the pass that reads it",
    breaks=(20,),
    among=("item-poisoned",),
)
def _strict() -> Sequence[Patch]:
    memory_of = original(ledger, "memory_of")

    def strict(item: Any) -> Any:
        memory, damage = memory_of(item)
        if damage is not None:
            raise ValueError(damage)
        return memory, damage

    return [Patch(ledger, "memory_of", strict)]
