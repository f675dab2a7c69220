"""Hostile events, poisoned items, hostile requests: none raises, writes, locks a group or breaks a line.

From a fresh seed each time, as `make test` plays fresh schedules; a failure prints it. `python -m tests.hostile` plays
the many.
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.hostile.play import Played, play_events, play_items, play_requests

NUMBERS = {play_events: 2_000, play_items: 250, play_requests: 2_000}
"""An item is a whole pass with its calls and takes as long as five events."""


@pytest.mark.parametrize("play", NUMBERS)
def test_nothing_hostile_raises_writes_locks_or_breaks_a_line(play: Callable[[int, int], Played]) -> None:
    seed = SystemRandom().randrange(1 << 32)
    played = play(NUMBERS[play], seed)
    assert not played.found, f"seed {seed}: {played.found}\n" + "\n".join(played.told)


def test_what_is_played_is_not_all_refused_at_the_door() -> None:
    """A generator whose events are all refused would show nothing of a pass."""
    events, requests = play_events(200, 1).seen, play_requests(200, 1).seen
    assert events["groups"] > events["refused"] / 10
    assert set(requests) >= {"refused", "ended"}
