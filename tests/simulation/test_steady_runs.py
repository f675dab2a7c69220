"""Good rounds are worked out in one go; the report must be the same as if each had been sent by itself."""

from __future__ import annotations

from typing import Any

import pytest

from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.packets import DEAD, Fate
from natkeeper_lab.simulation.probes import Run

GOOD = Fate(True, address="203.0.113.1", through="eni-1")
OTHER = Fate(True, rtt_ms=31.5, address="203.0.113.2", through="eni-2")
LOSSY = Fate(True, loss=0.4, address="203.0.113.1", through="eni-1")
CHANGES = {
    "nothing changes": [],
    "the path moves between two rounds": [(7_300_000, (OTHER, GOOD))],
    "the path moves in the instant of a round": [(7 * SECOND, (OTHER, GOOD))],
    "the canary dies and comes back": [(3_100_000, (GOOD, DEAD["hung"])), (9_200_000, (GOOD, OTHER))],
    "two rounds are lost": [(5_500_000, (DEAD["hung"], OTHER)), (7_500_000, (GOOD, OTHER))],
    "packets are lost for a while": [(4_500_000, (LOSSY, OTHER)), (8_500_000, (GOOD, OTHER))],
    "egress ends": [(6_500_000, (DEAD["not running"], None))],
}


def told(changes: list[tuple[int, Any]]) -> tuple[list[Any], dict[str, int]]:
    """(the run's reports, when a round last went through what)."""
    hub, now, reports = Hub(), [(GOOD, OTHER)], []
    carried: dict[str, int] = {}
    request = {"group": "a", "run_id": "r", "mode": "watch", "interval": 1.0, "run": 20.0, "rounds_to_fail": 3}

    def through(fate: Fate, at: int) -> None:
        carried[str(fate.through)] = max(at, carried.get(str(fate.through), at))

    run = Run(hub, 7, request, 0, lambda: now[-1], lambda _, report: reports.append((hub.now, report)), through)
    hub.after(0, run.begin)
    for at, paths in changes:
        hub.after(at, lambda paths=paths: (now.append(paths), run.path_changed()))  # type: ignore[misc]
    hub.run(60 * SECOND)
    return reports, carried


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_reports_the_same_however_its_rounds_are_worked_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = told(CHANGES[name])
    monkeypatch.setattr(Run, "_is_steady", lambda _: False)
    assert at_once == told(CHANGES[name])
    assert len(at_once[0]) == 1


def test_a_quiet_run_is_worked_out_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_send", lambda *_: pytest.fail("a round was sent by itself"))
    (_, report), *_ = told([])[0]
    assert len(report["rounds"]) == 20
