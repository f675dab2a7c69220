"""The report of a run: that it says everything, keeps text text, needs nothing else, and can be read anywhere."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkeeper_lab.report import __main__ as command
from natkeeper_lab.report import render, write
from natkeeper_lab.report.markup import FOREIGN, VOID, clean
from tests.support import chromium

RECORD: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "record.json").read_text(encoding="utf-8"))
SECTIONS = ("timeline", "incidents", "expectations", "topology", "flows", "everything")
LARGE = 3000


class Page(HTMLParser):
    """A page as a strict reader sees it: what is not well-formed is an error, and every text and attribute is kept."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}: {names}"
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID - FOREIGN:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in FOREIGN, f"{tag} cannot end itself in HTML"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> inside {self.open[-1:]}"
        self.open.pop()
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with a blank where an element begins or ends."""
        return " ".join("".join(part or "\0" for part in self.texts).replace("\0", " ").split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The elements of a name that have these classes or attributes."""

        def fits(found: Mapping[str, str | None]) -> bool:
            return all(
                wanted in (found.get("class") or "").split() if key == "class_" else found.get(key) == wanted
                for key, wanted in attributes.items()
            )

        return [found for name, found in self.tags if name == tag and fits(found)]


def record(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RECORD), **changes}


def large() -> dict[str, Any]:
    """3,000 API calls in ten minutes, three zones, twenty incidents."""
    found = record(zones=["a", "b", "c"], seconds=600.0)
    found["lanes"]["api"] = [
        {"at": k / 5, "ms": 20 + k % 60, "operation": "DescribeInstances" if k % 9 else "ReplaceRoute",
         "text": "natkeeper's VPC", "error": "RequestLimitExceeded" if k % 100 == 99 else None, "is_write": k % 9 == 0}
        for k in range(LARGE)
    ]  # fmt: skip
    found["lanes"]["decisions"] = [
        {"at": k / 2, "group": "abc"[k % 3], "reason_code": ("at-rest", "healing")[k // 3 % 2], "carried_by": "a"}
        for k in range(1200)
    ]  # fmt: skip
    found["incidents"] = [
        {**RECORD["incidents"][0], "opened_at": 30.0 * k, "recovered_at": 30.0 * k + 1, "closed_at": None}
        for k in range(20)
    ]
    return found


# -- what it says


def test_it_has_every_section_and_the_verdict_in_a_sentence() -> None:
    page = Page(render(RECORD))
    assert [found["id"] for found in page.all("section")] == list(SECTIONS)
    assert "✓ passed" in page.text
    assert (
        "All 7 expectations held; egress of zone a was down for 3.503 s in 2 outages; each measured interval contains"
        " what the lab saw; 79 of 80 established connections survived." in page.text
    )


def test_every_row_of_the_record_is_a_row_of_the_table() -> None:
    page = Page(render(RECORD))
    for lane, rows in {**RECORD["lanes"], "steps": RECORD["steps"]}.items():
        assert len(page.all("tr", **{"data-lane": lane})) == len(rows), lane
    for text in (
        *(each["text"] for each in RECORD["expectations"]),
        *(each["message"] for each in RECORD["incidents"]),
    ):
        assert text in page.text


def test_the_interval_and_what_the_lab_saw_are_drawn_at_their_times() -> None:
    page = Page(render(RECORD))
    start, end = (float(page.all("div", class_="plot")[0][f"data-{side}"] or 0) for side in ("start", "end"))
    drawn = [(kind, each) for kind in ("seen", "certain", "maybe") for each in page.all("rect", class_=kind)[:2]]
    assert [kind for kind, _ in drawn].count("seen") == 2

    def seconds(percent: str | None) -> float:
        return float((percent or "").removesuffix("%")) / 100 * (end - start)

    seen = [(start + seconds(each["x"]), seconds(each["width"])) for kind, each in drawn if kind == "seen"]
    for (at, lasted), outage in zip(seen, RECORD["outages"], strict=True):
        assert at == pytest.approx(outage["from"], abs=0.01)
        assert lasted == pytest.approx(outage["to"] - outage["from"], abs=0.01)
    certain = next(each for kind, each in drawn if kind == "certain")
    assert seconds(certain["width"]) == pytest.approx(RECORD["incidents"][1]["low"], abs=0.01)


def test_a_failed_run_says_first_what_did_not_hold() -> None:
    failing = {"text": "never_down: b", "passed": False, "expected": "no loss", "seen": "3 of 200 lost", "at": 7.5}
    page = Page(render(record(passed=False, expectations=[*RECORD["expectations"], failing])))
    assert "✕ failed 1 of 8 expectations did not hold, first “never_down: b”, seen: 3 of 200 lost" in page.text
    rows = page.text.split("Expectations expectation")[1]
    assert rows.index("never_down: b") < rows.index(RECORD["expectations"][0]["text"])


def test_an_interval_that_misses_the_truth_is_called_so() -> None:
    wrong = {**RECORD["incidents"][1], "seen": 9.0}
    text = Page(render(record(incidents=[wrong]))).text
    assert "✕ outside the interval" in text
    assert "1 of 1 measured interval missed what the lab saw" in text


def test_an_outage_that_does_not_end_is_said() -> None:
    text = Page(render(record(outages=[{"group": "b", "from": 3.0, "to": None}]))).text
    assert "zone b's egress was still down when the run ended" in text


def test_topology_shows_who_carries_whom() -> None:
    after = copy.deepcopy(RECORD["topology"]["after"])
    after["groups"]["a"]["carried_by"] = "b"
    after["groups"]["b"]["carried_by"] = None
    page = Page(render(record(topology={"before": RECORD["topology"]["before"], "after": after})))
    words = [each["aria-label"] or "" for each in page.all("svg", class_="topology")]
    assert "zone a is carried by NAT a and seen as 198.51.100.10" in words[0]
    assert "zone a is carried by NAT b" in words[1]
    assert "zone b is carried by nothing" in words[1]
    assert (len(page.all("path", class_="away")), len(page.all("path", class_="none"))) == (4, 1)


def test_a_gateway_is_drawn_as_one_more_carrier() -> None:
    after = copy.deepcopy(RECORD["topology"]["after"])
    after["groups"]["a"]["carried_by"] = "gateway"
    label = Page(render(record(topology={"after": after}))).all("svg", class_="topology")[0]["aria-label"]
    assert "zone a is carried by gateway" in (label or "")


# -- what it needs


@pytest.mark.parametrize("found", [RECORD, large()], ids=["sample", "large"])
def test_it_refers_to_nothing_outside_itself(found: dict[str, Any]) -> None:
    html = render(found)
    assert not re.search(r"https?://", html)
    assert not re.search(r"@import|url\((?!#)|//[a-z0-9-]+\.[a-z]", html)
    ids = {attributes["id"] for _, attributes in Page(html).tags if "id" in attributes}
    for tag, attributes in Page(html).tags:
        assert not {"src", "srcset", "action", "data", "poster", "ping", "style"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        if "href" in attributes:
            target = attributes["href"] or ""
            assert target.startswith("#"), tag
            assert target[1:] in ids, tag
    assert "default-src 'none'" in (
        Page(html).all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"] or ""
    )


def test_ids_are_unique() -> None:
    ids = [attributes["id"] for _, attributes in Page(render(RECORD)).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


# -- what it bears


NASTY = st.one_of(
    st.sampled_from(
        [
            "</title><script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "' onmouseover='alert(1)",
            "</script><!--",
            "]]><svg/onload=alert(1)>",
            "&lt;b&gt; &amp; &#0; &notanentity",
            "\u202egnp.exe",
            "\x00\x1b[31m\ud800",
            "{} %s {{7*7}} $& \\1",
        ]
    ),
    st.text(st.characters(), max_size=40),
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=6,
)


def replaced(value: Any, text: str) -> Any:
    """The record with every text in it replaced."""
    if isinstance(value, dict):
        return {key: replaced(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, text) for each in value]
    return text if isinstance(value, str) else value


@settings(max_examples=60)
@given(NASTY)
def test_every_text_stays_text(text: str) -> None:
    """The same elements as for harmless words, whatever the words are, and the words are there."""
    page, harmless = Page(render(replaced(RECORD, text))), Page(render(replaced(RECORD, "harmless")))
    if text.strip():
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags} | {"text", "title", "code", "p"}
        assert len(page.all("script")) == 1
        assert len(page.all("tr")) == len(harmless.all("tr"))
    assert " ".join(clean(text).split()) in page.text
    page_bytes = render(replaced(RECORD, text)).encode("utf-8")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", page_bytes)


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything in a record is."""
    yield here
    children = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, each in children:
        yield from paths(each, (*here, key))


PATHS = [path for path in paths(RECORD) if path]


def at(found: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        found = found[key]
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_any_field_may_be_none_or_missing(path: tuple[Any, ...]) -> None:
    without = copy.deepcopy(RECORD)
    at(without, path[:-1])[path[-1]] = None
    Page(render(without))
    del at(without, path[:-1])[path[-1]]
    Page(render(without))


@settings(max_examples=60)
@given(st.sampled_from(PATHS), ANYTHING)
def test_any_field_may_be_of_another_shape(path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(RECORD)
    at(changed, path[:-1])[path[-1]] = value
    Page(render(changed))


def test_an_empty_record_is_a_page_that_claims_nothing() -> None:
    page = Page(render({}))
    assert "? not judged Nothing was expected." in page.text
    assert [found["id"] for found in page.all("section")] == list(SECTIONS)


def test_a_large_record_is_thinned_in_the_drawing_and_whole_in_the_table() -> None:
    html = render(large())
    page = Page(html)
    assert len(page.all("tr", **{"data-lane": "api"})) == LARGE
    assert len(page.all("rect", class_="column")) <= 480 * 3 * 2
    assert len(page.all("rect", class_="call")) < 1000
    assert "open" not in page.all("details", class_="everything")[0]
    assert len(html) < 2_500_000


def test_a_small_table_is_open() -> None:
    lanes = {"events": [{"at": k, "text": "NAT a is stopped", "instance": "i-1", "state": "stopped"} for k in range(5)]}
    page = Page(render({"lanes": lanes}))
    assert "open" in page.all("details", class_="everything")[0]


# -- the command


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    source, out = tmp_path / "record.json", tmp_path / "out.html"
    source.write_text(json.dumps(RECORD), encoding="utf-8")
    assert command.main([str(source), str(out)]) == 0
    assert out.read_text(encoding="utf-8") == render(RECORD)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{"])
def test_the_command_names_a_record_that_it_cannot_read(tmp_path: Path, capsys: Any, text: str) -> None:
    (tmp_path / "record.json").write_text(text, encoding="utf-8")
    assert command.main([str(tmp_path / "record.json"), str(tmp_path / "out.html")]) == 2
    assert "record.json" in capsys.readouterr().err


def test_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    write(record(why="half \ud800 a pair"), tmp_path / "out.html")
    assert "half \ufffd a pair" in (tmp_path / "out.html").read_text(encoding="utf-8")


# -- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Chromium]:
    if missing := chromium.why_not():
        if os.environ.get("CI"):  # every CI service sets it: there a skipped test is one that nobody ever sees
            pytest.fail(f"CI must look at the report: {missing}")
        pytest.skip(f"the report cannot be looked at: {missing}")
    with chromium.Chromium() as found:
        yield found


@pytest.fixture(params=["sample", "large", "empty"])
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = {"sample": RECORD, "large": large(), "empty": {}}[request.param]
    write(found, tmp_path / f"{request.param}.html")
    return tmp_path / f"{request.param}.html"


COLOURS = """(() => {
  const box = document.querySelector("header").getBoundingClientRect();
  return [getComputedStyle(document.body).backgroundColor, box.width, box.height];
})()"""
CUT_OFF = """[...document.querySelectorAll("body *:not(.unseen, .plot *, .scroll, .plot, .labels *, .labels, details:not([open]) *)")]
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((each) => each.tagName + "." + each.getAttribute("class"))"""  # noqa: E501


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_asks_the_network_for_nothing(
    browser: chromium.Chromium, shown: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.show(shown, width=width, dark=dark)
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask(CUT_OFF) == []
    background, wide, high = browser.ask(COLOURS)
    assert (background == "rgb(255, 255, 255)") is not dark
    assert wide > 0.85 * min(width, 1100)
    assert high > 80
    picture = browser.screenshot(tmp_path / "page.png", whole=False)
    assert picture.startswith(b"\x89PNG")
    blank = tmp_path / "blank.html"
    blank.write_text("<!DOCTYPE html><title>blank</title>", encoding="utf-8")
    assert browser.requests == [shown.resolve().as_uri()]
    assert browser.complaints == []
    browser.show(blank, width=width, dark=dark)
    assert len(picture) > 3 * len(browser.screenshot(tmp_path / "blank.png", whole=False))


def test_it_is_printed_on_a4(browser: chromium.Chromium, shown: Path, tmp_path: Path) -> None:
    browser.show(shown, width=1280, dark=True)
    pdf = browser.pdf(tmp_path / "page.pdf")
    assert pdf.startswith(b"%PDF")
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf)
    assert boxes
    assert {(round(float(w)), round(float(h))) for w, h in boxes} <= {(595, 842), (596, 842), (594, 842), (595, 841)}


def test_the_script_stretches_the_timeline_and_filters_the_table(browser: chromium.Chromium, tmp_path: Path) -> None:
    write(RECORD, tmp_path / "page.html")
    browser.show(tmp_path / "page.html", width=390)
    width = "document.querySelector('.zooms .plot').clientWidth"
    before = browser.ask(width)
    browser.ask("document.querySelectorAll('.controls button')[4].click()")
    assert browser.ask(width) > 3 * before
    middle = browser.ask(
        "(() => { const seen = document.querySelectorAll('.zooms .seen')[1].getBoundingClientRect();"
        " return (seen.left + seen.right) / 2 })()"
    )
    assert 0 < middle < 390, "the incident is in view"
    assert browser.ask("document.documentElement.scrollWidth") == 390
    visible = "document.querySelectorAll('.everything tbody tr:not([hidden])').length"
    assert browser.ask(visible) == sum(map(len, RECORD["lanes"].values())) + len(RECORD["steps"])
    browser.ask(
        "(() => { const words = document.querySelector('.filters input[type=search]'); words.value = 'replaceroute';"
        " words.dispatchEvent(new Event('input', { bubbles: true })) })()"
    )
    assert browser.ask(visible) == sum(each["operation"] == "ReplaceRoute" for each in RECORD["lanes"]["api"])


def test_without_scripts_everything_is_there_and_nothing_is_useless(browser: chromium.Chromium, tmp_path: Path) -> None:
    write(RECORD, tmp_path / "page.html")
    browser.show(tmp_path / "page.html", width=390, scripts=False)
    assert browser.ask("[...document.querySelectorAll('button, input')].filter((e) => e.offsetParent).length") == 0
    assert browser.ask("document.querySelector('.zooms .plot').getBoundingClientRect().height") > 200
    assert browser.ask("document.querySelectorAll('.zooms .ticks.k0 text').length") > 2
    assert browser.ask("document.documentElement.scrollWidth") == 390


def test_words_that_look_like_a_script_do_not_run(browser: chromium.Chromium, tmp_path: Path) -> None:
    words = "</title></style></script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    write(replaced(RECORD, words), tmp_path / "page.html")
    browser.show(tmp_path / "page.html", width=1280)
    assert browser.ask("window.ran") is None
    assert browser.complaints == []
    assert browser.ask("document.images.length + document.scripts.length") == 1
