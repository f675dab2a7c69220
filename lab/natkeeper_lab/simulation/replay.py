"""One way in which a small world can go: a situation, where controllers die in it, who goes first; played and judged.

Called by `simulation.small_worlds`, which thinks up all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from natkeeper_lab.simulation import aftermath
from natkeeper_lab.simulation.api import Call, Rule
from natkeeper_lab.simulation.book import Book, Violation
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import TIMEOUT
from natkeeper_lab.simulation.races import FIRST, SECOND_ONE, Crashes, Point, Race, other
from natkeeper_lab.simulation.scene import Scene
from natkeeper_lab.simulation.situations import SITUATIONS, Situation
from natkeeper_lab.simulation.world import World

PAST = 15 * SECOND
"""How old an answer can be, and for how long the second controller is told of the past: as long as in a campaign."""
RETRY = (70 * SECOND, 200 * SECOND)
"""Lambda tries a wake-up that died again after one minute and after two more; by then the next one has come anyway."""


@dataclass(frozen=True)
class Replay:
    """One way in which a situation can go."""

    situation: str
    crashes: tuple[Point, ...] = ()
    second: str = ""
    """What wakes a second controller at the same instant: `same` event, or a `tick`; empty: none does."""
    leader: str = FIRST
    turns: tuple[int, ...] = ()
    is_fatal: bool = False
    stale: tuple[str, ...] = ()
    """The describes that show the second one what was there before the first one wrote."""

    def __str__(self) -> str:
        said = [f"{each}" for each in self.crashes]
        if self.second:
            said.append(f"with a second controller ({self.second}), {self.leader} leads, turns {self.turns}")
        if self.is_fatal:
            said.append("the leader dies there")
        if self.stale:
            said.append(f"{' and '.join(self.stale)} of the other one's are old")
        return f"{self.situation}: {'; '.join(said) or 'undisturbed'}"


@dataclass
class Played:
    """What came of it. `calls`: of each controller that died, and of the one that followed; or of the last turn."""

    violations: list[Violation]
    calls: list[int]
    fired: int
    reasons: list[str]
    actions: set[str]
    story: list[tuple[int, str]]


def play(replay: Replay, *, follows_home: bool = False, is_told: bool = False) -> Played:
    """Plays it and judges it, to egress or until everything is home and at rest."""
    situation = SITUATIONS[replay.situation]
    scene = Scene(situation.setting)
    world = scene.world
    if is_told:
        world.story = []
    event = situation.arrange(scene)
    scene.begin()
    book = scene.judge.book
    reasons, actions = _listen(scene)
    crashes = None if replay.second else Crashes(world, replay.crashes)
    race = Race(world, replay.turns, replay.leader, is_fatal=replay.is_fatal) if replay.second else None
    if replay.stale:
        _tell_of_the_past(world, replay)
    world.functions.wake(event, FIRST)
    if replay.second:
        world.functions.wake(event if replay.second == "same" else TICK, SECOND_ONE)
    begun = world.hub.now
    world.hub.run(begun + TIMEOUT, lambda: bool(book.violations) or _is_quiet(scene, begun))
    if replay.crashes or replay.is_fatal:
        until = begun + RETRY[len(replay.crashes) > 1]
        world.hub.run(until, lambda: bool(book.violations) or (not follows_home and _has_followed(crashes)))
    _converge(book, situation, follows_home=follows_home)
    found = Played(book.violations, [], 0, reasons, actions, world.story or [])
    if crashes is not None:
        found.calls, found.fired = crashes.calls, crashes.fired
    elif race is not None:
        found.calls, found.fired = [race.last_turn], race.switches
    world.close()
    return found


def _listen(scene: Scene) -> tuple[list[str], set[str]]:
    """The reasons of zone a's plans in the first wake-up, and every kind of action that was asked for."""
    judge, decided = scene.judge, scene.judge.decided
    reasons: list[str] = []
    actions: set[str] = set()

    def listen(invocation: Any, plan: Any) -> None:
        if invocation.request_id == FIRST and plan.group == "a":
            reasons.append(plan.reason.value)
            actions.update(type(each).__name__ for each in plan.actions)
        decided(invocation, plan)

    judge.decided = listen  # type: ignore[method-assign]
    return reasons, actions


def _tell_of_the_past(world: World, replay: Replay) -> None:
    """Whoever does not lead looks too early: EC2's API is eventually consistent."""
    late = other(replay.leader)
    world.answers.keeps_history = True
    world.answers.changed()

    def is_old(call: Call) -> bool:
        return call.invocation.request_id == late and call.operation in replay.stale

    world.api.rules.append(Rule("stale-describe", is_old, lag=PAST, ends_at=world.hub.now + PAST))


def _is_quiet(scene: Scene, begun: int) -> bool:
    return scene.world.hub.now > begun + SECOND and not scene.world.functions.invocations


def _has_followed(crashes: Crashes | None) -> bool:
    """The invocation after the last crash is over, so that its calls are counted."""
    return crashes is not None and crashes.follower is not None and crashes.follower.is_over


def _converge(book: Book, situation: Situation, *, follows_home: bool) -> None:
    world = book.world
    if not book.violations:
        world.packets.lose_targets(0, world.hub.now)
        world.packets_changed()
        if situation.name.startswith("common mode"):
            # Nothing natkeeper may do helps: somebody reboots them.
            for each in world.ec2.machines.values():
                each.is_hung = False
            world.packets_changed()
        aftermath.judge_egress(book)
    if follows_home and situation.is_home_reachable:
        for phase in (aftermath.judge_home, aftermath.judge_rest):
            if not book.violations:
                phase(book)
