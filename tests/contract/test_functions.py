"""Lambda's invocations: answers, errors, throttling, retries, destinations and loops, on the wire.

The pages followed are those of https://docs.aws.amazon.com/lambda/latest/dg/: invocation-async-error-handling.html,
invocation-async-retain-records.html, configuration-concurrency.html, invocation-recursion.html.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.handlers import add_recursion_detection_header

from natkeeper_lab.api import FunctionResult
from natkeeper_lab.api.asynchronous import MAXIMUM_AGE, Conclusion, Event, ThrottledError, carry_out
from natkeeper_lab.api.lineage import Lineage
from natkeeper_lab.runtime import CURRENT, FunctionHost, Invocation
from natkeeper_lab.runtime.artefact import assemble
from tests.contract.conftest import Start
from tests.contract.scenery import SESSION, Aws, eventually

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
        release.wait(60)
        done.set()
        return FunctionResult(b"null")

    ours.api.register_function("prober", slow)
    answer = ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event", Payload=b"{}")
    assert answer["StatusCode"] == 202
    assert not done.is_set()
    release.set()
    assert done.wait(60)


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


# -- how long Lambda waits; its minute lasts a fiftieth of a second here (`FAST`: 0.02 s for 60)


def test_second_wait_is_twice_the_first() -> None:
    """invocation-async-error-handling.html: a minute before the second attempt, two before the third."""
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return True

    end = carry_out(Event(b"{}", "id", 2, MAXIMUM_AGE, attempt=lambda: BOOM, wait=wait))
    assert end == Conclusion("RetriesExhausted", 3, BOOM)
    assert [each for each in waits if each] == [60, 120]


def test_a_minute_of_waiting_is_as_long_as_the_lab_is_told(start: Start) -> None:
    aws = start(async_retry_seconds=0.3)
    attempts: list[float] = []

    def fail(_: bytes) -> FunctionResult:
        attempts.append(time.monotonic())
        return BOOM

    aws.api.register_function("prober", fail)
    aws.client("lambda").invoke(FunctionName="prober", InvocationType="Event")
    eventually(lambda: len(attempts) == 3)
    assert attempts[1] - attempts[0] >= 0.3
    assert attempts[2] - attempts[1] >= 0.6


def test_attempts_of_one_event_share_its_request_id(ours: Aws) -> None:
    seen: list[Invocation | None] = []

    def fail(_: bytes) -> FunctionResult:
        seen.append(CURRENT.get())
        return BOOM

    ours.api.register_function("prober", fail)
    sent = ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event")
    eventually(lambda: len(seen) == 3)
    assert {each.request_id for each in seen if each} == {sent["ResponseMetadata"]["RequestId"]}


def test_event_that_would_be_too_old_is_given_up(ours: Aws) -> None:
    """The second attempt is a minute old, the third would be three minutes old: 100 seconds admit only the former."""
    received = record(ours, "controller")
    attempts: list[bytes] = []

    def fail(payload: bytes) -> FunctionResult:
        attempts.append(payload)
        return BOOM

    ours.api.register_function("prober", fail, on_failure="controller", maximum_age=100)
    ours.client("lambda").invoke(FunctionName="prober", InvocationType="Event", Payload=b'{"run": 7}')
    (destination,) = eventually(lambda: received)
    assert destination["requestContext"]["condition"] == "EventAgeExceeded"
    assert destination["requestContext"]["approximateInvokeCount"] == len(attempts) == 2
    assert destination["responsePayload"]["errorMessage"] == "boom"


# -- reserved concurrency, configuration-concurrency.html


class Gate:
    """A function that runs until it is let go."""

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)
        self.release = threading.Event()
        self.payloads: list[Any] = []

    def __call__(self, payload: bytes) -> FunctionResult:
        self.payloads.append(json.loads(payload))
        self.running.release()
        self.release.wait(60)
        return FunctionResult(b"{}")


def test_synchronous_call_beyond_the_reserved_concurrency_is_throttled(ours: Aws) -> None:
    gate = Gate()
    ours.api.register_function("controller", gate, reserved=1)
    client = ours.client("lambda")
    client.invoke(FunctionName="controller", InvocationType="Event", Payload=b"1")
    assert gate.running.acquire(timeout=60)
    with pytest.raises(client.exceptions.TooManyRequestsException) as refused:
        client.invoke(FunctionName="controller", Payload=b"2")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert refused.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert [name for _, name in ours.api.throttles()] == ["controller"]
    gate.release.set()
    eventually(lambda: "FunctionError" not in attempt(client, "controller"))
    assert (gate.payloads[0], 2 in gate.payloads) == (1, False)


def attempt(client: Any, name: str) -> Any:
    """An answer, or an empty one that says of itself that it failed."""
    try:
        return client.invoke(FunctionName=name, Payload=b"3")
    except client.exceptions.TooManyRequestsException:
        return {"FunctionError"}


def test_throttled_event_waits_and_runs_once_there_is_room(ours: Aws) -> None:
    """Lambda returns it to the queue and tries again; that is no attempt of the function's."""
    received = record(ours, "listener")
    gate = Gate()
    ours.api.register_function("controller", gate, reserved=1, retries=0, on_success="listener")
    client = ours.client("lambda")
    client.invoke(FunctionName="controller", InvocationType="Event", Payload=b"1")
    assert gate.running.acquire(timeout=60)
    client.invoke(FunctionName="controller", InvocationType="Event", Payload=b"2")
    time.sleep(0.1)
    assert gate.payloads == [1]
    gate.release.set()
    eventually(lambda: len(received) == 2)
    assert [each["requestContext"]["approximateInvokeCount"] for each in received] == [1, 1]
    assert gate.payloads == [1, 2]


