"""One event, played and measured: what it did to routes, to new connections and to those that were open.

Called by `bench.sections` and by tests; a `Rig` says what the event is and who answers to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from natkeeper_lab.api import Call
from natkeeper_lab.bench.rig import Rig
from natkeeper_lab.rulers import Kept, Measured, Rulers

FLOWS = 50
TWINS = 20
"""Pairs of connections of two hosts from one source port to one destination, beside the 50."""
GROUP = "a"
CALM = 2.5
"""Watched for so long after a short outage: a connection that was silent for the last second is lost."""


@dataclass(frozen=True)
class Played:
    """One run. Milliseconds where the name says ms, else seconds; both count from the event.

    `restored`: when new connections worked again, by zone; 0 where none failed. `new_lost`: how many of those that the
    5 ms ruler opened did not stand within 0.8 s. `lost_for_good`: of those that waited for 8 s, as programs do.
    `apart_ms`: from the last route's answer to the address's, in a planned move; negative in the wrong order.
    `shared` and `changed`: connections of two hosts from one source port, by whether the NAT had left it alone.
    `stood_still`: the longest that the machine did not run the rulers, so that a reader can tell its faults from ours.
    """

    event: str
    moved_ms: float
    restored: dict[str, float]
    new_lost: int
    down: float
    lost_for_good: int
    client: Kept
    server: Kept | None
    apart_ms: float | None = None
    stood_still: float = 0.0
    shared: Kept | None = None
    changed: Kept | None = None

    @property
    def flows_lost(self) -> int:
        """Established connections that did not survive, of those that had a source port of their own."""
        return sum(each.opened - each.survived for each in self._sides())

    @property
    def flows(self) -> int:
        """Established connections that there were."""
        return sum(each.opened for each in self._sides())

    @property
    def longest_gap_ms(self) -> float | None:
        """Of those that survived."""
        gaps = [each.longest_gap_ms for each in self._sides() if each.longest_gap_ms is not None]
        return max(gaps, default=None)

    @property
    def beyond_ms(self) -> float | None:
        """The longest gap, less the time between the two calls."""
        if self.apart_ms is None or self.longest_gap_ms is None:
            return None
        return self.longest_gap_ms - abs(self.apart_ms)

    @property
    def addresses(self) -> tuple[str, ...]:
        """From which the far end saw the established connections."""
        return tuple(sorted({address for each in self._sides() for address in each.addresses_seen}))

    def _sides(self) -> list[Kept]:
        return [each for each in (self.client, self.server) if each is not None]


@dataclass(frozen=True)
class Event:
    """What happens to zone a's NAT; `strike` answers when. `server`: connections on which the server speaks."""

    name: str
    strike: Callable[[Rig], float]
    server: int = 0
    is_watched_everywhere: bool = False


def stopped(rig: Rig) -> float:
    return rig.stop(GROUP)


def terminated(rig: Rig) -> float:
    return rig.terminate(GROUP)


def hung(rig: Rig) -> float:
    return rig.hang(GROUP)


def zone_lost(rig: Rig) -> float:
    return rig.lose_zone(GROUP)


def moved_away(rig: Rig) -> float:
    return rig.move(GROUP, "b")


def moved_home(rig: Rig) -> float:
    return rig.move(GROUP, "home")


STOP = Event("stop", stopped)
TERMINATE = Event("terminate", terminated)
HANG = Event("hang", hung)
ZONE_LOSS = Event("zone loss", zone_lost, is_watched_everywhere=True)
AWAY = Event("planned move", moved_away, server=FLOWS)
HOME = Event("planned move home", moved_home, server=FLOWS)


def play(rig: Rig, event: Event) -> Played:
    """From a rig at rest to the end of the measurement; `recover` is the caller's next step."""
    rig.stack.api.clear_calls()
    rulers = {GROUP: Rulers(rig.stack, GROUP, client=FLOWS, server=event.server, others=rig.others, twins=TWINS)}
    if event.is_watched_everywhere:
        rulers |= {group: Rulers(rig.stack, group) for group in rig.stack.groups if group != GROUP}
    at = event.strike(rig)
    moves = rig.wait_until_moved(GROUP, at)
    moved_at = moves[-1].ended_at
    # TCP's repeats double their distance: after an outage the next one is at most as long away as the outage was.
    time.sleep(max(0.0, CALM + (moved_at - at) - (time.monotonic() - moved_at)))
    measured = {group: each.stop() for group, each in rulers.items()}
    rig.mend(GROUP)
    return _played(event, at, moves, rig.stack.api.calls(), rig.stack.groups[GROUP].allocation, measured)


def _played(
    event: Event, at: float, moves: list[Call], calls: list[Call], allocation: str, measured: dict[str, Measured]
) -> Played:
    here = measured[GROUP]
    assert here.client is not None
    moved_at = moves[-1].ended_at
    return Played(
        event=event.name,
        moved_ms=round((moved_at - at) * 1000, 1),
        restored={group: restored(each, at) for group, each in measured.items()},
        new_lost=sum(each.probes for each in here.outages),
        down=round(here.downtime_seen, 3),
        lost_for_good=here.new_lost,
        client=here.client,
        server=here.server,
        apart_ms=apart_ms(moves, calls, allocation, at) if event.server else None,
        stood_still=round(max(each.stood_still for each in measured.values()), 3),
        shared=here.shared,
        changed=here.changed,
    )


def apart_ms(moves: list[Call], calls: list[Call], allocation: str, since: float) -> float | None:
    """From the last route's answer to the address's. Both waited as long for their answer, so the changes themselves
    are as far apart. None when the address did not move."""
    found = [
        each
        for each in calls
        if each.operation == "AssociateAddress"
        and each.params.get("AllocationId") == allocation
        and each.started_at >= since
        and each.error_code is None
    ]
    return round((found[0].ended_at - moves[-1].ended_at) * 1000, 1) if found else None


def restored(measured: Measured, at: float) -> float:
    """When, after the event, new connections worked again for the last time; infinite when they did not."""
    ends = [each.first_ok_after_ns for each in measured.outages if each.last_failed_ns / 1e9 >= at]
    if None in ends:
        return float("inf")
    return round(max((end / 1e9 - at for end in ends if end is not None), default=0.0), 3)
