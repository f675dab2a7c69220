"""The documented limits of every call that natkeeper's adapters make, and AWS's error for what is beyond them.

Called by the simulated services before they answer. Held against botocore's service models and the adapters' source by
`tests/simulation/test_limits.py`: an operation that is called and is not here fails it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from natkeeper_lab.simulation.errors import ApiError

Measure = Callable[[Any], int]
KILOBYTE = 1024
EC2_PAGES = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference"
DYNAMO_PAGES = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"


@dataclass(frozen=True)
class Limit:
    """`path`: the parameter, `[]` for each of a list. `least` and `most`: inclusive, of what `measure` says. `code`:
    the error. `says`: a phrase of botocore's own documentation of the parameter; None where only `page` has it."""

    path: str
    measure: Measure
    most: int
    code: str
    page: str
    least: int = 0
    says: str | None = None


def size(value: Any) -> int:
    """Bytes of a text or of a JSON-able value as it goes over the wire."""
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    return len((value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))).encode())


_FILTERS = (
    Limit("Filters", len, 50, "FilterLimitExceeded", f"{EC2_PAGES}/API_DescribeInstances.html"),
    Limit("Filters.[].Values", len, 200, "FilterLimitExceeded", f"{EC2_PAGES}/API_DescribeInstances.html"),
)
"""EC2 User Guide, "List and filter using the CLI and API": 50 filters and 200 values for each in a request."""
_TAGS = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html"
_EXPRESSION = 4 * KILOBYTE
ITEM = 400 * KILOBYTE
"""Bytes of a DynamoDB item, its attributes' names included."""
EVENT = 1024 * KILOBYTE
"""Bytes of an event on its way to a function: Lambda's limit for asynchronous invocations. EventBridge's is 256 KB for
what customers put; AWS's own events are within it."""
EVENTBRIDGE = 256 * KILOBYTE

LIMITS: dict[str, tuple[Limit, ...]] = {
    "DescribeInstances": _FILTERS,
    "DescribeRouteTables": _FILTERS,
    "DescribeAddresses": _FILTERS,
    "DescribeSpotInstanceRequests": _FILTERS,
    "DescribeInstanceStatus": (
        Limit(
            "InstanceIds",
            len,
            100,
            "InvalidParameterValue",
            f"{EC2_PAGES}/API_DescribeInstanceStatus.html",
            says="Maximum 100 explicitly specified instance IDs",
        ),
    ),
    "RunInstances": (
        Limit(
            "ClientToken",
            len,
            64,
            "InvalidParameterValue",
            f"{EC2_PAGES}/API_RunInstances.html",
            says="Maximum 64 ASCII characters",
        ),
        Limit("UserData", size, 16 * KILOBYTE, "InvalidParameterValue", f"{EC2_PAGES}/API_RunInstances.html"),
        Limit("TagSpecifications.[].Tags", len, 50, "TagLimitExceeded", _TAGS),
        Limit(
            "TagSpecifications.[].Tags.[].Key",
            len,
            127,
            "InvalidParameterValue",
            _TAGS,
            says="maximum of 127 Unicode characters",
        ),
        Limit(
            "TagSpecifications.[].Tags.[].Value",
            len,
            256,
            "InvalidParameterValue",
            _TAGS,
            says="maximum of 256 Unicode characters",
        ),
    ),
    "StartInstances": (),
    "StopInstances": (),
    "TerminateInstances": (
        Limit(
            "InstanceIds",
            len,
            1000,
            "InvalidParameterValue",
            f"{EC2_PAGES}/API_TerminateInstances.html",
            says="Up to 1000 instance IDs",
        ),
    ),
    "ReplaceRoute": (),
    "CreateRoute": (),
    "AssociateAddress": (),
    "DisassociateAddress": (),
    "ModifyNetworkInterfaceAttribute": (),
    "Query": (Limit("TableName", len, 1024, "ValidationException", DYNAMO_PAGES, least=1),),
    "UpdateItem": (
        Limit("TableName", len, 1024, "ValidationException", DYNAMO_PAGES, least=1),
        Limit("UpdateExpression", size, _EXPRESSION, "ValidationException", DYNAMO_PAGES),
        Limit("ConditionExpression", size, _EXPRESSION, "ValidationException", DYNAMO_PAGES),
    ),
    "PutItem": (
        Limit("TableName", len, 1024, "ValidationException", DYNAMO_PAGES, least=1),
        Limit("ConditionExpression", size, _EXPRESSION, "ValidationException", DYNAMO_PAGES),
        Limit("Item", size, ITEM, "ValidationException", DYNAMO_PAGES),
    ),
    "Invoke": (
        Limit(
            "FunctionName",
            len,
            256,
            "ValidationException",
            "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html",
            least=1,
        ),
        Limit(
            "Payload",
            size,
            1024 * KILOBYTE,
            "RequestEntityTooLargeException",
            "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html",
            says="1 MB for asynchronous invocations",
        ),
    ),
    "Publish": (
        Limit(
            "Subject",
            len,
            99,
            "InvalidParameter",
            "https://docs.aws.amazon.com/sns/latest/api/API_Publish.html",
            least=1,
            says="less than 100 characters long",
        ),
        Limit(
            "Message",
            size,
            256 * KILOBYTE,
            "InvalidParameter",
            "https://docs.aws.amazon.com/sns/latest/api/API_Publish.html",
            least=1,
        ),
    ),
}
"""Empty: AWS documents no limit on what natkeeper sends of that call."""


def check(operation: str, params: Mapping[str, Any]) -> None:
    """Raises ApiError as AWS would, for the first parameter that is beyond its limit."""
    for limit in LIMITS[operation]:
        for value in found(params, limit.path.split(".")):
            measured = limit.measure(value)
            if not limit.least <= measured <= limit.most:
                text = f"{limit.path}: {measured} is not within {limit.least} and {limit.most} ({limit.page})"
                raise ApiError(limit.code, text)


def check_item(item: Mapping[str, Any]) -> None:
    """An item as an update leaves it."""
    if size(item) > ITEM:
        raise ApiError("ValidationException", "Item size to update has exceeded the maximum allowed size")


def found(value: Any, path: list[str]) -> Iterator[Any]:
    """What stands at the path, as often as it does."""
    if not path:
        yield value
    elif path[0] == "[]":
        for each in value:
            yield from found(each, path[1:])
    elif path[0] in value:
        yield from found(value[path[0]], path[1:])
