"""Somebody writes to the ledger's table, or reports in a prober's name, or of another time. Rows of the fault table."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from natkeeper.adapters.items import memory_of
from natkeeper.core.news import ProbeReport, Round, RunMode, Verdict
from natkeeper.triggers import to_record
from natkeeper_lab.simulation.answers import instant
from natkeeper_lab.simulation.dynamo import Item
from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import destination
from natkeeper_lab.simulation.patience import remembered_by

HOUR = 3600 * SECOND
FRAMES: tuple[dict[str, Any], ...] = (
    {"epoch": {"S": "seven"}}, {"epoch": {"N": "0.5"}}, {"epoch": {"N": "1E+30"}}, {"inbox": {"S": "[]"}},
    {"inbox": {"N": "1"}}, {"holder": {"N": "1"}}, {"lease_until": {"S": "never"}}, {"lease_until": {"BOOL": True}},
    {"memory": {"N": "1"}}, {"memory": {"S": "{"}}, {"memory": {"S": "[]"}}, {"memory": {"S": "[" * 3_000}},
    {"note": {"S": "x" * 399_000}}, {"inbox": {"L": [{"N": "1"}, {"S": "{"}, {"S": '{"type": "Tock"}'}]}},
)  # fmt: skip
"""Attributes that are not as natkeeper writes them."""
VALUES: tuple[Any, ...] = (
    5,
    -1.5,
    "x",
    True,
    [],
    {},
    [[[]]],
    {"a": None},
    float("nan"),
    10**30,
    "\ud800",
    "9999-12-31",
)


def _items(act: Act) -> list[tuple[tuple[str, str], Item]]:
    """Of the stack's groups."""
    keys = [("group", each.name) for each in act.world.policy.groups]
    return [(key, act.world.table.items[key]) for key in keys if key in act.world.table.items]


@fault(
    "item-poisoned",
    "Process",
    complicates=True,
    weight=4,
    sees="a warning that names what of the group's item cannot be read; for that group as after `memory-lost`",
    does="reads each item by itself, goes on with what can be read, and writes the item anew under its lease",
    never="stops for all zones because of one item, or for one zone because of one field",
)
def _poisoned(act: Act) -> None:
    for key, item in _items(act):
        raw = remembered_by(item)
        for name in act.dice.sample(sorted(raw), min(len(raw), act.dice.choice((1, 1, 3)))):
            raw[name] = act.dice.choice([each for each in VALUES if type(each) is not type(raw[name])])
        broken = {"memory": {"S": json.dumps(raw)}} if act.dice.random() < 0.6 else act.dice.choice(FRAMES)
        act.world.table.items[key] = {**item, **broken}
        act.fired("item-poisoned")
        act.fired("memory-lost")
    act.world.table.items["group", "z"] = {"pk": {"S": "group"}, "sk": {"S": "z"}, "memory": {"SS": ["stray"]}}


@fault(
    "lease-without-end",
    "Process",
    complicates=True,
    weight=3,
    sees="the same warning",
    does="takes the lease all the same: no lease of natkeeper's ends later than 25 s from now",
    never="waits for a lease that nobody gives back",
)
def _endless(act: Act) -> None:
    for key, item in _items(act):
        until = int(instant(act.world.hub.now + act.dice.choice((HOUR, 24 * HOUR, 87_600 * HOUR))).timestamp() * 1000)
        act.world.table.items[key] = {**item, "holder": {"S": "nobody"}, "lease_until": {"N": str(until)}}
        act.fired("lease-without-end")
        act.fired("memory-lost")


def _at(at: Any) -> Any:
    return at


FUTURES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("moved_at", "led_since", "targets_back_at", "throttled_at", "stable_since", "measured_until"), _at
    ),
    **dict.fromkeys(("failovers", "launches", "watch_starts"), lambda at: [at] * 60),
    "external_at": _at,
    "paused_until": _at,
    "watch": lambda at: {"run_id": "nobody's", "started_at": at, "lasts": 1e6},
    "back_offs": lambda at: [{"kind": "the canary route", "refused_at": at, "refusals": 9}],
    "unsupported": lambda at: [{"instance_type": each, "at": at} for each in ("t4g.nano", "t4g.micro")],
}
"""What a memory may say of the future, by field."""


@fault(
    "memory-of-the-future",
    "Process",
    complicates=True,
    weight=4,
    sees="nothing",
    does="believes no instant that has not been, and no pause that is longer than one may be",
    never="waits for an instant that it finds in the ledger for longer than a lease",
)
def _future(act: Act) -> None:
    for key, item in _items(act):
        ahead = act.dice.choice((2, 24, 24 * 365)) * HOUR
        for name in act.dice.sample(sorted(FUTURES), act.dice.choice((1, 3, len(FUTURES)))):
            at = instant(act.world.hub.now + ahead + (48 * HOUR if name == "paused_until" else 0)).isoformat()
            item = {**item, "memory": {"S": json.dumps(remembered_by(item) | {name: FUTURES[name](at)})}}
        act.world.table.items[key] = item
        act.fired("memory-of-the-future")
        act.fired("memory-lost")


@fault(
    "report-forged",
    "Events",
    complicates=True,
    weight=4,
    sees="a warning that the report is not of the group's prober; or nothing",
    does="hears only the group's own prober, and only of runs that it started; of another it asks the prober itself",
    never="moves traffic because somebody says that probes failed",
)
def _forged_report(act: Act) -> None:
    world, group = act.world, act.group()
    watch = memory_of(world.table.items.get(("group", group), {}))[0].watch
    run_id = watch.run_id if watch is not None else "by-hand"
    is_stranger = act.dice.random() < 0.6
    function = "somebody-elses" if is_stranger else f"prober-{group}"
    asked = {"group": group, "run_id": run_id if is_stranger else "by-hand", "mode": "watch"}
    act.fired("report-forged")
    world.functions.wake(destination(asked, function, asked | _lost(world.hub.now), "Success", None))
    if act.dice.random() < 0.5:
        at = instant(world.hub.now)
        rounds = tuple(Round(at - timedelta(seconds=each), "clock-forged", False) for each in (3, 2, 1))
        news = ProbeReport(group, "verify-by-hand", RunMode.VERIFY, Verdict.DOWN, rounds)
        for key, item in _items(act):
            if key[1] == group and "L" in item.get("inbox", {}):
                entry = {"S": json.dumps(to_record(news))}
                world.table.items[key] = {**item, "inbox": {"L": [*item["inbox"]["L"], entry]}}


def _lost(now: int) -> dict[str, Any]:
    """Five rounds until just now, of which three failed."""
    return {
        "version": 1,
        "verdict": "down",
        "clock": "clock-forged",
        "started_at": instant(now - 5 * SECOND).isoformat(),
        "rounds": [[0.0, 1, 8.0], [1000.0, 1, 8.0], *([1000.0 * at, 0, None] for at in (2, 3, 4))],
        "canary": [],
        "egress_address": None,
        "egress_address_ms": None,
        "errors": [],
    }


@fault(
    "report-of-another-time",
    "Events",
    complicates=True,
    weight=3,
    sees="nothing",
    does="dates a run by its own clock, which started it: spans between rounds stay exact",
    never="takes what a prober dates an hour ahead for what is newest, or what it dates an hour ago for old",
)
def _another_time(act: Act) -> None:
    group = act.group()
    act.world.prober_skew[group] = act.dice.choice((-1, 1)) * act.dice.choice((1, 24)) * HOUR
    act.fired("report-of-another-time")
    act.fired("clock-skew")
