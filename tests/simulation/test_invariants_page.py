"""docs/invariants.md has every invariant that a judge can report, with where it is checked and what breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkeeper_lab.simulation.invariants.calls import SENT, WRITES
from natkeeper_lab.simulation.invariants.judge import MOVES_AFTER_MOVES
from natkeeper_lab.simulation.invariants.plans import PLANS
from natkeeper_lab.simulation.planted import MUTANTS
from natkeeper_lab.simulation.tally import RAISED

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "lab" / "natkeeper_lab"
PAGE = (ROOT / "docs" / "invariants.md").read_text()
REPORTS = ("broke", "_break")
UNCHECKED = "No judge reports this number"
TABLES = (*SENT, *WRITES, *MOVES_AFTER_MOVES, *PLANS)
JUDGES = (*(LAB / "simulation").rglob("*.py"), LAB / "scenario" / "invariants.py")


def sections() -> dict[int, str]:
    """Each invariant's number and text."""
    found = re.split(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE)[1:]
    return {int(number): text for number, text in zip(found[::2], found[1::2], strict=True)}


def reported() -> set[int]:
    """Every number that a judge can report, by its tables and by its source."""
    numbers = {number for number, _ in TABLES}
    return numbers.union(*(reported_by(ast.parse(path.read_text())) for path in JUDGES)) - {RAISED}


def reported_by(tree: ast.Module) -> Iterator[int]:
    """The whole numbers given to `broke` and `_break`, those in `number = … if … else …`, and in texts."""
    for node in ast.walk(tree):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith(REPORTS):
            given = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp):
            is_number = [ast.unparse(each) for each in node.targets] == ["number"]
            given = [node.value.body, node.value.orelse] if is_number else []
        elif isinstance(node, ast.JoinedStr):
            yield from (int(each) for each in re.findall(r"invariant (\d+):", ast.unparse(node)))
        yield from (each.value for each in given if isinstance(each, ast.Constant) and type(each.value) is int)


def test_the_page_has_the_numbers_without_a_gap() -> None:
    assert list(sections()) == list(range(1, len(sections()) + 1))


def test_every_number_that_a_judge_reports_is_on_the_page_and_the_others_are_marked() -> None:
    assert {number for number, text in sections().items() if UNCHECKED not in text} == reported()


@pytest.mark.parametrize(("number", "judge"), TABLES)
def test_the_function_that_judges_is_named_in_its_section(number: int, judge: object) -> None:
    module, name = judge.__module__.rpartition(".")[2], judge.__name__  # type: ignore[attr-defined]
    assert f"`{module}.{name}`" in sections()[number]


@pytest.mark.parametrize("number", sections())
def test_the_functions_that_are_named_exist(number: int) -> None:
    for module, name in re.findall(r"`(\w+)\.(_?\w+)`", sections()[number]):
        path = next(each for each in JUDGES if each.stem == module and each.parts[-2] in ("invariants", "simulation"))
        assert re.search(rf"def {name}\(", path.read_text()), f"{module}.{name}"
    lab = re.search(r"^- Lab: (.*)", sections()[number], re.MULTILINE)
    for name in re.findall(r"`(_\w+)`", lab[1] if lab else ""):
        assert f"def {name}(" in (LAB / "scenario" / "invariants.py").read_text(), name


@pytest.mark.parametrize("number", sections())
def test_the_planted_bugs_that_break_it_are_named(number: int) -> None:
    named = re.search(r"^- Planted bugs: (.*?)(?=\n\n|\Z)", sections()[number], re.MULTILINE | re.DOTALL)
    planted = [each.name for each in MUTANTS.values() if number in each.breaks]
    wanted = ", ".join(f"`{each}`" for each in planted) or "none"
    found = " ".join(named[1].split()) if named else "none"
    assert found == wanted, f"docs/invariants.md, {number}, should say: Planted bugs: {wanted}"
