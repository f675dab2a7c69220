"""Reads a prober's report: the wire contract that `probing.run` writes.

Called by `triggers.event` for a Lambda destination's record, and by the prober's adapter for a verify run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import AddressValueError, IPv4Address
from itertools import pairwise
from typing import TypeVar, cast

from natkeeper.core.news import ProbeReport, Round, RunMode, Verdict
from natkeeper.triggers.fields import Malformed, list_of, plain, shown, text_of

REPORT_VERSION = 1
"""`probing.engine.VERSION` writes it."""

MOST_ROUNDS = 20_000
"""A Lambda function lives for 900 s at most, and the shortest interval is 50 ms."""

LONGEST_RUN_MS = 3_600_000
LONGEST_RTT_MS = 60_000
MOST_ERRORS = 20
LONGEST_ERROR = 300

Choice = TypeVar("Choice", RunMode, Verdict)


def parse_report(report: Mapping[str, object]) -> ProbeReport:
    """Reads what `probing.run` returned. Malformed names the field.

    A report is evidence that moves routes, so nothing in it is guessed: no default for a missing verdict, and a round
    is good only if it says 1."""
    version = report.get("version")
    if isinstance(version, bool) or version != REPORT_VERSION:
        raise Malformed(f"version: {shown(version)} is not {REPORT_VERSION}; deploy prober and controller together")
    clock = text_of(report, "clock", "the prober names its clock")
    started_at = _instant(text_of(report, "started_at", "the prober says when it began"), "started_at")
    errors = list_of(report, "errors", "the prober lists them, or an empty list")
    return ProbeReport(
        group=text_of(report, "group", "the prober repeats its request's"),
        run_id=text_of(report, "run_id", "the prober repeats its request's"),
        mode=_one_of(RunMode, report, "mode"),
        verdict=_one_of(Verdict, report, "verdict"),
        rounds=_rounds(report, "rounds", clock, started_at),
        canary=_rounds(report, "canary", clock, started_at),
        egress_address=_address(report.get("egress_address")),
        egress_address_at=_address_at(report.get("egress_address_ms"), started_at),
        errors=tuple(_error(each) for each in errors[:MOST_ERRORS]),
    )


def _error(value: object) -> str:
    return plain(value[:LONGEST_ERROR]) if isinstance(value, str) else shown(value)


def _one_of(kind: type[Choice], source: Mapping[str, object], field: str) -> Choice:
    text = text_of(source, field, "see events/probe-report-ended.json")
    for choice in kind:
        if choice.value == text:
            return choice
    raise Malformed(f"{field}: {shown(text)} is none of {', '.join(choice.value for choice in kind)}")


def _instant(text: str, field: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None or not 2000 <= instant.year <= 9000:
            raise ValueError
        return instant.astimezone(UTC)
    except ValueError:
        raise Malformed(f"{field}: {shown(text)} is no instant; expected ISO 8601 with its offset from UTC") from None


def _address(value: object) -> str | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return str(IPv4Address(value))
    except AddressValueError:
        pass
    raise Malformed(f"egress_address: {shown(value)} is no IPv4 address; expected one, or null when it was not seen")


def _address_at(value: object, started_at: datetime) -> datetime | None:
    if value is None:
        return None
    if not _is_number(value, LONGEST_RUN_MS):
        raise Malformed(f"egress_address_ms: {shown(value)} is no number from 0 to {LONGEST_RUN_MS}, nor null")
    return started_at + timedelta(milliseconds=cast(float, value))


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _rounds(report: Mapping[str, object], field: str, clock: str, started_at: datetime) -> tuple[Round, ...]:
    rows = list_of(report, field, "rows of [offset_ms, ok, rtt_ms]")
    if len(rows) > MOST_ROUNDS:
        raise Malformed(f"{field}: {len(rows)} rows are more than {MOST_ROUNDS}; no run is that long")
    rounds = tuple(_round(row, field, index, clock, started_at) for index, row in enumerate(rows))
    if any(after.sent_at < before.sent_at for before, after in pairwise(rounds)):
        raise Malformed(f"{field}: the rows are not in the order in which they were sent; no prober reports them so")
    return rounds


def _round(row: object, field: str, index: int, clock: str, started_at: datetime) -> Round:
    if isinstance(row, list) and len(row) == 3:
        offset, ok, rtt = row
        is_plain = type(offset) is float and type(ok) is int and type(rtt) is float
        if is_plain and ok == 1 and 0 <= offset <= LONGEST_RUN_MS and 0 <= rtt <= LONGEST_RTT_MS:
            # As `probing.run` writes a good round, and nearly all of them are good.
            return Round(started_at + timedelta(milliseconds=offset), clock, True, rtt)
    return _checked_round(row, f"{field}[{index}]", clock, started_at)


def _checked_round(row: object, field: str, clock: str, started_at: datetime) -> Round:
    if not isinstance(row, list) or len(row) < 3:
        raise Malformed(f"{field}: {shown(row)} is no row of [offset_ms, ok, rtt_ms]")
    offset, ok, rtt = row[:3]
    if not _is_number(offset, LONGEST_RUN_MS):
        raise Malformed(f"{field}: offset_ms {shown(offset)} is no number from 0 to {LONGEST_RUN_MS}")
    if isinstance(ok, bool) or ok not in (0, 1):
        raise Malformed(f"{field}: ok must be 0 or 1, not {shown(ok)}")
    if rtt is not None and not _is_number(rtt, LONGEST_RTT_MS):
        raise Malformed(f"{field}: rtt_ms {shown(rtt)} is no number from 0 to {LONGEST_RTT_MS}, nor null")
    return Round(started_at + timedelta(milliseconds=offset), clock, ok == 1, None if rtt is None else float(rtt))
