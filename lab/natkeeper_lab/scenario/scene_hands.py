"""`scenario.hands.Hands` of the lab: a scene with real packets, changed as people change it and as AWS lets it happen.

Made by `scenario.scene`. Runs inside `sandbox` only.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from botocore import xform_name
from botocore.exceptions import ClientError

from natkeeper.adapters.ec2_facts import GROUP_TAG
from natkeeper.core.policy import Policy
from natkeeper_lab.api.world import ACCOUNT
from natkeeper_lab.network import TARGETS, Network
from natkeeper_lab.runtime import FunctionHost
from natkeeper_lab.scenario.crash import Crash
from natkeeper_lab.scenario.theirs import launch, table_through_a_gateway
from natkeeper_lab.skew import VARIABLE

if TYPE_CHECKING:
    from natkeeper_lab.scenario.scene import Scene

WITHOUT = {"script": "", "rules": "#!/bin/sh\necho 1 > /proc/sys/net/ipv4/ip_forward\nexit 0\n"}
"""What boots in place of the user data."""
GUEST: Mapping[str, Callable[[Network, str, Any], None]] = {
    "is_hung": lambda network, found, _: network.hang(found),
    "is_forwarding": lambda network, found, is_on: network.drop_forwarding(found, not is_on),
    "has_ruleset": lambda network, found, _: network.flush_nat(found),
    "takes_new_flows": lambda network, found, does: network.fill_conntrack(found, 0 if does else 100),
    "loss": lambda network, found, share: network.packet_loss(found, share * 100),
    "megabits": lambda network, found, megabits: network.limit_bandwidth(found, megabits),
}
PACES = {"model": "remap_model", "public": "public_address", "boot": "launch", "events": "event"}
"""Times of AWS's that have another name in `api.paces`."""
GENERATION = "NATKEEPER_LAUNCH_TEMPLATE_VERSION"


