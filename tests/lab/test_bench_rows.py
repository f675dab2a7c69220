"""The benchmark's judgement: over every run and never over the median, and a figure that is missing is not good."""

from __future__ import annotations

import math

import pytest

from natkeeper_lab.bench import event_rows
from natkeeper_lab.bench.orders import WRONG
from natkeeper_lab.bench.play import AWAY, HANG, STOP, ZONE_LOSS, Played
from natkeeper_lab.bench.rows import Row, spread, table
from natkeeper_lab.rulers import Kept
from tools import bench

ADDRESS = "198.51.100.10"


def kept(survived: int = 50, gap: float | None = 150.0, *addresses: str) -> Kept:
    return Kept(50, survived, gap, addresses or (ADDRESS,), True)


def played(
    event: str = STOP.name,
    *,
    client: Kept | None = None,
    server: Kept | None = None,
    moved_ms: float = 200.0,
    back: float = 0.2,
    apart_ms: float | None = None,
) -> Played:
    return Played(event, moved_ms, {"a": back}, 40, back, 0, client or kept(), server, apart_ms)


def judged(event: str, *runs: Played) -> dict[str, bool]:
    rows = event_rows.rows(event, runs, [], [150.0])
    return {each.figure: each.is_kept for each in rows if each.is_kept is not None}


def test_one_run_below_95_percent_breaks_the_promise_whatever_the_others_did() -> None:
    good, bad = played(), played(client=kept(47))
    assert judged(STOP.name, *[good] * 10) == {"open connections lost": True}
    assert judged(STOP.name, *[good] * 9, bad) == {"open connections lost": False}


def test_a_second_address_breaks_the_promise_though_every_connection_lives() -> None:
    assert judged(STOP.name, played(client=kept(50, 150.0, ADDRESS, "198.51.100.11"))) == {
        "open connections lost": False
    }


def test_the_gap_counts_beyond_the_time_between_the_two_calls() -> None:
    fine = played(AWAY.name, client=kept(50, 215.0), server=kept(50, 60.0), apart_ms=120.0)
    late = played(AWAY.name, client=kept(50, 215.0), server=kept(50, 221.0), apart_ms=120.0)
    assert judged(AWAY.name, fine)["gap beyond that"] is True
    assert judged(AWAY.name, fine, late)["gap beyond that"] is False


def test_an_address_that_never_moved_is_no_short_gap() -> None:
    assert judged(AWAY.name, played(AWAY.name, server=kept()))["gap beyond that"] is False


def test_zone_and_hang_are_judged_by_their_slowest_run() -> None:
    assert judged(ZONE_LOSS.name, played(back=4.9), played(back=5.1)) == {"new connections work again after": False}
    assert judged(ZONE_LOSS.name, played(back=math.inf)) == {"new connections work again after": False}
    assert judged(HANG.name, played(moved_ms=5000.0)) == {"last of its routes moved after": True}


def test_a_wrong_order_that_loses_nothing_is_not_kept() -> None:
    order = WRONG[0]
    (_, server) = event_rows.order_rows(order, [played(server=kept(0))])
    assert server.is_kept is True
    (_, server) = event_rows.order_rows(order, [played(server=kept(0)), played(server=kept(40))])
    assert server.is_kept is False


def test_a_table_shows_median_range_floor_baseline_and_what_was_broken() -> None:
    row = Row("stop", "moved after", "ms", (150.0, 170.0, 160.0), 120.0, "bare", (400.0,), "within 155", False)
    line = table([row])[-1]
    assert " ".join(line.split()) == "moved after, ms 160 150 to 170 120 400 NOT KEPT: within 155"
    assert spread([math.inf, 1.0, 2.0])["highest"] is None
    assert row.as_json()["baseline"]["median"] == 400


def test_the_bench_fails_for_a_broken_promise_and_for_a_run_that_could_not_be_measured() -> None:
    row = Row("stop", "moved after", "ms", (150.0,), promise="within 155", is_kept=True)
    assert bench.Report(1, rows=[row]).is_kept
    assert not bench.Report(1, rows=[row], failures=["stop, run 1: nothing moved"]).is_kept
    assert not bench.Report(1, rows=[Row(**{**row.__dict__, "is_kept": False})]).is_kept
    assert not bench.Report(1, rows=[row], parts={"calls": {"is_within_limits": False}}).is_kept


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--only", "nothing"]])
def test_a_bad_argument_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(arguments)
