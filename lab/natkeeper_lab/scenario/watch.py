"""The lab's own eyes on private hosts during a scenario: new connections as they go, established ones to the end.

Called by `scenario.scene`. Shares no code with natkeeper: a ruler must not. Times are `time.monotonic()` seconds.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natkeeper_lab.measure import Outage, Probe, outages
from natkeeper_lab.network import WEB
from natkeeper_lab.scenario.file import Flow
from natkeeper_lab.scenario.sight import INTERVAL_MS, STRICT_MS
from natkeeper_lab.scenario.sight import PATIENT_MS as PATIENT_MS
from natkeeper_lab.stack import Stack


class Ruler:
    """New connections from one zone's private host, open loop; each is known once it stands or has failed."""

    def __init__(self, stack: Stack, group: str, deadline_ms: int = STRICT_MS) -> None:
        self.deadline = deadline_ms / 1000
        self._rows: list[Probe] = []
        argv = [
            "python",
            "-m",
            "natkeeper_lab.probe",
            "--target",
            f"{WEB}:80",
            "--deadline-ms",
            str(deadline_ms),
            "--live",
        ]
        argv += ["--interval-ms", str(INTERVAL_MS[deadline_ms])]
        pipe = subprocess.PIPE
        self._process = stack.network.spawn(stack.groups[group].host, argv, stdout=pipe, stderr=pipe, text=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            sent, answered, *error = line.split()
            self._rows.append(Probe(int(sent), int(answered) or None, " ".join(error)))

    def stop(self) -> None:
        """Ends it; what was seen stays."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=self.deadline + 60)
        self._thread.join(timeout=60)

    def since(self, at: float) -> list[Probe]:
        """Connections begun since then whose fate is known, in order."""
        return sorted((each for each in list(self._rows) if each.sent_ns >= at * 1e9), key=lambda each: each.sent_ns)

    def outages(self, since: float) -> list[Outage]:
        """Rows of failed connections since then."""
        return outages(self.since(since))

    def failed(self, since: float) -> list[Probe]:
        """Connections that failed since then."""
        return [each for each in self.since(since) if each.answered_ns is None]

    @property
    def known_until(self) -> float:
        """Connections begun before this have an end that is known."""
        return time.monotonic() - self.deadline - 0.1


class FarEnd:
    """Whom the far end sees one zone's private host as, several times a second."""

    def __init__(self, stack: Stack, group: str) -> None:
        self.seen: list[tuple[float, str]] = []
        argv = ["python", "-m", "natkeeper_lab.far_end", "--target", f"{WEB}:80"]
        pipe = subprocess.PIPE
        self._process = stack.network.spawn(stack.groups[group].host, argv, stdout=pipe, text=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            asked_ns, address = line.split()
            self.seen.append((int(asked_ns) / 1e9, address))

    def stop(self) -> None:
        """Ends it; what was seen stays."""
        self._process.kill()
        self._process.wait(timeout=60)
        self._thread.join(timeout=60)


@dataclass(frozen=True)
class Fate:
    """What became of one set of flows. `opened_at`: when all of them stood."""

    flow: Flow
    opened: int
    survived: int
    longest_gap_ms: float | None
    addresses: tuple[str, ...]
    errors: tuple[str, ...]


class Flows:
    """Established connections, opened at once and read at the end."""

    def __init__(self, stack: Stack, wanted: tuple[Flow, ...]) -> None:
        self._running: list[tuple[Flow, subprocess.Popen[Any], Path]] = []
        for number, flow in enumerate(wanted):
            output = Path(stack.directory.name, f"flow-{number}.json")
            argv = ["python", "-m", "natkeeper_lab.flows", flow.speaks, "--connections", str(flow.count)]
            argv += ["--target", f"{WEB}:{flow.port}", "--interval", str(flow.every)]
            argv += ["--stalled-after", str(max(1.5, 3 * flow.every)), "--output", str(output)]
            where = stack.groups[flow.group].host
            process = stack.network.spawn(where, argv, stderr=subprocess.PIPE, text=True)
            self._running.append((flow, process, output))
        for flow, process, _ in self._running:
            assert process.stderr is not None
            if process.stderr.readline().strip() != "ready":
                raise RuntimeError(f"the flows of group {flow.group} to port {flow.port} could not be opened")

    def stop(self) -> list[Fate]:
        """Ends them and says what became of them."""
        for _, process, _ in self._running:
            process.send_signal(signal.SIGTERM)
        return [self._fate(flow, process, output) for flow, process, output in self._running]

    def _fate(self, flow: Flow, process: subprocess.Popen[Any], output: Path) -> Fate:
        process.wait(timeout=60)
        raw = json.loads(output.read_text())
        addresses, errors = tuple(raw["addresses_seen"]), tuple(raw["errors"])
        return Fate(flow, raw["opened"], raw["survived"], raw["longest_gap_ms"], addresses, errors)
