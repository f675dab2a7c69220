"""What the lab deploys is what template.yaml says: functions, environment, rules, schedule, network, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from natkeeper.core.policy import StandbyMode
from natkeeper.settings import parse
from natkeeper_lab import deployment
from natkeeper_lab.api import Api, ApiOptions, FunctionResult
from natkeeper_lab.choices import Choices
from natkeeper_lab.deployment import TEMPLATE, Deployment
from natkeeper_lab.stack import short_name
from natkeeper_lab.vpc import UsersVpc
from tests.contract.scenery import eventually
from tests.support.recording_packets import RecordingPackets
from tests.template.intrinsics import Stack as Read

ACCOUNT, REGION = "123456789012", "us-east-1"
Deploy = Callable[..., Deployment]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    running = Api(RecordingPackets(), ApiOptions(boot_seconds=0.1, stop_seconds=0.1))
    running.start()
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield running
    running.stop()


@pytest.fixture
def deploy(api: Api) -> Deploy:
    """Deploy into a fresh VPC of that many zones, with parameters on top."""

    def make(zones: int = 2, tables: int = 1, **parameters: str) -> Deployment:
        users = UsersVpc(boto3.client("ec2"), api.options.region, zones, tables)
        return deployment.deploy("story", {**users.parameters(), **Choices().deployed(), **parameters})

    return make


def expected(deployed: Deployment) -> Read:
    """The template with the same parameters, read by the template tests' own small CloudFormation."""
    return Read(json.loads(deployment.expand(TEMPLATE.read_text("utf-8"))), deployed.parameters)


def pattern_of(deployed: Deployment, rule: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        boto3.client("events").describe_rule(Name=deployed.resources[rule])["EventPattern"]
    )
    return found


@pytest.mark.parametrize("zones", [1, 2, 3])
def test_every_resource_that_the_template_gives_this_user_exists(deploy: Deploy, zones: int) -> None:
    deployed = deploy(zones)
    wanted = {name: each["Type"] for name, each in expected(deployed).resources().items()}
    assert deployed.types == wanted
    assert set(deployed.outputs) == {
        name
        for name, each in expected(deployed).template["Outputs"].items()
        if "Condition" not in each or each["Condition"][-1] in "ABC"[:zones]
    }


@pytest.mark.parametrize(("zones", "standby"), [(1, "stopped"), (2, "none"), (3, "none")])
def test_controllers_environment_is_the_templates_and_the_controller_understands_it(
    deploy: Deploy, zones: int, standby: str
) -> None:
    deployed = deploy(zones, tables=2)
    environment = deployed.functions["ControllerFunction"].environment
    wanted = expected(deployed).properties("ControllerFunction")["Environment"]["Variables"]
    assert set(environment) == set(wanted)
    settings = parse(environment)
    assert [group.name for group in settings.policy.groups] == list("abc"[:zones])
    assert settings.policy.standby is StandbyMode(standby)
    for group in settings.policy.groups:
        letter = group.name.upper()
        assert group.public_address == deployed.outputs[f"ElasticIp{letter}"]
        assert ",".join(group.table_ids) == deployed.parameters[f"Zone{letter}RouteTableIds"]
        assert settings.probers[group.name] == deployed.functions[f"Prober{letter}Function"].name
    assert settings.ledger == deployed.resources["LedgerTable"]
    assert settings.topic == deployed.outputs["TopicArn"]
    assert (settings.launch_template, settings.launch_template_version) == (
        deployed.resources["NatLaunchTemplate"],
        "1",
    )
    assert settings.security_group == deployed.resources["NatSecurityGroup"]


def test_parameters_reach_the_environment(deploy: Deploy) -> None:
    deployed = deploy(ProbeRunSeconds="20", ProbeInterval="2", StandbyMode="running", MaxLaunchesPerDay="9")
    policy = parse(deployed.functions["ControllerFunction"].environment).policy
    assert (policy.watch_run.total_seconds(), policy.interval.total_seconds()) == (20, 2)
    assert (policy.standby, policy.max_launches_per_day) == (StandbyMode.RUNNING, 9)


