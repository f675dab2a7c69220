"""A small Lambda-like host for real function processes.

The lab registers a host's `invoke` with `lab.api`. May not import moto, boto3 or natkeeper: the function process does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FunctionResult:
    """What one invocation returned. `error` is Lambda's X-Amz-Function-Error (`Unhandled`), None for a success."""

    payload: bytes
    error: str | None = None
