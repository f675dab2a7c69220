"""A group whose own Elastic IP is gone, or may not be moved: egress from some address, and back to its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natkeeper.core.arrival import is_under_way
from natkeeper.core.backoff import KINDS
from natkeeper.core.incident import MOVING_ADDRESS, AddressMove, BackOff, Cause, Exclusion, Told
from natkeeper.core.model import DEFAULT_ROUTE, ElasticIp
from natkeeper.core.news import Tick
from natkeeper.core.plan import (
    GivePublicAddress,
    LaunchInstance,
    MoveAddress,
    Plan,
    PointRoute,
    Reason,
    StartInstance,
    Warned,
)
from natkeeper.core.policy import ProvingAddress
from natkeeper.core.telling import left_to_do
from natkeeper.errors import Refused, Stale, Trouble
from tests.support.fakes import Stack
from tests.support.worlds import (
    RUNNING,
    STOPPED,
    STOPPING,
    TERMINATED,
    UP,
    World,
    at,
    away,
    incident,
    nat,
    proofs,
    report,
    resting,
    rounds,
    verified,
    writes,
)

SPARE = ProvingAddress("eip-spare", "203.0.113.99")
HOME, AWAY = "10.0.0.10", "10.0.0.51"
LENT = MoveAddress("eip-spare", "eni-a", HOME)


def with_elastic(world: World, **known: ElasticIp | None) -> World:
    """The look shows these Elastic IPs, by allocation id with underscores; None: it is gone."""
    changed = {key.replace("_", "-"): each for key, each in known.items()}
    found = {**world.seen.addresses, **changed}
    world.network = replace(world.seen, addresses={key: each for key, each in found.items() if each is not None})
    return world


def released(zones: str = "ab", *, spare: bool = True, **chosen: Any) -> World:
    """Somebody released group a's Elastic IP while its traffic is at home."""
    world = resting(zones, proving=SPARE if spare else None, **chosen).change("i-a", public=None)
    return with_elastic(world, eip_a=None, eip_spare=ElasticIp("eip-spare", SPARE.public) if spare else None)


def refused(world: World, times: int = 2, ago: float = 1) -> World:
    return world.remember(back_offs=(BackOff(MOVING_ADDRESS, at(-ago), times),))


def stranded() -> World:
    """Group a's routes are on b's NAT, its address is still on its own stopped one, and EC2 refuses to move it."""
    world = away("ab").add(nat("b")).change("i-a", public="203.0.113.1")
    world = with_elastic(world, eip_a=ElasticIp("eip-a", "203.0.113.1", "eni-a", HOME))
    return refused(world.remember(recent=rounds("ox", -32)))


def said(plan: Plan) -> list[str]:
    return [each.text for each in plan.happenings if isinstance(each, Warned)]


# -- gone


def test_the_proving_address_stands_in_for_an_address_that_is_gone() -> None:
    plan = released().remember(is_down=True, down_at=at(-1)).decide()
    assert (plan.reason, writes(plan), plan.verifies) == (Reason.BORROW_ADDRESS, [LENT], True)
    assert (plan.memory.is_down, plan.memory.borrowed_at, plan.memory.moved_at) == (False, at(0), None)
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.ADDRESS_GONE
    assert plan.detail == (
        "the Elastic IP eip-a (203.0.113.1) is gone: somebody released it; the proving address 203.0.113.99 stands in "
        "for it on eni-a"
    )
    assert said(plan) == [
        f"group a: {plan.detail}; allow-lists at the far end need the new address; allocate an Elastic IP and update "
        "the stack"
    ]
    assert Told("address", at(0)) in plan.memory.told, "once, whichever address stands in"


@pytest.mark.parametrize(
    "unfit", [{}, {"exclusions": (Exclusion("eni-a", at(60), at(-1)),)}], ids=["checked", "excluded"]
)
def test_no_address_stands_in_on_a_nat_that_drops_packets(unfit: dict[str, Any]) -> None:
    plan = released().remember(**unfit).change("i-a", checked=not unfit).decide()
    assert (plan.reason, plan.memory.target) == (Reason.BORROW_ADDRESS, "eni-b")


def test_it_stands_in_on_a_nat_that_is_verified_rather_than_on_the_first() -> None:
    world = released("abc").change("i-a", state=STOPPED).remember("b", proofs=()).add(nat("c", secondaries=2))
    world.remember(proofs=())
    assert world.decide().memory.target == "eni-c"


def test_it_is_given_the_time_that_any_address_takes() -> None:
    world = released()
    plan = world.step()
    assert is_under_way(plan.memory, at(5), world.policy)
    assert not world.decide(verified("xxx", 1), control=UP, now=3).memory.is_down


def test_no_traffic_moves_to_a_nat_on_which_it_lacks_the_address_too() -> None:
    world = released("ab", spare=False).remember(is_down=True, down_at=at(-1))
    for second in range(0, 60, 3):
        assert world.step(report("xxx", second - 3), now=second).memory.target != "eni-b"


