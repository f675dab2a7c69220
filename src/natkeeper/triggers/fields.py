"""The two ways an event is refused, and reading one field or refusing.

Called by the other modules of `natkeeper.triggers`. What is refused is quoted, so it is cut and made plain: a message
goes into the log and into Lambda's answer, and half a surrogate pair can be written to neither. Imports nothing of
ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import Repr

LONGEST_REFUSAL = 400
LONGEST_TEXT = 512
"""Of a name, an id or an ARN: a function's ARN has 200 characters at most (Lambda API reference, "Invoke")."""
SHOWN = 80

_repr = Repr()
_repr.maxlevel, _repr.maxstring, _repr.maxother, _repr.maxlong = 3, SHOWN, SHOWN, SHOWN


class Refusal(ValueError):
    """What `Foreign` and `Malformed` have in common: a short text that can be written anywhere."""

    def __init__(self, text: str) -> None:
        super().__init__(plain(text)[:LONGEST_REFUSAL])


class Foreign(Refusal):
    """Not for us: another account, region, source, kind of event, group or function."""


class Malformed(Refusal):
    """For us, but it cannot be read. The message names the field and the remedy."""


def plain(text: str) -> str:
    """The text with what UTF-8 cannot encode escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str:
    """The value, briefly, however deep or long it is."""
    try:
        return _repr.repr(value)[:SHOWN]
    except (ValueError, RecursionError):  # a number of thousands of digits, or more levels than the stack has
        return f"a {type(value).__name__}"


def text_of(source: Mapping[str, object], field: str, remedy: str) -> str:
    value = source.get(field)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{field}: expected a string, got {shown(value)}; {remedy}")
    if len(value) > LONGEST_TEXT or plain(value) != value:
        raise Malformed(f"{field}: {shown(value)} is too long or no text; {remedy}")
    return value


def object_of(source: Mapping[str, object], field: str, remedy: str) -> Mapping[str, object]:
    value = source.get(field)
    if not isinstance(value, Mapping):
        raise Malformed(f"{field}: expected an object, got {shown(value)}; {remedy}")
    return value


def list_of(source: Mapping[str, object], field: str, remedy: str) -> list[object]:
    value = source.get(field)
    if not isinstance(value, list):
        raise Malformed(f"{field}: expected a list, got {shown(value)}; {remedy}")
    return value
