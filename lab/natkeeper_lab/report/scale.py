"""Seconds to per cent of a drawing's width. Positions in per cent let a drawing be stretched without its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 5.0)
MINUTES = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0)


@dataclass(frozen=True)
class Window:
    """A piece of the run's time."""

    start: float
    end: float

    @property
    def span(self) -> float:
        """Its length in seconds."""
        return self.end - self.start

    def x(self, at: float) -> str:
        """Where an instant lies, in per cent, held inside the drawing."""
        return percent((min(max(at, self.start), self.end) - self.start) / self.span)

    def width(self, start: float, end: float) -> str:
        """How wide a stretch of time is, in per cent of the drawing, as far as it lies in it."""
        left, right = max(start, self.start), min(end, self.end)
        return percent(max(0.0, right - left) / self.span)

    def holds(self, start: float, end: float | None = None) -> bool:
        """Whether an instant, or some of a stretch, lies in it."""
        return (start if end is None else end) >= self.start and start <= self.end

    def column(self, at: float, columns: int) -> int:
        """Which of so many equal columns an instant lies in."""
        return int((at - self.start) / self.span * columns)

    def ticks(self, about: int) -> tuple[float, list[float]]:
        """Round instants, at most about `about` of them, and the distance between them."""
        distance = _round_up(self.span / about)
        first = int(-(-self.start // distance))
        count = int(self.end // distance) - first + 1
        return distance, [(first + k) * distance for k in range(count)]


def window(instants: Iterable[float | None], pad: float = 0.0) -> Window:
    """The window that holds every instant, with room on both sides; one second when there is nothing to hold."""
    known = [each for each in instants if each is not None]
    if not known:
        return Window(0.0, 1.0)
    start, end = min(known) - pad, max(known) + pad
    return Window(start, end if end - start >= 0.01 else start + 1.0)


def percent(share: float) -> str:
    """A share as SVG wants it."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + "%"


def seconds(value: float | None, unit: str = " s") -> str:
    """A time or duration with as many decimals as help; a dash for the unknown."""
    if value is None:
        return "—"
    size = abs(value)
    decimals = 3 if size < 1000 else 1
    whole = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return f"{'0' if whole in ('-0', '') else whole}{unit}"


def clock(value: float | None) -> str:
    """An instant in a column: always three decimals, so that the points stand under each other."""
    return "—" if value is None else f"{value:.3f}"


def tick(value: float, distance: float) -> str:
    """A label of the axis: seconds, or minutes where they are what is counted."""
    if distance >= 600:
        return f"{value / 60:g} min"
    decimals = 0 if distance >= 1 else 1 if distance >= 0.1 else 2 if distance >= 0.01 else 3
    return f"{value:.{decimals}f} s".replace("-0 s", "0 s")


def _round_up(distance: float) -> float:
    if distance > 30:
        return next((each for each in MINUTES if each >= distance), MINUTES[-1] * max(1, distance // MINUTES[-1] + 1))
    power = 0.001
    while power * STEPS[-1] < distance:
        power *= 10
    found = next(each * power for each in STEPS if each * power >= distance)
    return 30.0 if found == 50.0 else round(found, 6)
