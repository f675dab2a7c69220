"""A figure of the benchmark: its samples, its floor, the baseline's, and whether a promise about it is kept.

Pure. Called by `bench.sections` and `tools/bench.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`floor` is what nobody could undercut on this machine in this run, `floor_is` what that is.

    `promise` is empty for a figure that is only shown; `is_kept` is judged over every sample, never over the median.
    """

    event: str
    figure: str
    unit: str
    samples: tuple[float, ...]
    floor: float | None = None
    floor_is: str = ""
    baseline: tuple[float, ...] = ()
    promise: str = ""
    is_kept: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """As `--json` writes it. A connection that never came back is null, not a number."""
        return {
            "event": self.event,
            "figure": self.figure,
            "unit": self.unit,
            **spread(self.samples),
            "samples": [_finite(each) for each in self.samples],
            "floor": self.floor,
            "floor_is": self.floor_is,
            "baseline": {**spread(self.baseline), "samples": [_finite(each) for each in self.baseline]}
            if self.baseline
            else None,
            "promise": self.promise or None,
            "is_kept": self.is_kept,
        }


def spread(samples: Sequence[float]) -> dict[str, float | None]:
    """Median, range, and the quartiles where there are enough samples for them."""
    if not samples:
        return {"median": None, "lowest": None, "highest": None}
    found: dict[str, float | None] = {
        "median": _finite(statistics.median(samples)),
        "lowest": _finite(min(samples)),
        "highest": _finite(max(samples)),
    }
    if len(samples) >= 4 and all(math.isfinite(each) for each in samples):
        lower, _, upper = statistics.quantiles(samples, n=4, method="inclusive")
        found |= {"lower_quartile": round(lower, 3), "upper_quartile": round(upper, 3)}
    return found


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


HEAD = f"{'':<42}{'median':>9}{'spread':>20}{'floor':>9}{'baseline':>10}  promise"


def table(rows: Sequence[Row]) -> list[str]:
    """One line a row under a line for each event."""
    lines = [HEAD]
    event = ""
    for row in rows:
        if row.event != event:
            event = row.event
            lines.append(event)
        lines.append(_line(row))
    return lines


def _line(row: Row) -> str:
    shown = spread(row.samples)
    median = _text(shown["median"]) if row.samples else "-"
    low, high = _text(shown["lowest"]), _text(shown["highest"])
    range_ = "" if len(row.samples) < 2 else f"{low} to {high}"
    floor = "" if row.floor is None else _text(row.floor)
    baseline = _text(spread(row.baseline)["median"]) if row.baseline else ""
    kept = {None: "", True: "kept: ", False: "NOT KEPT: "}[row.is_kept]
    name = f"  {row.figure}, {row.unit}" if row.unit else f"  {row.figure}"
    return f"{name:<42}{median:>9}{range_:>20}{floor:>9}{baseline:>10}  {kept}{row.promise}".rstrip()


def _text(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2f}"
