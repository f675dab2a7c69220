"""`make bench`: natkeeper's figures beside their floors and beside a naive controller's, on this machine, in this run.

Usage: python -m tools.bench [--runs N] [--only SECTION …] [--json FILE]. Exit 0 when every promise is kept, 1 when one
is not, 3 when this machine cannot build the lab. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natkeeper_lab import sandbox

ROOT = Path(__file__).resolve().parents[1]

RUNS = 10
BASELINE_RUNS = 3
"""At most: `natkeeper_lab.bench.sections` says why."""
SECONDS: Mapping[str, tuple[float, float]] = {
    "calls": (30, 0),
    "starts": (30, 0),
    "share": (15, 6),
    "flows": (60, 36),
    "faults": (30, 32),
    "zones": (30, 20),
    "baseline": (15, 70),
    "month": (150, 0),
    "simulation": (60, 0),
}
"""What each section takes on two cores: to begin with, and for each run."""


@dataclass
class Report:
    """What was measured, as --json writes it; `is_kept` is False as soon as one promise is not."""

    runs: int
    rows: list[Any] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        parts = all(each.get("is_within_limits", True) for each in self.parts.values())
        return parts and not self.failures and all(row.is_kept is not False for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        machine = {"kernel": platform.release(), "processors": os.cpu_count(), "python": platform.python_version()}
        return {
            "machine": machine,
            "runs": self.runs,
            "rows": [each.as_json() for each in self.rows],
            **self.parts,
            "failures": self.failures,
            "seconds": self.seconds,
            "is_within_limits": self.is_kept,
        }


def estimate(only: Sequence[str], runs: int) -> float:
    """Seconds that these sections will take."""
    played = {name: min(runs, BASELINE_RUNS) if name == "baseline" else runs for name in only}
    return sum(SECONDS[name][0] + SECONDS[name][1] * played[name] for name in only)


def measure(only: Sequence[str], runs: int) -> Report:
    """The sections, one after the other."""
    from natkeeper_lab.bench.sections import Bench

    bench = Bench(runs, lambda line: print(line, flush=True))
    report = Report(runs)
    sections: dict[str, Callable[[], None]] = {
        "calls": lambda: _calls(report),
        "starts": lambda: _starts(report),
        "share": lambda: _share(report),
        "flows": bench.flows,
        "faults": bench.faults,
        "zones": bench.zones,
        "baseline": bench.peer,
        "month": lambda: _month(report),
        "simulation": lambda: _simulation(report),
    }
    for name in only:
        print(f"--- {name}, about {estimate([name], runs):.0f} s", flush=True)
        began = time.monotonic()
        sections[name]()
        report.seconds[name] = round(time.monotonic() - began, 1)
    report.rows[:0] = bench.rows()
    report.failures += bench.failures
    return report


def _calls(report: Report) -> None:
    from tools import bench_calls

    report.parts["calls"] = bench_calls.measure()


def _starts(report: Report) -> None:
    from tools import bench_cold_start

    cold = bench_cold_start.measure()
    cold["is_within_limits"] = bool(cold["controller_within_limit"]) and bool(cold["prober_within_limit"])
    report.parts["cold_start"] = cold


def _share(report: Report) -> None:
    from tools import bench_share

    report.parts["share"] = bench_share.measure(runs=report.runs)


def _month(report: Report) -> None:
    from natkeeper_lab.bench import month

    rows, counted = month.measure()
    report.rows += rows
    report.parts["counted"] = counted


def _simulation(report: Report) -> None:
    from tools import bench_simulation

    report.parts["simulation"] = bench_simulation.measure()


def print_report(report: Report) -> None:
    from natkeeper_lab.bench.rows import table
    from tools import bench_calls, bench_cold_start

    print()
    if "calls" in report.parts:
        bench_calls.print_table(report.parts["calls"])
    if "cold_start" in report.parts:
        bench_cold_start.print_table(report.parts["cold_start"])
        print()
    if "share" in report.parts:
        from tools import bench_share

        bench_share.print_table(report.parts["share"])
        print()
    if "simulation" in report.parts:
        from tools import bench_simulation

        bench_simulation.print_table(report.parts["simulation"])
        print()
    if report.rows:
        print(*table(report.rows), sep="\n")
    for each in report.failures:
        print(f"NOT MEASURED: {each}")
    if not report.is_kept:
        print("a promise was not kept: see the figures above")


def main(arguments: Sequence[str] | None = None) -> int:
    """Enters the sandbox, measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each event (default {RUNS})")
    parser.add_argument("--only", nargs="+", choices=SECONDS, default=list(SECONDS), help="sections")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    if not sandbox.is_inside() and (lacks := sandbox.missing()):
        print("natkeeper's lab cannot run on this machine:", *lacks, sep="\n  ", file=sys.stderr)
        return 3
    sandbox.enter()
    expected = estimate(options.only, options.runs)
    print(f"{', '.join(options.only)}; {options.runs} runs of each event; about {expected / 60:.0f} minutes")
    print("functions run within the processor share of their MemorySize, as on Lambda (docs/benchmarks.md)")
    report = measure(options.only, options.runs)
    print_report(report)
    took = sum(report.seconds.values())
    print(f"took {took / 60:.1f} minutes, {expected / 60:.1f} were expected")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2, default=str) + "\n", encoding="utf-8")
    return 0 if report.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
