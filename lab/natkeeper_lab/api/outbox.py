"""Carries verbs to the packet plane in the order the API accepted them, outside the API's own lock.

`api.world` fills it while it holds the lock and drains it before the answer leaves. May not import moto or boto3.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import defaultdict, deque
from collections.abc import Iterable

from natkeeper_lab.api.plane import STRUCTURE, Verb
from natkeeper_lab.packets import Packets


class PacketsError(RuntimeError):
    """The packet plane refused a verb: the lab is no longer what its API says."""


class Outbox:
    """Verbs of one lane never overtake each other; different lanes run side by side."""

    def __init__(self, packets: Packets) -> None:
        self._packets = packets
        self._queues: dict[str, deque[Verb]] = defaultdict(deque)
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.failures: list[BaseException] = []

    def put(self, verbs: Iterable[Verb]) -> list[str]:
        """Call with the world locked. The answer names the lanes to drain."""
        lanes: dict[str, None] = {}
        for verb in verbs:
            self._queues[verb.lane].append(verb)
            self._locks[verb.lane]
            lanes[verb.lane] = None
        return list(lanes)

    def drain(self, lanes: Iterable[str]) -> None:
        """Return when every verb put so far in these lanes is in effect. PacketsError if one of them failed here."""
        errors: list[BaseException] = []
        for lane in (STRUCTURE, *lanes):
            with self._locks[lane]:
                self._drain_lane(self._queues[lane], errors)
        if errors:
            raise PacketsError(f"packet plane: {errors[0]!r}") from errors[0]

    def _drain_lane(self, queue: deque[Verb], errors: list[BaseException]) -> None:
        while queue:
            try:
                queue.popleft().apply(self._packets)
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                errors.append(error)
                self.failures.append(error)
