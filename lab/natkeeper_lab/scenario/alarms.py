"""The alarms that template.yaml defines, and CloudWatch's rules for what state one is in.

Read by `metric_looks`, so that no second table can say something else than what is deployed. The rules are those of the
CloudWatch User Guide: "Evaluating an alarm" and "Configuring how CloudWatch alarms treat missing data", whose tables
the tests hold this against. Pure, but that it reads the template's file. May not import natkeeper.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from natkeeper_lab.shipped import TEMPLATE

MINUTE = 60
LOOKED_BACK = 2
"""Periods that CloudWatch asks for beyond those that it evaluates, in which a datapoint may come late. Its guide shows
five for three and says that the number depends on the period."""
STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {"Maximum": max, "Minimum": min, "Sum": sum}
COMBINED: Mapping[str, Callable[[Sequence[float]], float]] = {"MAX": max, "MIN": min, "SUM": sum}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
}
FORMULA = re.compile(r"(MAX|MIN|SUM)\(FILL\(METRICS\(\), (\d+)\)\)")
INSUFFICIENT = "insufficient_data"


@dataclass(frozen=True)
class Series:
    """One metric of an alarm. `group` is empty for one of the whole stack."""

    namespace: str
    metric: str
    group: str


@dataclass(frozen=True)
class Alarm:
    """As the template has it. `minutes`: of one period. `fill`: what stands in for a missing datapoint, None for
    nothing. `needed` of `periods` must breach."""

    name: str
    series: tuple[Series, ...]
    statistic: str
    minutes: int
    periods: int
    needed: int
    comparison: str
    threshold: float
    missing: str
    combined: str = "MAX"
    fill: float | None = None

    @property
    def group(self) -> str:
        """Whose alarm it is; empty where it is the stack's."""
        return self.series[0].group if len(self.series) == 1 else ""

    @property
    def looked_back(self) -> int:
        """Periods that CloudWatch asks for."""
        return self.periods + LOOKED_BACK

    def is_breaching(self, values: Sequence[Sequence[float]]) -> bool | None:
        """Of one period: each metric's values. None where the datapoint is missing."""
        known = [STATISTICS[self.statistic](each) if each else self.fill for each in values]
        found = [each for each in known if each is not None]
        if not found:
            return None
        return COMPARISONS[self.comparison](COMBINED[self.combined](found), self.threshold)

    def state(self, datapoints: Sequence[bool | None]) -> str | None:
        """The state by the datapoints that CloudWatch asked for, newest first; None to keep the state of before."""
        real = [each for each in datapoints if each is not None]
        lacking = self.periods - len(real)
        if lacking <= 0:
            return _word(sum(real[: self.periods]) >= self.needed)
        if self.missing == "ignore":
            return None
        if self.missing == "missing":
            return _word(all(real) or sum(real) >= self.needed) if real else INSUFFICIENT
        filled = lacking if self.missing == "breaching" else 0
        return _word(sum(real) + filled >= self.needed)


def _word(is_ringing: bool) -> str:
    return "alarm" if is_ringing else "ok"


@cache
def defined() -> Mapping[str, Alarm]:
    """Every alarm of the template by its name, without the stack's."""
    resources = template()["Resources"].values()
    alarms = (_alarm(each["Properties"]) for each in resources if each["Type"] == "AWS::CloudWatch::Alarm")
    return {each.name: each for each in alarms}


@cache
def template() -> Mapping[str, Any]:
    """template.yaml as it is written."""
    return dict(yaml.load(TEMPLATE.read_text("utf-8"), Loader=_Loader))


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref x`) as `{Ref: x}`."""


def _short_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _short_form)


def _alarm(properties: Mapping[str, Any]) -> Alarm:
    name = str(properties["AlarmName"]["Sub"]).removeprefix("${AWS::StackName}-")
    stats, combined, fill = _metrics(name, properties)
    return Alarm(
        name=name,
        series=tuple(dict.fromkeys(_series(each["Metric"]) for each in stats)),
        statistic=stats[0]["Stat"],
        minutes=stats[0]["Period"] // MINUTE,
        periods=properties["EvaluationPeriods"],
        needed=properties.get("DatapointsToAlarm", properties["EvaluationPeriods"]),
        comparison=properties["ComparisonOperator"],
        threshold=properties["Threshold"],
        missing=properties["TreatMissingData"],
        combined=combined,
        fill=fill,
    )


def _metrics(name: str, properties: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str, float | None]:
    """What the alarm watches, and how it makes one of several. ValueError for a formula that nobody here can read."""
    if "Metrics" not in properties:
        metric = {key: properties[key] for key in ("Namespace", "MetricName", "Dimensions")}
        return [{"Metric": metric, "Stat": properties["Statistic"], "Period": properties["Period"]}], "MAX", None
    members = list(_chosen(properties["Metrics"]))
    (formula,) = [each["Expression"] for each in members if "Expression" in each]
    read = FORMULA.fullmatch(formula)
    if read is None:
        raise ValueError(f"alarm {name}: the lab cannot read Expression {formula!r}; teach lab.scenario.alarms")
    return [each["MetricStat"] for each in members if "MetricStat" in each], read.group(1), float(read.group(2))


def _chosen(members: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Those of every zone; which ones a stack has, the scenario says."""
    for each in members:
        yield each["If"][1] if "If" in each else each


def _series(metric: Mapping[str, Any]) -> Series:
    groups = [each["Value"] for each in metric["Dimensions"] if each["Name"] == "group"]
    return Series(metric["Namespace"], metric["MetricName"], str(groups[0]) if groups else "")
