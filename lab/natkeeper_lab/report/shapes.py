"""What the drawings are made of: marks that differ in shape as well as colour, labelled stretches, columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import Moment
from natkeeper_lab.report.scale import Window, percent, seconds

MOST_MARKS = 400
"""More marks than this in one row are drawn as columns of a histogram."""
COLUMNS = 480
LABEL_LEVELS = ((0.18, "always"), (0.07, "w1"), (0.025, "w2"), (0.008, "w3"))
"""The share of the width that a label needs, and the drawing's width (in the style sheet) from which it is shown."""
LONGEST_TITLE = 300

_PATHS = {
    "dot": "M0-4.5A4.5 4.5 0 1 1 0 4.5A4.5 4.5 0 1 1 0-4.5Z",
    "ring": "M0-4A4 4 0 1 1 0 4A4 4 0 1 1 0-4Z",
    "up": "M0-5L5.5 4.5H-5.5Z",
    "down": "M0 5L5.5-4.5H-5.5Z",
    "diamond": "M0-6L6 0L0 6L-6 0Z",
    "square": "M-4-4H4V4H-4Z",
    "cross": "M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5",
    "small": "M-2.5-2.5L2.5 2.5M2.5-2.5L-2.5 2.5",
}


def definitions() -> Html:
    """The shapes and hatchings, once a page."""
    marks = (tag("path", id=f"m-{name}", d=path) for name, path in _PATHS.items())
    hatch = (_hatch(name, width) for name, width in (("maybe", 6), ("away", 7), ("seen", 4)))
    inside = tag("defs", *marks, *hatch)
    return tag("svg", inside, class_="defs", width=0, height=0, aria_hidden="true", focusable="false")


def _hatch(name: str, size: int) -> Html:
    turned = 135 if name == "seen" else 45
    stroke = tag("line", x1=0, y1=0, x2=0, y2=size, class_=f"h-{name}")
    ground = tag("rect", width=size, height=size, class_=f"g-{name}")
    units = f'patternUnits="userSpaceOnUse" patternTransform="rotate({turned})"'
    return Html(f'<pattern id="h-{name}" width="{size}" height="{size}" {units}>{ground}{stroke}</pattern>')


def mark(shape: str, x: str, y: float, kind: str, title: str) -> Html:
    """One mark, with what it stands for as its tooltip."""
    return tag("use", _title(title), href=f"#m-{shape}", x=x, y=y, class_=f"m {kind}")


def stretch(
    window: Window, start: float, end: float, y: float, height: float, *, kind: str, label: str, title: str
) -> Html:
    """A stretch of time with its label inside, cut off where it ends."""
    share = (min(end, window.end) - max(start, window.start)) / window.span
    level = next((name for least, name in LABEL_LEVELS if share >= least), None)
    words = tag("text", label, x=5, y=height / 2 + 4, class_=level) if level and label else None
    box = tag("rect", width="100%", height="100%")
    edge = tag("rect", width=2, height="100%", class_="edge")
    place = {"x": window.x(start), "width": window.width(start, end), "y": y, "height": height}
    return tag("svg", _title(title), box, edge, words, class_=f"s {kind}", **place)


def span(window: Window, start: float, end: float, y: float, height: float, *, kind: str, title: str) -> Html:
    """A bar from one instant to another; its outline keeps it visible when it is thinner than a pixel."""
    place = {"x": window.x(start), "width": window.width(start, end), "y": y, "height": height}
    return tag("rect", _title(title), class_=kind, **place)


def columns(moments: Sequence[Moment], window: Window, y: float, height: float, kind: str) -> Html:
    """Many moments as a histogram: a column's height is the root of its count, so that single calls stay visible."""
    counted = Counter(window.column(each.at, COLUMNS) for each in moments if each.at is not None)
    most = max(counted.values(), default=1)
    wide = window.span / COLUMNS
    drawn = []
    for column, count in sorted(counted.items()):
        tall = max(2.0, height * (count / most) ** 0.5)
        title = f"{seconds(window.start + column * wide)}: {count} in {seconds(wide)}"
        place = {"x": percent(column / COLUMNS), "width": percent(1 / COLUMNS), "y": y + height - tall, "height": tall}
        drawn.append(tag("rect", _title(title), class_=f"column {kind}", **place))
    return join(*drawn)


def said(moment: Moment, *, after: float | None = None) -> str:
    """A moment as a tooltip."""
    words = [each for each in (moment.group and f"[{moment.group}]", moment.kind, moment.text) if each]
    if moment.kind and moment.text.startswith(moment.kind):
        words.remove(moment.kind)
    if moment.error:
        words.append(f"error: {moment.error}")
    if moment.seconds:
        words.append(f"({seconds(moment.seconds * 1000, ' ms')})")
    lasting = "" if after is None else f" for {seconds(after)}"
    return f"{seconds(moment.at)}{lasting}: {' '.join(words)}"


def _title(words: str) -> Html | None:
    short = words if len(words) <= LONGEST_TITLE else words[: LONGEST_TITLE - 1] + "…"
    return tag("title", short) if words else None
