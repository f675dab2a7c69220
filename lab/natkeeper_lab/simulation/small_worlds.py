"""Exhaustive small worlds: every plan, a crash before and after every call, every pair of crashes, every order of two
controllers' calls up to a number of switches; and convergence from each.

`natkeeper simulate --small-worlds` plays them all and prints what was explored; `tests/simulation/test_small_worlds.py`
plays a part on every run. Orders are bounded by context switches, the way of CHESS (Musuvathi and Qadeer, "Iterative
context bounding", PLDI 2007): with c switches nothing is left out that c switches can do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from natkeeper_lab.simulation.api import DESCRIBES
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.races import FIRST, SECOND_ONE, Point
from natkeeper_lab.simulation.replay import Played, Replay, play
from natkeeper_lab.simulation.scene import Scene
from natkeeper_lab.simulation.situations import SITUATIONS

PASTS = [some for count in (1, 2, 3) for some in combinations(DESCRIBES, count)]
"""Every way in which a look can be old in part or whole."""


@dataclass(frozen=True)
class Bounds:
    """How much is explored. `pairs`, `orders`, `looks`: at most so many of them for each situation, drawn evenly when
    there are more; None: all. `switches`: between two controllers. `homeward`: every so many replays is followed until
    traffic is home and everything rests, the others until there is egress; 0: none."""

    pairs: int | None = None
    orders: int | None = None
    looks: int | None = None
    switches: int = 2
    homeward: int = 10


@dataclass
class Explored:
    """One situation's line of the table."""

    situation: str
    calls: int = 0
    crashes: int = 0
    pairs: int = 0
    all_pairs: int = 0
    orders: int = 0
    all_orders: int = 0
    looks: int = 0
    all_looks: int = 0
    switches: int = 0
    violations: list[str] = field(default_factory=list)


# -- every replay of a situation


def explore(name: str, bounds: Bounds) -> Explored:
    """All of them, within the bounds."""
    found = Explored(name, switches=bounds.switches)
    counter = iter(range(1 << 30))

    def run(replay: Replay, *, follows_home: bool = False) -> Played:
        is_followed = follows_home or (bounds.homeward > 0 and next(counter) % bounds.homeward == 0)
        played = play(replay, follows_home=is_followed)
        found.violations += [f"{replay} — {each}" for each in played.violations[:1]]
        return played

    calm = run(Replay(name), follows_home=bounds.homeward > 0)
    found.calls = calm.calls[0]
    if SITUATIONS[name].expects.value not in calm.reasons:
        found.violations.append(f"{name}: expected {SITUATIONS[name].expects.value}, got {calm.reasons}")
    followers = _single_crashes(found, run)
    pairs = [(one, two) for one, calls in followers.items() for two in points(calls)]
    found.all_pairs = len(pairs)
    for pair in sample(pairs, bounds.pairs):
        run(Replay(name, pair))
        found.pairs += 1
    _orders(found, run, bounds)
    return found


def points(calls: int) -> list[Point]:
    """Before and after each of so many calls."""
    return [Point(number, is_after) for number in range(1, calls + 1) for is_after in (False, True)]


def sample(all_of_them: Sequence[Any], limit: int | None) -> Sequence[Any]:
    """At most so many, drawn evenly and the same each time."""
    if limit is None or len(all_of_them) <= limit:
        return all_of_them
    return Random(len(all_of_them)).sample(all_of_them, limit)


def _single_crashes(found: Explored, run: Callable[..., Played]) -> dict[Point, int]:
    """Each of them, and how many calls the wake-up after it made."""
    followers = {}
    for point in points(found.calls):
        played = run(Replay(found.situation, (point,)))
        if played.fired:
            found.crashes += 1
            followers[point] = played.calls[1] if len(played.calls) > 1 else 0
    return followers


