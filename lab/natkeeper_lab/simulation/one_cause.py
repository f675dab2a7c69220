"""One NAT is lost, nothing else goes wrong, and AWS takes its time: what that costs, whatever the pace.

`python -m natkeeper_lab.simulation.one_cause --series remap --seed N --schedules M` plays one cause a seed and exits 1
where a bound is broken; `--table` prints the table of docs/simulation.md. All of a schedule's invariants are held
against it, too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from random import Random

from natkeeper.core.plan import Reason
from natkeeper_lab.simulation.aftermath import is_home
from natkeeper_lab.simulation.book import Move
from natkeeper_lab.simulation.bus import MINUTE
from natkeeper_lab.simulation.collector import held_off
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.invariants.plans import FAILOVERS
from natkeeper_lab.simulation.machines import Machine
from natkeeper_lab.simulation.paces import Paces, Span
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.truth import dark
from natkeeper_lab.simulation.world import World

CAUSES = ("stopped", "hung", "terminated")
SERIES = ("remap", "boot")
LOST = "a"
QUIET_PERIOD = 20
AT = (3 * SECOND, 40 * SECOND)
"""When it is lost: anywhere in a watch run."""
WITHIN = 45 * MINUTE
"""Until everything is home: two boots of 400 s, waits and quiet periods have room."""
DETECTED = 7_500_000
"""Three rounds a second apart, the first up to a second after the loss, the last one's time-out (0.8 s); a report on
its way, a cold start, a look and a control probe."""
MARGIN = SECOND // 2
LASTING = 20
"""Seconds; an outage that lasts longer is told of when it begins, too (`core.telling`)."""
REMAPS = (0, 1, 2, 3, 4, 6, 8, 10)


@dataclass(frozen=True)
class Case:
    """What is lost, in which stack, at which pace."""

    seed: int
    cause: str
    zones: int
    standby: str
    paces: Paces
    has_proving: bool = True


@dataclass(frozen=True)
class Outcome:
    """What it cost group a. Seconds; `dark` is the outage itself, `dark_home` the one of the move home."""

    case: Case
    failovers: int
    homecomings: int
    others: int
    """Moves of group a that are neither."""
    dark: float
    dark_home: float
    addresses: int
    most_alive: int
    launches: int
    messages: int
    home_after: float | None
    broken: tuple[str, ...]


def case_of(seed: int, series: str) -> Case:
    """The case that a seed stands for."""
    dice = Random(seed * 2 + SERIES.index(series))
    zones = dice.choice((1, 2, 3))
    standby = dice.choice(("stopped", "running")) if zones == 1 else "none"
    remap = _about(dice.uniform(0, 10))
    paces = Paces(remap=remap, is_remap_dark=dice.random() < 0.5, propagation=(0, dice.choice((0, SECOND))))
    if series == "boot":
        running = dice.uniform(4, 30)
        paces = replace(
            paces,
            to_running=_about(running),
            script=_about(dice.uniform(20, 400) - running),
            start_script=_about(dice.uniform(15, 200) - running),
            public=None if dice.random() < 0.25 else _about(dice.uniform(0, 400)),
        )
    return Case(seed, dice.choice(CAUSES), zones, standby, paces)


def _about(seconds: float) -> Span:
    middle = int(max(0.0, seconds) * SECOND)
    return (middle * 19 // 20, middle)


def play(case: Case) -> Outcome:
    """Plays one."""
    with held_off():
        return _play(case)


def _play(case: Case) -> Outcome:
    judge = _Counting()
    setting = Setting(zones=case.zones, standby=case.standby, quiet=QUIET_PERIOD, run=55, has_proving=case.has_proving)
    world = World(case.seed, setting, judge, case.paces)
    judge.watch(world)
    world.start()
    if case.standby != "none":
        world.hub.run(WITHIN, partial(_has_standby, world, case.standby))
    at = world.hub.now + world.dice.randrange(*AT)
    world.hub.run(at)
    judge.begin()
    _lose(world, case.cause)
    world.hub.run(at + WITHIN, lambda: bool(judge.book.violations) or _is_over(world, judge, at))
    found = _told(case, world, judge, at)
    world.close()
    return found


def _has_standby(world: World, state: str) -> bool:
    """And it is proven, or waits."""
    standbys = [each for each in world.ec2.machines.values() if each.tag("natkeeper:role") == "standby"]
    is_there = bool(standbys) and standbys[0].state == state
    interface = standbys[0].interface if is_there else None
    return is_there and (state == "stopped" or (interface is not None and interface.interface_id in world.carried_at))


def _lose(world: World, cause: str) -> None:
    machine = world.ec2.owner(world.route_of(world.policy.group(LOST).table_ids[0]) or "")
    assert machine is not None
    if cause == "stopped":
        world.ec2.stop(machine)
    elif cause == "terminated":
        world.ec2.terminate(machine)
    else:
        machine.is_hung = True
        world.packets_changed()


def _is_over(world: World, judge: _Counting, at: int) -> bool:
    """Home again, and nothing left to terminate."""
    is_moved = world.hub.now - at > MINUTE
    wanted = 1 if world.setting.standby == "none" else 2
    return is_moved and is_home(world) and len(_alive(world)) <= wanted and _is_settled(judge)


def _is_settled(judge: _Counting) -> bool:
    plan = judge.book.plans.get(LOST)
    return plan is not None and plan[1].reason is Reason.AT_REST and plan[1].memory.incident is None


def _alive(world: World) -> list[Machine]:
    return [each for each in world.ec2.machines.values() if each.tag("natkeeper:group") == LOST and not each.is_gone]


class _Counting(Invariants):
    """The judge, which also counts what people would be told, and instances."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = 0
        self.most_alive = 0
        self.first_move = 0

    def begin(self) -> None:
        """From here on it counts."""
        self.messages, self.most_alive = 0, 0
        self.first_move = len(self.book.moves[LOST])

    def changed(self) -> None:
        super().changed()
        self.most_alive = max(self.most_alive, len(_alive(self.book.world)))

    def messaged(self, _invocation: object, _text: str) -> None:
        """People are told."""
        self.messages += 1

    @property
    def moves(self) -> list[Move]:
        """Group a's, since it began."""
        return self.book.moves[LOST][self.first_move :]


