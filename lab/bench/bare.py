"""The floor of a move: describe, then address and routes at once, by a boto3 client that does nothing else.

`lab.bench.sections` starts it as a process of its own, as a function is one: `python -m lab.bench.bare JSON`, with
`{"allocation", "tables", "places": [[interface, private address or null], …], "runs"}`. Moves from place to place and
prints the milliseconds of each move but the first, which opens the connections. May import boto3 alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config


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
        took = [move(ec2, pool, wanted, *places[run % len(places)]) for run in range(wanted["runs"] + 1)]
    print(json.dumps(took[1:]))


if __name__ == "__main__":
    main(sys.argv[1])
