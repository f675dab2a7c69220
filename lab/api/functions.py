"""Lambda's side of an invocation: synchronous, asynchronous with retries, and destinations.

The gateway routes the wire's `Invoke` here, the event bus its Lambda targets. What runs a function is whatever was
registered: usually `lab.runtime.FunctionHost`. May not import moto or boto3.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab.api.options import ApiOptions
from lab.runtime import FunctionResult

Invoke = Callable[[bytes], FunctionResult]
RETRIES = 2  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
SendMessage = Callable[[str, str], None]
"""Put a text on the queue with this ARN."""


@dataclass(frozen=True)
class _Function:
    name: str
    arn: str
    invoke: Invoke
    on_success: str | None
    on_failure: str | None
    retries: int


class UnknownFunctionError(LookupError):
    pass


def name_of(function: str) -> str:
    """The function's name out of a name, a partial or a full ARN, with or without a qualifier."""
    return function.split("function:", 1)[-1].split(":", 1)[0]


class Functions:
    def __init__(self, options: ApiOptions, account: str, send_message: SendMessage) -> None:
        self._options = options
        self._account = account
        self._send_message = send_message
        self._functions: dict[str, _Function] = {}
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()
        self.failures: list[BaseException] = []
        self.errors: list[tuple[float, str, str]] = []
        """Invocations that ended in an error: when (`time.monotonic()`), which function, what it said."""
        self._lock = threading.Lock()

    def register(
        self, name: str, invoke: Invoke, on_success: str | None, on_failure: str | None, retries: int = RETRIES
    ) -> str:
        """Destinations are names or ARNs of functions, or ARNs of queues. The answer is the function's ARN."""
        arn = f"arn:aws:lambda:{self._options.region}:{self._account}:function:{name}"
        self._functions[name] = _Function(name, arn, invoke, on_success, on_failure, retries)
        return arn

    def has(self, name: str) -> bool:
        return name in self._functions

    def invoke(self, name: str, payload: bytes) -> FunctionResult:
        """Run it now, in this thread."""
        function = self._find(name)
        try:
            result = function.invoke(payload)
        except Exception as error:
            traceback.print_exc()
            body = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
            result = FunctionResult(json.dumps(body).encode(), "Unhandled")
        if result.error is not None:
            self.errors.append((time.monotonic(), name, result.payload.decode(errors="replace")))
        return result

    def invoke_later(self, name: str, payload: bytes) -> str:
        """Queue it. The answer is the request id; a function that does not exist is an error at once."""
        function = self._find(name)
        request_id = str(uuid.uuid4())
        thread = threading.Thread(
            target=self._run, args=(function, payload, request_id), name=f"async-{name}", daemon=True
        )
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()} | {thread}
            thread.start()
        return request_id

    def begin_closing(self) -> None:
        """Nothing asynchronous starts any more: no invocation, retry or destination."""
        self._closing.set()

    def close(self, wait_seconds: float = 5.0) -> None:
        """`begin_closing`, and wait for what runs."""
        self.begin_closing()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(wait_seconds)

    def _find(self, name: str) -> _Function:
        if (function := self._functions.get(name)) is None:
            raise UnknownFunctionError(name)
        return function

    def _run(self, function: _Function, payload: bytes, request_id: str) -> None:
        attempt = 0
        while not self._closing.is_set():
            attempt += 1
            result = self.invoke(function.name, payload)
            if result.error is None or attempt > function.retries:
                self._conclude(function, payload, request_id, attempt, result)
                return
            self._closing.wait(self._options.async_retry_seconds)

    def _conclude(
        self, function: _Function, payload: bytes, request_id: str, attempt: int, result: FunctionResult
    ) -> None:
        target = function.on_success if result.error is None else function.on_failure
        if target and not self._closing.is_set():
            record = _destination_record(function, payload, request_id, attempt, result)
            self._deliver(function, target, json.dumps(record))

    def _deliver(self, function: _Function, target: str, record: str) -> None:
        if ":sqs:" in target:
            self._send_message(target, record)
        elif self.has(name_of(target)):
            self.invoke_later(name_of(target), record.encode())
        else:
            self.failures.append(UnknownFunctionError(f"{target}, the destination of {function.name}"))


def _destination_record(
    function: _Function, payload: bytes, request_id: str, attempt: int, result: FunctionResult
) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    response: dict[str, Any] = {"statusCode": 200, "executedVersion": "$LATEST"}
    if result.error is not None:
        response["functionError"] = result.error
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "Success" if result.error is None else "RetriesExhausted",
            "approximateInvokeCount": attempt,
        },
        "requestPayload": json.loads(payload or b"null"),
        "responseContext": response,
        "responsePayload": json.loads(result.payload or b"null"),
    }
