"""Calls side by side in threads: boto3 clients are thread-safe and wait on sockets. Built by `wiring`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from natkeeper.errors import Trouble

WORKERS = 64
"""Three groups of 20 tables at the same time. Threads are only made when they are needed."""


class Threads:
    """Implements `ports.Together`. Nested use is safe: the caller's own thread runs the last call itself, and the pool
    is larger than the deepest fan-out that settings allow."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="natkeeper")

    def __call__(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        """The results in order; a `Trouble` stands in place of a result, anything else is raised."""
        if not calls:
            return []
        *others, last = calls
        futures = [self._pool.submit(each) for each in others]
        final = _attempt(last)
        return [*(_result(each) for each in futures), final]


def _attempt(call: Callable[[], object]) -> object:
    try:
        return call()
    except Trouble as trouble:
        return trouble


def _result(future: Future[object]) -> object:
    return _attempt(future.result)
