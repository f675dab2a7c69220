"""Who carries whom: a group's private subnet, the NAT its routes point at, and the address that the internet sees."""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.report.markup import Html, join, tag
from natkeeper_lab.report.record import Group, Run

WIDTH = 380
ROW = 82
BOX = 46
TOP = 20
LEFT, MIDDLE, RIGHT = (0, 90), (130, 230), (272, 380)
"""Where the columns begin and end: subnet, NAT, address."""
MOST_LETTERS = 15


def topology(run: Run) -> Html | None:
    """Before and after, side by side where there is room, and the same as a table."""
    if not run.before and not run.after:
        return None
    sides = [(words, groups) for words, groups in (("before", run.before), ("after", run.after)) if groups]
    figures = [tag("figure", tag("figcaption", words), _picture(words, groups)) for words, groups in sides]
    return join(tag("div", *figures, class_="sides"), _table(run))


def carrier(group: Group, groups: Sequence[Group]) -> str:
    """The group whose NAT carries this one, or the name of what does when it is no group's NAT; empty for nobody."""
    wanted = group.carried_by
    for each in groups:
        if wanted and wanted in (each.name, each.nat, f"NAT {each.name}"):
            return each.name
    return wanted


def _picture(words: str, groups: Sequence[Group]) -> Html:
    names = [each.name for each in groups]
    carriers = {each.name: carrier(each, groups) for each in groups}
    others = [each for each in dict.fromkeys(carriers.values()) if each and each not in names]
    height = TOP + ROW * (len(groups) + len(others)) - (ROW - BOX) + 12
    middle = {name: TOP + ROW * place + BOX / 2 + 6 for place, name in enumerate([*names, *others])}
    drawn: list[Html] = [
        tag("text", said, x=x, y=11, class_="head")
        for said, x in (("private subnet", LEFT[0]), ("NAT", MIDDLE[0]), ("internet sees", RIGHT[0]))
    ]
    for group in groups:
        y = middle[group.name]
        drawn.append(tag("rect", x=-6, y=y - BOX / 2 - 6, width=WIDTH + 12, height=BOX + 12, rx=4, class_="zone"))
    drawn += [_ways(group, carriers[group.name], middle) for group in groups]
    for group in groups:
        y, tables = middle[group.name], len(group.tables)
        held = "1 route table" if tables == 1 else f"{tables} route tables"
        drawn.append(_box(LEFT, y, f"zone {group.name}", held if tables else "", "subnet", ", ".join(group.tables)))
        idle = group.name not in carriers.values()
        drawn.append(_box(MIDDLE, y, f"NAT {group.name}", group.nat, "nat idle" if idle else "nat", group.nat))
        drawn.append(
            _box(RIGHT, y, group.address or "unknown", f"Elastic IP of {group.name}", "address", group.address)
        )
    drawn += [_box(MIDDLE, middle[each], each, "", "nat", each) for each in others]
    return tag(
        "svg", *drawn, viewBox=f"-7 0 {WIDTH + 14} {height}", class_="topology", role="img",
        aria_label=f"Topology {words}: {_sentence(groups)}",
    )  # fmt: skip


def _ways(group: Group, carried_by: str, middle: dict[str, float]) -> Html:
    """The way out: subnet to NAT, NAT to address. Drawn with dashes when it is not the group's own NAT."""
    y = middle[group.name]
    if not carried_by:
        x = (LEFT[1] + MIDDLE[0]) / 2
        cross = f"M{x - 6} {y - 6}L{x + 6} {y + 6}M{x + 6} {y - 6}L{x - 6} {y + 6}"
        return tag("path", d=f"M{LEFT[1]} {y}H{x}{cross}", class_="way none")
    there, kind = middle[carried_by], "way home" if carried_by == group.name else "way away"
    shift = 0 if carried_by == group.name else 9 if there < y else -9
    out = _curve(LEFT[1], y, MIDDLE[0], there + shift)
    back = _curve(MIDDLE[1], there + shift, RIGHT[0], y)
    ways = (tag("path", d=each, class_=kind) for each in (out, back))
    return join(*ways, _tip(MIDDLE[0], there + shift, kind), _tip(RIGHT[0], y, kind))


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = (x2 - x1) * 0.6
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _tip(x: float, y: float, kind: str) -> Html:
    return tag("path", d=f"M{x - 6} {y - 4}L{x} {y}L{x - 6} {y + 4}", class_=f"{kind} tip")


def _box(column: tuple[int, int], y: float, name: str, below: str, kind: str, title: str) -> Html:
    width = column[1] - column[0]
    return tag(
        "g",
        tag("title", title or name),
        tag("rect", x=column[0], y=y - BOX / 2, width=width, height=BOX, rx=3),
        tag("text", _shortened(name), x=column[0] + 6, y=y - 3 if below else y + 4, class_="name"),
        tag("text", _shortened(below), x=column[0] + 6, y=y + 13, class_="below") if below else None,
        class_=f"box {kind}",
    )


def _shortened(words: str) -> str:
    """The two ends of a name: an instance's id is told by its last letters."""
    return words if len(words) <= MOST_LETTERS else f"{words[:6]}…{words[-7:]}"


def _sentence(groups: Sequence[Group]) -> str:
    parts = []
    for each in groups:
        by = carrier(each, groups)
        parts.append(f"zone {each.name} is carried by {named(by, groups)} and seen as {each.address or 'unknown'}")
    return "; ".join(parts) + "."


def named(by: str, groups: Sequence[Group]) -> str:
    return "nothing" if not by else f"NAT {by}" if by in [each.name for each in groups] else by


def _table(run: Run) -> Html:
    head = ("zone", "", "carried by", "internet sees", "its NAT", "route tables")
    rows = []
    for name in dict.fromkeys(each.name for each in (*run.before, *run.after)):
        for words, groups in (("before", run.before), ("after", run.after)):
            found = next((each for each in groups if each.name == name), None)
            if found is None:
                continue
            by = carrier(found, groups)
            tables = [tag("li", f"{table} → {target}" if target else table) for table, target in found.tables.items()]
            cells = (
                tag("td", words, data_label="when", class_="brief"),
                tag("td", named(by, groups), class_=None if by == name else "differs", data_label="carried by"),
                tag("td", found.address or "—", data_label="internet sees", class_="code brief"),
                tag("td", found.nat or "—", data_label="its NAT", class_="code"),
                tag("td", tag("ul", *tables) if tables else "—", data_label="route tables", class_="code"),
            )
            rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    top = tag(
        "thead", tag("tr", *(tag("th", each or tag("span", "when", class_="unseen"), scope="col") for each in head))
    )
    return tag("table", tag("caption", "Who carries whom", class_="unseen"), top, tag("tbody", *rows), class_="cards")
