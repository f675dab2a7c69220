"""A small Lambda-like host for real function processes: warm ones are reused, busy ones scale out, late ones die.

The lab registers a host's `invoke` with `lab.api`. May not import moto, boto3 or natkeeper: the function process does.
Unlike Lambda, an idle process is not frozen.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lab

Spawn = Callable[[Sequence[str], Mapping[str, str]], "subprocess.Popen[bytes]"]
"""Start argv with exactly this environment; stdin, stdout and stderr must be binary pipes."""

INIT_SECONDS = 10.0  # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html


@dataclass(frozen=True)
class FunctionResult:
    """What one invocation returned. `error` is Lambda's X-Amz-Function-Error (`Unhandled`), None for a success."""

    payload: bytes
    error: str | None = None


@dataclass(frozen=True)
class LogLine:
    """One line that a function process printed. `at` is `time.time()` when it arrived."""

    at: float
    pid: int
    text: str


class _Process:
    """One warm function process. `answers` ends with None when the process is gone."""

    def __init__(self, child: subprocess.Popen[bytes], log: Callable[[LogLine], None]) -> None:
        self.child = child
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._log = log
        assert child.stdout is not None
        assert child.stderr is not None
        for target, stream in ((self._read_answers, child.stdout), (self._read_log, child.stderr)):
            threading.Thread(target=target, args=(stream,), daemon=True).start()

    def send(self, request: Mapping[str, Any]) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(request).encode() + b"\n")
        self.child.stdin.flush()

    def end(self) -> None:
        self.child.kill()
        self.child.wait()
        if self.child.stdin is not None:
            with contextlib.suppress(OSError):  # a request that the process did not live to read
                self.child.stdin.close()

    def _read_answers(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._log(LogLine(time.time(), self.child.pid, line.decode(errors="replace").rstrip("\n")))


class FunctionHost:
    """`handler` is `module:function`. times are in seconds; `env` is added to this environment less its `AWS_*`."""

    def __init__(
        self,
        name: str,
        handler: str,
        env: Mapping[str, str] | None = None,
        *,
        spawn: Spawn | None = None,
        memory_mb: int = 128,
        timeout_seconds: float = 60.0,
        region: str = "us-east-1",
        account: str = "123456789012",
    ) -> None:
        self.name = name
        self.arn = f"arn:aws:lambda:{region}:{account}:function:{name}"
        self.cold_starts = 0
        self._handler = handler
        self._memory_mb = memory_mb
        self._timeout = timeout_seconds
        self._spawn = spawn or _spawn_here
        self._env = _environment(name, handler, memory_mb, region, env or {})
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._logs: list[LogLine] = []
        self._lock = threading.Lock()
        self._is_stopped = False
        self.on_invoke: Callable[[bytes], None] = lambda _payload: None
        """Called at the start of each invocation: scenarios hang mishaps on it."""

    def override(self, env: Mapping[str, str]) -> None:
        """Change the environment, as a new deployment would: processes that start from now on see it."""
        self._env.update(env)
        self.cool()

    def crash(self) -> None:
        """Kill every process of the function, whatever it is doing."""
        with self._lock:
            processes = list(self._all)
        for process in processes:
            process.child.kill()

    def invoke(self, payload: bytes) -> FunctionResult:
        """Run the function on an idle process, or on a new one. Time spent starting it does not count as running."""
        self.on_invoke(payload)
        request_id = str(uuid.uuid4())
        process = self._take_idle()
        if process is None:
            process, failure = self._start()
            if failure is not None:
                return failure
        result = self._ask(process, request_id, payload)
        if result is not None:
            with self._lock:
                if not self._is_stopped:
                    self._idle.append(process)
            return result
        self._discard(process)
        return _died(request_id, process, self._timeout)

    def warm(self, count: int = 1) -> None:
        """Start processes until `count` are idle, so that the next calls are not cold. RuntimeError if it fails."""
        while len(self._idle) < count:
            process, failure = self._start()
            if failure is not None:
                raise RuntimeError(failure.payload.decode())
            with self._lock:
                self._idle.append(process)

    def cool(self) -> None:
        """End the idle processes, so that the next invocation is cold."""
        while (process := self._take_idle()) is not None:
            self._discard(process)

    def logs(self) -> list[LogLine]:
        """Everything the function's processes printed, in order of arrival."""
        with self._lock:
            return list(self._logs)

    def stop(self) -> None:
        """End every process this host started."""
        with self._lock:
            self._is_stopped = True
            self._idle.clear()
            processes = list(self._all)
        for process in processes:
            self._discard(process)

    def _take_idle(self) -> _Process | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _start(self) -> tuple[_Process, FunctionResult | None]:
        if self._is_stopped:
            raise RuntimeError(f"function host {self.name} is stopped")
        child = self._spawn([sys.executable, "-m", "lab.function_host", self._handler], self._env)
        process = _Process(child, self._keep)
        with self._lock:
            self._all.add(process)
            self.cold_starts += 1
        answer = _next_answer(process, INIT_SECONDS)
        if answer is not None and answer.get("ready"):
            return process, None
        self._discard(process)
        body = (answer or {}).get("init_error") or {"errorType": "Runtime.ExitError", "errorMessage": "init failed"}
        return process, FunctionResult(json.dumps(body).encode(), "Unhandled")

    def _ask(self, process: _Process, request_id: str, payload: bytes) -> FunctionResult | None:
        """None when the process died or took too long."""
        context = {
            "aws_request_id": request_id,
            "function_name": self.name,
            "invoked_function_arn": self.arn,
            "memory_limit_in_mb": str(self._memory_mb),
            "deadline": time.time() + self._timeout,
            "log_group_name": f"/aws/lambda/{self.name}",
        }
        try:
            process.send({"context": context, "payload": (payload or b"{}").decode()})
        except OSError:
            return None
        answer = _next_answer(process, self._timeout)
        return None if answer is None else FunctionResult(answer["payload"].encode(), answer["error"])

    def _discard(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._all.discard(process)

    def _keep(self, line: LogLine) -> None:
        with self._lock:
            self._logs.append(line)


def _next_answer(process: _Process, seconds: float) -> dict[str, Any] | None:
    try:
        return process.answers.get(timeout=seconds)
    except queue.Empty:
        return None


def _died(request_id: str, process: _Process, timeout: float) -> FunctionResult:
    """https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html"""
    status = process.child.returncode
    # -9 is our own kill after the time-out.
    kind, what = ("Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds")
    if status != -9:
        kind, what = ("Runtime.ExitError", f"Runtime exited with error: exit status {status}")
    body = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {what}"}
    return FunctionResult(json.dumps(body).encode(), "Unhandled")


def _spawn_here(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=dict(env), stdin=pipe, stdout=pipe, stderr=pipe)


def _environment(name: str, handler: str, memory_mb: int, region: str, env: Mapping[str, str]) -> dict[str, str]:
    """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
    root = Path(lab.__file__).resolve().parent.parent
    path = env.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    own = {
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "_HANDLER": handler,
        "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root), path)),
        "PYTHONUNBUFFERED": "1",
        "TZ": ":UTC",
    }
    # This process's own AWS settings may be real: what a function may reach is said in `env` only.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return {**inherited, **env, **own}
