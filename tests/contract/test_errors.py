"""What goes wrong at AWS: what the controller does about it, what it logs, and that the next pass repairs the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from natkeeper.adapters.aws import CALL
from natkeeper.core import launches
from natkeeper.core.bounds import LEASE
from natkeeper.core.model import DEFAULT_ROUTE, Network
from natkeeper.core.news import Tick
from natkeeper.ports import Lease
from natkeeper.wiring import LEDGER
from natkeeper_lab.api import ApiOptions, FunctionResult
from tests.support.cloud import FAST, Cloud, deploying, do_not_wait_between_attempts, wait_for_answers

ATTEMPTS = 3
DEFAULT = {"DestinationCidrBlock": DEFAULT_ROUTE}
SLOW_STOP = ApiOptions(boot_seconds=0.02, stop_seconds=30, async_retry_seconds=0.02)
"""The NAT stays in `stopping`, so that healing does not begin while a test looks at the failover alone."""
IMPATIENCE, LATE = 1.0, 2.0
"""Seconds: as long as `impatient` waits, and longer. A test stays for as long, for moto's state is global and what
arrives after a test would be applied to the next one's."""
Deploy = Callable[..., Cloud]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    do_not_wait_between_attempts(monkeypatch)
    with deploying() as deploy:
        yield lambda *args, **settings: deploy(*args, **{"options": SLOW_STOP, **settings})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs that a test can wait for."""
    wait_for_answers(monkeypatch, IMPATIENCE)


def stop(cloud: Cloud, **options: Any) -> dict[str, list[str]]:
    """Zone a's NAT begins to stop, and the controller hears of it."""
    cloud.stop_nat("a")
    cloud.forget()
    return cloud.wake(cloud.stopping("a"), **options)


def is_on_b(cloud: Cloud) -> bool:
    on_b = (cloud.zones["b"].interface, cloud.spare_address("b"))
    return set(cloud.targets("a")) == {cloud.zones["b"].interface} and cloud.address_on("a") == on_b


# -- throttling


def test_throttled_once_is_tried_again_and_nobody_hears_of_it(deploy: Deploy) -> None:
    cloud = deploy(2, 3)
    cloud.api.faults.fail("ReplaceRoute", "RequestLimitExceeded", where=DEFAULT)
    assert stop(cloud)["a"][0] == "fail-over"
    assert is_on_b(cloud)
    assert len(cloud.calls("ReplaceRoute")) == 4
    assert cloud.troubles() == []


def test_throttled_table_holds_up_no_other_and_is_moved_by_the_next_pass(deploy: Deploy) -> None:
    cloud = deploy(2, 3)
    home, away = cloud.zones["a"].interface, cloud.zones["b"].interface
    throttled = cloud.zones["a"].tables[1]
    cloud.api.faults.fail(
        "ReplaceRoute", "RequestLimitExceeded", times=None, where={"RouteTableId": throttled, **DEFAULT}
    )
    stop(cloud)
    assert cloud.targets("a") == [away, home, away]
    assert set(cloud.troubles()) == {("TryAgain", "ReplaceRoute", "RequestLimitExceeded")}
    line = cloud.logged(trouble="TryAgain")[0]
    assert (line["level"], line["message"], line["table_id"], line["group"]) == ("ERROR", "not done", throttled, "a")
    assert cloud.counted("FailoversFailed", "a") >= 1
    cloud.api.faults.clear()
    cloud.forget()
    assert cloud.wake(Tick())["a"][0] == "converge"
    assert is_on_b(cloud)
    assert [each.params["RouteTableId"] for each in cloud.calls("ReplaceRoute")] == [throttled]
    assert cloud.troubles() == []


