"""Items of the ledger's table that the controller must survive: poisoned in any attribute, in any field of the memory,
in any entry of the inbox; and items that nobody of natkeeper's left there.

What natkeeper itself might have written so is no poison: an operator's pause of an hour, a stop that AWS announced.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from natkeeper.adapters.codec import encode
from natkeeper.adapters.items import memory_of
from natkeeper.core.incident import (
    AddressMove,
    BackOff,
    Canary,
    Cause,
    Exclusion,
    Fall,
    Incident,
    Memory,
    Proof,
    Repair,
    Told,
    Unsupported,
    WatchRun,
)
from natkeeper.core.news import InstanceChanged, ProbeReport, RunMode, Verdict
from natkeeper.triggers import to_record
from natkeeper_lab.simulation.dynamo import Item
from tests.hostile.deployed import INSTANCE, ZONES, Deployed
from tests.hostile.mutations import TEXTS, hostile, mutated, nested, paths, put
from tests.support.worlds import rounds

Poison = Callable[[Random, Deployed, Item], Item]
AHEAD = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=3650), timedelta(days=365 * 5000))
AFTER_A_PAUSE = timedelta(days=1, minutes=2)


def poison(dice: Random, deployed: Deployed) -> str:
    """Poisons one group's item, or puts a stray one beside it; returns the group's name."""
    name = dice.choice(ZONES)
    key = ("group", name)
    item = dict(deployed.table.items[key])
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        item = dice.choice(POISONS)(dice, deployed, item)
    paused_until = memory_of(item)[0].paused_until
    if paused_until is not None and paused_until < deployed.clock.now() + AFTER_A_PAUSE:
        item = _with(item, {name: each for name, each in _memory(item).items() if name != "paused_until"})
    deployed.table.items[key] = item
    return name


def _attribute(dice: Random, _deployed: Deployed, item: Item) -> Item:
    """One of the item's own, of another type, of another value, or not there."""
    name = dice.choice(("epoch", "holder", "lease_until", "inbox", "memory"))
    value = dice.choice(ATTRIBUTES)
    if dice.random() < 0.15:
        return {key: each for key, each in item.items() if key != name}
    return {**item, name: value}


ATTRIBUTES: tuple[Any, ...] = (
    {"N": "9" * 38}, {"N": "-1"}, {"N": "0.5"}, {"N": "1E+125"}, {"N": "1"}, {"N": "99999999999999"}, {"S": ""},
    {"S": "NaN"}, {"S": "x" * 50_000}, {"BOOL": True}, {"NULL": True}, {"L": []}, {"L": [{"N": "1"}, {"M": {}}]},
    {"M": {}}, {"SS": ["a"]}, {"B": "eA=="}, {"S": "[]"}, {"S": "{"}, {"S": "null"}, {"S": "[" * 5_000},
    {"S": "\u00e9" * 300}, {"NS": ["1"]}, {"S": "1772366400000"},
    {"S": json.dumps({"failovers": ["2026-03-01T12:00:00+00:00"] * 9_000})},
)  # fmt: skip


def _lease(dice: Random, deployed: Deployed, item: Item) -> Item:
    """Somebody's, for longer than any lease."""
    until = deployed.clock.now() + timedelta(seconds=30) + dice.choice(AHEAD[:3])
    return {**item, "holder": {"S": "nobody"}, "lease_until": {"N": str(int(until.timestamp() * 1000))}}


def _field(dice: Random, _deployed: Deployed, item: Item) -> Item:
    """One field of the memory, of another type."""
    raw = _memory(item)
    name = dice.choice([each.name for each in fields(Memory)])
    raw[name] = hostile(dice)
    return _with(item, raw) if not isinstance(raw[name], bool) else item


def _somewhere(dice: Random, deployed: Deployed, item: Item) -> Item:
    """Anywhere in a memory with all its parts."""
    raw = json.loads(json.dumps(encode(replace(deployed.world.memories[item["sk"]["S"]], **_parts(deployed)))))
    path = dice.choice([each for each in paths(raw) if len(each) > 1])
    return _with(item, put(raw, path, dice.choice((hostile(dice), nested(dice, 200)))))


def _parts(deployed: Deployed) -> dict[str, Any]:
    """Of a memory of a bad day, each part as it may have been ten minutes ago."""
    then = deployed.clock.now() - timedelta(minutes=10)
    return {
        "back_offs": (BackOff("the canary route", then, 3),),
        "unsupported": (Unsupported("t4g.nano", then),),
        "exclusions": (Exclusion("eni-gone", then + timedelta(seconds=60), then),),
        "measured_until": then,
        "obeyed": ("one",),
    }


