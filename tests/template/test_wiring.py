"""Who calls whom, with what, and who is told when it goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from natkeeper_lab.scenario.vocabulary import ALARMS
from tests.template.intrinsics import ACCOUNT, HEX, ONE, REGION, STACK, THREE, TWO, Stack

EVENTS = Path(__file__).resolve().parents[2] / "events"
METRICS = {
    *("EgressUp", "Home", "StandbyReady", "Observed", "Failovers", "FailoversFailed", "DowntimeLow", "DowntimeHigh"),
    *("LastResort", "Unknown", "Errors", "Launches", "Passes", "AddressRemap"),
    *("NotHealing", "Paused", "ChecksMended"),
}
ENVIRONMENT = {
    *("POWERTOOLS_METRICS_NAMESPACE", "NATKEEPER_STACK", "NATKEEPER_VPC_ID"),
    *("NATKEEPER_GROUP_A", "NATKEEPER_GROUP_B", "NATKEEPER_GROUP_C", "NATKEEPER_LAUNCH_TEMPLATE"),
    *(
        "NATKEEPER_LAUNCH_TEMPLATE_VERSION",
        "NATKEEPER_SECURITY_GROUP",
        "NATKEEPER_INSTANCE_TYPES",
        "NATKEEPER_INSTANCE_PROFILE",
    ),
    *("NATKEEPER_EGRESS_PROFILE", "NATKEEPER_CANARY_ADDRESS", "NATKEEPER_LEDGER", "NATKEEPER_TOPIC"),
    *("NATKEEPER_PROVING_ALLOCATION", "NATKEEPER_PROVING_ADDRESS"),
    *("NATKEEPER_PROBE_TARGETS", "NATKEEPER_PROBE_INTERVAL", "NATKEEPER_PROBE_TIMEOUT"),
    *("NATKEEPER_PROBE_ROUNDS_TO_FAIL", "NATKEEPER_PROBE_RUN", "NATKEEPER_QUIET_PERIOD", "NATKEEPER_STANDBY"),
    *("NATKEEPER_MAX_FAILOVERS_PER_HOUR", "NATKEEPER_MAX_LAUNCHES_PER_DAY"),
}


@pytest.fixture(scope="module")
def stack(expanded: dict[str, Any]) -> Stack:
    return Stack(expanded, THREE)


def environment(stack: Stack) -> dict[str, str]:
    found: dict[str, str] = stack.properties("ControllerFunction")["Environment"]["Variables"]
    return found


# Functions ------------------------------------------------------------------------------------------------------------


def test_the_functions_are_what_lambda_runs(stack: Stack) -> None:
    functions = stack.resources("AWS::Lambda::Function")
    assert set(functions) == {"ControllerFunction", "ProberAFunction", "ProberBFunction", "ProberCFunction"}
    for name, each in functions.items():
        handler = "controller" if name == "ControllerFunction" else "prober"
        assert each["Properties"]["Handler"] == f"natkeeper.handlers.{handler}.handler"
        assert each["Properties"]["Runtime"] == "python3.13"
        assert each["Properties"]["Architectures"] == ["arm64"]
        assert each["Properties"]["RecursiveLoop"] == "Allow"


def reserved(stack: Stack) -> dict[str, str]:
    functions = stack.resources("AWS::Lambda::Function")
    found = {name: each["Properties"].get("ReservedConcurrentExecutions") for name, each in functions.items()}
    return {name: number for name, number in found.items() if number is not None}


def test_no_concurrency_is_reserved_unless_asked(expanded: dict[str, Any]) -> None:
    assert reserved(Stack(expanded, THREE)) == {}
    assert reserved(Stack(expanded, TWO | {"ControllerConcurrency": "25"})) == {"ControllerFunction": "25"}
    probers = Stack(expanded, TWO | {"ProberConcurrency": "3"})
    assert reserved(probers) == {"ProberAFunction": "3", "ProberBFunction": "3"}


def test_the_controller_is_not_in_the_vpc(stack: Stack) -> None:
    assert "VpcConfig" not in stack.properties("ControllerFunction")


def test_each_prober_sits_in_its_zones_private_subnet(stack: Stack) -> None:
    for zone in "ABC":
        subnets = stack.properties(f"Prober{zone}Function")["VpcConfig"]["SubnetIds"]
        assert subnets == [THREE[f"Zone{zone}PrivateSubnetId"]]


def test_a_prober_outlives_its_longest_run(stack: Stack) -> None:
    longest = stack.template["Parameters"]["ProbeRunSeconds"]["MaxValue"]
    for zone in "ABC":
        assert stack.properties(f"Prober{zone}Function")["Timeout"] >= longest + 20


def test_a_probers_success_and_failure_both_reach_the_controller(stack: Stack) -> None:
    controller = f"arn:aws:any:{REGION}:{ACCOUNT}:{STACK}-ControllerFunction-{'X' * 12}"
    for zone in "ABC":
        config = stack.properties(f"Prober{zone}InvokeConfig")
        assert config["DestinationConfig"] == {
            "OnSuccess": {"Destination": controller},
            "OnFailure": {"Destination": controller},
        }
        assert config["MaximumRetryAttempts"] == 0
        # Lambda refuses a destination that the role may not invoke yet.
        assert stack.template["Resources"][f"Prober{zone}InvokeConfig"]["DependsOn"] == "ProberDestinationPolicy"


def test_a_pass_that_failed_is_retried_and_then_kept(stack: Stack) -> None:
    config = stack.properties("ControllerFunctionEventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"]["OnFailure"]["Destination"].endswith(f"DeadLetterQueue-{'X' * 12}")


def test_every_function_logs_where_logs_expire(stack: Stack) -> None:
    groups = {f"{STACK}-{name}-{'X' * 12}" for name in stack.resources("AWS::Logs::LogGroup")}
    used = {
        each["Properties"]["LoggingConfig"]["LogGroup"] for each in stack.resources("AWS::Lambda::Function").values()
    }
    assert used == groups
    for each in stack.resources("AWS::Logs::LogGroup").values():
        assert each["Properties"]["RetentionInDays"] == "30"


# The environment ------------------------------------------------------------------------------------------------------


def test_the_environment_is_what_settings_read(stack: Stack) -> None:
    assert set(environment(stack)) == ENVIRONMENT
    assert all(isinstance(value, str) for value in environment(stack).values())


def test_a_group_is_known_without_an_api_call(stack: Stack) -> None:
    assert json.loads(environment(stack)["NATKEEPER_GROUP_B"]) == {
        "tables": THREE["ZoneBRouteTableIds"],
        "cidr": "10.0.4.0/24",
        "subnet": THREE["ZoneBPublicSubnetId"],
        "private": THREE["ZoneBPrivateSubnetId"],
        "allocation": f"eipalloc-{HEX[:-1]}b",
        "address": "198.51.100.2",
        "prober": f"{STACK}-ProberBFunction-{'X' * 12}",
        "gateway": "",
    }


@pytest.mark.parametrize("parameters", [ONE, TWO, THREE], ids=["one zone", "two zones", "three zones"])
def test_settings_accept_the_environment(expanded: dict[str, Any], parameters: dict[str, str]) -> None:
    settings = pytest.importorskip("natkeeper.settings")
    found = settings.parse(environment(Stack(expanded, parameters)))
    assert len(found.policy.groups) == len(found.probers) == sum(name.endswith("PrivateCidr") for name in parameters)


def test_settings_refuse_what_rules_cannot_see(expanded: dict[str, Any]) -> None:
    settings = pytest.importorskip("natkeeper.settings")
    for change in (
        {"ZoneBPrivateCidr": "10.0.2.0/25"},
        {"ZoneBRouteTableIds": f"rtb-00000001,{TWO['ZoneARouteTableIds']}"},
    ):
        stack = Stack(expanded, TWO | change)
        assert not stack.refused_parameters()
        assert not stack.broken_rules()
        with pytest.raises(settings.BadSettings, match="NATKEEPER_GROUP_B"):
            settings.parse(environment(stack))


def test_a_zone_that_is_absent_is_an_empty_string(expanded: dict[str, Any]) -> None:
    variables = environment(Stack(expanded, ONE))
    assert json.loads(variables["NATKEEPER_GROUP_A"])
    assert (variables["NATKEEPER_GROUP_B"], variables["NATKEEPER_GROUP_C"]) == ("", "")


@pytest.mark.parametrize(
    ("parameters", "mode", "standby"),
    [
        (ONE, "auto", "stopped"),
        (TWO, "auto", "none"),
        (THREE, "auto", "none"),
        (ONE, "none", "none"),
        (TWO, "running", "running"),
    ],
)
def test_a_single_zone_gets_a_stopped_standby(
    expanded: dict[str, Any], parameters: dict[str, str], mode: str, standby: str
) -> None:
    assert environment(Stack(expanded, parameters | {"StandbyMode": mode}))["NATKEEPER_STANDBY"] == standby


def test_the_widest_environment_stays_under_lambdas_limit(expanded: dict[str, Any]) -> None:
    widest = dict(THREE)
    for zone in "ABC":
        widest[f"Zone{zone}RouteTableIds"] = ",".join(f"rtb-{zone.lower()}{number:016x}" for number in range(20))
        widest[f"Zone{zone}NatGatewayId"] = f"nat-{HEX}"
    typical = environment(Stack(expanded, widest))
    longest = expanded["Parameters"]["ProbeTargets"]["MaxLength"]
    targets = {"ProbeTargets": ",".join(["tcp://a.example:443"] * 2 + ["https://b.example/"]).ljust(longest, "x")}
    stretched = environment(Stack(expanded, widest | targets))
    # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 4 KB for all variables of a function.
    assert sum(map(len, [*typical, *typical.values()])) < 3_300
    assert sum(map(len, [*stretched, *stretched.values()])) < 3_800


# Triggers -------------------------------------------------------------------------------------------------------------


def matches(pattern: Any, event: Any) -> bool:
    """EventBridge: every field of the pattern is one of the listed values."""
    if isinstance(pattern, dict):
        return isinstance(event, dict) and all(matches(each, event.get(key)) for key, each in pattern.items())
    return event in pattern


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        *((f"ec2-state-change-{state}", "InstanceStateRule") for state in ("running", "stopping", "stopped")),
        *((f"ec2-state-change-{state}", "InstanceStateRule") for state in ("shutting-down", "terminated")),
        ("ec2-state-change-pending", None),
        ("spot-interruption-warning", "SpotInterruptionRule"),
        ("rebalance-recommendation", "RebalanceRule"),
        ("health-retirement", "HealthRule"),
        ("health-maintenance", "HealthRule"),
    ],
)
def test_each_event_is_matched_by_its_rule_alone(stack: Stack, file: str, rule: str | None) -> None:
    event = json.loads((EVENTS / f"{file}.json").read_text("utf-8")) | {"account": ACCOUNT, "region": REGION}
    rules = stack.resources("AWS::Events::Rule")
    matched = [name for name, each in rules.items() if matches(each["Properties"]["EventPattern"], event)]
    assert matched == ([rule] if rule else [])
    for field in ("account", "region"):
        elsewhere = event | {field: "elsewhere"}
        assert not any(matches(each["Properties"]["EventPattern"], elsewhere) for each in rules.values())


def test_every_rule_retries_and_has_a_dead_letter_queue(stack: Stack) -> None:
    targets = [
        target for each in stack.resources("AWS::Events::Rule").values() for target in each["Properties"]["Targets"]
    ]
    targets += [each["Properties"]["Target"] for each in stack.resources("AWS::Scheduler::Schedule").values()]
    assert len(targets) == 5
    for target in targets:
        assert target["Arn"].endswith(f"ControllerFunction-{'X' * 12}")
        assert target["DeadLetterConfig"]["Arn"].endswith(f"DeadLetterQueue-{'X' * 12}")
        assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
        assert 60 <= target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 300


def test_every_rule_may_invoke_the_controller_and_write_to_the_queue(stack: Stack) -> None:
    rules = {
        f"arn:aws:any:{REGION}:{ACCOUNT}:{STACK}-{name}-{'X' * 12}" for name in stack.resources("AWS::Events::Rule")
    }
    permitted = {each["Properties"]["SourceArn"] for each in stack.resources("AWS::Lambda::Permission").values()}
    assert permitted == rules
    (statement,) = stack.properties("DeadLetterQueuePolicy")["PolicyDocument"]["Statement"]
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == rules


def test_the_tick_comes_every_minute_on_the_minute(stack: Stack) -> None:
    tick = stack.properties("TickSchedule")
    assert tick["ScheduleExpression"] == "rate(1 minute)"
    assert tick["FlexibleTimeWindow"] == {"Mode": "OFF"}


def test_the_controller_understands_the_tick_and_the_pause_of_the_outputs(stack: Stack) -> None:
    triggers = pytest.importorskip("natkeeper.triggers")
    tick = json.loads(stack.properties("TickSchedule")["Target"]["Input"])
    command = stack.value(stack.template["Outputs"]["PauseCommand"]["Value"])
    pause = json.loads(re.search(r"--payload '(.*?)'", command)[1])  # type: ignore[index]
    ours: dict[str, Any] = {"account": ACCOUNT, "region": REGION, "probers": {"a": "prober-a", "b": "prober-b"}}
    assert type(triggers.parse(tick, **ours)).__name__ == "Tick"
    assert triggers.parse(pause, **ours).minutes == 60


# NAT instances --------------------------------------------------------------------------------------------------------


def test_the_launch_template_leaves_to_the_controller_what_differs_per_launch(stack: Stack) -> None:
    data = stack.properties("NatLaunchTemplate")["LaunchTemplateData"]
    assert not {"NetworkInterfaces", "UserData", "KeyName", "InstanceType", "SecurityGroupIds"} & set(data)
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def rules_of(stack: Stack, direction: str) -> set[tuple[str, Any, str]]:
    group = stack.properties("NatSecurityGroup")[f"SecurityGroup{direction}"]
    return {(each["IpProtocol"], each.get("FromPort"), each["CidrIp"]) for each in group}


def test_profile_all_lets_everything_in_from_the_private_cidrs_only(expanded: dict[str, Any]) -> None:
    stack = Stack(expanded, TWO)
    assert rules_of(stack, "Ingress") == {("-1", None, "10.0.2.0/24"), ("-1", None, "10.0.4.0/24")}
    assert rules_of(stack, "Egress") == {("-1", None, "0.0.0.0/0")}


def test_profile_web_lets_80_and_443_through_and_ssh_from_the_bastion(expanded: dict[str, Any]) -> None:
    stack = Stack(expanded, THREE | {"EgressProfile": "web", "BastionCidr": "10.0.1.10/32"})
    cidrs = [f"10.0.{2 * number}.0/24" for number in (1, 2, 3)]
    web = {("tcp", port, cidr) for cidr in cidrs for port in (80, 443)}
    assert rules_of(stack, "Ingress") == web | {("tcp", 22, "10.0.1.10/32")}
    assert rules_of(stack, "Egress") == {("tcp", 80, "0.0.0.0/0"), ("tcp", 443, "0.0.0.0/0")}


def test_each_zone_has_an_address_that_outlives_the_stack(expanded: dict[str, Any]) -> None:
    for parameters, count in ((ONE, 1), (TWO, 2), (THREE, 3)):
        addresses = Stack(expanded, parameters).resources("AWS::EC2::EIP")
        proving = addresses.pop("ProvingElasticIp")
        assert "DeletionPolicy" not in proving, "nobody's traffic leaves from it"
        assert len(addresses) == count
        for each in addresses.values():
            assert each["DeletionPolicy"] == "RetainExceptOnCreate"
            assert {"Key": "natkeeper:stack", "Value": STACK} in each["Properties"]["Tags"]


# Alarms and the dashboard ---------------------------------------------------------------------------------------------


def alarmed_metrics(stack: Stack) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, each in stack.resources("AWS::CloudWatch::Alarm").items():
        properties = each["Properties"]
        metrics = [one["MetricStat"]["Metric"] for one in properties.get("Metrics", []) if "MetricStat" in one]
        for metric in metrics or [properties]:
            if metric["Namespace"] == "natkeeper":
                dimensions = {one["Name"] for one in metric["Dimensions"]}
                assert dimensions == ({"stack"} if metric["MetricName"] == "Passes" else {"stack", "group"})
                found.setdefault(name, set()).add(metric["MetricName"])
    return found


def test_alarms_watch_metrics_that_exist(stack: Stack) -> None:
    found = alarmed_metrics(stack)
    assert set().union(*found.values()) == {
        *("EgressUp", "Passes", "FailoversFailed", "StandbyReady", "Unknown", "NotHealing", "Paused"),
    }
    assert set().union(*found.values()) <= METRICS


def test_metrics_have_the_dimensions_that_alarms_and_dashboard_ask_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = pytest.importorskip("aws_lambda_powertools.metrics")
    for name in ("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    made = metrics.EphemeralMetrics(namespace="natkeeper")
    made.add_dimension("stack", STACK)
    made.add_dimension("group", "a")
    made.add_metric("EgressUp", metrics.MetricUnit.Count, 1)
    made.flush_metrics()
    (described,) = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    # A dimension more, and CloudWatch keeps it as another metric.
    assert described["Namespace"] == "natkeeper"
    assert described["Dimensions"] == [["stack", "group"]]


def test_every_alarm_reaches_the_topic(stack: Stack) -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-Topic-{'X' * 12}"
    alarms = stack.resources("AWS::CloudWatch::Alarm")
    assert {name.rstrip("ABC").removesuffix("Alarm") for name in alarms} == {
        *("EgressDownA", "EgressDownB", "EgressDownC", "BlindA", "BlindB", "BlindC"),
        *("NotHealingA", "NotHealingB", "NotHealingC", "PausedTooLong"),
        *("ControllerSilent", "FailoverFailed", "StandbyNotReady", "DeadLetters", "Throttled"),
    }
    for each in alarms.values():
        assert each["Properties"]["AlarmActions"] == [topic]


def test_the_alarms_names_are_a_contract(stack: Stack) -> None:
    names = {each["Properties"]["AlarmName"] for each in stack.resources("AWS::CloudWatch::Alarm").values()}
    assert names == {f"{STACK}-{each}" for each in ALARMS}


def test_silence_is_an_alarm_and_blindness_is_not_an_outage(stack: Stack) -> None:
    assert stack.properties("ControllerSilentAlarm")["TreatMissingData"] == "breaching"
    assert stack.properties("EgressDownAAlarm")["TreatMissingData"] == "missing"


def test_missing_data_is_never_health(stack: Stack) -> None:
    """Where an alarm's OK says that something is well. The others are of things that happen, and of whom nothing is
    said nothing happened: throttles, letters, failed failovers, a pause."""
    said = {each["AlarmName"].removeprefix(f"{STACK}-"): each for each in alarms_of(stack)}
    for name in ("blind-a", "controller-silent", "standby-not-ready"):
        assert said[name]["TreatMissingData"] == "breaching"
    assert said["not-healing-a"]["TreatMissingData"] == "ignore"
    (formula,) = [each["Expression"] for each in said["standby-not-ready"]["Metrics"] if "Expression" in each]
    assert formula == "MIN(FILL(METRICS(), 0))"


def test_a_late_datapoint_is_not_hidden_by_what_fills_its_place(stack: Stack) -> None:
    for each in alarms_of(stack):
        formulas = [one["Expression"] for one in each.get("Metrics", []) if "Expression" in one]
        periods = [one["MetricStat"]["Period"] for one in each.get("Metrics", []) if "MetricStat" in one]
        if formulas and min(periods) == 60 and each["TreatMissingData"] != "breaching":  # else what fills it rings too
            assert (each["EvaluationPeriods"], each["DatapointsToAlarm"]) == (3, 1)


def alarms_of(stack: Stack) -> list[dict[str, Any]]:
    return [each["Properties"] for each in stack.resources("AWS::CloudWatch::Alarm").values()]


@pytest.mark.parametrize(
    ("parameters", "is_watched"),
    [
        (ONE, False),
        (ONE | {"StandbyMode": "stopped"}, False),
        (ONE | {"StandbyMode": "running"}, True),
        (ONE | {"ZoneANatGatewayId": f"nat-{HEX}"}, True),
        (TWO, True),
    ],
)
def test_readiness_is_only_watched_where_something_can_be_ready(
    expanded: dict[str, Any], parameters: dict[str, str], is_watched: bool
) -> None:
    alarms = Stack(expanded, parameters).resources("AWS::CloudWatch::Alarm")
    assert ("StandbyNotReadyAlarm" in alarms) is is_watched


def test_a_metric_alarm_of_one_zone_asks_for_no_other_group(expanded: dict[str, Any]) -> None:
    alarm = Stack(expanded, ONE).properties("FailoverFailedAlarm")
    assert [each["Id"] for each in alarm["Metrics"]] == ["all", "a"]


@pytest.mark.parametrize("parameters", [ONE, THREE], ids=["one zone", "three zones"])
def test_a_function_that_is_throttled_sets_off_one_alarm(expanded: dict[str, Any], parameters: dict[str, str]) -> None:
    stack = Stack(expanded, parameters)
    alarm = stack.properties("ThrottledAlarm")
    assert alarm["AlarmName"] == f"{STACK}-throttled"
    stats = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
    assert {(each["Metric"]["Namespace"], each["Metric"]["MetricName"], each["Stat"]) for each in stats} == {
        ("AWS/Lambda", "Throttles", "Sum")
    }
    watched = [each["Metric"]["Dimensions"] for each in stats]
    functions = [f"{STACK}-{name}-{'X' * 12}" for name in stack.resources("AWS::Lambda::Function")]
    assert watched == [[{"Name": "FunctionName", "Value": name}] for name in functions]


@pytest.mark.parametrize("parameters", [ONE, THREE], ids=["one zone", "three zones"])
def test_the_dashboard_is_json_that_shows_metrics_that_exist(
    expanded: dict[str, Any], parameters: dict[str, str]
) -> None:
    body = Stack(expanded, parameters).properties("Dashboard")["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    text = json.dumps(widgets)
    shown = set(re.findall(r'stack=\\+"natkeeper-test\\+" MetricName=\\+"(\w+)', text))
    assert shown == {
        *(
            "EgressUp",
            "DowntimeLow",
            "DowntimeHigh",
            "AddressRemap",
            "Failovers",
            "FailoversFailed",
            "Errors",
            "Unknown",
        )
    }
    assert shown <= METRICS
    assert "fields @timestamp, group, carried_by, reason_code" in text
    assert "${PROP('Dim.group')}" in text


def test_nobody_is_mailed_unless_asked(expanded: dict[str, Any]) -> None:
    assert not Stack(expanded, ONE).resources("AWS::SNS::Subscription")
    assert Stack(expanded, ONE | {"AlarmEmail": "oncall@example.com"}).resources("AWS::SNS::Subscription")
