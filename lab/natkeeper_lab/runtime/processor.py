"""The processor share of a function process: so much of one processor as its MemorySize brings, as on Lambda.

Made by `runtime.environment`. Where this machine lets its user make control groups, the kernel keeps the share, as
it does for Lambda's micro virtual machines; elsewhere a thread stops the process and lets it go on. Standard library
only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from typing import Protocol

from natkeeper_lab.sandbox import CGROUPS, CONTROL_GROUPS

FULL_MB = 1769
"""MemorySize that brings one whole processor; less brings its share.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
PERIOD = 0.02
"""Seconds in which a process may use its share of that time. AWS publishes no period; a longer one makes single calls
later and changes nothing of the sum."""
LEAST = 0.001
"""Seconds of a period; the kernel takes no smaller quota (Documentation/scheduler/sched-bwc.rst)."""
GLANCE = 0.001
"""Seconds between two looks at the processor time of a process that is stopped and let go."""


def share_of(memory_mb: int) -> float:
    """Processors that a function of this MemorySize may use; above 1 for more than `FULL_MB`."""
    return memory_mb / FULL_MB


class Limiter(Protocol):
    """Keeps one process within a share. Whoever freezes the process does it through here."""

    def limit(self, share: float | None) -> None:
        """Processors that the process may use from now on; None for no limit."""

    def freeze(self) -> None:
        """The process stands still."""

    def thaw(self) -> None:
        """The process goes on."""

    def end(self) -> None:
        """The process is gone: nothing of the limiter is left."""


def limiter_of(pid: int) -> Limiter:
    """The kernel's where control groups can be made here, else one that stops the process."""
    with contextlib.suppress(OSError):
        return ControlGroup(pid)
    return StopAndGo(pid)


class Unlimited:
    """Keeps no share: the process has all that the machine gives it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def limit(self, share: float | None) -> None:
        """Nothing, for who wants a share asks for another limiter."""

    def freeze(self) -> None:
        _send(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        _send(self._pid, signal.SIGCONT)

    def end(self) -> None:
        """Nothing is left."""


class ControlGroup(Unlimited):
    """A control group with one process. OSError where this machine lets none be made.

    Ten times the usual weight: on Lambda a share is a promise too, and here others may want the processor.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._is_old = (CGROUPS / "cpu" / "cpu.cfs_quota_us").exists()
        root = CGROUPS / "cpu" if self._is_old else CGROUPS
        self._path = root / f"{CONTROL_GROUPS}{uuid.uuid4().hex}"
        if not self._is_old and "cpu" not in (root / "cgroup.subtree_control").read_text().split():
            raise OSError("the processor cannot be shared out here")
        self._path.mkdir()
        try:
            self._write(*(("cpu.shares", "10240") if self._is_old else ("cpu.weight", "1000")))
            self._write("cgroup.procs", str(pid))
        except OSError:
            self._path.rmdir()
            raise

    def limit(self, share: float | None) -> None:
        period = round(PERIOD * 1_000_000)
        quota = None if share is None else round(max(LEAST, share * PERIOD) * 1_000_000)
        if self._is_old:
            self._write("cpu.cfs_period_us", str(period))
            self._write("cpu.cfs_quota_us", str(-1 if quota is None else quota))
        else:
            self._write("cpu.max", f"{'max' if quota is None else quota} {period}")

    def end(self) -> None:
        """The kernel removes a group once its last process has been waited for, which may take it a moment."""
        for _ in range(50):
            try:
                self._path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(GLANCE)
            else:
                return

    def _write(self, file: str, text: str) -> None:
        (self._path / file).write_text(text)


class StopAndGo(Unlimited):
    """Stops the process when it has used its share of a period, and lets it go on when the period is over. What it used
    beyond its share is taken from the periods that follow."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._clock = (~pid << 3) | 2  # clock_getcpuclockid(3): the processor time of another process
        self._share: float | None = None
        self._is_frozen = False
        self._is_over = threading.Event()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def limit(self, share: float | None) -> None:
        with self._change:
            self._share = share
            self._change.notify()
            if share is not None and self._thread is None:
                self._thread = threading.Thread(target=self._keep, name=f"share-{self._pid}", daemon=True)
                self._thread.start()

    def freeze(self) -> None:
        with self._change:
            self._is_frozen = True
            _send(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with self._change:
            self._is_frozen = False
            self._change.notify()
            _send(self._pid, signal.SIGCONT)

    def end(self) -> None:
        with self._change:
            self._is_over.set()
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _keep(self) -> None:
        debt = 0.0
        while True:
            with self._change:
                if self._is_over.is_set():
                    return
                if self._is_frozen or self._share is None:
                    self._change.wait()
                    debt = 0.0
                    continue
                share = self._share
            debt = self._one_period(share, debt)

    def _one_period(self, share: float, debt: float) -> float:
        """What the process owes when the period is over, in seconds of processor time."""
        began, used_before = time.monotonic(), self._used()
        allowed = share * PERIOD - debt
        while (left := began + PERIOD - time.monotonic()) > 0 and not self._is_over.is_set():
            if self._used() - used_before >= allowed:
                self._stand(left)
                break
            time.sleep(min(GLANCE, left))
        passed = time.monotonic() - began
        return max(0.0, debt + self._used() - used_before - share * passed)

    def _stand(self, seconds: float) -> None:
        with self._change:
            if not self._is_frozen:
                _send(self._pid, signal.SIGSTOP)
        self._is_over.wait(seconds)
        with self._change:
            if not self._is_frozen:
                _send(self._pid, signal.SIGCONT)

    def _used(self) -> float:
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it ended; its maker finds that out by itself
            self._is_over.set()
            return 0.0


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