def _ahead(dice: Random, deployed: Deployed, item: Item) -> Item:
    """One instant, or several, that has not been."""
    raw = _memory(item)
    for name in dice.sample(sorted(FUTURES), dice.choice((1, 1, 4))):
        raw[name] = json.loads(json.dumps(encode(FUTURES[name](deployed.clock.now() + dice.choice(AHEAD)))))
    return _with(item, raw)


FUTURES: dict[str, Callable[[datetime], Any]] = {
    **{
        name: lambda at: at
        for name in (
            "moved_at", "led_since", "down_at", "failing_since", "external_at", "targets_back_at", "withdrawn_at",
            "standby_replaced_at", "throttled_at", "stable_since", "measured_until", "borrowed_at", "not_home_since",
            "unseen_since", "apart_until", "settled_since", "strange_at",
        )
    },
    **{name: lambda at: (at,) * 60 for name in ("failovers", "launches", "watch_starts", "checks_mended")},
    "falls": lambda at: tuple(Fall(f"eni-{name}", at) for name in ZONES),
    "told": lambda at: (Told("x", at),),
    "standby_repair": lambda at: Repair("s-1", 1, at),
    "paused_until": lambda at: at + AFTER_A_PAUSE,
    "recent": lambda at: tuple(replace(each, sent_at=at) for each in rounds("xxxx", 0)),
    "proofs": lambda at: (Proof("eni-a", at, at), Proof("eni-b", at, at), Proof("eni-gone", at, at)),
    "exclusions": lambda at: tuple(Exclusion(f"eni-{name}", at, at) for name in ZONES),
    "watch": lambda at: WatchRun("nobody's", at, timedelta(days=300)),
    "canary": lambda at: Canary("eni-b", at, at, at, at),
    "address_move": lambda at: AddressMove("eni-a", at, at, True, at),
    "repair": lambda at: Repair("a-1", 1, at, is_launched=True, refused_at=at, refusals=0),
    "back_offs": lambda at: (BackOff("the canary route", at, 1 << 40),),
    "unsupported": lambda at: (Unsupported("t4g.nano", at), Unsupported("t4g.micro", at)),
    "incident": lambda at: Incident(
        "a-1", "a", Cause.PROBES_FAILED, at, "eni-a", tuple(replace(each, sent_at=at) for each in rounds("oxxo", 0))
    ),
}  # fmt: skip


def _entry(dice: Random, deployed: Deployed, item: Item) -> Item:
    """The inbox has what nobody of natkeeper's left there."""
    now, name = deployed.clock.now(), item["sk"]["S"]
    seen = tuple(replace(each, sent_at=now) for each in rounds("xxx", 0))
    written: list[Any] = [
        mutated(to_record(ProbeReport(name, "by-hand", RunMode.WATCH, Verdict.DOWN, seen, seen)), dice),
        to_record(ProbeReport(name, "verify-1", RunMode.VERIFY, Verdict.DOWN, seen)),
        to_record(ProbeReport(name, "by-hand", RunMode.WATCH, Verdict.DOWN, seen)),
        mutated(to_record(InstanceChanged(INSTANCE, "stopped")), dice),
        {"type": "HealthNotice", "code": "x", "instance_ids": [INSTANCE], "asks": "many"},
        {"type": "Command", "verb": "pause", "group": name, "minutes": 10**9, "to": None},
        {"type": "Command", "verb": "raze", "group": name, "minutes": None, "to": None},
        hostile(dice),
    ]
    chosen = [{"S": json.dumps(each)} for each in dice.sample(written, dice.randint(1, 4))]
    chosen += dice.sample([{"N": "1"}, {"M": {}}, {"S": "{"}, {"S": ""}, {"S": "[" * 5_000}], dice.randrange(3))
    return {**item, "inbox": {"L": chosen * dice.choice((1, 1, 12))}}


def _stray(dice: Random, deployed: Deployed, item: Item) -> Item:
    """Items and attributes that are nothing of natkeeper's."""
    for _ in range(dice.randint(1, 3)):
        name = dice.choice(("d", "", "A", "a ", *(each[:300] for each in TEXTS if each.isprintable())))
        if name not in ZONES:
            memory = deployed.world.memories["a"]
            stray = {**item, "sk": {"S": name}, "memory": {"S": json.dumps(encode(replace(memory, is_down=True)))}}
            deployed.table.items["group", name] = dice.choice((stray, {"pk": {"S": "group"}, "sk": {"S": name}}))
    return {**item, "note": {"S": "x" * dice.choice((1, 390_000))}}


def _memory(item: Item) -> dict[str, Any]:
    """What can be read of it, or an empty one."""
    try:
        raw = json.loads(item["memory"]["S"])
    except (KeyError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _with(item: Item, raw: dict[str, Any]) -> Item:
    return {**item, "memory": {"S": json.dumps(raw)}}


POISONS: tuple[Poison, ...] = (_attribute, _lease, _field, _field, _somewhere, _ahead, _ahead, _entry, _stray)
