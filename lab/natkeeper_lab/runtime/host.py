"""A function as Lambda runs it: warm environments are used again, busy ones scale out, late ones are killed.

`stack` makes one for each function and registers its `invoke` with `api`; scenarios hang mishaps on it. May not
import moto, boto3 or natkeeper: the function's process does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from natkeeper_lab import skew
from natkeeper_lab.runtime.environment import ExecutionEnvironment, Trouble
from natkeeper_lab.runtime.invocation import CURRENT, FunctionResult, Invocation, LogLine, Report
from natkeeper_lab.runtime.place import Here, Place
from natkeeper_lab.runtime.processor import share_of
from natkeeper_lab.runtime.runtime_api import Work
from natkeeper_lab.runtime.variables import variables

INIT_SECONDS = 10.0  # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
# No site-packages (-S, -s) and nothing of the folder a script lies in (-P): the process finds the standard library, the
# artefact and what Lambda's runtime brings, and never the lab.
PYTHON = (sys.executable, "-S", "-s", "-P")


class FunctionHost:
    """`handler` is `module.function` as in the template, `code` the built artefact, `env` the function's own variables.

    Times in seconds. `has_share`: its processes are kept within the processor share that `memory_mb` brings.
    """

    def __init__(
        self,
        name: str,
        handler: str,
        env: Mapping[str, str] | None = None,
        *,
        code: Path,
        place: Place | None = None,
        memory_mb: int = 128,
        timeout_seconds: float = 60.0,
        runtime: str = "python3.13",
        log_group: str | None = None,
        region: str = "us-east-1",
        account: str = "123456789012",
        has_share: bool = False,
    ) -> None:
        self.name = name
        self.arn = f"arn:aws:lambda:{region}:{account}:function:{name}"
        self.cold_starts = 0
        self._handler, self._code = handler, code
        self._region, self._runtime, self._log_group = region, runtime, log_group or f"/aws/lambda/{name}"
        self._memory_mb, self._timeout = memory_mb, timeout_seconds
        self._own_share = self._share = share_of(memory_mb) if has_share else None
        self._place = place or Here()
        self._env = dict(env or {})
        self._generation = 0
        self._idle: list[ExecutionEnvironment] = []
        self._all: dict[ExecutionEnvironment, int] = {}
        self._logs: list[LogLine] = []
        self._reports: list[Report] = []
        self._lock = threading.Lock()
        self._is_stopped = False
        self.on_invoke: Callable[[bytes], None] = lambda _payload: None
        """Called at the start of each invocation: scenarios hang mishaps on it."""

    def override(self, env: Mapping[str, str]) -> None:
        """Change the environment, as a new deployment would: invocations that begin from now on see it."""
        with self._lock:
            self._env.update(env)
            self._generation += 1
        self.cool()

    def set_cpu_share(self, percent: float | None) -> None:
        """Percent of one processor for each of its processes from now on; None for what the host was made with."""
        with self._lock:
            self._share = self._own_share if percent is None else percent / 100
            environments = list(self._all)
        for environment in environments:
            environment.set_share(self._share)

    def crash(self) -> None:
        """Kill every process of the function, whatever it is doing."""
        with self._lock:
            environments = list(self._all)
        for each in environments:
            each.kill()

    def invoke(self, payload: bytes) -> FunctionResult:
        """Run the function in an idle environment, or in a new one."""
        self.on_invoke(payload)
        invocation = CURRENT.get() or Invocation()
        environment, trouble, is_cold = self._take_idle(), None, False
        if environment is None:
            environment, trouble = self._start(INIT_SECONDS)
            is_cold = True
        began = time.monotonic()
        if trouble is not None and not self._is_stopped:
            # Lambda repeats a failed init phase as part of the first invocation, whose time-out then limits both.
            self._discard(environment)
            environment, trouble = self._start(self._timeout)
        try:
            if trouble is not None:
                raise trouble
            result, kind = self._run(environment, invocation, payload, began), None
        except Trouble as problem:
            result, kind = problem.result(invocation.request_id), problem.kind
        self._report(environment, invocation, began, is_cold, kind or ("error" if result.error else None))
        self._give_back(environment)
        return result

    def warm(self, count: int = 1) -> None:
        """Start processes until `count` are idle, so that the next calls are not cold. RuntimeError if it fails."""
        while len(self._idle) < count:
            environment, trouble = self._start(INIT_SECONDS)
            if trouble is not None:
                self._discard(environment)
                raise RuntimeError(trouble.result("").payload.decode())
            self._give_back(environment)

    def cool(self) -> None:
        """End the idle processes, so that the next invocation is cold."""
        while (environment := self._take_idle()) is not None:
            self._discard(environment)

    def logs(self) -> list[LogLine]:
        """Everything the function's processes printed, in order of arrival."""
        with self._lock:
            return list(self._logs)

    def reports(self) -> list[Report]:
        """What each invocation that is over took, in order of its end."""
        with self._lock:
            return list(self._reports)

    def stop(self) -> None:
        """End every process this host started."""
        with self._lock:
            self._is_stopped = True
            self._idle.clear()
            environments = list(self._all)
        for each in environments:
            self._discard(each)

    def _start(self, seconds: float) -> tuple[ExecutionEnvironment, Trouble | None]:
        """A new environment after its init phase, which may take so long."""
        with self._lock:
            if self._is_stopped:
                raise RuntimeError(f"function host {self.name} is stopped")
            self.cold_starts += 1
            env, generation, number = dict(self._env), self._generation, self.cold_starts
            share = self._share
        log = (self._log_group, f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{number:032x}")
        known = variables(self.name, self._handler, self._memory_mb, self._region, self._code, self._runtime, log, env)
        client = [str(Path(skew.__file__))] if skew.VARIABLE in env else ["-m", "awslambdaric"]
        argv = [*PYTHON, *client, self._handler]
        environment = ExecutionEnvironment(self._place, argv, known, self._code, self._memory_mb, self._keep, share)
        with self._lock:
            self._all[environment] = generation
            if self._is_stopped:  # meanwhile
                environment.kill()
        return environment, environment.init(seconds)

    def _run(
        self, environment: ExecutionEnvironment, invocation: Invocation, payload: bytes, began: float
    ) -> FunctionResult:
        until = began + self._timeout
        deadline = time.time() + until - time.monotonic()
        work = Work(invocation.request_id, payload or b"{}", int(deadline * 1000), self.arn, invocation.trace)
        return environment.run(work, until, self._timeout)

    def _take_idle(self) -> ExecutionEnvironment | None:
        with self._lock:
            while self._idle:
                environment = self._idle.pop()
                if environment.is_usable:
                    return environment
                del self._all[environment]
                environment.end()
            return None

    def _give_back(self, environment: ExecutionEnvironment) -> None:
        """Kept for the next invocation, unless it is broken or of an earlier deployment."""
        with self._lock:
            is_current = self._all.get(environment) == self._generation
            if environment.is_alive and is_current and not self._is_stopped:
                self._idle.append(environment)
                return
        self._discard(environment)

    def _discard(self, environment: ExecutionEnvironment) -> None:
        environment.end()
        with self._lock:
            self._all.pop(environment, None)

    def _report(
        self,
        environment: ExecutionEnvironment,
        invocation: Invocation,
        began: float,
        is_cold: bool,
        error_type: str | None,
    ) -> None:
        report = Report(
            invocation.request_id,
            environment.pid,
            duration_ms=(time.monotonic() - began) * 1000,
            init_ms=environment.init_seconds * 1000 if is_cold else None,
            memory_mb=self._memory_mb,
            max_memory_mb=environment.peak_mb,
            error_type=error_type,
        )
        with self._lock:
            self._reports.append(report)

    def _keep(self, line: LogLine) -> None:
        with self._lock:
            self._logs.append(line)
