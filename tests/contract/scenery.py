"""A VPC to test the lab's API in: what the contract tests build before they begin, through boto3 only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from natkeeper_lab.api import Api
from tests.support.recording_packets import RecordingPackets

SESSION = boto3.Session(aws_access_key_id="lab", aws_secret_access_key="lab", region_name="us-east-1")
_ONE_ATTEMPT = Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=50)


def client(url: str, service: str) -> Any:
    make: Any = SESSION.client
    return make(service, endpoint_url=url, config=_ONE_ATTEMPT)


def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer of `check`; AssertionError when there is none in time, and a machine may be slow."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.01)
    return answer


@dataclass
class Aws:
    """One running Api with a VPC, a public subnet and a private route table in it."""

    api: Api
    packets: RecordingPackets
    url: str
    ec2: Any = field(init=False)
    vpc: str = field(init=False)
    subnet: str = field(init=False)
    table: str = field(init=False)
    group: str = field(init=False)

    def __post_init__(self) -> None:
        self.ec2 = self.client("ec2")
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.group = self.ec2.create_security_group(GroupName="nat", Description="nat", VpcId=self.vpc)["GroupId"]

    def client(self, service: str) -> Any:
        return client(self.url, service)

    def nic(self, **members: Any) -> dict[str, Any]:
        return {"DeviceIndex": 0, "SubnetId": self.subnet, "Groups": [self.group], **members}

    def launch(self, *nics: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Launch one instance; the answer is RunInstances' own."""
        asked = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "InstanceType": "t4g.nano", **params}
        answer = self.ec2.run_instances(**asked, NetworkInterfaces=list(nics) or [self.nic()])
        found: dict[str, Any] = answer["Instances"][0]
        return found

    def launch_running(self, *nics: dict[str, Any], **params: Any) -> Nat:
        instance = self.launch(*nics, **params)
        nat = Nat(instance["InstanceId"], instance["NetworkInterfaces"][0]["NetworkInterfaceId"])
        self.wait_for(nat.instance, "running")
        return nat

    def instance(self, instance_id: str) -> dict[str, Any]:
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return found

    def interface(self, instance_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.instance(instance_id)["NetworkInterfaces"][0]
        return found

    @property
    def patience(self) -> float:
        """Seconds for `eventually`, in tests of mends: plain moto is expected never to do it."""
        return 30 if self.api.options.is_mended else 2

    def state(self, instance_id: str) -> str:
        name: str = self.instance(instance_id)["State"]["Name"]
        return name

    def wait_for(self, instance_id: str, state: str) -> None:
        eventually(lambda: self.state(instance_id) == state)

    def stop(self, nat: Nat) -> None:
        self.ec2.stop_instances(InstanceIds=[nat.instance])
        self.wait_for(nat.instance, "stopped")

    def terminate(self, nat: Nat) -> None:
        self.ec2.terminate_instances(InstanceIds=[nat.instance])
        self.wait_for(nat.instance, "terminated")

    def route_to(self, nat: Nat, cidr: str = "0.0.0.0/0") -> None:
        self.ec2.create_route(RouteTableId=self.table, DestinationCidrBlock=cidr, NetworkInterfaceId=nat.interface)

    def route(self, cidr: str = "0.0.0.0/0") -> dict[str, Any]:
        table = self.ec2.describe_route_tables(RouteTableIds=[self.table])["RouteTables"][0]
        return next(route for route in table["Routes"] if route["DestinationCidrBlock"] == cidr)

    def address(self) -> tuple[str, str]:
        """A new Elastic IP: its allocation id and the address."""
        answer = self.ec2.allocate_address(Domain="vpc")
        return answer["AllocationId"], answer["PublicIp"]


@dataclass(frozen=True)
class Nat:
    instance: str
    interface: str
