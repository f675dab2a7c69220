"""Scenario files on virtual time: the library holds, what must fail fails, what cannot be judged is not passed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from natkeeper_cli.main import main
from natkeeper_lab.scenario.file import BadScenario, Scenario, parse
from natkeeper_lab.scenario.foreign import STATES
from natkeeper_lab.scenario.looks import _LOOKS
from natkeeper_lab.scenario.verbs import VERBS
from natkeeper_lab.scenario.vocabulary import EXPECTATIONS, STEPS
from natkeeper_lab.simulation.scenario.run import BROKEN, HOLDS, NOT_JUDGED, Outcome, Run, play, run

LIBRARY = sorted((Path(__file__).parents[2] / "lab" / "natkeeper_lab" / "scenarios").glob("*.yaml"))
NOT_SIMULATED = ("cpu_share",)
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


@pytest.mark.parametrize("path", LIBRARY, ids=lambda each: each.stem)
def test_what_holds_in_the_lab_holds_on_virtual_time(path: Path) -> None:
    scenario = parse(path)
    outcome = play(scenario, 1)
    if any(each.do in NOT_SIMULATED for each in scenario.timeline):
        assert (outcome.code, "is not simulated" in outcome.void) == (NOT_JUDGED, True)
        return
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
        (STOPPED + "expect:\n  - {dark: a, at_most: 0.05}\n", "dark"),
        (HUNG_FOR_ALL + "expect:\n  - {dark: a, at_most: 15, within: 18}\n", "dark"),
        (STOPPED + "expect:\n  - {failovers: a, at_most: 0}\n", "failovers"),
        (STOPPED + "expect:\n  - {moves: a, at_most: 0}\n", "moves"),
        (STOPPED + "expect:\n  - {egress_addresses: a, at_most: 0}\n", "egress_addresses"),
        (STOPPED + "expect:\n  - {message: b, contains: NAT}\n", "message"),
        (STOPPED + "expect:\n  - {incidents: a, count: 1}\n  - {messages: a, at_most: 0}\n", "messages"),
        (STOPPED + "expect:\n  - {calls: 'Describe*', at_most: 0}\n", "calls"),
        (STOPPED + "expect:\n  - {writes: 'dynamodb:*', at_most: 0}\n", "writes"),
        (QUIET + "expect:\n  - {restored: a, eventually: 3}\n", "restored"),
        (QUIET + "expect:\n  - {route: a, is: away}\n", "route"),
    ],
)
def test_what_is_not_so_fails(tmp_path: Path, text: str, broken: str) -> None:
    outcome = play(written(tmp_path, text), 1)
    assert outcome.code == BROKEN
    assert [each.expectation.kind for each in outcome.verdicts if each.expectation and not each.passed] == [broken]


def test_a_broken_invariant_fails_a_run_that_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from natkeeper_lab.simulation.invariants import judge

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


def slowed(step: str, then: str = STOPPED) -> str:
    return f"timeline:\n  - {{at: 0.5, do: {step}}}\n" + then.partition("\n")[2]


@pytest.mark.parametrize(
    ("step", "pace", "wanted"),
    [
        ("address_remap, seconds: 3", ("remap", "is_remap_dark"), ((3_000_000, 3_000_000), False)),
        ("address_remap, seconds: 3, model: dark", ("remap", "is_remap_dark"), ((3_000_000, 3_000_000), True)),
        ("public_address, seconds: 20", ("public",), ((20_000_000, 20_000_000),)),
        ("public_address, never: true", ("public",), (None,)),
        ("boot, seconds: 40", ("to_running", "script"), ((3_000_000, 3_000_000), (37_000_000, 37_000_000))),
        ("start, seconds: 1", ("to_running", "start_script"), ((1_000_000, 1_000_000), (0, 0))),
        ("start, seconds: 1", ("script",), ((2_200_000, 2_600_000),)),
        ("destination_delay, seconds: 2.5", ("destination",), ((2_500_000, 2_500_000),)),
    ],
)
def test_a_verb_changes_awss_times(
    tmp_path: Path, step: str, pace: tuple[str, ...], wanted: tuple[object, ...]
) -> None:
    playing = Run(written(tmp_path, f"timeline:\n  - {{at: 0.5, do: {step}}}\n"), 1, lambda _line: None, {})
    ec2 = playing.stage.world.ec2
    assert playing.play().code == HOLDS
    assert tuple(getattr(ec2.paces, name) for name in pace) == wanted


def test_a_late_address_is_time_without_egress_as_verb_and_as_option(tmp_path: Path) -> None:
    late = slowed("address_remap, seconds: 2") + "expect:\n  - {within: 4, dark: a, at_most: 2}\n"
    assert play(written(tmp_path, late), 1).code == BROKEN
    assert play(written(tmp_path, late.replace("at_most: 2", "at_most: 3.9")), 1).code == HOLDS
    plain = STOPPED + "expect:\n  - {within: 4, dark: a, at_most: 2}\n"
    assert play(written(tmp_path, plain), 1).code == HOLDS
    assert play(written(tmp_path, plain), 1, times={"remap": 2.0}).code == BROKEN
    assert play(written(tmp_path, plain), 1, times={"call": 1.0}).code == BROKEN
    assert play(written(tmp_path, plain), 1, times={"route": 2.0}).code == BROKEN
    assert play(written(tmp_path, plain), 1, times={"events": 2.0}).code == BROKEN


def test_a_call_takes_what_was_said_last(tmp_path: Path) -> None:
    slow = slowed("api_time, operation: AssociateAddress, seconds: 1.5")
    text = slow + "expect:\n  - {within: 4, dark: a, at_most: 1.5}\n"
    assert play(written(tmp_path, text), 1).code == BROKEN
    again = text.replace("  - {at: 1,", "  - {at: 0.6, do: api_time, operation: 'ec2:*', seconds: 0.1}\n  - {at: 1,")
    assert play(written(tmp_path, again), 1).code == HOLDS


def test_late_destinations_make_the_finding_of_a_black_hole_late(tmp_path: Path) -> None:
    text = slowed("destination_delay, seconds: 4", HUNG)
    assert play(written(tmp_path, text + "expect:\n  - {restored: a, within: 7}\n"), 1).code == BROKEN
    assert play(written(tmp_path, text + "expect:\n  - {restored: a, within: 13}\n"), 1).code == HOLDS


def test_foreign_instances_wake_the_controller_and_are_not_ours(tmp_path: Path) -> None:
    playing = Run(
        written(tmp_path, "timeline:\n  - {at: 0.5, do: foreign_events, count: 12, per_second: 4}\n"),
        1,
        lambda _line: None,
        {},
    )
    seen: list[tuple[str, str]] = []
    ec2 = playing.stage.world.ec2
    playing.stage.world.bus.state_changed = lambda found, state: seen.append((found, state))  # type: ignore[method-assign]
    assert playing.play().code == HOLDS
    assert [state for _, state in seen][:8] == list(STATES)
    assert len(seen) == 12
    assert not {found for found, _ in seen} & set(ec2.machines)


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
    code = (
        "import sys, natkeeper_lab.simulation.scenario.run; "
        "print([each for each in ('moto', 'pyroute2') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
