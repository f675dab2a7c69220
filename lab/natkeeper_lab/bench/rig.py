"""A VPC with a NAT in each zone and somebody who keeps its routes, in which events can be played again and again.

`Rig` is what the benchmark's two keepers share: `bench.keeper` (natkeeper) and `bench.peer` (the baseline).
Runs inside `sandbox` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import boto3

from natkeeper_lab.api import HAND, ApiOptions, Call
from natkeeper_lab.runtime.processor import share_of
from natkeeper_lab.stack import ANYWHERE, Choices, Stack

CALL_SECONDS = 0.05
"""Added to every call that is not made by hand: roughly what a call to one's own region takes."""
TABLES = 3
"""Route tables of a zone: enough to tell a keeper that moves them one by one from one that moves them at once."""
PACE = ApiOptions(boot_seconds=1.0, stop_seconds=1.0)
RUN, QUIET, TICK = 5.0, 9.0, 20.0
"""Of a watch run, before going home, and of the schedule's minute: what only sets the time between two runs.
The quiet period is longer than a move away is watched and the connections of the next event take to open, or traffic
would come home in the middle of them."""

HOSTS = ("10.0.2.11", "10.0.2.12")
"""More private hosts in zone a, beside the lab's own: connections of several hosts may have one source port, and then
the NAT must change one."""
HOSTED = "a"

UNBOUNDED = {"MaxFailoversPerHour": "60", "MaxLaunchesPerDay": "100"}
"""The template's own upper limits: the benchmark has more bad luck in an hour than natkeeper lets pass by default."""


