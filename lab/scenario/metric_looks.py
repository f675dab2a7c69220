"""Metrics as the controller prints them for CloudWatch, and the template's alarms on them and on Lambda's Throttles.

Called by `lab.scenario.looks`. Metrics that count are added up since the step; DowntimeLow and DowntimeHigh (in
milliseconds) are taken at their largest; every other is a gauge, of which each group's latest counts: the lowest of
them for at_least, the highest for at_most. An alarm's minute is one tick of the lab's schedule, as it is on AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.scenario.file import Expectation
from lab.scenario.sight import CannotJudge, Sight

COUNTED = ("Failovers", "FailoversFailed", "LastResort", "Launches", "Errors", "Passes", "Unknown")
LARGEST = ("DowntimeLow", "DowntimeHigh", "AddressRemap")
THROTTLES = "Throttles"
Point = tuple[float, str, float]
"""When, which group, what value."""


def points(scene: Sight, name: str, since: float, until: float, group: str = "") -> list[Point]:
    """Every value of a metric that was printed; Lambda counts throttles itself."""
    if name == THROTTLES:
        return [(at, "", 1.0) for at in scene.journal.throttles(since) if at <= until]
    found: list[Point] = []
    for line in scene.journal.lines(since):
        if "_aws" not in line.fields or name not in line.fields or line.at > until:
            continue
        whose, values = str(line.fields.get("group", "")), line.fields[name]
        if group in ("", whose):
            found += [(line.at, whose, float(each)) for each in (values if isinstance(values, list) else [values])]
    return found


def metric(scene: Sight, expectation: Expectation, since: float, until: float) -> tuple[bool, str, str]:
    """A metric within its bounds."""
    name, low, high = (expectation.args[key] for key in ("name", "at_least", "at_most"))
    found = points(scene, name, since, until, expectation.subject)
    bounds = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
    expected = f"metric {name} {' and '.join(filter(None, bounds))}"
    if name in COUNTED:
        lowest = highest = sum(value for _, _, value in found)
    elif not found:
        return False, expected, "no value"
    elif name in LARGEST:
        lowest = highest = max(value for _, _, value in found)
    else:
        latest = {whose: value for _, whose, value in found}.values()
        lowest, highest = min(latest), max(latest)
    holds = (low is None or lowest >= low) and (high is None or highest <= high)
    return holds, expected, f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"


# -- alarms


@dataclass(frozen=True)
class _Alarm:
    """As template.yaml defines it (a test compares them). `combine`: several groups' values to one."""

    metric: str
    periods: int
    length: int
    statistic: Callable[[list[float]], float]
    is_breaching: Callable[[float], bool]
    missing: str
    group: str = ""
    combine: Callable[[list[float]], float] = max
    needed: int | None = None
    """Periods that must breach (DatapointsToAlarm); None for all."""


def _below_one(value: float) -> bool:
    return value < 1


def _above_zero(value: float) -> bool:
    return value > 0


_DEFINED: Mapping[str, _Alarm] = {
    **{f"egress-down-{each}": _Alarm("EgressUp", 1, 1, max, _below_one, "missing", each) for each in "abc"},
    "controller-silent": _Alarm("Passes", 3, 1, sum, _below_one, "breaching"),
    "failover-failed": _Alarm("FailoversFailed", 1, 1, sum, _above_zero, "notBreaching", combine=sum),
    "standby-not-ready": _Alarm("StandbyReady", 3, 5, max, _below_one, "notBreaching", combine=min),
    "throttled": _Alarm(THROTTLES, 3, 1, sum, _above_zero, "notBreaching", combine=sum, needed=1),
}


def alarm(scene: Sight, expectation: Expectation, _since: float, until: float) -> tuple[bool, str, str]:
    """The state an alarm would be in now."""
    name, wanted = expectation.args["name"], expectation.args["is"]
    defined = _DEFINED[name]
    if defined.group and defined.group not in scene.scenario.zones:
        raise CannotJudge(f"line {expectation.line}: alarm {name}: there is no zone {defined.group} in this scenario")
    state = state_of(scene, defined, until)
    return state == wanted, f"alarm {name} to be {wanted}", state


def state_of(scene: Sight, defined: _Alarm, until: float) -> str:
    """Evaluated over periods that end now; CloudWatch's end with its own minutes."""
    span = scene.pace.tick * defined.length
    begun = scene.switched_on_at
    breaching: list[bool | None] = []
    for number in range(defined.periods):
        end = until - number * span
        if end - span < begun:
            break
        found = points(scene, defined.metric, end - span, end, defined.group)
        groups = sorted({whose for _, whose, _ in found})
        values = [defined.statistic([value for _, whose, value in found if whose == each]) for each in groups]
        breaching.append(defined.is_breaching(defined.combine(values)) if values else _MISSING[defined.missing])
    known = [each for each in breaching if each is not None]
    if not known:
        return "insufficient_data"
    return "alarm" if sum(known) >= (defined.needed or defined.periods) else "ok"


_MISSING: Mapping[str, bool | None] = {"missing": None, "breaching": True, "notBreaching": False}


def warm_up(scene: Sight) -> None:
    """Waits until every alarm that the file asks for has had its periods since natkeeper was switched on."""
    wanted = [_DEFINED[each.args["name"]] for each in scene.scenario.expect if each.kind == "alarm"]
    needed = max((each.length * each.periods for each in wanted), default=0) * scene.pace.tick
    scene.sleep(max(0.0, scene.switched_on_at + needed - scene.now()))
