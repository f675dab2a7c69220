"""The baseline's controller: one event in, routes moved, nothing remembered.

`bench.peer` starts it as `python -m natkeeper_lab.baseline.controller` and writes one JSON event a line to it; each is
answered with one line. Two events move a zone's tables: its NAT begins to stop (or its prober calls it down), and its
NAT runs. Standard library and boto3 only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import boto3

ANYWHERE = "0.0.0.0/0"
ZONE_TAG = "baseline:zone"
LEAVING = ("stopping", "shutting-down")


class Controller:
    """`tables` are each zone's private route tables, in the order in which they are moved."""

    def __init__(self, ec2: Any, tables: Mapping[str, list[str]]) -> None:
        self._ec2 = ec2
        self._tables = tables

    def handle(self, event: Mapping[str, Any]) -> str:
        """What was done, in words. botocore's ClientError at the first call that is refused: the rest is not done."""
        if zone := event.get("down") or event.get("leave"):
            return self._leave(str(zone))
        detail = event.get("detail", {})
        if detail.get("state") in LEAVING:
            return self._leave(self._zone_of(detail["instance-id"]))
        if detail.get("state") == "running" and (zone := self._zone_of(detail["instance-id"])):
            return self._point(zone, detail["instance-id"])
        return "nothing"

    def _leave(self, zone: str) -> str:
        """To the next zone's instance that EC2 calls running; that it forwards is taken for granted."""
        if zone not in self._tables:
            return "not ours"
        self._ec2.describe_addresses()
        names = sorted(self._tables)
        at = names.index(zone)
        running = self._running()
        for neighbour in names[at + 1 :] + names[:at]:
            if neighbour in running:
                return self._point(zone, running[neighbour])
        return "nobody to move to"

    def _point(self, zone: str, instance_id: str) -> str:
        self._ec2.describe_route_tables(RouteTableIds=self._tables[zone])
        for table in self._tables[zone]:
            self._ec2.replace_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, InstanceId=instance_id)
        return f"{zone} -> {instance_id}"

    def _zone_of(self, instance_id: str) -> str:
        found = self._ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        tags = {each["Key"]: each["Value"] for each in found[0]["Instances"][0].get("Tags", [])}
        return str(tags.get(ZONE_TAG, ""))

    def _running(self) -> dict[str, str]:
        answer = self._ec2.describe_instances(
            Filters=[
                {"Name": "tag-key", "Values": [ZONE_TAG]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
        )
        machines = [each for reservation in answer["Reservations"] for each in reservation["Instances"]]
        return {tag["Value"]: each["InstanceId"] for each in machines for tag in each["Tags"] if tag["Key"] == ZONE_TAG}


def main() -> None:
    controller = Controller(boto3.client("ec2"), json.loads(os.environ["BASELINE_TABLES"]))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        try:
            answer = controller.handle(json.loads(line))
        except Exception as error:  # as Lambda does: the invocation failed, the next event finds the process as it was
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
