"""News as a plain JSON object and back, lossless: how the ledger keeps an inbox.

Called by the ledger's adapter through `natkeeper.triggers`. `from_record` reads what `to_record` wrote, of this release
or an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

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
from natkeeper.triggers.fields import Malformed

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


def from_record(record: Mapping[str, Any]) -> News:
    """Raises Malformed for anything `to_record` never wrote."""
    try:
        return _MAKERS[record["type"]](record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise Malformed(
            f"record: {error!r:.120} in {record!r:.120}; delete it, the next pass looks for itself"
        ) from error


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
    started_at = datetime.fromisoformat(record["started_at"]) if record["started_at"] else _NO_ROUNDS
    clocks = record["clocks"]

    def rounds(rows: list[list[Any]]) -> tuple[Round, ...]:
        return tuple(
            Round(
                started_at + int(offset) * _MICROSECOND,
                clocks[int(clock)],
                bool(ok),
                None if rtt is None else float(rtt),
            )
            for offset, clock, ok, rtt in rows
        )

    return ProbeReport(
        group=record["group"],
        run_id=record["run_id"],
        mode=RunMode(record["mode"]),
        verdict=Verdict(record["verdict"]),
        rounds=rounds(record["rounds"]),
        canary=rounds(record["canary"]),
        egress_address=record["egress_address"],
        egress_address_at=datetime.fromisoformat(seen_at) if (seen_at := record.get("egress_address_at")) else None,
        errors=tuple(record["errors"]),
    )


def _command(record: Mapping[str, Any]) -> Command:
    minutes = record["minutes"]
    whole = None if minutes is None else int(minutes)
    return Command(Verb(record["verb"]), record["group"], whole, record["to"], record.get("request_id"))


_MAKERS: dict[str, Callable[[Mapping[str, Any]], News]] = {
    "Tick": lambda _: Tick(),
    "InstanceChanged": lambda record: InstanceChanged(record["instance_id"], record["state"]),
    "SpotInterruption": lambda record: SpotInterruption(record["instance_id"], record["action"], record.get("asks", 0)),
    "RebalanceRecommended": lambda record: RebalanceRecommended(record["instance_id"]),
    "HealthNotice": lambda record: HealthNotice(record["code"], tuple(record["instance_ids"]), record.get("asks", 0)),
    "ProbeReport": _report,
    "ProbeFailed": lambda record: ProbeFailed(record["group"], record["run_id"], record["error"]),
    "Command": _command,
}
