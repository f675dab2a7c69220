"""Every plan, and a crash before and after each of its calls, on every run; pairs of crashes and orders of two
controllers' calls are sampled here. `natkeeper simulate --small-worlds` plays all of them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from natkeeper import opening
from natkeeper.core.plan import Action, Reason
from natkeeper_lab.simulation import functions, small_worlds
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.planted import MUTANTS, planted
from natkeeper_lab.simulation.races import FIRST, SECOND_ONE, Point
from natkeeper_lab.simulation.replay import Played, Replay, play
from natkeeper_lab.simulation.situations import SITUATIONS
from natkeeper_lab.simulation.small_worlds import Bounds, Explored, explore

EFFORT = int(os.environ.get("NATKEEPER_EFFORT", "1"))
"""Multiplies what is sampled: `NATKEEPER_EFFORT=50` plays for some minutes."""
PART = Bounds(pairs=EFFORT, orders=3 * EFFORT, looks=2 * EFFORT, homeward=0)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_crash_at_any_call_and_any_order_of_two_controllers_ends_with_egress(name: str) -> None:
    found = explore(name, PART)
    print(f"{small_worlds.HEADING}\n{small_worlds.line(found)}   (at most {PART.switches} switches)")
    assert found.violations == []
    assert found.crashes == 2 * found.calls
    assert found.pairs == min(found.all_pairs, PART.pairs or 0)
    assert (found.orders, found.looks) == (PART.orders, PART.looks)


def test_undisturbed_every_situation_ends_at_home_and_at_rest_and_every_kind_of_plan_and_action_was_among_them() -> (
    None
):
    reasons: set[str] = set()
    actions: set[str] = set()
    for name in SITUATIONS:
        played = play(Replay(name), follows_home=True)
        assert played.violations == [], name
        reasons |= set(played.reasons)
        actions |= played.actions
    assert reasons == {each.value for each in Reason}
    assert actions == {each.__name__ for each in get_args(Action)}


# -- the crashes and races themselves


def test_a_crash_before_a_call_keeps_that_call_and_all_later_ones_from_aws() -> None:
    calls = calls_of(Replay("converge, all routes were deleted", (Point(9, False),)))
    whole = calls_of(Replay("converge, all routes were deleted"))
    assert len(calls) == 8
    assert set(calls) < set(whole)
    assert "first: ReplaceRoute" not in " ".join(calls)


def test_a_crash_after_a_call_comes_when_aws_has_applied_it() -> None:
    replay = Replay("converge, a route was edited", (Point(9, True),))
    told = play(replay, is_told=True).story
    dies = next(number for number, (_, line) in enumerate(told) if "dies after call 9" in line)
    assert "ok" in told[dies - 1][1]
    assert told[dies][0] == told[dies - 1][0]


def test_the_second_crash_of_a_pair_hits_the_wake_up_that_follows() -> None:
    played = play(Replay("fail-over, the NAT stopped", (Point(6, True), Point(3, False))), is_told=True)
    dead = [line.split(":")[0] for _, line in played.story if ": dies " in line]
    assert played.fired == 2
    assert dead[0] == FIRST
    assert dead[1] != FIRST


def test_two_controllers_take_turns_as_they_are_told() -> None:
    played = play(Replay("converge, a route was edited", second="same", turns=(4, 3)), is_told=True)
    made = [line.split(":")[0] for _, line in played.story if line.split(":")[0] in (FIRST, SECOND_ONE)]
    switched = [line for _, line in played.story if line.startswith("-- ")]
    assert switched == ["-- second is at it", "-- first is at it"]
    assert played.fired == 2
    assert {FIRST, SECOND_ONE} == set(made)


def test_an_order_is_explored_once_and_every_switch_can_be_made() -> None:
    seen: list[Replay] = []

    def run(replay: Replay, *, follows_home: bool = False) -> Played:
        played = play(replay, follows_home=follows_home)
        assert played.fired == len(replay.turns), replay
        seen.append(replay)
        return played

    found = Explored("tidy, the canary has no route")
    small_worlds._orders(found, run, Bounds(switches=1, looks=0))
    assert len(set(seen)) == len(seen) == found.orders == found.all_orders > 20
    assert found.all_looks == 7 * sum(len(each.turns) for each in seen)


def test_a_lease_that_outlives_a_dead_controller_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge sees what small worlds are for: undisturbed it does no harm, and with a crash the zone stays dark."""
    monkeypatch.setattr(opening, "LEASE", timedelta(hours=1))
    monkeypatch.setattr(functions, "RETRIES", ())
    with planted(MUTANTS["a-lease-of-any-length"]):
        assert play(Replay("fail-over, the NAT stopped")).violations == []
        found = explore("fail-over, the NAT stopped", Bounds(pairs=0, orders=0, homeward=0))
    assert any("invariant 29" in each for each in found.violations)


def test_old_answers_are_what_finds_a_second_launch() -> None:
    """The judge sees what they are for: the second controller's look is too early to show what the first launched."""
    replay = Replay("heal, launch a NAT", second="same", turns=(11,), is_fatal=True)
    too_early = replace(replay, stale=("DescribeInstances",))
    assert play(too_early).violations == []
    with planted(MUTANTS["launch-in-every-pass"]):
        assert play(replay).violations == []
        assert "invariant 14" in str(play(too_early).violations[0])


def calls_of(replay: Replay) -> list[str]:
    """What the first controller's calls did, its retry a minute later left out."""
    story = [line for at, line in play(replay, is_told=True).story if at < 10 * SECOND]
    return [line for line in story if line.startswith(f"{FIRST}: ") and line.split()[1][0].isupper()]
