"""What a pass may cost: serial round trips from the event to the last route, and not one write at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import InstanceChanged, Tick
from natkeeper_lab.api import ApiOptions, Call
from tests.support.cloud import CANARY, Cloud, deploying
from tests.support.round_trips import begun_before, last_of, longest_chain

LATENCY, SLOW = 0.1, 1.0
SLOW_STOP = ApiOptions(boot_seconds=0.02, stop_seconds=30, async_retry_seconds=0.02)
LOOK = ["DescribeAddresses", "DescribeInstances", "DescribeRouteTables"]
ATTEMPTS = 5
"""A machine that stands still for longer than the latency can only make a chain look longer; the shortest counts."""

Deploy = Callable[..., Cloud]


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with deploying() as deploy:
        yield deploy


def fail_over(cloud: Cloud, *, is_bare: bool = True) -> tuple[list[Call], Call]:
    """Zone a's NAT begins to stop: every call of the pass, and the default route that was answered last."""
    if not is_bare:
        cloud.make_spare_public("b")
    cloud.stop_nat("a")
    cloud.forget()
    cloud.api.faults.delay(LATENCY)
    reasons = cloud.wake(cloud.stopping("a"), is_one_turn=True)
    cloud.api.faults.clear()
    calls = cloud.calls()
    assert reasons["a"] == ["fail-over"]
    assert set(cloud.targets("a")) == {cloud.zones["b"].interface}
    assert cloud.address_on("a") == (cloud.zones["b"].interface, cloud.spare_address("b"))
    return calls, last_of(calls, "ReplaceRoute", DEFAULT_ROUTE)


def kinds(calls: list[Call]) -> Counter[str]:
    return Counter(each.operation for each in calls)


def necessary(tables: int, zones: int = 2) -> Counter[str]:
    """Look and take the leases; move address and routes and write the memory."""
    first = Counter([*LOOK, *["UpdateItem"] * zones])
    return first + Counter(["AssociateAddress", *["ReplaceRoute"] * tables, "UpdateItem"])


@pytest.mark.parametrize("is_bare", [True, False], ids=["bare", "not bare"])
@pytest.mark.parametrize("tables", [1, 3, 20])
def test_event_to_last_route_takes_two_round_trips_or_three_and_no_needless_call(tables: int, is_bare: bool) -> None:
    """Two with a bare landing address, three otherwise, for any number of tables."""

    def chain() -> list[Call]:
        with Cloud(2, tables) as cloud:
            calls, last = fail_over(cloud, is_bare=is_bare)
        assert kinds(begun_before(calls, last)) == necessary(tables)
        return longest_chain(calls, last)

    takes(2 if is_bare else 3, chain)


def takes(round_trips: int, chain: Callable[[], list[Call]]) -> None:
    """The shortest of a few chains has just as many calls."""
    for _ in range(ATTEMPTS):
        found = chain()
        if len(found) <= round_trips:
            break
    assert len(found) == round_trips, [each.operation for each in found]


def test_three_zones_cost_no_round_trip_more() -> None:
    def chain() -> list[Call]:
        with Cloud(3, 2) as cloud:
            calls, last = fail_over(cloud)
        canary_of_c = Counter(["ReplaceRoute"] * 2)  # it leaves the NAT that stopped, beside the failover
        assert kinds(begun_before(calls, last)) == necessary(2, zones=3) + canary_of_c
        return longest_chain(calls, last)

    takes(2, chain)