def test_once_it_stands_in_the_group_is_at_rest() -> None:
    world = released()
    world.step()
    world.step(verified("oo", 2), now=3)
    plan = world.decide(now=4)
    assert plan.reason in (Reason.AT_REST, Reason.TIDYING)
    assert not any(isinstance(each, MoveAddress) for each in plan.actions)


def test_the_group_comes_back_to_its_own_address_when_there_is_one_again() -> None:
    world = released()
    world.step()
    world.step(verified("oo", 2), now=3)
    plan = with_elastic(world, eip_a=ElasticIp("eip-a", "203.0.113.1")).decide(now=30)
    assert plan.reason is Reason.CONVERGE
    assert MoveAddress("eip-a", "eni-a", HOME) in writes(plan)


def test_a_nat_that_stopped_is_started_while_another_carries_its_group_from_the_stand_in() -> None:
    plan = released().change("i-a", state=STOPPED).decide()
    assert plan.memory.target == "eni-b"
    assert writes(plan) == [
        MoveAddress("eip-spare", "eni-b", AWAY),
        PointRoute("rtb-a", DEFAULT_ROUTE, "eni-b"),
        StartInstance("i-a"),
    ]


def test_a_nat_that_is_gone_is_launched_beside_the_stand_in_and_never_under_two_tokens() -> None:
    plan = released().change("i-a", state=TERMINATED).decide()
    assert (plan.reason, plan.memory.target, plan.records_first) == (Reason.BORROW_ADDRESS, "eni-b", True)
    assert [type(each) for each in writes(plan)] == [MoveAddress, PointRoute, LaunchInstance]
    assert plan.memory.launches == (at(0),)
    assert plan.memory.repair is not None


@pytest.mark.parametrize(
    ("known", "is_released", "cause"),
    [
        (Cause.PROBES_FAILED, True, Cause.ADDRESS_GONE),
        (Cause.INSTANCE_STOPPED, True, Cause.INSTANCE_STOPPED),
        (Cause.PROBES_FAILED, False, Cause.PROBES_FAILED),
    ],
)
def test_that_probes_failed_is_explained_by_an_address_that_is_gone_and_by_nothing_that_came_later(
    known: Cause, is_released: bool, cause: Cause
) -> None:
    world = released() if is_released else resting("ab").change("i-a", state=STOPPED)
    found = world.remember(incident=replace(incident(), cause=known)).decide().memory.incident
    assert found is not None
    assert found.cause is cause


def test_a_gateway_needs_no_address_of_the_groups() -> None:
    plan = released(gateway="nat-1").decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "nat-1")


def test_without_a_proving_address_aws_is_asked_for_one_and_not_in_every_pass() -> None:
    world = released(spare=False)
    plan = world.decide()
    assert writes(plan) == [GivePublicAddress("eni-a")]
    world.memories["a"] = plan.memory
    for second, is_asked in ((3, False), (29.9, False), (30, True)):
        assert (GivePublicAddress("eni-a") in writes(world.decide(now=second))) is is_asked


def test_aws_is_not_asked_for_one_again_while_it_refuses_that() -> None:
    world = released(spare=False).remember(back_offs=(BackOff(KINDS[GivePublicAddress], at(0), 1),))
    for second, is_asked in ((14.9, False), (15, True)):
        assert (GivePublicAddress("eni-a") in writes(world.decide(now=second))) is is_asked


