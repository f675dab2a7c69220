"""The page: what was tried and whether it held, then the evidence, from the widest view to the last row."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from natkeeper_lab.report import tables
from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import Incident, Run, read
from natkeeper_lab.report.scale import seconds
from natkeeper_lab.report.shapes import definitions
from natkeeper_lab.report.timeline import close_up, draw, whole_run
from natkeeper_lab.report.topology import topology

KEY = (
    ("seen", "no new connection, as the lab saw it"),
    ("certain", "natkeeper: certainly down"),
    ("maybe", "natkeeper: possibly down"),
    ("home", "on its own NAT"),
    ("out", "on another's"),
)
SHOWN_INCIDENTS = 12
"""Incidents drawn from close by; the others are in the table of incidents only."""


def write(record: Mapping[str, Any], path: Path) -> None:
    """Writes the page of a run."""
    path.write_text(render(record), encoding="utf-8", newline="\n")


def render(record: Mapping[str, Any]) -> str:
    """The page of a run: one HTML document that needs nothing else."""
    run = read(record)
    sections = (
        ("timeline", "Timeline", _timeline(run)),
        ("incidents", "Incidents", _incidents(run)),
        ("expectations", "Expectations", tables.expectations(run) or _none("Nothing was expected of this run.")),
        ("topology", "Before and after", topology(run) or _none("The record does not say who carried whom.")),
        ("flows", "Connections", tables.flows(run) or _none("No connections were held open in this run.")),
        ("everything", "Everything, in order", tables.everything(run) or _none("Nothing was recorded.")),
    )
    links = tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in sections), aria_label="Sections")
    main = (_section(*each) for each in sections)
    script, style = _inline("script.js"), _inline("style.css")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script, style)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{_outcome(run)}: {run.name}"),
        tag("style", style),
    )
    body = tag("body", definitions(), _header(run), links, tag("main", *main), _footer(), tag("script", script))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def verdict(run: Run) -> str:
    """What came of it, in one sentence."""
    held = sum(1 for each in run.expectations if each.passed)
    failed = [each for each in run.expectations if each.passed is False]
    if failed:
        first = failed[0]
        seen = f", seen: {first.seen}" if first.seen else ""
        start = f"{len(failed)} of {len(run.expectations)} expectations did not hold, first “{first.text}”{seen}"
    elif run.passed is False:
        start = "The run failed, although no expectation did"
    elif not run.expectations:
        start = "Nothing was expected"
    else:
        start = _all(held) if held == len(run.expectations) else f"{held} of {len(run.expectations)} expectations held"
    return "; ".join([start, *_down(run), *_survived(run)]) + "."


def _all(held: int) -> str:
    return "The only expectation held" if held == 1 else f"All {held} expectations held"


def _down(run: Run) -> list[str]:
    if not run.outages:
        return ["the lab saw no new connection fail"] if run.lanes["packets"] or run.incidents else []
    endless = [each for each in run.outages if each.end is None]
    if endless:
        return [f"zone {endless[0].group}'s egress was still down when the run ended", *_judged(run)]
    total = sum((each.end or each.start) - each.start for each in run.outages)
    zones = ", ".join(dict.fromkeys(each.group for each in run.outages))
    whose = f"egress of zone {zones}" if zones else "egress"
    return [f"{whose} was down for {seconds(total)} in {_count(len(run.outages), 'outage')}", *_judged(run)]


def _judged(run: Run) -> list[str]:
    judged = [each.contains_truth for each in run.incidents if each.contains_truth is not None]
    if False in judged:
        return [f"{judged.count(False)} of {_count(len(judged), 'measured interval')} missed what the lab saw"]
    if not judged:
        return []
    return [
        "the measured interval contains it" if len(judged) == 1 else "each measured interval contains what the lab saw"
    ]


def _survived(run: Run) -> list[str]:
    known = [each for each in run.flows if each.opened is not None and each.survived is not None]
    if not known:
        return []
    opened, survived = sum(each.opened or 0 for each in known), sum(each.survived or 0 for each in known)
    return [f"{survived} of {_count(opened, 'established connection')} survived"]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _outcome(run: Run) -> str:
    return {True: "passed", False: "failed", None: "not judged"}[run.passed]


def _header(run: Run) -> Html:
    calls = run.lanes["api"]
    writes = sum(1 for each in calls if each.is_write)
    facts = (
        ("zones", ", ".join(run.zones or run.groups) or "—"),
        ("started", run.started_at or "—"),
        ("lasted", seconds(run.seconds)),
        ("API calls", f"{len(calls)} ({_count(writes, 'write')})" if calls else "—"),
        ("incidents", str(len(run.incidents))),
    )
    terms = tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in facts), class_="facts")
    return tag(
        "header",
        tag("p", "natkeeper lab: report of a run", class_="kicker"),
        tag("h1", run.name),
        tag("p", run.why, class_="why") if run.why else None,
        tag("p", tables.badge(run.passed), " ", verdict(run), class_="verdict"),
        terms,
    )


def _timeline(run: Run) -> Html:
    buttons = [
        tag("button", words, type="button", data_zoom=zoom, title=title)
        for words, zoom, title in (("-", "out", "zoom out"), ("+", "in", "zoom in"), ("whole run", "all", "whole run"))
    ]
    for number, each in enumerate(run.incidents[:SHOWN_INCIDENTS], 1):
        shown = close_up(run, each)
        if shown is not None:
            span = {"data_start": shown.start, "data_end": shown.end}
            buttons.append(tag("button", f"incident {number}", type="button", data_zoom="to", **span))
    controls = tag("div", *buttons, tag("output"), class_="controls", hidden=True)
    samples = (tag("li", _sample(kind), " ", words) for kind, words in KEY)
    key = tag("ul", *samples, class_="key")
    return join(controls, draw(run, whole_run(run), "timeline of the whole run", zooms=True), key, tables.steps(run))


def _incidents(run: Run) -> Html:
    if not run.incidents:
        return _none("natkeeper booked no incident.")
    shown = (tables.incident(run, number, each) for number, each in enumerate(run.incidents[:SHOWN_INCIDENTS], 1))
    rest = (
        tag("li", f"{number}. {_incident_line(each)}")
        for number, each in enumerate(run.incidents[SHOWN_INCIDENTS:], SHOWN_INCIDENTS + 1)
    )
    return join(*shown, tag("ul", *rest, class_="rest") if len(run.incidents) > SHOWN_INCIDENTS else None)


def _incident_line(each: Incident) -> str:
    interval = f"{seconds(each.low)} to {seconds(each.high)}, the lab saw {seconds(each.seen)}"
    return f"zone {each.group or '?'}: {each.cause}, {interval}. {each.message}"


def _section(key: str, title: str, inside: Html) -> Html:
    heading = tag("h2", title, id=f"{key}-title")
    return tag("section", heading, inside, id=key, aria_labelledby=f"{key}-title")


def _sample(kind: str) -> Html:
    box = tag("rect", width="100%", height="100%")
    return tag("svg", box, class_=f"s {kind} sample", width=26, height=12, aria_hidden="true", focusable="false")


def _footer() -> Html:
    said = (
        "Times are seconds since the run's clock zero, measured by the lab on one machine. What the lab saw comes from"
        " new connections that a private host opens all the time; natkeeper's interval comes from its own prober, which"
        " knows nothing of the lab's. This page loads nothing and runs without a network."
    )
    return tag("footer", tag("p", said))


def _none(words: str) -> Html:
    return tag("p", words, class_="dim")


def _inline(name: str) -> Html:
    """A file of this package, to be put inside the page as it is."""
    return Html(files("natkeeper_lab.report").joinpath(name).read_text(encoding="utf-8"))


def _policy(script: str, style: str) -> str:
    """Only this script and this style, and no request to anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (script, style))
    inside = "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
    return inside.format(*hashes)
