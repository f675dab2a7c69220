"""Packets of another path say nothing of the group's: they prove no NAT, condemn none, and it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.incident import MOVING_ADDRESS, AddressMove, BackOff, Canary, Repair
from natkeeper.core.model import InstanceState, Stranger
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import LaunchInstance, Plan, PointRoute, Reason, Warned
from natkeeper.core.policy import ProvingAddress
from natkeeper.core.way import on_the_path
from tests.support.worlds import (
    World,
    at,
    away,
    memory,
    nat,
    network,
    policy,
    proofs,
    report,
    resting,
    secs,
    target_of,
    verified,
    writes,
)

STOPPED = InstanceState.STOPPED
SUBNET = "subnet-private-a"
THEIRS = "198.51.100.9"


def behind(world: World, table: str | None, *, is_told: bool = True, main: str | None = None) -> World:
    """The prober's subnet of group a is associated with that table (None: with none). `main`: the VPC's main one.
    `is_told`: EC2 said so."""
    tables = {
        name: replace(
            each,
            subnet_ids=each.subnet_ids - {SUBNET} | ({SUBNET} if name == table else set()),
            is_main=name == main,
        )
        for name, each in world.seen.tables.items()
    }
    is_own = table in world.policy.group("a").table_ids
    told = {} if is_own or not is_told else {SUBNET: table}
    world.network = replace(world.seen, tables=tables, associations=told)
    return world


def warned(plan: Plan) -> list[str]:
    return [each.text for each in plan.happenings if isinstance(each, Warned)]


# -- which path it is


@pytest.mark.parametrize(
    ("table", "main", "probed"),
    [
        ("rtb-a", None, {"rtb-a"}),
        ("rtb-a2", "rtb-a", {"rtb-a2"}),
        (None, "rtb-a2", {"rtb-a2"}),
        (None, "rtb-b", set()),
        (None, None, set()),
        ("rtb-foreign", None, set()),
        ("rtb-foreign", "rtb-a", set()),
        ("rtb-b", "rtb-a", set()),
    ],
)
def test_packets_follow_the_table_that_names_the_subnet_else_the_main_one(
    table: str | None, main: str | None, probed: set[str]
) -> None:
    plan = behind(resting("ab", tables=2), table, main=main).decide(now=1)
    assert plan.probed_tables == probed
    assert (plan.memory.apart_since is not None) is not probed


def test_where_ec2_does_not_say_nothing_is_known_even_beside_a_main_table_of_the_groups() -> None:
    plan = behind(resting("ab"), None, main="rtb-a", is_told=False).decide(now=1)
    assert plan.probed_tables == set()
    assert "EC2 did not say" in plan.detail


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("rtb-foreign", f"{SUBNET} is associated with rtb-foreign, which is none of the group's tables"),
        ("rtb-b", f"{SUBNET} is associated with rtb-b, which is none of the group's tables"),
        (None, f"{SUBNET} uses the VPC's main route table, which is none of the group's"),
    ],
)
def test_it_is_said_once_with_the_subnet_the_table_and_the_remedy(table: str | None, said: str) -> None:
    world = behind(resting("ab"), table)
    plan = world.step(now=1)
    assert plan.reason is Reason.UNOBSERVED
    assert said in plan.detail
    assert "associate it with rtb-a" in plan.detail
    assert warned(plan) == [f"group a: {plan.detail}"]
    assert [each.key for each in plan.memory.told] == ["another path"]
    again = world.step(now=2)
    assert (again.reason, warned(again), writes(again)) == (Reason.UNOBSERVED, [], [])
    assert said in again.detail
    assert again.memory.apart_since == at(1)


def test_all_tables_of_the_group_are_named() -> None:
    plan = behind(resting("ab", tables=2), "rtb-foreign").decide(now=1)
    assert plan.detail.endswith("; nothing is known of the group's path: associate it with rtb-a or rtb-a2")
    plan = resting("ab", tables=2).decide(seen(4, THEIRS), now=5)
    assert plan.detail.endswith("is in that subnet, and for more specific routes in rtb-a, rtb-a2")


# -- what its packets are not


def test_what_gets_through_by_another_path_proves_neither_the_nat_nor_the_canarys() -> None:
    world = behind(resting("ab"), "rtb-foreign")
    plan = world.step(report("oooo", -2, canary="oooo", run_id="watch-a"), now=2)
    memory = plan.memory
    assert (memory.proofs, memory.canary, memory.stable_since, memory.observed) == ((), None, None, 0.0)
    assert memory.recent == world.memories["a"].recent == resting("ab").memories["a"].recent
    assert not memory.watch or memory.watch.run_id != "watch-a", "the chain of runs goes on"


def test_what_is_lost_on_another_path_condemns_nothing_and_opens_no_incident() -> None:
    world = behind(resting("ab"), "rtb-foreign")
    for second in (2, 20, 40):
        plan = world.step(report("xxxx", second - 4, canary="xxxx", run_id=f"run-{second}"), now=second)
        assert (plan.reason, plan.memory.is_down, plan.memory.incident) == (Reason.UNOBSERVED, False, None)
        assert writes(plan) == []
        assert not plan.verifies


def test_what_was_known_before_is_forgotten_for_nobody_knows_since_when_it_was_wrong() -> None:
    world = resting("ab").remember(is_down=True, down_at=at(-1))
    memory = behind(world, "rtb-foreign").decide(now=1).memory
    assert (memory.proofs, memory.is_down, memory.down_at) == ((), False, None)
    world.memories["a"] = memory
    world.remember("b", proofs=proofs("eni-b")).change("i-b", state=STOPPED)
    assert world.decide(name="b").reason is Reason.LAST_RESORT, "nothing proves a's NAT for others either"


def test_where_ec2_itself_says_that_the_path_is_dead_traffic_is_moved_all_the_same() -> None:
    world = behind(resting("ab"), "rtb-foreign").change("i-a", state=STOPPED)
    plan = world.step(now=1)
    assert plan.reason is Reason.FAIL_OVER
    assert target_of(world.seen, "rtb-a") == "eni-b"
    after = world.step(verified("xxx", 1.1, canary="xxx"), now=3)
    assert (after.reason, after.memory.is_down) == (Reason.UNOBSERVED, False)
    assert world.memories["a"].incident is not None, "until packets show that egress is back"


def test_a_replacement_is_neither_proven_nor_given_up_by_another_path() -> None:
    """It forwards nothing and was proven by a canary that went another way; or it forwards and is not heard."""
    world = behind(resting("a"), "rtb-foreign").route("rtb-a", None)
    world.remember(target=None, proofs=(), canary=None, repair=Repair("a-1", 1, at(-400), is_launched=True))
    world.add(nat("a", public=THEIRS, launched=-400))
    for second in range(2, 1500, 60):
        plan = world.step(report("xx", second - 2, canary="oooo", run_id=f"r{second}"), now=second)
        assert plan.reason is Reason.HEALING
        assert not any(isinstance(each, (LaunchInstance, PointRoute)) for each in plan.actions)
        assert "nothing can prove i-a" in plan.detail
        assert SUBNET in plan.detail


# -- and back


def test_what_is_sent_after_the_subnet_is_back_counts() -> None:
    world = behind(resting("ab"), "rtb-foreign")
    world.step(now=1)
    behind(world, "rtb-a")
    plan = world.step(report("xxxoo", 6, canary="xxxoo"), now=10)
    assert (plan.memory.apart_since, plan.memory.apart_until) == (None, at(11))
    assert (plan.memory.proofs, plan.memory.incident) == ((), None)
    plan = world.step(report("xoooo", 11, run_id="next"), now=15.5)
    assert [(each.since, each.at) for each in plan.memory.proofs] == [(at(12), at(15))]
    assert plan.memory.incident is None, "the round of the instant itself may have gone the old way"


def test_a_canary_is_pointed_anew_once_the_subnet_is_back() -> None:
    world = behind(resting("ab"), "rtb-foreign")
    world.step(now=1)
    behind(world, "rtb-a")
    world.step(now=2)
    plan = world.step(report("oooo", 4), now=8)
    assert plan.memory.canary == Canary("eni-b", at(8))


# -- the address that a report was seen from


def seen(second: float, address: str, pattern: str = "oooo", **fields: object) -> ProbeReport:
    """Told by the newest round."""
    return report(pattern, second - 3, egress=address, run_id=f"run-{second}-{address}", **fields)  # type: ignore[arg-type]


def test_another_address_than_the_groups_while_it_is_home_means_another_path() -> None:
    world = resting("ab")
    plan = world.step(seen(4, THEIRS), now=5)
    assert plan.reason is Reason.UNOBSERVED
    assert (plan.memory.proofs, plan.memory.strange_address, plan.memory.strange_at) == ((), THEIRS, at(4))
    (text,) = warned(plan)
    assert THEIRS in text
    assert "203.0.113.1" in text
    plan = world.step(report("xxx", 6, run_id="lost", egress=None), now=9)
    assert (plan.reason, plan.memory.is_down, plan.memory.incident, warned(plan)) == (
        Reason.UNOBSERVED,
        False,
        None,
        [],
    )


def test_a_report_at_rest_that_was_seen_from_elsewhere_brings_a_look() -> None:
    from natkeeper.core.decide import watch_on

    world = resting("ab")
    memory = world.memories["a"]
    assert watch_on("a", memory, seen(4, "203.0.113.1"), at(5), world.policy) is not None
    assert watch_on("a", memory, seen(4, THEIRS), at(5), world.policy) is None


def test_the_groups_own_address_ends_it_and_what_was_sent_after_that_counts() -> None:
    world = resting("ab")
    world.step(seen(4, THEIRS), now=5)
    plan = world.step(replace(seen(14, "203.0.113.1"), egress_address_at=at(12)), now=15)
    assert (plan.memory.strange_address, plan.memory.strange_at, plan.memory.apart_until) == (None, None, at(12))
    assert [(each.since, each.at) for each in plan.memory.proofs] == [(at(13), at(14))]


def test_what_was_seen_two_minutes_ago_does_not_excuse_what_is_lost_now() -> None:
    """The packets may go the group's way again, and find a NAT that is hung, which shows no address (simulation)."""
    world = resting("ab")
    world.step(seen(4, THEIRS), now=5)
    assert world.step(report("oxxo", 150, run_id="good", egress=None), now=154).reason is Reason.UNOBSERVED
    assert world.memories["a"].strange_address == THEIRS, "what gets through proves nothing, however late"
    assert not world.decide(report("xxx", 121, run_id="early", egress=None), now=124).memory.is_down
    plan = world.step(report("xxx", 160, run_id="late", egress=None), now=163)
    assert (plan.memory.strange_address, plan.memory.apart_until) == (None, at(4))
    assert plan.reason is Reason.LAST_RESORT


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda world: world.remember(settled_since=at(-7)), id="the address may still be under way"),
        pytest.param(lambda world: world.remember(moved_at=at(-7)), id="moved a moment ago"),
        pytest.param(lambda world: world.remember(address_move=AddressMove("eni-a", at(-60))), id="under way"),
        pytest.param(lambda world: world.route("rtb-a", "eni-b"), id="a route is elsewhere"),
        pytest.param(lambda world: world.change("i-a", interface=None), id="no landing address is shown"),
        pytest.param(lambda world: world.remember(egress_address=THEIRS), id="a page that has always said so"),
        pytest.param(lambda world: world.remember(egress_address=None), id="a page that has never said anything else"),
    ],
)
def test_an_address_that_need_not_be_the_groups_says_nothing(arrange: object) -> None:
    world = arrange(resting("ab"))  # type: ignore[operator]
    assert world.decide(seen(4, THEIRS), now=5).memory.strange_address is None


