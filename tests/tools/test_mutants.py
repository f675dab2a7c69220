"""The judge of the mutants: what it counts, what it lets pass, and the copy it gives to mutmut."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutmut.mutation.data import MutantLineSpans
from mutmut.mutation.file_mutation import mutate_file_contents

from tools import mutants
from tools.mutants import Mutant, score, stage, tell

KNOWN = {("judge.judge", "return None"): "nobody reads it"}
SILENT = Mutant("natkeeper.core.judge.x_judge__mutmut_1", "judge.judge", "survived", "return None")


def noticed(count: int) -> list[Mutant]:
    return [Mutant(f"k{number}", "judge.judge", "killed") for number in range(count)]


def test_the_score_counts_what_is_explained_as_not_noticed_all_the_same() -> None:
    assert score([*noticed(9), SILENT]) == 90
    assert score([*noticed(1), Mutant("slow", "judge.judge", "timeout")]) == 100
    assert score([]) == 0


def test_a_survivor_is_let_pass_when_it_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell([*noticed(9), SILENT], KNOWN)
    said = capsys.readouterr().out
    assert "1 of 10 survived, 1 of them explained" in said
    assert "mutation score of core: 90.0 %" in said


@pytest.mark.parametrize("status", ["survived", "no tests", "suspicious"])
def test_a_survivor_without_a_reason_fails_and_is_shown(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not tell([*noticed(99), Mutant(SILENT.name, SILENT.where, status, "return 1")], KNOWN)
    assert "becomes: return 1" in capsys.readouterr().out
    assert tell([*noticed(99), Mutant(SILENT.name, SILENT.where, status, "return 1")], KNOWN, is_strict=False)


def test_too_many_survivors_fail_however_well_they_are_explained() -> None:
    assert not tell([*noticed(8), SILENT], KNOWN)


def test_a_run_that_did_not_get_to_its_end_fails() -> None:
    assert not tell([*noticed(99), Mutant("later", "judge.judge", "not checked")], {})


def test_a_reason_that_is_not_needed_any_more_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(noticed(9), KNOWN)
    assert "explained, but did not survive: judge.judge: return None" in capsys.readouterr().out


def test_every_reason_of_the_repository_can_be_read() -> None:
    assert all(because for because in mutants.explained(mutants.EXPLAINED).values())


@pytest.mark.parametrize(
    ("mangled", "plain"),
    [("x__act__mutmut_3", "_act"), ("xǁViewǁhome__mutmut_12", "View.home"), ("x_tell__mutmut_1", "tell")],
)
def test_a_mutant_is_found_again_by_the_name_of_its_function(mangled: str, plain: str) -> None:
    assert mutants._function(mangled) == plain


def test_a_survivor_is_described_by_the_line_that_changed_or_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.mutmut]\nsource_paths = ["."]\n')
    source = "def least(a, b):\n    return min(\n        a,\n        b,\n    ) < 2\n"
    made = mutate_file_contents("least.py", source)
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants" / "least.py").write_text(made.code)
    MutantLineSpans(path="least.py", span_by_function_name=made.line_span_by_function_name).save()
    said = {mutants._changed(Path("least.py"), each) for each in made.mutant_names}
    assert {") <= 2", "None,", "- a,"} <= said


def test_the_copy_has_plain_properties_and_keeps_the_times_of_what_did_not_change(tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    for name in (*mutants.COPIED, str(mutants.CORE)):
        (root / name).mkdir(parents=True, exist_ok=True)
    source, test = root / mutants.CORE / "view.py", root / "tests/core/test_view.py"
    source.write_text("class View:\n    @property\n    def home(self) -> int:\n        return 1\n")
    test.write_text("")
    (root / "pyproject.toml").write_text("")
    first = stage(root, copy)
    made = copy / mutants.CORE / "view.py"
    found: dict[str, type] = {}
    exec(made.read_text(), found)
    assert "@property" not in made.read_text()
    assert found["View"]().home == 1
    before = made.stat().st_mtime_ns
    assert stage(root, copy) == first
    assert made.stat().st_mtime_ns == before
    test.unlink()
    assert stage(root, copy) != first
    assert not (copy / "tests/core/test_view.py").exists()
