"""A piece of the run as lanes on one axis of time: the whole run, or an incident from close by."""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.report.lanes import Lane, downtime_start, lanes, outages_of
from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import LANES, Incident, Run
from natkeeper_lab.report.scale import Window, seconds, tick, window
from natkeeper_lab.report.shapes import said, span

AXIS = 20.0
FLAG_ROW = 20.0
TITLE = 19.0
GAP = 5.0
FLAGS_APART = 0.05
"""Share of the width below which two steps' flags would cover each other."""
MOST_FLAG_ROWS = 4
TICKS = ((5, "k0"), (12, "k1"), (40, "k2"), (120, "k3"))
"""Ticks for a drawing of each width; the style sheet shows one set."""
LONGEST_LABEL = 5


def whole_run(run: Run) -> Window:
    """From the first moment to the last, with a little room so that nothing lies on the edge."""
    instants = [0.0, run.seconds, *(each.at for each in run.moments)]
    instants += [at for each in run.outages for at in (each.start, each.end)]
    tight = window(instants)
    return window((tight.start, tight.end), pad=tight.span * 0.012)


def close_up(run: Run, incident: Incident) -> Window | None:
    """From before the first lost connection to after the recovery; None when the incident has no place in time."""
    start = downtime_start(run, incident)
    if start is None or incident.opened_at is None:
        return None
    ends = [each.end for each in outages_of(run, incident)]
    known = [start, incident.opened_at, incident.recovered_at, start + (incident.high or 0.0), *ends]
    tight = window(known)
    return window((tight.start, tight.end), pad=max(0.3, tight.span * 0.15))


def draw(run: Run, shown: Window, name: str, *, zooms: bool) -> Html:
    """The figure. Without a script it is whole and readable; with one it can be stretched."""
    flags, y = _flags(run, shown)
    top = y
    drawn: list[Lane] = []
    titles: list[tuple[str, float]] = []
    for lane in lanes(run, shown):
        y += GAP
        found = lane(y + TITLE)
        titles.append((found.title if found.markup else f"{found.title.split(':')[0]}: none", y + 13))
        y += TITLE + (found.height if found.markup else 0)
        drawn += [found] if found.markup else []
    height = round(y + 6)
    outages = [
        span(shown, each.start, end, top, height - top, kind="shade", title="")
        for each in run.outages
        for end in (shown.end if each.end is None else each.end,)
        if shown.holds(each.start, end)
    ]
    plot = tag(
        "svg",
        tag("title", f"timeline from {seconds(shown.start)} to {seconds(shown.end)}"),
        *_axis(shown, height, TICKS if zooms else TICKS[:2]),
        *outages,
        *_lines(run, shown, height),
        *(each.markup for each in drawn),
        flags,
        width="100%",
        height=height,
        role="img",
        aria_label=_in_words(run, shown),
    )
    inside = tag("div", plot, class_="plot", data_start=shown.start, data_end=shown.end)
    scroll = tag("div", inside, class_="scroll", tabindex=0 if zooms else None, role="group", aria_label=name)
    figure = tag("div", scroll, _labels(titles, drawn, height), class_="chart" + (" zooms" if zooms else ""))
    return tag("figure", figure)


def _axis(shown: Window, height: int, levels: Sequence[tuple[int, str]]) -> list[Html]:
    drawn = []
    for about, name in levels:
        distance, found = shown.ticks(about)
        marks = []
        for at in found:
            share = (at - shown.start) / shown.span
            anchor = "start" if share < 0.05 else "end" if share > 0.95 else "middle"
            x = shown.x(at)
            marks.append(tag("line", x1=x, x2=x, y1=AXIS - 3, y2=height))
            marks.append(tag("text", tick(at, distance), x=x, y=12, text_anchor=anchor))
        kind = f"ticks {name}" if len(levels) > 2 or name != levels[-1][1] else f"ticks {name} last"
        drawn.append(tag("g", *marks, class_=kind, aria_hidden="true"))
    return drawn


def _flags(run: Run, shown: Window) -> tuple[Html, float]:
    """The steps' numbers below the axis, one row lower where they would touch; and where the lanes may begin."""
    drawn, ends = [], [-1.0]
    for number, step in enumerate(run.steps, 1):
        if step.at is None or not shown.holds(step.at):
            continue
        share = (step.at - shown.start) / shown.span
        row = next((k for k, end in enumerate(ends) if share - end >= FLAGS_APART), len(ends))
        row = min(row, MOST_FLAG_ROWS - 1)
        ends += [share] if row == len(ends) else []
        ends[row] = share
        half = 8 if number < 100 else 12
        box = tag("rect", x=-half, y=0, width=2 * half, height=16, rx=3)
        words = tag("text", str(number), y=12, text_anchor="middle")
        place = {"x": shown.x(step.at), "y": AXIS + 2 + row * FLAG_ROW}
        drawn.append(tag("svg", tag("title", f"step {number}, {said(step)}"), box, words, class_="flag", **place))
    return join(*drawn), AXIS + 4 + (FLAG_ROW * len(ends) if drawn else 0)


def _lines(run: Run, shown: Window, height: int) -> list[Html]:
    places = [shown.x(each.at) for each in run.steps if each.at is not None and shown.holds(each.at)]
    return [tag("line", x1=x, x2=x, y1=AXIS + 10, y2=height, class_="step") for x in dict.fromkeys(places)]


def _labels(titles: list[tuple[str, float]], drawn: list[Lane], height: int) -> Html:
    """Lane titles and group names, over the drawing, so that they stay when it is scrolled."""
    words = [tag("text", title, x=0, y=y, class_="title") for title, y in titles]
    for lane in drawn:
        for name, y in lane.rows:
            short = name if len(name) <= LONGEST_LABEL else "…" + name[1 - LONGEST_LABEL :]
            words.append(tag("text", short, x=0, y=y + 4))
    return tag("svg", *words, class_="labels", width="100%", height=height, aria_hidden="true", focusable="false")


def _in_words(run: Run, shown: Window) -> str:
    counts = [
        f"{sum(1 for each in run.lanes[lane] if each.at is not None and shown.holds(each.at))} {what}"
        for lane, what in zip(LANES, ("packet marks", "events", "API calls", "decisions", "route changes"), strict=True)
    ]
    return f"Timeline from {seconds(shown.start)} to {seconds(shown.end)}: {', '.join(counts)}. The rows are below."
