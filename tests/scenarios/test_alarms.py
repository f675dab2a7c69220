"""Alarms by CloudWatch's own rules, on what a controller printed: the tables of its guide, and the alarms we deploy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from natkeeper_lab.scenario.alarms import Alarm, Series, defined
from natkeeper_lab.scenario.metric_looks import state_of
from natkeeper_lab.scenario.sight import Line

MINUTE = 60.0
SAYS = {"X": True, "0": False, "-": None}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
THREE_OF_THREE = [
    ("0-X-X", ("ok", "ok", "ok", "ok")),
    ("----0", ("ok", None, "ok", "ok")),
    ("-----", ("insufficient_data", None, "alarm", "ok")),
    ("0XX-X", ("alarm", "alarm", "alarm", "alarm")),
    ("--X--", ("alarm", None, "alarm", "ok")),
]
TWO_OF_THREE = [
    ("0-X-X", ("alarm", "alarm", "alarm", "alarm")),
    ("00X0X", ("alarm", "alarm", "alarm", "alarm")),
    ("0-X--", ("ok", None, "alarm", "ok")),
    ("----0", ("ok", None, "alarm", "ok")),
    ("----X", ("alarm", None, "alarm", "ok")),
]


def one(needed: int, missing: str) -> Alarm:
    series = (Series("natkeeper", "M", "a"),)
    return Alarm("x", series, "Maximum", 1, 3, needed, "GreaterThanThreshold", 0, missing)


@pytest.mark.parametrize(
    ("needed", "row", "states"),
    [(3, *each) for each in THREE_OF_THREE] + [(2, *each) for each in TWO_OF_THREE],
)
def test_states_are_those_of_the_cloudwatch_user_guides_tables(
    needed: int, row: str, states: Sequence[str | None]
) -> None:
    """Oldest first, as the guide prints them. Where it says that `ignore` keeps the state, or that it happens to be OK
    already, None is to keep it."""
    datapoints = [SAYS[each] for each in reversed(row)]
    assert [one(needed, each).state(datapoints) for each in TREATMENTS] == list(states)


def scene(minutes: Mapping[str, Sequence[Sequence[float]]], zones: str = "a", late: float = 30.0) -> Any:
    """Minute by minute what group a's passes said of each metric, since natkeeper was switched on at 0."""
    lines = [
        Line(number * MINUTE + late, {"_aws": {}, "group": "a", name: value})
        for name, said in minutes.items()
        for number, values in enumerate(said)
        for value in values
    ]
    journal = SimpleNamespace(lines=lambda since: [each for each in lines if each.at >= since], throttles=lambda _: [])
    return SimpleNamespace(
        journal=journal,
        pace=SimpleNamespace(tick=MINUTE),
        switched_on_at=0.0,
        scenario=SimpleNamespace(zones=tuple(zones)),
    )


def states(name: str, minutes: Mapping[str, Sequence[Sequence[float]]], zones: str = "a") -> list[str]:
    """After each minute."""
    most = max(map(len, minutes.values()))
    shown = scene(minutes, zones)
    return [state_of(shown, defined()[name], MINUTE * each) for each in range(1, most + 1)]


WELL: Sequence[float] = (0, 0)


@pytest.mark.parametrize("metric", ["Unknown"])
def test_a_healthy_group_never_rings_blind_though_a_datapoint_comes_a_minute_late_or_one_pass_could_not_look(
    metric: str,
) -> None:
    said = [WELL, (0,), (), (0, 0, 0), (1,), WELL, (0, 1), (), (), WELL, (1, 1), WELL]
    assert set(states("blind-a", {metric: said})) == {"ok"}


@pytest.mark.parametrize(
    ("said", "rings_after"),
    [
        ([WELL, (0, 1), (1,), (1, 1), (1,)], 4),
        ([WELL, WELL, (), (), (), (), ()], 6),
        ([WELL, (1,), (), (), ()], 5),
    ],
    ids=["every pass is blind", "nobody says a word", "a blind pass, then none"],
)
def test_blind_rings_within_five_minutes_of_the_last_pass_that_knew(
    said: Sequence[Sequence[float]], rings_after: int
) -> None:
    found = states("blind-a", {"Unknown": said})
    assert found.index("alarm") + 1 == rings_after
    knew = max(number for number, values in enumerate(said, 1) if 0 in values)
    assert rings_after - knew <= 4


def test_blind_rings_where_the_controller_never_ran() -> None:
    assert state_of(scene({}), defined()["blind-a"], 2 * MINUTE) == "alarm"


def test_egress_down_rings_after_one_minute_in_which_no_pass_saw_it_up_and_keeps_to_what_it_last_knew() -> None:
    said = [(1,), (1, 0), (0, 0), (), (), (1,)]
    assert states("egress-down-a", {"EgressUp": said}) == ["ok", "ok", "alarm", "alarm", "alarm", "ok"]


def test_who_says_nothing_for_minutes_is_neither_up_nor_down() -> None:
    assert states("egress-down-a", {"EgressUp": [(1,), (), (), (), ()]})[-1] == "insufficient_data"


def test_not_healing_rings_after_ten_minutes_and_silence_does_not_end_it() -> None:
    said = [(0,), *[(0, 1)] * 10, *[()] * 15, *[(0,)] * 10]
    found = states("not-healing-a", {"NotHealing": said})
    assert found.index("alarm") + 1 == 11
    assert set(found[10:26]) == {"alarm"}
    assert found[-1] == "ok"


def test_a_refusal_of_nine_minutes_does_not_ring() -> None:
    assert "alarm" not in states("not-healing-a", {"NotHealing": [(0,), *[(1,)] * 9, (0,), (0,)]})


def test_the_default_pause_of_an_hour_does_not_ring_and_a_longer_one_does() -> None:
    hour = [*[(0,)] * 3, *[(1,)] * 60, *[(0,)] * 12]
    assert "alarm" not in states("paused-too-long", {"Paused": hour}, "ab")
    longer = [*[(0,)] * 3, *[(1,)] * 70]
    assert states("paused-too-long", {"Paused": longer}, "ab")[-1] == "alarm"


def test_a_failed_failover_whose_datapoint_comes_late_rings_all_the_same() -> None:
    shown = scene({"FailoversFailed": [(), (1,), (), (), ()]}, late=MINUTE + 30)
    assert state_of(shown, defined()["failover-failed"], 3 * MINUTE) == "alarm"
    shown = scene({"FailoversFailed": [(), (1,), (), (), (), ()]})
    assert [state_of(shown, defined()["failover-failed"], MINUTE * each) for each in (2, 3, 4, 5)] == [
        *("alarm", "alarm", "alarm", "ok")
    ]


def test_a_group_of_whom_nobody_says_that_somebody_stands_by_is_not_ready() -> None:
    said = [(1,)] * 5 + [()] * 15
    assert states("standby-not-ready", {"StandbyReady": said})[-1] == "alarm"
