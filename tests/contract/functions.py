"""Handlers for the tests of `lab.runtime`: each misbehaves as its event says."""

from __future__ import annotations

import os
import time
from typing import Any

_SHOWN = ("AWS_LAMBDA_FUNCTION_NAME", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "GROUP")


def handler(event: dict[str, Any], context: Any) -> Any:
    print("handling", context.aws_request_id)
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    time.sleep(event.get("sleep", 0))
    if "unmarshallable" in event:
        return {"value": object()}
    return {
        "pid": os.getpid(),
        "event": event,
        "function": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "remaining": context.get_remaining_time_in_millis(),
        "environment": {name: os.environ.get(name) for name in _SHOWN},
    }


def powertools(event: dict[str, Any], context: Any) -> Any:
    from aws_lambda_powertools import Logger

    logger = Logger(service="lab")

    @logger.inject_lambda_context
    def inner(_event: dict[str, Any], _context: Any) -> str:
        logger.info("probed")
        return "ok"

    return inner(event, context)
