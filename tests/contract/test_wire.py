"""The wire: what was asked is logged, faults strike as told, and calls do not wait for each other."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from natkeeper_lab.api import Api
from natkeeper_lab.wire import HttpRequest, WireServer
from tests.contract.conftest import Start
from tests.contract.scenery import SESSION, Aws, eventually
from tests.support.recording_packets import RecordingPackets


def vpcs(aws: Aws) -> int:
    return len(aws.ec2.describe_vpcs()["Vpcs"])


def test_every_call_is_logged_with_its_parameters_and_times(ours: Aws) -> None:
    ours.api.clear_calls()
    before = time.monotonic()
    ours.ec2.describe_route_tables(RouteTableIds=[ours.table])
    with pytest.raises(ClientError):
        ours.ec2.describe_route_tables(RouteTableIds=["rtb-missing"])
    good, bad = ours.api.calls()
    assert (good.service, good.operation, good.status, good.error_code) == ("ec2", "DescribeRouteTables", 200, None)
    assert good.params["RouteTableIds"] == [ours.table]
    assert before <= good.started_at <= good.ended_at <= bad.started_at
    assert (bad.status, bad.error_code) == (400, "InvalidRouteTableID.NotFound")


def test_json_services_and_functions_are_logged_alike(ours: Aws) -> None:
    ours.api.clear_calls()
    with pytest.raises(ClientError):
        ours.client("dynamodb").get_item(TableName="ledger", Key={"pk": {"S": "a"}})
    with pytest.raises(ClientError):
        ours.client("lambda").invoke(FunctionName="nobody", InvocationType="Event", Payload=b'{"a": 1}')
    item, invoke = ours.api.calls()
    assert (item.service, item.operation, item.params["TableName"]) == ("dynamodb", "GetItem", "ledger")
    assert item.error_code == "ResourceNotFoundException"
    assert invoke.params == {"FunctionName": "nobody", "InvocationType": "Event", "Payload": {"a": 1}}
    assert (invoke.status, invoke.error_code) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("RequestLimitExceeded", 503),
        ("UnauthorizedOperation", 403),
        ("InsufficientInstanceCapacity", 500),
        ("InternalError", 500),
        ("InvalidParameterValue", 400),
    ],
)
def test_injected_error_looks_like_awss_and_changes_nothing(ours: Aws, code: str, status: int) -> None:
    count = vpcs(ours)
    ours.api.faults.fail("CreateVpc", code)
    with pytest.raises(ClientError) as refusal:
        ours.ec2.create_vpc(CidrBlock="10.1.0.0/16")
    assert refusal.value.response["Error"]["Code"] == code
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert vpcs(ours) == count
    ours.ec2.create_vpc(CidrBlock="10.1.0.0/16")


def test_injected_errors_fit_each_services_protocol(ours: Aws) -> None:
    ours.api.faults.fail("dynamodb:*", "ProvisionedThroughputExceededException", times=None)
    ours.api.faults.fail("sns:*", "Throttling", times=None)
    ours.api.faults.fail("Invoke", "TooManyRequestsException", times=None)
    dynamodb, function = ours.client("dynamodb"), ours.client("lambda")
    with pytest.raises(dynamodb.exceptions.ProvisionedThroughputExceededException):
        dynamodb.list_tables()
    with pytest.raises(ClientError, match="Throttling"):
        ours.client("sns").list_topics()
    with pytest.raises(function.exceptions.TooManyRequestsException):
        function.invoke(FunctionName="prober")


def test_error_strikes_only_matching_parameters_and_only_so_often(ours: Aws) -> None:
    ours.api.faults.fail("DescribeRouteTables", "InternalError", times=2, where={"RouteTableIds": ours.table})
    ours.ec2.describe_route_tables()
    for _ in range(2):
        with pytest.raises(ClientError, match="InternalError"):
            ours.ec2.describe_route_tables(RouteTableIds=[ours.table])
    ours.ec2.describe_route_tables(RouteTableIds=[ours.table])


def test_predicate_may_choose_the_victim(ours: Aws) -> None:
    ours.api.faults.fail("Describe*", "InternalError", where=lambda params: "Filters" in params)
    ours.ec2.describe_vpcs()
    with pytest.raises(ClientError):
        ours.ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [ours.vpc]}])


def test_lost_reply_was_applied(ours: Aws) -> None:
    count = vpcs(ours)
    ours.api.faults.lose_reply("CreateVpc")
    with pytest.raises(ConnectionClosedError):
        ours.ec2.create_vpc(CidrBlock="10.1.0.0/16")
    assert vpcs(ours) == count + 1
    assert [call.status for call in ours.api.calls() if call.operation == "CreateVpc"][-1] == 0


def test_client_retries_a_lost_reply_and_throttling(ours: Aws) -> None:
    patient: Any = SESSION.client
    ec2 = patient("ec2", endpoint_url=ours.url, config=Config(retries={"mode": "standard", "total_max_attempts": 4}))
    ours.api.faults.lose_reply("DescribeVpcs")
    ours.api.faults.fail("DescribeVpcs", "RequestLimitExceeded")
    ours.api.clear_calls()
    ec2.describe_vpcs()
    assert [call.status for call in ours.api.calls()] == [0, 503, 200]


def test_latency_of_concurrent_calls_passes_in_parallel(ours: Aws) -> None:
    ours.ec2.describe_vpcs()
    ours.api.faults.delay(0.1)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: vpcs(ours), range(20)))
        ours.api.clear_calls()
        list(pool.map(lambda _: vpcs(ours), range(20)))
    calls = ours.api.calls()
    spent = [each.ended_at - each.started_at for each in calls]
    assert min(spent) >= 0.1
    # One after the other they would take as long as all of them together.
    assert max(each.ended_at for each in calls) - min(each.started_at for each in calls) < sum(spent) / 2


def test_latency_may_strike_one_operation(ours: Aws) -> None:
    ours.api.faults.delay(0.2, "DescribeVpcs", times=1)
    durations = []
    for _ in range(6):
        begin = time.monotonic()
        vpcs(ours)
        durations.append(time.monotonic() - begin)
    assert durations[0] >= 0.2 > min(durations[1:])


def test_token_buckets_refuse_the_sixth_start(start: Start) -> None:
    aws = start(is_throttled=True)
    nat = aws.launch_running()
    for _ in range(5):
        aws.ec2.start_instances(InstanceIds=[nat.instance])
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        aws.ec2.start_instances(InstanceIds=[nat.instance])


def test_descriptions_may_show_the_past(start: Start) -> None:
    aws = start(stale_seconds=1.5)  # for as long as no machine takes between two calls
    tags = {"Filters": [{"Name": "resource-id", "Values": [aws.vpc]}]}
    assert aws.ec2.describe_tags(**tags)["Tags"] == []
    aws.ec2.create_tags(Resources=[aws.vpc], Tags=[{"Key": "a", "Value": "b"}])
    assert aws.ec2.describe_tags(**tags)["Tags"] == []
    assert len(eventually(lambda: aws.ec2.describe_tags(**tags)["Tags"])) == 1


def test_request_that_the_lab_cannot_read_is_refused_and_reported(ours: Aws) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = urllib.request.Request(ours.url, b"Action=NoSuchThing&Version=2016-11-15", headers)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=5)
    assert refusal.value.code == 400
    assert len(ours.api.failures()) == 1
    ours.api.clear_failures()


def test_only_one_api_runs_at_a_time(ours: Aws) -> None:
    assert ours.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="one Api per process"):
        Api(RecordingPackets()).start()


def test_next_api_starts_empty(start: Start) -> None:
    first = start()
    first.launch_running()
    first.api.stop()
    second = start()
    assert second.ec2.describe_instances()["Reservations"] == []


def test_published_messages_can_be_read_back(ours: Aws) -> None:
    sns = ours.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.publish(TopicArn=topic, Subject="egress down", Message="group a")
    message = ours.api.published()[0]
    assert (message["TopicArn"], message["Subject"], message["Message"]) == (topic, "egress down", "group a")


def test_a_call_costs_little(ours: Aws) -> None:
    ours.ec2.describe_vpcs()
    ours.api.clear_calls()
    for _ in range(50):
        ours.ec2.describe_addresses()
    spent = sorted(call.ended_at - call.started_at for call in ours.api.calls())
    # Even the fastest far above the measured 0.5 ms means that some hot path got lost.
    assert spent[0] < 0.010


def test_a_caller_that_dies_between_head_and_body_has_called_nothing() -> None:
    """As a function that is killed in the middle of a request; read as a call, it would be one without parameters."""
    heard: list[HttpRequest] = []
    server = WireServer(lambda request: heard.append(request))  # type: ignore[func-returns-value]
    server.start()
    try:
        with socket.create_connection(server.server_address[:2]) as caller:
            caller.sendall(
                b"POST / HTTP/1.1\r\nx-amz-target: DynamoDB_20120810.UpdateItem\r\ncontent-length: 20\r\n\r\n{"
            )
            caller.shutdown(socket.SHUT_WR)
            assert caller.recv(1024) == b""
    finally:
        server.stop()
    assert heard == []
