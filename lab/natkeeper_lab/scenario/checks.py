"""What one step's keys must be together, and the event files that a step may name.

Called by `scenario.file`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from natkeeper_lab.scenario.reading import Entry
from natkeeper_lab.shipped import EVENTS


def check_one(entry: Entry, args: Mapping[str, Any], do: str, keys: Sequence[str]) -> None:
    """Exactly one of the keys is given. BadScenario otherwise."""
    given = [key for key in keys if args[key] is not None]
    if len(given) != 1:
        raise entry.wrong(f"{do}: give either {' or '.join(keys)}", given[-1] if given else None)
    if args[given[0]] is False:
        raise entry.wrong(f"{do}: {given[0]}: false says nothing; leave it out", given[0])


def check_event(entry: Entry, args: Mapping[str, Any]) -> None:
    """The event of a `send_event` is there. BadScenario otherwise."""
    if (args["file"] is None) is (args["event"] is None):
        raise entry.wrong("send_event: give either file or event")
    if args["file"] is not None and not _event_file(entry.path, args["file"]):
        listed = ", ".join(sorted(each.name for each in EVENTS.glob("*.json")))
        raise entry.wrong(
            f"file: {args['file']!r} is neither beside the scenario nor in events/; there: {listed}", "file"
        )


def event_in(scenario: Path, name: str | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The envelope that a `send_event` sends, as it is."""
    if name is None:
        return dict(given or {})
    found = _event_file(scenario, name)
    assert found is not None  # the file was read with the scenario's check of it
    return dict(json.loads(found.read_text(encoding="utf-8")))


def _event_file(scenario: Path, name: str) -> Path | None:
    """An event's file: beside the scenario, or in the project's events/."""
    for place in (scenario.parent, EVENTS, EVENTS.parent):
        for found in (place / name, place / f"{name}.json"):
            if found.is_file():
                return found
    return None