def test_functions_are_as_written(deploy: Deploy) -> None:
    deployed = deploy(3)
    assert {short_name(name) for name in deployed.functions} == {"controller", "prober-a", "prober-b", "prober-c"}
    for name, function in deployed.functions.items():
        wanted = expected(deployed).properties(name)
        assert (function.handler, function.memory_mb) == (wanted["Handler"], wanted["MemorySize"])
        assert function.timeout_seconds == wanted["Timeout"]
        subnets = wanted.get("VpcConfig", {}).get("SubnetIds", [])
        assert list(function.subnets) == subnets
        assert function.is_recursion_allowed  # the chain controller -> prober -> controller is intended
        assert function.reserved is None
    assert deployed.functions["ControllerFunction"].log_group == "/aws/lambda/story-controller"
    assert deployed.functions["ControllerFunction"].maximum_age == 300
    assert deployed.functions["ProberAFunction"].maximum_age == 60


def test_concurrency_is_the_users_word_and_recursion_the_templates(api: Api, tmp_path: Path) -> None:
    changed = tmp_path / "template.yaml"
    changed.write_text(TEMPLATE.read_text("utf-8").replace("RecursiveLoop: Allow", "RecursiveLoop: Terminate"))
    users = UsersVpc(boto3.client("ec2"), api.options.region, 1, 1)
    asked = {"ControllerConcurrency": "12", "ProberConcurrency": "3"}
    deployed = deployment.deploy("story", {**users.parameters(), **Choices().deployed(), **asked}, changed)
    reserved = {name: each.reserved for name, each in deployed.functions.items()}
    assert reserved == {"ControllerFunction": 12, "ProberAFunction": 3}
    assert not any(each.is_recursion_allowed for each in deployed.functions.values())


def test_probers_results_go_to_the_controller_without_retries_and_its_failures_to_the_queue(deploy: Deploy) -> None:
    deployed = deploy()
    controller = deployed.functions["ControllerFunction"]
    for name in ("ProberAFunction", "ProberBFunction"):
        prober = deployed.functions[name]
        assert (prober.on_success, prober.on_failure, prober.retries) == (controller.arn, controller.arn, 0)
    queue = deployed.resources["DeadLetterQueue"].rsplit("/", 1)[-1]
    assert controller.on_success is None
    assert controller.on_failure == f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
    assert controller.retries == 2


def test_rules_reach_the_controller_with_the_templates_patterns(api: Api, deploy: Deploy) -> None:
    deployed = deploy()
    states = pattern_of(deployed, "InstanceStateRule")
    assert states["account"] == [ACCOUNT]
    assert states["detail"] == {"state": ["running", "stopping", "stopped", "shutting-down", "terminated"]}
    controller = deployed.functions["ControllerFunction"]
    for rule in deployed.of_type("AWS::Events::Rule").values():
        (target,) = boto3.client("events").list_targets_by_rule(Rule=rule)["Targets"]
        assert target["Arn"] == controller.arn
        assert target["RetryPolicy"] == {"MaximumRetryAttempts": 10, "MaximumEventAgeInSeconds": 300}
    received: list[dict[str, Any]] = []

    def invoke(payload: bytes) -> FunctionResult:
        received.append(json.loads(payload))
        return FunctionResult(b"null")

    api.register_function(controller.name, invoke)
    for state in ("pending", "stopping"):
        api.emit("EC2 Instance State-change Notification", {"instance-id": "i-1", "state": state})
    api.emit("EC2 Spot Instance Interruption Warning", {"instance-id": "i-2", "instance-action": "terminate"})
    eventually(lambda: len(received) == 2)
    api.stop()
    details = [each["detail"].get("state", each["detail-type"]) for each in received]
    assert sorted(details) == ["EC2 Spot Instance Interruption Warning", "stopping"]


