"""natkeeper as deployed, without a kernel: the lab's API before a packet plane that only remembers, and a controller
built by `wiring` from a template's environment. Real adapters, real boto3, the real wire; only packets are pretended.

Used by the contract and handler tests and by tools/bench.py. One at a time per process, as moto's state is global.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import boto3
from botocore.config import Config
from moto.dynamodb import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType

from natkeeper import wiring
from natkeeper.adapters import ec2_facts as adapter
from natkeeper.adapters.clock import LambdaClock
from natkeeper.adapters.codec import decode, encode
from natkeeper.asking import LAST_CALL
from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE, Role
from natkeeper.core.news import InstanceChanged, News, ProbeReport, Round, RunMode, Tick, Verdict
from natkeeper.core.runs import run_id_of
from natkeeper.opening import RESERVE
from natkeeper.ports import Ports
from natkeeper.probing import ControlProbe
from natkeeper.reconcile import reconcile
from natkeeper.settings import parse
from natkeeper_lab.api import Api, ApiOptions, Call, FunctionResult
from natkeeper_lab.api.world import ACCOUNT
from tests.support.recording_packets import RecordingPackets

STACK = "cloud"
IMAGE = "ami-12c6146b"
CANARY = "1.0.0.1"
TARGETS = "tcp://192.0.2.1:443,tcp://192.0.2.2:443,https://192.0.2.3/"
FAST = ApiOptions(boot_seconds=0.02, stop_seconds=0.05, async_retry_seconds=0.02)
ONE_TURN_MS = (LAST_CALL + RESERVE) // timedelta(milliseconds=2)
"""Enough for a call to leave, too little for a second turn."""
WRITES = ("Create", "Replace", "Delete", "Associate", "Disassociate", "Modify", "Run", "Start", "Stop", "Terminate")
WRITES += ("Update", "Put", "Invoke", "Publish", "Assign", "Unassign", "Release", "Allocate")

Probe = Callable[[Mapping[str, Any]], FunctionResult]


@dataclass
class Zone:
    """What was made for one group."""

    name: str
    subnet: str
    private: str
    tables: tuple[str, ...]
    allocation: str
    address: str
    cidr: str
    instance: str = ""
    interface: str = ""

    @property
    def setting(self) -> str:
        """The group's part of the controller's environment, as template.yaml writes it."""
        return json.dumps(
            {
                "tables": ",".join(self.tables),
                "cidr": self.cidr,
                "subnet": self.subnet,
                "private": self.private,
                "allocation": self.allocation,
                "address": self.address,
                "prober": f"prober-{self.name}",
                "gateway": "",
            }
        )


class Output(io.StringIO):
    """Standard output that keeps every single write apart, as a pipe would carry it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)

    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed. ValueError when a line is no JSON object."""
        return [json.loads(each) for each in "".join(self.writes).splitlines() if each]


class Cloud:
    """Build it, use it, close it; or use it as a context manager. `settings` are NATKEEPER_* without the prefix.

    When it is there, every NAT runs and carries its own group, every group is verified, and a pass finds nothing to do.
    """

    def __init__(
        self,
        zones: int = 2,
        tables: int = 1,
        *,
        options: ApiOptions = FAST,
        is_seeded: bool = True,
        **settings: str,
    ) -> None:
        self.packets = RecordingPackets()
        self.api = Api(self.packets, options)
        self.output = Output()
        self.probe: Probe = self.honest_probe
        self.is_internet_up = True
        """What the control probe finds; no socket is ever opened for it."""
        self.zones: dict[str, Zone] = {}
        self._runs = 0
        self._closing = ExitStack()
        try:
            self._build(zones, tables, settings)
            if is_seeded:
                self.seed()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the API, and gives the process's environment back as it was."""
        self._closing.close()

    # -- building

    def _build(self, zones: int, tables: int, settings: Mapping[str, str]) -> None:
        self.api.start()
        self._closing.callback(self.api.stop)
        self._closing.enter_context(environment(self.api.environment()))
        self.ec2: Any = boto3.client("ec2")
        self.dynamodb: Any = boto3.client("dynamodb")
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        made = self.ec2.create_security_group(GroupName="nat", Description="nat", VpcId=self.vpc)
        self.security_group = made["GroupId"]
        for number, name in enumerate("abc"[:zones]):
            self.zones[name] = self._zone(name, number, tables)
        self._shared_resources()
        self.environment = self._environment(settings)
        self._closing.enter_context(environment(self.environment))
        for name in self.zones:
            self.api.register_function(f"prober-{name}", self._prober)
        self._closing.enter_context(patch("natkeeper.adapters.prober.control_probe", self._control))
        self._launch_nats()
        self.build_controller()

    def _zone(self, name: str, number: int, tables: int) -> Zone:
        public, private = f"10.0.{2 * number + 1}.0/24", f"10.0.{2 * number + 2}.0/24"
        zone = f"{self.api.options.region}{name}"
        subnets = [
            self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
            for cidr in (public, private)
        ]
        made = [self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"] for _ in range(tables)]
        self.ec2.associate_route_table(RouteTableId=made[0], SubnetId=subnets[1])
        address = self.ec2.allocate_address(Domain="vpc")
        return Zone(name, *subnets, tuple(made), address["AllocationId"], address["PublicIp"], private)

    def _shared_resources(self) -> None:
        iam: Any = boto3.client("iam")
        made = iam.create_instance_profile(InstanceProfileName="nat")["InstanceProfile"]
        self.instance_profile = made["Arn"]
        profile = {"Arn": self.instance_profile}
        data = {"ImageId": IMAGE, "InstanceType": "t4g.nano", "IamInstanceProfile": profile}
        made = self.ec2.create_launch_template(LaunchTemplateName="nat", LaunchTemplateData=data)
        self.launch_template = made["LaunchTemplate"]["LaunchTemplateId"]
        self.dynamodb.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        self.topic = boto3.client("sns").create_topic(Name="natkeeper")["TopicArn"]

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {
            **{f"NATKEEPER_GROUP_{name.upper()}": each.setting for name, each in self.zones.items()},
            "NATKEEPER_STACK": STACK,
            "NATKEEPER_VPC_ID": self.vpc,
            "NATKEEPER_LAUNCH_TEMPLATE": self.launch_template,
            "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
            "NATKEEPER_SECURITY_GROUP": self.security_group,
            "NATKEEPER_INSTANCE_PROFILE": self.instance_profile,
            "NATKEEPER_INSTANCE_TYPES": "t4g.nano,t4g.micro",
            "NATKEEPER_EGRESS_PROFILE": "all",
            "NATKEEPER_CANARY_ADDRESS": CANARY,
            "NATKEEPER_LEDGER": "ledger",
            "NATKEEPER_TOPIC": self.topic,
            "NATKEEPER_PROBE_TARGETS": TARGETS,
            "NATKEEPER_STANDBY": "none",
            "POWERTOOLS_METRICS_NAMESPACE": "natkeeper",
            **{f"NATKEEPER_{name}": value for name, value in settings.items()},
        }

    def _launch_nats(self) -> None:
        """Running, source/dest check off, Elastic IP on the primary, default routes there."""
        for name, zone in self.zones.items():
            made = self.launch_nat(name)
            zone.instance, zone.interface = made["InstanceId"], made["NetworkInterfaces"][0]["NetworkInterfaceId"]
        for zone in self.zones.values():
            self.wait_for(zone.instance, "running")
            self.set_source_dest_check(zone.interface, is_on=False)
            self.ec2.associate_address(AllocationId=zone.allocation, NetworkInterfaceId=zone.interface)
            for table in zone.tables:
                self.ec2.create_route(
                    RouteTableId=table, DestinationCidrBlock=DEFAULT_ROUTE, NetworkInterfaceId=zone.interface
                )

    def launch_nat(self, group: str, role: Role = Role.NAT, **overrides: Any) -> dict[str, Any]:
        """An instance as the controller would tag it, with one address to spare; the answer is RunInstances' own."""
        script, generation = wiring.user_data(parse(self.environment), group, role)
        tags = {
            adapter.STACK_TAG: STACK,
            adapter.GROUP_TAG: group,
            adapter.ROLE_TAG: role.value,
            adapter.GENERATION_TAG: generation,
        }
        interface = {
            "DeviceIndex": 0,
            "SubnetId": self.zones[group].subnet,
            "Groups": [self.security_group],
            "SecondaryPrivateIpAddressCount": 1,
            "AssociatePublicIpAddress": False,
        }
        asked: dict[str, Any] = {
            "LaunchTemplate": {"LaunchTemplateId": self.launch_template},
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": script,
            "NetworkInterfaces": [interface],
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": text} for key, text in tags.items()]}
            ],
        }
        made: dict[str, Any] = self.ec2.run_instances(**{**asked, **overrides})["Instances"][0]
        return made

    def build_controller(self) -> None:
        """A cold start: new clients, new adapters, and a logger that writes to `output`."""
        forget_cold_start()
        self.controller = wiring.build(self.environment)
        for handler in logging.getLogger("natkeeper").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(self.output)

    def seed(self) -> None:
        """The passes of a quiet morning: each group learns its target, is seen to forward, and watches the next one."""
        self.wake(Tick())
        for _ in range(3):  # a machine that stood still for two seconds makes the reports late, and nobody hears them
            seen_at = datetime.now(UTC) - timedelta(seconds=8)  # before whatever a test reports next, and not yet late
            self.wake(*(self.report(name, ended_at=seen_at) for name in self.zones))
            self.wake(Tick())
            reasons = self.wake(Tick())
            if all(each.proofs for each in map(self.memory, self.zones)):
                break
        if set(map(tuple, reasons.values())) != {("at-rest",)}:
            raise RuntimeError(f"the seeded cloud is not at rest: {reasons}; {self.output.lines()[-20:]}")
        self.forget()

    # -- natkeeper

    def ports(self, holder: str | None = None, *, is_one_turn: bool = False) -> Ports:
        """The ports of one invocation that may run for 20 s. `is_one_turn`: or, however slow this machine is, for as
        long as one turn and no verification takes."""
        deadline = time.monotonic() + 20

        def remaining_ms() -> int:
            return ONE_TURN_MS if is_one_turn else max(0, round((deadline - time.monotonic()) * 1000))

        return self.controller.ports(LambdaClock(remaining_ms), holder or uuid.uuid4().hex)

    def wake(self, *news: News, is_one_turn: bool = False) -> dict[str, list[str]]:
        """One wake-up; each group's reason codes. What it prints goes to `output`."""
        with redirect_stdout(self.output):
            return reconcile(news, self.ports(is_one_turn=is_one_turn), self.controller.settings.policy)

    def pass_went_through(self) -> None:
        """The heartbeat, which the handler sends."""
        with redirect_stdout(self.output):
            self.controller.telemetry.passed()

    def stopping(self, group: str) -> InstanceChanged:
        """The event that EC2 sends when somebody stops the group's NAT."""
        return InstanceChanged(self.zones[group].instance, "stopping")

    def report(
        self,
        group: str,
        rounds: str = "+++++",
        *,
        mode: RunMode = RunMode.WATCH,
        verdict: Verdict = Verdict.ENDED,
        run_id: str | None = None,
        ended_at: datetime | None = None,
        address: str | None = None,
        interval: timedelta = timedelta(seconds=1),
    ) -> ProbeReport:
        """A prober's report, a round every `interval` until now; `+` went through, `-` did not."""
        last = ended_at or datetime.now(UTC)
        sent = [last - (len(rounds) - 1 - at) * interval for at in range(len(rounds))]
        return ProbeReport(
            group=group,
            run_id=run_id or self.started_run(group),
            mode=mode,
            verdict=verdict,
            rounds=tuple(
                Round(at, "clock", sign == "+", 5.0 if sign == "+" else None)
                for at, sign in zip(sent, rounds, strict=True)
            ),
            egress_address=(address or self.zones[group].address) if "+" in rounds else None,
            egress_address_at=sent[rounds.rindex("+")] if "+" in rounds else None,
        )

    def started_run(self, group: str) -> str:
        """The id of a run that the group's memory knows to have been started two minutes ago: of no other is a report
        heard. Written into the table behind its API, so that no call is counted."""
        self._runs += 1
        started_at = datetime.now(UTC) - timedelta(minutes=2, milliseconds=self._runs)
        table = dynamodb_backends[ACCOUNT][self.api.options.region].tables["ledger"]
        item = table.get_item(DynamoType({"S": "group"}), DynamoType({"S": group}))
        if item is not None and "memory" in item.attrs:
            memory = decode(Memory, json.loads(item.attrs["memory"].value))
            memory = replace(memory, watch_starts=(started_at, *memory.watch_starts))
            item.attrs["memory"] = DynamoType({"S": json.dumps(encode(memory))})
        return run_id_of(group, started_at)

    def awaited_report(self, group: str, rounds: str = "++---++", **others: Any) -> ProbeReport:
        """The report of the watch run that is in flight."""
        watch = self.memory(group).watch
        run_id = watch.run_id if watch else None
        return self.report(group, rounds, run_id=run_id, verdict=Verdict.RECOVERED, **others)

    # -- probers

    def _control(self, *_: object) -> ControlProbe:
        return ControlProbe(self.is_internet_up, {})

    def _prober(self, payload: bytes) -> FunctionResult:
        return self.probe(json.loads(payload))

    def honest_probe(self, request: Mapping[str, Any]) -> FunctionResult:
        """Says what packets would say: is the group's first table on a NAT that is on and forwards?"""
        return probe_result(
            request, is_ok=self.forwards(request["group"]), address=self.zones[request["group"]].address
        )

    @staticmethod
    def deaf_probe(request: Mapping[str, Any]) -> FunctionResult:
        """Nothing ever goes through."""
        return probe_result(request, is_ok=False)

    def forwards(self, group: str) -> bool:
        """Whether the packet plane has a path for the group."""
        target = self.packets.routes.get((self.zones[group].tables[0], DEFAULT_ROUTE), "")
        is_on = any(interface == target for interface, _ in self.packets.guests.values())
        return is_on and self.packets.checks.get(target) is False

    # -- what the API shows

    def forget(self) -> None:
        """Calls and lines so far."""
        self.api.clear_calls()
        self.output.writes.clear()

    def calls(self, *operations: str) -> list[Call]:
        """The calls since `forget`, of these operations or of all."""
        return [each for each in self.api.calls() if not operations or each.operation in operations]

    def writes(self) -> list[str]:
        """The operations since `forget` that change something."""
        return [each.operation for each in self.api.calls() if each.operation.startswith(WRITES)]

    def targets(self, group: str, destination: str = DEFAULT_ROUTE) -> list[str | None]:
        """Where each of the group's tables sends the destination."""
        found = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        tables = {
            table["RouteTableId"]: {each.get("DestinationCidrBlock"): each for each in table["Routes"]}
            for table in found
        }
        return [
            tables[each].get(destination, {}).get("NetworkInterfaceId")
            for each in self.zones[group].tables
            if each in tables
        ]

    def address_on(self, group: str) -> tuple[str | None, str | None]:
        """Interface and private address that the group's Elastic IP is on."""
        found = self.ec2.describe_addresses(AllocationIds=[self.zones[group].allocation])["Addresses"][0]
        return found.get("NetworkInterfaceId"), found.get("PrivateIpAddress")

    def interface(self, group: str) -> dict[str, Any]:
        """What EC2 says of the interface of the group's first NAT."""
        asked = [self.zones[group].interface]
        found: dict[str, Any] = self.ec2.describe_network_interfaces(NetworkInterfaceIds=asked)["NetworkInterfaces"][0]
        return found

    def spare_address(self, group: str) -> str:
        """The secondary private address of the group's first NAT."""
        addresses = self.interface(group)["PrivateIpAddresses"]
        return str(next(each["PrivateIpAddress"] for each in addresses if not each["Primary"]))

    def nats(self, group: str) -> dict[str, str]:
        """State by id of every NAT instance of the group that is not gone."""
        filters = [{"Name": f"tag:{adapter.GROUP_TAG}", "Values": [group]}]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        states = {each["InstanceId"]: each["State"]["Name"] for one in found for each in one["Instances"]}
        return {key: state for key, state in states.items() if state not in ("shutting-down", "terminated")}

    def memory(self, group: str) -> Memory:
        """What the ledger holds."""
        item = self.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": group}})["Item"]
        return decode(Memory, json.loads(item["memory"]["S"]))

    def incidents(self, group: str) -> list[dict[str, Any]]:
        """The group's incidents, oldest first."""
        found = self.dynamodb.query(
            TableName="ledger",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"incident#{group}"}},
        )["Items"]
        return [{key: next(iter(value.values())) for key, value in item.items()} for item in found]

    # -- what the controller prints

    def logged(self, **fields: Any) -> list[dict[str, Any]]:
        """The log lines since `forget` that have these fields."""
        lines = [each for each in self.output.lines() if "_aws" not in each]
        return [each for each in lines if fields.items() <= each.items()]

    def troubles(self) -> list[tuple[str, str, str]]:
        """(kind, operation, code) of every failed call that was logged."""
        return [(each["trouble"], each["operation"], each["error_code"]) for each in self.logged() if "trouble" in each]

    def metrics(self) -> list[dict[str, Any]]:
        """The metric documents since `forget`."""
        return [each for each in self.output.lines() if "_aws" in each]

    def counted(self, metric: str, group: str) -> float:
        """The sum of a group's metric since `forget`."""
        found = [each[metric] for each in self.metrics() if metric in each and each.get("group") == group]
        return float(sum(value for values in found for value in values))

    # -- people and AWS, meddling

    def set_source_dest_check(self, interface: str, *, is_on: bool) -> None:
        """As a person would in the console."""
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": is_on})

    def stop_nat(self, group: str, *, until: str = "stopping") -> None:
        """Stops the group's first NAT and waits until EC2 shows `until`."""
        self.ec2.stop_instances(InstanceIds=[self.zones[group].instance])
        self.wait_for(self.zones[group].instance, until, or_later=("stopped",))

    def terminate_nat(self, group: str) -> None:
        """Terminates the group's first NAT and waits until it is gone."""
        self.ec2.terminate_instances(InstanceIds=[self.zones[group].instance])
        self.wait_for(self.zones[group].instance, "terminated")

    def make_spare_public(self, group: str) -> None:
        """Somebody's Elastic IP on the secondary address of the group's NAT: it is not bare any more."""
        stray = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.ec2.associate_address(
            AllocationId=stray,
            NetworkInterfaceId=self.zones[group].interface,
            PrivateIpAddress=self.spare_address(group),
        )

    def wait_for(self, instance: str, state: str, or_later: Sequence[str] = (), seconds: float = 60) -> None:
        """Until EC2 shows the state. TimeoutError when it does not."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
            if found["State"]["Name"] in (state, *or_later):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{instance} is not {state} after {seconds:g} s")
            time.sleep(0.01)


@contextmanager
def deploying() -> Iterator[Callable[..., Cloud]]:
    """`Cloud`, with everything that was made of it closed at the end: for fixtures."""
    with ExitStack() as closing:
        yield lambda *args, **settings: closing.enter_context(Cloud(*args, **settings))


def do_not_wait_between_attempts(monkeypatch: Any) -> None:
    """botocore's attempts as they are, without the waits between them."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.005)


