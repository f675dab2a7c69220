"""A failing schedule in words: its stack, its faults, the few lines of its story that matter, and how to replay it.

Called by `natkeeper_cli.simulate` and `simulation.planted`. May not import anything that prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from natkeeper_lab.simulation.book import Violation
from natkeeper_lab.simulation.campaign import Injection, Result, Schedule, play, schedule_of, shrunk
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.tally import RAISED, attempt

READS = (": Describe", ": Query", ": Invoke")
BEFORE = 2 * SECOND
"""So much of the story before the last fault is told."""
LONGEST = 60
"""Lines. Of a longer story the beginning and the end are told: how it went wrong, and what came of it."""


def numbered(seed: int, zones: int | None) -> list[tuple[int, Injection]]:
    """A seed's injections with the numbers that `--keep` takes."""
    return list(enumerate(schedule_of(seed, zones).injections, 1))


def kept(seed: int, zones: int | None, keep: Sequence[int] | None) -> Schedule:
    """A seed's schedule with some of its injections only. Raises ValueError for a number that it does not have."""
    whole = schedule_of(seed, zones)
    if keep is None:
        return whole
    by_number = dict(numbered(seed, zones))
    if unknown := [each for each in keep if each not in by_number]:
        raise ValueError(f"seed {seed} has faults 1 to {len(by_number)}, not {unknown[0]}")
    return replace(whole, injections=tuple(by_number[each] for each in sorted(set(keep))))


def smallest(result: Result) -> Result:
    """The same failure with as few faults as it needs, and its story."""
    if result.violations[0].number == RAISED:
        return result
    return shrunk(result)


def told(schedule: Schedule) -> Result:
    """Plays it and keeps the story."""
    result = attempt(schedule)
    return result if result.violations and result.violations[0].number == RAISED else play(schedule, is_told=True)


def replay_command(schedule: Schedule, zones: int | None) -> str:
    """One line that plays exactly this."""
    whole = numbered(schedule.seed, zones)
    keep = [number for number, each in whole if each in schedule.injections]
    words = ["natkeeper simulate --seed", str(schedule.seed)]
    words += [f"--zones {zones}"] if zones is not None else []
    words += [f"--keep {','.join(map(str, keep))}"] if len(keep) < len(whole) else []
    return " ".join([*words, "--replay"])


def stack_of(setting: Setting) -> str:
    """What the stack is, in the setting's own words."""
    return ", ".join(f"{each.name}={getattr(setting, each.name)}" for each in fields(setting))


def lines_of(result: Result, zones: int | None, *, is_whole: bool = False) -> Iterator[str]:
    """The report on one schedule."""
    schedule = result.schedule
    yield f"seed {schedule.seed}: {stack_of(schedule.setting)}" + (", followed home" if schedule.goes_home else "")
    for number, each in numbered(schedule.seed, zones):
        if each in schedule.injections:
            yield f"  fault {number}: {each.at / 1e6:7.3f} s, for {each.lasts / 1e6:6.3f} s: {each.fault}"
    yield from (f"  {line}" for line in _timeline(result, is_whole=is_whole))
    yield from (f"  {_verdict(each)}" for each in result.violations)
    yield f"  replay: {replay_command(schedule, zones)}"


def _verdict(violation: Violation) -> str:
    if violation.number == RAISED:
        return f"raised {violation.text}"
    return str(violation)


def _timeline(result: Result, *, is_whole: bool) -> list[str]:
    """Calls that only read are left out. Without `is_whole`: from a little before the last fault, with what the
    earlier faults did."""
    last = max((each.at for each in result.schedule.injections), default=0) - BEFORE
    chosen = [
        f"{at / 1e6:10.3f}  {line}"
        for at, line in result.story
        if not any(each in line for each in READS)
        and not line.startswith("BROKEN")
        and (is_whole or at >= last or line.startswith("fault:"))
    ]
    if is_whole or len(chosen) <= LONGEST:
        return chosen
    half = LONGEST // 2
    return [*chosen[:half], f"            … {len(chosen) - LONGEST} lines …", *chosen[-half:]]