def test_traffic_goes_home_to_an_address_of_awss_where_its_host_can_have_none() -> None:
    world = with_elastic(away("ab").add(nat("b")), eip_a=None).change("i-a", state=RUNNING)
    plan = world.decide()
    assert writes(plan) == [GivePublicAddress("eni-a"), PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a")]
    assert (plan.memory.target, plan.memory.moved_at, plan.memory.has_carried) == ("eni-a", at(0), False)


def test_a_neighbours_nat_cannot_be_given_one_of_awss_for_a_guest() -> None:
    plan = released(spare=False).change("i-a", state=STOPPED).decide()
    assert writes(plan) == [StartInstance("i-a")]


def test_an_address_that_stands_in_for_one_group_is_not_taken_for_another() -> None:
    world = released("abc")
    world.step()
    with_elastic(world.change("i-b", public=None), eip_b=None)
    plan = world.decide(name="b")
    assert not any(isinstance(each, MoveAddress) for each in plan.actions)
    # a's NAT has no address to spare for b's packets, so these leave from its own.
    assert (plan.reason, plan.memory.target) == (Reason.LAST_RESORT, "eni-a")


def test_an_address_that_stands_in_is_not_taken_to_prove_a_nat_with() -> None:
    world = with_elastic(away("ab", proving=SPARE), eip_a=None, eip_spare=ElasticIp("eip-spare", SPARE.public))
    world.add(nat("b")).change("i-a", state=RUNNING)
    world.step()
    assert world.seen.addresses["eip-spare"].interface_id == "eni-b"
    world.step(verified("oo", 2), now=3)
    assert not any(isinstance(each, MoveAddress) for each in world.decide(now=40).actions)


def test_a_group_whose_address_is_gone_comes_home_with_whatever_address_its_nat_has() -> None:
    world = away("ab", proving=SPARE).add(nat("b", secondary_public=SPARE.public))
    with_elastic(world, eip_a=None, eip_spare=ElasticIp("eip-spare", SPARE.public, "eni-b", AWAY))
    world.change("i-a", state=RUNNING, public="198.51.100.7").remember(proofs=proofs("eni-a", "eni-b"))
    plan = world.decide()
    assert (plan.reason, [type(each) for each in writes(plan)]) == (Reason.GO_HOME, [PointRoute])


def test_what_is_left_to_do_is_said_as_long_as_another_address_stands_in() -> None:
    world = released()
    world.step()
    plan = world.step(verified("oo", 2), now=3)
    assert plan.standing.is_not_healing
    assert left_to_do(plan, at(3), world.policy).startswith("its own Elastic IP is gone")
    with_elastic(world, eip_a=ElasticIp("eip-a", "203.0.113.1", "eni-a", HOME)).change("i-a", public="203.0.113.1")
    plan = world.decide(now=30)
    assert (plan.memory.borrowed_at, plan.standing.is_not_healing) == (None, False)
    assert left_to_do(plan, at(30), world.policy) == ""


# -- refused


def test_one_refusal_is_asked_again_at_once() -> None:
    world = refused(stranded(), times=1)
    assert world.decide().reason is Reason.CONVERGE


def test_an_address_that_may_not_be_moved_waits_for_nobody_to_start_the_own_nat() -> None:
    plan = stranded().decide()
    assert (plan.reason, writes(plan)) == (Reason.NO_CANDIDATE, [StartInstance("i-a")])
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.ADDRESS_REFUSED


def test_traffic_goes_back_to_the_own_nat_which_still_has_it_as_soon_as_it_runs() -> None:
    plan = stranded().change("i-a", state=RUNNING).decide()
    assert (plan.reason, plan.memory.target) == (Reason.LAST_RESORT, "eni-a")
    assert writes(plan) == [PointRoute("rtb-a", DEFAULT_ROUTE, "eni-a")]
    assert plan.memory.address_move == AddressMove("eni-a", at(0), at(0), is_found=True), (
        "the canary leaves from it too"
    )


def test_a_neighbour_that_the_address_cannot_follow_to_is_no_candidate() -> None:
    world = refused(resting("ab")).change("i-a", state=STOPPED)
    assert world.decide().memory.target == "eni-a"


def test_packets_that_got_through_since_show_that_it_is_there_whatever_an_old_look_shows() -> None:
    world = refused(away("ab").add(nat("b")), ago=9)
    for seen in ((), rounds("o", -10), rounds("o", -5)):
        assert world.remember(recent=seen).decide().memory.incident is not None
    world.remember(recent=rounds("o", -4.999))
    assert world.decide().memory.incident is None


@pytest.mark.parametrize(("ago", "is_asked"), [(29.9, False), (30, True)])
def test_after_a_while_it_is_asked_for_again(ago: float, is_asked: bool) -> None:
    plan = refused(stranded(), ago=ago).decide()
    assert any(isinstance(each, MoveAddress) for each in plan.actions) is is_asked


@pytest.mark.parametrize(
    "trouble",
    [Refused("AssociateAddress", "AuthFailure"), Stale("AssociateAddress", "InvalidAllocationID.NotFound")],
)
def test_a_refusal_is_remembered_and_told_with_what_to_do(trouble: Trouble) -> None:
    stack = Stack(resting("ab").change("i-a", state=STOPPING))
    stack.faults.failing["MoveAddress"] = trouble
    stack.wake(Tick())
    known = stack.memory().back_offs
    assert [each.kind for each in known] == [MOVING_ADDRESS]
    assert known[0].refusals == 2, "asked once more at once, and then ever more slowly"
    told = [each.text for _, each in stack.telemetry.happenings if isinstance(each, Warned)]
    assert f"EC2 refuses moving an Elastic IP (AssociateAddress: {trouble.code})" in told[0]


def test_where_no_address_may_be_moved_aws_is_asked_for_one_and_a_person_for_the_permission() -> None:
    world = resting("ab", proving=SPARE).change("i-a", public=None).remember(recent=rounds("ox", -32))
    with_elastic(world, eip_a=ElasticIp("eip-a", "203.0.113.1"), eip_spare=ElasticIp("eip-spare", SPARE.public))
    plan = refused(world).decide()
    assert (plan.reason, writes(plan)) == (Reason.BORROW_ADDRESS, [GivePublicAddress("eni-a")])
    assert said(plan) == [
        "group a: EC2 refuses to move the Elastic IP eip-a to eni-a; a public address of AWS's stands in for it on "
        "eni-a; allow AssociateAddress in the controller's role and the account's policies"
    ]