def test_back_off_doubles_up_to_five_minutes() -> None:
    """invocation-async-error-handling.html: "exponentially from 1 second after the first attempt to a maximum of 5
    minutes", for 6 hours by default."""
    waits: list[float] = []

    def throttle() -> FunctionResult:
        raise ThrottledError(is_off=False)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return True

    event = Event(b"{}", "id", 2, MAXIMUM_AGE, attempt=throttle, wait=wait)
    assert carry_out(event) == Conclusion("EventAgeExceeded", 0, None)
    pauses = [each for each in waits if each]
    assert pauses[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(pauses[9:]) == {300}
    assert 6 * 3600 - 300 <= sum(pauses) <= 6 * 3600


def test_function_without_any_concurrency_sends_events_to_its_failure_destination_untried(ours: Aws) -> None:
    received = record(ours, "listener")
    ours.api.register_function("controller", lambda _: BOOM, reserved=0, on_failure="listener")
    ours.client("lambda").invoke(FunctionName="controller", InvocationType="Event", Payload=b'{"run": 7}')
    (destination,) = eventually(lambda: received)
    assert destination["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert destination["requestContext"]["approximateInvokeCount"] == 0
    assert destination["requestPayload"] == {"run": 7}
    assert "responsePayload" not in destination


# -- loops, invocation-recursion.html


def test_chain_of_destinations_is_stopped_when_a_function_has_run_sixteen_times(ours: Aws) -> None:
    runs = ping_pong(ours)
    eventually(lambda: len(runs) == 32)
    time.sleep(0.2)
    assert len(runs) == 32  # sixteen of each
    assert ours.api.failures() == []


def test_chain_goes_on_where_recursion_is_allowed(ours: Aws) -> None:
    runs = ping_pong(ours, is_recursion_allowed=True)
    eventually(lambda: len(runs) > 80)


def ping_pong(aws: Aws, **terms: Any) -> list[str]:
    """Two functions, each the other's destination, set going; who ran."""
    runs: list[str] = []

    def player(name: str) -> Any:
        def run(_: bytes) -> FunctionResult:
            runs.append(name)
            return FunctionResult(b"{}")

        return run

    for name, other in (("controller", "prober"), ("prober", "controller")):
        aws.api.register_function(name, player(name), on_success=other, **terms)
    aws.client("lambda").invoke(FunctionName="controller", InvocationType="Event")
    return runs


def test_function_that_calls_itself_with_amazons_client_is_refused_the_seventeenth_time(ours: Aws) -> None:
    """The chain is followed by the X-Ray header, which the SDK takes from the process's environment."""
    code = assemble(Path(__file__).with_name("function_code"))
    host = FunctionHost("caller", "functions.caller", {"AWS_ENDPOINT_URL": ours.url}, code=code, memory_mb=256)
    ours.api.register_function("caller", host.invoke)
    try:
        depth = boto3_client(ours).invoke(FunctionName="caller")["Payload"].read()
    finally:
        host.stop()
    assert (int(depth), host.cold_starts) == (16, 16)


def boto3_client(aws: Aws) -> Any:
    """One that has the patience for sixteen cold starts, one after the other."""
    return SESSION.client("lambda", endpoint_url=aws.url, config=Config(read_timeout=60))


def test_lineage_survives_its_way_through_amazons_client(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        "arn:aws:lambda:us-east-1:123456789012:function:one",
        "arn:aws:lambda:us-east-1:123456789012:function:two",
    )
    chain = Lineage().entering(one).entering(two).entering(one)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "one")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", chain.header)
    sent: dict[str, Any] = {"headers": {}}
    add_recursion_detection_header(sent)
    again = Lineage.of(sent["headers"]["X-Amzn-Trace-Id"])
    assert (again.counts, again.root) == (chain.counts, chain.root)
    assert sorted(again.counts.values()) == [1, 2]
    assert Lineage.of("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1").counts == {}
