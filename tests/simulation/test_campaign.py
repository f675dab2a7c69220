"""Seeded campaigns: what they count, what they refuse to call a success, how a failure is told and replayed."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from natkeeper import errors
from natkeeper.core.incident import Cause
from natkeeper.core.plan import Action, Happening, Reason
from natkeeper_cli import simulate
from natkeeper_cli.main import main
from natkeeper_lab.simulation import campaign, tally
from natkeeper_lab.simulation.campaign import play, schedule_of
from natkeeper_lab.simulation.faults import FAULTS
from natkeeper_lab.simulation.planted import MUTANTS, planted
from natkeeper_lab.simulation.planted.search import known
from natkeeper_lab.simulation.tally import COMPLETE_FROM, Tally, attempt, of_seeds
from natkeeper_lab.simulation.telling import kept, lines_of, replay_command, smallest
from natkeeper_lab.simulation.transitions import TRANSITIONS


def test_there_are_at_least_sixty_faults() -> None:
    assert len(FAULTS) >= 60


def test_every_reason_is_a_transition() -> None:
    assert {each.value for each in Reason} <= set(TRANSITIONS)


def test_every_cause_that_an_incident_can_have_is_a_transition() -> None:
    """`route-missing` is a verdict on a group that is being set up (tests/core), never an incident's cause."""
    assert {f"cause:{each.value}" for each in Cause if each is not Cause.ROUTE_MISSING} <= set(TRANSITIONS)


def test_every_action_happening_and_trouble_is_a_transition() -> None:
    troubles = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Trouble)]
    names = [f"action:{each.__name__}" for each in get_args(Action)]
    names += [each.__name__ for each in get_args(Happening)]
    names += [f"trouble:{each.__name__}" for each in troubles if each is not errors.Trouble]
    assert len(troubles) == 5
    assert set(names) <= set(TRANSITIONS)


def test_transitions_are_named_once() -> None:
    assert max(Counter(TRANSITIONS).values()) == 1


def test_nothing_is_counted_that_is_not_in_the_set() -> None:
    assert set(of_seeds(range(40)).transitions) <= set(TRANSITIONS)


def test_the_same_seed_is_the_same_schedule_and_the_same_run() -> None:
    one, other = play(schedule_of(12)), play(schedule_of(12))
    assert one.schedule == other.schedule
    assert (one.calls, one.seconds, one.fires) == (other.calls, other.seconds, other.fires)


def test_zones_are_as_many_as_asked_for() -> None:
    assert {schedule_of(seed, 3).setting.zones for seed in range(20)} == {3}


def test_stretches_add_up_to_the_whole() -> None:
    parts = Tally()
    for each in (range(6, 10), range(6)):
        parts.add(of_seeds(each))
    assert parts.record() == of_seeds(range(10)).record()


def test_a_large_campaign_fails_for_what_never_happened() -> None:
    full = Tally(COMPLETE_FROM, fires=Counter(FAULTS), transitions=Counter(TRANSITIONS))
    full.fires = Counter(dict.fromkeys(FAULTS, 1))
    assert full.holds
    for counts, name in ((full.fires, "nat-stops"), (full.transitions, "go-home")):
        counts[name] = 0
        assert full.never == (name,)
        assert not full.holds
        counts[name] = 1


def test_a_small_campaign_names_what_never_happened_and_holds() -> None:
    small = Tally(COMPLETE_FROM - 1)
    assert "nat-stops" in small.never
    assert small.holds


def test_an_exception_is_a_violation_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_schedule: object) -> None:
        raise KeyError("nobody thought of it")

    monkeypatch.setattr(tally, "play", raises)
    found = of_seeds(range(2))
    assert [each.invariant for each in found.broken] == [tally.RAISED] * 2
    assert "nobody thought of it" in found.broken[0].text


def test_a_schedule_that_raises_is_told_and_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(_schedule: object) -> None:
        raise KeyError("nobody thought of it")

    monkeypatch.setattr(tally, "play", raises)
    assert main(["simulate", "--seed", "5", "--schedules", "1", "--jobs", "1"]) == simulate.BROKEN
    told = capsys.readouterr().out
    assert "raised KeyError('nobody thought of it') in raises" in told
    assert "replay: natkeeper simulate --seed 5 --replay" in told


# -- failures: the planted bug `one-table-is-enough` makes one


@pytest.fixture
def broken_seed() -> int:
    return int(known()["one-table-is-enough"]["seed"])