@pytest.mark.parametrize("is_bare", [True, False], ids=["bare", "not bare"])
def test_slow_write_to_the_ledger_delays_no_route(is_bare: bool, deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    if not is_bare:
        cloud.make_spare_public("b")
    cloud.stop_nat("a")
    cloud.forget()
    writes_memory = "memory = :memory"
    cloud.api.faults.delay(
        SLOW, "UpdateItem", times=1, where=lambda params: writes_memory in params["UpdateExpression"]
    )
    cloud.wake(cloud.stopping("a"), is_one_turn=True)
    slow = next(each for each in cloud.calls("UpdateItem") if writes_memory in each.params["UpdateExpression"])
    assert last_of(cloud.calls(), "ReplaceRoute", DEFAULT_ROUTE).ended_at < slow.ended_at


def test_slow_table_delays_no_other(deploy: Deploy) -> None:
    cloud = deploy(2, 3)
    cloud.stop_nat("a")
    cloud.forget()
    slow = cloud.zones["a"].tables[0]
    cloud.api.faults.delay(SLOW, "ReplaceRoute", where={"RouteTableId": slow})
    cloud.wake(cloud.stopping("a"), is_one_turn=True)
    answered = {each.params["RouteTableId"]: each for each in cloud.calls("ReplaceRoute")}
    late = answered.pop(slow)
    assert all(each.ended_at < late.ended_at for each in answered.values())


def test_address_moves_beside_the_routes_to_a_bare_landing_address() -> None:
    for _ in range(ATTEMPTS):
        if after_the_address(is_bare=True) == [False, False]:
            return
    pytest.fail("a route waited for the address")


def test_address_moves_before_the_routes_to_a_landing_address_that_is_not_bare() -> None:
    assert after_the_address(is_bare=False) == [True, True]


def after_the_address(*, is_bare: bool) -> list[bool]:
    """For each route of a failover, whether its call began after the address's was answered."""
    with Cloud(2, 2) as cloud:
        calls, _ = fail_over(cloud, is_bare=is_bare)
    associate = next(each for each in calls if each.operation == "AssociateAddress")
    return [each.started_at >= associate.ended_at for each in calls if each.operation == "ReplaceRoute"]


def test_routes_go_to_the_interface_and_never_to_the_instance(deploy: Deploy) -> None:
    cloud = deploy(2, 2)
    fail_over(cloud)
    for each in cloud.calls("ReplaceRoute"):
        assert each.params["NetworkInterfaceId"] == cloud.zones["b"].interface
        assert "InstanceId" not in each.params


# -- at rest


def test_pass_at_rest_only_looks(deploy: Deploy) -> None:
    cloud = deploy(3, 2)
    for _ in range(2):
        cloud.forget()
        assert set(map(tuple, cloud.wake(Tick()).values())) == {("at-rest",)}
        assert cloud.writes() == []
        assert kinds(cloud.calls()) == Counter([*LOOK, "Query"])


def test_pass_at_rest_takes_one_round_trip(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.api.faults.delay(LATENCY)

    def chain() -> list[Call]:
        cloud.forget()
        cloud.wake(Tick())
        calls = cloud.calls()
        return longest_chain(calls, max(calls, key=lambda each: each.ended_at))

    takes(1, chain)


def test_pass_at_rest_starts_the_run_that_a_lost_report_left_out(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    memory = cloud.memory("a")
    assert memory.watch is not None
    lost = cloud.report("a", run_id=memory.watch.run_id)
    cloud.forget()
    cloud.wake(lost)
    (invoked,) = cloud.calls("Invoke")
    assert (invoked.params["FunctionName"], invoked.params["InvocationType"]) == ("prober-a", "Event")
    assert cloud.memory("a").watch != memory.watch
    cloud.forget()
    cloud.wake(Tick())
    assert cloud.writes() == []


@pytest.mark.parametrize("state", ["running", "stopping"])
def test_event_about_a_nat_that_runs_makes_no_write_but_the_leases(state: str, deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.wake(InstanceChanged(cloud.zones["a"].instance, state))
    assert set(cloud.writes()) == {"UpdateItem"}


def test_duplicate_of_a_state_change_writes_nothing_to_ec2(deploy: Deploy) -> None:
    cloud = deploy(2, 3, options=SLOW_STOP)
    cloud.stop_nat("a")
    event = cloud.stopping("a")
    cloud.wake(event)
    assert set(cloud.targets("a")) == {cloud.zones["b"].interface}
    routes, address = cloud.targets("a", f"{CANARY}/32"), cloud.address_on("a")
    cloud.forget()
    for _ in range(2):
        assert cloud.wake(event)["a"] == ["healing"]
    assert [each for each in cloud.writes() if each != "UpdateItem"] == []
    assert (cloud.targets("a", f"{CANARY}/32"), cloud.address_on("a")) == (routes, address)
    assert len(cloud.incidents("a")) == 1


def test_events_about_other_instances_change_nothing(deploy: Deploy) -> None:
    cloud = deploy(2, 1)
    cloud.forget()
    assert cloud.wake(InstanceChanged("i-0123456789abcdef0", "stopping")) == {}
    assert {each.operation for each in cloud.calls()} <= {"Query"}
