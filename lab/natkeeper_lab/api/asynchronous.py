"""One asynchronous invocation: its attempts, the waits between them, its age, and the record for its destination.

Run by `api.functions` in a thread of its own. May not import moto or boto3.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from natkeeper_lab.runtime import FunctionResult

RETRIES = 2
BETWEEN_ATTEMPTS = (60.0, 120.0)
"""Seconds before the second and the third attempt at a function that fails."""
BACK_OFF, LONGEST_BACK_OFF = 1.0, 300.0
"""Seconds before the next attempt at a function that is throttled; doubled each time."""
MAXIMUM_AGE = 6 * 3600.0
"""https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html"""


class ThrottledError(Exception):
    """All reserved concurrency is in use; `is_off` when none is reserved at all, so that waiting cannot help."""

    def __init__(self, is_off: bool) -> None:
        super().__init__("Rate Exceeded.")
        self.is_off = is_off


class LoopError(Exception):
    """The function has run too often in one chain."""


@dataclass(frozen=True)
class Event:
    """`maximum_age` and `wait` are in AWS's seconds; `wait` makes them the lab's and says False when the lab closes."""

    payload: bytes
    request_id: str
    retries: int
    maximum_age: float
    attempt: Callable[[], FunctionResult]
    wait: Callable[[float], bool]


@dataclass(frozen=True)
class Conclusion:
    """`result` is None when the function never ran, or not since it was last throttled."""

    condition: str
    attempts: int
    result: FunctionResult | None

    @property
    def is_success(self) -> bool:
        return self.condition == "Success"


def carry_out(event: Event) -> Conclusion | None:
    """None when the lab closed before an end was reached.

    An event's age is what AWS would count: the waits as AWS makes them, and the attempts as long as they took.
    """
    age, attempts, back_off = 0.0, 0, BACK_OFF
    result: FunctionResult | None = None
    while event.wait(0):
        began = time.monotonic()
        try:
            result = event.attempt()
        except LoopError:
            # What the record says in this case is not documented; unproven.
            return Conclusion("RetriesExhausted", attempts, None)
        except ThrottledError as throttled:
            if throttled.is_off:
                return Conclusion("ZeroReservedConcurrency", attempts, None)
            pause, back_off = back_off, min(2 * back_off, LONGEST_BACK_OFF)
        else:
            attempts += 1
            if result.error is None:
                return Conclusion("Success", attempts, result)
            if attempts > event.retries:
                return Conclusion("RetriesExhausted", attempts, result)
            pause = BETWEEN_ATTEMPTS[attempts - 1]
        age += time.monotonic() - began + pause
        if age > event.maximum_age:
            return Conclusion("EventAgeExceeded", attempts, result)
        if not event.wait(pause):
            return None
    return None


def record(event: Event, arn: str, end: Conclusion) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    found: dict[str, Any] = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{arn}:$LATEST",
            "condition": end.condition,
            "approximateInvokeCount": end.attempts,
        },
        "requestPayload": json.loads(event.payload or b"null"),
    }
    if end.result is not None:
        found["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST"}
        if end.result.error is not None:
            found["responseContext"]["functionError"] = end.result.error
        found["responsePayload"] = json.loads(end.result.payload or b"null")
    return found