def _told(case: Case, world: World, judge: _Counting, at: int) -> Outcome:
    moves = judge.moves
    homeward = [each.at for each in moves if each.reason is Reason.GO_HOME]
    end = homeward[0] if homeward else world.hub.now
    addresses = {fate.address for since, fate in world.fates[LOST] if since >= at and fate.is_ok}
    found = Outcome(
        case,
        failovers=sum(each.reason in FAILOVERS for each in moves),
        homecomings=len(homeward),
        others=sum(each.reason not in (*FAILOVERS, Reason.GO_HOME, Reason.CONVERGE) for each in moves),
        dark=dark(world, LOST, at, end),
        dark_home=dark(world, LOST, end, world.hub.now) if homeward else 0.0,
        addresses=len(addresses),
        most_alive=judge.most_alive,
        launches=len([each for each in judge.book.launches[LOST] if each >= at]),
        messages=judge.messages,
        home_after=(homeward[-1] - at) / SECOND if is_home(world) and homeward else 0.0 if is_home(world) else None,
        broken=tuple(str(each) for each in judge.book.violations),
    )
    return replace(found, broken=(*found.broken, *_beyond(found)))


def _beyond(found: Outcome) -> Iterator[str]:
    """What must not be: the bounds of one cause."""
    case = found.case
    # A standby that waits stopped is started beside the own NAT, and traffic is sent to the first that runs, so that
    # its address comes while it boots. Where the other one forwards first, traffic follows: a second failover.
    is_waiting = case.zones == 1 and case.standby == "stopped"
    most = 2 if is_waiting else 1
    wanted = 1 if case.standby == "none" else 2
    if found.home_after is None:
        yield "not home"
    if not (0 if is_waiting else 1) <= found.failovers <= most:
        yield f"{found.failovers} failovers"
    if found.homecomings > 1 or (found.homecomings < 1 and not is_waiting):
        yield f"{found.homecomings} moves home"
    if found.others:
        yield f"{found.others} other moves"
    if found.addresses != 1:
        yield f"{found.addresses} public addresses"
    if found.messages > (1 if found.dark < LASTING else 2):
        yield f"{found.messages} messages"
    if found.most_alive > wanted + 1:
        yield f"{found.most_alive} instances at once"
    if found.launches > 2:
        yield f"{found.launches} launches"
    remap = case.paces.remap[1] + case.paces.propagation[1]
    if not is_waiting and found.dark * SECOND > DETECTED + remap + MARGIN:
        yield f"dark for {found.dark:.1f} s"
    if found.dark_home * SECOND > remap + SECOND + MARGIN:
        yield f"the move home was dark for {found.dark_home:.1f} s"


# -- the command


def _attempt(asked: tuple[int, str]) -> Outcome:
    return play(case_of(*asked))


def _series(name: str, first: int, count: int, jobs: int) -> list[Outcome]:
    asked = [(seed, name) for seed in range(first, first + count)]
    if jobs == 1:
        return [_attempt(each) for each in asked]
    with get_context("fork").Pool(jobs) as pool:
        return list(pool.imap_unordered(_attempt, asked, chunksize=20))


def table(jobs: int, seeds: int = 12) -> list[str]:
    """One line for each remap and number of zones: the worst of some seeds, causes and both ways of remapping."""
    asked = [
        Case(seed, CAUSES[seed % 3], zones, "running" if zones == 1 else "none", _remapping(remap, seed))
        for remap in REMAPS
        for zones in (1, 2, 3)
        for seed in range(seeds)
    ]
    with get_context("fork").Pool(jobs) as pool:
        found = pool.map(play, asked, chunksize=4)
    lines = ["| remap | zones | failovers | dark, s | dark on the way home, s | addresses seen | most instances |"]
    lines.append("|---|---|---|---|---|---|---|")
    for remap in REMAPS:
        for zones in (1, 2, 3):
            some = [e for e in found if e.case.zones == zones and e.case.paces.remap[1] == remap * SECOND]
            row = (
                max(each.failovers for each in some),
                f"{min(each.dark for each in some):.1f} to {max(each.dark for each in some):.1f}",
                f"{max(each.dark_home for each in some):.1f}",
                max(each.addresses for each in some),
                max(each.most_alive for each in some),
            )
            lines.append(f"| {remap} s | {zones} | " + " | ".join(map(str, row)) + " |")
    return lines


def _remapping(remap: int, seed: int) -> Paces:
    exact = (remap * SECOND, remap * SECOND)
    return Paces(remap=exact, is_remap_dark=seed % 2 == 0, propagation=(0, SECOND))


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every bound held. 1: one did not."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.simulation.one_cause", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--series", choices=SERIES, default="remap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", action="store_true", help="print the table of docs/simulation.md instead")
    asked = parser.parse_args(arguments)
    if asked.table:
        print("\n".join(table(asked.jobs)))
        return 0
    found = _series(asked.series, asked.seed, asked.schedules, asked.jobs)
    broken = [each for each in found if each.broken]
    for each in broken[:20]:
        print(f"seed {each.case.seed}: {each.case.cause}, {each.case.zones} zones, {each.case.standby}: {each.broken}")
    print(f"{len(found)} cases of one cause ({asked.series}), {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
