"""Things that happen later: state transitions, delayed events, addresses that grow back.

`api.world` owns one; mends and the event bus put work on it. May not import moto or boto3.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable


class Agenda:
    """Each job runs in its own thread, so that a guest's slow boot delays nobody else."""

    def __init__(self) -> None:
        self._timers: set[threading.Timer] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self.failures: list[BaseException] = []

    def after(self, seconds: float, job: Callable[[], None]) -> None:
        """Run `job` once, `seconds` from now, unless closed by then."""

        def run() -> None:
            try:
                if not self._is_closed:
                    job()
            except Exception as error:
                traceback.print_exc()
                self.failures.append(error)
            finally:
                with self._lock:
                    self._timers.discard(timer)

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        with self._lock:
            if self._is_closed:
                return
            self._timers.add(timer)
            timer.start()

    def close(self, wait_seconds: float = 5.0) -> None:
        """Cancel what has not begun and wait for what has."""
        with self._lock:
            self._is_closed = True
            timers = list(self._timers)
        for timer in timers:
            timer.cancel()
        for timer in timers:
            if timer is not threading.current_thread():
                timer.join(wait_seconds)
