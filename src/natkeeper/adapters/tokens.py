"""The ClientToken of a launch: a repeat under the same one launches nothing new.

Called by `adapters.ec2`. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

from hashlib import sha256

from natkeeper.core.plan import LaunchInstance

LONGEST_TOKEN = 64
"""Characters of a ClientToken (botocore's model says nothing; EC2 API reference, "Ensuring idempotency")."""
HASHED = 24
"""Hexadecimal digits kept of a hash: 96 bits."""


def client_token(stack: str, action: LaunchInstance) -> str:
    """The launch's own, in all of the account: of stack, attempt (which is of a group and an incident) and type, for a
    token may not be used with two. `/` is in none of their names, so two different launches never share one.

    EC2 takes 64 characters (API reference, RunInstances); of what is longer the end is replaced by its hash.
    """
    whole = f"{stack}/{action.token}/{action.instance_type}"
    if len(whole) <= LONGEST_TOKEN:
        return whole
    digest = sha256(whole.encode()).hexdigest()[:HASHED]
    return f"{whole[: LONGEST_TOKEN - HASHED - 1]}/{digest}"
