"""The story's VPC with natkeeper in it: what a user has, and then template.yaml deployed into it.

Called by the demo, the benchmarks and tests. Functions run as processes of their own, the probers inside their private
subnets, with the environment that CloudFormation gave them. Runs inside `sandbox` only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3

from natkeeper.adapters import ec2_facts as adapter
from natkeeper.core.model import Role
from natkeeper.settings import parse
from natkeeper.wiring import user_data
from natkeeper_lab import certificates, deployment
from natkeeper_lab.api import Api
from natkeeper_lab.choices import Choices
from natkeeper_lab.deployment import Function
from natkeeper_lab.network import INTERNET, INTERNET_ADDRESSES, Network
from natkeeper_lab.runtime import FunctionHost, Here, Inside, Place
from natkeeper_lab.runtime.artefact import artefact_of
from natkeeper_lab.vpc import ANYWHERE, VPC_CIDR, UsersVpc

__all__ = ["ANYWHERE", "Choices", "Stack"]

STACK = "story"


class Stack:
    """Build it, use it, close it; or use it as a context manager."""

    def __init__(self, choices: Choices | None = None) -> None:
        self.choices = choices or Choices()
        self.network = Network(VPC_CIDR, mid_stream=self.choices.mid_stream)
        options = replace(self.choices.api, minute_seconds=self.choices.tick, seed=self.choices.seed)
        self.api = Api(self.network, options)
        self.directory = tempfile.TemporaryDirectory(prefix="natkeeper-lab-")
        self.hosts: dict[str, FunctionHost] = {}
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the functions, the API and the network, in that order."""
        self.api.end_invocations()
        for host in self.hosts.values():
            host.stop()
        try:
            self.api.stop()
        finally:
            self.network.close()
            self.directory.cleanup()

    def _build(self) -> None:
        self.api.start()
        os.environ.update(self.api.environment())
        self.ec2: Any = boto3.client("ec2")
        self.dynamodb = boto3.client("dynamodb")
        self._start_internet()
        asked = self.choices
        users = UsersVpc(self.ec2, asked.api.region, asked.zones, asked.tables, asked.apart, asked.gateways)
        self.vpc, self.groups = users.id, users.zones
        self.deployment = deployment.deploy(STACK, {**users.parameters(), **self.choices.deployed()})
        # Deployed, and asleep until switch_on: the story begins with NATs made by hand and nobody watching them.
        deployment.set_triggers(self.deployment, is_on=False)
        self._read_resources()
        for function in self.deployment.functions.values():
            self._host_function(function)

    def _start_internet(self) -> None:
        files = certificates.issue(Path(self.directory.name), INTERNET_ADDRESSES)
        self.authority = files.authority
        listen = [text for address in INTERNET_ADDRESSES for text in ("--address", address)]
        keys = ("--certificate", str(files.certificate), "--key", str(files.key))
        ports = [text for port in self.choices.ports for text in ("--port", str(port))]
        server = self.network.spawn(
            INTERNET,
            ["python", "-m", "natkeeper_lab.internet_server", *listen, *keys, *ports],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        if server.stdout.readline().strip() != "ready":
            raise RuntimeError("the lab's internet did not come up")

    # -- the deployment

    def _read_resources(self) -> None:
        """What the story needs to know of the stack, from the stack."""
        made = self.deployment.resources
        self.launch_template, self.nat_group = made["NatLaunchTemplate"], made["NatSecurityGroup"]
        self.ledger, self.topic = made["LedgerTable"], self.deployment.outputs["TopicArn"]
        deployed = self.deployment.functions["ControllerFunction"].environment
        self.environment = {**self.api.environment(), **deployed, **self.choices.overridden()}
        self.settings = parse(self.environment)
        for group in self.settings.policy.groups:
            self.groups[group.name].allocation = group.allocation_id
            self.groups[group.name].address = group.public_address

    def _host_function(self, function: Function) -> None:
        """A process for it: the controller outside the VPC, a prober in its private subnet."""
        if function.subnets:
            place = Inside(self.network, self._machine_in(function.subnets[0]))
            host = self._host_of(function, {**function.environment, "SSL_CERT_FILE": str(self.authority)}, place)
        else:
            host = self._host_of(function, self.environment, Here())
        self.hosts[short_name(function.logical_id)] = host
        self.api.register_function(
            function.name,
            host.invoke,
            on_success=function.on_success,
            on_failure=function.on_failure,
            retries=function.retries,
            maximum_age=function.maximum_age,
            reserved=function.reserved,
            is_recursion_allowed=function.is_recursion_allowed,
        )

    def another_controller(self) -> FunctionHost:
        """The same function once more, in processes of its own; nothing invokes it yet, and its maker stops it."""
        return self._host_of(self.deployment.functions["ControllerFunction"], self.environment, Here())

    def _host_of(self, function: Function, environment: Mapping[str, str], place: Place) -> FunctionHost:
        return FunctionHost(
            function.name,
            function.handler,
            environment,
            code=artefact_of(function.logical_id),
            place=place,
            memory_mb=function.memory_mb,
            timeout_seconds=function.timeout_seconds,
            runtime=function.runtime,
            log_group=function.log_group,
            has_share=self.choices.has_share,
        )

    def set_cpu_share(self, function_name: str, percent: float | None) -> None:
        """Percent of one processor for a function (`controller`, `prober-a`); None for what the lab was built with."""
        self.hosts[function_name].set_cpu_share(percent)

    def _machine_in(self, subnet: str) -> str:
        return next(each.prober_host for each in self.groups.values() if each.private_subnet == subnet)

    # -- natkeeper

    def switch_on(self) -> None:
        """Enables the stack's rules and schedules: from here on natkeeper hears events and ticks."""
        for host in (host for each in self.groups.values() for host in (each.host, each.prober_host)):
            self.wait_for(host, "running")
        deployment.set_triggers(self.deployment, is_on=True)

    def stop_schedule(self, seconds: float) -> None:
        """The minute's tick does not come for that long."""
        deployment.set_schedules(self.deployment, is_on=False)
        again = threading.Timer(seconds, deployment.set_schedules, (self.deployment, True))
        again.daemon = True
        again.start()

    def wake(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """One invocation of the controller, waited for; what it answered."""
        result = self.hosts["controller"].invoke(json.dumps(event).encode())
        return dict(json.loads(result.payload))

    # -- NATs by hand, as the story begins

    def launch_nat(self, group: str) -> str:
        """A NAT as natkeeper would launch it, at the story's address; answers when it runs."""
        deployed = self.groups[group]
        script, generation = user_data(self.settings, group, Role.NAT)
        tags = {
            adapter.STACK_TAG: STACK,
            adapter.GROUP_TAG: group,
            adapter.ROLE_TAG: "nat",
            adapter.GENERATION_TAG: generation,
        }
        made = self.ec2.run_instances(
            LaunchTemplate={
                "LaunchTemplateId": self.launch_template,
                "Version": self.settings.launch_template_version,
            },
            InstanceType=self.settings.policy.instance_types[0],
            MinCount=1,
            MaxCount=1,
            UserData=script,
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": deployed.public_subnet,
                    "Groups": [self.nat_group],
                    "PrivateIpAddress": deployed.zone.nat,
                    "SecondaryPrivateIpAddressCount": 1,
                    "AssociatePublicIpAddress": False,
                }
            ],
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": text} for key, text in tags.items()]}
            ],
        )["Instances"][0]
        deployed.nat = made["InstanceId"]
        self.wait_for(deployed.nat, "running")
        return deployed.nat

    def wait_for(self, instance_id: str, state: str, seconds: float = 60) -> None:
        """Until EC2 shows the instance in that state. TimeoutError when it does not."""
        deadline = time.monotonic() + seconds
        while self.describe(instance_id)["State"]["Name"] != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{instance_id} is not {state} after {seconds:g} s")
            time.sleep(0.05)

    def describe(self, instance_id: str) -> dict[str, Any]:
        """What EC2 says of one instance."""
        found = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return dict(found[0]["Instances"][0])

    def interface_of(self, instance_id: str) -> str:
        """The instance's primary interface."""
        return str(self.describe(instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"])

    def set_source_dest_check(self, instance_id: str, is_on: bool) -> None:
        """As a person would in the console."""
        self.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=self.interface_of(instance_id), SourceDestCheck={"Value": is_on}
        )

    def put_home(self, group: str) -> None:
        """The group's Elastic IP and routes on the NAT launched by hand."""
        deployed = self.groups[group]
        interface = self.interface_of(deployed.nat)
        self.ec2.associate_address(AllocationId=deployed.allocation, NetworkInterfaceId=interface)
        for table in deployed.tables:
            self.ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=interface)

    def route_of(self, group: str) -> set[str]:
        """Where the group's default routes point now."""
        tables = self.ec2.describe_route_tables(RouteTableIds=list(self.groups[group].tables))["RouteTables"]
        return {
            route.get("NetworkInterfaceId") or route.get("NatGatewayId") or route.get("GatewayId", "")
            for table in tables
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == ANYWHERE
        }

    def carrier_of(self, group: str) -> str:
        """The name of the group whose NAT carries this group's traffic, or `nobody`."""
        targets = self.route_of(group)
        for reservation in self.ec2.describe_instances()["Reservations"]:
            for instance in reservation["Instances"]:
                tags = {each["Key"]: each["Value"] for each in instance.get("Tags", [])}
                interfaces = {each["NetworkInterfaceId"] for each in instance["NetworkInterfaces"]}
                if targets and targets <= interfaces and adapter.GROUP_TAG in tags:
                    return str(tags[adapter.GROUP_TAG])
        return "nobody"

    def incidents(self, group: str) -> list[dict[str, Any]]:
        """The group's incidents in the ledger, oldest first."""
        found = self.dynamodb.query(
            TableName=self.ledger,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"incident#{group}"}},
        )["Items"]
        return [{key: next(iter(value.values())) for key, value in item.items()} for item in found]

    def curl(self, group: str, url: str, seconds: float = 3) -> tuple[int, str]:
        """`curl` on the zone's private host: exit code (28 is a time-out) and what it printed."""
        process = self.network.spawn(
            self.groups[group].host,
            ["curl", "-sS", "--max-time", f"{seconds:g}", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = process.communicate(timeout=seconds + 5)[0]
        return process.returncode, output.strip()


def short_name(logical_id: str) -> str:
    """`controller` for ControllerFunction, `prober-a` for ProberAFunction."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", logical_id.removesuffix("Function")).lower()