@pytest.mark.parametrize("since", ["settled_since", "moved_at"])
def test_once_the_address_must_have_come_any_other_is_of_another_path(since: str) -> None:
    world = resting("ab").remember(**{since: at(-7.001)})
    assert world.decide(seen(4, THEIRS), now=5).memory.strange_address == THEIRS


def test_an_address_says_nothing_where_nobody_knows_when_it_was_seen() -> None:
    told = replace(seen(4, THEIRS), egress_address_at=None)
    assert resting("ab").decide(told, now=5).memory.strange_address is None


def test_an_address_that_is_seen_again_takes_nothing_away_that_is_known_since() -> None:
    world = resting("ab").remember(strange_address=THEIRS, strange_at=at(0))
    before, after = world.memories["a"], world.decide(seen(4, THEIRS), now=5).memory
    assert after.strange_at == at(4)
    assert (after.proofs, after.canary, after.stable_since) == (before.proofs, before.canary, before.stable_since)


@pytest.mark.parametrize(
    ("until", "seen_at", "kept", "is_own"),
    [(0.9, 4, 4, True), (2, 4, 2, True), (3, 3, 1, True), (3, 2.9, 1, False), (3, None, 1, False)],
)
def test_of_a_report_that_counts_which_was_sent_since_its_packets_go_the_groups_way(
    until: float, seen_at: float | None, kept: int, is_own: bool
) -> None:
    told = report("oooo", 1, canary="oooo")
    told = replace(told, egress_address_at=None if seen_at is None else at(seen_at))
    expected = replace(told, rounds=told.rounds[-kept:], canary=told.canary[-kept:])
    expected = expected if is_own else replace(expected, egress_address=None, egress_address_at=None)
    assert on_the_path(memory(apart_until=at(until)), told) == expected


