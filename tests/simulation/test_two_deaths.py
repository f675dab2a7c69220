"""The family of two deaths: it has every order that it promises, holds where it must, and fails where nothing may."""

from __future__ import annotations

from itertools import pairwise, permutations, product
from pathlib import Path

import pytest

from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.two_deaths import LONGEST_GAP, Member, family, main
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.two_deaths import _Run, play

WAYS = ("stop_instance", "terminate_instance", "hang")
WITHOUT_A_HANG = [each for each in family(0, 36) if "hang" not in each.ways]


def test_the_first_nine_die_in_every_order_of_ways() -> None:
    assert {each.ways for each in family(0, 9)} == set(product(WAYS, repeat=2))
    assert {each.ways for each in family(31, 9)} == set(product(WAYS, repeat=2))


def test_the_first_eight_are_all_orders_of_two_of_two_and_two_of_three() -> None:
    found = {(each.victims, each.zones) for each in family(0, 8)}
    pairs = {(pair, "abc") for pair in permutations("abc", 2)} | {(pair, "ab") for pair in permutations("ab", 2)}
    assert found == pairs


def test_seventy_two_members_are_every_pair_of_both() -> None:
    assert len({(each.ways, each.victims, each.zones) for each in family(0, 72)}) == 72


def test_the_deaths_are_up_to_three_seconds_apart() -> None:
    gaps = sorted(each.gap for each in family(0, 288))
    assert (gaps[0], gaps[23]) == (0.0, 0.0)
    assert 2.9 < gaps[-1] <= LONGEST_GAP
    assert max(after - before for before, after in pairwise(gaps)) < 0.1


def test_the_files_are_sound(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--first", "5", "--members", "12"]) == 0
    found = [parse(each) for each in sorted(tmp_path.glob("*.yaml"))]
    assert [each.name for each in found] == [each.name for each in family(5, 12)]
    assert {step.do for each in found for step in each.timeline} == {*WAYS, "reboot"}
    kinds = {expectation.kind for each in found for expectation in each.expect}
    assert kinds == {"restored", "route", "incidents", "messages", "failovers", "moves", "never_down"}


@pytest.mark.parametrize("member", WITHOUT_A_HANG, ids=lambda each: each.name)
def test_where_ec2_tells_of_both_deaths_nobody_is_sent_there_and_back(member: Member) -> None:
    found = play(member, 1)
    assert [each for each in found.broken if "contain_truth" not in each] == []
    assert found.dark > 0


def test_a_move_to_a_nat_that_has_long_been_dead_is_a_shuffle(tmp_path: Path) -> None:
    """Made by the test itself: no natkeeper is needed to see that it would be noticed."""
    path = tmp_path / "hung.yaml"
    timeline = "  - {at: 1, do: hang, target: nat@b}\n  - {at: 14, do: unblock}\n"
    path.write_text(f"name: hung\nwhy: w\nzones: [a, b]\ntimeline:\n{timeline}expect: []\n")
    run = _Run(Member(0), 1, path)
    stage = run.stage

    def look() -> None:
        machine = stage.world.ec2.machines[stage.initial["b"][0].instance_id]
        assert machine.interface is not None
        stage.world.ec2.set_route("rtb-a1", machine.interface.interface_id)

    def say(_line: str) -> None:
        run.say = lambda _line: None
        stage.world.hub.after(1 * SECOND, look, "too early to be known")
        stage.world.hub.after(4 * SECOND, lambda: stage.world.ec2.set_route("rtb-a1", "eni-00000000000000001"), "back")
        stage.world.hub.after(9 * SECOND, look, "a shuffle")

    run.say = say
    run.play()
    theirs = [each for each in run.truth.shuffles if each.startswith("rtb-a1")]
    assert theirs
    assert "dead for 9.0 s" in theirs[0]
    assert any("moved rtb-a1" in each for each in run.broken)
