"""boto3's clients as the adapters use them, on the simulated API: attempts, back-off and exceptions are botocore's.

Called by `natkeeper.adapters`. Retries follow the "standard" mode with the adapters' own settings
(https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html): throttling, server errors and answers that
do not come are tried again after a random part of 1, 2, 4 … seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from natkeeper.adapters.aws import CALL
from natkeeper.wiring import LEDGER, VERIFYING
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.dynamo import ConditionFailed
from natkeeper_lab.simulation.errors import ApiError, NoAnswer
from natkeeper_lab.simulation.hub import SECOND

if TYPE_CHECKING:
    from natkeeper_lab.simulation.invocation import Invocation

TRANSIENT = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
THROTTLING = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestThrottled"}
    | {"ProvisionedThroughputExceededException", "BandwidthLimitExceeded", "EC2ThrottledException", "SlowDown"}
)
"""botocore.retries.standard: TransientRetryableChecker and ThrottledRetryableChecker."""


class ConditionalCheckFailedException(ClientError):
    """botocore makes one class for each modelled error."""


class Wire:
    """One service's client within one invocation."""

    def __init__(self, invocation: Invocation, service: str, config: Config) -> None:
        self._invocation = invocation
        self._service = service
        self._patience, self._attempts = _limits(config)
        self._before: list[Callable[..., object]] = []
        self._after: dict[str, Callable[..., object]] = {}

    def register(self, event: str, handler: Callable[..., object]) -> None:
        """botocore's `client.meta.events.register`, for what the adapters want: before each attempt of every call, and
        after each of one operation."""
        kind, service, *operation = event.split(".")
        assert service == self._service
        if kind == "before-send" and not operation:
            self._before.append(handler)
        else:
            assert kind == "response-received"
            self._after[operation[0]] = handler

    def call(self, operation: str, params: Mapping[str, Any], page: int = 0) -> Any:
        """The answer of the last attempt, raised if it is an error."""
        invocation, world = self._invocation, self._invocation.world
        for attempt in range(1, self._attempts + 1):
            for each in self._before:
                each()
            number = invocation.next_call()
            call = Call(self._service, operation, params, invocation, number, world.hub.now, page)
            answer = world.hub.wait(lambda resume, call=call: world.api.submit(call, self._patience, resume))  # type: ignore[misc]
            invocation.thaw()
            if operation in self._after:
                self._after[operation](**_received(answer))
            if not isinstance(answer, (ApiError, NoAnswer)):
                return answer
            if attempt == self._attempts or not _is_worth_another(answer):
                raise _exception(answer, operation, self._service)
            world.hub.sleep(int(world.dice.random() * 2 ** (attempt - 1) * SECOND))
        raise AssertionError("no attempt was made")


@cache
def _limits(config: Config) -> tuple[int, int]:
    """(microseconds until an answer is given up, attempts). botocore sets a Config's options on the instance, where its
    types do not show them."""
    options: Any = config
    return int(options.read_timeout * SECOND), (options.retries or {}).get("total_max_attempts", 1)


@cache
def _operation(method: str) -> str:
    """`replace_route` is ReplaceRoute."""
    return "".join(each.capitalize() for each in method.split("_"))


def _is_worth_another(answer: ApiError | NoAnswer) -> bool:
    if isinstance(answer, NoAnswer):
        return True
    return answer.status in (500, 502, 503, 504) or answer.code in TRANSIENT or answer.code in THROTTLING


def _received(answer: Any) -> dict[str, Any]:
    """What botocore tells of an attempt: the exception, or the parsed answer."""
    if isinstance(answer, NoAnswer):
        return {"exception": ReadTimeoutError(endpoint_url="https://simulated"), "parsed_response": None}
    return {"exception": None, "parsed_response": _response(answer) if isinstance(answer, ApiError) else answer}


def _response(answer: ApiError) -> dict[str, Any]:
    return {
        "Error": {"Code": answer.code, "Message": answer.message},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
    }


def _exception(answer: ApiError | NoAnswer, operation: str, service: str) -> Exception:
    if isinstance(answer, NoAnswer):
        return ReadTimeoutError(endpoint_url=f"https://{service}.simulated")
    response = _response(answer)
    if isinstance(answer, ConditionFailed):
        response["Item"] = answer.item
        return ConditionalCheckFailedException(response, operation)  # type: ignore[arg-type]
    return ClientError(response, operation)  # type: ignore[arg-type]


class Ec2Client:
    """boto3.client("ec2")."""

    def __init__(self, invocation: Invocation, config: Config = CALL) -> None:
        self._wire = Wire(invocation, "ec2", config)
        self.meta = SimpleNamespace(events=self._wire)

    def get_paginator(self, name: str) -> SimpleNamespace:
        """Pages until there is no NextToken; each is a call."""
        operation = {"describe_instances": "DescribeInstances", "describe_route_tables": "DescribeRouteTables"}[name]

        def paginate(**params: Any) -> Iterator[dict[str, Any]]:
            page = 0
            while True:
                answer = self._wire.call(operation, params, page)
                yield answer
                if "NextToken" not in answer:
                    return
                page += 1

        return SimpleNamespace(paginate=paginate)

    def __getattr__(self, name: str) -> Any:
        operation = _operation(name)
        return lambda **params: self._wire.call(operation, params)


class DynamoClient:
    """boto3.client("dynamodb")."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, invocation: Invocation) -> None:
        self._wire = Wire(invocation, "dynamodb", LEDGER)

    def query(self, **params: Any) -> Any:
        return self._wire.call("Query", params)

    def update_item(self, **params: Any) -> Any:
        return self._wire.call("UpdateItem", params)

    def put_item(self, **params: Any) -> Any:
        return self._wire.call("PutItem", params)


class LambdaClient:
    """boto3.client("lambda"), for the probers."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._patience, _ = _limits(VERIFYING)

    def invoke(self, **params: Any) -> Any:
        """Asynchronous: accepted. Synchronous: the report, or no answer in time."""
        invocation, world = self._invocation, self._invocation.world
        call = Call("lambda", "Invoke", params, invocation, invocation.next_call(), world.hub.now)
        is_waited_for = params["InvocationType"] == "RequestResponse"
        answer = world.hub.wait(lambda resume: world.functions.submit(call, is_waited_for, self._patience, resume))
        if isinstance(answer, (ApiError, NoAnswer)):
            raise _exception(answer, "Invoke", "lambda")
        return answer