@pytest.mark.parametrize("known", [{"apart_since": at(0)}, {"strange_address": THEIRS, "strange_at": at(0)}])
def test_of_a_report_nothing_counts_while_its_packets_go_another_way(known: dict[str, Any]) -> None:
    told = report("oooo", 1, canary="oooo")
    nothing = replace(told, rounds=(), canary=(), egress_address=None, egress_address_at=None)
    assert on_the_path(memory(**known), told) == nothing


@pytest.mark.parametrize(("until", "address"), [(4, None), (3.999, THEIRS)])
def test_an_address_that_was_seen_before_the_packets_went_the_groups_way_says_nothing(
    until: float, address: str | None
) -> None:
    world = resting("ab").remember(apart_until=at(until))
    assert world.decide(seen(4, THEIRS), now=5).memory.strange_address == address


def test_a_page_that_names_an_address_of_the_stacks_is_believed_at_once() -> None:
    """Zone b's subnet given as zone a's: a's packets have never been seen from a's address."""
    world = resting("ab", proving=ProvingAddress("eip-proving", "203.0.113.240")).remember(egress_address=None)
    for address in ("203.0.113.2", "203.0.113.240"):
        assert world.decide(seen(4, address), now=5).memory.strange_address == address


def test_on_a_neighbours_nat_the_address_is_the_groups_too() -> None:
    world = away("ab").remember(settled_since=at(-60))
    assert world.decide(seen(4, "203.0.113.1"), now=5).memory.strange_address is None
    assert world.decide(seen(4, THEIRS), now=5).memory.strange_address == THEIRS


