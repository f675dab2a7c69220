"""The timeline's lanes: what each one draws, from the top of its first row downwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import Incident, Moment, Outage, Run
from natkeeper_lab.report.scale import Window, seconds
from natkeeper_lab.report.shapes import MOST_MARKS, columns, mark, said, span, stretch
from natkeeper_lab.report.topology import carrier, named

ROW = 22.0
TALL_ROW = 30.0
MOST_CROSSES = 60
"""Failed calls that are crossed in a row of columns, spread over its width."""
MOST_TABLES = 6
"""Route tables of one group that get a row; the others are in the table of events."""
FIGURES_LEVELS = ((0.5, "always"), (0.24, "f1"), (0.08, "w2"), (0.026, "w3"))
MOVES = re.compile(r"fail-?over|go-?home|switch|move|last-resort", re.I)
STILL = re.compile(r"unobserved|unknown|blind|hold|held|external|pause|throttl|exhaust", re.I)
LOST = re.compile(r"lost|fail|down|reset|refus|time-?out|timed|gap|dead|error", re.I)
ENDING = re.compile(r"stop|shut|terminat|warn|interrupt|rebalance", re.I)
STARTING = re.compile(r"running|pending|start|launch", re.I)


@dataclass(frozen=True)
class Lane:
    """A lane, drawn: its title, its rows' labels with their places, its markup and its height."""

    title: str
    rows: tuple[tuple[str, float], ...]
    markup: Html
    height: float


def lanes(run: Run, window: Window) -> list[Callable[[float], Lane]]:
    """Every lane of a drawing, each waiting to be told where it begins."""
    drawing = [
        lambda y: packets(run, window, y),
        lambda y: events(run, window, y),
        lambda y: api(run, window, y),
        lambda y: decisions(run, window, y),
        lambda y: routes(run, window, y),
    ]
    return [lambda y: downtime(run, window, y), *drawing] if run.groups_down else drawing


def downtime(run: Run, window: Window, y: float) -> Lane:
    """What the lab saw above natkeeper's interval: solid for the least, hatched up to the most it can have been."""
    groups = _in_order(run, run.groups_down)
    rows: list[tuple[str, float]] = []
    drawn: list[Html | None] = []
    for group in groups:
        rows.append((group, y + TALL_ROW / 2))
        for outage in (each for each in run.outages if each.group == group):
            end = window.end if outage.end is None else outage.end
            if window.holds(outage.start, end):
                lasted = "did not end" if outage.end is None else seconds(end - outage.start)
                title = f"the lab saw no new connection from {seconds(outage.start)}: {lasted}"
                drawn.append(span(window, outage.start, end, y + 4, 9, kind="seen", title=title))
        drawn += [_interval(run, each, window, y + 16) for each in run.incidents if each.group == group]
        drawn += _figures(run, group, window, y + 19)
        y += TALL_ROW
    return Lane(
        "downtime: seen by the lab; natkeeper's interval below it", tuple(rows), join(*drawn), TALL_ROW * len(groups)
    )


def _figures(run: Run, group: str, window: Window, y: float) -> list[Html]:
    """Each incident's numbers beside its bars, as far as there is room up to the next one."""
    placed = [
        (start, each)
        for each in run.incidents
        if each.group == group and (start := downtime_start(run, each)) is not None
    ]
    placed.sort(key=lambda each: each[0])
    drawn = []
    taken = window.start
    for number, (start, incident) in enumerate(placed):
        ends = [each.end for each in outages_of(run, incident) if each.end is not None]
        end = max([start + (incident.high or 0.0), *ends])
        following = min(placed[number + 1][0] if number + 1 < len(placed) else window.end, window.end)
        is_after = following - end >= (start - taken) / 2
        share = (following - end if is_after else start - taken) / window.span
        level = next((name for least, name in FIGURES_LEVELS if share >= least), None)
        if incident.seen is not None and level is not None and window.holds(start) and window.holds(end):
            words = f"{seconds(incident.seen)} in {seconds(incident.low, '')} to {seconds(incident.high)}"
            place = {"x": window.x(end if is_after else start), "dx": 7 if is_after else -7, "y": y}
            anchor = "start" if is_after else "end"
            drawn.append(tag("text", words, text_anchor=anchor, class_=f"figures {level}", **place))
        taken = following if is_after else end
    return drawn


def _interval(run: Run, incident: Incident, window: Window, y: float) -> Html | None:
    start = downtime_start(run, incident)
    if start is None or incident.high is None:
        return None
    low, high = incident.low or 0.0, incident.high
    if not window.holds(start, start + high):
        return None
    title = f"natkeeper: down for at least {seconds(low)} and at most {seconds(high)}"
    maybe = span(window, start + low, start + high, y, 10, kind="maybe", title=title)
    return join(maybe, span(window, start, start + low, y, 10, kind="certain", title=title) if low > 0 else None)