class SceneHands:
    """A step may be any thread's: what it changes, the API and the network guard."""

    refusals: type[Exception] = ClientError
    account = ACCOUNT

    def __init__(self, scene: Scene) -> None:
        self.sight = scene
        self._stack = scene.stack
        self.zones_down: set[str] = set()
        self.blocked: Set[int] = frozenset()
        self.region, self.vpc = scene.stack.choices.api.region, scene.stack.vpc
        self.faults = scene.stack.api.faults
        self.events = scene.stack.api

    @property
    def policy(self) -> Policy:
        return self._stack.settings.policy

    @property
    def is_closing(self) -> bool:
        return self.sight.is_closing

    def by_hand(self) -> AbstractContextManager[None]:
        """The scene's own clients sign as a person, whoever calls them."""
        return nullcontext()

    def aside(self, run: Callable[[], object]) -> None:
        threading.Thread(target=run, daemon=True).start()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def ec2(self, operation: str, **params: Any) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], getattr(self._stack.ec2, xform_name(operation))(**params))

    # -- instances and places

    def set_guest(self, instance_id: str, name: str, value: Any) -> bool:
        change = GUEST[name]
        try:
            change(self._stack.network, instance_id, value)
        except KeyError:
            return False
        return True

    def break_user_data(self, group: str | None, without: str) -> None:
        self._stack.api.break_user_data(lambda tagged: group in (None, tagged), WITHOUT[without])

    def launch_theirs(self, group: str, tags: Mapping[str, str], *, is_in_our_vpc: bool) -> None:
        """Beside the timeline: a launch takes its time."""
        self.aside(lambda: launch(self._stack, group, tags, is_in_our_vpc=is_in_our_vpc))

    def set_zone(self, zone: str, *, is_down: bool) -> None:
        network = self._stack.network
        mark, change = (self.zones_down.add, network.hang) if is_down else (self.zones_down.discard, network.unhang)
        mark(zone)
        for instance_id in self._nats(zone):
            change(instance_id)

    def _nats(self, zone: str) -> list[str]:
        return [
            one.instance_id
            for one in self._stack.api.machines()
            if one.zone == f"{self.region}{zone}"
            and GROUP_TAG in one.tags
            and one.state in ("running", "stopping", "shutting-down")
            and self._stack.network.is_on(one.instance_id)
        ]

    def block_targets(self, indexes: Set[int]) -> None:
        self.blocked = indexes
        self._stack.network.block([TARGETS[number] for number in sorted(indexes)])

    def block_public_access(self, is_blocked: bool) -> None:
        gateways = self._stack.ec2.describe_nat_gateways()["NatGateways"]
        addresses = [one["NatGatewayAddresses"][0]["PrivateIp"] for one in gateways]
        self._stack.network.block_public_access(addresses if is_blocked else None)

    def put_subnet(self, group: str, which: str) -> bool:
        ec2, subnet = self._stack.ec2, self._stack.groups[group].private_subnet
        tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        listed = [one for table in tables for one in table["Associations"]]
        now = next((one["RouteTableAssociationId"] for one in listed if one.get("SubnetId") == subnet), None)
        if which == "none":
            if now is not None:
                ec2.disassociate_route_table(AssociationId=now)
            return now is not None
        main = next(one["RouteTableId"] for one in listed if one.get("Main"))
        table = main if which == "main" else self._others_table(group)
        if now is None:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        else:
            ec2.replace_route_table_association(RouteTableId=table, AssociationId=now)
        return True

    def _others_table(self, group: str) -> str:
        table, allocations = table_through_a_gateway(self._stack, group)
        self.sight.theirs |= allocations
        return table

    # -- AWS's own times and answers

    def set_time(self, name: str, value: float | str | None) -> None:
        setattr(self._stack.api.paces, PACES.get(name, name), value)

    def lag(self, operation: str, seconds: float) -> None:
        self._stack.api.lag(operation, seconds)

    # -- functions and the ledger

    def deliver(self, event: dict[str, Any]) -> None:
        if "detail-type" in event:
            self._stack.api.deliver(event)
        else:
            self.aside(lambda: self.wake(event))

    def wake(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """A crash of the controller is what some scenarios want, so it is no error here."""
        result = self._stack.hosts["controller"].invoke(json.dumps(event, default=str).encode())
        if result.error is not None:
            failed = time.monotonic(), "controller", result.payload.decode(errors="replace")
            self.sight.failed_commands.append(failed)
        answer = json.loads(result.payload)
        return answer if isinstance(answer, dict) else {}

    def crash_controller(self, after_calls: int) -> None:
        Crash(self._stack, after_calls)

    def skew(self, function: str, seconds: float) -> None:
        self._override(function, {VARIABLE: str(seconds)})

    def _override(self, function: str, environment: Mapping[str, str]) -> None:
        """Of the controller's, to every one there is."""
        for host in (self._stack.hosts[function], *(self.sight.spares if function == "controller" else ())):
            host.override(environment)

    def set_cpu_share(self, function: str, percent: float | None) -> None:
        self._stack.set_cpu_share(function, percent)

    def stop_schedule(self, seconds: float) -> None:
        self._stack.stop_schedule(seconds)

    def add_controller(self) -> None:
        """In processes of its own."""
        second = self._stack.another_controller()
        self.sight.spares.append(second)
        self.sight.journal.sources.append(second)
        second.warm()
        self._stack.hosts["controller"].on_invoke = lambda payload: self._wake_beside(second, payload)

    def _wake_beside(self, second: FunctionHost, payload: bytes) -> None:
        if not self.is_closing:
            threading.Thread(target=second.invoke, args=(payload,), daemon=True).start()

    def deploy_generation(self) -> None:
        stack = self._stack
        made = stack.ec2.create_launch_template_version(
            LaunchTemplateId=stack.launch_template,
            SourceVersion="1",
            LaunchTemplateData={"InstanceType": "t4g.nano"},
        )["LaunchTemplateVersion"]["VersionNumber"]
        stack.environment[GENERATION] = str(made)
        self._override("controller", {GENERATION: str(made)})

    def item(self, group: str) -> dict[str, Any]:
        stack = self._stack
        found = stack.dynamodb.get_item(TableName=stack.ledger, Key=_key(group), ConsistentRead=True)
        return dict(found.get("Item", {}))

    def write(self, group: str, attribute: str, value: Mapping[str, Any]) -> None:
        self._stack.dynamodb.update_item(
            TableName=self._stack.ledger,
            Key=_key(group),
            UpdateExpression="SET #field = :value",
            ExpressionAttributeNames={"#field": attribute},
            ExpressionAttributeValues={":value": value},
        )


def _key(group: str) -> dict[str, Any]:
    return {"pk": {"S": "group"}, "sk": {"S": group}}
