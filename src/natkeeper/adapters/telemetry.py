"""What people and alarms see: structured logs, CloudWatch metrics (embedded metric format), one message an incident.

Implements `ports.Telemetry` with Powertools; built by `wiring`. The metric names are a contract with template.yaml's
alarms and dashboard.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from natkeeper.adapters.aws import typed_errors
from natkeeper.core.incident import Memory
from natkeeper.core.message import lasts, tell
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import (
    AddressArrived,
    Happening,
    IncidentClosed,
    IncidentLasts,
    IncidentOpened,
    LaunchInstance,
    Plan,
    Reason,
    StartWatch,
)
from natkeeper.core.standing import BLIND
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

NAMESPACE = "natkeeper"
FAILED = (Reason.BUDGET_EXHAUSTED, Reason.NO_CANDIDATE, Reason.BORROW_ADDRESS)
MOVED = (Reason.FAIL_OVER, Reason.LAST_RESORT)


class CloudTelemetry:
    """`ports.Telemetry` for Lambda. `sns` is called for the first message only: most passes have none to send."""

    def __init__(self, logger: Logger, stack: str, topic: str, sns: Callable[[], SNSClient]) -> None:
        self._logger = logger
        self._stack = stack
        self._topic = topic
        self._sns = sns

    # -- ports.Telemetry

    def decided(self, plan: Plan) -> None:
        """One log line and the group's gauges."""
        memory = plan.memory
        self._logger.info(
            plan.detail or plan.reason.value,
            extra={
                "group": plan.group,
                "reason_code": plan.reason.value,
                "carried_by": plan.carried_by or "unknown",
                "target": memory.target,
                "is_backed": plan.is_backed,
                "actions": [_described(each) for each in plan.actions],
                "incident": memory.incident.incident_id if memory.incident else None,
            },
        )
        self._emit(plan.group, _gauges(plan, memory))

    def acted(self, group: str, outcome: Outcome) -> None:
        """One log line an action, louder when it failed."""
        extra = {"group": group, **_described(outcome.action), "ms": round(outcome.took / timedelta(milliseconds=1), 1)}
        if outcome.trouble is None:
            self._logger.info("done", extra=extra)
            if isinstance(outcome.action, LaunchInstance):
                self._emit(group, {"Launches": 1})
            return
        self._logger.error("not done", extra={**extra, **_trouble(outcome.trouble)})
        moved = not isinstance(outcome.action, (StartWatch, LaunchInstance))
        self._emit(group, {"Errors": 1, **({"FailoversFailed": 1} if moved else {})})

    def happened(self, group: str, happening: Happening) -> None:
        """Incidents go to the log and, once they are over, to the metrics."""
        if isinstance(happening, IncidentOpened):
            incident = happening.incident
            self._logger.warning(
                "incident opened",
                extra={"group": group, "incident": incident.incident_id, "cause": incident.cause.value},
            )
        elif isinstance(happening, IncidentLasts):
            self._logger.warning(lasts(happening), extra={"group": group, "incident": happening.incident.incident_id})
        elif isinstance(happening, IncidentClosed):
            self._closed(group, happening)
        elif isinstance(happening, AddressArrived):
            took = happening.took / timedelta(milliseconds=1)
            self._logger.info("the Elastic IP followed", extra={"group": group, "address_remap_ms": took})
            self._emit(group, {"AddressRemap": took}, MetricUnit.Milliseconds)
        else:
            self._logger.warning(happening.text, extra={"group": group})

    def send(self, text: str) -> None:
        """To the topic. A message is a courtesy: the alarms and the ledger have the facts."""
        with typed_errors("Publish"):
            self._sns().publish(TopicArn=self._topic, Subject=f"natkeeper: {self._stack}"[:100], Message=text)

    def troubled(self, group: str | None, trouble: Trouble) -> None:
        """A failed call outside a plan."""
        self._logger.error("a call failed", extra={"group": group, **_trouble(trouble)})
        if group is not None:
            self._emit(group, {"Errors": 1})

    def reported(self, report: ProbeReport) -> None:
        """What a prober saw."""
        failed = sum(not each.is_ok for each in report.rounds)
        log = self._logger.warning if report.is_down else self._logger.info
        log(
            "probe report",
            extra={
                "group": report.group,
                "mode": report.mode.value,
                "verdict": report.verdict.value,
                "rounds": len(report.rounds),
                "failed_rounds": failed,
                "egress_address": report.egress_address,
                "probe_errors": list(report.errors),
            },
        )

    # -- the stack's own

    def passed(self) -> None:
        """A wake-up went through: the heartbeat that the controller-silent alarm listens to."""
        metrics = EphemeralMetrics(namespace=NAMESPACE)
        metrics.add_dimension("stack", self._stack)
        metrics.add_metric("Passes", MetricUnit.Count, 1)
        _print(metrics)

    def _closed(self, group: str, closed: IncidentClosed) -> None:
        text = tell(closed)
        figures = {"DowntimeLow": closed.low} | ({"DowntimeHigh": closed.high} if closed.high is not None else {})
        low_ms = {name: span / timedelta(milliseconds=1) for name, span in figures.items()}
        self._logger.warning(
            text, extra={"group": group, "incident": closed.incident.incident_id, "downtime_ms": low_ms}
        )
        self._emit(group, low_ms, MetricUnit.Milliseconds)

    def _emit(self, group: str, values: dict[str, float], unit: MetricUnit = MetricUnit.Count) -> None:
        if not values:
            return
        metrics = EphemeralMetrics(namespace=NAMESPACE)
        metrics.add_dimension("stack", self._stack)
        metrics.add_dimension("group", group)
        for name, value in values.items():
            metrics.add_metric(name, MetricUnit.Percent if name == "Observed" else unit, value)
        _print(metrics)


def _print(metrics: EphemeralMetrics) -> None:
    """One line in one write. Powertools' own flush prints the line's end apart, so that two groups' threads could share
    a line, of which CloudWatch would read neither.
    """
    sys.stdout.write(json.dumps(metrics.serialize_metric_set(), separators=(",", ":")) + "\n")


def _gauges(plan: Plan, memory: Memory) -> dict[str, float]:
    standing = plan.standing
    values: dict[str, float] = {"Unknown": float(standing.is_unknown), "Paused": float(standing.is_paused)}
    if standing.is_up is not None:
        values["EgressUp"] = float(standing.is_up)
    if standing.is_not_healing is not None:
        values["NotHealing"] = float(standing.is_not_healing)
    if plan.reason not in BLIND:
        values["Home"] = float(plan.carried_by == plan.group)
    if memory.checks_mended:
        values["ChecksMended"] = float(len(memory.checks_mended))
    if plan.is_backed is not None:
        values["StandbyReady"] = float(plan.is_backed)
    if memory.observed is not None:
        values["Observed"] = memory.observed
    if plan.reason in MOVED:
        values["Failovers"] = 1.0
    if plan.reason is Reason.LAST_RESORT:
        values["LastResort"] = 1.0
    if plan.reason in FAILED:
        values["FailoversFailed"] = 1.0
    return values


def _described(action: Any) -> dict[str, Any]:
    fields = {key: _plain(value) for key, value in asdict(action).items()}
    return {"action": type(action).__name__, **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return getattr(value, "value", value)


def _trouble(trouble: Trouble) -> dict[str, Any]:
    return {
        "trouble": type(trouble).__name__,
        "operation": trouble.operation,
        "error_code": trouble.code,
        "error": trouble.detail,
    }
