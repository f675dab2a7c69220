"""The story's VPC and natkeeper in it: what `sam deploy` would leave behind, made of API calls against the lab.

Called by the demo, the benchmarks and tests. Functions run as processes of their own, the probers inside their private
subnets. (Deploying template.yaml itself is the next step; until then the environment here is the template's contract.)
Runs inside `lab.sandbox` only.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from lab import certificates
from lab.api import Api, ApiOptions
from lab.network import CANARY, INTERNET, INTERNET_ADDRESSES, TARGETS, Network
from lab.network.security_group import MidStream
from lab.runtime import FunctionHost, Spawn
from natkeeper.adapters import ec2_facts as adapter
from natkeeper.core.model import Role
from natkeeper.settings import parse
from natkeeper.wiring import user_data

STACK = "story"
VPC_CIDR = "10.0.0.0/16"
ANYWHERE = "0.0.0.0/0"
WEB_HOST = "10.0.1.10"
REPOSITORY = Path(__file__).resolve().parents[1]
NEWS = (
    "EC2 Instance State-change Notification",
    "EC2 Spot Instance Interruption Warning",
    "EC2 Instance Rebalance Recommendation",
    "AWS Health Event",
)
"""What template.yaml's rules listen to."""
IMAGE = "ami-12c6146b"  # one of the images moto ships; the lab boots user data, not images


@dataclass(frozen=True)
class Zone:
    """One zone's part of the story: where its subnets are and where its machines sit."""

    name: str
    public: str
    private: str
    nat: str
    host: str


ZONES = (
    Zone("a", "10.0.1.0/24", "10.0.2.0/24", "10.0.1.20", "10.0.2.10"),
    Zone("b", "10.0.3.0/24", "10.0.4.0/24", "10.0.3.20", "10.0.4.10"),
    Zone("c", "10.0.5.0/24", "10.0.6.0/24", "10.0.5.20", "10.0.6.10"),
)


@dataclass
class Deployed:
    """What was made for one zone. `nat` is the NAT instance that was launched by hand."""

    zone: Zone
    public_subnet: str
    private_subnet: str
    tables: tuple[str, ...]
    allocation: str = ""
    address: str = ""
    nat: str = ""
    host: str = ""


@dataclass
class Choices:
    """What a run of the lab may choose; seconds. The defaults are the template's, except for quiet and run."""

    zones: int = 2
    tables: int = 1
    mid_stream: MidStream = "accept"
    quiet: float = 4.0
    run: float = 5.0
    tick: float = 20.0
    standby: str = "none"
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    """On which the lab's internet listens beside 80 and 443."""
    api: ApiOptions = field(default_factory=ApiOptions)


