"""Planted bugs: each is caught by its seed, by the invariant that is about it, and the seed holds without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from natkeeper_lab.simulation.campaign import schedule_of
from natkeeper_lab.simulation.planted import MUTANTS, Patch, planted
from natkeeper_lab.simulation.planted.search import ELSEWHERE, MISTAKES, caught_by, known, page
from natkeeper_lab.simulation.planted.table import Mutant
from natkeeper_lab.simulation.tally import attempt

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planted-bugs.md"


@pytest.mark.parametrize("name", MUTANTS)
def test_the_planted_bug_is_caught_by_its_seed(name: str) -> None:
    row = known()[name]
    assert row["invariant"] in MUTANTS[name].breaks
    assert caught_by(MUTANTS[name], row["seed"]) == row["invariant"]


@pytest.mark.parametrize("name", MUTANTS)
def test_the_same_seed_holds_without_the_bug(name: str) -> None:
    assert attempt(schedule_of(known()[name]["seed"])).violations == []


def test_every_mistake_of_the_peers_is_planted() -> None:
    numbers = {each.anchor for each in MUTANTS.values() if each.anchor} | {number for _, _, number in ELSEWHERE}
    assert numbers == set(MISTAKES)


def test_there_are_at_least_twenty() -> None:
    assert len(MUTANTS) >= 20


def test_no_seed_is_left_of_a_bug_that_is_not_planted() -> None:
    assert set(known()) == set(MUTANTS)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_taken_out_again(name: str) -> None:
    patches = MUTANTS[name].make()
    before = [vars(each.owner)[each.name] for each in patches]
    with planted(MUTANTS[name]):
        assert all(vars(each.owner)[each.name] is not original for each, original in zip(patches, before, strict=True))
    assert [vars(each.owner)[each.name] for each in patches] == before


def test_a_bug_that_raises_is_taken_out_all_the_same() -> None:
    class Owner:
        word = "as it was"

    bug = Mutant("a", "b", lambda: [Patch(Owner, "word", "changed")], None, (), (), False, False, 0)
    with pytest.raises(RuntimeError, match="changed"), planted(bug):
        raise RuntimeError(Owner.word)
    assert Owner.word == "as it was"


def test_the_page_is_what_the_table_makes() -> None:
    made = "\n".join(page()) + "\n"
    assert PAGE.read_text() == made, "python -m natkeeper_lab.simulation.planted > docs/planted-bugs.md makes it anew"
