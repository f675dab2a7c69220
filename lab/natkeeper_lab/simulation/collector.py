"""Python's collector of cycles, held off while a schedule is played. Called by `simulation.campaign`.

A schedule makes some ten thousand objects and lives for milliseconds; the modules that are imported have hundreds of
thousands. Looking through all of them again and again took a fifth of a campaign's time, and found next to nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def held_off() -> Iterator[None]:
    """No collection until its end; then the collector looks at what is new since the first schedule, and at no more."""
    _set_aside()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def _set_aside() -> None:
    """What there is before the first schedule, modules above all, is there to stay."""
    gc.collect()
    gc.freeze()
