"""The library of scenarios: every file is sound, says why it is there, and together they speak every word there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from natkeeper_cli.main import main
from natkeeper_lab.scenario.alarms import defined
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.verbs import VERBS
from natkeeper_lab.scenario.vocabulary import ALARMS, EXPECTATIONS, STEPS

LIBRARY = Path(__file__).parents[2] / "lab" / "natkeeper_lab" / "scenarios"
FILES = sorted(LIBRARY.glob("*.yaml"))


def test_the_library_has_at_least_forty_scenarios() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda each: each.stem)
def test_a_scenario_is_sound_bears_its_files_name_and_says_why(path: Path) -> None:
    found = parse(path)
    assert found.name == path.stem
    assert len(found.why) > 40
    assert found.expect


def test_every_verb_is_used_at_least_once() -> None:
    used = {step.do for path in FILES for step in parse(path).timeline}
    assert set(STEPS) - used == set()
    assert VERBS.keys() == STEPS.keys()


def test_every_expectation_is_used_at_least_once() -> None:
    used = {each.kind for path in FILES for each in parse(path).expect}
    assert set(EXPECTATIONS) - used == set()


def test_every_alarm_of_the_template_may_be_asked_for() -> None:
    assert set(ALARMS) == set(defined())


def test_the_command_lists_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "list"]) == 0
    said = capsys.readouterr().out
    assert all(path.stem in said for path in FILES)


def test_a_bad_file_ends_with_2_and_is_named_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nsteps: []\n")
    assert main(["lab", "run", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "one.yaml:2: unknown key 'steps' in a scenario" in said
    assert "two.yaml:2: unknown key 'steps' in a scenario" in said


def test_a_folder_without_scenarios_ends_with_2(tmp_path: Path) -> None:
    assert main(["lab", "run", str(tmp_path)]) == 2


def test_it_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "natkeeper_cli", "lab"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: natkeeper lab" in done.stderr
