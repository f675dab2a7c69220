"""Events that the controller must survive: real payloads made hostile, garbage, reports that are forged or misdated.

What is a word of an operator's all the same (a valid command, whatever was done to the payload) is none of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from natkeeper.core.news import Command
from natkeeper.triggers import Foreign, Malformed, parse
from tests.hostile.deployed import ACCOUNT, REGION, ZONES, Deployed
from tests.hostile.mutations import HALF_A_PAIR, hostile, mutated, nested, put

EVENTS = Path(__file__).resolve().parents[2] / "events"
PAYLOADS = [json.loads(each.read_text("utf-8")) for each in sorted(EVENTS.rglob("*.json"))]
OBJECTS = [each for each in PAYLOADS if isinstance(each, dict) and each]
PROBERS = {name: f"natkeeper-prober-{name}" for name in ZONES}
STRANGERS = (
    "arn:aws:lambda:us-east-1:111122223333:function:natkeeper-prober-b:$LATEST",
    "arn:aws:lambda:us-east-1:111122223333:function:somebody-elses",
    "arn:aws:lambda:us-east-1:111122223333:function:natkeeper-prober-a-copy:7",
    "arn:aws:lambda:us-east-1:111122223333:function:NATKEEPER-PROBER-A",
    "arn:aws:lambda:eu-west-3:111122223333:function:natkeeper-prober-a:$LATEST",
    "arn:aws:lambda:us-east-1:999988887777:function:natkeeper-prober-a",
    "arn:aws:sqs:us-east-1:111122223333:function:natkeeper-prober-a",
    "arn:aws:lambda:us-east-1:111122223333:layer:natkeeper-prober-a:1",
    "natkeeper-prober-a",
)
AWAY = (*(timedelta(hours=each) for each in (-1000, -1, 1, 24, 24 * 365)), timedelta(seconds=40), timedelta(minutes=-5))


def hostile_events(dice: Random, deployed: Deployed) -> Iterator[Any]:
    """For ever."""
    makers = (_mutated, _mutated, _mutated, _garbage, _forged, _misdated, _deep)
    while True:
        event = dice.choice(makers)(dice, deployed)
        if not is_command(event):
            yield event


def is_command(event: Any) -> bool:
    """It is what an operator may ask for, and is obeyed."""
    try:
        return isinstance(parse(event, account=ACCOUNT, region=REGION, probers=PROBERS), Command)
    except (Foreign, Malformed):
        return False


def _mutated(dice: Random, _deployed: Deployed) -> Any:
    """Of a real payload, sometimes with its keys twice, as only text can have them."""
    event = mutated(dice.choice(PAYLOADS), dice)
    if dice.random() < 0.1 and isinstance(event, dict):
        text = json.dumps(event)
        return json.loads(text[:-1] + ("," if event else "") + json.dumps(dice.choice(OBJECTS))[1:-1] + "}")
    return event


def _garbage(dice: Random, _deployed: Deployed) -> Any:
    value = hostile(dice)
    for _ in range(dice.randrange(4)):
        value = {dice.choice(("natkeeper", "detail", "source", "requestPayload", "x", *HALF_A_PAIR)): value}
    return value


def _deep(dice: Random, _deployed: Deployed) -> Any:
    """As deep as json.loads reads, in a place that is quoted when it is refused."""
    copy = json.loads(json.dumps(dice.choice(OBJECTS)))
    return put(copy, (dice.choice(list(copy)),), nested(dice, dice.choice((50, 400, 900))))


def _forged(dice: Random, deployed: Deployed) -> Any:
    """A report that egress is down, in the name of the run in flight, of a function that is not the group's prober; or
    of the prober itself, of a run that nobody started."""
    watch = deployed.memory("a").watch
    assert watch is not None
    event = deployed.report("a", watch.run_id, dice.choice(("ooxxx", "xxx", "o" * 50 + "xxx")))
    if dice.random() < 0.7:
        event["requestContext"]["functionArn"] = dice.choice(STRANGERS)
        return event
    run_id = dice.choice((f"{watch.run_id}0", "a-20260301T115955.001", "verify-a-0123456789ab", "by-hand", "b" * 100))
    event["requestPayload"]["run_id"] = event["responsePayload"]["run_id"] = run_id
    return event


def _misdated(dice: Random, deployed: Deployed) -> Any:
    """A good report of the run in flight, of another time than it can be of."""
    watch = deployed.memory("a").watch
    assert watch is not None
    ends_at = deployed.clock.now() + dice.choice(AWAY) * dice.random()
    event = deployed.report("a", watch.run_id, "o" * dice.choice((1, 5, 55, 900)), ends_at)
    payload = event["responsePayload"]
    payload["canary"] = payload["rounds"]
    if dice.random() < 0.3:
        payload["started_at"] = dice.choice(("2000-01-01T00:00:00+00:00", "9000-12-31T23:59:59+00:00"))
    payload["egress_address"], payload["egress_address_ms"] = "203.0.113.1", dice.choice((0, 3_600_000))
    return event
