"""Seeded schedules: a stack, some faults, what must hold meanwhile, and what must come true afterwards.

`natkeeper simulate` and the tests call `play` and `search`. A schedule is a function of its seed alone; `shrunk`
takes faults away from a failing one while it still fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from natkeeper_lab.simulation import aftermath
from natkeeper_lab.simulation.book import Violation
from natkeeper_lab.simulation.collector import held_off
from natkeeper_lab.simulation.faults import COMPLICATIONS, FAULTS, TROUBLES, Act
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.paces import Paces, drawn
from natkeeper_lab.simulation.promptness import Promptness, is_asked_of
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World

LONGEST_FAULTS = (16 * SECOND, 16 * SECOND, 24 * SECOND, 40 * SECOND)
"""One of these, drawn for each schedule. The first 16 seconds have the failover and what complicates it; 40 have the
replacement's boot as well. What comes later is for the slow schedules, and for those that are followed home."""
SOONEST = SECOND // 2
"""Nothing breaks before: the first tick has begun the probers' runs by then."""
TIGHT_SHARE = 0.1
"""Of the stacks has a bound on failovers or launches so small that a schedule can use it up."""
SLOW_SHARE = 0.03
SLOWER = 8
"""So much longer do the faults of those last: long enough for proofs to grow old, and for a prober to give up."""
PACES_APART = 1 << 40
"""Paces are drawn apart from faults, so that a schedule's faults are the same at any pace."""
HOME_SHARE = 0.04
"""Of the schedules is followed until everything is home and at rest; the others until there is egress."""


@dataclass(frozen=True)
class Injection:
    """One fault of a schedule. `at`, `lasts`: microseconds. `seed` draws its details, whatever the others do."""

    fault: str
    at: int
    lasts: int
    seed: int


@dataclass(frozen=True)
class Schedule:
    """Everything that a run depends on."""

    seed: int
    setting: Setting
    injections: tuple[Injection, ...]
    goes_home: bool
    paces: Paces = field(default_factory=Paces)


@dataclass
class Result:
    """What came of one schedule."""

    schedule: Schedule
    violations: list[Violation]
    fires: Counter[str]
    transitions: Counter[str]
    seconds: float
    """Virtual seconds it took."""
    calls: int
    is_held: bool = False
    story: list[tuple[int, str]] = field(default_factory=list)