def wait_for_answers(monkeypatch: Any, seconds: float) -> None:
    """How long natkeeper's clients wait for an answer. Its own second or three are too short for a test that counts
    calls, where a machine stands still for longer than that: it would see the second tries of what was not lost."""
    for name in ("CALL", "LAUNCHING", "LEDGER", "VERIFYING"):
        patience = getattr(wiring, name).merge(Config(connect_timeout=seconds, read_timeout=seconds))
        monkeypatch.setattr(wiring, name, patience)


def probe_result(request: Mapping[str, Any], *, is_ok: bool, address: str | None = None) -> FunctionResult:
    """What a prober answers to `request` when everything, or nothing, goes through."""
    is_verify = request["mode"] == "verify"
    verdict = ("passed" if is_verify else "ended") if is_ok else "down"
    rounds = (2 if is_ok else 3) if is_verify else 5
    step = 1 if is_verify else float(request["interval"]) * 1000  # it answers at once, and rounds of later were a lie
    body = {
        "version": 1,
        "group": request["group"],
        "run_id": request["run_id"],
        "mode": request["mode"],
        "verdict": verdict,
        "clock": f"prober-{request['group']}",
        "started_at": datetime.now(UTC).isoformat(),
        "rounds": [[at * step, int(is_ok), 5.0 if is_ok else None] for at in range(rounds)],
        "canary": [],
        "egress_address": address if is_ok else None,
        "egress_address_ms": 0 if is_ok and address else None,
        "errors": [] if is_ok else ["tcp://192.0.2.1:443 timeout"],
    }
    return FunctionResult(json.dumps(body).encode())


def forget_cold_start() -> None:
    """What `wiring` and the handler keep for the life of a process, so that another controller can be built in it."""
    wiring._dynamodb.cache_clear()
    wiring._sns.cache_clear()
    sys.modules.pop("natkeeper.handlers.controller", None)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with `values` in it, and as it was afterwards."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
