"""Markup that cannot be forgotten to be escaped: a plain string is text, only `Html` is markup."""

from __future__ import annotations

import re
from html import escape
from typing import Any

VOID = frozenset({"meta", "input", "br", "hr", "path", "rect", "line", "circle"})
"""Written without an end tag; SVG's shapes too when they have nothing inside (in HTML, only foreign elements may)."""
FOREIGN = frozenset({"path", "rect", "line", "circle", "use"})
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]"
    "|[\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U000ffffe\U000fffff\U0010fffe\U0010ffff]"
)
"""Controls, halves of surrogate pairs, non-characters, and what would turn the direction of the text around it."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def clean(text: str) -> str:
    """The text as a page can show it; what it cannot becomes U+FFFD, so that it is seen that something was there."""
    return _UNSHOWABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def escaped(text: str) -> Html:
    """Text as markup; markup as it is."""
    return text if isinstance(text, Html) else Html(escape(clean(text), quote=True))


def join(*parts: str | None, between: str = "") -> Html:
    """Several pieces as one; plain strings among them are escaped."""
    return Html(escaped(between).join(escaped(part) for part in parts if part is not None))


def tag(name: str, /, *children: str | None, **attributes: Any) -> Html:
    """An element. `class_` is class, `data_at` is data-at; None and False leave one out, True is bare."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = join(*children)
    if not inside and name in FOREIGN:
        return Html(f"<{name}{written}/>")
    if name in VOID and name not in FOREIGN:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{inside}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escaped(str(value))}"'
