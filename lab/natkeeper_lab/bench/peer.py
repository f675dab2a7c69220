"""The baseline as the benchmark's keeper: its NATs, its controller behind EventBridge, its probers in their subnets.

Called by the benchmark's sections and tests. The machines around it are the lab's, as for natkeeper, and nobody
launches a new one when one is gone: the benchmark does, as an auto scaling group would. Inside `sandbox` only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from natkeeper_lab import baseline
from natkeeper_lab.baseline.controller import ZONE_TAG
from natkeeper_lab.bench.rig import Rig
from natkeeper_lab.network import TARGETS
from natkeeper_lab.runtime import FunctionResult
from natkeeper_lab.runtime.processor import Limiter, limiter_of
from natkeeper_lab.vpc import IMAGE

NAT_SCRIPT = (Path(baseline.__file__).parent / "nat.sh").read_text("utf-8")
FUNCTION = "baseline"
PATTERN = {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]}


class Peer(Rig):
    """Ready when it is built: it has no state to settle."""

    def __init__(self, zones: int = 2) -> None:
        self._probers: list[subprocess.Popen[Any]] = []
        self._controller: subprocess.Popen[str] | None = None
        self._limiter: Limiter | None = None
        self._lock = threading.Lock()
        super().__init__(zones)
        try:
            self._start_controller()
            for group in self.stack.groups:
                self._start_prober(group)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Its own processes first; those in a subnet end with it."""
        for each in self._probers:
            each.kill()
        if self._controller is not None:
            self._controller.kill()
            self._controller.wait()
        if self._limiter is not None:
            self._limiter.end()
        super().close()

    # -- its machines

    def launch(self, group: str) -> None:
        """A NAT that masquerades, with an Elastic IP of its own for as long as it lives."""
        deployed = self.stack.groups[group]
        nic = {"DeviceIndex": 0, "SubnetId": deployed.public_subnet, "Groups": [self.stack.nat_group]}
        tags = [{"Key": ZONE_TAG, "Value": group}]
        made = self.stack.ec2.run_instances(
            ImageId=IMAGE,
            InstanceType="t4g.nano",
            MinCount=1,
            MaxCount=1,
            UserData=NAT_SCRIPT,
            NetworkInterfaces=[nic],
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"][0]
        deployed.nat = made["InstanceId"]
        self.stack.set_source_dest_check(deployed.nat, False)
        interface = self.stack.interface_of(deployed.nat)
        self.stack.ec2.associate_address(AllocationId=deployed.allocation, NetworkInterfaceId=interface)
        self.stack.wait_for(deployed.nat, "running")

    def is_nat(self, tags: Any) -> bool:
        return ZONE_TAG in tags

    # -- its processes

    def _start_controller(self) -> None:
        api = self.stack.api
        tables = {name: list(each.tables) for name, each in self.stack.groups.items()}
        env = {**api.environment(), "BASELINE_TABLES": json.dumps(tables)}
        self._controller = subprocess.Popen(
            [sys.executable, "-m", "natkeeper_lab.baseline.controller"],
            env={**_plain_environment(), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._controller.stdout is not None
        self._controller.stdout.readline()
        self._limiter = limiter_of(self._controller.pid)
        self._limiter.limit(self.share)
        arn = api.register_function(FUNCTION, self._invoke)
        events: Any = boto3.client("events")
        events.put_rule(Name=FUNCTION, EventPattern=json.dumps(PATTERN))
        events.put_targets(Rule=FUNCTION, Targets=[{"Id": FUNCTION, "Arn": arn}])

    def _invoke(self, payload: bytes) -> FunctionResult:
        """One event at a time, as with a reserved concurrency of one."""
        controller = self._controller
        assert controller is not None
        assert controller.stdin is not None
        assert controller.stdout is not None
        with self._lock:
            controller.stdin.write(json.dumps(json.loads(payload)) + "\n")
            controller.stdin.flush()
            return FunctionResult(controller.stdout.readline().encode() or b"null")

    def _start_prober(self, group: str) -> None:
        targets = [f"{each}:443" for each in TARGETS[:2]]
        process = self.stack.network.spawn(
            self.stack.groups[group].host,
            ["python", "-m", "natkeeper_lab.baseline.prober", *targets],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._probers.append(process)
        threading.Thread(target=self._listen, args=(process, group), daemon=True).start()

    def _listen(self, process: subprocess.Popen[Any], group: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "down":
                self._tell({"down": group})

    def _tell(self, event: Mapping[str, Any]) -> str:
        return str(json.loads(self._invoke(json.dumps(event).encode()).payload))

    # -- keeping

    def move(self, group: str, to: str) -> float:
        """It has no notion of a planned move: leaving is what it does when a NAT dies, returning when one runs."""
        home = {"detail": {"instance-id": self.nat(group), "state": "running"}}
        at = time.monotonic()
        self._tell(home if to == "home" else {"leave": group})
        return at

    def recover(self) -> None:
        """A NAT in each zone again, started or launched by hand; the controller sends traffic home when it runs."""
        for group in self.stack.groups:
            found = self.nats(group)
            if not found:
                self.launch(group)
            elif self.stack.describe(found[-1])["State"]["Name"] in ("stopping", "stopped"):
                self.stack.wait_for(found[-1], "stopped")
                self.stack.ec2.start_instances(InstanceIds=found[-1:])
                self.stack.wait_for(found[-1], "running")
            elif not self.address_is_home(group):
                self.move(group, "home")
            self.until(f"zone {group} at home", lambda group=group: self.address_is_home(group), 30)  # type: ignore[misc]


def _plain_environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