def _orders(found: Explored, run: Callable[..., Played], bounds: Bounds) -> None:
    """One after the other; then with one switch at each call, once more with the leader dying there; then with more."""
    wave = [Replay(found.situation, second=second, leader=leader) for second, leader in _two_wake_ups(found.situation)]
    for switches in range(bounds.switches + 1):
        found.all_orders += len(wave)
        limit = None if bounds.orders is None else max(0, bounds.orders - found.orders)
        longer: list[Replay] = []
        for replay in sample(wave, limit):
            played = run(replay)
            found.orders += 1
            if switches < bounds.switches and not replay.is_fatal and played.fired == switches:
                longer += _with_one_more_switch(replay, played.calls[0])
        wave = longer
        if switches == 0:
            _old_looks(found, run, bounds, wave)


def _old_looks(found: Explored, run: Callable[..., Played], bounds: Bounds, orders: Sequence[Replay]) -> None:
    """These again, for each set of describes that shows whoever comes second what was before the first wrote."""
    looks = [replace(each, stale=stale) for each in orders for stale in PASTS]
    found.all_looks = len(looks)
    for replay in sample(looks, bounds.looks):
        run(replay)
        found.looks += 1


def _two_wake_ups(name: str) -> list[tuple[str, str]]:
    """What wakes the second one, and who leads. Two that the same wakes are the same two, whoever is called first."""
    situation = SITUATIONS[name]
    if situation.arrange(Scene(situation.setting)) is TICK:
        return [("same", FIRST)]
    return [("same", FIRST), ("tick", FIRST), ("tick", SECOND_ONE)]


def _with_one_more_switch(replay: Replay, calls: int) -> Iterator[Replay]:
    for made in range(1, calls):
        turns = (*replay.turns, made)
        yield Replay(replay.situation, (), replay.second, replay.leader, turns)
        if len(turns) == 1:
            yield Replay(replay.situation, (), replay.second, replay.leader, turns, is_fatal=True)


# -- all situations


def survey(bounds: Bounds, jobs: int = 1, names: Sequence[str] = ()) -> Iterator[Explored]:
    """Every situation's line, in order."""
    wanted = [each for each in SITUATIONS if not names or each in names]
    if jobs < 2:
        yield from map(partial(explore, bounds=bounds), wanted)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(explore, bounds=bounds), wanted)


def line(found: Explored) -> str:
    """For people."""
    return (
        f"{found.situation[:76]:76} {found.calls:5} {found.crashes:7} "
        f"{f'{found.pairs}/{found.all_pairs}':>13} {f'{found.orders}/{found.all_orders}':>13} "
        f"{f'{found.looks}/{found.all_looks}':>13} {len(found.violations):4}"
    )


HEADING = f"{'situation':76} {'calls':>5} {'crashes':>7} {'pairs':>13} {'orders':>13} {'old looks':>13} {'bad':>4}"


def explored(bounds: Bounds, jobs: int, names: Sequence[str] = (), json_out: Path | None = None) -> int:
    """Plays them, prints the table, and returns 1 if anything did not hold."""
    lines = []
    print(HEADING)
    for found in survey(bounds, jobs, names):
        lines.append(found)
        print(line(found), flush=True)
        for each in found.violations[:3]:
            print(f"    {each}")
    bad = sum(len(each.violations) for each in lines)
    print(
        f"{len(lines)} situations, {sum(each.crashes for each in lines)} crashes, "
        f"{sum(each.pairs for each in lines)} of {sum(each.all_pairs for each in lines)} pairs of crashes, "
        f"{sum(each.orders for each in lines)} of {sum(each.all_orders for each in lines)} orders of two controllers' "
        f"calls (at most {bounds.switches} switches), {sum(each.looks for each in lines)} of "
        f"{sum(each.all_looks for each in lines)} with old answers, {bad} violations"
    )
    if json_out is not None:
        json_out.write_text(json.dumps({"bounds": asdict(bounds), "situations": [asdict(each) for each in lines]}))
    return int(bad > 0)
