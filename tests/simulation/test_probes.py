"""`simulation.probes.Run` against the real engine: the same path gives the same report, at the same instant."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkeeper import probing
from natkeeper.probing import Target
from natkeeper.probing.sockets import Answer
from natkeeper.triggers import parse_report
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.packets import DEAD, Fate
from natkeeper_lab.simulation.probes import Run

EFFORT = int(os.environ.get("NATKEEPER_EFFORT", "1"))
TARGETS = ["tcp://192.0.2.1:443", "tcp://192.0.2.2:443", "https://192.0.2.3/"]
CANARY = "1.0.0.1"
GOOD = Fate(True, address="203.0.113.1", through="eni-1")
OTHER = Fate(True, address="203.0.113.2", through="eni-2")
SLOW = Fate(True, rtt_ms=608.0, address="203.0.113.1", through="eni-1")
NONE = DEAD["not running"]
Path = Sequence[tuple[int, Fate]]
"""Since when (microseconds after the run began) packets fare how; the first one since ever."""


def fate_at(path: Path, at: int) -> Fate:
    return [fate for since, fate in path if since <= at][-1]


class VirtualNetwork:
    """The engine's network: its clock moves only in `wait`, and the path decides each probe when it is sent."""

    def __init__(self, path: Path, canary: Path) -> None:
        self.path, self.canary = path, canary
        self.clock = 0.0
        self._queue: list[tuple[float, int, Answer]] = []
        self._sent = 0

    def now(self) -> float:
        return self.clock

    def stamp(self, instant: float) -> tuple[str, float]:
        return "virtual", 1_772_366_400.0 + instant

    def prepare(self, targets: Iterable[Target], within: float) -> None:
        pass

    def address(self, host: str) -> str | None:
        return host

    def dns_error(self, host: str) -> str:
        raise AssertionError(host)

    def begin(self, key: Any, address: tuple[str, int], timeout: float, get: Target | None, _: float) -> None:
        fate = fate_at(self.canary if address[0] == CANARY else self.path, round(self.clock * SECOND))
        self._sent += 1
        if fate.is_ok:
            at, rtt = self.clock + fate.rtt_ms / 1000, fate.rtt_ms / 1000
            answer = Answer(key, None, rtt, fate.address if get else None)
        else:
            at, answer = self.clock + timeout, Answer(key, "timeout", None)
        heapq.heappush(self._queue, (at, self._sent, answer))

    def wait(self, until: float) -> list[Answer]:
        due = self._queue[0][0] if self._queue else until
        self.clock = max(self.clock, min(due, until))
        answers = []
        while self._queue and self._queue[0][0] <= self.clock:
            answers.append(heapq.heappop(self._queue)[2])
        return answers

    def close(self) -> None:
        pass


def request(mode: str, *, has_canary: bool = True) -> dict[str, Any]:
    """As `adapters.prober` asks."""
    is_watch = mode == "watch"
    return {
        "group": "a",
        "run_id": "r",
        "mode": mode,
        "targets": TARGETS,
        "canary": f"{CANARY}:443" if is_watch and has_canary else None,
        "interval": 1.0 if is_watch else 0.2,
        "run": 12.0 if is_watch else 3.0,
        "timeout": 0.8,
        "rounds_to_fail": 3,
        "quorum": 2,
    }


def by_the_engine(asked: dict[str, Any], path: Path, canary: Path) -> tuple[dict[str, Any], int]:
    network = VirtualNetwork(path, canary)
    report = probing.run(probing.parse_request(asked), network=network)
    return report, round(network.clock * SECOND)


def by_the_simulation(asked: dict[str, Any], path: Path, canary: Path) -> tuple[dict[str, Any], int]:
    hub, found = Hub(), []

    def paths() -> tuple[Fate, Fate | None]:
        return fate_at(path, hub.now), fate_at(canary, hub.now) if asked["canary"] else None

    run = Run(hub, 1, asked, 0, paths, lambda _run, report: found.append((report, hub.now)), lambda _fate, _at: None)
    for since, _ in (*path[1:], *canary[1:]):
        hub.after(since, run.path_changed, "path")
    run.begin()
    hub.run(60 * SECOND, lambda: bool(found))
    report, at = found[0]
    parse_report(json.loads(json.dumps(report)))
    return report, at


