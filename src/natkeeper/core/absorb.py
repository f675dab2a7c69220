"""News into memory: what a prober's report, its absence, or an operator's word changes in what a group remembers.

Repeating a piece of news changes nothing. May not import anything but the
standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from natkeeper.core.arrival import as_got_through, as_lost_again, is_silent, speaking
from natkeeper.core.checked import was_found_on
from natkeeper.core.downtime import Disturbance
from natkeeper.core.evidence import extend, proven
from natkeeper.core.incident import (
    KEPT_RUNS,
    RECENT_ROUNDS,
    Cause,
    Exclusion,
    Incident,
    Memory,
)
from natkeeper.core.news import Command, News, ProbeFailed, ProbeReport, Round, RunMode, Verb
from natkeeper.core.policy import Policy
from natkeeper.core.way import as_reported, on_the_path, proving

CANARY_PROOF_ROUNDS = 3
"""Successes in a row that prove a candidate: one packet can be luck, three in a row span two seconds."""

VERIFY_ROUNDS_TO_FAIL = 3
"""Of the dozen that a verification sends within its 3 s. A single one that was lost while the address was on its way,
followed by none that could be judged (no name was resolved), condemned a healthy NAT (simulation, seed 300110218)."""

LATE = timedelta(seconds=10)
"""From a run's last round to the pass that hears of it: its time-out, a cold start on either side, a throttled
invocation or two; usually two seconds. One that comes later measures, and its successor, in four seconds, judges."""
MOVING = timedelta(seconds=3)
"""How long after a planned move began its calls may still be under way: two calls, each with botocore's back-off."""


def absorb(group: str, memory: Memory, news: Sequence[News], now: datetime, policy: Policy) -> Memory:
    """The memory after `news`, of which only what concerns `group` counts."""
    for each in news:
        if isinstance(each, ProbeReport) and each.group == group:
            memory = _report(memory, each, now, policy)
        elif isinstance(each, ProbeFailed) and each.group == group:
            memory = _end_watch(memory, each.run_id)
        elif isinstance(each, Command) and each.group in (None, group):
            memory = _command(memory, each, now)
    return memory


def _command(memory: Memory, command: Command, now: datetime) -> Memory:
    """A move is not made here, so it is not answered here either (`decide`)."""
    if command.request_id in memory.obeyed:
        return memory
    if command.verb is Verb.PAUSE:
        paused_until = now + timedelta(minutes=command.minutes or 60)
        return replace(memory.obeying(command.request_id), paused_until=paused_until)
    if command.verb is Verb.RESUME:
        return replace(memory.obeying(command.request_id), paused_until=None)
    return memory


def _end_watch(memory: Memory, run_id: str) -> Memory:
    if memory.watch is not None and memory.watch.run_id == run_id:
        return replace(memory, watch=None)
    return memory


