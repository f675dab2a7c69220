"""A scenario file, parsed and checked into frozen facts. Every error names the file, the line and what is allowed.

Called by `scenario.run` and the command line. Needs no sandbox; touches nothing but the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natkeeper_lab.scenario.checks import check_event, check_one, event_in
from natkeeper_lab.scenario.parameters import stack_of
from natkeeper_lab.scenario.reading import BadScenario, Entry, choices, read
from natkeeper_lab.scenario.targets import Target, parse_target
from natkeeper_lab.scenario.values import check
from natkeeper_lab.scenario.vocabulary import CLOCKS, EXPECTATIONS, STEPS, TARGET_FORMS, Arg, Expect

ZONES = ("a", "b", "c")
MOST_FLOWS = 2000
"""Each is a file descriptor of one process, of which Linux gives 4096 to an ordinary user's by default (hard limit)."""
SPEAKS = ("client", "server", "both")

__all__ = ["BadScenario", "Expectation", "Flow", "Scenario", "Step", "parse"]


@dataclass(frozen=True)
class Flow:
    """Established connections of one group, opened before the first step. `every` in seconds."""

    group: str
    count: int
    speaks: str
    every: float
    port: int


@dataclass(frozen=True)
class Step:
    """One thing that happens, `at` seconds after the clock's zero."""

    at: float
    do: str
    target: Target | None
    args: Mapping[str, Any]
    line: int

    @property
    def text(self) -> str:
        """For people."""
        given = ", ".join(f"{key} {_shown(value)}" for key, value in self.args.items() if value is not None)
        return " ".join(filter(None, (self.do, self.target.text if self.target else "", f"({given})" if given else "")))


@dataclass(frozen=True)
class Expectation:
    """What must be true. `subject`: the group or switch it is about. Clocks in seconds; `after` counts steps from 1."""

    kind: str
    subject: Any
    args: Mapping[str, Any]
    within: float | None
    eventually: float | None
    after: int | None
    line: int

    @property
    def is_moment(self) -> bool:
        """About a moment and not about the whole run."""
        return EXPECTATIONS[self.kind].is_moment

    @property
    def text(self) -> str:
        """For people."""
        words = [f"{self.kind}" + (f" {self.subject}" if isinstance(self.subject, str) and self.subject else "")]
        words += [f"{key} {_shown(value)}" for key, value in self.args.items() if value is not None]
        clocks = (("within", self.within), ("eventually", self.eventually), ("after", self.after))
        return ", ".join(words + [f"{key} {value:g}" for key, value in clocks if value is not None])


@dataclass(frozen=True)
class Scenario:
    """A whole file."""

    path: Path
    name: str
    why: str
    zones: tuple[str, ...]
    stack: Mapping[str, str]
    flows: tuple[Flow, ...]
    timeline: tuple[Step, ...]
    expect: tuple[Expectation, ...] = field(default=())
    gateways: tuple[str, ...] = ()
    """Zones that have a NAT gateway."""

    @property
    def zones_with_probers_apart(self) -> tuple[str, ...]:
        """Whose prober has a subnet of its own, because the file puts that on another table: the workloads' stays."""
        found = {step.args["group"] for step in self.timeline if step.do == "associate_subnet"}
        return tuple(each for each in self.zones if each in found)

    @property
    def tables(self) -> int:
        """Private route tables per zone: as many as the file speaks of."""
        spoken = [step.target.index for step in self.timeline if step.target and step.target.kind == "table"]
        return 1 + max(spoken, default=0)

    def groups_asked(self, kind: str) -> list[str]:
        """Of which groups an expectation of this kind speaks."""
        return [
            group for group in self.zones if any((each.kind, each.subject) == (kind, group) for each in self.expect)
        ]


def parse(path: Path) -> Scenario:
    """The scenario in a file. Raises BadScenario for the first thing that does not follow the contract."""
    top = read(path)
    top.only(("name", "why", "zones", "stack", "flows", "timeline", "expect"), "a scenario")
    for key in ("name", "why", "zones", "timeline"):
        if key not in top:
            raise top.wrong(f"key {key!r} is missing")
    zones = _zones(top)
    stack, gateways = stack_of(top, zones)
    timeline = sorted((_step(each, zones) for each in _list(top, "timeline")), key=lambda each: each.at)
    return Scenario(
        path=path,
        name=_given(top, "name", Arg("text"), zones),
        why=_given(top, "why", Arg("text"), zones),
        zones=zones,
        stack=stack,
        flows=tuple(_flow(each, zones) for each in _list(top, "flows")),
        timeline=tuple(timeline),
        expect=tuple(_expectation(each, zones, len(timeline)) for each in _list(top, "expect")),
        gateways=gateways,
    )


def _zones(top: Entry) -> tuple[str, ...]:
    given = top["zones"]
    if not isinstance(given, list) or not given or tuple(given) != ZONES[: len(given)]:
        raise top.wrong(f"zones: {given!r}; write [a], [a, b] or [a, b, c]", "zones")
    return tuple(given)


def _list(top: Entry, key: str) -> list[Entry]:
    given = top.get(key)
    if given is None:
        return []
    if not isinstance(given, list):
        raise top.wrong(f"{key}: expected a list, each line beginning with `- `", key)
    for number, each in enumerate(given, 1):
        if not isinstance(each, Entry):
            raise top.wrong(f"{key}, entry {number}: {each!r} is not a mapping such as {{key: value}}", key)
    return given


