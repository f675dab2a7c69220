"""Lambda entry of the prober: runs in a group's private subnet, makes no AWS API call, hands its report back.

Invoked by the controller, asynchronously to watch (the report travels as a Lambda destination) and synchronously to
verify. May import nothing but `natkeeper.probing` and `json`: the cold start is part of detection.
"""

from __future__ import annotations

import gc
import json
from typing import Any

from natkeeper import probing

probing.tls_context()  # in the init phase, which has a whole processor; the smallest share takes 15 times as long
gc.enable()
RESERVE_S = 2.0
"""Kept of the function's time, to report before Lambda kills it."""


def handler(event: Any, context: Any = None) -> dict[str, Any]:
    """Runs one probing run. BadRequest, a ValueError that names the field, for a bad request."""
    request = probing.parse_request(event)
    limit = None if context is None else context.get_remaining_time_in_millis() / 1000 - RESERVE_S
    report = probing.run(request, limit=limit)
    print(json.dumps(probing.summary(report)), flush=True)
    return report