def test_throttled_looks_change_nothing_and_the_next_pass_fails_over(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    cloud.api.faults.fail("Describe*", "RequestLimitExceeded", times=None)
    cloud.ec2.stop_instances(InstanceIds=[cloud.zones["a"].instance])
    cloud.forget()
    assert cloud.wake(cloud.stopping("a")) == {"a": ["cannot-look"], "b": ["cannot-look"]}
    assert set(cloud.writes()) == {"UpdateItem"}  # the leases
    assert cloud.calls("DescribeInstances") != []
    assert {kind for kind, _, _ in cloud.troubles()} == {"TryAgain"}
    assert {code for _, _, code in cloud.troubles()} == {"RequestLimitExceeded"}
    assert (cloud.counted("Unknown", "a"), cloud.counted("EgressUp", "a")) == (1, 0)
    cloud.api.faults.clear()
    assert cloud.wake(Tick())["a"][0] == "fail-over"
    assert is_on_b(cloud)


def test_throttled_look_of_a_tick_writes_nothing_at_all(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.api.faults.fail("Describe*", "RequestLimitExceeded", times=None)
    cloud.wake(Tick())
    assert set(cloud.writes()) <= {"UpdateItem"}, "that nobody sees is remembered, once"
    cloud.forget()
    cloud.wake(Tick())
    assert cloud.writes() == []


# -- no capacity


def terminate(cloud: Cloud) -> dict[str, list[str]]:
    """Zone a's NAT is gone for good: another must be launched."""
    cloud.terminate_nat("a")
    cloud.forget()
    return cloud.wake(Tick())


def types_asked(cloud: Cloud) -> list[str]:
    return sorted({each.params["InstanceType"] for each in cloud.calls("RunInstances")})


def test_type_without_capacity_is_replaced_by_the_next_one(deploy: Deploy) -> None:
    cloud = deploy(2, 1, options=FAST)
    cloud.api.faults.fail(
        "RunInstances", "InsufficientInstanceCapacity", times=None, where={"InstanceType": "t4g.nano"}
    )
    assert terminate(cloud)["a"][:2] == ["fail-over", "healing"]
    assert is_on_b(cloud)
    assert types_asked(cloud) == ["t4g.micro", "t4g.nano"]
    assert len(cloud.nats("a")) == 1
    (line,) = cloud.logged(message="done", action="LaunchInstance")
    assert line["group"] == "a"
    assert cloud.troubles() == [("NoCapacity", "RunInstances", "InsufficientInstanceCapacity")]
    assert cloud.counted("Launches", "a") == 1


def test_no_capacity_for_any_type_is_logged_and_tried_again_until_there_is_some(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = deploy(2, 1, options=FAST)
    cloud.api.faults.fail("RunInstances", "InsufficientInstanceCapacity", times=None)
    terminate(cloud)
    assert is_on_b(cloud)  # the neighbour carries the traffic meanwhile
    assert cloud.nats("a") == {}
    assert set(cloud.troubles()) == {("NoCapacity", "RunInstances", "InsufficientInstanceCapacity")}
    assert types_asked(cloud) == ["t4g.micro", "t4g.nano"]
    cloud.wake(Tick())
    assert types_asked(cloud) == ["t4g.micro", "t4g.nano"]  # not in every pass
    assert cloud.memory("a").launches == ()  # what AWS refused is no launch of the day's
    cloud.api.faults.clear()
    monkeypatch.setattr(launches, "FIRST_WAIT", timedelta(0))  # as if the quarter of a minute were over
    assert cloud.wake(Tick())["a"][0] == "healing"
    assert len(cloud.nats("a")) == 1


# -- unauthorised


def test_route_that_may_not_be_replaced_is_logged_and_alarmed_and_mended_once_it_may(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    cloud.api.faults.fail("ReplaceRoute", "UnauthorizedOperation", times=None, where=DEFAULT)
    stop(cloud)
    assert set(cloud.targets("a")) == {cloud.zones["a"].interface}
    assert set(cloud.troubles()) == {("Refused", "ReplaceRoute", "UnauthorizedOperation")}
    assert cloud.counted("FailoversFailed", "a") >= 2
    assert cloud.counted("EgressUp", "a") < len(cloud.logged(carried_by="b"))
    cloud.api.faults.clear()
    cloud.wake(Tick())
    assert is_on_b(cloud)


def test_refusal_is_asked_for_once_a_turn_and_never_hammered(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.api.faults.fail("ReplaceRoute", "UnauthorizedOperation", times=None, where=DEFAULT)
    turns = stop(cloud)["a"]
    assert len(cloud.calls("ReplaceRoute")) <= len(turns)


@pytest.mark.parametrize("operation", ["DescribeInstances", "DescribeRouteTables", "DescribeAddresses"])
def test_unauthorised_to_look_means_still(operation: str, deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.stop_nat("a")
    cloud.forget()
    cloud.api.faults.fail(operation, "UnauthorizedOperation", times=None)
    assert cloud.wake(Tick()) == {"a": ["cannot-look"], "b": ["cannot-look"]}
    assert set(cloud.writes()) == {"UpdateItem"}, "that nobody sees is remembered, once"
    assert cloud.troubles() == [("Refused", operation, "UnauthorizedOperation")]
    assert cloud.counted("Unknown", "a") == cloud.counted("Unknown", "b") == 1


# -- not found


def test_table_that_was_deleted_before_the_look_is_left_alone(deploy: Deploy) -> None:
    cloud = deploy(2, 3)
    cloud.ec2.delete_route_table(RouteTableId=cloud.zones["a"].tables[1])
    stop(cloud)
    assert is_on_b(cloud)
    assert len(cloud.targets("a")) == 2
    assert cloud.troubles() == []


def test_table_that_was_deleted_after_the_look_fails_alone(deploy: Deploy) -> None:
    cloud = deploy(2, 3)
    gone = cloud.zones["a"].tables[1]

    def delete(params: Mapping[str, Any]) -> bool:
        """Somebody deletes the table in the instant before our call arrives."""
        return bool(params["RouteTableId"] == gone)

    cloud.api.faults.fail("ReplaceRoute", "InvalidRouteTableID.NotFound", where=delete)
    stop(cloud, is_one_turn=True)
    assert cloud.targets("a").count(cloud.zones["b"].interface) == 2
    assert [each for each in cloud.troubles() if each[1] != "Invoke"] == [
        ("Stale", "ReplaceRoute", "InvalidRouteTableID.NotFound")
    ]
    assert cloud.logged(trouble="Stale")[0]["table_id"] == gone
    cloud.ec2.delete_route_table(RouteTableId=gone)
    cloud.forget()
    cloud.wake(Tick())
    assert is_on_b(cloud)
    assert cloud.troubles() == []


def test_neighbour_that_is_gone_between_look_and_act_is_passed_over_for_the_next(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = deploy(3, 2, options=FAST)
    vpc = cloud.controller._vpc
    look = vpc.look

    def look_and_lose_b(*asked: Any) -> Network:
        seen = look(*asked)
        if cloud.nats("b"):
            cloud.terminate_nat("b")
        return seen

    cloud.stop_nat("a")
    cloud.forget()
    monkeypatch.setattr(vpc, "look", look_and_lose_b)
    assert cloud.wake(cloud.stopping("a"))["a"][:3] == ["fail-over", "ask-neighbours", "fail-over"]
    assert set(cloud.targets("a")) == {cloud.zones["c"].interface}
    assert set(cloud.troubles()) == {
        ("Stale", "ReplaceRoute", "InvalidNetworkInterfaceID.NotFound"),
        ("Stale", "AssociateAddress", "InvalidNetworkInterfaceID.NotFound"),
    }
    assert len(cloud.incidents("a")) == 1


def test_prober_that_is_gone_is_blindness_and_undoes_no_failover(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.api.faults.fail("Invoke", "ResourceNotFoundException", times=None)
    stop(cloud)
    assert is_on_b(cloud)
    assert ("Stale", "Invoke", "ResourceNotFoundException") in cloud.troubles()
    cloud.api.faults.clear()
    cloud.wake(Tick())
    assert is_on_b(cloud)


def test_prober_that_crashes_is_blindness_and_undoes_no_failover(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.probe = lambda _: FunctionResult(b'{"errorType": "Runtime.ExitError"}', "Unhandled")
    stop(cloud)
    assert is_on_b(cloud)
    assert cloud.troubles()[0] == ("TryAgain", "Invoke", "Unhandled")
    assert "Runtime.ExitError" in cloud.logged(trouble="TryAgain")[0]["error"]


# -- time-outs


@pytest.mark.usefixtures("impatient")
def test_look_that_takes_too_long_changes_nothing_and_the_next_pass_fails_over(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.stop_nat("a")
    cloud.forget()
    cloud.api.faults.delay(LATE, "DescribeRouteTables")
    assert cloud.wake(Tick()) == {"a": ["cannot-look"], "b": ["cannot-look"]}
    assert set(cloud.writes()) == {"UpdateItem"}, "that nobody sees is remembered, once"
    assert cloud.troubles() == [("TryAgain", "DescribeRouteTables", "ReadTimeoutError")]
    cloud.api.faults.clear()
    cloud.wake(Tick())
    assert is_on_b(cloud)


@pytest.mark.usefixtures("impatient")
def test_route_that_is_answered_too_late_was_moved_all_the_same_and_is_not_moved_again(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    slow = cloud.zones["a"].tables[1]
    cloud.api.faults.delay(LATE, "ReplaceRoute", where={"RouteTableId": slow, **DEFAULT})
    stop(cloud)
    assert is_on_b(cloud)
    assert cloud.troubles() == [("TryAgain", "ReplaceRoute", "ReadTimeoutError")]
    cloud.api.faults.clear()
    time.sleep(LATE)  # the late ones arrive, and are harmless
    cloud.forget()
    cloud.wake(Tick())
    assert is_on_b(cloud)
    assert cloud.calls("ReplaceRoute") == []


@pytest.mark.usefixtures("impatient")
def test_failover_does_not_wait_for_a_ledger_that_hangs(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    cloud.stop_nat("a")
    cloud.forget()
    cloud.api.faults.delay(LATE, "dynamodb:*")
    assert cloud.wake(cloud.stopping("a"), is_one_turn=True)["a"] == ["last-resort"]
    cloud.api.faults.clear()
    assert is_on_b(cloud)
    assert ("TryAgain", "UpdateItem", "ReadTimeoutError") in cloud.troubles()
    time.sleep(LATE)
    assert len(cloud.calls("UpdateItem")) == 4  # two groups' leases, asked for twice each


def test_ledger_is_given_up_long_before_the_invocation_ends() -> None:
    """On the way to the first route: both attempts and botocore's wait between them, which is a second at most."""
    worst = LEDGER.retries["total_max_attempts"] * max(LEDGER.read_timeout, LEDGER.connect_timeout) + 1
    assert worst <= 3
    assert CALL.retries["total_max_attempts"] == ATTEMPTS


# -- lost replies


def test_lost_reply_is_asked_for_again_and_nobody_hears_of_it(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    for operation in ("ReplaceRoute", "AssociateAddress", "UpdateItem"):
        cloud.api.faults.lose_reply(operation)
    assert stop(cloud)["a"][0] == "fail-over"
    assert is_on_b(cloud)
    assert cloud.troubles() == []


@pytest.mark.parametrize("operation", ["ReplaceRoute", "AssociateAddress"])
def test_move_that_was_applied_though_no_reply_came_is_seen_and_not_repeated(operation: str, deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.api.faults.lose_reply(operation, times=ATTEMPTS)
    stop(cloud)
    assert is_on_b(cloud)
    assert cloud.troubles() == [("TryAgain", operation, "ConnectionClosedError")]
    assert len(cloud.calls(operation)) == ATTEMPTS  # the next turn saw it done
    cloud.forget()
    cloud.wake(Tick())
    assert cloud.calls(operation) == []


def test_launch_that_was_applied_though_no_reply_came_launches_nothing_more(deploy: Deploy) -> None:
    cloud = deploy(2, 1, options=FAST)
    cloud.api.faults.lose_reply("RunInstances", times=ATTEMPTS)
    terminate(cloud)
    assert set(cloud.troubles()) == {("TryAgain", "RunInstances", "ConnectionClosedError")}
    assert len(cloud.nats("a")) == 1
    for _ in range(2):
        cloud.wake(Tick())
    assert len(cloud.nats("a")) == 1
    assert len({each.params["ClientToken"] for each in cloud.calls("RunInstances")}) == 1


def test_memory_whose_reply_was_lost_is_in_the_ledger_and_the_lease_is_given_back(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    for is_last in (False, True):
        cloud.api.faults.lose_reply(
            "UpdateItem", where=lambda params, is_last=is_last: writes(params) == (True, is_last)
        )
    stop(cloud)
    assert cloud.memory("a").target == cloud.zones["b"].interface
    assert cloud.troubles() == []
    assert "held-by-another-pass" not in cloud.wake(cloud.stopping("a"))["a"]


def writes(params: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether an UpdateItem writes the memory, and whether it gives the lease back."""
    change = params["UpdateExpression"]
    return "memory = " in change, ":zero" in change


# -- the ledger


@pytest.mark.parametrize("code", ["InternalServerError", "AccessDeniedException", "ResourceNotFoundException"])
def test_failover_happens_without_a_ledger_but_nothing_that_could_repeat_itself_for_ever(
    code: str, deploy: Deploy
) -> None:
    cloud = deploy(2, 2, options=FAST)
    cloud.terminate_nat("a")
    cloud.forget()
    cloud.api.faults.fail("dynamodb:*", code, times=None)
    reasons = cloud.wake(cloud.stopping("a"))["a"]
    assert reasons[0] == "last-resort"  # with no memory nothing is known to be verified
    assert is_on_b(cloud)
    assert cloud.calls("RunInstances", "StartInstances", "TerminateInstances") == []
    assert ("UpdateItem", code) in {(operation, found) for _, operation, found in cloud.troubles()}
    assert cloud.counted("Errors", "a") >= 1
    cloud.api.faults.clear()
    cloud.wake(Tick())
    assert is_on_b(cloud)


def test_two_passes_at_once_move_once_and_the_second_leaves_its_news(deploy: Deploy) -> None:
    """The lease's holder is told; the other changes nothing."""
    cloud = deploy(2, 1)
    cloud.stop_nat("a")
    other = cloud.ports(holder="other").ledger
    leases = [other.acquire(group, datetime.now(UTC) + LEASE) for group in ("a", "b")]
    cloud.forget()
    assert cloud.wake(cloud.stopping("a")) == {"a": ["held-by-another-pass"], "b": ["held-by-another-pass"]}
    assert cloud.calls("ReplaceRoute", "AssociateAddress") == []
    handed = [other.record(each, each.memory, release=True) for each in leases if isinstance(each, Lease)]
    assert [each.inbox for each in handed] == [(cloud.stopping("a"),)] * 2