def compare(asked: dict[str, Any], path: Path, canary: Path = ((0, GOOD),)) -> str:
    """Both tell the same; returns their verdict."""
    theirs, ended = by_the_engine(asked, path, canary)
    ours, ours_ended = by_the_simulation(asked, path, canary)
    for field in ("version", "group", "run_id", "mode", "verdict", "rounds", "canary", "egress_address"):
        assert ours[field] == theirs[field], field
    assert ours["egress_address_ms"] == theirs["egress_address_ms"]
    assert abs(ours_ended - ended) <= 1, (ours_ended, ended)
    return str(ours["verdict"])


PATTERNS = {
    "good": ([(0, GOOD)], "ended", "passed"),
    "dead": ([(0, NONE)], "down", "down"),
    "slow, and still good": ([(0, SLOW)], "ended", "passed"),
    "dies": ([(0, GOOD), (4_300_000, NONE)], "down", "passed"),
    "dies right before the end": ([(0, GOOD), (10_500_000, NONE)], "down", "passed"),
    "fails in the last round, and the run goes on": (
        [(0, GOOD), (10_500_000, NONE), (11_500_000, OTHER)],
        "ended",
        "passed",
    ),
    "comes back": ([(0, NONE), (1_500_000, GOOD)], "recovered", "passed"),
    "comes back too late for a verification": ([(0, NONE), (2_950_000, GOOD)], "down", "down"),
    "one lost round": ([(0, GOOD), (4_300_000, NONE), (5_300_000, OTHER)], "recovered", "passed"),
    "two lost rounds": ([(0, GOOD), (4_300_000, NONE), (6_300_000, GOOD)], "recovered", "passed"),
    "dead, good, dead": ([(0, NONE), (900_000, GOOD), (1_300_000, NONE)], "down", "passed"),
    "changes hands": ([(0, GOOD), (5_400_000, OTHER)], "ended", "passed"),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_watch_run_sees_what_the_real_engine_sees(name: str) -> None:
    path, verdict, _ = PATTERNS[name]
    assert compare(request("watch"), path) == verdict
    assert compare(request("watch", has_canary=False), path) == verdict


@pytest.mark.parametrize("name", PATTERNS)
def test_a_verification_sees_what_the_real_engine_sees(name: str) -> None:
    path, _, verdict = PATTERNS[name]
    assert compare(request("verify"), path) == verdict


@pytest.mark.parametrize("canary", [[(0, NONE)], [(0, GOOD), (6_200_000, NONE)], [(0, NONE), (6_200_000, GOOD)]])
def test_a_canary_that_fails_says_nothing_of_the_path_in_use(canary: Path) -> None:
    assert compare(request("watch"), [(0, GOOD)], canary) == "ended"


def at(change: tuple[int, Fate]) -> int:
    return change[0]


def paths_of(*fates: Fate) -> st.SearchStrategy[Path]:
    """Up to five changes, never at the very instant at which a round leaves: then either side may be right."""
    instants = st.integers(1, 11_900).map(lambda ms: ms * 1000 + 137)
    changes = st.lists(st.tuples(instants, st.sampled_from(fates)), max_size=5, unique_by=at)
    return st.tuples(st.sampled_from(fates), changes).map(lambda each: [(0, each[0]), *sorted(each[1], key=at)])


# Answers overtake each other only in a run in which good ones come slow and then quick; the simulation has no such row.
PATHS = paths_of(GOOD, OTHER, NONE) | paths_of(SLOW, NONE)


@settings(max_examples=150 * EFFORT, derandomize=EFFORT == 1)
@given(st.sampled_from(["watch", "verify"]), PATHS, PATHS)
def test_any_path_and_any_canary_give_the_same_report(mode: str, path: Path, canary: Path) -> None:
    compare(request(mode), path, canary)
