"""What a lab run may choose about its API, and what the API remembers of each request.

Read by every module of `api` and by whoever starts an `Api`. May not import moto or boto3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

# IPv4 addresses per network interface. https://docs.aws.amazon.com/ec2/latest/instancetypes/gp.html#gp_network
ADDRESSES_PER_INTERFACE: Mapping[str, int] = MappingProxyType(
    {"t4g.nano": 2, "t4g.micro": 2, "t4g.small": 4, "t4g.medium": 6, "c6gn.medium": 4, "c7gn.medium": 4}
)


@dataclass(frozen=True)
class ApiOptions:
    """Times are in seconds. The defaults are short so that tests stay short; the shapes of the delays are AWS's."""

    region: str = "us-east-1"
    boot_seconds: float = 3.0
    """From `pending` to `running`."""
    stop_seconds: float = 3.0
    """From `stopping` to `stopped`, and from `shutting-down` to `terminated`."""
    guest_boot_seconds: float = 0.0
    """From `running` to a guest on the wire. At 0 the guest is on the wire just before `running` is shown."""
    power_off_at: Literal["start", "end"] = "start"
    """Whether the guest dies when `stopping`/`shutting-down` begins (the worst case) or when it ends."""
    event_delay: float = 0.0
    launch_seconds: float | None = None
    """From RunInstances to a guest on the wire. None: `boot_seconds` and `guest_boot_seconds`."""
    start_seconds: float | None = None
    """The same from StartInstances and RebootInstances."""
    remap_seconds: float = 0.0
    """From the answer to AssociateAddress until packets follow the Elastic IP. AWS names no figure."""
    remap_model: Literal["late", "dark"] = "late"
    """Whether the former mapping works meanwhile, or neither does."""
    route_delay: float = 0.0
    """From the answer to a call that changes a route until packets follow it."""
    auto_address_delay: float | None = 0.0
    """From the Elastic IP leaving a primary address, or AssociatePublicIpAddress set, to the new auto-assigned public
    address; None is never."""
    destination_delay: float = 0.0
    """From the end of an asynchronous Lambda invocation until its destination is invoked."""
    async_retry_seconds: float = 1.0
    """Between the first two attempts of an asynchronous Lambda invocation (60 on AWS); what else Lambda waits for is
    scaled alike."""
    minute_seconds: float = 60.0
    """How long EventBridge Scheduler's minute lasts."""
    seed: int = 0
    """Decides when inside its minute a schedule fires."""
    elastic_addresses: tuple[str, str] = ("198.51.100.10", "198.51.100.99")
    auto_addresses: tuple[str, str] = ("198.51.100.128", "198.51.100.254")
    address_limits: Mapping[str, int] = field(default_factory=lambda: ADDRESSES_PER_INTERFACE)
    """Private addresses per interface by instance type; a type that is not listed has no limit."""
    stale_seconds: float = 0.0
    """Describe calls seen before are answered with the state of this long ago (eventual consistency)."""
    is_throttled: bool = False
    """Whether EC2's token buckets are enforced (`api.throttle`)."""
    has_images: bool = False
    """Whether DescribeImages knows AWS's public images; loading them takes a second. Any image id can be launched."""
    certificate: tuple[str, str] | None = None
    """Files of a certificate for 127.0.0.1 and its key: the endpoint speaks TLS, as AWS's do. Whoever calls needs the
    authority (AWS_CA_BUNDLE)."""
    is_mended: bool = True
    """False leaves moto as it is, gaps and all: the contract tests compare the two."""


HAND = "hand"


@dataclass(frozen=True)
class Call:
    """One request as the server saw it. Times are `time.monotonic()`; `status` is 0 when the reply was lost."""

    service: str
    operation: str
    params: Mapping[str, Any]
    started_at: float
    ended_at: float
    status: int
    error_code: str | None
    is_by_hand: bool = False
    """Made with the access key `HAND`: by a person, not by natkeeper. Faults do not concern it."""