def schedule_of(seed: int, zones: int | None = None) -> Schedule:
    """The schedule that a seed stands for."""
    dice = Random(seed * 2 + 1)
    setting = _setting(dice, zones)
    names = [
        dice.choices(TROUBLES, [FAULTS[each].weight for each in TROUBLES])[0] for _ in range(dice.choice((1, 1, 2)))
    ]
    weights = [FAULTS[each].weight for each in COMPLICATIONS]
    names += dice.choices(COMPLICATIONS, weights, k=dice.choice((0, 1, 1, 2, 3)))
    injections = []
    longest = dice.choice(LONGEST_FAULTS)
    for name in names:
        begin = dice.randrange(SOONEST, longest // 3)
        if FAULTS[name].is_complication:
            # Before or with the trouble, so that there is something to complicate.
            begin = dice.randrange(0, longest // 3)
        lasts = dice.randrange(5 * SECOND, longest - begin)
        injections.append(Injection(name, begin, lasts, dice.getrandbits(32)))
    injections.sort(key=lambda each: each.at)
    goes_home = dice.random() < HOME_SHARE and setting.has_canary
    paces = drawn(Random(seed * 2 + PACES_APART))
    return _rarer(Random(seed * 2), Schedule(seed, setting, tuple(injections), goes_home, paces))


def _rarer(dice: Random, schedule: Schedule) -> Schedule:
    """Some schedules with tighter bounds or longer faults; drawn apart, so that the others stay as they are."""
    if dice.random() < TIGHT_SHARE:
        failovers, launches = dice.choice((1, 2, 6)), dice.choice((1, 2, 6))
        setting = replace(schedule.setting, failovers=failovers, launches=launches)
        schedule = replace(schedule, setting=setting)
    if dice.random() < SLOW_SHARE:
        slower = (replace(each, at=each.at * SLOWER, lasts=each.lasts * SLOWER) for each in schedule.injections)
        schedule = replace(schedule, injections=tuple(slower))
    return schedule


def _setting(dice: Random, zones: int | None) -> Setting:
    count = zones or dice.choices((1, 2, 3), (1, 6, 2))[0]
    begins = dice.choices(("at-rest", "unknown", "bare"), (16, 1, 1))[0]
    standby = "stopped" if count == 1 else dice.choices(("none", "stopped", "running"), (8, 1, 1))[0]
    return Setting(
        zones=count,
        tables=dice.choice((1, 2, 2, 3)),
        standby=standby,
        has_gateway=dice.random() < 0.1,
        has_canary=dice.random() < 0.93 or begins == "bare",
        quiet=dice.choice((10, 20, 40)),
        run=dice.choice((20, 30, 55)),
        begins=begins,
    )


def play(schedule: Schedule, *, is_told: bool = False) -> Result:
    """Plays one schedule. Its story is kept when `is_told`."""
    with held_off():
        return _play(schedule, is_told=is_told)


def _play(schedule: Schedule, *, is_told: bool) -> Result:
    judge = Invariants()
    world = World(schedule.seed, schedule.setting, judge, schedule.paces)
    judge.watch(world)
    if is_told:
        world.story = []
    world.start()
    end = 0
    for each in schedule.injections:
        act = Act(world, Random(each.seed), each.at + each.lasts)
        world.hub.after(each.at, lambda each=each, act=act: FAULTS[each.fault].inject(act), "fault")  # type: ignore[misc]
        end = max(end, each.at + each.lasts)
    book = judge.book
    is_hasty = is_asked_of(schedule.setting, [each.fault for each in schedule.injections])
    promptness = Promptness(book) if is_hasty else None
    world.hub.run(end + SECOND, partial(bool, book.violations))
    _stop_faults(world)
    for phase in (
        aftermath.judge_egress,
        *((aftermath.judge_home, aftermath.judge_rest) if schedule.goes_home else ()),
    ):
        if not book.violations:
            phase(book)
    if promptness is not None and not book.violations:
        promptness.judge()
    found = Result(
        schedule,
        book.violations,
        world.fires,
        world.transitions,
        world.hub.now / 1e6,
        world.api.calls,
        aftermath.is_held(book),
        world.story or [],
    )
    world.close()
    return found


def _stop_faults(world: World) -> None:
    """The second phase: what goes wrong on the way stops; what is broken stays broken until it is mended."""
    world.api.rules.clear()
    world.bus.lost = world.bus.twice = 0
    world.bus.late.clear()
    world.bus.no_ticks_until = 0
    world.functions.throttled_until = world.functions.probers_fail_until = 0
    world.functions.duplicates = world.functions.lost_results = 0
    world.controller_skew = 0
    world.prober_skew.clear()
    world.before_call.clear()
    world.after_call.clear()
    ec2, packets = world.ec2, world.packets
    ec2.is_script_broken = lambda _zone: False
    ec2.stuck_pending = False
    ec2.visible_after = ec2.tagged_after = 0
    packets.zones_down.clear()
    packets.lose_targets(0, world.hub.now)
    packets.are_names_dead = False
    for group in list(packets.cut_off):
        packets.mend(group)
    world.people_go_home()
    world.packets_changed()


def shrunk(result: Result) -> Result:
    """The smallest schedule that still breaks the same invariant, as far as taking faults away gets."""
    number = result.violations[0].number
    best = result
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for each in best.schedule.injections:
            less = tuple(one for one in best.schedule.injections if one is not each)
            tried = play(replace(best.schedule, injections=less))
            if tried.violations and tried.violations[0].number == number:
                best, is_smaller = tried, True
                break
    return play(best.schedule, is_told=True)
