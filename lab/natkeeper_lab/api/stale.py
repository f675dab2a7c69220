"""Answers EC2's describe calls with the past: its API is eventually consistent.

The gateway asks it when `ApiOptions.stale_seconds` is set. A describe call that was never made before sees the present,
since nobody kept its past. May not import boto3.
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

from natkeeper_lab.api import moto_bridge
from natkeeper_lab.wire import HttpReply, HttpRequest


class StaleReads:
    """Every method is called with the world locked."""

    def __init__(self, seconds: float, region: str) -> None:
        self._seconds = seconds
        self._region = region
        self._seen: dict[bytes, HttpRequest] = {}
        self._past: dict[bytes, list[tuple[float, HttpReply]]] = {}
        self._operations: dict[bytes, str] = {}
        self._only: dict[str, float] = {}

    @property
    def is_on(self) -> bool:
        return self._seconds > 0 or bool(self._only)

    def lag(self, pattern: str, seconds: float) -> None:
        """From now on, describe calls whose operation fits the pattern are answered with the past; 0 ends it."""
        self._only[pattern] = seconds

    def is_on_for(self, operation: str) -> bool:
        return self._lag_of(operation) > 0

    def _lag_of(self, operation: str) -> float:
        found = [seconds for pattern, seconds in self._only.items() if fnmatchcase(operation, pattern)]
        return max(found, default=self._seconds)

    def note(self, operation: str, request: HttpRequest) -> None:
        """A describe call that may be asked for its past later."""
        self._seen.setdefault(request.body, request)
        self._operations[request.body] = operation

    def remember(self) -> None:
        """Before a change: note until when each known describe call had its present answer."""
        if not self.is_on:
            return
        now = time.monotonic()
        for body, request in self._seen.items():
            lag = self._lag_of(self._operations.get(body, ""))
            if lag <= 0:
                continue
            past = [entry for entry in self._past.get(body, []) if now - entry[0] < lag]
            self._past[body] = [*past, (now, self._present(request))]

    def answer(self, request: HttpRequest, operation: str = "") -> HttpReply:
        """The answer that was true `seconds` ago."""
        self.note(operation, request)
        instant = time.monotonic() - self._lag_of(operation)
        for valid_until, reply in self._past.get(request.body, []):
            if valid_until >= instant:
                return reply
        return self._present(request)

    def _present(self, request: HttpRequest) -> HttpReply:
        return moto_bridge.dispatch(moto_bridge.read(request, self._region))
