"""A report that no prober of ours made: a Lambda destination's record of somebody else's function.

Called by `scenario.verbs`. Pure. The report in it is in a prober's own form (`natkeeper.probing.run`): who made it is
all that is wrong with it, and its time where that is asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

FUNCTION = "somebody-elses-function"
RUN_ID = "forged"
ROUNDS = 6
"""More than ProbeRoundsToFail's default, and more than it takes to recover."""
EVERY_MS = 1000.0
RTT_MS = 3.0


def forged_record(group: str, says: str, at: datetime, account: str, region: str) -> dict[str, Any]:
    """`says`: down or up. `at`: when the last round was sent, as the report has it."""
    request = {"version": 1, "group": group, "run_id": f"{RUN_ID}-{at.isoformat()}", "mode": "watch"}
    return {
        "version": "1.0",
        "timestamp": at.isoformat(timespec="milliseconds"),
        "requestContext": {
            "requestId": RUN_ID,
            "functionArn": f"arn:aws:lambda:{region}:{account}:function:{FUNCTION}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": request,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": request | _report(says == "up", at),
    }


def _report(is_up: bool, at: datetime) -> dict[str, Any]:
    rounds = [[number * EVERY_MS, int(is_up), RTT_MS if is_up else None] for number in range(ROUNDS)]
    began = at - timedelta(milliseconds=EVERY_MS * (ROUNDS - 1))
    return {
        "verdict": "ended" if is_up else "down",
        "clock": RUN_ID,
        "started_at": began.isoformat(timespec="microseconds"),
        "rounds": rounds,
        "canary": [],
        "egress_address": None,
        "egress_address_ms": None,
        "errors": [] if is_up else ["timeout"],
    }
