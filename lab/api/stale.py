"""Answers EC2's describe calls with the past: its API is eventually consistent.

The gateway asks it when `ApiOptions.stale_seconds` is set. A describe call that was never made before sees the present,
since nobody kept its past. May not import boto3.
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import time

from lab.api import moto_bridge
from lab.api.wire import HttpReply, HttpRequest


class StaleReads:
    """Every method is called with the world locked."""

    def __init__(self, seconds: float, region: str) -> None:
        self._seconds = seconds
        self._region = region
        self._seen: dict[bytes, HttpRequest] = {}
        self._past: dict[bytes, list[tuple[float, HttpReply]]] = {}

    @property
    def is_on(self) -> bool:
        return self._seconds > 0

    def remember(self) -> None:
        """Before a change: note until when each known describe call had its present answer."""
        if not self.is_on:
            return
        now = time.monotonic()
        for body, request in self._seen.items():
            past = [entry for entry in self._past.get(body, []) if now - entry[0] < self._seconds]
            self._past[body] = [*past, (now, self._present(request))]

    def answer(self, request: HttpRequest) -> HttpReply:
        """The answer that was true `seconds` ago."""
        self._seen.setdefault(request.body, request)
        instant = time.monotonic() - self._seconds
        for valid_until, reply in self._past.get(request.body, []):
            if valid_until >= instant:
                return reply
        return self._present(request)

    def _present(self, request: HttpRequest) -> HttpReply:
        return moto_bridge.dispatch(moto_bridge.read(request, self._region))
