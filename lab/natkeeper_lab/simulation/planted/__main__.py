"""`python -m natkeeper_lab.simulation.planted` prints docs/planted-bugs.md; with `--search`, it finds new seeds first.

A seed that still catches its bug, and holds without it, is kept. Exit 1 when a bug is left that nothing catches.
"""

from __future__ import annotations

import argparse
import json
import sys

from natkeeper_lab.simulation.planted import MUTANTS, Mutant
from natkeeper_lab.simulation.planted.search import SEEDS, is_still_right, known, page, search


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m natkeeper_lab.simulation.planted", description=__doc__)
    parser.add_argument("--search", action="store_true", help="find seeds for the bugs that their seed does not catch")
    parser.add_argument("--most", type=int, default=2000, help="schedules to try for each (default: 2000)")
    parser.add_argument("names", nargs="*", help="only these")
    options = parser.parse_args()
    chosen = [each for each in MUTANTS.values() if not options.names or each.name in options.names]
    if options.search:
        for each in chosen:
            _search(each, options.most)
    for line in page():
        print(line)
    return int(any(each.name not in known() for each in chosen))


def _search(mutant: Mutant, most: int) -> None:
    seeds = known()
    row = seeds.pop(mutant.name, None)
    if row is not None and is_still_right(mutant, row):
        return
    found = search(mutant, most)
    print(f"{mutant.name}: {found}", file=sys.stderr, flush=True)
    if found.seed is not None:
        seeds[mutant.name] = {"seed": found.seed, "invariant": found.invariant}
    order = [name for name in MUTANTS if name in seeds]
    SEEDS.write_text(json.dumps({name: seeds[name] for name in order}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