class Rig:
    """Build it, play, close it; or use it as a context manager. Times are `time.monotonic()`."""

    def __init__(self, zones: int = 2, tables: int = TABLES, choices: Choices | None = None) -> None:
        paced = Choices(zones=zones, tables=tables, run=RUN, quiet=QUIET, tick=TICK, api=PACE, parameters=UNBOUNDED)
        self.stack = Stack(replace(choices or paced, has_share=True))
        self.states: list[tuple[float, str, str]] = []
        """When which instance came into which state, as EC2's events said."""
        try:
            # The lab's own hand is not slowed down, and what it calls is no keeper's call.
            self.stack.ec2 = boto3.Session(aws_access_key_id=HAND, aws_secret_access_key=HAND).client("ec2")
            self.stack.api.on_event(self._note)
            for group in self.stack.groups:
                self.launch(group)
                self.stack.put_home(group)
            self.others = tuple(map(self._add_host, HOSTS))
            for each in self.others:
                self.stack.wait_for(each, "running")
            self.slow_down()
        except BaseException:
            self.stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stack.close()

    def _add_host(self, address: str) -> str:
        """One like the zone's own."""
        known = self.stack.describe(self.stack.groups[HOSTED].host)
        nic = {
            "DeviceIndex": 0,
            "SubnetId": known["SubnetId"],
            "Groups": [each["GroupId"] for each in known["SecurityGroups"]],
            "PrivateIpAddress": address,
        }
        made = self.stack.ec2.run_instances(ImageId=known["ImageId"], MinCount=1, MaxCount=1, NetworkInterfaces=[nic])
        return str(made["Instances"][0]["InstanceId"])

    def launch(self, group: str) -> None:
        """The zone's NAT, as this keeper's would be, ready to forward."""
        self.stack.set_source_dest_check(self.stack.launch_nat(group), False)

    def slow_down(self) -> None:
        """No fault but the latency."""
        self.stack.api.faults.clear()
        self.stack.api.faults.delay(CALL_SECONDS)

    # -- what a keeper does by itself

    def move(self, group: str, to: str) -> float:
        """A planned move, to another zone or `home`; when the keeper was asked for it."""
        raise NotImplementedError

    def recover(self) -> None:
        """Until everything is as it was before the event."""
        raise NotImplementedError

    def account(self, _since: float) -> list[str]:
        """What the keeper has to say for itself since then."""
        return []

    # -- what happens to it

    def stop(self, group: str) -> float:
        """EC2 begins to stop the zone's NAT; when its event said so."""
        return self._until_event("stopping", self.stack.ec2.stop_instances, self.nat(group))

    def terminate(self, group: str) -> float:
        """The same with no way back."""
        return self._until_event("shutting-down", self.stack.ec2.terminate_instances, self.nat(group))

    def hang(self, group: str) -> float:
        """The zone's NAT forwards nothing from now on, and EC2 shows it running."""
        at = time.monotonic()
        self.stack.network.hang(self.nat(group))
        return at

    def lose_zone(self, group: str) -> float:
        """The zone's NAT is silent and EC2 has no machine to start or launch; the zone's private hosts stay."""
        for operation in ("RunInstances", "StartInstances"):
            self.stack.api.faults.fail(operation, "InsufficientInstanceCapacity", times=None)
        return self.hang(group)

    def mend(self, group: str) -> None:
        """The end of a hang or a zone's loss."""
        self.slow_down()
        for nat in self.nats(group):
            if self.stack.network.is_on(nat):
                self.stack.network.unhang(nat)

    # -- asking

    @property
    def share(self) -> float:
        """Processors that the deployed controller may use."""
        return share_of(self.stack.deployment.functions["ControllerFunction"].memory_mb)

    def nat(self, group: str) -> str:
        """The zone's newest NAT. LookupError when there is none."""
        return self.nats(group)[-1]

    def nats(self, group: str) -> list[str]:
        """The zone's NATs that are not gone, the newest last."""
        gone = ("shutting-down", "terminated")
        found = [
            each
            for each in self.stack.api.machines()
            if each.zone.endswith(group) and self.is_nat(each.tags) and each.state not in gone
        ]
        return [each.instance_id for each in sorted(found, key=lambda each: each.launched_at)]

    def is_nat(self, tags: Any) -> bool:
        """Whether an instance with these tags is a NAT of this keeper's."""
        return bool(tags.get("natkeeper:role") == "nat")

    def moves(self, group: str, since: float) -> list[Call]:
        """Calls that pointed the zone's default routes somewhere, answered since then, in that order."""
        tables = self.stack.groups[group].tables
        return [
            each
            for each in self.stack.api.calls()
            if each.operation in ("ReplaceRoute", "CreateRoute")
            and each.started_at >= since
            and each.error_code is None
            and each.params.get("DestinationCidrBlock") == ANYWHERE
            and each.params.get("RouteTableId") in tables
        ]

    def wait_until_moved(self, group: str, since: float, seconds: float = 40) -> list[Call]:
        """Until each of the zone's tables was moved; the calls that did it. TimeoutError when that does not come."""
        wanted = set(self.stack.groups[group].tables)
        self.until(
            f"every route of zone {group} moved",
            lambda: wanted <= {str(each.params["RouteTableId"]) for each in self.moves(group, since)},
            seconds,
        )
        return self.moves(group, since)[: len(wanted)]

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits; TimeoutError names what did not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s in vain for: {what}")
            time.sleep(0.03)

    def address_is_home(self, group: str) -> bool:
        """The zone's Elastic IP is on the interface that its routes point at, and that is the zone's own NAT."""
        deployed = self.stack.groups[group]
        address = self.stack.ec2.describe_addresses(AllocationIds=[deployed.allocation])["Addresses"][0]
        own = {self.stack.interface_of(self.nat(group))}
        return self.stack.route_of(group) == own and {address.get("NetworkInterfaceId")} == own

    def _until_event(self, state: str, call: Callable[..., Any], instance_id: str) -> float:
        known = len(self.states)
        call(InstanceIds=[instance_id])

        def found() -> list[float]:
            return [at for at, which, now in self.states[known:] if (which, now) == (instance_id, state)]

        self.until(f"{instance_id} {state}", lambda: bool(found()), 30)
        return found()[0]

    def _note(self, event: dict[str, Any]) -> None:
        detail = event.get("detail", {})
        if "state" in detail and "instance-id" in detail:
            self.states.append((time.monotonic(), detail["instance-id"], detail["state"]))
