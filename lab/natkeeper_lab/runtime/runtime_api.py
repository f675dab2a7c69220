"""Lambda's Runtime API for one function process: it asks for work here and hands back what became of it.

Made by `runtime.environment`. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal

from natkeeper_lab.wire import HttpReply, HttpRequest, WireServer

_VERSION = "/2018-06-01/runtime"
_ABOUT_WORK = re.compile(_VERSION + r"/invocation/([^/]+)/(response|error)")
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Work:
    """One event for the process. `deadline_ms` is since 1970."""

    request_id: str
    payload: bytes
    deadline_ms: int
    arn: str
    trace: str


@dataclass(frozen=True)
class News:
    """What the process did: asked for work (`next`), answered it, failed to start, or ended (`exit`)."""

    kind: Literal["next", "response", "error", "init-error", "exit"]
    body: bytes = b""


class RuntimeApi:
    """`news` is what the process did, in order. Answers about any work but the current one are refused."""

    def __init__(self, listener: socket.socket) -> None:
        self.news: SimpleQueue[News] = SimpleQueue()
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._current = ""
        self._server = WireServer(self._answer, listener)
        self._server.start()

    @property
    def address(self) -> str:
        """For AWS_LAMBDA_RUNTIME_API."""
        return self._server.address

    def send(self, work: Work) -> None:
        """What the process gets from the `next` it waits in."""
        self._current = work.request_id
        self._work.put(work)

    def close(self) -> None:
        self._work.put(None)
        self._server.stop()

    def _answer(self, http: HttpRequest) -> HttpReply | None:
        if (http.method, http.target) == ("GET", f"{_VERSION}/invocation/next"):
            return self._next()
        if http.method == "POST" and http.target == f"{_VERSION}/init/error":
            self.news.put(News("init-error", http.body))
            return _accepted()
        found = _ABOUT_WORK.fullmatch(http.target)
        if found is None or http.method != "POST":
            return _refused(404, "NotFound", f"{http.method} {http.target}")
        if found[1] != self._current:
            return _refused(400, "InvalidRequestID", "Invalid request ID")
        self._current = ""
        self.news.put(News("response" if found[2] == "response" else "error", http.body))
        return _accepted()

    def _next(self) -> HttpReply | None:
        self.news.put(News("next"))
        work = self._work.get()
        if work is None:
            return None
        headers = {
            **_JSON,
            "Lambda-Runtime-Aws-Request-Id": work.request_id,
            "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": work.arn,
        }
        if work.trace:
            headers["Lambda-Runtime-Trace-Id"] = work.trace
        return HttpReply(200, work.payload, headers)


def _accepted() -> HttpReply:
    return HttpReply(202, b'{"status":"OK"}\n', _JSON)


def _refused(status: int, kind: str, message: str) -> HttpReply:
    return HttpReply(status, json.dumps({"errorType": kind, "errorMessage": message}).encode(), _JSON)
