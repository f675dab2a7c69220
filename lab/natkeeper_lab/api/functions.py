"""Lambda's control plane: who may be invoked now, in what chain, and where an asynchronous result goes.

The gateway routes the wire's `Invoke` here, the event bus and the Scheduler their Lambda targets. What runs a function
is whatever was registered: usually `runtime.FunctionHost`. May not import moto or boto3.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from natkeeper_lab.api.asynchronous import (
    BETWEEN_ATTEMPTS,
    MAXIMUM_AGE,
    RETRIES,
    Event,
    LoopError,
    ThrottledError,
    carry_out,
    record,
)
from natkeeper_lab.api.lineage import Lineage
from natkeeper_lab.api.options import ApiOptions
from natkeeper_lab.api.paces import Paces
from natkeeper_lab.runtime import CURRENT, FunctionResult, Invocation

Invoke = Callable[[bytes], FunctionResult]
SendMessage = Callable[[str, str], None]
"""Put a text on the queue with this ARN."""


@dataclass(frozen=True)
class Terms:
    """How a function is invoked, beside its code. Destinations are names or ARNs of functions, or ARNs of queues.

    `retries` and `maximum_age` (AWS's seconds) are those of asynchronous invocations; `reserved` is the reserved
    concurrency, None for none. https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html
    """

    on_success: str | None = None
    on_failure: str | None = None
    retries: int = RETRIES
    maximum_age: float = MAXIMUM_AGE
    reserved: int | None = None
    is_recursion_allowed: bool = False


@dataclass(frozen=True)
class _Function:
    name: str
    arn: str
    invoke: Invoke
    terms: Terms


class UnknownFunctionError(LookupError):
    pass


def name_of(function: str) -> str:
    """The function's name out of a name, a partial or a full ARN, with or without a qualifier."""
    return function.split("function:", 1)[-1].split(":", 1)[0]


class Functions:
    def __init__(self, options: ApiOptions, paces: Paces, account: str, send_message: SendMessage) -> None:
        self._options = options
        self._paces = paces
        self._account = account
        self._send_message = send_message
        self._functions: dict[str, _Function] = {}
        self._running: Counter[str] = Counter()
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()
        self.failures: list[BaseException] = []
        self.errors: list[tuple[float, str, str]] = []
        """Invocations that ended in an error: when (`time.monotonic()`), which function, what it said."""
        self.throttles: list[tuple[float, str]] = []
        """Invocations that found no execution free: when, and of which function."""
        self._lock = threading.Lock()

    def register(self, name: str, invoke: Invoke, terms: Terms) -> str:
        """The answer is the function's ARN."""
        arn = f"arn:aws:lambda:{self._options.region}:{self._account}:function:{name}"
        self._functions[name] = _Function(name, arn, invoke, terms)
        return arn

    def has(self, name: str) -> bool:
        return name in self._functions

    def invoke(self, name: str, payload: bytes, trace: str = "", request_id: str = "") -> FunctionResult:
        """Run it now, in this thread, at the next place in the chain that `trace` (X-Amzn-Trace-Id) names. Raises
        ThrottledError and LoopError."""
        function = self._find(name)
        chain = Lineage.of(trace).entering(function.arn).header
        return self._attempt(function, payload, Invocation(request_id or str(uuid.uuid4()), chain))

    def invoke_later(self, name: str, payload: bytes, trace: str = "") -> str:
        """Queue it. The answer is the request id; a function that does not exist is an error at once."""
        function = self._find(name)
        invocation = Invocation(trace=Lineage.of(trace).entering(function.arn).header)
        thread = threading.Thread(
            target=self._run, args=(function, payload, invocation), name=f"async-{name}", daemon=True
        )
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()} | {thread}
            thread.start()
        return invocation.request_id

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

    def _attempt(self, function: _Function, payload: bytes, invocation: Invocation) -> FunctionResult:
        if not function.terms.is_recursion_allowed and Lineage.of(invocation.trace).is_loop_of(function.arn):
            raise LoopError(function.name)
        with self._place_for(function):
            token = CURRENT.set(invocation)
            try:
                result = function.invoke(payload)
            except Exception as error:
                traceback.print_exc()
                body = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
                result = FunctionResult(json.dumps(body).encode(), "Unhandled")
            finally:
                CURRENT.reset(token)
        if result.error is not None:
            self.errors.append((time.monotonic(), function.name, result.payload.decode(errors="replace")))
        return result

    @contextmanager
    def _place_for(self, function: _Function) -> Iterator[None]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html"""
        reserved = function.terms.reserved
        with self._lock:
            if reserved is not None and self._running[function.name] >= reserved:
                self.throttles.append((time.monotonic(), function.name))
                raise ThrottledError(is_off=reserved == 0)
            self._running[function.name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[function.name] -= 1

    def _run(self, function: _Function, payload: bytes, invocation: Invocation) -> None:
        event = Event(
            payload,
            invocation.request_id,
            function.terms.retries,
            function.terms.maximum_age,
            attempt=lambda: self._attempt(function, payload, invocation),
            wait=self._wait,
        )
        end = carry_out(event)
        if end is None or self._closing.is_set():
            return
        target = function.terms.on_success if end.is_success else function.terms.on_failure
        if target and not self._closing.wait(self._paces.destination):
            self._deliver(function, target, json.dumps(record(event, function.arn, end)), invocation.trace)

    def _wait(self, seconds: float) -> bool:
        scale = self._options.async_retry_seconds / BETWEEN_ATTEMPTS[0]
        return not self._closing.wait(seconds * scale)

    def _deliver(self, function: _Function, target: str, text: str, trace: str) -> None:
        if ":sqs:" in target:
            self._send_message(target, text)
        elif self.has(name_of(target)):
            self.invoke_later(name_of(target), text.encode(), trace)
        else:
            self.failures.append(UnknownFunctionError(f"{target}, the destination of {function.name}"))
