"""Two NATs die within three seconds of each other: the family of `scenario.two_deaths` on virtual time.

`python -m natkeeper_lab.simulation.two_deaths --members N` plays so many, exits 1 where one of its expectations or of
the bounds here is broken, and says what it saw. What the files cannot ask for is judged here by the truth: nobody is
moved to a NAT that has been dead for long enough to be known as such, and nobody is told more than once of one
incident.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from natkeeper_lab.scenario import ledger_looks
from natkeeper_lab.scenario.counts import told_about
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.two_deaths import Member, family
from natkeeper_lab.simulation.collector import held_off
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.scenario.run import Run
from natkeeper_lab.simulation.scenario.stage import Stage
from natkeeper_lab.simulation.world import Judge

LASTS = "is not known to be back"
"""In a message about an incident that is not over."""
KNOWN = 7 * SECOND
"""So long after a NAT's end is it known: three rounds a second apart, the first up to a second after it, the last one's
time-out, a report on its way, a cold start, a look and a control probe (`simulation.one_cause.DETECTED`)."""


@dataclass(frozen=True)
class Outcome:
    """One member's. `moves`, `failovers`: the most of one zone."""

    member: Member
    moves: int
    failovers: int
    incidents: int
    messages: int
    dark: float
    broken: tuple[str, ...]


class _Truth(Judge):
    """Listens beside the invariants: since when each NAT forwards nothing, and who was moved to one of these."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dead_since: dict[str, int] = {}
        self._targets = dict(stage.journal.targets)
        self.shuffles: list[str] = []

    def changed(self) -> None:
        """Something in the account did."""
        world = self._stage.world
        for each in world.ec2.machines.values():
            if each.interface is None:
                continue
            name = each.interface.interface_id
            if world.packets.guest(each, each.interface) is None:
                self._dead_since.pop(name, None)
            else:
                self._dead_since.setdefault(name, world.hub.now)
        for table, before in self._targets.items():
            target = self._stage.journal.targets[table]
            if target != before:
                self._targets[table] = target
                self._judge(table, target)

    def _judge(self, table: str, target: str | None) -> None:
        world = self._stage.world
        owner = world.ec2.owner(target or "")
        since = self._dead_since.get(target or "")
        if owner is None or since is None or world.hub.now - since < KNOWN:
            return
        if owner.state == "pending" or world.hub.now < owner.forwards_from < world.hub.now + 60 * SECOND:
            return  # it boots, and traffic is sent there so that its address comes meanwhile
        at = self._stage.seconds(world.hub.now / SECOND)
        self.shuffles.append(f"{table} to {target} at {at:.2f} s, dead for {(world.hub.now - since) / SECOND:.1f} s")


class _Run(Run):
    """Keeps what is to be judged before its world is closed."""

    def __init__(self, member: Member, seed: int, path: Path) -> None:
        super().__init__(parse(path), seed, lambda _line: None, {})
        self.member = member
        self.truth = _Truth(self.stage)
        self.stage.bench.judges.append(self.truth)
        self.counts: Counter[str] = Counter()
        self.dark = 0.0
        self.broken: list[str] = []

    def _finish(self) -> None:
        super()._finish()
        stage, zero = self.stage, self.stage.zero
        self.broken += [f"moved {each}" for each in self.truth.shuffles]
        for zone in self.member.victims:
            incidents = len(ledger_looks.measured(stage, zone))
            told = [text for _, text in told_about(stage, zone, zero, stage.now())]
            # One that lasts is told of when it is known to, and when it ends.
            lasting = sum(LASTS in each for each in told)
            self.counts.update(incidents=incidents, messages=len(told))
            if len(told) - lasting > incidents or lasting > incidents:
                self.broken.append(f"{len(told)} messages about {incidents} incidents of zone {zone}, {lasting} last")
            self.dark = max(self.dark, sum(each.downtime_seen_ns for each in stage.rulers[zone].outages(zero)) / 1e9)


def play(member: Member, seed: int) -> Outcome:
    """Plays one."""
    with held_off(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{member.name}.yaml"
        path.write_text(member.text())
        run = _Run(member, seed, path)
        found = run.play()
    failed = [f"{each.text}: {each.seen}" for each in found.verdicts if not each.passed]
    void = [f"not judged: {found.void}"] if found.void else []
    return Outcome(
        member,
        _most(found.verdicts, "moves"),
        _most(found.verdicts, "failovers"),
        run.counts["incidents"],
        run.counts["messages"],
        run.dark,
        (*void, *failed, *run.broken),
    )


def _most(verdicts: Sequence[object], kind: str) -> int:
    """`seen` begins with the number."""
    found = [each for each in verdicts if getattr(each, "text", "").startswith(f"{kind} ")]
    return max((int(str(getattr(each, "seen", "0")).partition(":")[0]) for each in found), default=0)


def _attempt(asked: tuple[Member, int]) -> Outcome:
    return play(*asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every bound held. 1: one did not."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.simulation.two_deaths", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--members", type=int, default=288)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    members = [(each, asked.seed) for each in family(asked.first, asked.members)]
    with get_context("fork").Pool(asked.jobs) as pool:
        found = pool.map(_attempt, members, chunksize=4)
    broken = [each for each in found if each.broken]
    for each in broken[:20]:
        print(f"{each.member.name}: {'; '.join(each.broken)}")
    print(
        f"{len(found)} members, seed {asked.seed}: {len(broken)} broken; at most {max(e.failovers for e in found)} "
        f"failovers and {max(e.moves for e in found)} moves of a zone, dark for {max(e.dark for e in found):.1f} s"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