def test_on_a_gateway_or_a_nat_without_a_landing_address_any_address_will_do() -> None:
    world = resting("ab", gateway="nat-1").route("rtb-a", "nat-1").remember(target="nat-1", proofs=proofs("nat-1"))
    world.remember(strange_address=THEIRS, strange_at=at(0))
    memory = world.decide(now=5).memory
    assert (memory.strange_address, memory.strange_at, memory.settled_since) == (None, None, None)
    assert memory.apart_until == at(5)
    full = away("ab").add(nat("b", secondaries=0))
    assert full.decide(seen(4, THEIRS), now=5).memory.strange_address is None


def test_a_released_address_is_not_waited_for() -> None:
    world = resting("ab").remember(strange_address=THEIRS, strange_at=at(0))
    world.network = replace(world.seen, addresses={})
    assert world.decide(now=5).memory.strange_address is None


def test_a_path_is_settled_since_the_first_look_that_showed_it_so() -> None:
    world = resting("ab").remember(settled_since=None)
    assert world.step(now=1).memory.settled_since == at(1)
    assert world.step(now=30).memory.settled_since == at(1)
    world.change("i-a", state=STOPPED)
    assert world.step(now=40).memory.settled_since is None


def test_the_association_explains_an_address() -> None:
    world = resting("ab")
    world.step(seen(4, THEIRS), now=5)
    memory = behind(world, "rtb-foreign").step(now=6).memory
    assert (memory.strange_address, memory.strange_at, memory.apart_since) == (None, None, at(6))
    memory = world.step(seen(30, THEIRS), now=31).memory
    assert memory.strange_address is None


