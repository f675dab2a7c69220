"""One execution environment: a function process, its Runtime API, its limits; frozen whenever it has no work.

Made, kept and ended by `runtime.host`.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natkeeper_lab.runtime.invocation import FunctionResult, LogLine
from natkeeper_lab.runtime.place import Place
from natkeeper_lab.runtime.processor import Limiter, Unlimited, limiter_of
from natkeeper_lab.runtime.runtime_api import News, RuntimeApi, Work

GLANCE = 0.05
"""How often the memory of a process at work is looked at, in seconds; a look takes 0.1 ms."""
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(eq=False)
class Trouble(Exception):
    """Why an init phase or an invocation failed other than by the handler's own error.

    `body` is what the process itself said of it; `kind` what Lambda's log calls it.
    """

    kind: str
    error_type: str
    message: str
    body: bytes | None = None

    def result(self, request_id: str) -> FunctionResult:
        """https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html"""
        said = {"errorType": self.error_type, "errorMessage": f"RequestId: {request_id} Error: {self.message}"}
        return FunctionResult(self.body or json.dumps(said).encode(), "Unhandled")


class ExecutionEnvironment:
    """`init`, then `run` as often as wanted while `is_alive`, then `end`. Times in seconds, memory in MB.

    `share`: processors that the process may use once its init phase is over, None for all there are.
    """

    def __init__(
        self,
        place: Place,
        argv: Sequence[str],
        variables: Mapping[str, str],
        code: Path,
        memory_mb: int,
        log: Callable[[LogLine], None],
        share: float | None = None,
    ) -> None:
        self.is_alive = True
        self.peak_mb = 0
        self.init_seconds = 0.0
        self._memory_mb = memory_mb
        self._log = log
        self._began = time.monotonic()
        self._api = RuntimeApi(place.listen())
        try:
            self._child = place.spawn(argv, {**variables, "AWS_LAMBDA_RUNTIME_API": self._api.address}, code)
        except BaseException:
            self._api.close()
            raise
        self.pid = self._child.pid
        self._share = share
        # From the start: so the kernel gives it a whole processor for its init phase, whatever else runs.
        self._limiter: Limiter = Unlimited(self.pid) if share is None else limiter_of(self.pid)
        threading.Thread(target=self._read_log, name=f"log-{self.pid}", daemon=True).start()

    def init(self, seconds: float) -> Trouble | None:
        """Until the process asks for work. After a trouble it is of no use."""
        try:
            news = self._wait(self._began + seconds, seconds)
            if news.kind == "init-error":
                kind = json.loads(news.body).get("errorType", "Runtime.Unknown")
                raise Trouble(kind, kind, "init error", news.body)
        except Trouble as trouble:
            self.is_alive = False
            return trouble
        self.init_seconds = time.monotonic() - self._began
        self._limiter.freeze()
        self.set_share(self._share)
        return None

    def set_share(self, share: float | None) -> None:
        """From now on. The init phase has a whole processor whatever the share: Lambda's burst for it."""
        self._share = share
        if share is not None and type(self._limiter) is Unlimited:
            self._limiter = limiter_of(self.pid)
            self._limiter.freeze()
        self._limiter.limit(share)

    def run(self, work: Work, until: float, seconds: float) -> FunctionResult:
        """One invocation, over at `until` (monotonic), which is `seconds` after it began. Raises Trouble."""
        self._limiter.thaw()
        self._api.send(work)
        try:
            news = self._wait(until, seconds)
            self._check_memory()
        except Trouble:
            self.is_alive = False
            raise
        try:
            # The invoke phase lasts until the process asks for the next event.
            self._wait(until, seconds)
            self._limiter.freeze()
        except Trouble:
            self.is_alive = False
        return FunctionResult(news.body, None if news.kind == "response" else "Unhandled")

    @property
    def is_usable(self) -> bool:
        """Whether it can run an invocation, as far as can be known before."""
        return self.is_alive and self._child.poll() is None

    def kill(self) -> None:
        """Whatever it is doing, frozen or not."""
        self.is_alive = False
        self._child.kill()

    def end(self) -> None:
        """No process, socket or thread of it is left."""
        self.is_alive = False
        self._child.kill()
        self._child.wait()
        self._limiter.end()
        self._api.close()

    def _wait(self, until: float, seconds: float) -> News:
        while (left := until - time.monotonic()) > 0:
            try:
                news = self._api.news.get(timeout=min(left, GLANCE))
            except queue.Empty:
                self._check_memory()
                if self._child.poll() is not None:
                    raise self._exited() from None
                continue
            if news.kind != "exit":
                return news
            with contextlib.suppress(subprocess.TimeoutExpired):  # it may only have closed its output
                self._child.wait(GLANCE)
                raise self._exited()
        raise Trouble("timeout", "Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")

    def _check_memory(self) -> None:
        with contextlib.suppress(OSError):
            if found := _PEAK.search(Path("/proc", str(self.pid), "status").read_text()):
                self.peak_mb = -(-int(found[1]) // 1024)
        if self.peak_mb > self._memory_mb:
            self._child.kill()
            raise self._exited()

    def _exited(self) -> Trouble:
        """The words are those of Lambda's log. https://repost.aws/knowledge-center/lambda-runtime-error"""
        code = self._child.wait()
        if self.peak_mb > self._memory_mb:
            return Trouble("Runtime.OutOfMemory", "Runtime.ExitError", "Runtime exited with error: signal: killed")
        if code < 0:
            name = (signal.strsignal(-code) or str(-code)).lower()
            return Trouble("Runtime.ExitError", "Runtime.ExitError", f"Runtime exited with error: signal: {name}")
        how = f"with error: exit status {code}" if code else "without providing a reason"
        return Trouble("Runtime.ExitError", "Runtime.ExitError", f"Runtime exited {how}")

    def _read_log(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            for line in stream:
                # The runtime client separates the lines of one event by carriage returns.
                text = line.decode(errors="replace").rstrip("\n").replace("\r", "\n")
                self._log(LogLine(time.time(), self.pid, text))
        self._api.news.put(News("exit"))
