"""Other people's instances beside a failover, under EC2's own token buckets."""

from __future__ import annotations

import pytest

from natkeeper_lab.simulation.crowd import WAYS, main, measure


@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_foreign_events_a_second_for_five_minutes_do_not_slow_a_failover_down(way: str) -> None:
    """Each woke a full pass: three describes and four to six writes; at ten a second neither was failed over."""
    alone, crowded = measure(way, 0), measure(way, 100)
    assert 0 < alone.dark < 10
    assert crowded.dark < 1.1 * alone.dark
    assert crowded.events == 30_000
    assert (crowded.ec2_calls, crowded.writes, crowded.throttled) == (0, 0, 0)
    assert 0 < crowded.theirs["Query"] < 1_000


def test_the_command_fails_where_a_crowd_costs_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natkeeper.reconcile.sift", lambda news, *_: tuple(news))
    assert main(["--a-second", "1", "--seeds", "1"]) == 1


def test_the_command_passes_as_natkeeper_is() -> None:
    assert main(["--a-second", "2", "--seeds", "1"]) == 0
