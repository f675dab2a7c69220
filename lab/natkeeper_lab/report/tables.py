"""What the drawings show, in rows: expectations, flows, incidents from close by, and everything that happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from natkeeper_lab.report.lanes import downtime_start, outages_of
from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import Incident, Moment, Run
from natkeeper_lab.report.scale import Window, clock, percent, seconds
from natkeeper_lab.report.timeline import close_up, draw

OPEN_ROWS = 80
"""A table of at most so many rows is shown open."""
CLOSE_ROWS = 40
LANE_NAMES = {"steps": "step", "packets": "packet", "events": "event", "api": "API", "decisions": "decision"}
INSIDE: dict[bool | None, tuple[str, str]] = {
    True: ("✓ inside the interval", "good"),
    False: ("✕ outside the interval", "bad"),
    None: ("? cannot be compared", "open"),
}


def badge(passed: bool | None) -> Html:
    """The outcome as a word with a shape."""
    words, kind = {True: ("✓ passed", "good"), False: ("✕ failed", "bad"), None: ("? not judged", "open")}[passed]
    return tag("strong", words, class_=f"badge {kind}")


def steps(run: Run) -> Html | None:
    """The numbered steps under the timeline."""
    if not run.steps:
        return None
    items = []
    for step in run.steps:
        what = join(tag("code", step.kind or "step"), " ", tag("code", step.about) if step.about else None)
        items.append(tag("li", tag("span", seconds(step.at), class_="at"), " ", what, " ", step.text))
    return tag("ol", *items, class_="steps")


def expectations(run: Run) -> Html | None:
    """Expected, seen and when; what failed comes first."""
    if not run.expectations:
        return None
    rows = []
    for each in sorted(run.expectations, key=lambda one: {False: 0, None: 1, True: 2}[one.passed]):
        words = {True: "✓ held", False: "✕ failed", None: "? not judged"}[each.passed]
        kind = {True: "good", False: "bad", None: "open"}[each.passed]
        rows.append(
            tag(
                "tr",
                tag("th", each.text, scope="row"),
                tag("td", tag("strong", words, class_=kind), data_label="outcome", class_="brief"),
                tag("td", each.expected or "—", data_label="expected"),
                tag("td", each.seen or "—", data_label="seen"),
                tag("td", seconds(each.at), data_label="when", class_="number"),
                class_="failed" if each.passed is False else None,
            )
        )
    return _table("Expectations", ("expectation", "outcome", "expected", "seen", "when"), rows, "cards")


def flows(run: Run) -> Html | None:
    """How many connections lived through it, and how long the longest was silent."""
    if not run.flows:
        return None
    rows = []
    for each in run.flows:
        share = each.survived / each.opened if each.survived is not None and each.opened else None
        kept = "—" if each.survived is None else f"{each.survived} of {'?' if each.opened is None else each.opened}"
        lost = None if share is None or each.opened is None else each.opened - (each.survived or 0)
        rows.append(
            tag(
                "tr",
                tag("th", each.group or "—", scope="row"),
                tag("td", each.speaks or "—", data_label="who speaks"),
                tag("td", kept, " ", _bar(share), data_label="survived", class_="number"),
                tag("td", "—" if lost is None else str(lost), data_label="lost", class_="number"),
                tag("td", seconds(each.longest_gap_ms, " ms"), data_label="longest silence", class_="number"),
            )
        )
    return _table("Connections", ("zone", "who speaks", "survived", "lost", "longest silence"), rows, "cards")


def _bar(share: float | None) -> Html | None:
    if share is None:
        return None
    kept = tag("rect", width=percent(min(max(share, 0.0), 1.0)), height="100%", class_="kept")
    return tag("svg", kept, class_="bar", width=90, height=9, aria_hidden="true", focusable="false")


def incident(run: Run, number: int, booked: Incident) -> Html:
    """One incident: its message, its interval beside what the lab saw, and what happened in what order."""
    mine = outages_of(run, booked)
    says = f"{seconds(booked.low)} to {seconds(booked.high)}" if booked.high is not None else "—"
    truth = tag("strong", INSIDE[booked.contains_truth][0], class_=INSIDE[booked.contains_truth][1])
    facts = (
        ("natkeeper says", says),
        ("the lab saw", join(seconds(booked.seen), " ", truth)),
        ("opened", seconds(booked.opened_at)),
        ("recovered", seconds(booked.recovered_at)),
        ("closed", seconds(booked.closed_at)),
    )
    shown = close_up(run, booked)
    heading = tag("h3", f"{number}. zone {booked.group or '?'}: {booked.cause or 'cause unknown'}")
    message = tag("blockquote", tag("p", booked.message)) if booked.message else None
    terms = tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in facts), class_="facts")
    close = None
    if shown is not None:
        start = downtime_start(run, booked)
        zero = "the first lost connection" if mine else "where the interval is drawn from"
        close = join(
            draw(run, shown, f"incident {number} from close by", zooms=False),
            _close_rows(run, shown, start or 0.0, zero),
        )
    return tag("article", heading, message, terms, _ruler(booked), close, class_="incident")


def _ruler(booked: Incident) -> Html | None:
    """The interval as a bar from nought, and what was seen as a diamond on it: is the one inside the other?"""
    if booked.high is None:
        return None
    low = booked.low or 0.0
    window = Window(0.0, max(booked.high, booked.seen or 0.0, 0.001) * 1.08)
    drawn = [tag("line", x1=0, x2="100%", y1=20, y2=20, class_="base")]
    if low > 0:
        drawn.append(tag("rect", x=0, width=window.x(low), y=13, height=14, class_="certain"))
    drawn.append(tag("rect", x=window.x(low), width=window.width(low, booked.high), y=13, height=14, class_="maybe"))
    for at, words in ((low, f"≥ {seconds(low)}"), (booked.high, f"≤ {seconds(booked.high)}")):
        anchor = "end" if at / window.end > 0.7 else "start"
        drawn.append(tag("line", x1=window.x(at), x2=window.x(at), y1=8, y2=32, class_="end"))
        drawn.append(tag("text", words, x=window.x(at), y=45, text_anchor=anchor))
    if booked.seen is not None:
        share = booked.seen / window.end
        anchor = "end" if share > 0.6 else "start"
        drawn.append(tag("use", href="#m-diamond", x=window.x(booked.seen), y=20, class_="m truth"))
        drawn.append(tag("text", f"seen {seconds(booked.seen)}", x=window.x(booked.seen), y=8, text_anchor=anchor))
    words = f"between {seconds(low)} and {seconds(booked.high)}; the lab saw {seconds(booked.seen)}"
    return tag("svg", *drawn, class_="ruler", width="100%", height=50, role="img", aria_label=f"Downtime {words}")


def _close_rows(run: Run, shown: Window, zero: float, meaning: str) -> Html | None:
    """What changed something or was seen, in order; reads are only in the table of everything."""
    found = [each for each in run.moments if each.at is not None and shown.holds(each.at)]
    found = [each for each in found if each.lane != "api" or each.is_write or each.error]
    if not found:
        return None
    rows = []
    for each in found[:CLOSE_ROWS]:
        after = ((each.at or 0.0) - zero) * 1000
        cells = (tag("td", f"{after:+.0f}" if round(after) else "0", class_="number"), *_cells(each))
        rows.append(tag("tr", *cells))
    table = _table("In order", ("ms", "lane", "zone", "what"), rows, "moments")
    more = f", the first {CLOSE_ROWS}" if len(found) > CLOSE_ROWS else ""
    title = tag("summary", f"In order: {len(found)} {'row' if len(found) == 1 else 'rows'}{more}; 0 is {meaning}")
    return tag("details", title, table, open=len(found) <= OPEN_ROWS)


def everything(run: Run) -> Html | None:
    """Every moment of the run as one table, which a script can filter."""
    found = run.moments
    if not found:
        return None
    rows = [tag("tr", tag("td", clock(each.at), class_="number"), *_cells(each), data_lane=each.lane) for each in found]
    table = _table("Everything in order of time", ("seconds", "lane", "zone", "what"), rows, "moments")
    opened = len(found) <= OPEN_ROWS
    title = tag(
        "summary",
        f"{len(found)} {'row' if len(found) == 1 else 'rows'}: steps, packets, events, API calls, decisions and routes",
    )
    unprinted = (
        None if opened else tag("p", "Closed when printed; open it first to have it on paper.", class_="on-paper")
    )
    return join(tag("details", title, _filters(found), table, class_="everything", open=opened), unprinted)


def _filters(found: Iterable[Moment]) -> Html:
    """Shown by the script, which alone can use them."""
    present = {each.lane for each in found}
    boxes = [
        tag("label", tag("input", type="checkbox", value=lane, checked=True), f" {name}")
        for lane, name in (*LANE_NAMES.items(), ("routes", "route"))
        if lane in present
    ]
    words = tag("label", "containing ", tag("input", type="search", size=18))
    return tag("div", *boxes, words, tag("output"), class_="filters", hidden=True)


def _cells(each: Moment) -> tuple[Html, ...]:
    lane = ("write" if each.is_write else "read") if each.lane == "api" else LANE_NAMES.get(each.lane, "route")
    what: list[str | None] = []
    if each.kind and each.lane != "routes" and each.kind not in each.text:
        what += [tag("code", each.kind), " "]
    if each.about and each.about not in each.text and each.lane in ("events", "steps"):
        what += [tag("code", each.about), " "]
    what.append(each.text)
    if each.about and each.lane == "decisions":
        what += [" ", tag("span", f"carried by {each.about}", class_="dim")]
    if each.seconds:
        what += [" ", tag("span", seconds(each.seconds * 1000, " ms"), class_="dim")]
    if each.error:
        what += [" ", tag("strong", f"✕ {each.error}", class_="bad")]
    return tag("td", lane), tag("td", each.group), tag("td", *what)


def _table(caption: str, head: Sequence[str], rows: Sequence[Html], kind: str) -> Html:
    top = tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head)))
    return tag("table", tag("caption", caption, class_="unseen"), top, tag("tbody", *rows), class_=kind)