def outages_of(run: Run, incident: Incident) -> list[Outage]:
    """The outages that an incident is about: its group's, from its evidence to its recovery."""
    if incident.opened_at is None:
        return []
    start = incident.opened_at - (incident.high or 0.0) - 1
    end = max(incident.recovered_at or incident.closed_at or incident.opened_at, incident.opened_at) + 1
    mine = (each for each in run.outages if each.group == incident.group)
    return [each for each in mine if each.start <= end and (each.end is None or each.end >= start)]


def downtime_start(run: Run, incident: Incident) -> float | None:
    """Where the interval is drawn from: the first lost connection, or else as early as recovery allows."""
    if mine := outages_of(run, incident):
        return min(each.start for each in mine)
    if incident.opened_at is None:
        return None
    if incident.recovered_at is None:
        return incident.opened_at
    return min(incident.opened_at, incident.recovered_at - (incident.high or 0.0))


def packets(run: Run, window: Window, y: float) -> Lane:
    """What hosts in the private subnets saw."""

    def look(moment: Moment) -> tuple[str, str]:
        return ("cross", "bad") if LOST.search(moment.kind) else ("dot", "good")

    return _by_group(run, window, y, "packets", "packets: ✕ lost, ● arriving", look)


def events(run: Run, window: Window, y: float) -> Lane:
    """What EventBridge delivered."""
    found = _visible(run.lanes["events"], window)
    title = "events: ▲ starting, ▼ ending, ◆ other"
    return Lane(title, (("", y + ROW / 2),), _marks(found, window, y, _event_look), ROW)


def _event_look(moment: Moment) -> tuple[str, str]:
    state = moment.kind or moment.text
    if ENDING.search(state):
        return "down", "away"
    return ("up", "home") if STARTING.search(state) else ("diamond", "plain")


def api(run: Run, window: Window, y: float) -> Lane:
    """Writes above, reads below; a failed call is a cross whatever it was."""
    found = _visible(run.lanes["api"], window)
    writes = [each for each in found if each.is_write]
    reads = [each for each in found if not each.is_write]
    failed = sum(1 for each in found if each.error)
    drawn = (_calls(writes, window, y, "write"), _calls(reads, window, y + ROW, "read"))
    errors = f", {failed} failed ✕" if failed else ""
    title = f"API calls: {len(writes)} {'write' if len(writes) == 1 else 'writes'}, {len(reads)} reads{errors}"
    return Lane(title, (("write", y + ROW / 2), ("read", y + ROW * 1.5)), join(*drawn), 2 * ROW)


def _calls(found: Sequence[Moment], window: Window, y: float, kind: str) -> Html:
    if len(found) > MOST_MARKS:
        spread = {window.column(each.at or 0.0, MOST_CROSSES): each for each in found if each.error}
        crosses = (mark("small", window.x(each.at or 0.0), y + 5, "bad small", said(each)) for each in spread.values())
        return join(columns(found, window, y + 2, ROW - 4, kind), *crosses)
    drawn = []
    for each in found:
        assert each.at is not None
        drawn.append(
            span(window, each.at, each.at + each.seconds, y + 4, ROW - 8, kind=f"call {kind}", title=said(each))
        )
    failed = [each for each in found if each.error]
    return join(*drawn, *(mark("cross", window.x(each.at or 0.0), y + ROW / 2, "bad", said(each)) for each in failed))


def decisions(run: Run, window: Window, y: float) -> Lane:
    """What the controller held to be true, from one decision to the next of another reason; moves have a diamond."""
    title = "decisions: reason, until the next; ◆ traffic is moved"
    groups = _in_order(run, (each.group for each in run.lanes["decisions"]))
    rows, drawn = [], []
    for group in groups:
        rows.append((group, y + ROW / 2))
        mine = [each for each in _placed(run.lanes["decisions"]) if each.group == group]
        runs = [(next(same), 1 + sum(1 for _ in same)) for _, same in groupby(mine, key=lambda each: each.kind)]
        if len(runs) > MOST_MARKS:
            drawn.append(columns(_visible(mine, window), window, y + 2, ROW - 4, "plain"))
        else:
            drawn += _decided(runs, window, y)
        y += ROW
    return Lane(title, tuple(rows), join(*drawn), ROW * max(1, len(groups)))


