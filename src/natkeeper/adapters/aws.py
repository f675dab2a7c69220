"""botocore's exceptions as natkeeper's four errors, and the client settings all adapters share.

Called by the other adapters. Error codes: EC2 API reference, "Error codes"; DynamoDB and Lambda, "Common errors".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from natkeeper.errors import NoCapacity, Refused, Stale, TryAgain

CALL = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
)
"""EC2 answers in well under a second; three tries with botocore's back-off fit twice into the controller's 20 s."""

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
    *("IncorrectInstanceState", "IncorrectState", "IdempotentParameterMismatch", "OperationNotPermitted"),
    *("ConditionalCheckFailedException", "DependencyViolation"),
}


@contextmanager
def typed_errors(operation: str) -> Iterator[None]:
    """Raises TryAgain, NoCapacity, Stale or Refused in place of what botocore raised."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        message = str(error.response.get("Error", {}).get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _NO_CAPACITY:
            raise NoCapacity(operation, code, message) from error
        if code in _TRY_AGAIN or status >= 500:
            raise TryAgain(operation, code, message) from error
        if code in _STALE or code.endswith((".NotFound", "NotFoundException")):
            raise Stale(operation, code, message) from error
        raise Refused(operation, code, message) from error
    except BotoCoreError as error:
        # No answer: it may have been applied all the same. The next look tells, and every write is harmless twice.
        raise TryAgain(operation, type(error).__name__, str(error)) from error
