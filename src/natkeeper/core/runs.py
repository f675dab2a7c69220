"""Which prober's reports count, and when their rounds were sent: only of runs that natkeeper started, only of the past.

Called by `opening` with each report that woke a pass or waited in an inbox, before the core hears it. A report is
packets that were really sent, so it moves traffic: whoever invokes a prober by hand, or with targets of their own, must
not. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeGuard

from natkeeper.core.absorb import LATE
from natkeeper.core.incident import Memory
from natkeeper.core.news import News, ProbeFailed, ProbeReport, RunMode
from natkeeper.core.policy import Policy

WATCH_WINDOW = timedelta(minutes=10)
"""How long the start of a run is remembered: the longest run (5 minutes, template.yaml), and the 5 minutes that Lambda
keeps its result for the controller (`MaximumEventAgeInSeconds`)."""


def run_id_of(group: str, started_at: datetime) -> str:
    """A run's id is a function of group and instant, so that a start that is remembered knows its report."""
    return f"{group}-{started_at:%Y%m%dT%H%M%S}.{started_at.microsecond // 1000:03d}"


def heard(group: str, memory: Memory, news: Sequence[News], now: datetime, policy: Policy) -> tuple[News, ...]:
    """The news, with what this group's prober reports of runs that were started, dated by the controller's clock; what
    it reports of other runs is left out."""
    return tuple(
        _dated(each, started_at_of(memory, each), now, policy) if _is_of(each, group) else each
        for each in news
        if not _is_of(each, group) or _is_started(memory, each, now)
    )


def answered(report: ProbeReport, now: datetime) -> ProbeReport:
    """A verification that was just answered: it was waited for, so where its rounds are long ago the prober's clock
    lags. Only now can that be told: a pass may keep the answer until a slow ledger takes its move, and the same rounds
    were taken for new ones when it was dated then (simulation, seed 1780025625: a second failover, off a NAT that
    worked)."""
    sent = [each.sent_at for each in (*report.rounds, *report.canary)]
    return _shifted(report, now - max(sent)) if sent and now - max(sent) > LATE else report


def is_rumoured(group: str, memory: Memory, news: Sequence[News], now: datetime) -> bool:
    """A run that nobody remembers to have started says that egress is down, and said so just now. A pass may have died
    before it wrote the start down, or had no ledger: so it is a reason to ask, and no evidence."""
    reports: list[ProbeReport] = [each for each in news if _is_of(each, group)]
    fresh = (each for each in reports if each.rounds and abs(now - each.rounds[-1].sent_at) <= LATE)
    return any(each.is_down and not _is_started(memory, each, now) for each in fresh)


def _is_of(news: News, group: str) -> TypeGuard[ProbeReport]:
    return isinstance(news, ProbeReport) and news.group == group


def _is_started(memory: Memory, report: ProbeReport, now: datetime) -> bool:
    """Where not even the target is remembered (no ledger, a new group) nobody can know: that all is well is heard all
    the same. That egress is down is a rumour there too: rounds of a report that somebody made up began an incident
    (simulation, seed 1791018295). A verification is waited for by whoever asked for it, and never comes by another way
    (`triggers`)."""
    if report.mode is RunMode.VERIFY or (memory.target is None and not report.is_down):
        return True
    started_at = started_at_of(memory, report)
    return started_at is not None and now - started_at < WATCH_WINDOW


def started_at_of(memory: Memory, report: ProbeReport) -> datetime | None:
    """When the controller started the run; None where it is not known."""
    watch = memory.watch
    if watch is not None and watch.run_id == report.run_id:
        return watch.started_at
    return next((each for each in memory.watch_starts if run_id_of(report.group, each) == report.run_id), None)


def _dated(report: ProbeReport, started_at: datetime | None, now: datetime, policy: Policy) -> News:
    """The report with its rounds where they can have been: after the run was started, and not later than now.

    Spans between rounds are exact whatever the prober's wall clock says. Where that is wrong by more than clocks may
    be, the run is taken to have begun when it was started: then none of its packets counts for a path that they were
    sent too early for. Where it cannot have begun then either, because the controller's clock was set back meanwhile,
    nobody knows of when it speaks: the run is over, and the next one tells.
    """
    sent = [each.sent_at for each in (*report.rounds, *report.canary)]
    if not sent:
        return report
    first, last = min(sent), max(sent)
    latest = now - (last - first)
    is_possible = started_at is None or started_at <= latest + policy.clock_error
    if last > now + policy.clock_error:
        if not is_possible:
            return ProbeFailed(report.group, report.run_id, "its rounds are of the future")
        return _shifted(report, (latest if started_at is None else started_at) - first)
    if started_at is not None and is_possible and first < started_at - policy.clock_error:
        return _shifted(report, started_at - first)
    return report


def _shifted(report: ProbeReport, by: timedelta) -> ProbeReport:
    seen_at = report.egress_address_at
    return replace(
        report,
        rounds=tuple(replace(each, sent_at=each.sent_at + by) for each in report.rounds),
        canary=tuple(replace(each, sent_at=each.sent_at + by) for each in report.canary),
        egress_address_at=None if seen_at is None else seen_at + by,
    )
