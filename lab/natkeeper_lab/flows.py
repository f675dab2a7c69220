"""Long-lived connections, watched: how long each fell silent, whether it survived, and from where the far end saw it.

Started by the demo and by tests inside a guest: `python -m natkeeper_lab.flows client --connections 50 --output
flows.json`. Standard library only. `client` sends lines and wants them back (port 443 of `internet_server`); `server`
only listens to what the server sends by itself (`/stream` on port 80, a line `stream 200` on others); `both` does both.
Stops at SIGTERM, SIGINT or the end of its time.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from natkeeper_lab.probe import parse_target, write_json

CONNECT_SECONDS = 3.0
STALLED_SECONDS = 1.0  # silent this long at the end is lost: nothing in the lab sends less often
INTERVAL_SECONDS = 0.02
LONGEST_TURN_NS = 100_000_000
"""What a turn of the watch takes beyond that does not count as listening: this machine stood still, the far end on it
included."""


@dataclass
class Flow:
    connection: socket.socket
    is_client_driven: bool
    asked: str = ""
    error: str = ""
    heard_ns: list[int] = field(default_factory=list)
    heard_at: int = 0
    """How long the watch had listened by then, in nanoseconds."""
    lines: int = 0
    is_contiguous: bool = True
    has_two_voices: bool = False  # its lines and the server's are numbered each for itself
    sources: dict[str, int] = field(default_factory=dict)  # the far end's view, with the first line seen from there
    _rest: bytes = b""
    _unsent: bytes = b""
    _sent: int = 0

    def send(self) -> None:
        """The next line, behind what the socket would not take: TCP must see one unbroken sequence."""
        self._unsent += b"%d\n" % self._sent
        self._sent += 1
        try:
            self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = type(error).__name__

    def receive(self, listened_ns: int) -> None:
        try:
            data = self.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = type(error).__name__
            return
        if not data:
            self.error = "closed by the far end"
            return
        self.heard_ns.append(time.monotonic_ns())
        self.heard_at = listened_ns
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.rstrip(b"\r"))

    def report(self, began_ns: int, listened_ns: int, stalled_ns: int) -> dict[str, Any]:
        marks = [began_ns, *self.heard_ns]
        gap, gap_at = max(((later - sooner, sooner) for sooner, later in pairwise(marks)), default=(0, 0))
        is_silent = listened_ns - self.heard_at >= stalled_ns
        return {
            "survived": not self.error and not is_silent,
            "error": self.error or ("silent" if is_silent else ""),
            "longest_gap_ms": round(gap / 1e6, 3),
            "longest_gap_began_ns": gap_at,
            "last_heard_ns": marks[-1],
            "lines": self.lines,
            "contiguous": self.is_contiguous,
            "sources": list(self.sources),
            "asked_from": self.asked,
        }

    def _take(self, line: bytes) -> None:
        """A line is `sequence address:port`; anything else is the head of an HTTP response."""
        number, _, source = line.partition(b" ")
        if not number.isdigit():
            return
        self.is_contiguous = self.is_contiguous and (self.has_two_voices or int(number) == self.lines)
        self.sources.setdefault(source.decode(), self.lines)
        self.lines += 1


def open_flow(mode: str, target: tuple[str, int], interval: float, keepalive: int, source_port: int = 0) -> Flow:
    """`source_port` 0: what the kernel chooses."""
    connection = socket.create_connection(target, CONNECT_SECONDS, ("", source_port) if source_port else None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 30)
    if mode == "both" or (mode == "server" and target[1] != 80):
        connection.sendall(b"stream %g\n" % (interval * 1000))
    elif mode == "server":
        connection.sendall(f"GET /stream?interval_ms={interval * 1000:g} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    connection.setblocking(False)
    address, port = connection.getsockname()
    return Flow(connection, mode != "server", f"{address}:{port}", has_two_voices=mode == "both")


def watch(flows: Sequence[Flow], interval: float, until_ns: int | None) -> tuple[int, int]:
    """Drive and listen until that instant or a signal; when it began, in monotonic nanoseconds, and for how many it
    listened."""
    selector = selectors.DefaultSelector()
    for flow in flows:
        selector.register(flow.connection, selectors.EVENT_READ, flow)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    began = due = turn_began = time.monotonic_ns()
    listened, longest = 0, max(LONGEST_TURN_NS, int(2e9 * interval))
    while not stopped and (until_ns is None or time.monotonic_ns() < until_ns):
        wait = max(0, due - time.monotonic_ns()) / 1e9
        heard, now = selector.select(wait), time.monotonic_ns()
        listened, turn_began = listened + min(now - turn_began, longest), now
        for key, _ in heard:
            key.data.receive(listened)
            if key.data.error:
                selector.unregister(key.fileobj)
        if time.monotonic_ns() >= due:
            due += int(interval * 1e9)
            for flow in flows:
                if flow.is_client_driven and not flow.error:
                    flow.send()
    return began, listened


def main() -> None:
    parser = argparse.ArgumentParser(description="long-lived connections, watched")
    parser.add_argument("mode", choices=("client", "server", "both"), help="who speaks")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--interval", type=float, default=INTERVAL_SECONDS, help="seconds between lines")
    parser.add_argument("--target", metavar="HOST:PORT", help="default: 203.0.113.10, port 443 or 80")
    parser.add_argument("--source-port", type=int, default=0, help="of the first connection, the next one has the next")
    parser.add_argument("--keepalive", type=int, default=0, help="TCP keepalive in seconds; 0 is off")
    parser.add_argument(
        "--stalled-after", type=float, default=STALLED_SECONDS, help="seconds; silent that long is lost"
    )
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--until-ns", type=int, help="stop at this instant of time.monotonic_ns")
    parser.add_argument("--output", default="-", help="a file, or - for standard output")
    options = parser.parse_args()
    target = parse_target(options.target or f"203.0.113.10:{80 if options.mode == 'server' else 443}")
    flows = [
        open_flow(
            options.mode,
            target,
            options.interval,
            options.keepalive,
            options.source_port and options.source_port + number,
        )
        for number in range(options.connections)
    ]
    print("ready", file=sys.stderr, flush=True)
    until = options.until_ns
    if options.seconds is not None:
        until = time.monotonic_ns() + int(options.seconds * 1e9)
    began, listened = watch(flows, options.interval, until)
    reports = [flow.report(began, listened, int(options.stalled_after * 1e9)) for flow in flows]
    write_json({"mode": options.mode, **summary(reports), "connections": reports}, options.output)


def summary(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    living = [report for report in reports if report["survived"]]
    return {
        "opened": len(reports),
        "survived": len(living),
        "longest_gap_ms": max((report["longest_gap_ms"] for report in living), default=None),
        "addresses_seen": sorted({source.rpartition(":")[0] for report in reports for source in report["sources"]}),
        "errors": sorted({report["error"] for report in reports if report["error"]}),
    }


if __name__ == "__main__":
    main()
