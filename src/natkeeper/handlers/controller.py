"""Lambda entry of the controller: any trigger in, one wake-up, each group's reasons out.

Invoked by EventBridge rules, the minute's schedule, the probers' destinations and operators. Thin: it parses, and
leaves everything else to `reconcile`. A trigger that is foreign or malformed is logged and changes nothing; retrying it
would not help, so it does not fail the invocation.
"""

from __future__ import annotations

import gc
import os
import uuid
from typing import Any

from natkeeper.adapters.clock import LambdaClock
from natkeeper.reconcile import reconcile
from natkeeper.triggers import Foreign, Malformed, parse
from natkeeper.wiring import build

CONTROLLER = build()
gc.freeze()  # what was made here lives as long as the process: no collection during a pass need look at it
gc.enable()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """One wake-up. Returns `{"groups": {name: [reason codes]}}`, `{"refused": why}` or `{"ignored": why}`."""
    logger, policy = CONTROLLER.logger, CONTROLLER.settings.policy
    logger.set_correlation_id(context.aws_request_id)
    account = context.invoked_function_arn.split(":")[4]
    try:
        region, request_id = os.environ.get("AWS_REGION"), context.aws_request_id
        probers = CONTROLLER.settings.probers
        news = parse(event, account=account, region=region, probers=probers, request_id=request_id)
    except (Foreign, Malformed) as refusal:
        logger.warning("trigger refused", extra={"kind": type(refusal).__name__, "why": str(refusal)})
        return {"refused": str(refusal)}
    logger.info("woken", extra={"trigger": type(news).__name__})
    clock = LambdaClock(context.get_remaining_time_in_millis)
    # Lambda may deliver an event twice, under one request id: two passes must not hold the same lease.
    holder = f"{context.aws_request_id}/{uuid.uuid4().hex[:8]}"
    reasons = reconcile([news], CONTROLLER.ports(clock, holder), policy)
    if not reasons:
        return {"ignored": "about other people's instances"}
    CONTROLLER.telemetry.passed()
    CONTROLLER.settle()
    return {"groups": reasons}
