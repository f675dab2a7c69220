"""docs/scenario-reference.md is what its generator prints, every word has a meaning, and its example passes."""

from __future__ import annotations

from pathlib import Path

from natkeeper_lab.scenario import meanings, reference, vocabulary
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.values import _KINDS
from natkeeper_lab.simulation.scenario.run import play

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scenario-reference.md"


def test_every_verb_has_a_meaning_and_every_meaning_a_verb() -> None:
    assert {name for verbs in meanings.VERBS.values() for name in verbs} == set(vocabulary.STEPS)
    assert sum(map(len, meanings.VERBS.values())) == len(vocabulary.STEPS), "a verb stands in two areas"


def test_every_expectation_has_a_meaning_and_every_meaning_an_expectation() -> None:
    assert set(meanings.EXPECTATIONS) == set(vocabulary.EXPECTATIONS)
    assert set(meanings.CLOCKS) == set(vocabulary.CLOCKS)


def test_every_kind_of_value_target_and_metric_has_a_meaning() -> None:
    assert set(meanings.KINDS) == set(_KINDS)
    assert set(meanings.TARGETS) == set(vocabulary.TARGET_KINDS)
    assert set(meanings.METRICS) == set(vocabulary.METRICS)


def test_the_page_is_what_the_vocabulary_makes() -> None:
    made = "\n".join(reference.page()) + "\n"
    assert PAGE.read_text() == made, (
        "python -m natkeeper_lab.scenario.reference > docs/scenario-reference.md makes it anew"
    )


def test_the_example_passes(tmp_path: Path) -> None:
    path = tmp_path / "annotated-example.yaml"
    path.write_text(reference.EXAMPLE)
    outcome = play(parse(path), 1)
    assert [each.text for each in outcome.verdicts if not each.passed] == []
    assert outcome.code == 0
