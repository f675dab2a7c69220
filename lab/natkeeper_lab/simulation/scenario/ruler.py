"""New connections from one zone's private host, one every few milliseconds, as the lab's ruler opens them.

Called by `simulation.scenario.stage`. Between two changes of the path all connections fare alike, so they are worked
out by stretches and not one by one; only where packets are lost by chance is each one drawn. Shares no code with
natkeeper.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from natkeeper_lab.measure import Outage, Probe
from natkeeper_lab.scenario.sight import INTERVAL_MS, PATIENT_MS
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.packets import Fate
from natkeeper_lab.simulation.probes import chance

REPEAT = SECOND
"""The kernel repeats a lost SYN after a second (RFC 6298, initial RTO)."""
SETTLING = 100_000


@dataclass(slots=True)
class Stretch:
    """Connections in a row that fared alike, by when they were begun."""

    is_ok: bool
    first: int
    last: int


class Ruler:
    """Open loop, from the moment it is made. `turned` is told of each change of the path."""

    def __init__(self, hub: Hub, seed: int, fate: Fate, deadline_ms: int) -> None:
        self._hub, self._seed = hub, seed
        self._deadline = deadline_ms * 1000
        self._every = INTERVAL_MS[deadline_ms] * 1000
        self._repeats = deadline_ms >= PATIENT_MS
        self._since, self._fates = [hub.now], [fate]
        self._next = hub.now
        self._stretches: list[Stretch] = []

    def turned(self, fate: Fate) -> None:
        """From now on connections fare so."""
        self._since.append(self._hub.now)
        self._fates.append(fate)

    @property
    def known_until(self) -> float:
        """Connections begun before this have an end that is known."""
        return (self._hub.now - self._deadline - SETTLING) / SECOND

    def outages(self, since: float) -> list[Outage]:
        """Rows of failed connections since then."""
        found, kept = [], self._known(since)
        for number, each in enumerate(kept):
            if each.is_ok:
                continue
            before = kept[number - 1].last * 1000 if number else None
            after = kept[number + 1].first * 1000 if number + 1 < len(kept) else None
            count = (each.last - each.first) // self._every + 1
            found.append(Outage(each.first * 1000, each.last * 1000, before, after, count))
        return found

    def failed(self, since: float) -> list[Probe]:
        """Connections that failed since then."""
        rows = (range(each.first, each.last + 1, self._every) for each in self._known(since) if not each.is_ok)
        return [Probe(at * 1000, None, "timeout") for row in rows for at in row]

    # -- stretches

    def _known(self, since: float) -> list[Stretch]:
        self._advance(int(self.known_until * SECOND))
        begin = int(since * SECOND)
        found = []
        for each in self._stretches:
            late = -(-max(0, begin - each.first) // self._every) * self._every
            if each.first + late <= each.last:
                found.append(Stretch(each.is_ok, each.first + late, each.last))
        return found

    def _advance(self, until: int) -> None:
        while self._next <= until:
            number = bisect_right(self._since, self._next) - 1
            last = min(until, self._since[number + 1] - 1 if number + 1 < len(self._since) else until)
            last = self._next + (last - self._next) // self._every * self._every
            fate = self._fates[number]
            if fate.loss or (self._repeats and not fate.is_ok):
                for at in range(self._next, last + 1, self._every):
                    self._note(self._stands(at), at, at)
            else:
                self._note(fate.is_ok, self._next, last)
            self._next = last + self._every

    def _stands(self, at: int) -> bool:
        return self._goes(at) or (self._repeats and self._goes(at + REPEAT))

    def _goes(self, at: int) -> bool:
        fate = self._fates[bisect_right(self._since, at) - 1]
        return fate.is_ok and (not fate.loss or chance(self._seed, at) < (1 - fate.loss) ** 2)

    def _note(self, is_ok: bool, first: int, last: int) -> None:
        if self._stretches and self._stretches[-1].is_ok is is_ok:
            self._stretches[-1].last = last
        else:
            self._stretches.append(Stretch(is_ok, first, last))
