"""News as a plain JSON object and back, lossless: how the ledger keeps an inbox.

Called by the ledger's adapter through `natkeeper.triggers`. `from_record` reads what `to_record` wrote, of this release
or an earlier one, and refuses everything else: whoever may write to the table may write to an inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from natkeeper.core.bounds import LONGEST_PAUSE
from natkeeper.core.news import (
    Command,
    HealthNotice,
    InstanceChanged,
    News,
    ProbeFailed,
    ProbeReport,
    RebalanceRecommended,
    Round,
    RunMode,
    SpotInterruption,
    Tick,
    Verb,
    Verdict,
)
from natkeeper.triggers.fields import Malformed, plain, shown

T = TypeVar("T")
REMEDY = "delete it, the next pass looks for itself"
LARGEST = 1 << 53
"""Beyond it a JSON number is not exact (RFC 8259, section 6)."""
YEARS = range(2000, 9001)
"""Of an instant: arithmetic with one near either end of the calendar overflows."""
_MICROSECOND = timedelta(microseconds=1)
_NO_ROUNDS = datetime.min.replace(tzinfo=UTC)


def to_record(news: News) -> dict[str, Any]:
    """A JSON-able object; `from_record` gives an equal `news` back."""
    match news:
        case ProbeReport():
            body = _report_record(news)
        case HealthNotice():
            body = {"code": news.code, "instance_ids": list(news.instance_ids), "asks": news.asks}
        case Command():
            body = {"verb": news.verb.value, "group": news.group, "minutes": news.minutes, "to": news.to}
            if news.request_id is not None:
                body["request_id"] = news.request_id
        case Tick() | InstanceChanged() | SpotInterruption() | RebalanceRecommended() | ProbeFailed():
            body = dict(vars(news))
    return {"type": type(news).__name__, **body}


def from_record(record: object) -> News:
    """Raises Malformed for anything `to_record` never wrote."""
    try:
        if isinstance(record, Mapping):
            return _MAKERS[record["type"]](record)
    except Malformed:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise Malformed(f"record: {shown(error)} in {shown(record)}; {REMEDY}") from error
    raise Malformed(f"record: expected an object, got {shown(record)}; {REMEDY}")


def _report_record(report: ProbeReport) -> dict[str, Any]:
    """Rounds as `[microseconds since started_at, clock, ok, rtt_ms]`: a run has up to a minute of them, and DynamoDB
    bills by the kilobyte."""
    everything = (*report.rounds, *report.canary)
    started_at = everything[0].sent_at if everything else None
    clocks = list(dict.fromkeys(one.clock for one in everything))

    def rows(rounds: Iterable[Round]) -> list[list[Any]]:
        return [
            [
                (one.sent_at - (started_at or one.sent_at)) // _MICROSECOND,
                clocks.index(one.clock),
                int(one.is_ok),
                one.rtt_ms,
            ]
            for one in rounds
        ]

    return {
        "group": report.group,
        "run_id": report.run_id,
        "mode": report.mode.value,
        "verdict": report.verdict.value,
        "started_at": started_at.isoformat() if started_at else None,
        "clocks": clocks,
        "rounds": rows(report.rounds),
        "canary": rows(report.canary),
        "egress_address": report.egress_address,
        "egress_address_at": report.egress_address_at.isoformat() if report.egress_address_at else None,
        "errors": list(report.errors),
    }


def _report(record: Mapping[str, Any]) -> ProbeReport:
    started_at = _instant(record["started_at"]) if record["started_at"] else _NO_ROUNDS
    clocks = [_text(each) for each in _list(record["clocks"])]

    def rounds(rows: object) -> tuple[Round, ...]:
        return tuple(
            Round(_in_time(started_at + _offset(offset)), clocks[_whole(clock)], bool(_whole(ok)), _rtt(rtt))
            for offset, clock, ok, rtt in _list(rows)
        )

    return ProbeReport(
        group=_text(record["group"]),
        run_id=_text(record["run_id"]),
        mode=RunMode(record["mode"]),
        verdict=Verdict(record["verdict"]),
        rounds=rounds(record["rounds"]),
        canary=rounds(record["canary"]),
        egress_address=_maybe(_text, record["egress_address"]),
        egress_address_at=_maybe(_instant, record.get("egress_address_at")),
        errors=tuple(_text(each) for each in _list(record["errors"])),
    )


def _command(record: Mapping[str, Any]) -> Command:
    minutes, asked = _maybe(_whole, record["minutes"]), _maybe(_text, record.get("request_id"))
    if minutes is not None and not 1 <= minutes <= LONGEST_PAUSE // timedelta(minutes=1):
        raise ValueError(f"{minutes} minutes")
    return Command(Verb(record["verb"]), _maybe(_text, record["group"]), minutes, _maybe(_text, record["to"]), asked)


def _health(record: Mapping[str, Any]) -> HealthNotice:
    ids = tuple(_text(each) for each in _list(record["instance_ids"]))
    return HealthNotice(_text(record["code"]), ids, _whole(record.get("asks", 0)))


# -- one value, or refusing


def _maybe(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or plain(value) != value:
        raise TypeError(f"{shown(value)} is no text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{shown(value)} is no list")
    return value


def _whole(value: object) -> int:
    """JSON of an earlier release has 3.0 for 3."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise TypeError(f"{shown(value)} is no count")
    return int(value)


def _offset(value: object) -> timedelta:
    """The canary's first round may be a little before the first of all."""
    whole = -_whole(-value) if isinstance(value, (int, float)) and value < 0 else _whole(value)
    return whole * _MICROSECOND


def _rtt(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise TypeError(f"{shown(value)} is no span")
    return float(value)


def _instant(value: object) -> datetime:
    return _in_time(datetime.fromisoformat(_text(value)))


def _in_time(instant: datetime) -> datetime:
    if instant.tzinfo is None or instant.year not in YEARS:
        raise ValueError(f"{instant} is no instant")
    return instant


_MAKERS: dict[str, Callable[[Mapping[str, Any]], News]] = {
    "Tick": lambda _: Tick(),
    "InstanceChanged": lambda record: InstanceChanged(_text(record["instance_id"]), _text(record["state"])),
    "SpotInterruption": lambda record: SpotInterruption(
        _text(record["instance_id"]), _text(record["action"]), _whole(record.get("asks", 0))
    ),
    "RebalanceRecommended": lambda record: RebalanceRecommended(_text(record["instance_id"])),
    "HealthNotice": _health,
    "ProbeReport": _report,
    "ProbeFailed": lambda record: ProbeFailed(_text(record["group"]), _text(record["run_id"]), _text(record["error"])),
    "Command": _command,
}
