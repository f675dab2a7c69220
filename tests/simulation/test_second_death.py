"""Two dark spans within one interval of the probes: what an incident says of them contains both."""

from __future__ import annotations

import pytest

from natkeeper_lab.simulation.second_death import Outcome, play

TOO_LOW = (25, 62, 90, 100, 104)
"""Without what natkeeper knows of its own moves, the upper end of these was up to half a second below the truth."""


@pytest.mark.parametrize("seed", TOO_LOW)
def test_a_neighbour_that_dies_right_after_it_took_the_traffic_leaves_the_truth_inside(seed: int) -> None:
    found = play(seed)
    assert found.is_true, found


@pytest.mark.parametrize(
    ("low", "high", "is_true"),
    [(0.5, 1.5, True), (0.5, 0.9, False), (1.1, 1.5, False), (0.5, None, False)],
)
def test_a_truth_outside_of_the_interval_is_told(low: float, high: float | None, is_true: bool) -> None:
    assert Outcome(1, ("stopped", "hung"), 1.0, low, high, 1, ()).is_true is is_true


def test_neither_no_incident_nor_a_broken_invariant_is_a_truth() -> None:
    assert not Outcome(1, ("stopped", "hung"), 0.0, 0.0, 0.0, 0, ()).is_true
    assert not Outcome(1, ("stopped", "hung"), 1.0, 0.5, 1.5, 1, ("invariant 18",)).is_true
