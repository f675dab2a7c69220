"""Scenario files on virtual time: the library holds, what must fail fails, what cannot be judged is not passed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from lab.scenario.file import BadScenario, Scenario, parse
from lab.scenario.looks import _LOOKS
from lab.scenario.vocabulary import EXPECTATIONS, STEPS
from simulation.scenario.run import BROKEN, HOLDS, NOT_JUDGED, Outcome, play, run
from simulation.scenario.steps import VERBS

LIBRARY = sorted((Path(__file__).parents[2] / "lab" / "scenarios").glob("*.yaml"))
SEEDS = (1, 2, 3)
STOPPED = "timeline:\n  - {at: 1, do: stop_instance, target: nat@a}\n"
HUNG = "timeline:\n  - {at: 1, do: hang, target: nat@a}\n"
HUNG_FOR_ALL = "timeline:\n  - {at: 1, do: hang, target: nat@a}\n  - {at: 1, do: hang, target: nat@b}\n"
QUIET = "timeline:\n  - {at: 1, do: rebalance_recommendation, target: nat@a}\n"


def written(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "given.yaml"
    path.write_text(f"name: given\nwhy: a test of the player\nzones: [a, b]\n{text}")
    return parse(path)


def told(outcome: Outcome) -> str:
    return "; ".join(f"{each.text}: {each.seen}" for each in outcome.verdicts if not each.passed) or outcome.void


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("path", LIBRARY, ids=lambda each: each.stem)
def test_what_holds_in_the_lab_holds_on_virtual_time(path: Path, seed: int) -> None:
    outcome = play(parse(path), seed)
    assert outcome.code == HOLDS, told(outcome)
    assert len(outcome.verdicts) + len(outcome.not_judged) >= len(outcome.scenario.expect)


def test_every_word_of_the_contract_is_known() -> None:
    assert VERBS.keys() == STEPS.keys()
    assert _LOOKS.keys() == EXPECTATIONS.keys()


def test_the_same_seed_plays_the_same_run() -> None:
    scenario = parse(next(each for each in LIBRARY if each.stem == "zone-loss-of-three"))
    one, again, other = play(scenario, 5), play(scenario, 5), play(scenario, 6)
    assert one.verdicts == again.verdicts
    assert one.verdicts != other.verdicts


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (STOPPED + "expect:\n  - {restored: a, within: 0.1}\n", "restored"),
        (HUNG + "expect:\n  - {never_down: a}\n", "never_down"),
        (STOPPED + "expect:\n  - {downtime: a, at_most: 0.05}\n", "downtime"),
        (STOPPED + "expect:\n  - {route: a, is: unchanged}\n", "route"),
        (STOPPED + "expect:\n  - {within: 3, route: a, is: gateway}\n", "route"),
        (STOPPED + "expect:\n  - {incidents: a, count: 0}\n", "incidents"),
        (STOPPED + "expect:\n  - {writes: ReplaceRoute, at_most: 0}\n", "writes"),
        (STOPPED + "expect:\n  - {instances: a, at_most: 0}\n", "instances"),
        (STOPPED + "expect:\n  - {metric: Failovers, at_most: 0}\n", "metric"),
        (STOPPED + "expect:\n  - {log: last-resort}\n", "log"),
        (STOPPED + "expect:\n  - {instance: nat@a, is: terminated}\n", "instance"),
        (STOPPED + "expect:\n  - {egress_address: a, is: changed}\n", "egress_address"),
        (STOPPED + "expect:\n  - {alarm: controller-silent, is: alarm}\n", "alarm"),
        (HUNG_FOR_ALL + "expect:\n  - {restored: a, within: 20}\n", "restored"),
        (QUIET + "expect:\n  - {restored: a, eventually: 3}\n", "restored"),
        (QUIET + "expect:\n  - {route: a, is: away}\n", "route"),
    ],
)
def test_what_is_not_so_fails(tmp_path: Path, text: str, broken: str) -> None:
    outcome = play(written(tmp_path, text), 1)
    assert outcome.code == BROKEN
    assert [each.expectation.kind for each in outcome.verdicts if each.expectation and not each.passed] == [broken]


def test_a_broken_invariant_fails_a_run_that_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulation.invariants import judge

    def never(_book: object, _invocation: object, plan: object) -> str:
        return f"planted: {plan}"

    scenario = written(tmp_path, QUIET)
    assert play(scenario, 1).code == HOLDS
    monkeypatch.setattr(judge, "PLANS", ((1, never),))
    assert play(scenario, 1).code == BROKEN
    assert play(written(tmp_path, QUIET + "expect:\n  - {invariants: false}\n"), 1).code == HOLDS


def test_established_flows_are_named_as_not_judged_and_the_rest_is(tmp_path: Path) -> None:
    flows = "flows:\n  - {from: a, count: 3, speaks: client, every: 0.2}\n"
    text = flows + STOPPED + "expect:\n  - {flows: a, surviving_at_least: 1}\n"
    alone = play(written(tmp_path, text), 1)
    assert (alone.code, alone.word) == (NOT_JUDGED, "NOT JUDGED")
    assert "established connections are not simulated" in alone.not_judged[0].why
    beside = play(written(tmp_path, text + "  - {restored: a, within: 3}\n"), 1)
    assert (beside.code, len(beside.not_judged)) == (HOLDS, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("timeline:\n  - {at: 1, do: stop_instance, target: standby@a}\n", "there is no standby@a"),
        ("timeline:\n  - {at: 1, do: api_error, operation: Publish, code: Throttling}\n", "messages to the topic"),
        ("timeline:\n  - {at: 1, do: api_stale, operation: ReplaceRoute, seconds: 3}\n", "only an answer"),
        (
            "timeline:\n  - {at: 1, do: stop_instance, target: nat@a}\n  - {at: 2, do: hang, target: nat@a}\n",
            "nothing runs",
        ),
    ],
)
def test_a_step_that_cannot_be_made_voids_the_run(tmp_path: Path, text: str, why: str) -> None:
    outcome = play(written(tmp_path, text + "expect:\n  - {invariants: true}\n"), 1)
    assert (outcome.code, outcome.word) == (NOT_JUDGED, "NOT JUDGED")
    assert why in outcome.void


def test_faults_of_the_api_combine(tmp_path: Path) -> None:
    slow = "  - {at: 0.5, do: api_slow, operation: 'ec2:*', seconds: 1}\n"
    lost = "  - {at: 0.6, do: api_error, operation: ReplaceRoute, code: InternalError, times: 1}\n"
    text = "timeline:\n" + slow + lost + STOPPED.partition("\n")[2] + "expect:\n  - {restored: a, within: 2}\n"
    late = play(written(tmp_path, text), 1)
    assert late.code == BROKEN
    assert play(written(tmp_path, text.replace("within: 2", "within: 9")), 1).code == HOLDS


def test_the_command_says_it_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flows = "flows:\n  - {from: a, count: 3}\n"
    scenario = written(tmp_path, flows + STOPPED + "expect:\n  - {flows: a, surviving_at_least: 1}\n")
    out = tmp_path / "record.json"
    assert main(["lab", "run", "--simulate", str(scenario.path), "--json", str(out), "--seed", "7"]) == NOT_JUDGED
    said = capsys.readouterr().out
    assert "not judged: flows a" in said
    assert "NOT JUDGED  given" in said
    found = json.loads(out.read_text())
    assert (found["result"], found["seed"]) == ("not judged", 7)
    assert found["not_judged"][0]["text"].startswith("flows a")


def test_a_bad_file_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nwhy: not a verb\nzones: [a]\ntimeline:\n  - {at: 1, do: explode}\n")
    with pytest.raises(BadScenario):
        parse(path)
    assert run([path]) == NOT_JUDGED
    assert "explode" in capsys.readouterr().out
    assert run([tmp_path / "empty"]) == NOT_JUDGED


def test_playing_a_file_needs_no_emulator_and_no_kernel() -> None:
    code = "import sys, simulation.scenario.run; print([each for each in ('moto', 'pyroute2') if each in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
