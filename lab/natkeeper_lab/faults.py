"""What goes wrong on purpose: latency, refusals and lost replies, chosen per operation and parameters.

Tests and scenarios set them, and whoever plays AWS asks `judge` once per request: the lab's gateway (`Api.faults`), and
the simulation's API (`simulation.scenario.faults`). May not import moto or boto3.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Where = Mapping[str, Any] | Callable[[Mapping[str, Any]], bool]

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_STATUS = {
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
    "ServiceUnavailable": 503,
    "UnauthorizedOperation": 403,
    "AccessDeniedException": 403,
    "AuthFailure": 401,
    "InternalError": 500,
    "InternalServerError": 500,
    "InternalFailure": 500,
    "InsufficientInstanceCapacity": 500,
    "InsufficientHostCapacity": 500,
    "DryRunOperation": 412,
    "TooManyRequestsException": 429,
    "ResourceNotFoundException": 404,
    "ServiceException": 500,
}


def status_of(code: str) -> int:
    """The HTTP status AWS sends with an error code; 400 for the many client errors."""
    return _STATUS.get(code, 400)


@dataclass(frozen=True)
class Refusal:
    code: str
    message: str
    status: int


@dataclass(frozen=True)
class Verdict:
    """`delay` is spent half before and half after the change is applied, as on a real network path. `pace`: the part of
    it that a call of this takes anyway."""

    delay: float = 0.0
    refusal: Refusal | None = None
    is_reply_lost: bool = False
    hold: float = 0.0
    pace: float = 0.0


@dataclass
class Fault:
    """`until`: an instant of the clock that its `Faults` goes by."""

    operation: str
    where: Where | None
    times: int | None
    delay: float = 0.0
    refusal: Refusal | None = None
    is_reply_lost: bool = False
    hold: float = 0.0
    until: float | None = None

    def matches(self, service: str, operation: str, params: Mapping[str, Any], now: float) -> bool:
        is_over = self.until is not None and now >= self.until
        if is_over or self.times == 0 or not fits(self.operation, service, operation):
            return False
        if self.where is None:
            return True
        if callable(self.where):
            return self.where(params)
        return all(_contains(params.get(key), wanted) for key, wanted in self.where.items())


def fits(pattern: str, service: str, operation: str) -> bool:
    """`pattern` names the operation, with its service or without."""
    return fnmatchcase(f"{service}:{operation}" if ":" in pattern else operation, pattern)


def _contains(actual: object, wanted: object) -> bool:
    return actual == wanted or (isinstance(actual, list) and wanted in actual)


class Faults:
    """`operation` is a name or pattern such as `ReplaceRoute`, `Describe*`, `dynamodb:*`; `times=None` is for ever.

    `where` narrows a fault to requests whose parameters have these values (or hold them in a list), or for which a
    predicate is true. `now`: the clock of whoever plays AWS.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._faults: list[Fault] = []
        self._paces: dict[str, float] = {}
        self._lock = threading.Lock()

    def pace(self, seconds: float, operation: str = "*") -> None:
        """From now on a call of this takes so long. Of several that match, the one set last counts."""
        with self._lock:
            self._paces.pop(operation, None)
            self._paces[operation] = seconds

    def delay(
        self, seconds: float, operation: str = "*", *, times: int | None = None, where: Where | None = None
    ) -> None:
        """Add latency; several that match add up."""
        self._add(Fault(operation, where, times, delay=seconds))

    def fail(
        self,
        operation: str,
        code: str,
        *,
        times: int | None = 1,
        where: Where | None = None,
        message: str | None = None,
        status: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Refuse without applying anything; for `seconds` from now, if given."""
        refusal = Refusal(code, message or f"Injected by the lab: {code}", status or status_of(code))
        until = None if seconds is None else self._now() + seconds
        self._add(Fault(operation, where, times, refusal=refusal, until=until))

    def lose_reply(
        self, operation: str, *, times: int | None = 1, where: Where | None = None, hold: float = 0.0
    ) -> None:
        """Apply, then close the connection without an answer, after `hold` seconds of silence."""
        self._add(Fault(operation, where, times, is_reply_lost=True, hold=hold))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._paces.clear()

    def judge(self, service: str, operation: str, params: Mapping[str, Any]) -> Verdict:
        """Every matching delay, and the first matching failure; each one used counts down."""
        if not self._faults and not self._paces:
            return Verdict()
        chosen = None
        with self._lock:
            pace = delay = self._pace_of(service, operation)
            for fault in self._faults:
                is_failure = fault.refusal is not None or fault.is_reply_lost
                if (is_failure and chosen) or not fault.matches(service, operation, params, self._now()):
                    continue
                if fault.times is not None:
                    fault.times -= 1
                delay += fault.delay
                chosen = fault if is_failure else chosen
            self._faults = [fault for fault in self._faults if fault.times != 0]
        if chosen is None:
            return Verdict(delay, pace=pace)
        return Verdict(delay, chosen.refusal, chosen.is_reply_lost, chosen.hold, pace)

    def _pace_of(self, service: str, operation: str) -> float:
        fitting = [seconds for pattern, seconds in self._paces.items() if fits(pattern, service, operation)]
        return fitting[-1] if fitting else 0.0

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)
