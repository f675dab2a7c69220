"""The lab's own measurements on a private host while something happens: new connections, established ones, a download.

Called by the demo, the benchmarks and tests. The rulers run as processes on the private host and share no code with
natkeeper. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from natkeeper_lab.measure import Outage, outages, probes
from natkeeper_lab.network import TARGETS
from natkeeper_lab.stack import Stack

STRICT_MS = 800
"""A new connection must stand within this; under a second, so that a repeated SYN does not hide a lost one."""
PATIENT_MS = 8000
"""What an ordinary program waits for a new connection; the kernel repeats a lost SYN after 1, 3 and 7 s."""
PATIENT_INTERVAL_MS = 20
PROBED = f"{TARGETS[0]}:80"
"""Not where the established connections go: 250 new ones a second use up a destination's source ports in seconds, and
a NAT that remembers a port from one of them refuses the established connection that comes with it in a move (seen: 3
and 4 of 50 server-driven ones)."""


TWIN_PORTS = cycle(range(10_000, 30_000, 100))
"""Source ports of the first connections that two hosts open from the same one: below the kernel's own range (32768 to
60999), so that no other connection comes upon it, and others each time, for a port is not free again for a minute."""


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
    shared: Kept | None = None
    """Connections from a source port that another host has too, to the same destination, of which the NAT had left the
    port alone; `client` and `server` have those with a port of their own."""
    changed: Kept | None = None
    """Those whose port the NAT had changed, for two connections cannot leave it from one address and port."""
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
    """Start them, let things happen, stop them. `others`: more hosts of the zone, over which the established
    connections are spread. `twins`: so many more on each of two hosts, pairwise from the same source port."""

    def __init__(
        self,
        stack: Stack,
        group: str,
        *,
        client: int = 0,
        server: int = 0,
        download: bool = False,
        others: Sequence[str] = (),
        twins: int = 0,
    ) -> None:
        self._stack = stack
        self._where = stack.groups[group].host
        self._directory = Path(stack.directory.name)
        self._running: dict[str, tuple[subprocess.Popen[Any], Path]] = {}
        self._opening: dict[str, subprocess.Popen[Any]] = {}
        probe = ["python", "-m", "natkeeper_lab.probe", "--target", PROBED, "--deadline-ms"]
        self._start("strict", [*probe, str(STRICT_MS)])
        self._start("patient", [*probe, str(PATIENT_MS), "--interval-ms", str(PATIENT_INTERVAL_MS)])
        flows = ["python", "-m", "natkeeper_lab.flows"]
        hosts = (self._where, *others)
        for number, host in enumerate(hosts):
            for mode, count in (("client", client), ("server", server)):
                share = count // len(hosts) + (number < count % len(hosts))
                if share:
                    argv = [*flows, mode, "--connections", str(share)]
                    self._start(f"{mode}-{number}", argv, is_flow=True, where=host)
        first = next(TWIN_PORTS)
        for number, host in enumerate(hosts[:2] if twins else ()):
            argv = [*flows, "client", "--connections", str(twins), "--source-port", str(first)]
            self._start(f"client-twins-{number}", argv, is_flow=True, where=host)
        if download:
            # What curl calls --keepalive-time 1: without it a client that only listens cannot tell the new NAT of
            # itself, and an abrupt move ends the download (docs/architecture.md).
            self._start("download", [*flows, "server", "--connections", "1", "--keepalive", "1"], is_flow=True)
        self._wait_until_open()
        time.sleep(0.5)

    def _start(self, name: str, argv: list[str], *, is_flow: bool = False, where: str = "") -> None:
        output = self._directory / f"{name}-{time.monotonic_ns()}.json"
        process = self._stack.network.spawn(
            where or self._where, [*argv, "--output", str(output)], stderr=subprocess.PIPE, text=True
        )
        self._running[name] = (process, output)
        if is_flow:
            self._opening[name] = process

    def _wait_until_open(self) -> None:
        for name, process in self._opening.items():
            assert process.stderr is not None
            if process.stderr.readline().strip() != "ready":
                raise RuntimeError(f"the {name} connections could not be opened")

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
        client, server = _by_port(_connections(read, "client")), _by_port(_connections(read, "server"))
        return Measured(
            outages=tuple(outages(probes(read["strict"]["rows"]))),
            new_connections=len(patient),
            new_lost=len(patient) - len(waited),
            slowest_new_ms=round(max(waited, default=0.0), 1),
            client=_kept(client.own),
            server=_kept(server.own),
            download=_kept(_connections(read, "download")),
            shared=_kept([*client.shared, *server.shared]),
            changed=_kept([*client.changed, *server.changed]),
            stood_still=max((later - sooner for sooner, later in pairwise(sent)), default=0) / 1e9,
        )


Report = Mapping[str, Any]
"""One connection's, as `flows` writes it."""


def _connections(read: Mapping[str, Any], mode: str) -> list[Report]:
    """Those of all hosts."""
    return [each for name, found in read.items() if name.startswith(mode) for each in found["connections"]]


@dataclass(frozen=True)
class _ByPort:
    """Connections to one destination: those whose source port is nobody else's, those that share it with another host's
    and left the NAT from it, and those whose port the NAT changed, because it had one from it already (or still)."""

    own: list[Report]
    shared: list[Report]
    changed: list[Report]


def _by_port(reports: Sequence[Report]) -> _ByPort:
    ports = Counter(_port(each["asked_from"]) for each in reports)
    found = _ByPort([], [], [])
    for each in reports:
        port = _port(each["asked_from"])
        is_changed = bool(each["sources"]) and _port(next(iter(each["sources"]))) != port
        kind = found.changed if is_changed else found.shared if ports[port] > 1 else found.own
        kind.append(each)
    return found


def _port(source: str) -> str:
    return source.rpartition(":")[2]


def _kept(reports: Iterable[Report]) -> Kept | None:
    found = list(reports)
    if not found:
        return None
    living = [each for each in found if each["survived"]]
    return Kept(
        opened=len(found),
        survived=len(living),
        longest_gap_ms=max((each["longest_gap_ms"] for each in living), default=None),
        addresses_seen=tuple(sorted({each.rpartition(":")[0] for one in found for each in one["sources"]})),
        is_contiguous=all(each["contiguous"] for each in found),
        errors=tuple(sorted({each["error"] for each in found if each["error"]})),
    )
