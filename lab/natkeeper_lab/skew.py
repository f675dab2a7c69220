"""A wall clock that is wrong, inside one function process: everything of natkeeper that reads it reads so much later.

`runtime.host` starts a process with this file instead of `-m awslambdaric` when its environment says
NATKEEPER_LAB_CLOCK_SKEW (seconds), as one would with a wrapper script
(https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html); no other process ever sees it. The process's
deadline and its monotonic clock stay right, as they would on a host whose time was set wrongly. Standard library only,
and nothing of the lab: it is not on the process's path.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import runpy
import sys
import time
from types import SimpleNamespace
from typing import Any

VARIABLE = "NATKEEPER_LAB_CLOCK_SKEW"
ASKING = tuple(f"natkeeper.adapters.{each}" for each in ("clock", "ledger", "ec2"))
"""Modules that ask for the present; others name the type, and must go on meaning the one that everybody means."""


def apply(seconds: float) -> None:
    """Shift `datetime.now` and `time.time` as the modules of natkeeper that are loaded see them."""
    shifted = _datetime(seconds)
    clock = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})
    clock.time = lambda: time.time() + seconds
    for name, module in list(sys.modules.items()):
        if not name.startswith("natkeeper"):
            continue
        if getattr(module, "time", None) is time:
            module.time = clock  # type: ignore[attr-defined]
        if name in ASKING and getattr(module, "datetime", None) is datetime.datetime:
            module.datetime = shifted  # type: ignore[attr-defined]


def _datetime(seconds: float) -> Any:
    """`now` answers with plain datetimes, so that nothing downstream meets a type it does not know."""

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    return Shifted


def main() -> None:
    """The handler's modules first, so that there is something to shift; then the runtime client as ever."""
    with contextlib.suppress(Exception):  # the runtime client will meet the same error, and reports it
        importlib.import_module(sys.argv[1].rpartition(".")[0])
    apply(float(os.environ[VARIABLE]))
    runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
