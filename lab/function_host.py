"""The process behind one warm Lambda instance: `python -m lab.function_host module:handler`.

`lab.runtime.FunctionHost` starts it and speaks one JSON object per line: requests on stdin, answers on what stdout was
at the start. Whatever the handler prints goes to stderr, which the host keeps as the log. May import only the standard
library, so that a function's cold start is the function's own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Context:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    aws_request_id: str
    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    deadline: float
    function_version: str = "$LATEST"
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.time()) * 1000))


def main(argv: list[str]) -> None:
    # The handler's prints must not mix with answers, so descriptor 1 becomes a second stderr.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        handler = _load(argv[1])
    except BaseException as error:
        _send(answers, {"init_error": _describe(error)})
        return
    if skew := os.environ.get("NATKEEPER_LAB_CLOCK_SKEW"):
        from lab import skew as clocks

        clocks.apply(float(skew))
    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        _send(answers, _run(handler, json.loads(line)))


def _load(name: str) -> Handler:
    module, _, attribute = name.partition(":")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


def _run(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    context = Context(**request["context"])
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    os.environ["_X_AMZN_TRACE_ID"] = request.get("trace", "")
    try:
        result = handler(json.loads(request["payload"]), context)
    except Exception as error:
        traceback.print_exc()
        return {"payload": json.dumps(_describe(error)), "error": "Unhandled"}
    try:
        return {"payload": json.dumps(result), "error": None}
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        body = {"errorMessage": message, "errorType": "Runtime.MarshalError", "stackTrace": []}
        return {"payload": json.dumps(body), "error": "Unhandled"}


def _describe(error: BaseException) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html"""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def _send(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv)
