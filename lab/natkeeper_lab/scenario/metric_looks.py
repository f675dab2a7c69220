"""Metrics as the controller prints them for CloudWatch, and the template's alarms on them and on Lambda's Throttles.

Called by `scenario.looks`. Metrics that count are added up since the step; DowntimeLow and DowntimeHigh (in
milliseconds) are taken at their largest; every other is a gauge, of which each group's latest counts: the lowest of
them for at_least, the highest for at_most. An alarm's minute is one tick of the lab's schedule, as it is on AWS, and
its numbers and rules are the template's and CloudWatch's (`scenario.alarms`).
"""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.scenario.alarms import INSUFFICIENT, Alarm, Series, defined
from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.sight import CannotJudge, Sight

COUNTED = ("Failovers", "FailoversFailed", "LastResort", "Launches", "Errors", "Passes", "Unknown")
LARGEST = ("DowntimeLow", "DowntimeHigh", "AddressRemap")
THROTTLES = "Throttles"
JUDGED = ("natkeeper", "AWS/Lambda")
"""Namespaces of which the lab has the metrics."""
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


def alarm(scene: Sight, expectation: Expectation, _since: float, until: float) -> tuple[bool, str, str]:
    """The state an alarm would be in now."""
    name, wanted = expectation.args["name"], expectation.args["is"]
    watched = defined()[name]
    if watched.group and watched.group not in scene.scenario.zones:
        text = f"line {expectation.line}: alarm {name}: there is no zone {watched.group} in this scenario"
        raise CannotJudge(text)
    if any(each.namespace not in JUDGED for each in watched.series):
        raise CannotJudge(f"line {expectation.line}: alarm {name}: the lab has no such queue")
    state = state_of(scene, watched, until)
    return state == wanted, f"alarm {name} to be {wanted}", state


def state_of(scene: Sight, watched: Alarm, until: float) -> str:
    """The state after the last period that is over. Periods follow each other from when natkeeper was switched on: what
    was before it is not asked for."""
    span = scene.pace.tick * watched.minutes
    whole = int((until - scene.switched_on_at) / span + 1e-9)
    series = [each for each in watched.series if each.group in ("", *scene.scenario.zones)]
    while whole > 0:
        state = watched.state(_datapoints(scene, watched, series, whole, span))
        if state is not None:
            return state
        whole -= 1
    return INSUFFICIENT


def _datapoints(
    scene: Sight, watched: Alarm, series: Sequence[Series], whole: int, span: float
) -> Sequence[bool | None]:
    """Those of the last periods of so many, newest first."""
    asked = range(whole - 1, max(-1, whole - 1 - watched.looked_back), -1)
    begun, end = scene.switched_on_at, scene.switched_on_at + whole * span
    found: dict[int, list[list[float]]] = {number: [[] for _ in series] for number in asked}
    for place, each in enumerate(series):
        for at, _, value in points(scene, each.metric, begun + min(asked) * span, end, each.group):
            number = int((at - begun) / span + 1e-9)
            if number in found:
                found[number][place].append(value)
    return [watched.is_breaching(found[number]) for number in asked]


def warm_up(scene: Sight) -> None:
    """Waits until every alarm that the file asks for has had its periods since natkeeper was switched on."""
    wanted = [defined()[each.args["name"]] for each in scene.scenario.expect if each.kind == "alarm"]
    needed = max((each.minutes * each.periods for each in wanted), default=0) * scene.pace.tick
    scene.sleep(max(0.0, scene.switched_on_at + needed - scene.now()))
