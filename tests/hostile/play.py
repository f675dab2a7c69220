"""Plays hostile events, items and requests, and counts what must never be. Called by the tests, and by the command."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from random import Random
from typing import Any
from unittest.mock import patch

from natkeeper import probing
from natkeeper.core.model import Network
from natkeeper.handlers import prober
from natkeeper.probing.request import BadRequest
from tests.hostile.deployed import ZONES, Deployed, Woken, broken_lines, deployed, not_encodable
from tests.hostile.events import hostile_events
from tests.hostile.items import poison
from tests.hostile.requests import hostile_requests
from tests.support.virtual_network import VirtualNetwork

MOST_TOLD = 5
ASKED = 20
BY_PACKETS = 0.25
TICK = {"natkeeper": {"tick": True}}


@dataclass
class Played:
    """`found`: what must never be, by its kind. `told`: the first few of them. `seen`: what came of the rest."""

    number: int = 0
    found: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def broke(self, kind: str, text: str) -> None:
        self.found[kind] += 1
        if len(self.told) < MOST_TOLD:
            self.told.append(f"{kind}: {text}")

    def heard(self, woken: Woken, what: Any) -> None:
        """What every wake-up must be."""
        for fault in woken.faults:
            self.broke(
                "locked" if "leased until" in fault else "answer or log line", f"{fault} for {ascii(what)[:400]}"
            )
        self.seen[next(iter(woken.answer))] += 1


def play_events(number: int, seed: int) -> Played:
    """Each to a stack at rest, which it must leave as it is. After what was not refused, and after some of the rest,
    comes a tick, and now and then a failover."""
    played, dice = Played(number), Random(seed)
    with deployed() as stack:
        for at, event in enumerate(islice(hostile_events(dice, stack), number)):
            stack.reset()
            if _survives(played, stack, [event], event) and at % ASKED:
                continue
            _survives(played, stack, [event, TICK] if at % 3 else [TICK], event)
            if at % 3 and not _is_free(stack, dice, "a"):
                played.broke("locked", f"no failover after {ascii(event)[:1500]}")
    return played


def play_items(number: int, seed: int) -> Played:
    """Each is found by a tick or by a report; the stack stays as it is, and a lease later it fails over."""
    played, dice = Played(number), Random(seed)
    with deployed() as stack:
        for _ in range(number):
            stack.reset()
            run_ids = {name: watch.run_id for name in ZONES if (watch := stack.memory(name).watch)}
            name = poison(dice, stack)
            item = stack.table.items["group", name]
            events = [TICK, stack.report(name, run_ids[name], "ooooo")]
            dice.shuffle(events)
            _survives(played, stack, events[: dice.randint(1, 2)], item)
            if not _is_free(stack, dice, name):
                played.broke("locked", f"no failover of group {name} with {ascii(item)[:1500]}")
    return played


def _survives(played: Played, stack: Deployed, events: list[Any], what: Any) -> bool:
    """Whether the last of them was refused."""
    before, is_refused = _settled(stack.network), False
    for event in events:
        try:
            woken = stack.wake(event)
        except Exception:  # whatever it is, it is what must never be
            played.broke("exception", f"{traceback.format_exc()[-700:]} for {ascii(what)[:1500]}")
            return True
        played.heard(woken, what)
        is_refused = "refused" in woken.answer
    if _settled(stack.network) != before:
        played.broke("write", f"{stack.vpc.done} for {ascii(what)[:1500]}")
    return is_refused


def _settled(network: Network) -> Any:
    """Where everything is. The canary's route is natkeeper's own, and is pointed again where its memory was lost."""
    routes = {name: each.routes.get("0.0.0.0/0") for name, each in network.tables.items()}
    return routes, network.addresses, network.instances


def _is_free(stack: Deployed, dice: Random, name: str) -> bool:
    """Told by EC2, which takes one wake-up, or by packets, which takes several."""
    return stack.hang_is_noticed(name) if dice.random() < BY_PACKETS else stack.fails_over(name)


def play_requests(number: int, seed: int) -> Played:
    """Each is probed, on a network that answers at once, or refused by name."""
    played = Played(number)
    for request in islice(hostile_requests(Random(seed)), number):
        stream = StringIO()
        try:
            with redirect_stdout(stream), patch.object(probing, "run", _probed):
                report = prober.handler(request, _FewSeconds())
        except BadRequest as refusal:
            played.seen["refused"] += 1
            for fault in (*not_encodable(str(refusal)), *_too_long(str(refusal))):
                played.broke("answer or log line", f"{fault} for {ascii(request)[:400]}")
        except Exception:
            played.broke("exception", f"{traceback.format_exc()[-700:]} for {ascii(request)[:1000]}")
        else:
            played.seen[report["verdict"]] += 1
            for fault in (*not_encodable(report), *broken_lines(stream.getvalue())):
                played.broke("answer or log line", f"{fault} for {ascii(request)[:400]}")
    return played


def _probed(request: probing.Request, limit: float | None) -> dict[str, Any]:
    return RUN(request, network=VirtualNetwork(), limit=limit)


RUN = probing.run


def _too_long(text: str) -> Iterator[str]:
    if len(text) > 600:
        yield f"a refusal of {len(text)} characters"


class _FewSeconds:
    """Lambda's context, with so little time left that the longest run is short."""

    def get_remaining_time_in_millis(self) -> int:
        return 6_000
