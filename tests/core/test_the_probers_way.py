"""Packets prove a NAT only while the prober's own route leads to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.downtime import measure
from natkeeper.core.incident import Repair
from natkeeper.core.model import DEFAULT_ROUTE, InstanceState
from natkeeper.core.plan import LaunchInstance, MoveAddress, PointRoute, Reason
from tests.support.worlds import (
    CANARY,
    UP,
    World,
    at,
    proofs,
    report,
    resting,
    secs,
    target_of,
    verified,
    without,
    writes,
)

STOPPED = InstanceState.STOPPED


def probing(world: World, table: str) -> World:
    """The prober of group a sits behind that table."""
    named = frozenset({"subnet-private-a", "subnet-other"})
    kept = {
        name: replace(each, subnet_ids=named if name == table else each.subnet_ids - named)
        for name, each in world.seen.tables.items()
    }
    world.network = replace(world.seen, tables=kept)
    return world


def proven_at(world: World, target: str, name: str = "a") -> float | None:
    """When packets last went through it, as the group remembers, in seconds."""
    proof = world.memories[name].proof_of(target)
    return None if proof is None else (proof.at - at(0)).total_seconds()


def test_what_gets_through_by_somebody_elses_route_is_no_proof_of_the_recorded_nat() -> None:
    """Simulation, seeds 132510121 and 300066606: b was moved to a's NAT, which was still booting."""
    world = resting("ab").route("rtb-a", "eni-foreign").remember(proofs=(), moved_at=at(-1))
    plan = world.step(report("oooo", 0), now=4)
    assert plan.memory.is_stray
    assert proven_at(world, "eni-a") is None
    world.change("i-b", state=STOPPED)
    assert world.decide(name="b").reason is Reason.LAST_RESORT


def test_it_is_not_down_either() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign").remember(proofs=(), is_down=True, moved_at=at(-1))
    plan = world.step(report("oooo", 0), now=4)
    assert not plan.memory.is_down
    assert (plan.reason, writes(plan)) == (Reason.UNOBSERVED, [])


