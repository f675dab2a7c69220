"""Many stacks in one account lose a zone at once: the bound on paper, and that nobody is left behind."""

from __future__ import annotations

import pytest

from natkeeper_lab.simulation.scale import WAYS, bound, measure, unfairness


def test_the_bound_is_what_the_tightest_bucket_takes() -> None:
    assert bound(500, 2) == (190, "ReplaceRoute")
    assert bound(500, 1)[0] == 90
    assert bound(100, 2, shrink=5) == bound(500, 2)


def test_an_even_service_is_fair_and_a_late_rush_is_not() -> None:
    assert unfairness([1, 2, 3, 4]) == 0
    assert unfairness([97, 98, 99, 100]) > 0.7


@pytest.mark.parametrize("way", WAYS)
def test_everybody_is_back_and_at_rest_nobody_was_throttled(way: str) -> None:
    found = measure(stacks=20, tables=1, way=way, seed=3, shrink=25)
    assert found.never == 0
    assert found.ratio < 2
    assert found.throttled["AssociateAddress"] > 0
