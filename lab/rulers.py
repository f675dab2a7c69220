"""The lab's own measurements on a private host while something happens: new connections, established ones, a download.

Called by the demo, the benchmarks and tests. The rulers run as processes on the private host and share no code with
natkeeper. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab.measure import Outage, outages, probes
from lab.network import TARGETS
from lab.stack import Stack

STRICT_MS = 800
"""A new connection must stand within this; under a second, so that a repeated SYN does not hide a lost one."""
PATIENT_MS = 8000
"""What an ordinary program waits for a new connection; the kernel repeats a lost SYN after 1, 3 and 7 s."""
PATIENT_INTERVAL_MS = 20
PROBED = f"{TARGETS[0]}:80"
"""Not where the established connections go: 250 new ones a second use up a destination's source ports in seconds, and
a NAT that remembers a port from one of them refuses the established connection that comes with it in a move (seen: 3
and 4 of 50 server-driven ones)."""


@dataclass(frozen=True)
class Kept:
    """What became of a set of established connections."""

    opened: int
    survived: int
    longest_gap_ms: float | None
    addresses_seen: tuple[str, ...]
    is_contiguous: bool
    errors: tuple[str, ...] = ()
    """What ended those that were lost; `silent` for one that was just not heard any more."""


@dataclass(frozen=True)
class Measured:
    """What the rulers saw. `downtime_seen` in seconds: the outages of the strict 5 ms probe, added up."""

    outages: tuple[Outage, ...]
    new_connections: int
    new_lost: int
    slowest_new_ms: float
    client: Kept | None
    server: Kept | None
    download: Kept | None
    stood_still: float = 0.0
    """The longest that the 5 ms probe itself came late, in seconds: a machine that stands still measures nothing."""

    @property
    def downtime_seen(self) -> float:
        """Seconds, off by at most the probe's interval for each outage."""
        return sum(each.downtime_seen_ns for each in self.outages) / 1e9

    @property
    def first_lost_at(self) -> float | None:
        """`time.monotonic()` of the first new connection that failed."""
        return self.outages[0].first_failed_ns / 1e9 if self.outages else None


class Rulers:
    """Start them, let things happen, stop them."""

    def __init__(self, stack: Stack, group: str, *, client: int = 0, server: int = 0, download: bool = False) -> None:
        self._stack = stack
        self._where = stack.groups[group].host
        self._directory = Path(stack.directory.name)
        self._running: dict[str, tuple[subprocess.Popen[Any], Path]] = {}
        probe = ["python", "-m", "lab.probe", "--target", PROBED, "--deadline-ms"]
        self._start("strict", [*probe, str(STRICT_MS)])
        self._start("patient", [*probe, str(PATIENT_MS), "--interval-ms", str(PATIENT_INTERVAL_MS)])
        flows = ["python", "-m", "lab.flows"]
        if client:
            self._start("client", [*flows, "client", "--connections", str(client)], is_flow=True)
        if server:
            self._start("server", [*flows, "server", "--connections", str(server)], is_flow=True)
        if download:
            # What curl calls --keepalive-time 1: without it a client that only listens cannot tell the new NAT of
            # itself, and an abrupt move ends the download (FACTS: flow survival).
            self._start("download", [*flows, "server", "--connections", "1", "--keepalive", "1"], is_flow=True)
        time.sleep(0.5)

    def _start(self, name: str, argv: list[str], *, is_flow: bool = False) -> None:
        output = self._directory / f"{name}-{time.monotonic_ns()}.json"
        process = self._stack.network.spawn(
            self._where, [*argv, "--output", str(output)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        if is_flow and process.stderr.readline().strip() != "ready":
            raise RuntimeError(f"the {name} connections could not be opened")
        self._running[name] = (process, output)

    def stop(self) -> Measured:
        """Ends the measurement and reads it."""
        for process, _ in self._running.values():
            process.send_signal(signal.SIGTERM)
        read: dict[str, Any] = {}
        for name, (process, output) in self._running.items():
            process.wait(timeout=PATIENT_MS / 1000 + 60)
            read[name] = json.loads(output.read_text())
        patient = probes(read["patient"]["rows"])
        waited = [(each.answered_ns - each.sent_ns) / 1e6 for each in patient if each.answered_ns is not None]
        sent = [int(row[0]) for row in read["strict"]["rows"]]
        return Measured(
            outages=tuple(outages(probes(read["strict"]["rows"]))),
            new_connections=len(patient),
            new_lost=len(patient) - len(waited),
            slowest_new_ms=round(max(waited, default=0.0), 1),
            client=_kept(read.get("client")),
            server=_kept(read.get("server")),
            download=_kept(read.get("download")),
            stood_still=max((later - sooner for sooner, later in pairwise(sent)), default=0) / 1e9,
        )


def _kept(raw: dict[str, Any] | None) -> Kept | None:
    if raw is None:
        return None
    return Kept(
        opened=raw["opened"],
        survived=raw["survived"],
        longest_gap_ms=raw["longest_gap_ms"],
        addresses_seen=tuple(raw["addresses_seen"]),
        is_contiguous=all(each["contiguous"] for each in raw["connections"]),
        errors=tuple(raw["errors"]),
    )
