"""botocore tries a call again by itself; a try that would leave after the lease never does. With the real client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from natkeeper.adapters.aws import CALL
from natkeeper.adapters.ec2 import Ec2, LaunchSettings
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.plan import Action, MoveAddress, PointRoute
from natkeeper.errors import Stale, Trouble, TryAgain
from simulation.setting import Setting, settings_of

THROTTLED = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>"
MOVES = (MoveAddress("eipalloc-a", "eni-b", "10.0.12.11"), PointRoute("rtb-a1", DEFAULT_ROUTE, "eni-b"))


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> list[bytes]:
        return [self._content]


class Throttling:
    """EC2 that throttles whatever reaches it; `tries` did."""

    def __init__(self) -> None:
        self.tries = 0
        client = boto3.client(
            "ec2", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b", config=CALL
        )
        launches = LaunchSettings("lt-1", "1", "sg-1", lambda *_: ("", ""))
        self.ec2 = Ec2(client, settings_of(Setting()).policy, launches, one_after_the_other)
        client.meta.events.register_last("before-send.ec2", self._answer)

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        self.tries += 1
        body: Any = _Body(THROTTLED)
        return AWSResponse(request.url, 503, {}, body)


def one_after_the_other(calls: Sequence[Callable[[], object]]) -> list[object]:
    return [each() for each in calls]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Throttling:
    monkeypatch.setattr("time.sleep", lambda _: None)
    return Throttling()


@pytest.mark.parametrize("action", MOVES)
def test_what_is_throttled_is_tried_three_times_under_a_lease(action: Action, aws: Throttling) -> None:
    with pytest.raises(TryAgain):
        aws.ec2.do(action)
    assert aws.tries == 3


@pytest.mark.parametrize("action", MOVES)
def test_no_try_leaves_once_the_lease_is_over(action: Action, aws: Throttling) -> None:
    """Simulation, seed 667150466: the pass stood still before botocore's second try."""
    with pytest.raises(Stale):
        aws.ec2.do(action, lambda: aws.tries == 0)
    assert aws.tries == 1


def test_a_look_needs_no_lease(aws: Throttling) -> None:
    """What one action was told does not hold for the calls after it."""
    with pytest.raises(Stale):
        aws.ec2.do(MOVES[0], lambda: False)
    with pytest.raises(Trouble):
        aws.ec2.look(frozenset())
    assert aws.tries == 3