def test_tick_is_on_schedule_and_sleeps_with_the_rules(deploy: Deploy) -> None:
    deployed = deploy()
    scheduler, events = boto3.client("scheduler"), boto3.client("events")
    (name,) = deployed.of_type("AWS::Scheduler::Schedule").values()
    tick = scheduler.get_schedule(Name=name)
    assert (tick["ScheduleExpression"], tick["State"]) == ("rate(1 minute)", "ENABLED")
    assert json.loads(tick["Target"]["Input"]) == {"natkeeper": {"tick": True}}
    for is_on, state in ((False, "DISABLED"), (True, "ENABLED")):
        deployment.set_triggers(deployed, is_on)
        now = scheduler.get_schedule(Name=name)
        assert now["State"] == state
        assert (now["Target"], now["ScheduleExpression"]) == (tick["Target"], tick["ScheduleExpression"])
        assert {each["State"] for each in events.list_rules()["Rules"]} == {state}


def test_nats_security_group_is_the_web_profiles(deploy: Deploy) -> None:
    deployed = deploy()
    ids = [deployed.resources["NatSecurityGroup"]]
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"]

    def rules(direction: str) -> set[tuple[str, int, str]]:
        return {
            (each["IpProtocol"], each["FromPort"], one["CidrIp"])
            for each in group[direction]
            for one in each["IpRanges"]
        }

    private = {("tcp", port, cidr) for port in (80, 443) for cidr in ("10.0.2.0/24", "10.0.4.0/24")}
    assert rules("IpPermissions") == private | {("tcp", 22, "10.0.1.10/32")}
    assert rules("IpPermissionsEgress") == {("tcp", 80, "0.0.0.0/0"), ("tcp", 443, "0.0.0.0/0")}


def test_launch_template_demands_imdsv2(deploy: Deploy) -> None:
    deployed = deploy()
    template = {"LaunchTemplateId": deployed.resources["NatLaunchTemplate"], "Version": "1"}
    nic = {"DeviceIndex": 0, "SubnetId": deployed.parameters["ZoneAPublicSubnetId"]}
    made = boto3.client("ec2").run_instances(
        LaunchTemplate=template, MinCount=1, MaxCount=1, InstanceType="t4g.nano", NetworkInterfaces=[nic]
    )["Instances"][0]
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert made["InstanceType"] == "t4g.nano"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ProbeRunSeconds", "5", "ProbeRunSeconds must be 10 to 300"),
        ("QuietPeriod", "4", "QuietPeriod must be 30 to 86400 seconds"),
        ("ZoneAPrivateCidr", "10.0.2.0", "ZoneAPrivateCidr must be an IPv4 CIDR"),
        ("EgressProfile", "none", "EgressProfile must be all or web"),
        ("AmiId", "ami-0123456789abcdef0", "AmiId must be the full name of an SSM parameter"),
        ("ZoneBPrivateCidr", "", "ZoneBPrivateCidr is empty but zone b has other parameters"),
        ("ZoneBPrivateCidr", "10.0.2.0/24", "ZoneBPrivateCidr equals ZoneAPrivateCidr"),
        ("ZoneAPublicSubnetId", "subnet-0123456789abcdef0", "parameter name ZoneAPublicSubnetId does not exist"),
        ("Typo", "1", "Typo"),
    ],
)
def test_a_bad_parameter_is_refused_by_name_and_nothing_is_made(
    deploy: Deploy, name: str, value: str, said: str
) -> None:
    with pytest.raises(ClientError, match="ValidationError") as refusal:
        deploy(**{name: value})
    assert said in str(refusal.value)
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("ec2").describe_addresses()["Addresses"] == []


def test_subnets_of_another_vpc_are_refused(deploy: Deploy) -> None:
    other = boto3.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(ClientError, match="ZoneAPublicSubnetId or ZoneAPrivateSubnetId is not a subnet of VpcId"):
        deploy(VpcId=other)


def test_the_labs_time_scale_overrides_only_what_the_template_refuses() -> None:
    assert Choices(run=5, quiet=4).overridden() == {"NATKEEPER_PROBE_RUN": "5", "NATKEEPER_QUIET_PERIOD": "4"}
    slow = Choices(run=55, quiet=300)
    assert slow.overridden() == {}
    assert (slow.deployed()["ProbeRunSeconds"], slow.deployed()["QuietPeriod"]) == ("55", "300")
