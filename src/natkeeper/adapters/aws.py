"""botocore's exceptions as natkeeper's four errors, and the client settings all adapters share.

Called by the other adapters. Error codes: EC2 API reference, "Error codes"; DynamoDB and Lambda, "Common errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from natkeeper.errors import NoCapacity, Refused, Stale, Trouble, TryAgain

CALL = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
)
"""EC2 answers in well under a second; three tries with botocore's back-off fit twice into the controller's 20 s."""

LAUNCHING = CALL.merge(Config(read_timeout=8))
"""RunInstances and StartInstances: public reports say 1.4 to 3 s and more for RunInstances (docs/decisions.md, 32). A
try that is given up has launched all the same, and costs another pass under the same token."""

_TRY_AGAIN = {
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestThrottled"),
    *("InternalError", "InternalFailure", "InternalServerError", "ServerInternal", "ServiceException"),
    *("ServiceUnavailable", "ServiceUnavailableException", "Unavailable", "RequestTimeout"),
    "ProvisionedThroughputExceededException",
}
_NO_CAPACITY = {
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientAddressCapacity", "Unsupported"),
    *("InsufficientFreeAddressesInSubnet", "InstanceLimitExceeded", "VcpuLimitExceeded", "AddressLimitExceeded"),
    *("NetworkInterfaceLimitExceeded", "MaxSpotInstanceCountExceeded"),
}
_STALE = {
    *("IncorrectInstanceState", "IncorrectState", "IdempotentParameterMismatch"),
    *("ConditionalCheckFailedException", "DependencyViolation", "IdempotentInstanceTerminated"),
}


class typed_errors:  # noqa: N801 (reads as a word after `with`, like contextlib.suppress)
    """Raises TryAgain, NoCapacity, Stale or Refused in place of what botocore raised."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if isinstance(error, ClientError):
            raise trouble_of(self._operation, cast(Mapping[str, Any], error.response)) from error
        if isinstance(error, BotoCoreError):
            # No answer: it may have been applied all the same. The next look tells, and every write is harmless twice.
            raise TryAgain(self._operation, type(error).__name__, str(error)) from error


def trouble_of(operation: str, answer: Mapping[str, Any]) -> Trouble:
    """What an error that botocore parsed means. By its code first: EC2 answers a lack of capacity with status 500."""
    code = str(answer.get("Error", {}).get("Code", "Unknown"))
    message = str(answer.get("Error", {}).get("Message", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _NO_CAPACITY:
        return NoCapacity(operation, code, message)
    if code in _TRY_AGAIN or status >= 500:
        return TryAgain(operation, code, message)
    if code in _STALE or code.endswith((".NotFound", "NotFoundException")):
        return Stale(operation, code, message)
    return Refused(operation, code, message)
