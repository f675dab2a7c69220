"""EC2's token buckets, per account and region, as far as natkeeper's calls need them.

The gateway asks once per EC2 request when `ApiOptions.is_throttled` is set. May not import moto or boto3.
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_WRITES = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "ModifyNetworkInterfaceAttribute": (100, 5),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
}
_WRITE = (50, 5)
_DESCRIBE = (100, 20)
_UNFILTERED_DESCRIBE = (50, 10)


class Throttle:
    """`clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def is_refused(self, operation: str, *, is_filtered: bool) -> bool:
        """Take a token; True when there is none."""
        name, (size, refill) = _bucket(operation, is_filtered)
        now = self._clock()
        with self._lock:
            tokens, since = self._buckets.get(name, (float(size), now))
            tokens = min(float(size), tokens + (now - since) * refill)
            is_empty = tokens < 1
            self._buckets[name] = (tokens if is_empty else tokens - 1, now)
        return is_empty


def _bucket(operation: str, is_filtered: bool) -> tuple[str, tuple[int, int]]:
    if not operation.startswith("Describe"):
        return operation, _WRITES.get(operation, _WRITE)
    if operation == "DescribeInstances" and not is_filtered:
        return "unfiltered", _UNFILTERED_DESCRIBE
    return "describe", _DESCRIBE
