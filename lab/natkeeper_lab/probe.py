"""Open-loop TCP probes: a new connection every few milliseconds, sent on schedule whatever became of the others.

Started by the demo and by tests inside a guest: `python -m natkeeper_lab.probe --target 203.0.113.11:443 --output
probe.json`. Standard library only. Stops at SIGTERM, SIGINT or the end of its time, waits for what is in flight, and
writes `{"target", "interval_ms", "deadline_ms", "rows": [[sent_ns, answered_ns or 0, error], …]}`.
"""

from __future__ import annotations

import argparse
import errno
import json
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL_MS = 5.0
# Below the second after which Linux sends a lost SYN again (TCP_TIMEOUT_INIT): such an answer belongs to a later
# moment than its probe was sent at, and would hide an outage.
DEADLINE_MS = 800.0
TCP_INFO = struct.Struct("68x I 28x I")  # tcpi_rtt and tcpi_total_retrans in struct tcp_info, linux/tcp.h
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, socket(7): no TIME_WAIT, so ports never run out


@dataclass
class Prober:
    target: tuple[str, int]
    interval_ns: int
    deadline_ns: int
    rows: list[list[int | str]] = field(default_factory=list)
    tell: Callable[[list[int | str]], None] = lambda _row: None
    _flying: dict[int, tuple[socket.socket, int]] = field(default_factory=dict)  # in order of sending
    _selector: selectors.EpollSelector = field(default_factory=selectors.EpollSelector)

    def send(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        row = len(self.rows)
        self.rows.append([time.monotonic_ns(), 0, ""])
        code = connection.connect_ex(self.target)
        self._flying[row] = (connection, row)
        if code == errno.EINPROGRESS:
            self._selector.register(connection, selectors.EVENT_WRITE, row)
        else:
            self._end(row, code)

    def collect(self, timeout: float) -> None:
        """Note every answer there is, waiting for one at most this long, and give up on what is overdue."""
        for key, _ in self._selector.select(timeout):
            connection = self._flying[key.data][0]
            self._selector.unregister(connection)
            self._end(key.data, connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        overdue = time.monotonic_ns() - self.deadline_ns
        for connection, row in list(self._flying.values()):
            if int(self.rows[row][0]) > overdue:
                break
            self._selector.unregister(connection)
            self._end(row, errno.ETIMEDOUT)

    @property
    def is_waiting(self) -> bool:
        return bool(self._flying)

    def _end(self, row: int, code: int) -> None:
        answered, sent = time.monotonic_ns(), int(self.rows[row][0])
        connection, _ = self._flying.pop(row)
        if code == 0 and answered - sent > self.deadline_ns:
            # Seen late, because this process did not run, or come late: the kernel knows.
            round_trip_ns, repeats = handshake(connection)
            answered = sent + round_trip_ns
            if repeats or answered - sent > self.deadline_ns:
                code = errno.ETIMEDOUT
        self.rows[row][1:] = [answered, ""] if code == 0 else [0, errno.errorcode.get(code, str(code))]
        self.tell(self.rows[row])
        connection.close()


def handshake(connection: socket.socket) -> tuple[int, int]:
    """What the handshake took as the kernel saw it, in nanoseconds, and how often it had to send something again."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    round_trip_us, repeats = TCP_INFO.unpack(info)
    return round_trip_us * 1000, repeats


def probe(
    target: tuple[str, int], interval_ms: float, deadline_ms: float, until_ns: int | None, *, is_live: bool = False
) -> Prober:
    """Probe until that monotonic instant, or until a signal says stop."""
    prober = Prober(target, int(interval_ms * 1e6), int(deadline_ms * 1e6))
    if is_live:
        prober.tell = lambda row: print(*row, flush=True)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    print("ready", file=sys.stderr, flush=True)
    due = time.monotonic_ns()
    while not stopped and (until_ns is None or due < until_ns):
        wait = due - time.monotonic_ns()
        if wait > 0:
            prober.collect(wait / 1e9)
            continue
        prober.send()
        due += prober.interval_ns
    while prober.is_waiting:
        prober.collect(0.01)
    return prober


def parse_target(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def write_json(report: object, output: str) -> None:
    if output == "-":
        json.dump(report, sys.stdout)
        sys.stdout.flush()
    else:
        Path(output).write_text(json.dumps(report), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="open-loop TCP probes")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--interval-ms", type=float, default=INTERVAL_MS)
    parser.add_argument("--deadline-ms", type=float, default=DEADLINE_MS)
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--until-ns", type=int, help="stop at this instant of time.monotonic_ns")
    parser.add_argument("--output", default="-", help="a file, or - for standard output")
    parser.add_argument("--live", action="store_true", help="print each probe's row as it ends, and no report")
    options = parser.parse_args()
    until = options.until_ns
    if options.seconds is not None:
        until = time.monotonic_ns() + int(options.seconds * 1e9)
    target = parse_target(options.target)
    prober = probe(target, options.interval_ms, options.deadline_ms, until, is_live=options.live)
    if options.live:
        return
    report = {
        "target": options.target,
        "interval_ms": options.interval_ms,
        "deadline_ms": options.deadline_ms,
        "rows": prober.rows,
    }
    write_json(report, options.output)


if __name__ == "__main__":
    main()
