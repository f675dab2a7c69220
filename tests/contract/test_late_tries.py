"""botocore tries a call again by itself. A try that would leave after the lease never does, and the refusal of a later
one says nothing of one that was not answered. With the real client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from natkeeper.adapters.aws import CALL, LAUNCHING
from natkeeper.adapters.ec2 import Ec2, LaunchSettings
from natkeeper.core.model import DEFAULT_ROUTE, Role
from natkeeper.core.plan import Action, LaunchInstance, MoveAddress, PointRoute, StartInstance
from natkeeper.errors import NoCapacity, Stale, Trouble, TryAgain
from natkeeper_lab.simulation.setting import Setting, settings_of

THROTTLED, FAULT, QUOTA = (503, "RequestLimitExceeded"), (500, "InternalError"), (400, "VcpuLimitExceeded")
SPENT = (400, "IdempotentInstanceTerminated")
LAUNCH = LaunchInstance("a", Role.NAT, "token", "t4g.nano")
MOVES = (MoveAddress("eipalloc-a", "eni-b", "10.0.12.11"), PointRoute("rtb-a1", DEFAULT_ROUTE, "eni-b"))


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> list[bytes]:
        return [self._content]


class Aws:
    """EC2 that answers each try with the next of `answers`, the last of them for ever; `tries` reached it. An answer is
    status and error code, or None where there is none."""

    def __init__(self, *answers: tuple[int, str] | None, config: Config = CALL, launching: Aws | None = None) -> None:
        self.tries = 0
        self.answers = answers
        self.client = client = boto3.client(
            "ec2", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b", config=config
        )
        launches = LaunchSettings("lt-1", "1", "sg-1", lambda *_: ("", ""), "vpc-1", "profile")
        patient = None if launching is None else lambda: launching.client
        self.ec2 = Ec2(client, settings_of(Setting()).policy, launches, one_after_the_other, patient)
        client.meta.events.register_last("before-send.ec2", self._answer)

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        answer = self.answers[min(self.tries, len(self.answers) - 1)]
        self.tries += 1
        if answer is None:
            raise ReadTimeoutError(endpoint_url=request.url)
        status, code = answer
        body: Any = _Body(f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>".encode())
        return AWSResponse(request.url, status, {}, body)


def one_after_the_other(calls: Sequence[Callable[[], object]]) -> list[object]:
    return [each() for each in calls]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def aws() -> Aws:
    return Aws(THROTTLED)


@pytest.mark.parametrize("action", MOVES)
def test_what_is_throttled_is_tried_three_times_under_a_lease(action: Action, aws: Aws) -> None:
    with pytest.raises(TryAgain):
        aws.ec2.do(action)
    assert aws.tries == 3


@pytest.mark.parametrize("action", MOVES)
def test_no_try_leaves_once_the_lease_is_over(action: Action, aws: Aws) -> None:
    """Simulation, seed 667150466: the pass stood still before botocore's second try."""
    with pytest.raises(Stale):
        aws.ec2.do(action, lambda: aws.tries == 0)
    assert aws.tries == 1


def test_a_look_needs_no_lease(aws: Aws) -> None:
    """What one action was told does not hold for the calls after it."""
    with pytest.raises(Stale):
        aws.ec2.do(MOVES[0], lambda: False)
    with pytest.raises(Trouble):
        aws.ec2.look()
    assert aws.tries == 3


def test_no_try_of_a_look_leaves_when_the_pass_is_nearly_over(aws: Aws) -> None:
    """Simulation, seed 60007559: with slow answers, the second tries of a look outlasted the pass."""
    with pytest.raises(Trouble):
        aws.ec2.look(goes_on=lambda: aws.tries == 0)
    assert aws.tries == 1


@pytest.mark.parametrize("first", [None, FAULT])
def test_a_refusal_after_a_try_that_nobody_heard_of_is_none(first: tuple[int, str] | None) -> None:
    """Simulation, seed 30018171: the first try launched half a minute later."""
    aws = Aws(first, QUOTA)
    with pytest.raises(TryAgain, match="an earlier attempt was not answered"):
        aws.ec2.do(LAUNCH)
    assert aws.tries == 2


@pytest.mark.parametrize("first", [None, FAULT])
def test_a_throttled_try_after_one_that_nobody_heard_of_does_not_pass_for_a_throttled_launch(
    first: tuple[int, str] | None,
) -> None:
    """It would be asked for anew, as if nothing had been sent."""
    with pytest.raises(TryAgain, match="NotAnswered") as caught:
        Aws(first, THROTTLED).ec2.do(LAUNCH)
    assert not caught.value.is_throttle


@pytest.mark.parametrize("first", [THROTTLED, (500, "InsufficientInstanceCapacity")])
def test_a_refusal_after_a_try_that_was_refused_is_certain(first: tuple[int, str]) -> None:
    """botocore tries again whatever has status 500, and EC2 answers a lack of capacity with it."""
    aws = Aws(first, QUOTA)
    with pytest.raises(NoCapacity):
        aws.ec2.do(LAUNCH)


def test_what_one_launch_did_not_hear_says_nothing_of_the_next() -> None:
    aws = Aws(None, None, None, QUOTA)
    with pytest.raises(TryAgain):
        aws.ec2.do(LAUNCH)
    with pytest.raises(NoCapacity):
        aws.ec2.do(LAUNCH)


def test_a_try_that_was_held_after_one_that_nobody_heard_of_says_nothing_of_that_one() -> None:
    """The next pass sends it as a repetition, under the same token."""
    aws = Aws(None)
    with pytest.raises(TryAgain, match="NotAnswered") as caught:
        aws.ec2.do(LAUNCH, lambda: aws.tries == 0)
    assert aws.tries == 1
    assert not caught.value.is_unsent


def test_a_launch_that_never_left_is_known_not_to_have_been_made() -> None:
    with pytest.raises(Stale) as caught:
        Aws(QUOTA).ec2.do(LAUNCH, lambda: False)
    assert caught.value.is_unsent


def test_a_used_up_token_is_heard_though_an_earlier_try_was_not() -> None:
    """No try under that token can launch any more."""
    with pytest.raises(Stale) as caught:
        Aws(None, SPENT).ec2.do(LAUNCH)
    assert caught.value.is_spent


@pytest.mark.parametrize("action", [LAUNCH, StartInstance("i-a")])
def test_what_starts_machines_waits_for_eight_seconds_and_what_moves_traffic_for_three(action: Action) -> None:
    """RunInstances takes 1.4 to 3 s and more: with 3 s, a launch timed out again and again."""
    patient = Aws(QUOTA, config=LAUNCHING)
    aws = Aws(QUOTA, launching=patient)
    with pytest.raises(Trouble):
        aws.ec2.do(action)
    assert (patient.tries, aws.tries) == (1, 0)
    with pytest.raises(Trouble):
        aws.ec2.do(MOVES[0])
    assert (patient.tries, aws.tries) == (1, 1)
    options: Any = patient.client.meta.config
    assert (options.read_timeout, aws.client.meta.config.read_timeout) == (8, 3)


def test_the_patient_client_holds_late_tries_too() -> None:
    patient = Aws(THROTTLED, config=LAUNCHING)
    with pytest.raises(Stale):
        Aws(QUOTA, launching=patient).ec2.do(LAUNCH, lambda: patient.tries == 0)
    assert patient.tries == 1
