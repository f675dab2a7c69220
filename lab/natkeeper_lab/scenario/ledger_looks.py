"""Incidents as the ledger has them, held against what the lab's own probes saw.

Called by `scenario.looks` and `record`. Outages are the ruler's; each belongs to the incident nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from natkeeper_lab.measure import Outage
from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.sight import TOLERANCE, Sight

NEAR = 3.0
"""Seconds between an incident and an outage that is taken for its own."""


@dataclass(frozen=True)
class Measured:
    """One incident beside the truth. Seconds; times are `time.monotonic()`. `high` None: not closed, or unbounded."""

    fields: dict[str, Any]
    opened_at: float
    recovered_at: float | None
    closed_at: float | None
    low: float | None
    high: float | None
    outages: tuple[Outage, ...]

    @property
    def seen(self) -> float:
        """What the lab saw."""
        return sum(each.downtime_seen_ns for each in self.outages) / 1e9

    @property
    def has_truth(self) -> bool:
        """The interval contains what the lab saw."""
        slack = TOLERANCE * max(1, len(self.outages))
        is_above = self.low is not None and self.low <= self.seen + slack
        return self.closed_at is not None and is_above and (self.high is None or self.seen - slack <= self.high)


def measured(scene: Sight, group: str, *, with_passing: bool = False) -> list[Measured]:
    """The group's incidents since the clock's zero, oldest first."""
    raw = [each for each in scene.ledger(group) if scene.instant(each["opened_at"]) >= scene.zero - 1]
    spans = [_span(scene, each) for each in raw]
    owned: dict[int, list[Outage]] = {}
    for outage in scene.rulers[group].outages(scene.zero):
        distances = [(_distance(span, outage), number) for number, span in enumerate(spans)]
        nearest = min(distances, default=(NEAR + 1, 0))
        if nearest[0] <= NEAR:
            owned.setdefault(nearest[1], []).append(outage)
    found = [_measured(scene, each, spans[number], owned.get(number, [])) for number, each in enumerate(raw)]
    return [each for each in found if with_passing or each.fields["cause"] not in ("planned-move", "transient")]


def incidents(scene: Sight, expectation: Expectation, since: float, until: float) -> tuple[bool, str, str]:
    """The number of incidents, and whether each interval contains the truth."""
    group, count, truth = expectation.subject, expectation.args["count"], expectation.args["contain_truth"]
    found = [each for each in measured(scene, group) if since - 1 <= each.opened_at <= until]
    wanted = [f"{count} incident{'s' * (count != 1)} of zone {group}" if count is not None else ""]
    wanted += ["each interval to contain what the lab saw" if truth else ""]
    is_right = count is None or len(found) == count
    if truth:
        is_right = is_right and all(each.has_truth for each in found) and (bool(found) or count == 0)
    seen = f"{len(found)}: " + "; ".join(_told(scene, each) for each in found)
    return is_right, " and ".join(filter(None, wanted)), seen


def is_pending(scene: Sight, group: str, count: int | None) -> bool:
    """Worth waiting for: an incident is open, or not all that are expected are there."""
    found = measured(scene, group)
    return any(each.closed_at is None for each in found) or (count is not None and len(found) < count)


def _told(scene: Sight, each: Measured) -> str:
    if each.closed_at is None:
        return f"{each.fields['cause']} at {scene.seconds(each.opened_at):.1f} s, still open"
    high = "?" if each.high is None else f"{each.high:.2f}"
    said = f"{each.low:.2f} to {high} s, seen {each.seen:.2f} s"
    return f"{each.fields['cause']} at {scene.seconds(each.opened_at):.1f} s, {said}"


def _span(scene: Sight, raw: dict[str, Any]) -> tuple[float, float]:
    opened = scene.instant(raw["opened_at"])
    ended = scene.instant(raw["recovered_at"]) if "recovered_at" in raw else scene.now()
    return opened, max(opened, ended)


def _distance(span: tuple[float, float], outage: Outage) -> float:
    first, last = outage.first_failed_ns / 1e9, outage.last_failed_ns / 1e9
    return max(0.0, span[0] - last, first - span[1])


def _measured(scene: Sight, raw: dict[str, Any], span: tuple[float, float], outages: list[Outage]) -> Measured:
    is_closed = "closed_at" in raw
    return Measured(
        fields=raw,
        opened_at=span[0],
        recovered_at=span[1] if "recovered_at" in raw else None,
        closed_at=scene.instant(raw["closed_at"]) if is_closed else None,
        low=int(raw["downtime_low_ms"]) / 1000 if "downtime_low_ms" in raw else None,
        high=int(raw["downtime_high_ms"]) / 1000 if "downtime_high_ms" in raw else None,
        outages=tuple(outages),
    )
