"""What goes into one invocation and what comes out of it. Read by everybody who invokes. Standard library only."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Invocation:
    """What Lambda knows of an invocation beside its payload. A retry has the request id of the first attempt.

    `trace` is the X-Ray header, which also counts how often a chain of functions went round.
    """

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace: str = ""


CURRENT: ContextVar[Invocation | None] = ContextVar("invocation", default=None)
"""Set by Lambda's control plane around a call of `invoke`; None for a call past it, by hand."""


@dataclass(frozen=True)
class FunctionResult:
    """What one invocation returned. `error` is Lambda's X-Amz-Function-Error (`Unhandled`), None for a success."""

    payload: bytes
    error: str | None = None


@dataclass(frozen=True)
class LogLine:
    """One line that a function process printed. `at` is `time.time()` when it arrived."""

    at: float
    pid: int
    text: str


@dataclass(frozen=True)
class Report:
    """What Lambda's REPORT line says of an invocation. Times in milliseconds; `init_ms` is None for a warm one.

    https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
    """

    request_id: str
    pid: int
    duration_ms: float
    init_ms: float | None
    memory_mb: int
    max_memory_mb: int
    error_type: str | None = None
