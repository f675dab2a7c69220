"""What the probing engine needs of sockets and clocks, on a virtual clock: no socket is ever opened."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from natkeeper.probing import Target
from natkeeper.probing.sockets import Answer

Fate = tuple[float, str | None, str | None]
"""Seconds to the connection (more than the timeout: none), what is wrong after it, what a GET returns."""


def good(_host: str, _sent_at: float) -> Fate:
    return 0.012, None, None


def dead(_host: str, _sent_at: float) -> Fate:
    return float("inf"), None, None


class VirtualNetwork:
    """A network whose clock moves only in `wait`. `fate(host, seconds since start)` decides each probe."""

    def __init__(self, fate: Callable[[str, float], Fate] = good, unresolved: Iterable[str] = ()) -> None:
        self.fate = fate
        self.unresolved = set(unresolved)
        self.clock = 1000.0
        self.began: list[tuple[float, str, bool]] = []
        self.asked: list[set[str]] = []
        self.freezes: dict[float, float] = {}
        self.is_closed = False
        self._queue: list[tuple[float, int, Answer]] = []

    def now(self) -> float:
        return self.clock

    def stamp(self, instant: float) -> tuple[str, float]:
        return "virtual", 1_772_439_247.118203 + instant - 1000.0

    def prepare(self, targets: Iterable[Target], within: float) -> None:
        self.asked.append({target.host for target in targets})
        if self.unresolved & self.asked[-1]:
            self.clock += within

    def address(self, host: str) -> str | None:
        return None if host in self.unresolved else host

    def dns_error(self, host: str) -> str:
        return f"dns: no {host}"

    def begin(self, key: Any, address: tuple[str, int], timeout: float, get: Target | None, get_timeout: float) -> None:
        host = address[0]
        self.began.append((round(self.clock - 1000.0, 6), host, get is not None))
        delay, error, body = self.fate(host, self.clock - 1000.0)
        if delay >= timeout:
            at, answer = self.clock + timeout, Answer(key, "timeout", None)
        elif get is not None and error is not None:
            at, answer = self.clock + get_timeout, Answer(key, error, delay)
        else:
            at, answer = self.clock + delay, Answer(key, None, delay, body if get else None)
        heapq.heappush(self._queue, (at, len(self.began), answer))

    def wait(self, until: float) -> list[Answer]:
        assert until < 1e9
        due = self._queue[0][0] if self._queue else until
        self.clock = max(self.clock, min(due, until))
        for at, span in list(self.freezes.items()):
            if self.clock - 1000.0 >= at:
                self.clock += span
                del self.freezes[at]
        answers = []
        while self._queue and self._queue[0][0] <= self.clock:
            answers.append(heapq.heappop(self._queue)[2])
        return answers

    def close(self) -> None:
        self.is_closed = True

    def sent_rounds(self) -> list[float]:
        return sorted({at for at, _, _ in self.began})
