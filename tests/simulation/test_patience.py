"""How long the way home may take: what healing takes, and each wait only where there is something to wait for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from natkeeper_lab.simulation import patience
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import FOREVER, Machine
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.packets import TIMEOUT_MS
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World


@pytest.fixture
def world() -> World:
    return World(0, Setting())


def shortest(world: World) -> int:
    quiet = patience.microseconds(world.policy.quiet_period)
    return patience.HEALED_WITHIN + quiet + patience.aws(world) + boot_of(world)


def boot_of(world: World) -> int:
    return world.ec2.paces.to_running[1] + world.ec2.paces.script[1]


def machine_of(world: World) -> Machine:
    return next(iter(world.ec2.machines.values()))


def remember(world: World, **memory: Any) -> None:
    world.table.items["group", "a"] = {"memory": {"S": json.dumps(memory)}}


def test_with_nothing_to_wait_for_it_is_healing_and_the_quiet_period(world: World) -> None:
    assert patience.home_within(world) == shortest(world)


@pytest.mark.parametrize(
    "illness",
    [
        {"is_hung": True},
        {"is_forwarding": False},
        {"has_ruleset": False},
        {"takes_new_flows": False},
        {"loss": 0.2},
        {"latency_ms": 1.0},
        {"state": "pending", "forwards_from": FOREVER},
    ],
)
def test_a_nat_that_only_a_reboot_mends_is_given_the_time_of_a_boot(world: World, illness: dict[str, Any]) -> None:
    for name, value in illness.items():
        setattr(machine_of(world), name, value)
    another = patience.microseconds(world.policy.boot_limit) + boot_of(world)
    assert patience.home_within(world) == shortest(world) + another
    machine_of(world).state = "terminated"
    assert patience.home_within(world) == shortest(world)


def test_one_behind_a_closed_security_group_too(world: World) -> None:
    interface = machine_of(world).interface
    assert interface is not None
    interface.is_group_open = False
    assert patience.home_within(world) > shortest(world)


@pytest.mark.parametrize("repair", ["repair", "standby_repair"])
def test_what_was_launched_may_yet_become_visible(world: World, repair: str) -> None:
    remember(world, **{repair: {"is_launched": True}})
    assert patience.home_within(world) == shortest(world) + patience.microseconds(patience.VISIBLE_AFTER)
    remember(world, **{repair: {"attempt": 1}})
    assert patience.home_within(world) == shortest(world)


def test_a_group_that_was_throttled_yields(world: World) -> None:
    remember(world, throttled_at="2026-03-01T12:00:00+00:00")
    assert patience.home_within(world) == shortest(world) + patience.microseconds(patience.YIELDING)


@pytest.mark.parametrize("fault", patience.UNHEARD)
def test_a_run_whose_report_was_lost_has_to_be_overdue(world: World, fault: str) -> None:
    usual = patience.egress_within(world)
    overdue = patience.microseconds(world.policy.watch_run + patience.OVERDUE)
    world.fired(fault)
    assert patience.home_within(world) == shortest(world) + overdue
    assert patience.egress_within(world) == usual + overdue


def test_a_lease_that_a_wrong_clock_made_longer_is_waited_for(world: World) -> None:
    usual = patience.egress_within(world)
    lasts = patience.microseconds(patience.LEASE)
    for more, extra in ((0, 0), (30 * SECOND, 30 * SECOND), (3600 * SECOND, patience.SKEW)):
        until = (patience.BEGINS + world.hub.now + lasts + more) // 1000
        world.table.items["group", "a"] = {"lease_until": {"N": str(until)}}
        world.fires.clear()
        assert patience.egress_within(world) == usual
        world.fired("clock-skew")
        assert patience.egress_within(world) == usual + extra
        assert patience.home_within(world) == shortest(world) + extra


def test_egress_is_back_sooner_while_some_nat_can_carry_it(world: World) -> None:
    assert patience.can_carry(world)
    assert patience.egress_within(world) == patience.FAST_WITHIN + patience.aws(world)
    for machine in world.ec2.machines.values():
        machine.latency_ms = TIMEOUT_MS
    assert not patience.can_carry(world)
    launches = 2 * (patience.microseconds(world.policy.boot_limit) + boot_of(world))
    assert patience.egress_within(world) == launches + patience.FOUND_WITHIN + patience.aws(world)


def test_slow_calls_results_on_their_way_and_addresses_are_added() -> None:
    kind = patience.aws(World(0, Setting()))
    slow = Paces(remap=(0, 10 * SECOND), destination=(0, 5 * SECOND), slow_calls=0.1)
    added = 2 * 9 * SECOND + 4 * 5 * SECOND + patience.SLOW_CALLS
    assert patience.aws(World(0, Setting(), paces=slow)) == kind + added
