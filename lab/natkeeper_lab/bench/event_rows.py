"""From runs of one event to rows: its figures, floors and promises.

Pure. Called by `bench.sections` and tests.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from natkeeper_lab.bench.orders import Order
from natkeeper_lab.bench.play import AWAY, HANG, HOME, STOP, ZONE_LOSS, Played
from natkeeper_lab.bench.rows import Row
from natkeeper_lab.rulers import Kept

SURVIVING = 0.95
GAP_BEYOND_MS = 100.0
ZONE_SECONDS = 5.0
"""Goals: the share of connections that live, a gap beyond the time between the calls, and a zone that is lost."""
HANG_SECONDS = 5.0
"""README: a hang is found by packets, within 5 s."""
ROUNDS_TO_FAIL, PROBE_INTERVAL = 3, 1.0
"""The controller's `rounds_to_fail` and the template's ProbeInterval: no black hole can be known of any sooner."""
RULER_MS = 5.0
"""Between two new connections of the lab's ruler."""
LOST_BY_MISTAKE = 0.05
"""A wrong order may leave so many of those that it must lose: an order by mistake may be lucky, not all of them."""
STOOD_STILL = 0.25
"""Seconds; worth telling beside a figure of that size."""
BLACK_HOLES = (HANG.name, ZONE_LOSS.name)
PLANNED = (AWAY.name, HOME.name)

Figure = Callable[[Played], float]


def rows(event: str, own: Sequence[Played], baseline: Sequence[Played], bare_ms: Sequence[float]) -> list[Row]:
    """One event's, natkeeper's beside the baseline's. `own` may be empty where only the baseline was played."""
    floor, floor_is = _floor(event, bare_ms)
    seconds = None if floor is None else round(floor / 1000, 3)

    def row(figure: str, unit: str, of: Figure, at_least: float | None = None, is_: str = "") -> Row:
        return Row(event, figure, unit, tuple(map(of, own)), at_least, is_, tuple(map(of, baseline)))

    found = [row("last of its routes moved after", "ms", lambda each: each.moved_ms, floor, floor_is)]
    if event not in PLANNED:
        found += [row("new connections work again after", "s", _slowest_zone, seconds, floor_is)]
    lost = None if floor is None else 0 if event in PLANNED else round(floor / RULER_MS)
    found += [
        row("new connections lost (200 a second)", "", lambda each: each.new_lost, lost, floor_is),
        row("new connections given up after 8 s", "", lambda each: each.lost_for_good, 0, "none"),
        row("open connections lost", "%", _percent_lost, 0, "none"),
        row("lost of those with another host's source port", "%", lambda each: _percent(each.shared)),
        row("lost of those whose port the NAT had changed", "%", lambda each: _percent(each.changed)),
        row("longest gap of those that live", "ms", lambda each: each.longest_gap_ms or float("inf")),
    ]
    if event in PLANNED and own:
        apart = tuple(abs(each.apart_ms or 0.0) for each in own)
        found.append(Row(event, "time between the two calls", "ms", apart))
        found.append(Row(event, "gap beyond that", "ms", tuple(map(_beyond, own)), 0, "none"))
    return [_judged(each, own) for each in found] if own else found


def _floor(event: str, bare_ms: Sequence[float]) -> tuple[float | None, str]:
    if event in BLACK_HOLES:
        return 1000 * ROUNDS_TO_FAIL * PROBE_INTERVAL, "rounds that must fail, times the probes' interval"
    if not bare_ms:
        return None, ""
    return round(statistics.median(bare_ms), 1), "the bare calls"


def _slowest_zone(played: Played) -> float:
    return max(played.restored.values())


def _percent(kept: Kept | None) -> float:
    return round(100 * (kept.opened - kept.survived) / kept.opened, 1) if kept is not None else 0.0


def _percent_lost(played: Played) -> float:
    return round(100 * played.flows_lost / played.flows, 1)


def _beyond(played: Played) -> float:
    return float("inf") if played.beyond_ms is None else round(played.beyond_ms, 1)


def _judged(row: Row, own: Sequence[Played]) -> Row:
    """With its promise, if there is one."""
    promise, is_kept = _promise(row, own)
    return Row(**{**row.__dict__, "promise": promise, "is_kept": is_kept}) if promise else row


def _promise(row: Row, own: Sequence[Played]) -> tuple[str, bool | None]:
    one_address = all(len(each.addresses) == 1 for each in own)
    if row.figure.startswith("open connections lost"):
        if row.event == STOP.name:
            return "at most 5 % in each run, from one address", one_address and max(row.samples) <= 100 * (
                1 - SURVIVING
            )
        if row.event in PLANNED:
            return "none, from one address", one_address and max(row.samples) == 0
    if row.figure == "gap beyond that":
        return f"under {GAP_BEYOND_MS:g}", max(row.samples) < GAP_BEYOND_MS
    if row.event == ZONE_LOSS.name and row.figure.startswith("new connections work"):
        return f"within {ZONE_SECONDS:g} in every subnet", max(row.samples) <= ZONE_SECONDS
    if row.event == HANG.name and row.figure.startswith("last of its routes"):
        return f"within {1000 * HANG_SECONDS:g}", max(row.samples) <= 1000 * HANG_SECONDS
    return "", None


def order_rows(order: Order, played: Sequence[Played]) -> list[Row]:
    """How many survive an order by hand: all of the right one, none of those that a wrong one must lose."""
    found: list[Row] = []
    for who, kept in (("client", [each.client for each in played]), ("server", [each.server for each in played])):
        sides = [each for each in kept if each is not None]
        if not sides:
            continue
        lost = tuple(round(100 * (each.opened - each.survived) / each.opened, 1) for each in sides)
        if who in order.loses:
            promise, is_kept = "must lose them", min(lost) >= 100 * (1 - LOST_BY_MISTAKE)
        elif order.loses:
            promise, is_kept = "", None
        else:
            promise, is_kept = "none", max(lost) == 0
        name = f"by hand: {order.name}"
        found.append(Row(name, f"{who}-driven connections lost", "%", lost, promise=promise, is_kept=is_kept))
    return found


def is_late(played: Played) -> bool:
    """Egress came back later than any promise allows, so that the reader will want to know why."""
    return _slowest_zone(played) > max(ZONE_SECONDS, HANG_SECONDS)


def told(played: Played) -> str:
    """One run in a line."""
    parts = [f"routes after {played.moved_ms:.0f} ms"]
    if any(played.restored.values()):
        back = ", ".join(f"{group} {seconds:.2f} s" for group, seconds in played.restored.items() if seconds)
        parts.append(f"new connections after {back} ({played.new_lost} lost)")
    for who, kept in (("client", played.client), ("server", played.server)):
        if kept is not None:
            gap = "-" if kept.longest_gap_ms is None else f"{kept.longest_gap_ms:.0f} ms"
            ends = f" ({', '.join(kept.errors)})" if kept.errors else ""
            parts.append(f"{kept.survived} of {kept.opened} {who}-driven live{ends}, gap {gap}")
    for who, kept in (("that share a port", played.shared), ("with a changed port", played.changed)):
        if kept is not None:
            parts.append(f"{kept.survived} of {kept.opened} {who} live")
    if played.apart_ms is not None:
        parts.append(f"the two calls {played.apart_ms:.0f} ms apart")
    if played.stood_still > STOOD_STILL:
        parts.append(f"the machine stood still for {played.stood_still:.1f} s")
    return "; ".join(parts)