def _report(memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Memory:
    if report.run_id in memory.seen_runs:
        return memory
    memory = replace(memory, seen_runs=(report.run_id, *memory.seen_runs)[:KEPT_RUNS])
    is_late = _is_late(memory, report, now)
    if report.mode is RunMode.WATCH:
        memory = _end_watch(memory, report.run_id)
    memory = as_reported(memory, report, now, policy)
    report = on_the_path(memory, report)
    if report.mode is RunMode.WATCH:
        memory = replace(memory, observed=0.0) if memory.is_apart else _coverage(memory, report, policy)
    if not is_late and not _is_outdated(memory, report, now):
        memory = _canary(_path(memory, report, now, policy), report, now, policy)
    return _evidence(memory, report)


def _is_late(memory: Memory, report: ProbeReport, now: datetime) -> bool:
    """It was held up: Lambda tries a crashed controller's event again a minute later, and what the report says was so
    may be over. Of the run in flight that is told by the controller's clock alone, which started it; of another one
    (simulation, seeds 1000155, 60001708) by the rounds' own: where that clock is off, the run in flight judges all the
    same."""
    watch = memory.watch
    if report.mode is not RunMode.WATCH or not report.rounds:
        return False
    ended_at = report.rounds[-1].sent_at
    if watch is not None and watch.run_id == report.run_id:
        ended_at = watch.started_at + (ended_at - report.rounds[0].sent_at)
    return now - ended_at > LATE


def _is_outdated(memory: Memory, report: ProbeReport, now: datetime) -> bool:
    """Another report spoke of a later time: one that was held up measures, but does not say how things are.

    What a clock that is ahead put into the future is not waited for.
    """
    known = max((each.sent_at for each in memory.recent if each.sent_at <= now), default=None)
    return bool(report.rounds) and known is not None and report.rounds[-1].sent_at < known


def _coverage(memory: Memory, report: ProbeReport, policy: Policy) -> Memory:
    if not report.rounds or not memory.recent:
        return memory
    first, last = report.rounds[0].sent_at, report.rounds[-1].sent_at
    whole = last - memory.recent[-1].sent_at
    if whole <= timedelta(0):
        return memory
    return replace(memory, observed=min(100.0, 100 * ((last - first + policy.interval) / whole)))


def _since_move(memory: Memory, rounds: Sequence[Round]) -> tuple[Round, ...]:
    """Rounds that speak of the present path, not of the one before the last move."""
    return tuple(each for each in rounds if memory.moved_at is None or each.sent_at > memory.moved_at)


def _address_now(memory: Memory, report: ProbeReport) -> str | None:
    """The address the far end saw on the present path; one seen before the last move says nothing about it."""
    if memory.moved_at is None:
        return report.egress_address
    is_newer = report.egress_address_at is not None and report.egress_address_at > memory.moved_at
    return report.egress_address if is_newer else None


def _last_row(rounds: Sequence[Round]) -> tuple[bool, tuple[Round, ...]]:
    """Whether the newest rounds succeeded, and how far back that row goes."""
    row: list[Round] = []
    for each in reversed(rounds):
        if row and each.is_ok is not row[-1].is_ok:
            break
        row.append(each)
    return (bool(row) and row[0].is_ok), tuple(reversed(row))


def _path(memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Memory:
    rounds, target = _since_move(memory, report.rounds), memory.target
    if not rounds or target is None:
        return memory
    is_ok, row = _last_row(rounds)
    if is_ok:
        if led := proving(memory, row):
            memory = memory.with_proof(target, led[0].sent_at, led[-1].sent_at, policy.freshness)
            memory = as_got_through(replace(memory, has_carried=True), row, policy)
        stable = memory.stable_since if memory.stable_since is not None and not memory.is_down else row[0].sent_at
        memory = replace(memory, is_down=False, failing_since=None, stable_since=stable)
        memory = replace(memory, external_at=None, targets_back_at=None)
        return replace(memory, egress_address=_address_now(memory, report) or memory.egress_address)
    is_failed_verify = report.mode is RunMode.VERIFY and report.is_down
    wanted = min(policy.rounds_to_fail, VERIFY_ROUNDS_TO_FAIL) if is_failed_verify else policy.rounds_to_fail
    memory = as_lost_again(memory)
    if len(speaking(memory, row, policy)) < wanted and not (
        len(row) >= wanted and is_silent(memory, report.canary, wanted)
    ):
        # Too few, or the address may still be under way: nothing is proven, and nothing is condemned.
        return replace(memory, stable_since=None) if len(row) >= wanted else memory
    # One whose address call was refused or throttled is no path yet: it is to be mended, not blamed.
    is_complete = memory.address_move is not None and not memory.has_carried
    if is_failed_verify or is_complete:
        memory = memory.with_loss(Exclusion(target, now + policy.exclusion, now, _was_guess(memory, target)))
    failing_since = memory.failing_since if memory.is_down else None
    down = replace(memory.without_proof(target), is_down=True, down_at=now, stable_since=None, address_move=None)
    return replace(down, failing_since=failing_since or row[0].sent_at)


def _was_guess(memory: Memory, target: str) -> bool:
    """The traffic was moved there as a last resort."""
    incident = memory.incident
    return incident is not None and incident.is_last_resort and incident.to_target == target


def _canary(memory: Memory, report: ProbeReport, now: datetime, policy: Policy) -> Memory:
    canary = memory.canary
    if canary is None or memory.withdrawn_at is not None or canary.target == memory.target:
        # Taking the public address away silences the canary on purpose: that silence says nothing. Nor does it say
        # anything of the present path, on which it stands for a moment after coming home: the rounds themselves do.
        return memory
    # By a clock that lags, the canary was pointed before packets that went the old way; so they are in its future, too
    # (simulation, seed 6001705).
    latest = now + policy.clock_error
    rounds = tuple(each for each in report.canary if canary.pointed_at < each.sent_at <= latest)
    is_ok, row = _last_row(rounds)
    if not row:
        return memory
    known = memory.proof_of(canary.target)
    is_going_on = known is not None and row[0].sent_at - known.at <= policy.freshness
    if is_ok and (len(row) >= CANARY_PROOF_ROUNDS or is_going_on):
        proven = memory.with_proof(canary.target, row[0].sent_at, row[-1].sent_at, policy.freshness)
        return replace(proven, canary=replace(canary, failed_since=None))
    if not is_ok and len(row) >= policy.rounds_to_fail:
        failed_since = canary.failed_since or now
        return replace(memory.without_proof(canary.target), canary=replace(canary, failed_since=failed_since))
    return memory


def _evidence(memory: Memory, report: ProbeReport) -> Memory:
    """Keeps the rounds that an incident's downtime is measured from."""
    before, until = memory, memory.measured_until
    recent = tuple(sorted((*memory.recent, *report.rounds), key=_sent_at)[-RECENT_ROUNDS:])
    memory = replace(memory, recent=recent, through_at=_through_at(memory, report))
    incident = memory.incident
    if incident is None:
        fresh = tuple(each for each in report.rounds if until is None or each.sent_at > until)
        if memory.target is None or all(each.is_ok for each in fresh):
            # Without a target the group has never had egress: it is being set up, which is no incident.
            return memory
        first = next(each.sent_at for each in fresh if not each.is_ok)
        cause = Cause.PROBES_FAILED if memory.is_down else _passing_cause(memory, first)
        incident = open_incident(report.group, cause, first, before, fresh)
    else:
        incident = proven(incident, report.rounds) if report.mode is RunMode.VERIFY else incident
        incident = extend(incident, report.rounds)
    return replace(memory, incident=_recover(incident, memory, report))


def _through_at(memory: Memory, report: ProbeReport) -> datetime | None:
    answered = [each.sent_at for each in _since_move(memory, report.rounds) if each.is_answered]
    return max(answered, default=memory.through_at)


def _passing_cause(memory: Memory, first: datetime) -> Cause:
    moved_at = memory.moved_at
    if moved_at is not None and timedelta(0) <= first - moved_at <= MOVING:
        return Cause.PLANNED_MOVE
    if was_found_on(memory, first):
        return Cause.SOURCE_DEST_CHECK
    return Cause.TRANSIENT


def _sent_at(each: Round) -> datetime:
    return each.sent_at


def _recover(incident: Incident, memory: Memory, report: ProbeReport) -> Incident:
    """Egress is back once rounds through the present path succeed after the last failure."""
    rounds = _since_move(memory, report.rounds)
    is_ok, row = _last_row(rounds)
    if memory.is_down or (row and not is_ok):
        return replace(incident, recovered_at=None)
    if is_ok and (address := _address_now(memory, report)) is not None:
        incident = replace(incident, address_after=address)
    if is_ok and incident.recovered_at is None and row[-1].sent_at >= incident.opened_at:
        return replace(incident, recovered_at=max(row[0].sent_at, incident.opened_at))
    return incident


def open_incident(
    group: str, cause: Cause, opened_at: datetime, memory: Memory, fresh: tuple[Round, ...] = ()
) -> Incident:
    """A new incident; its id is a function of group and instant, so that a replay opens the same one.

    Of the newest rounds it gets those that no closed incident has measured, and the successes that such a one ended
    with (the very last may be too close to say that it lies before), and those that are `fresh`.
    """
    until = memory.measured_until
    failed = [each.sent_at for each in memory.recent if not each.is_ok and until is not None and each.sent_at <= until]
    rounds = (*(each for each in memory.recent if not failed or each.sent_at > max(failed)), *fresh)
    led = memory.led_since
    # Until its routes were put back somebody else's may have carried it, between two rounds that were lost.
    put_back = [Disturbance(led, led) for each in rounds if led is not None and not each.is_ok and each.sent_at <= led]
    return extend(
        Incident(
            incident_id=f"{group}-{opened_at:%Y%m%dT%H%M%S}.{opened_at.microsecond // 1000:03d}",
            group=group,
            cause=cause,
            opened_at=opened_at,
            from_target=memory.target,
            address_before=memory.egress_address,
            disturbances=tuple(put_back[:1]),
        ),
        rounds,
    )
