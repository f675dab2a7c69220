"""`python -m tests.hostile` plays 30,000 events, 2,000 items and 10,000 requests. Exit 1 when anything is found."""

from __future__ import annotations

import argparse
import sys
import time
from random import SystemRandom

from tests.hostile.play import play_events, play_items, play_requests


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    is_broken = False
    for name, play in (("events", play_events), ("items", play_items), ("requests", play_requests)):
        began = time.monotonic()
        played = play(getattr(options, name), options.seed)
        took = time.monotonic() - began
        found = dict(played.found) or "nothing found"
        print(f"{played.number} {name}: {found}; {dict(played.seen)}, {took:.1f} s")
        for text in played.told:
            print(text)
        is_broken |= bool(played.found)
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
