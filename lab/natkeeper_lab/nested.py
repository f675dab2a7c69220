"""Runs a function in a sandbox of its own inside this one: a fork, so that what is imported need not be again.

Called by `scenario.many`, from a process that is inside `sandbox` and has one thread. Standard library only.
Three processes: one that makes the namespaces, process 1 in them, and the function's. Each dies with the one before
it, and whatever is in there with process 1 (pid_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from natkeeper_lab import sandbox

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000  # linux/sched.h
MS_REC, MS_PRIVATE = 0x4000, 1 << 18  # linux/mount.h
FAILED = 70  # EX_SOFTWARE, sysexits.h

_libc = ctypes.CDLL(None, use_errno=True)


def start(task: Callable[[], int], output: int) -> int:
    """The process id of a child that runs `task` in fresh namespaces, and ends with what it returned.

    What it prints goes to the descriptor `output`. Wait for it with `os.wait`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(output, 1)
        os.dup2(output, 2)
        _end_with(lambda: _around(task))
    return pid


def _around(task: Callable[[], int]) -> int:
    """Whoever unshares the process namespace stays outside of it; the next child is its process 1."""
    sandbox.die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    _checked(_libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET), "unshare")
    pid = os.fork()
    if pid == 0:
        _end_with(lambda: _first(task))
    return sandbox.reap_until(pid)


def _first(task: Callable[[], int]) -> int:
    sandbox.die_with_parent()
    _checked(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    _checked(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount /proc")
    sandbox.furnish()
    pid = os.fork()
    if pid == 0:
        random.seed()  # or every lab would draw the same
        _end_with(task)
    return sandbox.reap_until(pid)


def _end_with(work: Callable[[], int]) -> NoReturn:
    """A fork must never return into its parent's code."""
    code = FAILED
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
