"""Whom the far end sees: asks a page on the internet, again and again, which address the caller came from.

Started by `scenario.watch` inside a guest: `python -m natkeeper_lab.far_end --target 203.0.113.10:80`. Standard library
only. Prints a line for each answer, `monotonic_ns address`, until it is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import time

PAUSE = 0.1
"""Seconds between two questions: a tenth of the shortest remap that a scenario would ask for."""
PATIENCE = 0.8
"""As the ruler's: an answer to a repeated SYN belongs to a later moment than its question."""
_CAME_FROM = re.compile(rb"came from (\S+)")


def ask(target: tuple[str, int]) -> str | None:
    """The address that the far end saw; None without an answer."""
    with contextlib.suppress(OSError), socket.create_connection(target, PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
        found = _CAME_FROM.search(answer)
        return found[1].decode() if found else None
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="which address the far end sees")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    host, _, port = parser.parse_args().target.rpartition(":")
    while True:
        asked_at = time.monotonic_ns()
        if (address := ask((host, int(port)))) is not None:
            print(asked_at, address, flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