class Stack:
    """Build it, use it, close it; or use it as a context manager."""

    def __init__(self, choices: Choices | None = None) -> None:
        self.choices = choices or Choices()
        self.network = Network(VPC_CIDR, mid_stream=self.choices.mid_stream)
        self.api = Api(self.network, self.choices.api)
        self.directory = tempfile.TemporaryDirectory(prefix="natkeeper-lab-")
        self.groups: dict[str, Deployed] = {}
        self.hosts: dict[str, FunctionHost] = {}
        self._stopping = threading.Event()
        self.no_tick_before = 0.0
        """`time.monotonic()` until which the schedule is stopped."""
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
        self._stopping.set()
        for host in self.hosts.values():
            host.stop()
        try:
            self.api.stop()
        finally:
            self.network.close()
            self.directory.cleanup()

    # -- what a user would have made

    def _build(self) -> None:
        self.api.start()
        os.environ.update(self.api.environment())
        self.ec2: Any = boto3.client("ec2")
        self.dynamodb = boto3.client("dynamodb")
        self._start_internet()
        self.vpc = self.ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.public_table = self._table()
        self.ec2.create_route(RouteTableId=self.public_table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
        self._security_groups()
        for zone in ZONES[: self.choices.zones]:
            self.groups[zone.name] = self._zone(zone)
        self._web_server()
        self._resources()
        self.environment = self._environment()
        self._functions()

    def _start_internet(self) -> None:
        files = certificates.issue(Path(self.directory.name), INTERNET_ADDRESSES)
        self.authority = files.authority
        listen = [text for address in INTERNET_ADDRESSES for text in ("--address", address)]
        keys = ("--certificate", str(files.certificate), "--key", str(files.key))
        ports = [text for port in self.choices.ports for text in ("--port", str(port))]
        server = self.network.spawn(
            INTERNET,
            ["python", "-m", "lab.internet_server", *listen, *keys, *ports],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        if server.stdout.readline().strip() != "ready":
            raise RuntimeError("the lab's internet did not come up")

    def _table(self) -> str:
        return str(self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"])

    def _security_groups(self) -> None:
        """The story's rules: 80 and 443 from the private subnets, SSH from the bastion, 80 and 443 to the internet."""
        self.nat_group = self._security_group("nat")
        self.host_group = self._security_group("hosts")
        private = [{"CidrIp": each.private} for each in ZONES[: self.choices.zones]]
        web = [_ports(80, private), _ports(443, private)]
        self.ec2.authorize_security_group_ingress(
            GroupId=self.nat_group, IpPermissions=[*web, _ports(22, [{"CidrIp": f"{WEB_HOST}/32"}])]
        )
        anywhere = [{"CidrIp": ANYWHERE}]
        self.ec2.revoke_security_group_egress(
            GroupId=self.nat_group, IpPermissions=[{"IpProtocol": "-1", "IpRanges": anywhere}]
        )
        self.ec2.authorize_security_group_egress(
            GroupId=self.nat_group, IpPermissions=[_ports(80, anywhere), _ports(443, anywhere)]
        )

    def _security_group(self, name: str) -> str:
        made = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)
        return str(made["GroupId"])

    def _zone(self, zone: Zone) -> Deployed:
        region = self.choices.api.region
        subnets = []
        tables = tuple(self._table() for _ in range(self.choices.tables))
        for cidr, table in ((zone.public, self.public_table), (zone.private, tables[0])):
            made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=f"{region}{zone.name}")
            subnets.append(made["Subnet"]["SubnetId"])
            self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[-1])
        deployed = Deployed(zone, subnets[0], subnets[1], tables)
        address = self.ec2.allocate_address(Domain="vpc")
        deployed.allocation, deployed.address = address["AllocationId"], address["PublicIp"]
        deployed.host = self._host(zone.host, deployed.private_subnet)
        return deployed

    def _host(self, address: str, subnet: str) -> str:
        made = self.ec2.run_instances(
            ImageId=IMAGE,
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[
                {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [self.host_group], "PrivateIpAddress": address}
            ],
        )
        return str(made["Instances"][0]["InstanceId"])

    def _web_server(self) -> None:
        self._host(WEB_HOST, self.groups["a"].public_subnet)

    def _resources(self) -> None:
        template = self.ec2.create_launch_template(
            LaunchTemplateName="nat", LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "t4g.nano"}
        )["LaunchTemplate"]
        self.launch_template = template["LaunchTemplateId"]
        self.dynamodb.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        self.topic = boto3.client("sns").create_topic(Name="natkeeper")["TopicArn"]

    def _environment(self) -> dict[str, str]:
        """The controller's environment, as template.yaml writes it."""
        groups = {
            f"NATKEEPER_GROUP_{name.upper()}": json.dumps(
                {
                    "tables": ",".join(each.tables),
                    "cidr": each.zone.private,
                    "subnet": each.public_subnet,
                    "allocation": each.allocation,
                    "address": each.address,
                    "prober": f"prober-{name}",
                    "gateway": "",
                }
            )
            for name, each in self.groups.items()
        }
        targets = (f"tcp://{TARGETS[0]}:443", f"tcp://{TARGETS[1]}:443", f"https://{TARGETS[2]}/")
        return {
            **self.api.environment(),
            **groups,
            "NATKEEPER_STACK": STACK,
            "NATKEEPER_VPC_ID": self.vpc,
            "NATKEEPER_LAUNCH_TEMPLATE": self.launch_template,
            "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
            "NATKEEPER_SECURITY_GROUP": self.nat_group,
            "NATKEEPER_INSTANCE_TYPES": "t4g.nano,t4g.micro",
            "NATKEEPER_EGRESS_PROFILE": "web",
            "NATKEEPER_CANARY_ADDRESS": CANARY,
            "NATKEEPER_LEDGER": "ledger",
            "NATKEEPER_TOPIC": self.topic,
            "NATKEEPER_PROBE_TARGETS": ",".join(targets),
            "NATKEEPER_PROBE_RUN": str(self.choices.run),
            "NATKEEPER_QUIET_PERIOD": str(self.choices.quiet),
            "NATKEEPER_STANDBY": self.choices.standby,
            "POWERTOOLS_METRICS_NAMESPACE": "natkeeper",
            **self.choices.settings,
        }

    # -- natkeeper

    def _functions(self) -> None:
        """The controller outside the VPC, a prober in each private subnet; its results come back as destinations."""
        self.hosts["controller"] = FunctionHost(
            "controller",
            "natkeeper.handlers.controller:handler",
            self.environment,
            memory_mb=256,
            timeout_seconds=20,
        )
        for name, each in self.groups.items():
            self.hosts[f"prober-{name}"] = FunctionHost(
                f"prober-{name}",
                "natkeeper.handlers.prober:handler",
                {"SSL_CERT_FILE": str(self.authority)},
                spawn=self._spawn_in(each.host),
                timeout_seconds=330,
            )
        self.controller_arn = self.api.register_function("controller", self.hosts["controller"].invoke)
        for name in self.groups:
            prober = f"prober-{name}"
            self.api.register_function(
                prober, self.hosts[prober].invoke, on_success="controller", on_failure="controller"
            )

    def _spawn_in(self, where: str) -> Spawn:
        def spawn(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
            pipe = subprocess.PIPE
            return self.network.spawn(where, argv, env, stdin=pipe, stdout=pipe, stderr=pipe)

        return spawn

    def switch_on(self) -> None:
        """Deploys the rule and the schedule: from here on natkeeper hears events and ticks."""
        for each in self.groups.values():
            self.wait_for(each.host, "running")
        events = boto3.client("events")
        pattern = {"source": ["aws.ec2", "aws.health"], "detail-type": list(NEWS)}
        events.put_rule(Name="states", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="states", Targets=[{"Id": "controller", "Arn": self.controller_arn}])
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self._stopping.is_set():
            if time.monotonic() >= self.no_tick_before:
                self.wake({"natkeeper": {"tick": True}})
            self._stopping.wait(self.choices.tick)

    def wake(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """One invocation of the controller, waited for; what it answered."""
        result = self.hosts["controller"].invoke(json.dumps(event).encode())
        answer: dict[str, Any] = json.loads(result.payload)
        return answer

    # -- NATs by hand, as the story begins

    def launch_nat(self, group: str) -> str:
        """A NAT as natkeeper would launch it, at the story's address; answers when it runs."""
        deployed = self.groups[group]
        script, generation = user_data(parse(self.environment), group, Role.NAT)
        tags = {
            adapter.STACK_TAG: STACK,
            adapter.GROUP_TAG: group,
            adapter.ROLE_TAG: "nat",
            adapter.GENERATION_TAG: generation,
        }
        made = self.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateId": self.launch_template},
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

    def wait_for(self, instance_id: str, state: str, seconds: float = 20) -> None:
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
            route.get("NetworkInterfaceId") or route.get("GatewayId", "")
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
            TableName="ledger",
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


def _ports(port: int, ranges: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": list(ranges)}
