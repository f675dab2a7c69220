"""Measures a failover inside Lambda's processor share, warm and in a fresh environment. Called by `tools/bench.py`.

From the instant an event is given to the controller's function until the last of three route tables is answered for.
The function is a process under Lambda's runtime client, the API speaks TLS as AWS's does, and packets are only
remembered. The floor is a bare client under the same share; it makes the same calls in two round trips.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from botocore.httpsession import get_cert_path

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper_lab import certificates, deployment
from natkeeper_lab.bench import bare
from natkeeper_lab.runtime import FunctionHost
from natkeeper_lab.runtime.artefact import artefact_of
from natkeeper_lab.runtime.processor import FULL_MB, share_of
from tests.support.cloud import FAST, Cloud

CALL_SECONDS = 0.05
TABLES = 3
RUNS = 7
TIMES_THE_FLOOR = 1.5
FRESH_ADDS_MS = 400.0
TIMEOUT = 20.0
"""Of the controller, in template.yaml."""
EVENT = Path(__file__).resolve().parents[1] / "events" / "ec2-state-change-stopping.json"


@contextmanager
def tls(folder: Path) -> Iterator[tuple[str, str]]:
    """A certificate for the API. Clients trust it beside the authorities that botocore brings, and so read as many."""
    files = certificates.issue(folder, ["127.0.0.1"])
    bundle = folder / "authorities.pem"
    bundle.write_bytes(Path(get_cert_path(True)).read_bytes() + b"\n" + files.authority.read_bytes())
    before = os.environ.get("AWS_CA_BUNDLE")
    os.environ["AWS_CA_BUNDLE"] = str(bundle)
    try:
        yield str(files.certificate), str(files.key)
    finally:
        del os.environ["AWS_CA_BUNDLE"]
        if before is not None:
            os.environ["AWS_CA_BUNDLE"] = before


class Trial:
    """A cloud with the controller as a function of this MemorySize."""

    def __init__(self, cloud: Cloud, memory_mb: int) -> None:
        self._cloud = cloud
        self._host = FunctionHost(
            "controller",
            "natkeeper.handlers.controller.handler",
            {**cloud.api.environment(), **cloud.environment, "AWS_CA_BUNDLE": os.environ["AWS_CA_BUNDLE"]},
            code=artefact_of("ControllerFunction"),
            memory_mb=memory_mb,
            timeout_seconds=TIMEOUT,
            has_share=True,
        )

    def failover(self, *, is_fresh: bool) -> float:
        """Milliseconds from the event to the answer of the last ReplaceRoute. Warm means that a tick came before."""
        cloud, host = self._cloud, self._host
        try:
            if not is_fresh:
                for _ in range(2):
                    host.invoke(b'{"natkeeper":{"tick":true}}')
            cloud.stop_nat("a")
            cloud.forget()
            cloud.api.faults.delay(CALL_SECONDS)
            began = time.monotonic()
            result = host.invoke(self._event())
        finally:
            host.stop()
            cloud.api.faults.clear()
        answered = [
            call.ended_at
            for call in cloud.calls("ReplaceRoute")
            if call.params["DestinationCidrBlock"] == DEFAULT_ROUTE and call.error_code is None
        ]
        if result.error is not None or len(answered) < TABLES:
            raise RuntimeError(f"no failover: {result.payload!r}, {len(answered)} of {TABLES} routes")
        return (answered[TABLES - 1] - began) * 1000

    def _event(self) -> bytes:
        event = json.loads(EVENT.read_text("utf-8"))
        event |= {"account": "123456789012", "region": self._cloud.api.options.region}
        event["detail"]["instance-id"] = self._cloud.zones["a"].instance
        return json.dumps(event).encode()


def failovers(memory_mb: int, runs: int, *, is_fresh: bool, certificate: tuple[str, str]) -> list[float]:
    """Each in a cloud of its own, so that no run knows of another."""
    options = replace(FAST, certificate=certificate)
    found = []
    for _ in range(runs):
        with Cloud(2, TABLES, options=options) as cloud:
            found.append(round(Trial(cloud, memory_mb).failover(is_fresh=is_fresh), 1))
    return found


def floors(memory_mb: int, runs: int, certificate: tuple[str, str]) -> list[float]:
    """The bare client's moves from a to b and back, under the same share."""
    with Cloud(2, TABLES, options=replace(FAST, certificate=certificate)) as cloud:
        a, b = cloud.zones["a"], cloud.zones["b"]
        cloud.api.faults.delay(CALL_SECONDS)
        wanted = {
            "allocation": a.allocation,
            "tables": a.tables,
            "places": [[b.interface, cloud.spare_address("b")], [a.interface, None]],
            "runs": 2 * runs,
        }
        return bare.measure(wanted, share_of(memory_mb))