def test_an_address_of_the_future_is_of_now() -> None:
    world = resting("ab")
    assert world.decide(seen(3600, THEIRS), now=5).memory.strange_at == at(5)


# -- strangers


def test_each_machine_with_the_stacks_tags_is_told_once() -> None:
    world = resting("ab")
    one, two = Stranger("i-x", "a", "its VPC is vpc-2, not vpc-1"), Stranger("i-y", "b", "its subnet is none")
    world.network = replace(world.seen, strangers=(one, two))
    plan = world.step(now=1)
    assert (plan.reason, writes(plan)) == (Reason.AT_REST, [])
    (text,) = warned(plan)
    assert text == (
        "group a: i-x carries this stack's tags and is none of its NATs: its VPC is vpc-2, not vpc-1. It is left "
        "alone; terminate it or take its tags off"
    )
    assert [each.key for each in plan.happenings if isinstance(each, Warned)] == ["stranger i-x"]
    assert warned(world.step(now=2)) == []
    world.network = replace(world.seen, strangers=(one, replace(one, instance_id="i-z"), two))
    (text,) = warned(world.step(now=3))
    assert "i-z" in text


def test_small_worlds_have_a_prober_on_the_first_table() -> None:
    chosen = policy("ab", tables=2)
    seen_by = network(chosen, []).tables
    assert {name for name, each in seen_by.items() if each.subnet_ids} == {"rtb-a", "rtb-b"}
    assert secs(1) == chosen.propagation


def test_zones_on_interfaces_that_are_nobodys_are_no_common_mode() -> None:
    """All of them fail, and none on a NAT of the stack's: held as if their NATs ran, they would stay dark for ever."""
    world = resting("ab").route("rtb-a", "eni-x").route("rtb-b", "eni-y")
    world.network = replace(world.seen, instances=())
    for name, target in (("a", "eni-x"), ("b", "eni-y")):
        world.remember(name, target=target, proofs=(), is_down=True, down_at=at(0))
    plan = world.step(report("xxx", -3), now=0)
    assert plan.reason is not Reason.COMMON_MODE
    assert any(isinstance(each, LaunchInstance) for each in plan.actions)


def test_while_the_own_address_is_refused_another_is_seen_and_says_nothing() -> None:
    refused = BackOff(MOVING_ADDRESS, at(0), 2)
    world = resting("ab").remember(strange_address=THEIRS, strange_at=at(-1), back_offs=(refused,))
    memory = world.decide(now=1).memory
    assert (memory.strange_address, memory.settled_since) == (None, None)
