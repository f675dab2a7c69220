"""Lambda's invocations: answers, errors, retries and destinations on the wire."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from lab.api import FunctionResult
from tests.contract.scenery import Aws, eventually

BOOM = FunctionResult(b'{"errorMessage": "boom", "errorType": "ValueError", "stackTrace": []}', "Unhandled")


def record(aws: Aws, name: str) -> list[Any]:
    """Register a function that remembers its payloads."""
    received: list[Any] = []

    def invoke(payload: bytes) -> FunctionResult:
        received.append(json.loads(payload))
        return FunctionResult(b'{"ok": true}')

    aws.api.register_function(name, invoke)
    return received


def test_synchronous_invocation_answers_the_functions_result(aws: Aws) -> None:
    received = record(aws, "prober")
    answer = aws.client("lambda").invoke(FunctionName="prober", Payload=b'{"round": 1}')
    assert json.loads(answer["Payload"].read()) == {"ok": True}
    assert "FunctionError" not in answer
    assert received == [{"round": 1}]


def test_function_can_be_named_by_its_arn(ours: Aws) -> None:
    received = record(ours, "prober")
    arn = "arn:aws:lambda:us-east-1:123456789012:function:prober"
    ours.client("lambda").invoke(FunctionName=arn, Payload=b"{}")
    ours.client("lambda").invoke(FunctionName=f"{arn}:live", Payload=b"{}")
    assert len(received) == 2


def test_failing_function_answers_a_function_error(ours: Aws) -> None:
    ours.api.register_function("prober", lambda _: BOOM)
    answer = ours.client("lambda").invoke(FunctionName="prober")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == "ValueError"


def test_unknown_function_is_not_found(ours: Aws) -> None:
    client = ours.client("lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody")


def test_asynchronous_invocation_answers_before_the_function_is_done(ours: Aws) -> None:
    release, done = threading.Event(), threading.Event()

    def slow(_: bytes) -> FunctionResult:
        release.wait(5)
        done.set()
        return FunctionResult(b"null")

    ours.api.register_function("prober", slow)
    answer = ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event", Payload=b"{}")
    assert answer["StatusCode"] == 202
    assert not done.is_set()
    release.set()
    assert done.wait(1)


def test_result_reaches_the_success_destination_in_awss_record(ours: Aws) -> None:
    received = record(ours, "controller")
    arn = ours.api.register_function("prober", lambda _: FunctionResult(b'{"up": 1}'), on_success="controller")
    sent = ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event", Payload=b'{"run": 7}')
    destination = eventually(lambda: received)[0]
    assert destination.pop("timestamp").endswith("Z")
    assert destination == {
        "version": "1.0",
        "requestContext": {
            "requestId": sent["ResponseMetadata"]["RequestId"],
            "functionArn": f"{arn}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"run": 7},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"up": 1},
    }


def test_failure_is_retried_twice_before_its_destination_hears_of_it(ours: Aws) -> None:
    received = record(ours, "controller")
    attempts: list[float] = []

    def fail(_: bytes) -> FunctionResult:
        attempts.append(time.monotonic())
        return BOOM

    ours.api.register_function("prober", fail, on_failure="controller", on_success="controller")
    ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event", Payload=b"{}")
    destination = eventually(lambda: received)[0]
    assert len(attempts) == 3
    assert destination["requestContext"]["condition"] == "RetriesExhausted"
    assert destination["requestContext"]["approximateInvokeCount"] == 3
    assert destination["responseContext"]["functionError"] == "Unhandled"
    assert destination["responsePayload"]["errorMessage"] == "boom"


def test_synchronous_invocations_have_no_destination(ours: Aws) -> None:
    received = record(ours, "controller")
    ours.api.register_function("prober", lambda _: FunctionResult(b"{}"), on_success="controller")
    ours.client("lambda").invoke(FunctionName="prober")
    time.sleep(0.1)
    assert received == []


def test_missing_destination_fails_the_lab(ours: Aws) -> None:
    ours.api.register_function("prober", lambda _: FunctionResult(b"{}"), on_success="nobody")
    ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event")
    assert "nobody" in str(eventually(ours.api.failures)[0])
    ours.api.clear_failures()


def test_failure_goes_to_a_queue_after_as_many_retries_as_configured(ours: Aws) -> None:
    sqs = ours.client("sqs")
    url = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    ours.api.register_function("controller", lambda _: BOOM, on_failure=arn, retries=0)
    ours.client("lambda").invoke(FunctionName="controller", InvocationType="Event", Payload=b'{"run": 7}')
    (message,) = eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    record = json.loads(message["Body"])
    assert record["requestPayload"] == {"run": 7}
    assert record["requestContext"]["approximateInvokeCount"] == 1
