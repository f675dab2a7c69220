"""`make demo`: plays the story, tells it, sums it up. Exit 0 when every step passes, 1 when one does not, 3 when this
machine cannot (and then says precisely what is missing).

Usage: python -m natkeeper_lab.demo [--json FILE] [--only NAME …]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from natkeeper_lab import sandbox

API_SECONDS = 0.05
"""Added to every API call: roughly what a call to one's own region takes, so that round trips can be told apart."""
TITLES = {
    "egress-works": "1. the database server reaches the internet, from zone a's Elastic IP",
    "source-dest-check": "2. source/dest check left on: nothing; turned off: it works",
    "stopped-without-natkeeper": "3a. the NAT is stopped, and nobody is there",
    "stopped": "3b. the NAT is stopped, and natkeeper is there",
    "home-again": "4. the NAT is started, proven, and the traffic comes home",
    "black-hole": "the NAT runs and forwards nothing",
    "terminated": "the NAT is terminated; another takes its place",
    "at-rest": "a second pass at rest writes nothing",
    "books": "5. ledger, metrics and messages",
    "strict-security-groups": "a planned move where security groups refuse packets from mid-connection",
}


def main() -> int:
    """Plays everything in two labs, one after the other: the story, and the model with strict security groups."""
    parser = argparse.ArgumentParser(prog="make demo", description="natkeeper's story, with real packets")
    parser.add_argument("--json", metavar="FILE", help="also write the summary as JSON")
    options = parser.parse_args()
    if not sandbox.is_inside():
        lacks = sandbox.missing()
        if lacks:
            print("natkeeper's lab cannot run on this machine:", *lacks, sep="\n  ", file=sys.stderr)
            return 3
    sandbox.enter()
    results = [*_story(), *_strict()]
    _summary(results)
    passed = all(each["passed"] for each in results)
    if options.json:
        Path(options.json).write_text(json.dumps({"passed": passed, "steps": results}, indent=2) + "\n")
    return 0 if passed else 1


def _story() -> list[dict[str, object]]:
    from natkeeper_lab import story

    return _play(
        "accept",
        [
            ("egress-works", story.egress_works),
            ("source-dest-check", story.source_dest_check),
            ("stopped-without-natkeeper", story.stop_alone),
            ("", None),
            ("stopped", story.stop),
            ("home-again", story.come_home),
            ("black-hole", story.black_hole),
            ("terminated", story.terminate),
            ("at-rest", story.at_rest),
            ("books", story.books),
        ],
    )


def _strict() -> list[dict[str, object]]:
    from natkeeper_lab import story

    return _play("refuse", [("", None), ("strict-security-groups", story.strict_groups)])


def _play(mid_stream: str, steps: Sequence[tuple[str, Callable[..., object] | None]]) -> list[dict[str, object]]:
    """A fresh lab, two NATs by hand, then the steps; the step without a name switches natkeeper on."""
    from natkeeper_lab.narrator import Narrator
    from natkeeper_lab.stack import Choices, Stack
    from natkeeper_lab.story import Story

    results: list[dict[str, object]] = []
    with Stack(Choices(mid_stream="refuse" if mid_stream == "refuse" else "accept")) as stack:
        for group in stack.groups:
            stack.set_source_dest_check(stack.launch_nat(group), False)
            stack.put_home(group)
        stack.api.faults.delay(API_SECONDS)
        narrator = Narrator(stack, lambda line: print(line, flush=True))
        story = Story(stack, narrator)
        narrator.tell("demo", f"=== a VPC in Linux namespaces; security groups {mid_stream} mid-stream packets ===")
        try:
            for name, step in steps:
                if step is None:
                    narrator.tell("demo", "--- natkeeper is switched on")
                    stack.switch_on()
                    continue
                result = story.play(name, TITLES[name], step)  # type: ignore[arg-type]
                results.append(dataclasses.asdict(result))
                if not result.passed:
                    break
        finally:
            narrator.close()
    return results


def _summary(results: Sequence[dict[str, object]]) -> None:
    print("\nSummary")
    for each in results:
        print(f"  {'PASS' if each['passed'] else 'FAIL'}  {each['title']}")
        notes = each["notes"]
        assert isinstance(notes, (list, tuple))
        for note in notes:
            print(f"        {note}")
    missing = len(TITLES) - len(results)
    if missing:
        print(f"  {missing} steps were not played, because one before them failed")


if __name__ == "__main__":
    sys.exit(main())
