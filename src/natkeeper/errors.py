"""The four ways a call can fail that natkeeper knows how to live with. Raised by adapters, caught only by `reconcile`.

Anything else that is raised is a bug or a broken deployment and goes on to Lambda's retry and the dead-letter queue.
"""

from __future__ import annotations

THROTTLES = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled"})
"""What EC2 says when the account's request rate is used up: nothing was done, and nothing is wrong with the request.
That a refused request takes no token is *unproven*; EC2's page says that an exhausted bucket goes on serving what it
refills (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html)."""


UNSENT = frozenset({"Attempt", "Lease"})
"""What a call is named in place of AWS's operation when it never left (`adapters.attempts`, `acting`)."""


QUOTAS = frozenset({"InstanceLimitExceeded", "VcpuLimitExceeded"})
"""What RunInstances and StartInstances say (EC2 API reference, "Error codes"); stopped instances do not count (EC2 user
guide, "On-Demand Instance quotas")."""


class Trouble(Exception):
    """A call that failed. `operation` is AWS's name for it, `code` AWS's error code or the kind of time-out."""

    def __init__(self, operation: str, code: str, detail: str = "") -> None:
        super().__init__(f"{operation}: {code}{': ' if detail else ''}{detail}")
        self.operation = operation
        self.code = code
        self.detail = detail

    @property
    def is_throttle(self) -> bool:
        """Refused for the account's request rate alone."""
        return self.code in THROTTLES

    @property
    def is_quota(self) -> bool:
        """Refused for want of instances or processors in the account: stopping one makes room."""
        return self.code in QUOTAS

    @property
    def is_refusal(self) -> bool:
        """AWS answered that it did nothing: no machine, not allowed, or something the request names is not there."""
        return isinstance(self, (NoCapacity, Refused)) or (isinstance(self, Stale) and "NotFound" in self.code)

    @property
    def is_unsent(self) -> bool:
        """natkeeper did not make the call: the lease or the pass was nearly over."""
        return self.operation in UNSENT

    @property
    def is_unsupported(self) -> bool:
        """The zone does not have this instance type, however often it is asked."""
        return self.code == "Unsupported"

    @property
    def is_spent(self) -> bool:
        """A launch's token is used up: the instance that it launched has been terminated since."""
        return self.code == "IdempotentInstanceTerminated"


class TryAgain(Trouble):
    """Throttled, AWS's own fault, or no answer in time: it may or may not have been applied; the next look tells."""


class NoCapacity(Trouble):
    """AWS has no machine of this type in this zone now, or a quota is used up."""


class Stale(Trouble):
    """The world is not as it was when we looked: not found, wrong state, lease lost."""


class Refused(Trouble):
    """AWS will not do it however often it is asked: not authorised, or the request makes no sense."""
