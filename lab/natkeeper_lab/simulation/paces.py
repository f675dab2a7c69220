"""How long AWS takes: drawn once for each schedule, heavy-tailed, because most accounts never see the tail.

Read by `simulation.account`, `simulation.ec2`, `simulation.api`, `simulation.bus` and `simulation.functions`. Instants
and spans are the hub's microseconds. AWS documents hardly any of these times, so the worst that anybody reported is
assumed: docs/aws.md has each figure's source.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from natkeeper_lab.simulation.hub import SECOND

Span = tuple[int, int]
"""From, to; each event draws its own time from it."""
KIND_SHARE = 0.5
"""Of the schedules has an AWS as it mostly is; the others draw each of its times from the whole range."""
LONG_SHARE = 0.3
"""Of the times drawn from the whole range lies anywhere in it; the others lie in its first part."""
FIRST_PART = 0.15


@dataclass(frozen=True, slots=True)
class Paces:
    """One account's times. `public` None: an auto-assigned public address never comes.

    `script`: from running to forwarding at the first boot, `start_script` after a start. `remap`: until packets follow
    an Elastic IP; meanwhile the old mapping works, or neither does (`is_remap_dark`). `propagation`: until packets
    follow a changed route. `slow_calls`: the share of calls that take a time from `slow_call`.
    """

    to_running: Span = (4 * SECOND, 12 * SECOND)
    script: Span = (8 * SECOND, 18 * SECOND)
    start_script: Span = (8 * SECOND, 18 * SECOND)
    to_stopped: Span = (2 * SECOND, 25 * SECOND)
    to_terminated: Span = (2 * SECOND, 20 * SECOND)
    remap: Span = (0, SECOND)
    is_remap_dark: bool = True
    propagation: Span = (0, 0)
    public: Span | None = (0, 8 * SECOND)
    taken: Span = (0, 8 * SECOND)
    """Until an address of AWS's is gone once its attribute is off."""
    slow_calls: float = 0.0
    slow_call: Span = (SECOND, 8 * SECOND)
    events: Span = (50_000, 900_000)
    """From a state change to the controller's queue (45 to 855 ms in a lab of sketches, best effort on AWS)."""
    destination: Span = (0, 0)
    """From a prober's end to the controller's queue, beside what the queue itself takes."""


def drawn(dice: Random) -> Paces:
    """The times of one schedule's account."""
    if dice.random() < KIND_SHARE:
        return Paces(is_remap_dark=dice.random() < 0.5, propagation=(0, dice.choice((0, SECOND))))
    return hard(dice)


def hard(dice: Random) -> Paces:
    """Every time from its whole range: an Elastic IP follows after 0 to 10 s, a first boot takes 20 to 400 s."""
    running = _drawn(dice, 4, 30)
    return Paces(
        to_running=(running, running + 2 * SECOND),
        script=_about(_drawn(dice, 20, 400) - running),
        start_script=_about(_drawn(dice, 15, 200) - running),
        remap=_about(_drawn(dice, 0, 10)),
        is_remap_dark=dice.random() < 0.5,
        propagation=(0, dice.choice((0, SECOND))),
        public=None if dice.random() < 0.15 else _about(_drawn(dice, 0, 400)),
        slow_calls=dice.choice((0.0, 0.0, 0.0, 0.02, 0.1)),
        events=(50_000, max(900_000, _drawn(dice, 0, 60))),
        destination=(0, _drawn(dice, 0, 5)),
    )


def _drawn(dice: Random, low: int, high: int) -> int:
    """Seconds to microseconds: mostly near the lower end, sometimes anywhere."""
    width = 1.0 if dice.random() < LONG_SHARE else FIRST_PART
    return int((low + (high - low) * width * dice.random()) * SECOND)


def _about(middle: int) -> Span:
    """One account's times for the same thing differ little."""
    middle = max(0, middle)
    return (middle * 9 // 10, middle)