def measure(memories: Sequence[int] = (), runs: int = RUNS) -> dict[str, Any]:
    """A row for each MemorySize; without any, for the template's."""
    with tempfile.TemporaryDirectory() as folder, tls(Path(folder)) as certificate:
        rows = [_row(each, runs, certificate) for each in memories or (deployed_memory(),)]
    return {"call_ms": 1000 * CALL_SECONDS, "rows": rows, "is_within_limits": all(row["is_kept"] for row in rows)}


def deployed_memory() -> int:
    """The controller's MemorySize in template.yaml."""
    template = json.loads(deployment.expand(deployment.TEMPLATE.read_text("utf-8")))
    return int(template["Resources"]["ControllerFunction"]["Properties"]["MemorySize"])


def _row(memory_mb: int, runs: int, certificate: tuple[str, str]) -> dict[str, Any]:
    """Judged by the fastest run of each, to which a busy machine has added the least: the functions have their share
    of it, the API that answers them has not."""
    floor = floors(memory_mb, runs, certificate)
    warm = failovers(memory_mb, runs, is_fresh=False, certificate=certificate)
    fresh = failovers(memory_mb, runs, is_fresh=True, certificate=certificate)
    ratio = min(warm) / min(floor)
    added = min(fresh) - min(warm)
    return {
        "memory_mb": memory_mb,
        "share": round(share_of(memory_mb), 3),
        "floor_ms": floor,
        "warm_ms": warm,
        "fresh_ms": fresh,
        "ratio": round(ratio, 2),
        "fresh_adds_ms": round(added, 1),
        "is_kept": ratio <= TIMES_THE_FLOOR and added <= FRESH_ADDS_MS,
    }


def print_table(result: dict[str, Any]) -> None:
    print(f"event to last of {TABLES} ReplaceRoute answered, functions within Lambda's share of a processor")
    print(f"({FULL_MB} MB is one), {result['call_ms']:.0f} ms injected per call, over TLS; ms")
    print("fastest, median and slowest run; judged by the fastest, to which a busy machine added the least")
    print(f"{'MB':>6}{'share':>7}{'floor':>17}{'warm':>17}{'fresh':>17}{'x floor':>9}{'fresh adds':>12}")
    for row in result["rows"]:
        figures = "".join(f"{_spread(row[name]):>17}" for name in ("floor_ms", "warm_ms", "fresh_ms"))
        print(f"{row['memory_mb']:>6}{row['share']:>7.3f}{figures}{row['ratio']:>9.2f}{row['fresh_adds_ms']:>12.0f}")
    print(f"limits: {TIMES_THE_FLOOR} x floor, a fresh environment adds {FRESH_ADDS_MS:.0f} ms")


def _spread(samples: Sequence[float]) -> str:
    return f"{min(samples):.0f} {statistics.median(samples):.0f} {max(samples):.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs per figure (default {RUNS})")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="MemorySizes (default: the template's)")
    options = parser.parse_args()
    result = measure(options.memory, options.runs)
    print_table(result)
    return 0 if result["is_within_limits"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
