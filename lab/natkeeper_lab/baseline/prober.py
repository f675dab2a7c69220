"""The baseline's prober: asks two targets, one after the other, and waits for each as long as its time-out says.

`bench.peer` starts it in a zone's private subnet: `python -m natkeeper_lab.baseline.prober HOST:PORT HOST:PORT`. A
closed loop: the next round begins when the last has ended, so a round that fails takes the sum of its time-outs. Prints
`down` once for each row of failed rounds. Standard library only.
"""

from __future__ import annotations

import socket
import sys
import time

TIMEOUT_SECONDS = 5.0
"""What alterNAT gives each of its two URLs (REQUEST_TIMEOUT)."""
INTERVAL_SECONDS = 1.0
"""alterNAT waits 5 s between two rounds; natkeeper's own interval is kinder to it and makes the two comparable."""


def answers(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def main(targets: list[str]) -> None:
    was_up = True
    print("ready", flush=True)
    while True:
        is_up = any(answers(each) for each in targets)
        if was_up and not is_up:
            print("down", flush=True)
        was_up = is_up
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
