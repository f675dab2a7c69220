"""The two ways an event is refused, and reading one field or refusing.

Called by the other modules of `natkeeper.triggers`. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping


class Foreign(ValueError):
    """Not for us: another account, region, source, kind of event or group."""


class Malformed(ValueError):
    """For us, but it cannot be read. The message names the field and the remedy."""


def text_of(source: Mapping[str, object], field: str, remedy: str) -> str:
    value = source.get(field)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{field}: expected a string, got {value!r:.80}; {remedy}")
    return value


def object_of(source: Mapping[str, object], field: str, remedy: str) -> Mapping[str, object]:
    value = source.get(field)
    if not isinstance(value, Mapping):
        raise Malformed(f"{field}: expected an object, got {value!r:.80}; {remedy}")
    return value


def list_of(source: Mapping[str, object], field: str, remedy: str) -> list[object]:
    value = source.get(field)
    if not isinstance(value, list):
        raise Malformed(f"{field}: expected a list, got {value!r:.80}; {remedy}")
    return value