def _decided(runs: Sequence[tuple[Moment, int]], window: Window, y: float) -> list[Html]:
    drawn = []
    for place, (first, count) in enumerate(runs):
        start = first.at or 0.0
        end = (runs[place + 1][0].at or 0.0) if place + 1 < len(runs) else window.end
        if not window.holds(start, end):
            continue
        is_move = bool(MOVES.search(first.kind))
        kind = "moving" if is_move else "still" if STILL.search(first.kind) else "calm"
        times = f" ({count} times)" if count > 1 else ""
        title = said(first, after=end - start) + times
        label = f"   {first.kind}" if is_move else first.kind
        drawn.append(stretch(window, start, end, y + 2, ROW - 4, kind=kind, label=label, title=title))
        if is_move and window.holds(start):
            drawn.append(mark("diamond", window.x(start), y + ROW / 2, "away", said(first)))
    return drawn


def routes(run: Run, window: Window, y: float) -> Lane:
    """Which NAT each route table's default route points at; away from home is hatched."""
    rows, drawn = [], []
    top = y
    known = {each.name: list(each.tables) for each in run.before}
    for group in _in_order(run, (*known, *(each.group for each in run.lanes["routes"]))):
        changed = [each for each in _placed(run.lanes["routes"]) if each.group == group]
        tables = list(dict.fromkeys([*(each.about for each in changed), *known.get(group, [])]))
        for table in tables[:MOST_TABLES]:
            rows.append((group if table == tables[0] else "", y + ROW / 2))
            drawn += _pointed(run, group, table, [each for each in changed if each.about == table], window, y)
            y += ROW
    return Lane("routes: default route's target; hatched is away", tuple(rows), join(*drawn), max(ROW, y - top))


def _pointed(run: Run, group: str, table: str, changed: Sequence[Moment], window: Window, y: float) -> list[Html]:
    before = next((each for each in run.before if each.name == group), None)
    first = (changed[0].at or 0.0) if changed else window.end
    drawn = []
    if before is not None and window.holds(window.start, first):
        name = named(carrier(before, run.before), run.before) if before.carried_by else before.tables.get(table, "")
        kind = "home" if is_home(run, group, name) else "out"
        title = f"{table} → {name} until {seconds(first)}" if changed else f"{table} → {name}"
        drawn.append(stretch(window, window.start, first, y + 2, ROW - 4, kind=kind, label=name, title=title))
    for place, each in enumerate(changed):
        start = each.at or 0.0
        end = (changed[place + 1].at or 0.0) if place + 1 < len(changed) else window.end
        if window.holds(start, end):
            kind = "home" if is_home(run, group, each.kind) else "out"
            drawn.append(stretch(window, start, end, y + 2, ROW - 4, kind=kind, label=each.kind, title=said(each)))
    return drawn


def is_home(run: Run, group: str, name: str) -> bool:
    """Whether a target is the group's own NAT."""
    mine = [(each, side) for side in (run.before, run.after) for each in side if each.name == group]
    own = {each.nat for each, _ in mine if each.nat}
    own |= {target for each, side in mine if carrier(each, side) == group for target in each.tables.values()}
    return name in own | {f"NAT {group}"}


def _by_group(
    run: Run, window: Window, y: float, lane: str, title: str, look: Callable[[Moment], tuple[str, str]]
) -> Lane:
    groups = _in_order(run, (each.group for each in run.lanes[lane]))
    rows, drawn = [], []
    for group in groups:
        rows.append((group, y + ROW / 2))
        found = [each for each in _visible(run.lanes[lane], window) if each.group == group]
        drawn.append(_marks(found, window, y, look))
        y += ROW
    return Lane(title, tuple(rows), join(*drawn), ROW * max(1, len(groups)))


def _marks(found: Sequence[Moment], window: Window, y: float, look: Callable[[Moment], tuple[str, str]]) -> Html:
    if len(found) > MOST_MARKS:
        return columns(found, window, y + 2, ROW - 4, "plain")
    drawn = []
    for each in sorted(found, key=lambda one: look(one)[1] == "bad"):  # what was lost lies on top
        shape, kind = look(each)
        drawn.append(mark(shape, window.x(each.at or 0.0), y + ROW / 2, kind, said(each)))
    return join(*drawn)


def _placed(moments: Iterable[Moment]) -> list[Moment]:
    return sorted((each for each in moments if each.at is not None), key=lambda each: each.at or 0.0)


def _visible(moments: Iterable[Moment], window: Window) -> list[Moment]:
    return [each for each in _placed(moments) if window.holds(each.at or 0.0)]


def _in_order(run: Run, named: Iterable[str]) -> list[str]:
    """Groups as the run orders them."""
    found = set(named)
    return [each for each in run.groups if each in found] + ([""] if "" in found else [])
