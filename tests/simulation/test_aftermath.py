"""When a world counts as being at rest, so that what is judged there is not judged too early; and what an operator asks
twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from natkeeper.core.incident import Memory
from natkeeper_lab.simulation import aftermath
from natkeeper_lab.simulation.book import Book
from natkeeper_lab.simulation.bus import MINUTE, TICK
from natkeeper_lab.simulation.hub import SECOND, Killed
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World


@pytest.fixture
def resting() -> Any:
    judge = Invariants()
    world = World(1, Setting(), judge)
    judge.watch(world)
    world.start()
    world.hub.run(3 * MINUTE)
    world.hub.run(4 * MINUTE, lambda: aftermath._is_resting(judge.book))
    assert aftermath._is_resting(judge.book)
    yield judge.book
    world.close()


def test_a_world_is_not_at_rest_while_lambda_has_an_event_to_tell_again(resting: Book) -> None:
    """Seed 1001654: what a crashed controller had not heard was told a minute later, in the middle of the judging."""
    functions = resting.world.functions
    functions._failed(Invocation(resting.world, TICK, "r-crashed", 0), 0, Killed())
    assert not aftermath._is_resting(resting)
    resting.world.hub.run(resting.now + MINUTE // 2)
    assert not aftermath._is_resting(resting)
    resting.world.hub.run(resting.now + 2 * MINUTE, lambda: aftermath._is_resting(resting))
    assert aftermath._is_resting(resting)


def test_a_world_is_not_at_rest_while_a_group_remembers_an_incident(resting: Book) -> None:
    """Whatever the newest plan says: it may stand on a memory read before another pass opened the incident."""
    item = resting.world.table.items["group", "a"]
    memory = json.loads(item["memory"]["S"])
    item["memory"] = {"S": json.dumps({**memory, "incident": {}})}
    assert not aftermath._is_resting(resting)


def test_a_world_is_not_at_rest_while_egress_is_down_and_no_report_has_said_so(resting: Book) -> None:
    """Seed 6014360: the report came in the middle of the judging."""
    next(iter(resting.world.ec2.machines.values())).is_forwarding = False
    resting.world.packets_changed()
    assert not aftermath._is_resting(resting)


def test_a_pause_that_was_taken_back_holds_nothing(resting: Book) -> None:
    """Seed 6014360: it passed for a hold for two minutes more, in which nobody asked for egress."""
    world = resting.world
    for command in ({"command": "pause", "minutes": 10}, {"command": "resume"}):
        world.functions.wake({"natkeeper": command})
        world.hub.run(world.hub.now + 5 * SECOND)
        assert aftermath.is_held(resting) is (command["command"] == "pause")


def told_twice(book: Book) -> list[str]:
    """An operator's failover, delivered again after a minute; where zone a's traffic was after each."""
    world, found = book.world, []
    for _ in range(2):
        world.functions.wake({"natkeeper": {"command": "failover", "group": "a"}}, "r-failover")
        world.hub.run(world.hub.now + MINUTE // 4)
        found.append(world.route_of("rtb-a1"))
    return [each or "" for each in found]


def test_a_failover_that_lambda_delivers_twice_moves_once(resting: Book) -> None:
    first, second = told_twice(resting)
    assert first == second
    assert resting.violations == []


def test_going_there_and_back_for_one_request_is_judged(resting: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "obeying", lambda memory, _: memory)
    first, second = told_twice(resting)
    assert first != second
    assert {each.number for each in resting.violations} == {12}


def test_targets_are_back_as_soon_as_two_of_three_answer() -> None:
    """Whether a fault ends or another one takes its place (seed 3002957)."""
    packets = World(0, Setting()).packets
    packets.lose_targets(3, 10)
    packets.lose_targets(2, 20)
    assert packets.targets_back_at < 0
    packets.lose_targets(1, 30)
    assert packets.targets_back_at == 30
    packets.lose_targets(0, 40)
    assert packets.targets_back_at == 30


@pytest.mark.parametrize(("loss", "broken"), [(0.2, set()), (0.0, {6})])
def test_only_by_a_nat_that_loses_packets_may_one_group_be_away_again_before_another_is_home(
    loss: float, broken: set[int], resting: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 870024712: each had come home, and no moment had both there."""
    world = resting.world
    next(iter(world.ec2.machines.values())).loss = loss
    world.packets_changed()
    turn = world.hub.now + 30 * SECOND
    monkeypatch.setattr(aftermath, "_is_group_home", lambda _, group: (world.hub.now < turn) is (group.name == "a"))
    monkeypatch.setattr(aftermath.patience, "home_within", lambda _: MINUTE)
    aftermath.judge_home(resting)
    assert {each.number for each in resting.violations} == broken


def test_the_ledger_is_only_asked_what_it_waits_for_when_passes_under_way_are_over(
    resting: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 900029270: one had been throttled, and had not written it down yet."""
    world = resting.world
    world.functions.wake(TICK, "r-throttled")
    world.hub.run(world.hub.now + MINUTE, lambda: bool(world.functions.invocations))
    (under_way,) = world.functions.invocations
    asked: list[bool] = []

    def home_within(_: World) -> int:
        asked.append(under_way in world.functions.invocations)
        return MINUTE

    monkeypatch.setattr(aftermath.patience, "home_within", home_within)
    aftermath.judge_home(resting)
    assert asked == [False]
    assert resting.violations == []


def test_by_a_nat_that_loses_packets_each_group_must_still_have_been_at_home(
    resting: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(iter(resting.world.ec2.machines.values())).loss = 0.2
    resting.world.packets_changed()
    monkeypatch.setattr(aftermath, "_is_group_home", lambda _, group: group.name == "a")
    monkeypatch.setattr(aftermath.patience, "home_within", lambda _: MINUTE)
    aftermath.judge_home(resting)
    assert {each.number for each in resting.violations} == {6}
