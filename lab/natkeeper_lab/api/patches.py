"""Replaces attributes of moto's classes and modules for the life of one Api, and puts them back.

`api.server` makes one per Api; the mends fill it. May not import moto or boto3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING = object()


class Patches:
    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Set `owner.name`; the answer is what was there before, for wrapping (None if there was nothing)."""
        own = vars(owner).get(name, _MISSING)
        before = getattr(owner, name, None)
        self._undo.append((owner, name, own))
        setattr(owner, name, value)
        return before

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a function by `make(original)`."""
        self.replace(owner, name, make(getattr(owner, name)))

    def restore(self) -> None:
        """Undo everything, last first."""
        while self._undo:
            owner, name, own = self._undo.pop()
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
