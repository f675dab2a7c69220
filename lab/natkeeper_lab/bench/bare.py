"""The floor of a move: describe, then address and routes at once, by a boto3 client that does nothing else.

`measure` starts it as a process of its own, as a function is one: `python -m natkeeper_lab.bench.bare JSON`, with
`{"allocation", "tables", "places": [[interface, private address or null], …], "runs"}`. It moves once, which opens the
connections, says so, waits for a line, and then moves from place to place and prints the milliseconds of each move.
May import boto3 alone, besides what keeps the process within its share.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from natkeeper_lab.runtime.processor import limiter_of


def measure(wanted: Mapping[str, Any], share: float | None) -> list[float]:
    """Milliseconds of each move by a process that may use so many processors."""
    process = subprocess.Popen(
        [sys.executable, "-m", "natkeeper_lab.bench.bare", json.dumps(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    limiter = limiter_of(process.pid)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        limiter.limit(share)
        said, _ = process.communicate("go\n")
    finally:
        process.kill()
        process.wait()
        limiter.end()
    return [round(took, 1) for took in json.loads(said)]


def move(ec2: Any, pool: ThreadPoolExecutor, wanted: Mapping[str, Any], interface: str, private: str | None) -> float:
    """Two round trips, whatever the number of tables."""
    began = time.monotonic()
    ec2.describe_instances()
    landing = {"PrivateIpAddress": private} if private else {}
    calls = [pool.submit(_associate, ec2, wanted["allocation"], interface, landing)]
    calls += [pool.submit(_point, ec2, table, interface) for table in wanted["tables"]]
    for each in calls:
        each.result()
    return (time.monotonic() - began) * 1000


def _associate(ec2: Any, allocation: str, interface: str, landing: Mapping[str, str]) -> None:
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=interface, AllowReassociation=True, **landing)


def _point(ec2: Any, table: str, interface: str) -> None:
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=interface)


def main(text: str) -> None:
    wanted = json.loads(text)
    at_once = len(wanted["tables"]) + 1
    ec2 = boto3.client("ec2", config=Config(max_pool_connections=at_once))
    places = wanted["places"]
    with ThreadPoolExecutor(at_once) as pool:
        move(ec2, pool, wanted, *places[-1])
        print("ready", flush=True)
        sys.stdin.readline()
        took = [move(ec2, pool, wanted, *places[run % len(places)]) for run in range(wanted["runs"])]
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1])
