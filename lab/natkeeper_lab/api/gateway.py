"""One request from the wire to the answer: understand, judge, apply, log.

`api.server` gives it to the wire server as its handler. May not import boto3.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from natkeeper_lab.api import moto_bridge, replies
from natkeeper_lab.api.asynchronous import LoopError, ThrottledError
from natkeeper_lab.api.functions import UnknownFunctionError, name_of
from natkeeper_lab.api.moto_bridge import Wire
from natkeeper_lab.api.options import HAND, Call
from natkeeper_lab.api.outbox import PacketsError
from natkeeper_lab.api.stale import StaleReads
from natkeeper_lab.api.throttle import Throttle
from natkeeper_lab.api.world import World
from natkeeper_lab.faults import Faults, Refusal, Verdict, status_of
from natkeeper_lab.wire import HttpReply, HttpRequest

_READS = ("Describe", "Get", "List", "Query", "Scan")
_CHANGE_PACKETS = ("ec2", "cloudformation")
_NO_PLACE = "ReservedFunctionConcurrentInvocationLimitExceeded"


class Gateway:
    def __init__(self, world: World, faults: Faults, stale: StaleReads) -> None:
        self._world = world
        self._faults = faults
        self._stale = stale
        self._throttle = Throttle()
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self.failures: list[BaseException] = []
        self.watchers: list[Callable[[Call], None]] = []

    def calls(self) -> list[Call]:
        """In order of completion."""
        with self._lock:
            return list(self._calls)

    def clear_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def handle(self, http: HttpRequest) -> HttpReply | None:
        started_at = time.monotonic()
        try:
            wire = moto_bridge.read(http, self._world.options.region)
        except Exception as error:
            # Not a call of AWS's that the lab understands: the lab must learn it, so its stop() says so.
            traceback.print_exc()
            self.failures.append(error)
            return replies.refuse("query", Refusal("InvalidAction", f"The lab cannot read this: {error!r}", 400))
        if wire.operation == "Invoke":
            wire = replace(wire, params=invoke_params(http))
        is_by_hand = _is_by_hand(http)
        verdict = Verdict() if is_by_hand else self._faults.judge(wire.service, wire.operation, wire.params)
        if verdict.delay:
            time.sleep(verdict.delay / 2)
        with self._world.answering_in(verdict.delay / 2):
            reply = self._answer(wire, http, verdict)
        if verdict.delay:
            time.sleep(verdict.delay / 2)
        self._log(wire, started_at, reply, verdict.is_reply_lost, is_by_hand)
        if verdict.is_reply_lost:
            time.sleep(verdict.hold)
            return None
        return reply

    def _answer(self, wire: Wire, http: HttpRequest, verdict: Verdict) -> HttpReply:
        if verdict.refusal:
            return replies.refuse(wire.protocol, verdict.refusal)
        if self._is_throttled(wire) and not _is_by_hand(http):
            return replies.refuse(wire.protocol, Refusal("RequestLimitExceeded", "Request limit exceeded.", 503))
        try:
            return self._apply(wire, http)
        except Exception as error:
            traceback.print_exc()
            if not isinstance(error, PacketsError):
                self.failures.append(error)
            refusal = Refusal("InternalError", f"The lab failed: {error!r}", 500)
            return replies.refuse(wire.protocol, refusal)

    def _is_throttled(self, wire: Wire) -> bool:
        if not self._world.options.is_throttled or wire.service != "ec2":
            return False
        is_filtered = any(name in wire.params for name in ("InstanceIds", "Filters", "MaxResults"))
        return self._throttle.is_refused(wire.operation, is_filtered=is_filtered)

    def _apply(self, wire: Wire, http: HttpRequest) -> HttpReply:
        if wire.operation == "Invoke" and wire.service == "lambda" and self._world.options.is_mended:
            return self._invoke(wire, http)
        if wire.operation.startswith(_READS):
            return self._read(wire, http)
        if wire.service not in _CHANGE_PACKETS:
            with self._world.reading():
                return moto_bridge.dispatch(wire)
        with self._world.changing():
            return moto_bridge.dispatch(wire)

    def _read(self, wire: Wire, http: HttpRequest) -> HttpReply:
        with self._world.reading():
            if wire.service != "ec2" or _is_by_hand(http):
                return moto_bridge.dispatch(wire)
            if not self._stale.is_on_for(wire.operation):
                self._stale.note(wire.operation, http)
                return moto_bridge.dispatch(wire)
            return self._stale.answer(http, wire.operation)

    def _invoke(self, wire: Wire, http: HttpRequest) -> HttpReply:
        """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
        name, kind = wire.params["FunctionName"], wire.params["InvocationType"]
        headers = {"x-amzn-requestid": str(uuid.uuid4()), "content-type": "application/json"}
        trace = http.headers.get("x-amzn-trace-id", "")
        try:
            if kind == "Event":
                headers["x-amzn-requestid"] = self._world.functions.invoke_later(name, http.body or b"{}", trace)
                return HttpReply(202, b"", headers)
            if kind == "DryRun":
                return HttpReply(204, b"", headers)
            result = self._world.functions.invoke(name, http.body or b"{}", trace, headers["x-amzn-requestid"])
        except UnknownFunctionError:
            message = f"Function not found: {name}"
            code = "ResourceNotFoundException"
            return replies.refuse(wire.protocol, Refusal(code, message, status_of(code)))
        except ThrottledError as throttled:
            refusal = Refusal("TooManyRequestsException", str(throttled), 429)
            return replies.refuse(wire.protocol, refusal, Type="User", Reason=_NO_PLACE)
        except LoopError:
            refusal = Refusal("RecursiveInvocationException", "Recursive invocation detected.", 400)
            return replies.refuse(wire.protocol, refusal, Type="User")
        headers["x-amz-executed-version"] = "$LATEST"
        if result.error is not None:
            headers["x-amz-function-error"] = result.error
        return HttpReply(200, result.payload, headers)

    def _log(self, wire: Wire, started_at: float, reply: HttpReply, is_lost: bool, is_by_hand: bool) -> None:
        params: dict[str, Any] = dict(wire.params)
        status = 0 if is_lost else reply.status
        code = replies.error_code(reply)
        call = Call(wire.service, wire.operation, params, started_at, time.monotonic(), status, code, is_by_hand)
        with self._lock:
            self._calls.append(call)
        for watcher in self.watchers:
            watcher(call)


def _is_by_hand(http: HttpRequest) -> bool:
    return f"Credential={HAND}/" in http.headers.get("authorization", "")


def invoke_params(http: HttpRequest) -> dict[str, Any]:
    """What an Invoke asks for, in boto3's words, for the log and for faults that match on it."""
    name = name_of(unquote(http.target.split("/functions/", 1)[-1].split("/", 1)[0]))
    try:
        payload = json.loads(http.body or b"{}")
    except ValueError:
        payload = None
    kind = http.headers.get("x-amz-invocation-type", "RequestResponse")
    return {"FunctionName": name, "InvocationType": kind, "Payload": payload}
