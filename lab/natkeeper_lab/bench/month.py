"""What a month costs, from what the lab saw while nothing happened, and what the functions' processes hold in memory.

Called by `bench.sections`. natkeeper runs at AWS's pace here (a tick a minute, watch runs of 55 s) and is counted
for one whole watch run of each group. docs/cost.md is written from these figures.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3

from natkeeper_lab.api import ApiOptions, FunctionResult
from natkeeper_lab.bench import memory
from natkeeper_lab.bench.keeper import Natkeeper
from natkeeper_lab.bench.rows import Row
from natkeeper_lab.stack import Choices, short_name

MONTH = 730 * 3600
"""Seconds."""
GB_SECOND = 0.0000133334
INSTANCE_HOUR, ADDRESS_HOUR = 0.0042, 0.005
METRIC, ALARM = 0.30, 0.10
GATEWAY_HOUR = 0.045
"""Dollars: Lambda on arm64, t4g.nano, public IPv4, a custom metric, a standard alarm, a NAT gateway; us-east-1."""
RUN = 55.0
"""Seconds of a watch run (ProbeRunSeconds' default)."""
LEDGER_SECONDS = 0.005
"""Of a call to DynamoDB, in place of an EC2 call's: single-digit milliseconds, as its product page says."""
ZONES = 2


@dataclass
class Invocations:
    """One function's: when each ended, and how long it took."""

    memory_mb: int
    ended: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Minute:
    """What was counted between two ends of a watch run of group a. `period`: seconds from one to the other."""

    period: float
    passes: int
    pass_seconds: tuple[float, ...]
    pass_gb: float
    run_seconds: float
    run_gb: float
    calls: Counter[str]
    metrics: int
    alarms: int
    log_bytes: int


def measure() -> tuple[list[Row], dict[str, Any]]:
    """Rows of cost and memory, and all that was counted."""
    api = ApiOptions(boot_seconds=1.0, stop_seconds=1.0)
    short = {"NATKEEPER_PROBE_RUN": "3"}
    with Natkeeper(ZONES, Choices(zones=ZONES, run=RUN, quiet=2.0, tick=60.0, api=api, settings=short)) as rig:
        seen = _timed(rig)
        rig.switch_on()
        rig.stack.api.faults.clear()
        rig.stack.api.faults.delay(0.05, "ec2:*")
        rig.stack.api.faults.delay(LEDGER_SECONDS, "dynamodb:*")
        rig.stack.hosts["controller"].override({"NATKEEPER_PROBE_RUN": str(RUN)})
        minute = _count(rig, seen)
        rows = [*_cost(minute), *_memory(rig)]
    return rows, {**minute.__dict__, "calls": dict(minute.calls), "zones": ZONES}


def _timed(rig: Natkeeper) -> dict[str, Invocations]:
    """The same functions behind the same names, with a clock at either end of each invocation."""
    found: dict[str, Invocations] = {}
    for function in rig.stack.deployment.functions.values():
        name = short_name(function.logical_id)
        seen = found[name] = Invocations(function.memory_mb)
        rig.stack.api.register_function(
            function.name,
            _clocked(rig.stack.hosts[name].invoke, seen),
            on_success=function.on_success,
            on_failure=function.on_failure,
            retries=function.retries,
        )
    return found


def _clocked(invoke: Callable[[bytes], FunctionResult], seen: Invocations) -> Callable[[bytes], FunctionResult]:
    def invoked(payload: bytes) -> FunctionResult:
        began = time.monotonic()
        result = invoke(payload)
        ended = time.monotonic()
        seen.ended.append((ended, ended - began))
        return result

    return invoked


def _count(rig: Natkeeper, seen: dict[str, Invocations]) -> Minute:
    """From the end of one long run of group a to the end of the next: one run and its passes, and a minute's tick."""
    runs, controller = seen["prober-a"], seen["controller"]

    def long_runs() -> list[tuple[float, float]]:
        return [each for each in runs.ended if each[1] > RUN / 2]

    rig.until("a first watch run of its full length", lambda: len(long_runs()) >= 1, 2 * RUN)
    began, read = time.monotonic(), len(rig.stack.hosts["controller"].logs())
    rig.stack.api.clear_calls()
    rig.until("a second one", lambda: len(long_runs()) >= 2, 2 * RUN)
    ended = time.monotonic()
    lines = rig.stack.hosts["controller"].logs()[read:]
    passes = [took for at, took in controller.ended if began <= at <= ended]
    (first, _), (second, run_seconds) = long_runs()[:2]
    return Minute(
        period=second - first,
        passes=len(passes),
        pass_seconds=tuple(round(each, 4) for each in passes),
        pass_gb=controller.memory_mb / 1024,
        run_seconds=round(run_seconds, 3),
        run_gb=runs.memory_mb / 1024,
        calls=Counter(f"{each.service}:{each.operation}" for each in rig.stack.api.calls() if not each.is_by_hand),
        metrics=_metrics([each.text for each in lines]),
        alarms=_alarms(),
        log_bytes=sum(len(each.text) + 1 for each in lines),
    )


def _metrics(lines: list[str]) -> int:
    """Custom metrics as CloudWatch counts them: a name with its dimensions' values."""
    found = set()
    for line in lines:
        if '"_aws"' not in line:
            continue
        fields = json.loads(line)
        for each in fields["_aws"]["CloudWatchMetrics"]:
            for dimensions in each["Dimensions"]:
                values = tuple(fields[name] for name in dimensions)
                found |= {(each["Namespace"], metric["Name"], values) for metric in each["Metrics"]}
    return len(found)


def _alarms() -> int:
    """Billed for each metric that an alarm looks at."""
    client: Any = boto3.client("cloudwatch")
    return sum(
        sum("MetricStat" in each for each in alarm.get("Metrics", [])) or 1
        for alarm in client.describe_alarms()["MetricAlarms"]
    )


def _cost(minute: Minute) -> list[Row]:
    """Dollars a month for two zones, item by item."""
    hours = MONTH / 3600
    a_pass = sum(minute.pass_seconds) / len(minute.pass_seconds)
    runs = MONTH / minute.period * ZONES
    passes = MONTH / 60 + runs
    bare = ZONES * hours * (INSTANCE_HOUR + ADDRESS_HOUR)
    items = {
        "NAT instances": ZONES * hours * INSTANCE_HOUR,
        "Elastic IPs, and one to prove NATs with": (ZONES + 1) * hours * ADDRESS_HOUR,
        "probers": runs * minute.run_seconds * minute.run_gb * GB_SECOND,
        "controller": passes * a_pass * minute.pass_gb * GB_SECOND,
        "metrics": minute.metrics * METRIC,
        "alarms": minute.alarms * ALARM,
    }
    name = "a month, two zones at rest"
    rows = [Row(name, item, "$", (round(dollars, 2),)) for item, dollars in items.items()]
    floor = "the same instances and addresses with nobody to look after them"
    rows.append(Row(name, "sum", "$", (round(sum(items.values()), 2),), round(bare, 2), floor))
    gateways = ZONES * hours * (GATEWAY_HOUR + ADDRESS_HOUR)
    return [
        *rows,
        Row(name, "NAT gateways before traffic", "$", (round(gateways, 2),)),
        Row(name, "one pass of the controller", "ms", tuple(round(each * 1000, 1) for each in minute.pass_seconds)),
        Row(name, "passes", "thousand", (round(passes / 1000, 1),)),
        Row(name, "ledger calls a pass", "", (round(_of(minute, "dynamodb") / minute.passes, 2),)),
        Row(name, "EC2 calls a pass", "", (round(_of(minute, "ec2") / minute.passes, 2),)),
        Row(name, "log of a pass", "bytes", (round(minute.log_bytes / minute.passes),)),
    ]


def _of(minute: Minute, service: str) -> int:
    return sum(count for name, count in minute.calls.items() if name.startswith(f"{service}:"))


def _memory(rig: Natkeeper) -> list[Row]:
    """After the invocations there were."""
    interpreter, clients = memory.bare_mb(memory.INTERPRETER), memory.bare_mb(memory.CLIENTS)
    rows = []
    for host, floor, floor_is in (
        ("controller", clients, "boto3 with a client for EC2 and one for DynamoDB"),
        ("prober-a", interpreter, "the interpreter alone"),
    ):
        function = rig.stack.hosts[host]
        held = memory.resident_mb(function.name)
        if held is not None:
            rows.append(
                Row("memory held", host.removesuffix("-a"), "MiB", (round(held, 1),), round(floor, 1), floor_is)
            )
    return rows
