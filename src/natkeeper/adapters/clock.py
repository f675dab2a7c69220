"""Time as Lambda gives it. Implements `ports.Clock`; built by the handler for each invocation."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class LambdaClock:
    """Wall clock in UTC, and what is left of the invocation."""

    def __init__(self, remaining_ms: Callable[[], int]) -> None:
        self._remaining_ms = remaining_ms

    def now(self) -> datetime:
        """The present instant."""
        return datetime.now(UTC)

    def remaining(self) -> timedelta:
        """Until Lambda ends the invocation."""
        return timedelta(milliseconds=self._remaining_ms())

    def sleep(self, span: timedelta) -> None:
        """Wait a moment."""
        time.sleep(span.total_seconds())
