"""What the ledger holds can be read again, by this version, an older and a newer one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from natkeeper.adapters.codec import decode, encode
from natkeeper.core.incident import Cause, Incident, Memory, Proof
from natkeeper.core.news import Command, ProbeReport, RunMode, Verb, Verdict
from tests.support.worlds import at, incident, memory, report, resting, rounds, secs


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(encode(value)))


def test_a_memory_at_rest_survives() -> None:
    assert decode(Memory, through_json(memory())) == memory()


def test_an_empty_memory_is_an_empty_object() -> None:
    assert encode(Memory()) == {}
    assert decode(Memory, {}) == Memory()


def test_an_open_incident_survives_with_its_rounds() -> None:
    found = memory(incident=incident(rounds=rounds("oxxo", 0), recovered_at=at(3)))
    assert decode(Memory, through_json(found)) == found


def test_a_report_survives() -> None:
    seen = report("ooxxx", -5, canary="ooo")
    assert decode(ProbeReport, through_json(seen)) == seen


def test_enums_and_spans_survive() -> None:
    found = decode(Command, through_json(Command(Verb.PAUSE, minutes=5)))
    assert found.verb is Verb.PAUSE
    assert decode(ProbeReport, through_json(report("o", 0))).mode is RunMode.WATCH
    assert decode(ProbeReport, through_json(report("xxx", 0))).verdict is Verdict.DOWN
    found_memory = decode(Memory, through_json(memory()))
    assert found_memory.watch is not None
    assert found_memory.watch.lasts == secs(55)


def test_a_field_that_this_version_does_not_know_is_left_out() -> None:
    """Written by a newer version, read after a rollback; or by an older one, like the last field here."""
    raw = through_json(memory())
    raw["weather"] = {"sunny": True}
    raw["proofs"][0]["confidence"] = 0.9
    raw["is_canary_failing"] = True
    assert decode(Memory, raw) == memory()


def test_a_field_that_an_older_version_did_not_write_takes_its_default() -> None:
    raw = through_json(memory(incident=incident()))
    for name in ("stable_since", "dooms", "watch", "observed"):
        raw.pop(name, None)
    raw["incident"].pop("address_before")
    found = decode(Memory, raw)
    assert (found.stable_since, found.dooms, found.watch) == (None, (), None)
    assert found.incident is not None
    assert found.incident.address_before is None


def test_every_field_of_a_memory_has_a_default() -> None:
    """Or an old memory could not be read."""
    assert Memory() == Memory()


def test_microseconds_survive() -> None:
    proof = Proof("eni-a", at(1.234567), at(0.000001))
    assert decode(Proof, through_json(proof)) == proof


def test_a_cause_that_only_a_newer_version_knows_does_not_end_every_pass_after_a_rollback() -> None:
    """The lease cannot even be taken then: the whole group is without a controller until somebody edits the table."""
    raw = through_json(memory(incident=incident()))
    raw["incident"]["cause"] = "asteroid"
    assert decode(Memory, raw).target == "eni-a"


def test_what_a_pass_remembers_is_what_the_next_one_reads() -> None:
    world = resting("abc").change("i-a", launched_at=at(0))
    plan = world.decide(report("ooxxx", -5))
    assert decode(Memory, through_json(plan.memory)) == plan.memory


def test_an_incident_needs_its_name() -> None:
    """Required fields are required: half an incident is no incident."""
    with pytest.raises(TypeError):
        decode(Incident, {"group": "a"})
    assert Cause("planned-move") is Cause.PLANNED_MOVE