def test_a_failure_is_told_with_its_stack_its_faults_and_a_command(broken_seed: int) -> None:
    with planted(MUTANTS["one-table-is-enough"]):
        result = smallest(attempt(schedule_of(broken_seed)))
        told = "\n".join(lines_of(result, None))
    assert f"seed {broken_seed}: zones=" in told
    assert re.search(r"fault \d: +[\d.]+ s, for +[\d.]+ s: ", told)
    assert "invariant 17" in told
    assert f"replay: natkeeper simulate --seed {broken_seed} " in told
    assert ": Describe" not in told
    assert len(told.splitlines()) < 80


def test_the_command_that_is_told_replays_the_failure(broken_seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    with planted(MUTANTS["one-table-is-enough"]):
        result = smallest(attempt(schedule_of(broken_seed)))
        words = replay_command(result.schedule, None).split()
        assert words.pop(0) == "natkeeper"
        assert main(words) == simulate.BROKEN
    printed = capsys.readouterr().out
    assert str(result.violations[0]) in printed
    assert main(words) == simulate.HOLDS


def test_shrinking_leaves_a_fault_out_that_is_not_needed(broken_seed: int) -> None:
    with planted(MUTANTS["one-table-is-enough"]):
        whole = schedule_of(broken_seed)
        more = replace(whole.injections[0], fault="event-twice", at=0)
        result = attempt(replace(whole, injections=(more, *whole.injections)))
        assert result.violations
        assert more not in campaign.shrunk(result).schedule.injections


def test_a_campaign_that_breaks_ends_with_one(
    broken_seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    words = ["simulate", "--seed", str(broken_seed), "--schedules", "1", "--jobs", "1", "--json", str(out)]
    with planted(MUTANTS["one-table-is-enough"]):
        assert main(words) == simulate.BROKEN
    assert "replay: natkeeper simulate" in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert [(each["seed"], each["invariant"]) for each in figures["violations"]] == [(broken_seed, 17)]
    assert main(words) == simulate.HOLDS
    assert json.loads(out.read_text())["violations"] == []


def test_two_processes_play_the_same_campaign_as_one(tmp_path: Path) -> None:
    records = []
    for jobs in ("1", "2"):
        out = tmp_path / f"{jobs}.json"
        main(["simulate", "--seed", "3", "--schedules", "45", "--zones", "2", "--jobs", jobs, "--json", str(out)])
        record = json.loads(out.read_text())
        for differs in ("jobs", "seconds", "per_second"):
            del record[differs]
        records.append(record)
    assert records[0] == records[1]


def test_without_a_seed_a_fresh_one_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for _ in range(2):
        main(["simulate", "--schedules", "1", "--jobs", "1"])
        printed.append(capsys.readouterr().out.splitlines()[0])
    assert all(re.fullmatch(r"seeds \d+ to \d+", each) for each in printed)
    assert printed[0] != printed[1]


@pytest.mark.parametrize(
    "words",
    [
        ["--schedules", "0"],
        ["--schedules", "1", "--jobs", "0"],
        ["--small-worlds", "--jobs", "0"],
        ["--replay"],
        ["--seed", "1", "--replay", "--keep", "99"],
    ],
)
def test_wrong_use_ends_with_two(words: list[str]) -> None:
    assert main(["simulate", *words]) == simulate.BAD


def test_kept_faults_are_the_ones_that_were_numbered() -> None:
    seed = next(each for each in range(100) if len(schedule_of(each).injections) >= 3)
    assert kept(seed, None, [3, 1]).injections == schedule_of(seed).injections[::2][:2]


def test_without_the_labs_packages_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(["simulate", "--schedules", "1"]) == 3
    assert "pip install 'natkeeper[lab]'" in capsys.readouterr().err


def test_the_small_worlds_are_played_by_the_same_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "worlds.json"
    bounds = ["--pairs", "1", "--orders", "1", "--jobs", "1", "--json", str(out)]
    assert main(["simulate", "--small-worlds", *bounds, "--situation", "the next watch run"]) == simulate.HOLDS
    assert "1 situations" in capsys.readouterr().out
    (found,) = json.loads(out.read_text())["situations"]
    assert (found["situation"], found["pairs"], found["orders"]) == ("the next watch run", 1, 1)
    assert found["crashes"] >= found["calls"] > 0


def test_a_situation_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--small-worlds", "--situation", "the weather"]) == simulate.BAD
    assert "--situation: no 'the weather'; there are\n" in capsys.readouterr().err
