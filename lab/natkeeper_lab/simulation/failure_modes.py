"""docs/failure-modes.md, made from the table of faults that drives the campaign.

`python -m natkeeper_lab.simulation.failure_modes` prints the page. `--search` finds, for each fault, a seed in whose
schedule it happens and nothing breaks, and writes them down (`faults/seeds.json`); a seed that still does both is kept.
`tests/simulation/test_failure_modes.py` plays them all and compares the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from natkeeper_lab.simulation.campaign import schedule_of
from natkeeper_lab.simulation.faults import FAULTS, Fault
from natkeeper_lab.simulation.tally import attempt

SEEDS = Path(__file__).with_name("faults") / "seeds.json"
SCENARIOS = {
    "association-lost": "prober-on-somebody-elses-table",
    "tagged-foreign-instance": "foreign-nat-of-another-vpc",
    "throttle-all-calls": "api-throttled",
    "region-down": "api-down",
    "slow-api": "api-slow",
    "reply-lost": "reply-lost",
    "one-table-refuses": "replace-route-refused",
    "stale-describe": "stale-answers",
    "ledger-down": "ledger-down",
    "event-twice": "events-twice",
    "event-out-of-order": "events-out-of-order",
    "event-late": "events-late",
    "event-lost": "events-lost",
    "event-forged": "forged-events",
    "schedule-disabled": "schedule-stopped",
    "retirement-announced": "retirement-announced",
    "rebalance-recommended": "rebalance-recommendation",
    "no-capacity-for-the-first-type": "no-capacity-for-the-first-type",
    "no-capacity": "no-capacity-at-all",
    "user-data-fails": "replacement-does-not-boot",
    "not-found-after-launch": "launch-reply-lost",
    "spot-interruption": "spot-warning",
    "nat-stops": "stop-the-nat",
    "nat-hangs": "black-hole",
    "packet-loss": "heavy-packet-loss",
    "forwarding-off": "forwarding-switched-off",
    "ruleset-flushed": "ruleset-flushed",
    "source-dest-check-on": "source-dest-check-turned-on",
    "targets-down": "all-targets-fail",
    "zone-lost": "zone-comes-back",
    "all-nats-stop": "both-nats-stop",
    "crash-before-a-call": "controller-crashes-before-it-acts",
    "crash-after-a-call": "controller-crashes-in-the-middle",
    "two-controllers": "two-controllers",
    "clock-ahead": "controller-clock-ahead",
    "prober-clock-wrong": "prober-clock-behind",
    "route-edited": "route-edited-by-hand",
    "route-deleted": "route-deleted-by-hand",
    "tag-removed": "tag-removed",
    "nat-terminated": "terminate-the-nat",
    "paused-mid-incident": "paused",
    "failover-by-hand": "failover-on-demand",
    "switchover-by-hand": "switchover",
    "old-nat-comes-back": "start-by-hand",
}
"""Scenario files of the lab that play the same fault with real packets."""
HEAD = """\
# Failure modes

What can go wrong, what you see of it, what natkeeper does about it, and what it never does. This page is made by
`python -m natkeeper_lab.simulation.failure_modes` from the table of faults that drives the simulation's campaign, so
nothing is on it that is not played: each entry names a schedule in which the fault happens, among others, and no
invariant breaks, and where there is one, the lab's scenario that plays it with real packets.
`tests/simulation/test_failure_modes.py` plays every one of those schedules. [simulation.md](simulation.md) says how to
read a replay, [runbook.md](runbook.md) what to do when an alarm rings. Names in `code` are metrics, alarms (without the
stack's name before them), error codes of AWS and the log's `reason_code`.
"""
AREAS = {
    "API": "EC2's or DynamoDB's API fails",
    "Launch": "A replacement cannot be had, or is no good",
    "Events": "What wakes the controller goes wrong",
    "Process": "The controller or a prober fails",
    "Packets": "Packets are lost",
    "People": "Somebody changes something",
}
FEW = 2
"""Faults that a schedule should have, so that its replay is about the one it stands for."""


def page() -> Iterator[str]:
    """The page's lines."""
    seeds = known()
    yield from HEAD.splitlines()
    for area, title in AREAS.items():
        rows = [each for each in FAULTS.values() if each.area == area]
        yield from ("", f"## {title}", "", *_wrapped(" · ".join(f"[{each.name}](#{each.name})" for each in rows)))
        for each in rows:
            yield from ("", f"### {each.name}", "")
            yield from _wrapped(f"- **You see:** {each.sees}.")
            yield from _wrapped(f"- **What natkeeper does:** {each.does}.")
            yield from _wrapped(f"- **It never** {each.never}.")
            yield from _wrapped(f"- **Shown by** {_shown_by(each, seeds)}")


def _wrapped(text: str) -> list[str]:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _shown_by(fault: Fault, seeds: dict[str, int]) -> str:
    shown = f"`natkeeper simulate --seed {seeds[fault.name]} --replay`" if fault.name in seeds else "nothing yet"
    scenario = SCENARIOS.get(fault.name)
    return shown + (f", [{scenario}](../lab/natkeeper_lab/scenarios/{scenario}.yaml)" if scenario else "")


def known() -> dict[str, int]:
    """Fault to its seed, as checked in."""
    return dict(json.loads(SEEDS.read_text())) if SEEDS.exists() else {}


def shows(fault: str, seed: int) -> bool:
    """The fault happens in the seed's schedule, and nothing breaks."""
    result = attempt(schedule_of(seed))
    return bool(result.fires[fault]) and not result.violations


def candidates(fault: str) -> Iterator[int]:
    """Seeds whose schedule has the fault and little else; a trouble alone."""
    most = FEW if FAULTS[fault].is_complication else FEW - 1
    for seed in count():
        found = [each.fault for each in schedule_of(seed).injections]
        if fault in found and len(found) <= most:
            yield seed


def search(fault: str, most: int) -> int | None:
    """The first such seed that shows it, within so many."""
    return next((seed for seed in islice(candidates(fault), most) if shows(fault, seed)), None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m natkeeper_lab.simulation.failure_modes", description=__doc__)
    parser.add_argument("--search", action="store_true", help="find seeds anew for faults that theirs does not show")
    parser.add_argument("--most", type=int, default=200, help="schedules to try for each (default: 200)")
    options = parser.parse_args()
    if options.search:
        seeds, before = {}, known()
        for name in FAULTS:
            old = before.get(name)
            seed = old if old is not None and shows(name, old) else search(name, options.most)
            if seed is not None:
                seeds[name] = seed
        SEEDS.write_text(json.dumps(seeds, indent=1) + "\n")
    for line in page():
        print(line)
    if missing := [name for name in FAULTS if name not in known()]:
        print(f"no seed shows {', '.join(missing)}", file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