def _given(entry: Entry, key: str, arg: Arg, zones: Sequence[str]) -> Any:
    """One value, checked; its default when it is not there."""
    if key not in entry:
        if arg.is_needed:
            raise entry.wrong(f"key {key!r} is missing")
        return arg.default
    try:
        return check(arg, entry[key], zones)
    except ValueError as problem:
        raise entry.wrong(f"{key}: {problem}", key) from None


def _flow(entry: Entry, zones: Sequence[str]) -> Flow:
    entry.only(("from", "count", "speaks", "every", "port"), "a flow")
    every = _given(entry, "every", Arg("seconds", False, 0.2), zones)
    port = _given(entry, "port", Arg("count", False, 443), zones)
    count = _given(entry, "count", Arg("count", False, 1), zones)
    if count > MOST_FLOWS:
        raise entry.wrong(
            f"count: {count} connections are more than one host of the lab can hold; {MOST_FLOWS} at most", "count"
        )
    if every <= 0:
        raise entry.wrong("every: a flow that never speaks shows nothing; give seconds above 0", "every")
    if port > 65535:
        raise entry.wrong(f"port: {port} is not between 1 and 65535", "port")
    return Flow(
        group=_given(entry, "from", Arg("group"), zones),
        count=count,
        speaks=_given(entry, "speaks", Arg("choice", False, "client", SPEAKS), zones),
        every=every,
        port=port,
    )


def _step(entry: Entry, zones: Sequence[str]) -> Step:
    do = entry.get("do")
    if "do" not in entry or "at" not in entry:
        raise entry.wrong("a step needs `at` and `do`, such as {at: 2, do: stop_instance, target: active@a}")
    if not isinstance(do, str) or do not in STEPS:
        raise entry.wrong(f"unknown verb {do!r}; {choices(str(do), STEPS)}", "do")
    verb = STEPS[do]
    entry.only(("at", "do", *(("target",) if verb.targets else ()), *verb.args), f"step {do}")
    target = None
    if "target" in entry:
        try:
            target = parse_target(entry["target"], zones, verb.targets)
        except ValueError as problem:
            raise entry.wrong(f"{do}: {problem}", "target") from None
    elif verb.needs_target:
        raise entry.wrong(f"step {do} needs a target; it may be {', '.join(verb.targets)} (forms: {TARGET_FORMS})")
    args = {key: _given(entry, key, arg, zones) for key, arg in verb.args.items()}
    if verb.one_of:
        check_one(entry, args, do, verb.one_of)
    if do == "send_event":
        check_event(entry, args)
    return Step(_given(entry, "at", Arg("seconds"), zones), do, target, args, entry.line)


def event_of(scenario: Path, step: Step) -> dict[str, Any]:
    """The envelope that a `send_event` sends, as it is."""
    return event_in(scenario, step.args["file"], step.args["event"])


def _expectation(entry: Entry, zones: Sequence[str], steps: int) -> Expectation:
    kinds = [key for key in entry if key in EXPECTATIONS]
    if len(kinds) != 1:
        # `instance` takes a target and `metric` a name, but no expectation takes another's word as a key.
        unknown = next((key for key in entry if key not in (*CLOCKS, *EXPECTATIONS)), None)
        problem = f"two expectations in one entry: {', '.join(kinds)}" if kinds else f"unknown expectation {unknown!r}"
        raise entry.wrong(f"{problem}; {choices(str(unknown), EXPECTATIONS)}", unknown or (kinds[1] if kinds else None))
    kind = kinds[0]
    spec = EXPECTATIONS[kind]
    entry.only((kind, *spec.args, *CLOCKS), f"expectation {kind}")
    subject, given = _subject(entry, kind, spec, zones)
    args = {key: _given(given, key, arg, zones) for key, arg in spec.args.items()}
    if spec.needs_one_of and all(args[key] is None for key in spec.needs_one_of):
        raise entry.wrong(f"{kind}: give at least one of {', '.join(spec.needs_one_of)}", kind)
    after = _given(entry, "after", Arg("count", False), zones)
    if after is not None and after > steps:
        raise entry.wrong(f"after: there is no step {after}; the timeline has {steps} (the first is 1)", "after")
    if "within" in entry and "eventually" in entry:
        raise entry.wrong("give either within or eventually, not both", "eventually")
    within = _given(entry, "within", Arg("seconds", False), zones)
    eventually = _given(entry, "eventually", Arg("seconds", False), zones)
    return Expectation(kind, subject, args, within, eventually, after, entry.line)


def _subject(entry: Entry, kind: str, spec: Expect, zones: Sequence[str]) -> tuple[Any, Entry]:
    """What the expectation is about, and the entry that holds its arguments."""
    own = entry[kind]
    if isinstance(own, Entry):
        group_key = ("group",) if spec.subject in ("group", "any-group") else ()
        own.only((*group_key, *spec.args), f"expectation {kind}")
        merged = Entry(entry.path, entry.line)
        merged.update({**entry, **own})
        merged.lines = {**entry.lines, **own.lines}
        subject = _given(merged, "group", Arg(spec.subject, spec.subject == "group", ""), zones) if group_key else ""
        return subject, merged
    if spec.folds and spec.folds not in entry and not (spec.subject == "any-group" and own in ("all", None, True)):
        merged = Entry(entry.path, entry.line)
        merged.update({**entry, spec.folds: own})
        merged.lines = {**entry.lines, spec.folds: entry.lines[kind]}
        if spec.subject == "any-group" and own in zones and not spec.args[spec.folds].is_needed:
            return own, entry
        return "", merged
    if spec.subject == "none":
        return "", entry
    return _given(entry, kind, Arg(spec.subject), zones), entry


def _shown(value: Any) -> str:
    if isinstance(value, Target):
        return value.text
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
