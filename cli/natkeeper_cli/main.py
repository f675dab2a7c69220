"""`natkeeper`: what a person types. `natkeeper lab …` plays with a VPC on this machine, `natkeeper simulate` with a
simulated AWS in virtual time.

Exit 0 when all is well, 1 when an expectation does not hold, 2 for a bad file or wrong use, 3 when this machine cannot.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

CANNOT = 3
LAB_MODULES = ("awslambdaric", "cryptography", "greenlet", "moto", "pyroute2", "samtranslator", "yaml")
"""What the extra `lab` brings (pyproject.toml)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the command line and runs one command."""
    parser = argparse.ArgumentParser(prog="natkeeper", description="keeps private subnets on the internet")
    commands = parser.add_subparsers(dest="command", required=True)
    in_lab = commands.add_parser("lab", help="a VPC on this machine, with real packets").add_subparsers(
        dest="lab_command", required=True
    )
    run = in_lab.add_parser("run", help="play scenario files; exit 1 when an expectation does not hold")
    run.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a scenario, or a folder of them")
    run.add_argument("--json", metavar="OUT", type=Path, help="write the records of all runs")
    run.add_argument("--report", metavar="OUT.html", type=Path, help="write a report of the (last) run")
    run.add_argument(
        "--time-scale",
        metavar="N",
        type=_scale,
        default=1.0,
        help="divide the lab's own waiting by N: boot, stop, quiet period, watch run, tick. Probes, time-outs, TCP and "
        "everything that a file writes down stay as they are",
    )
    run.add_argument("--jobs", metavar="N", type=_count, help="labs side by side (default: three per processor)")
    run.add_argument(
        "--repeat",
        metavar="N",
        type=_count,
        default=1,
        help="play each file N times and tell how often each passed; what the first failure of each was is kept",
    )
    run.add_argument(
        "--aws",
        metavar="NAME=SECONDS,…",
        type=_times,
        help="AWS's own times from the clock's zero on, such as remap=3,model=dark,public=never,boot=300,start=60",
    )
    run.add_argument("--simulate", action="store_true", help="on virtual time, without packets (and without a sandbox)")
    run.add_argument(
        "--seed", metavar="S", type=int, default=1, help="with --simulate: another course of the same story"
    )
    in_lab.add_parser("list", help="the library of scenarios")
    in_lab.add_parser("shell", help="a prompt on the private host of zone a, with the controller's log above it")
    _add_simulate(
        commands.add_parser("simulate", help="seeded schedules of faults in a simulated AWS, in virtual time")
    )
    options = parser.parse_args(argv)
    try:
        return _do(options)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is left behind", file=sys.stderr)
        return 128 + signal.SIGINT


def _missing() -> list[str]:
    return [module for module in LAB_MODULES if importlib.util.find_spec(module) is None]


def _do(options: argparse.Namespace) -> int:
    if missing := _missing():
        print(
            f"natkeeper {options.command} needs Python packages that are not installed here ({', '.join(missing)}): "
            "pip install 'natkeeper[lab]'",
            file=sys.stderr,
        )
        return CANNOT
    from natkeeper_cli import lab

    if options.command == "simulate":
        return _simulate(options)
    if options.lab_command == "run" and options.simulate:
        from natkeeper_lab.simulation.scenario.run import run as simulated

        return simulated(lab.named(options.files), options.json, options.seed, options.aws)
    if options.lab_command == "run":
        given = options.files, options.json, options.report, options.time_scale, options.jobs, options.repeat
        return lab.run(lab.Wanted(*given, options.aws))
    return lab.listing() if options.lab_command == "list" else lab.shell()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _simulate(options: argparse.Namespace) -> int:
    from natkeeper_cli import simulate
    from natkeeper_lab.simulation.small_worlds import Bounds

    if options.small_worlds:
        bounds = Bounds(options.pairs, options.orders, options.looks, options.switches)
        return simulate.small_worlds(bounds, options.json, options.jobs, options.situation or ())
    if options.replay:
        return simulate.replay(options.seed, options.zones, options.keep)
    return simulate.campaign(options.seed, options.schedules, options.zones, options.json, options.jobs)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", metavar="S", type=int, help="the first seed (default: a fresh one, which is printed)")
    parser.add_argument("--schedules", metavar="N", type=int, default=200, help="play seeds S to S+N-1 (default: 200)")
    parser.add_argument("--zones", metavar="K", type=int, choices=(1, 2, 3), help="every stack with so many zones")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write the figures")
    parser.add_argument("--jobs", metavar="J", type=int, help="processes (default: processors)")
    parser.add_argument("--replay", action="store_true", help="play seed S alone and tell what happens")
    parser.add_argument(
        "--keep", metavar="I,J", type=_numbers, help="with --replay: only these of the seed's faults, by number"
    )
    parser.add_argument(
        "--small-worlds",
        action="store_true",
        help="no chance at all: each plan in two zones, a crash before and after every call, pairs of crashes, two "
        "controllers' calls in every order up to a number of switches, with old answers too, and what comes of each",
    )
    parser.add_argument("--pairs", metavar="N", type=_count, help="pairs of crashes for each situation (default: all)")
    parser.add_argument("--orders", metavar="N", type=_count, help="orders for each situation (default: all)")
    parser.add_argument(
        "--looks", metavar="N", type=_count, help="orders with old answers for each situation (default: all)"
    )
    parser.add_argument("--switches", metavar="N", type=_count, default=2, help="between two controllers (default: 2)")
    parser.add_argument("--situation", metavar="NAME", action="append", help="only this one; may be given repeatedly")


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _times(text: str) -> dict[str, float | str]:
    if _missing():
        return {}  # `_do` says so
    from natkeeper_lab.scenario.times import parse

    try:
        return parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _scale(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 100")
    return number
