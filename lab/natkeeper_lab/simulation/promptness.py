"""How long a group may have no egress while some NAT of the stack forwards, with nothing in natkeeper's way.

Called by `simulation.campaign`, for schedules in which something breaks that natkeeper can see, and nothing breaks
natkeeper. That all is well in the end (`simulation.aftermath`) says nothing of how long it took.
"""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.simulation.aftermath import groups, is_held
from natkeeper_lab.simulation.book import Book
from natkeeper_lab.simulation.bus import MINUTE
from natkeeper_lab.simulation.faults import COMPLICATIONS
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.patience import an_address, aws, can_carry
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World

UNSEEN = (
    "targets-down",
    "names-only",
    "nats-too-small",
    "prober-cut-off",
    "route-edited",
    "route-deleted",
    "all-routes-deleted",
)
"""Probes cannot tell, or another table than the prober's is dark: that waits for a tick."""
STRANDED = 45 * SECOND
"""Found within five seconds, moved within one. What is longer is a stack whose NATs all failed: one that was tried
while it booted and failed its verification (3 s each) is taken once its canary has proven it. Of 6,000 such schedules
the slowest took 32 s."""
WITHOUT_A_LEDGER = MINUTE
"""So much more while the ledger is down: then ticks alone start the prober's runs (seed 830050659: 67 s in all), and
nobody remembers the end of a run that was heard of meanwhile."""
CHAINED_FOR = 140 * SECOND
"""In an outage each run ends after three rounds, and 50 that follow each other are all that a chain may have: after
that only ticks look (seed 770019802)."""


def is_asked_of(setting: Setting, faults: Sequence[str]) -> bool:
    """Whether such a schedule's egress has to be back promptly: no complication but a ledger that is down beside a
    single trouble, and a canary to prove things with."""
    is_plain = setting.begins == "at-rest" and setting.has_canary and min(setting.failovers, setting.launches) > 2
    troubles = [each for each in faults if each != "ledger-down"]
    is_simple = len(troubles) == len(faults) or (len(troubles), len(faults)) == (1, 2)
    return is_plain and is_simple and not any(each in COMPLICATIONS or each in UNSEEN for each in troubles)


def stranded_within(world: World) -> int:
    """So long at the most, with what AWS takes; the first of the stack's NATs that is tried may be a dead one."""
    return STRANDED + aws(world) - an_address(world)


class Promptness:
    """Since when each group has been stranded, told whenever packets may fare differently."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._dark_since: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self._longest = (0, "")
        book.world.on_packets.append(self._changed)

    def _changed(self) -> None:
        world, now = self._book.world, self._book.now
        can_go = can_carry(world)
        for group in groups(world):
            if world.is_up(group):
                self._end(group)
                self._dark_since.pop(group, None)
                continue
            self._dark_since.setdefault(group, now)
            if can_go:
                self._since.setdefault(group, now)
            else:
                self._end(group)

    def _end(self, group: str) -> None:
        if group in self._since:
            until = min(self._book.now, self._dark_since[group] + CHAINED_FOR)
            self._longest = max(self._longest, (until - self._since.pop(group), group))

    def judge(self) -> None:
        """21. Egress is verified within a bounded number of passes where a candidate exists."""
        for group in list(self._since):
            self._end(group)
        longest, group = self._longest
        most = stranded_within(self._book.world) + (WITHOUT_A_LEDGER if self._book.world.fires["ledger-down"] else 0)
        if longest > most and not is_held(self._book):
            text = f"zone {group} had no egress for {longest / 1e6:.1f} s while a NAT of the stack forwarded"
            self._book.broke(21, text)
