"""docs/failure-modes.md is what its generator makes, and every schedule that it names shows what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from natkeeper_lab.simulation import failure_modes
from natkeeper_lab.simulation.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_table_makes() -> None:
    made = "\n".join(failure_modes.page()) + "\n"
    assert (ROOT / "docs" / "failure-modes.md").read_text() == made, (
        "python -m natkeeper_lab.simulation.failure_modes makes it anew"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_happens_in_its_schedule_and_nothing_breaks(fault: str) -> None:
    assert failure_modes.shows(fault, failure_modes.known()[fault])


def test_every_area_is_on_the_page() -> None:
    assert {each.area for each in FAULTS.values()} == set(failure_modes.AREAS)


def test_every_scenario_that_is_named_is_in_the_library() -> None:
    for fault, scenario in failure_modes.SCENARIOS.items():
        assert fault in FAULTS
        assert (ROOT / "lab" / "natkeeper_lab" / "scenarios" / f"{scenario}.yaml").exists(), scenario


@pytest.mark.parametrize("fault", FAULTS)
def test_its_texts_are_parts_of_sentences(fault: str) -> None:
    row = FAULTS[fault]
    for text in (row.sees, row.does, row.never):
        assert text == text.strip()
        assert text[-1] not in ".,;"
