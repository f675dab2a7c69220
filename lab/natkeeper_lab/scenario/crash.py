"""A crash of the controller in the middle of an invocation, in the lab. Called by `scenario.scene_hands`."""

from __future__ import annotations

import threading
from typing import Any

from natkeeper_lab.stack import Stack

WITHOUT_A_CALL = 0.02
"""So long after its start an invocation that is to make no call at all is ended."""


class Crash:
    """Armed until the next invocation has made its calls."""

    def __init__(self, stack: Stack, after_calls: int) -> None:
        self._left = after_calls
        self._is_invoked = False
        self._lock = threading.Lock()
        self._host = stack.hosts["controller"]
        self._former = self._host.on_invoke
        self._host.on_invoke = self._invoked
        stack.api.watch(self._called, lambda _event, _fate: None)

    def _invoked(self, payload: bytes) -> None:
        self._former(payload)
        self._host.on_invoke = self._former
        self._is_invoked = True
        if self._left == 0:
            threading.Timer(WITHOUT_A_CALL, self._host.crash).start()

    def _called(self, call: Any) -> None:
        if not self._is_invoked or call.is_by_hand or self._left == 0:
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._host.crash()
