"""How long the lab's own waiting takes, and what `--time-scale` does to it.

Scaled (divided by N): an instance's boot and stop, the quiet period, the length of a watch run, the schedule's tick.
Never scaled: the probes' interval and time-outs, TCP, the time between the timeline's steps, every duration that a
scenario file writes down, and natkeeper's own limits. At scale 1 the lab is quicker than AWS on purpose: 3 s for a boot
(26 s on AWS), 3 s for a stop, 4 s of quiet (300 s), runs of 5 s (55 s), a tick each 20 s (60 s); a file that gives
QuietPeriod or ProbeRunSeconds gets what it gives.

Called by `scenario.run`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BOOT, STOP, QUIET, RUN, TICK = 3.0, 3.0, 4.0, 5.0, 20.0
SHORTEST = {"boot": 0.3, "stop": 0.3, "quiet": 1.0, "run": 3.0, "tick": 3.0}
"""A run of fewer than three rounds proves nothing (settings refuse it); the others keep an order between things."""


@dataclass(frozen=True)
class Pace:
    """Seconds, scaled."""

    boot: float
    stop: float
    quiet: float
    run: float
    tick: float

    @property
    def patience(self) -> float:
        """How long something that the lab waits for by itself may take: a launch, its proof, the quiet period."""
        return 45 + 3 * (self.boot + self.stop + self.quiet + self.run)


def pace(stack: Mapping[str, str], scale: float) -> Pace:
    """The pace of one run. ValueError for a parameter that is no number."""
    wanted = {
        "boot": BOOT,
        "stop": STOP,
        "quiet": float(stack.get("QuietPeriod", QUIET)),
        "run": float(stack.get("ProbeRunSeconds", RUN)),
        "tick": TICK,
    }
    return Pace(**{name: max(min(SHORTEST[name], value), value / scale) for name, value in wanted.items()})
