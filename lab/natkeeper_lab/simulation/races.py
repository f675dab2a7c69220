"""Where a controller dies, and which of two goes first: the hooks that replay one chosen order of calls.

Called by `simulation.small_worlds`. A crash is placed at a call of one invocation; an order of two invocations' calls
is a list of how many calls the one makes before the other takes over, and so on. While one is at it the other stands
still before its next call, as a host does that AWS has taken off its processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.world import World

FIRST, SECOND_ONE = "first", "second"
"""Request ids of those that are raced."""


@dataclass(frozen=True, order=True)
class Point:
    """Before the call of that number is sent, or right after it was applied (nobody hears of it)."""

    number: int
    is_after: bool

    def __str__(self) -> str:
        return f"{'after' if self.is_after else 'before'} call {self.number}"


class Crashes:
    """Kills the first invocation that calls at the first point, the next one that calls at the second, and so on."""

    def __init__(self, world: World, points: tuple[Point, ...]) -> None:
        self._world = world
        self._points = points
        self._victim: Invocation | None = None
        self._dead: set[int] = set()
        self.calls: list[int] = []
        """How many calls each victim made, and the one after the last of them."""
        self.follower: Invocation | None = None
        world.before_call.append(lambda call: self._at(call, is_after=False))
        world.after_call.append(lambda call: self._at(call, is_after=True))

    @property
    def fired(self) -> int:
        """How many of the points were reached."""
        return len(self._dead)

    def _at(self, call: Call, *, is_after: bool) -> None:
        invocation = call.invocation
        if invocation.serial in self._dead:
            return
        if self._victim is None:
            self._victim = invocation
            self.calls.append(0)
        if self._victim is not invocation:
            return
        self.calls[-1] = max(self.calls[-1], call.number)
        if self.fired == len(self._points):
            self.follower = invocation
            return
        if Point(call.number, is_after) == self._points[self.fired]:
            self._dead.add(invocation.serial)
            self._victim = None
            self._world.fires["crash"] += 1
            self._world.tell(f"{invocation.request_id}: dies {Point(call.number, is_after)}, {call.operation}")
            invocation.is_over = True
            self._world.hub.after(0, invocation.end, "crash")


class Race:
    """Two invocations that take turns: `turns[k]` calls, then the other. What is left after the last turn is made by
    whoever is then at it, to its end. `is_fatal`: the first one dies where its first turn ends."""

    def __init__(self, world: World, turns: tuple[int, ...], leader: str, *, is_fatal: bool = False) -> None:
        self._world = world
        self._turns = list(turns)
        self._holder = leader
        self._left = self._turns.pop(0) if self._turns else None
        self._is_fatal = is_fatal
        self._waiting: dict[str, list[Callable[[Any], None]]] = {FIRST: [], SECOND_ONE: []}
        self._over: set[str] = set()
        self._serials: dict[int, str] = {}
        self._alive: dict[str, Invocation] = {}
        self.last_turn = 0
        """Calls made since the last switch while the other stood still: after each of them it could take over."""
        self.switches = 0
        self._is_switching = False
        world.before_call.append(self._before)

    def _before(self, call: Call) -> None:
        name = self._name(call.invocation)
        if name is None:
            return
        if name == self._holder and self._takes():
            return
        self._world.hub.wait(self._waiting[name].append)
        call.sent_at = self._world.hub.now

    def _name(self, invocation: Invocation) -> str | None:
        if invocation.serial not in self._serials and invocation.request_id in (FIRST, SECOND_ONE):
            if invocation.request_id in self._serials.values():
                return None  # a retry of one that died
            name = invocation.request_id
            self._serials[invocation.serial] = name
            self._alive[name] = invocation
            assert invocation.task is not None
            invocation.task.waiters.append(lambda _: self._ended(name))
        return self._serials.get(invocation.serial)

    def _takes(self) -> bool:
        """Whether the holder may make one more call; if not, it is the other's turn."""
        if self._over:
            return True
        if self._left is None or self._left > 0:
            self._left = None if self._left is None else self._left - 1
            self.last_turn += 1
            return True
        if not self._is_switching:
            # Not at once: the call that found the turn over has yet to stand in line.
            self._is_switching = True
            self._world.hub.after(0, self._switch, "switch")
        return False

    def _kill(self, name: str) -> None:
        victim = self._alive[name]
        self._world.fires["crash"] += 1
        self._world.tell(f"{name}: dies before call {victim.calls}")
        victim.is_over = True
        victim.end()

    def _switch(self) -> None:
        self._is_switching = False
        if self._over:
            return
        if self._is_fatal and not self.switches:
            self.switches += 1
            self._kill(self._holder)
            return
        self._holder = other(self._holder)
        self._left = self._turns.pop(0) if self._turns else None
        self.last_turn = 0
        self.switches += 1
        self._world.tell(f"-- {self._holder} is at it")
        self._release()

    def _release(self) -> None:
        """Lets the holder's calls go that waited, as far as its turn lasts."""
        waiting = self._waiting[self._holder]
        while waiting and waiting is self._waiting[self._holder] and self._takes():
            self._world.hub.after(0, partial(waiting.pop(0), None), "go on")

    def _ended(self, name: str) -> None:
        self._over.add(name)
        if self._holder == name:
            self._holder = other(name)
            self._release()


def other(name: str) -> str:
    """The one that it is raced with."""
    return SECOND_ONE if name == FIRST else FIRST
