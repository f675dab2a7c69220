"""What the ledger is made to say has the form that it would have there, or none that anybody could read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from natkeeper.adapters.codec import decode, encode
from natkeeper.core.incident import Canary, Memory, WatchRun
from natkeeper_lab.scenario.poison import MANY, fields_of_the_ledger, poisoned

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
MEMORY = Memory(
    target="eni-1",
    canary=Canary("eni-2", BEFORE),
    watch=WatchRun("run", BEFORE, timedelta(seconds=55)),
    failovers=(BEFORE,),
)
ITEM = {"epoch": {"N": "7"}, "lease_until": {"N": "0"}, "memory": {"S": json.dumps(encode(MEMORY))}}
AHEAD = NOW + timedelta(seconds=90)


def memory(field: str, value: Any) -> Memory:
    return decode(Memory, json.loads(poisoned(ITEM, field, value, NOW)["memory"]["S"]))


def test_a_number_of_seconds_is_an_instant_in_the_form_of_its_field() -> None:
    assert poisoned(ITEM, "lease_until", "+90", NOW) == {"lease_until": {"N": str(int(AHEAD.timestamp() * 1000))}}
    assert poisoned(ITEM, "lease_until", "-90.5", NOW)["lease_until"]["N"] < str(int(NOW.timestamp() * 1000))
    assert memory("moved_at", "+90").moved_at == AHEAD
    assert memory("failovers", "+90").failovers == (AHEAD,) * MANY
    canary, watch = memory("canary", "+90").canary, memory("watch", "+90").watch
    assert (canary and canary.target, canary and canary.pointed_at) == ("eni-2", AHEAD)
    assert (watch and watch.run_id, watch and watch.started_at) == ("run", AHEAD)


def test_the_rest_of_the_memory_stays() -> None:
    found = memory("moved_at", "+90")
    assert (found.target, found.canary, found.failovers) == (MEMORY.target, MEMORY.canary, MEMORY.failovers)


def test_garbage_and_other_values_are_written_as_they_are() -> None:
    assert poisoned(ITEM, "epoch", "garbage", NOW) == {"epoch": {"S": "garbage"}}
    assert poisoned(ITEM, "epoch", 3, NOW) == {"epoch": {"N": "3"}}
    assert poisoned(ITEM, "holder", True, NOW) == {"holder": {"BOOL": True}}
    assert poisoned(ITEM, "inbox", ["x", {"y": 1}], NOW) == {"inbox": {"L": [{"S": "x"}, {"M": {"y": {"N": "1"}}}]}}
    assert json.loads(poisoned(ITEM, "target", "garbage", NOW)["memory"]["S"])["target"] == "garbage"
    assert json.loads(poisoned({}, "is_down", True, NOW)["memory"]["S"]) == {"is_down": True}


def test_what_holds_no_instant_cannot_be_given_one() -> None:
    with pytest.raises(ValueError, match="repair holds no instant at this moment"):
        poisoned(ITEM, "repair", "+90", NOW)


def test_every_field_of_item_and_memory_may_be_named() -> None:
    assert {"lease_until", "memory", "paused_until", "watch_starts", "incident"} <= set(fields_of_the_ledger())
