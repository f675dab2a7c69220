"""AWS's own events reach rules and functions in AWS's envelope, late, lost or twice as told."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

from natkeeper_lab.api import FunctionResult
from tests.contract.conftest import Start
from tests.contract.scenery import Aws, eventually

STATES = {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]}


def listen(aws: Aws, pattern: dict[str, Any], **target: Any) -> list[Any]:
    """What a function behind a rule with this pattern was invoked with."""
    received: list[Any] = []

    def invoke(payload: bytes) -> FunctionResult:
        received.append(json.loads(payload))
        return FunctionResult(b"null")

    arn = aws.api.register_function("controller", invoke)
    events = aws.client("events")
    events.put_rule(Name="rule", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": arn, **target}])
    return received


def test_state_changes_reach_a_functions_rule_in_awss_envelope(aws: Aws) -> None:
    received = listen(aws, {**STATES, "detail": {"state": ["stopping"]}})
    nat = aws.launch_running()
    aws.ec2.stop_instances(InstanceIds=[nat.instance])
    event = eventually(lambda: received, aws.patience)[0]
    assert re.fullmatch(r"[0-9a-f-]{36}", event.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("time"))
    assert event == {
        "version": "0",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": "123456789012",
        "region": "us-east-1",
        "resources": [f"arn:aws:ec2:us-east-1:123456789012:instance/{nat.instance}"],
        "detail": {"instance-id": nat.instance, "state": "stopping"},
    }
    assert len(received) == 1


def test_every_state_is_announced(ours: Aws) -> None:
    seen: list[str] = []
    ours.api.on_event(lambda event: seen.append(event["detail"]["state"]))
    nat = ours.launch_running()
    ours.stop(nat)
    ours.terminate(nat)
    expected = ["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
    eventually(lambda: len(seen) == len(expected))
    assert seen == expected


def test_events_can_be_late(start: Start) -> None:
    aws = start(event_delay=0.3)
    at: list[float] = []
    aws.api.on_event(lambda _: at.append(time.monotonic()))
    begin = time.monotonic()
    aws.launch()
    eventually(lambda: at)
    assert at[0] - begin >= 0.3


def test_events_can_be_lost_and_duplicated(ours: Aws) -> None:
    seen: list[tuple[str, str]] = []
    ours.api.on_event(lambda event: seen.append((event["id"], event["detail"]["state"])))
    ours.api.lose_events(1)
    ours.api.duplicate_events(1)
    ours.launch_running()
    eventually(lambda: len(seen) == 2)
    assert seen[0] == seen[1]
    assert seen[0][1] == "running"


def test_disabled_rule_invokes_nobody(ours: Aws) -> None:
    received = listen(ours, STATES)
    ours.client("events").disable_rule(Name="rule")
    ours.launch_running()
    assert received == []


def test_scheduled_rule_is_not_woken_by_events(ours: Aws) -> None:
    received = listen(ours, STATES)
    events = ours.client("events")
    events.put_rule(Name="minute", ScheduleExpression="rate(1 minute)")
    ticks: list[bytes] = []

    def tick(payload: bytes) -> FunctionResult:
        ticks.append(payload)
        return FunctionResult(b"null")

    arn = ours.api.register_function("tick", tick)
    events.put_targets(Rule="minute", Targets=[{"Id": "1", "Arn": arn}])
    ours.launch_running()
    eventually(lambda: len(received) == 2)
    assert ticks == []


def test_rule_may_replace_the_event_by_its_own_input(ours: Aws) -> None:
    received = listen(ours, STATES, Input='{"hello": 1}')
    ours.launch()
    assert eventually(lambda: received)[0] == {"hello": 1}


def test_customers_events_reach_functions_too(ours: Aws) -> None:
    received = listen(ours, {"source": ["ours"]})
    ours.client("events").put_events(Entries=[{"Source": "ours", "DetailType": "d", "Detail": '{"x": 1}'}])
    assert eventually(lambda: received)[0]["detail"] == {"x": 1}


def test_customers_cannot_put_awss_events(aws: Aws) -> None:
    entry = {"Source": "aws.ec2", "DetailType": "EC2 Instance State-change Notification", "Detail": "{}"}
    answer = aws.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_scheduled_retirement_shows_in_status_and_is_announced(ours: Aws) -> None:
    received = listen(ours, {"source": ["aws.health"]})
    nat = ours.launch_running()
    ours.api.schedule_retirement(nat.instance, datetime(2030, 1, 2, tzinfo=UTC))
    status = ours.ec2.describe_instance_status(InstanceIds=[nat.instance])["InstanceStatuses"][0]
    assert status["InstanceState"]["Name"] == "running"
    assert status["Events"][0]["Code"] == "instance-retirement"
    assert status["Events"][0]["NotBefore"] == datetime(2030, 1, 2, tzinfo=UTC)
    detail = eventually(lambda: received)[0]["detail"]
    assert detail["eventTypeCode"] == "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"
    assert detail["affectedEntities"] == [{"entityValue": nat.instance}]


def test_spot_interruption_shows_in_the_request_and_is_announced(ours: Aws) -> None:
    received = listen(ours, {"detail-type": ["EC2 Spot Instance Interruption Warning"]})
    nat = ours.launch_running()
    assert ours.ec2.describe_spot_instance_requests()["SpotInstanceRequests"] == []
    ours.api.mark_spot(nat.instance, "marked-for-termination")
    request = ours.ec2.describe_spot_instance_requests(Filters=[{"Name": "instance-id", "Values": [nat.instance]}])[
        "SpotInstanceRequests"
    ][0]
    assert (request["InstanceId"], request["Status"]["Code"]) == (nat.instance, "marked-for-termination")
    assert ours.instance(nat.instance)["InstanceLifecycle"] == "spot"
    detail = eventually(lambda: received)[0]["detail"]
    assert detail == {"instance-id": nat.instance, "instance-action": "terminate"}
