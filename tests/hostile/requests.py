"""Requests that a prober must survive: real ones made hostile, and garbage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.hostile.events import PAYLOADS
from tests.hostile.mutations import HALF_A_PAIR, hostile, mutated, nested, put

REQUESTS = [each["requestPayload"] for each in PAYLOADS if isinstance(each, dict) and "requestPayload" in each]
TARGETS = (
    "tcp://a..b:1", "tcp://" + "a" * 300 + ":1", "tcp://x:65536", "tcp://x:\u0664", "https://x:1/\ud800", "https://x:1",
    "udp://x", "tcp://[::1]:80", "https://" + "x." * 60 + "y/", "tcp://-:1", "https://x/" + "y" * 5_000, "tcp://xn--:443",
)  # fmt: skip


def hostile_requests(dice: Random) -> Iterator[Any]:
    """For ever."""
    makers = (_mutated, _mutated, _mutated, _garbage, _deep, _targets, _names)
    while True:
        yield dice.choice(makers)(dice)


def _mutated(dice: Random) -> Any:
    return mutated(dice.choice(REQUESTS), dice)


def _garbage(dice: Random) -> Any:
    return hostile(dice)


def _deep(dice: Random) -> Any:
    request = json.loads(json.dumps(dice.choice(REQUESTS)))
    return put(request, (dice.choice(list(request)),), nested(dice, dice.choice((50, 900))))


def _targets(dice: Random) -> Any:
    request = json.loads(json.dumps(dice.choice(REQUESTS)))
    number = dice.choice((0, 1, 3, 16, 17))
    request["targets"] = [dice.choice((*TARGETS, "tcp://192.0.2.10:443")) for _ in range(number)]
    request["canary"] = dice.choice((None, "", "x", "x:0", "\ud800:80", *TARGETS))
    return request


def _names(dice: Random) -> Any:
    """Names that a report would repeat."""
    request = json.loads(json.dumps(dice.choice(REQUESTS)))
    name = dice.choice((*HALF_A_PAIR, "\n", "\u2028", "\x00", "x" * 128, "\U0001f4a5" * 128))
    request[dice.choice(("group", "run_id"))] = name
    request["run"], request["interval"] = dice.choice((0.1, 840, 1)), dice.choice((0.05, 60, 1))
    return request