def test_an_edited_route_is_put_back_where_packets_have_been() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign")
    plan = world.step(report("oooo", 0), now=4)
    assert (plan.reason, writes(plan)) == (Reason.CONVERGE, [PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a")])
    assert proven_at(world, "eni-a") == -6
    assert plan.memory.is_stray
    assert not world.memories["a"].is_stray


def test_rounds_count_again_from_when_the_route_was_put_back() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign")
    world.step(now=4)
    world.step(report("oooo", 1), now=5)
    assert proven_at(world, "eni-a") == -6
    world.step(report("oo", 4.5), now=6)
    assert proven_at(world, "eni-a") == 5.5


def test_rounds_of_before_it_was_put_back_do_not_count_when_somebody_else_did_it() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign").remember(proofs=(), moved_at=at(-20))
    assert world.step(now=1).memory.is_stray
    world.route("rtb-a", "eni-a")
    plan = world.step(report("ooooo", 0), now=4)
    assert (plan.memory.is_stray, plan.memory.led_since) == (False, at(4))
    assert proven_at(world, "eni-a") is None
    world.step(report("oo", 4.5), now=6)
    assert proven_at(world, "eni-a") == 5.5


def test_a_route_that_strays_again_keeps_when_it_last_led_there() -> None:
    world = resting("ab").remember(led_since=at(-30), proofs=(), moved_at=at(-20))
    assert world.decide(now=1).memory.led_since == at(-30)
    memory = world.route("rtb-a", "eni-foreign").decide(now=1).memory
    assert (memory.is_stray, memory.led_since) == (True, at(-30))


def test_a_move_begins_a_way_of_its_own() -> None:
    world = resting("ab").route("rtb-a", "eni-foreign").remember(led_since=at(-30)).change("i-a", state=STOPPED)
    memory = world.decide().memory
    assert (memory.target, memory.is_stray, memory.led_since) == ("eni-b", False, None)


def test_the_answer_for_a_table_that_the_prober_does_not_use_says_nothing_of_its_way() -> None:
    world = probing(resting("ab", tables=2), "rtb-a2").route("rtb-a", "eni-foreign")
    world.carry_out(world.decide(now=4))
    assert world.memories["a"].led_since is None


def test_rounds_of_the_moves_own_instant_went_the_old_way() -> None:
    world = resting("ab").remember(moved_at=at(4))
    assert not world.decide(report("xxx", 4, step=0), now=5).memory.is_down
    assert world.decide(report("xxx", 4.1, step=0), now=5).memory.is_down


def test_only_the_table_of_the_probers_subnet_matters() -> None:
    """Another that refuses every call must not keep the NAT from being proven."""
    world = probing(resting("ab", tables=2), "rtb-a2").route("rtb-a", "eni-foreign")
    plan = world.decide(report("oooo", 0), now=4)
    assert not plan.memory.is_stray
    assert (plan.reason, plan.probed_tables) == (Reason.CONVERGE, {"rtb-a2"})
    assert plan.memory.proofs[0].at == at(3)


def test_where_nobody_says_which_table_that_is_one_of_them_must_lead_there() -> None:
    """Not all: where nothing is proven, nothing is mended, so one without a route would stay without."""
    world = resting("ab", tables=2).route("rtb-a2", None).remember(proofs=(), moved_at=at(-1))
    assert writes(world.decide(report("oooo", 0), now=4)) == [
        PointRoute("rtb-a2", DEFAULT_ROUTE, "eni-a", is_missing=True)
    ]
    assert world.route("rtb-a", "eni-foreign").decide(report("oooo", 0), now=4).memory.is_stray


def test_a_verification_proves_nothing_when_the_probers_route_refused_to_move() -> None:
    """Simulation, seed 200004304: the last resort's call was refused, and packets got through by a second stack's."""
    world = probing(resting("ab", tables=2), "rtb-a").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[PointRoute])
    assert world.memories["a"].is_stray
    world.step(verified("oo"), now=2)
    assert proven_at(world, "eni-b") == -6, "the canary's, and no newer one"


def test_a_move_whose_routes_followed_is_proven_by_its_verification() -> None:
    world = probing(resting("ab", tables=2), "rtb-a").change("i-a", state=STOPPED)
    world.carry_out(world.decide(), failing=[MoveAddress])
    assert not world.memories["a"].is_stray
    world.step(verified("oo"), now=2)
    assert proven_at(world, "eni-b") == 0.7


def test_a_look_that_is_older_than_the_move_only_delays_the_proof() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(proofs=())
    world.step()
    world.route("rtb-a", "eni-a")
    world.step(verified("oo"), now=2)
    assert proven_at(world, "eni-b") is None
    world.route("rtb-a", "eni-b")
    world.step(report("oooo", 2.5), now=7)
    assert proven_at(world, "eni-b") == 5.5


# -- where natkeeper's own path was never proven


def strayed() -> World:
    """For a minute packets have got through by a foreign route; nothing proves the group's own NAT."""
    return resting("ab").route("rtb-a", "eni-foreign").remember(proofs=(), recent=report("oooo", 56).rounds)


def test_traffic_is_left_where_it_gets_through_until_the_own_nat_is_proven() -> None:
    world = strayed()
    plan = world.step(now=60)
    assert (plan.reason, plan.memory.target, writes(plan)) == (Reason.UNOBSERVED, "eni-foreign", [])
    assert "eni-foreign" in plan.detail
    assert plan.memory.led_since == at(60)
    plan = world.step(report("oooo", 61), now=66)
    assert (plan.reason, writes(plan)) == (Reason.HEALING, [PointRoute("rtb-a", CANARY, "eni-a")])
    assert target_of(world.seen, "rtb-a") == "eni-foreign"
    assert proven_at(world, "eni-foreign") == 64


def test_a_record_of_a_nat_that_is_gone_does_not_hold_the_group_where_its_traffic_left_it() -> None:
    """Simulation, seed 300182978: without a ledger traffic was moved to b, and one table's call was lost."""
    world = probing(resting("ab", tables=2), "rtb-a").route("rtb-a", "eni-b")
    world.network = without(world.seen, "i-a")
    plan = world.step(report("oooo", 0), now=4)
    assert (plan.reason, plan.memory.target) == (Reason.UNOBSERVED, "eni-b")
    plan = world.step(report("oooo", 5), now=9)
    assert plan.reason is Reason.CONVERGE
    assert target_of(world.seen, "rtb-a2") == "eni-b"


def test_nobody_follows_right_after_a_move() -> None:
    """An old look may still show the routes of before it."""
    world = strayed().remember(moved_at=at(40))
    assert world.decide(now=60).memory.target == "eni-a"
    assert world.decide(now=70).memory.target == "eni-foreign"


@pytest.mark.parametrize(("put_back", "is_followed"), [(29.9, False), (30, True)])
def test_nobody_follows_right_after_routes_were_put_back(put_back: float, is_followed: bool) -> None:
    """An old look still shows what somebody had put there (simulation, seed 1780046607)."""
    plan = strayed().remember(led_since=at(60 - put_back)).decide(now=60)
    assert (plan.memory.target == "eni-foreign") is is_followed


def test_nobody_follows_rounds_that_failed_or_that_are_old_or_missing() -> None:
    assert strayed().remember(recent=report("oooo", -63).rounds).decide(now=60).memory.target == "eni-foreign"
    for rounds in (report("ooox", 56).rounds, report("oooo", -63.1).rounds, ()):
        assert strayed().remember(recent=rounds).decide(now=60).memory.target == "eni-a"


def test_nobody_follows_to_nowhere() -> None:
    assert strayed().route("rtb-a", None).decide(now=60).memory.target == "eni-a"


def test_of_two_places_the_probers_own_is_followed() -> None:
    """What the other tables lead to, no packet has shown."""
    world = resting("ab", tables=3).route("rtb-a", "eni-foreign")
    world.route("rtb-a2", "eni-other").route("rtb-a3", "eni-other")
    world.remember(proofs=(), recent=report("oooo", 56).rounds)
    assert world.decide(now=60).memory.target == "eni-foreign"


def test_tables_that_nobody_can_see_are_not_strayed_from() -> None:
    world = resting("ab")
    world.network = replace(world.seen, tables={})
    assert not world.decide(now=4).memory.is_stray


def parted(second: str | None) -> World:
    """The prober's packets go by a foreign route, which is the recorded one; another table leads elsewhere."""
    world = probing(resting("ab", tables=2), "rtb-a").route("rtb-a", "eni-foreign").route("rtb-a2", second)
    return world.remember(target="eni-foreign", proofs=proofs("eni-foreign"))


@pytest.mark.parametrize("second", [None, "eni-a"])
def test_a_table_that_no_probe_sees_is_not_left_on_what_nobody_has_proven(second: str | None) -> None:
    """Simulation, seed 410058546: the first table went by a foreign route, the other to a NAT without a ruleset."""
    world = parted(second)
    plan = world.step()
    assert (plan.reason, plan.memory.target, plan.verifies) == (Reason.CONVERGE, "eni-b", True)
    assert plan.memory.moved_at == at(0)
    assert "eni-foreign" in plan.detail
    assert {target_of(world.seen, each) for each in ("rtb-a", "rtb-a2")} == {"eni-b"}


def test_it_stays_where_packets_have_been_or_where_natkeeper_never_led_it() -> None:
    assert parted("eni-b").decide().reason is Reason.HEALING
    assert parted("eni-another").decide().reason is Reason.HEALING
    assert parted("eni-foreign").decide().reason is Reason.HEALING


def test_it_stays_while_nothing_verified_can_take_it() -> None:
    assert parted("eni-a").remember("b", proofs=()).decide().reason is Reason.HEALING
    assert parted("eni-a").change("i-b", checked=True).decide().reason is Reason.HEALING


# -- and a launch that nobody may forget


def test_a_launch_that_an_old_look_made_is_not_forgotten_at_home() -> None:
    """Simulation, seed 400006845: one look lacked the NAT, the next showed it, and the third neither."""
    repair = Repair("a-1", 1, at(-10), is_launched=True, is_accepted=True)
    world = resting("ab").remember(repair=repair, proofs=proofs("eni-a"))
    assert world.step().memory.repair == repair
    withdrawn = world.remember(withdrawn_at=at(-5)).step().memory
    assert (withdrawn.repair, withdrawn.withdrawn_at) == (repair, None)
    world.network = without(world.seen, "i-a")
    plan = world.step(now=5)
    assert not any(isinstance(each, LaunchInstance) for each in plan.actions)


@pytest.mark.parametrize(("launched", "is_forgotten"), [(-12.1, False), (-12, True), (-10, True)])
def test_a_launch_that_appeared_is_forgotten_at_home(launched: float, is_forgotten: bool) -> None:
    """Lab: a NAT that died a few seconds after coming home was waited for, for two minutes."""
    repair = Repair("a-1", 1, at(-10), is_launched=True, is_accepted=True)
    world = resting("ab").remember(repair=repair).change("i-a", launched_at=at(launched))
    assert (world.decide().memory.repair is None) is is_forgotten


def test_a_launch_that_never_appeared_is_forgotten_at_home_in_the_end() -> None:
    repair = Repair("a-1", 1, at(0) - secs(120), is_launched=True, is_accepted=True)
    assert resting("ab").remember(repair=repair).decide().memory.repair is None


def test_what_carried_it_unseen_until_its_routes_were_put_back_is_not_counted_as_dark() -> None:
    """A second stack took the routes of a group whose NAT hangs, and natkeeper put them back (simulation, seed
    1710000327): between the last round that was lost before and the first one after egress may have worked."""
    world = resting("ab").remember(led_since=at(-3.5))
    incident = world.decide(report("oxxxx", -6), control=UP).memory.incident
    assert incident is not None
    assert secs(1.9) < measure(incident.rounds, secs(0.1), incident.disturbances).low <= secs(2)
    world.remember(led_since=at(-30))
    incident = world.decide(report("oxxxx", -6), control=UP).memory.incident
    assert incident is not None
    assert secs(2.9) < measure(incident.rounds, secs(0.1), incident.disturbances).low <= secs(3)
