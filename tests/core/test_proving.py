"""Proving a NAT that AWS gives no public address, and room for the next one where a replacement failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.incident import Canary, Exclusion, Repair
from natkeeper.core.launches import accepted, is_outstanding, is_unseen, may_still_appear, refused, type_after
from natkeeper.core.model import ElasticIp, Network, Role
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    MoveAddress,
    PointRoute,
    Reason,
    ReleaseAddress,
    StartInstance,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.core.policy import ProvingAddress, StandbyMode
from natkeeper.core.proving import canary_on
from natkeeper.core.replacement import launch
from natkeeper.core.room import failed_one, is_full
from natkeeper.core.view import View
from tests.support.worlds import (
    CANARY,
    PENDING,
    RUNNING,
    STOPPED,
    UP,
    World,
    at,
    away,
    nat,
    proofs,
    report,
    resting,
    secs,
    writes,
)

SPARE = ProvingAddress("eip-spare", "203.0.113.99")
LENT = MoveAddress("eip-spare", "eni-a", "10.0.0.10")


def lending(world: World, on: str | None = None, private: str | None = None) -> World:
    """The stack has a proving address, which is on that interface or on nothing."""
    association = None if on is None else "eipassoc-1"
    spare = ElasticIp("eip-spare", SPARE.public, on, private, association)
    world.network = _with_address(world, spare)
    return world


def _with_address(world: World, spare: ElasticIp) -> Network:
    return replace(world.seen, addresses={**world.seen.addresses, "eip-spare": spare})


def without_address(zones: str = "ab", **remembered: object) -> World:
    """Group a is away; its own NAT runs and has no public address."""
    world = away(zones, proving=SPARE).change("i-a", state=RUNNING, public=None)
    return lending(world.remember(**remembered))


def _with_own_address_on(world: World, target: str, private: str) -> Network:
    own = replace(world.seen.addresses["eip-a"], interface_id=target, private=private)
    return replace(world.seen, addresses={**world.seen.addresses, "eip-a": own})


def view(world: World) -> View:
    others = {name: each for name, each in world.memories.items() if name != "a"}
    return View(world.policy.group("a"), world.seen, world.memories["a"], others, world.policy, at(world.now))


# -- the proving address


def test_a_nat_without_a_public_address_borrows_the_stacks() -> None:
    plan = without_address().decide()
    assert set(writes(plan)) == {LENT, PointRoute("rtb-a", CANARY, "eni-a")}
    assert plan.memory.address_move is None, "it is not the group's own that moves"
    assert plan.detail == "proving i-a with canary packets; it has no public address yet"


def test_it_is_asked_for_again_only_after_a_while() -> None:
    world = without_address()
    world.step()
    world.change("i-a", public=None)
    lending(world)
    assert writes(world.decide(now=29.9)) == []
    assert writes(world.decide(now=30)) == [LENT]


def test_since_when_it_has_one_is_remembered_and_forgotten_with_it() -> None:
    world = without_address()
    assert world.step().memory.canary == Canary("eni-a", at(0), asked_at=at(0))
    assert world.step(now=5).memory.canary == Canary("eni-a", at(0), addressed_at=at(5), asked_at=at(0))
    assert world.step(now=9).memory.canary == Canary("eni-a", at(0), addressed_at=at(5), asked_at=at(0))
    world.change("i-a", public=None)
    assert world.step(now=10).memory.canary == Canary("eni-a", at(0), asked_at=at(0))


def test_a_table_that_still_leads_there_keeps_other_addresses_off_it() -> None:
    """The group's packets would leave from that address, which the far end does not know."""
    world = away("ab", tables=2, proving=SPARE).change("i-a", state=RUNNING, public=None).route("rtb-a2", "eni-a")
    plan = lending(world).decide()
    assert not [each for each in writes(plan) if isinstance(each, (MoveAddress, GivePublicAddress))]


def test_a_group_that_is_being_set_up_gets_one_whatever_route_somebody_put_there() -> None:
    """It has moved no table yet; without an address its NAT was never proven (simulation, seed 1780028547). Nor was
    that of a group which follows somebody's route on another table (seed 1792008077)."""
    world = without_address().route("rtb-a", "eni-a")
    for target, is_lent in ((None, True), ("eni-foreign", True), ("eni-b", False)):
        seen = view(world.remember(target=target))
        (own,) = seen.instances(Role.NAT)
        path = seen.path_to(own)
        assert path is not None
        assert (LENT in canary_on(seen, path, own)[1]) is is_lent


def test_another_groups_route_there_does_not() -> None:
    """Two groups that carry each other's traffic would never come home."""
    world = without_address()
    world.route("rtb-b", "eni-a").remember("b", target="eni-a")
    assert LENT in writes(world.decide())


@pytest.mark.parametrize(
    ("theirs", "is_lent"),
    [
        ({"canary": Canary("eni-b", at(-9)), "target": "eni-c"}, True),
        ({"canary": Canary("eni-b", at(-9)), "target": "eni-b"}, False),
        ({"canary": Canary("eni-c", at(-9)), "target": "eni-c"}, False),
        ({"canary": None, "target": "eni-c"}, False),
    ],
)
def test_it_is_not_taken_from_a_group_that_proves_its_own_nat_with_it(theirs: dict[str, object], is_lent: bool) -> None:
    world = lending(without_address("abc").remember("b", **theirs), "eni-b", "10.0.0.50")
    asked = [each for each in writes(world.decide()) if not isinstance(each, PointRoute)]
    assert asked == [GivePublicAddress("eni-a") if is_lent else LENT]


@pytest.mark.parametrize(("target", "is_lent"), [("eni-b2", False), ("eni-c", True)])
def test_it_is_taken_from_a_replaced_nat_whose_group_is_home_on_another(target: str, is_lent: bool) -> None:
    """It carries a guest, so it stays; the group that wants to come home is that guest."""
    second = nat("b", number=2, launched=-60)
    world = without_address("abc").add(second).remember("b", canary=Canary("eni-b", at(-9)), target=target)
    assert second.target == "eni-b2"
    asked = [each for each in writes(lending(world, "eni-b", "10.0.0.50").decide()) if not isinstance(each, PointRoute)]
    assert asked == [GivePublicAddress("eni-a") if is_lent else LENT]


@pytest.mark.parametrize(
    ("addressed", "failed", "proven", "is_lent"),
    [
        (-30, -9, False, False),
        (-29.9, -9, False, True),
        (-30, -9, True, True),
        (None, -9, False, True),
        (-30, None, False, True),
    ],
)
def test_it_is_taken_from_a_group_that_has_had_it_for_its_time_in_vain(
    addressed: float | None, failed: float | None, proven: bool, is_lent: bool
) -> None:
    """In one outage of both, one asked a NAT that hung for minutes (simulation, seed 1760016509). The last has not
    been heard of for a while."""
    since = {"addressed_at": addressed, "failed_since": failed}
    canary = Canary("eni-b", at(-60), **{name: at(second) for name, second in since.items() if second is not None})
    world = without_address("abc").remember("b", target="eni-c", canary=canary)
    world.remember("b", proofs=proofs("eni-b") if proven else ())
    asked = [each for each in writes(lending(world, "eni-b", "10.0.0.50").decide()) if not isinstance(each, PointRoute)]
    assert asked == [GivePublicAddress("eni-a") if is_lent else LENT]


def standing_in(guest: str = "b", **theirs: object) -> World:
    """The proving address is where that group's packets leave from b's NAT, because its own Elastic IP is gone. Group a
    is on c's."""
    private = {"b": "10.0.0.50", "c": "10.0.0.52"}[guest]
    world = without_address("abc").add(nat("b", secondaries=2), nat("c", secondaries=2)).route("rtb-a", "eni-c")
    world.network = _with_own_address_on(world.remember(target="eni-c", proofs=proofs("eni-c")), "eni-c", "10.0.0.92")
    known = {name: each for name, each in world.seen.addresses.items() if name != f"eip-{guest}"}
    world.network = replace(world.seen, addresses=known)
    return lending(world.remember(guest, **{"target": "eni-b", **theirs}), "eni-b", private)


@pytest.mark.parametrize("guest", ["b", "c"])
def test_it_is_not_taken_from_a_group_whose_traffic_leaves_from_it(guest: str) -> None:
    assert LENT not in writes(standing_in(guest).decide())


def test_it_is_not_taken_where_the_groups_own_address_is_but_not_there() -> None:
    world = standing_in()
    elsewhere = ElasticIp("eip-b", "203.0.113.2", "eni-b", "10.0.0.51")
    world.network = replace(world.seen, addresses={**world.seen.addresses, "eip-b": elsewhere})
    assert LENT not in writes(world.decide())


@pytest.mark.parametrize("theirs", [{"target": "eni-c"}, {}], ids=["its traffic is elsewhere", "on another address"])
def test_it_is_taken_where_nobodys_traffic_leaves_from_it(theirs: dict[str, object]) -> None:
    world = standing_in(**theirs)
    assert LENT in writes((world if theirs else lending(world, "eni-b", "10.0.0.52")).decide())


def test_it_is_taken_where_the_address_that_it_stood_in_for_is_back() -> None:
    world = standing_in()
    back = ElasticIp("eip-b", "203.0.113.2", "eni-b", "10.0.0.50")
    world.network = replace(world.seen, addresses={**world.seen.addresses, "eip-b": back})
    assert LENT in writes(world.decide())


def test_it_is_taken_from_a_nat_that_stopped_whatever_traffic_left_from_it() -> None:
    assert LENT in writes(standing_in().change("i-b", state=STOPPED).decide())


@pytest.mark.parametrize("changes", [{"state": STOPPED}, {"interface": None}])
def test_it_is_taken_from_a_nat_that_is_no_more(changes: dict[str, object]) -> None:
    world = without_address("abc").remember("c", canary=Canary("eni-c", at(-9)), target="eni-b")
    lending(world, "eni-c", "10.0.0.90")
    assert LENT not in writes(world.decide())
    world.change("i-c", **changes)
    assert LENT in writes(world.decide())


def test_a_nat_that_it_is_on_already_needs_none() -> None:
    world = lending(without_address().change("i-a", public=SPARE.public), "eni-a", "10.0.0.10")
    assert writes(world.decide()) == [PointRoute("rtb-a", CANARY, "eni-a")]


def test_it_is_taken_off_before_traffic_comes_home_with_whatever_aws_may_give() -> None:
    world = lending(without_address().change("i-a", public=SPARE.public), "eni-a", "10.0.0.10")
    world.route("rtb-a", "eni-a", CANARY).remember(
        canary=Canary("eni-a", at(-500), at(-500)), proofs=proofs("eni-b", "eni-a"), repair=Repair("r", 1, at(-500))
    )
    plan = world.step()
    assert writes(plan) == [TakePublicAddress("eni-a"), ReleaseAddress("eipassoc-1", "eni-a")]
    assert plan.memory.withdrawn_at == at(0)
    assert world.step(now=1).reason is Reason.GO_HOME


@pytest.mark.parametrize("on", [None, "eni-c"])
def test_it_is_left_where_another_nat_has_it(on: str | None) -> None:
    world = lending(without_address("abc").change("i-a", public="198.51.100.7"), on, on and "10.0.0.90")
    world.route("rtb-a", "eni-a", CANARY).remember(
        canary=Canary("eni-a", at(-500), at(-500)), proofs=proofs("eni-b", "eni-a"), repair=Repair("r", 1, at(-500))
    )
    assert writes(world.decide()) == [TakePublicAddress("eni-a")]


def hosting(**theirs: object) -> World:
    """Group a's own NAT carries b's packets, and no canary can prove it; a is on a NAT that stopped."""
    world = away("abc").change("i-a", state=RUNNING, public=None).route("rtb-b", "eni-a").change("i-b", state=STOPPED)
    world.remember(proofs=()).remember("c", proofs=())
    return world.remember("b", **{"target": "eni-a", "proofs": proofs("eni-a"), **theirs})


def test_a_nat_that_another_groups_packets_go_through_is_verified_for_its_own() -> None:
    """AWS gives it no public address to prove it with, for it hosts an Elastic IP."""
    plan = hosting().decide()
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-a")


@pytest.mark.parametrize(
    "theirs", [{"is_down": True}, {"target": "eni-c"}, {"proofs": proofs("eni-a", age=130)}, {"proofs": ()}]
)
def test_what_another_group_does_not_send_through_it_now_proves_nothing(theirs: dict[str, object]) -> None:
    assert hosting(**theirs).decide().reason is not Reason.FAIL_OVER


def test_traffic_comes_home_by_its_own_proof_only() -> None:
    world = without_address("abc").remember("c", target="eni-a", proofs=proofs("eni-a"))
    assert LENT in writes(world.decide())


def test_a_look_that_did_not_show_it_makes_do_with_one_of_awss() -> None:
    world = away("ab", proving=SPARE).change("i-a", state=RUNNING, public=None)
    assert GivePublicAddress("eni-a") in writes(world.decide())


def test_a_standby_without_a_public_address_borrows_it_and_asks_aws_for_none() -> None:
    standby = nat("a", role=Role.STANDBY, public=None)
    world = resting("a", standby=StandbyMode.RUNNING, proving=SPARE).add(standby)
    assert [type(each) for each in writes(world.decide())] == [PointRoute]
    assert standby.interface is not None
    lent = MoveAddress("eip-spare", "eni-as", standby.interface.primary.address)
    assert set(writes(lending(world).decide())) == {lent, PointRoute("rtb-a", CANARY, "eni-as", is_missing=True)}


def test_two_standbys_do_not_take_it_from_each_other() -> None:
    world = resting("ab", standby=StandbyMode.RUNNING, proving=SPARE)
    for name in "ab":
        world.add(nat(name, role=Role.STANDBY, public=None))
        world.route(f"rtb-{name}", f"eni-{name}s", CANARY)
    world.remember(canary=Canary("eni-as", at(-60)))
    world.remember("b", canary=Canary("eni-bs", at(-60)))
    world.change("i-bs", public=SPARE.public)
    assert writes(lending(world, "eni-bs", "10.0.0.60").decide()) == []
    world.remember("b", canary=None)
    assert [type(each) for each in writes(world.decide())] == [MoveAddress]


# -- its time


def proving_since(**fields: float) -> World:
    """The own NAT was started, and its canary has been lost since."""
    spans = {"launched": -9000.0, "started": -9000.0, "pointed": -9000.0, "addressed": -9000.0, **fields}
    world = away().change("i-a", state=RUNNING, public="198.51.100.7", launched_at=at(spans["launched"]))
    canary = Canary("eni-a", at(spans["pointed"]), addressed_at=at(spans["addressed"]))
    repair = Repair("r", 1, at(spans["started"]))
    return world.route("rtb-a", "eni-a", CANARY).remember(canary=canary, repair=repair)


@pytest.mark.parametrize("what", ["launched", "started", "pointed"])
def test_one_that_was_started_has_its_time_from_the_last_of_these(what: str) -> None:
    assert writes(proving_since(**{what: -240}).decide()) == []
    assert [type(each) for each in writes(proving_since(**{what: -240.001}).decide())] == [LaunchInstance]


def test_one_that_has_its_address_for_a_moment_only_is_given_a_moment() -> None:
    assert writes(proving_since(addressed=-30).decide()) == []
    assert [type(each) for each in writes(proving_since(addressed=-30.001).decide())] == [LaunchInstance]


def test_one_that_was_launched_has_the_time_of_a_boot() -> None:
    world = proving_since(started=-450, launched=-449)
    world.remember(repair=Repair("r", 1, at(-450), is_launched=True, is_accepted=True))
    world.remember(canary=Canary("eni-a", at(-450), addressed_at=at(-400)))
    assert writes(world.decide(now=1)) == []
    assert [type(each) for each in writes(world.decide(now=1.001))] == [LaunchInstance]


def test_one_whose_launch_nobody_heard_of_has_the_time_of_a_boot_once_it_is_there() -> None:
    world = proving_since(started=-300, launched=-299)
    world.remember(repair=Repair("r", 1, at(-300), is_launched=True), launches=(at(-300),))
    assert writes(world.decide()) == []
    older = world.change("i-a", launched_at=at(-9000)).remember(canary=Canary("eni-a", at(-300), addressed_at=at(-300)))
    assert [type(each) for each in writes(older.decide())] == [LaunchInstance], "it is none that boots"


def test_one_that_lacks_only_its_address_is_never_given_up() -> None:
    world = away().change("i-a", state=RUNNING, public=None, launched_at=at(-9000))
    world.route("rtb-a", "eni-a", CANARY).remember(
        canary=Canary("eni-a", at(-9000), asked_at=at(-9000)), repair=Repair("r", 1, at(-9000))
    )
    assert writes(world.decide()) == [GivePublicAddress("eni-a")]


def canaries(world: World, *, has_egress: bool = False) -> list[object]:
    """Where the canary goes, turn by turn."""
    pointed: list[object] = []
    for second in range(0, 180, 45):
        world.remember(exclusions=tuple(Exclusion(each, at(second + 60)) for each in ("eni-a", "eni-a2")))
        world.remember(proofs=proofs("eni-as", now=second) if has_egress else ())
        plan = world.decide(report("ooo" if has_egress else "xxx", second - 4), now=second, control=UP)
        pointed += [each.target for each in writes(plan) if isinstance(each, PointRoute) and each.destination == CANARY]
    return pointed


def beside_two_nats() -> World:
    """The traffic is on the standby, and two NATs of the group's own run."""
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public="198.51.100.7"))
    world.add(nat("a", number=2, public="198.51.100.8", launched=-60)).change("i-a", public="198.51.100.9")
    world.network = _with_own_address_on(world, "eni-as", "10.0.0.111")
    world.route("rtb-a", "eni-as").remember(
        target="eni-as",
        proofs=(),
        repair=Repair("r", 1, at(-60), is_launched=True, is_accepted=True),
    )
    return world


def test_without_egress_several_nats_have_the_canary_in_turn() -> None:
    assert canaries(beside_two_nats()) in (["eni-a", "eni-a2"] * 2, ["eni-a2", "eni-a"] * 2)


@pytest.mark.parametrize("changes", [{"state": STOPPED}, {"interruption_at": at(300)}])
def test_one_that_does_not_run_or_will_be_stopped_has_no_turn(changes: dict[str, object]) -> None:
    assert canaries(beside_two_nats().change("i-a", **changes)) == ["eni-a2"] * 4


def test_with_egress_the_newest_has_the_canary_to_itself() -> None:
    assert canaries(beside_two_nats(), has_egress=True) == ["eni-a2"] * 4


def booting(**changes: object) -> World:
    """The traffic is on a replacement that still boots; the NAT that was left runs."""
    world = resting("a").change("i-a", public="198.51.100.9", **changes).add(nat("a", number=2, launched=-60))
    world.network = _with_own_address_on(world, "eni-a2", "10.0.0.20")
    world.route("rtb-a", "eni-a2").remember(
        target="eni-a2",
        moved_at=at(-30),
        proofs=(),
        exclusions=(Exclusion("eni-a", at(60)),),
        repair=Repair("r", 1, at(-60), is_launched=True, is_accepted=True),
    )
    return world


def test_while_a_last_resort_boots_the_one_that_was_left_is_asked_and_not_given_up() -> None:
    down = report("xxx", -4)
    plan = booting().decide(down, control=UP)
    assert writes(plan) == [PointRoute("rtb-a", CANARY, "eni-a", is_missing=True)]
    assert "asking i-a meanwhile" in plan.detail
    known = Canary("eni-a", at(-9000), addressed_at=at(-9000))
    world = booting().route("rtb-a", "eni-a", CANARY).remember(canary=known)
    assert writes(world.decide(down, control=UP)) == []


def test_its_check_is_turned_off_first() -> None:
    plan = booting(checked=True).decide(report("xxx", -4), control=UP)
    assert writes(plan) == [DisableSourceDestCheck("eni-a")]


@pytest.mark.parametrize("changes", [{"interface": None}, {"state": STOPPED}])
def test_one_that_cannot_be_asked_is_not(changes: dict[str, object]) -> None:
    assert writes(booting(**changes).decide(report("xxx", -4), control=UP)) == []


def test_without_a_canary_address_the_others_are_tried_because_nobody_can_ask_them() -> None:
    world = booting()
    world.policy = replace(world.policy, canary=None)
    assert writes(world.decide(report("xxx", -4), control=UP)) == []
    tried = world.remember(exclusions=()).decide(report("xxx", -4), control=UP)
    assert (tried.reason, tried.memory.target) == (Reason.LAST_RESORT, "eni-a")
    asked = booting().remember(exclusions=()).decide(report("xxx", -4), control=UP)
    assert (asked.reason, asked.memory.target) == (Reason.NO_CANDIDATE, "eni-a2")


# -- room


def test_a_failed_replacement_goes_before_the_next_is_launched() -> None:
    world = away().add(nat("a", number=2, public="198.51.100.8", launched=-600)).route("rtb-a", "eni-a2", CANARY)
    world.remember(
        canary=Canary("eni-a2", at(-590), addressed_at=at(-590)),
        repair=Repair("r", 1, at(-600), is_launched=True, is_accepted=True, instance_type="t4g.nano"),
    )
    plan = world.step()
    assert writes(plan) == [TerminateInstance("i-a2")]
    assert plan.wake_at is not None
    (launch,) = writes(world.step(now=1))
    assert isinstance(launch, LaunchInstance)
    assert launch.instance_type == "t4g.micro"


def test_what_carries_somebodys_traffic_or_was_proven_is_no_failed_one() -> None:
    world = away().add(nat("a", number=2, launched=-600))
    assert is_full(view(world))
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.instance_id == "i-a2"
    world.remember(proofs=proofs("eni-a2", "eni-a"))
    assert failed_one(view(world), Role.NAT) is None
    world.remember(proofs=()).remember("b", target="eni-a2")
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.instance_id == "i-a"


def test_an_old_proof_keeps_nobody() -> None:
    world = away().add(nat("a", number=2, launched=-600)).remember("b", target="eni-a")
    world.remember(proofs=proofs("eni-a2", age=120))
    assert failed_one(view(world), Role.NAT) is None
    world.remember(proofs=proofs("eni-a2", age=120.001))
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.instance_id == "i-a2"


def test_one_without_an_interface_may_go() -> None:
    world = away().add(nat("a", PENDING, number=2, launched=-600)).change("i-a2", interface=None)
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.instance_id == "i-a2"


def test_of_the_role_that_is_wanted_first_then_of_the_other() -> None:
    world = resting("a", standby=StandbyMode.RUNNING)
    world.add(nat("a", role=Role.STANDBY, public=None), nat("a", role=Role.STANDBY, number=2, public=None, launched=-9))
    assert is_full(view(world))
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.role is Role.STANDBY
    world.add(nat("a", number=2, launched=-9))
    found = failed_one(view(world), Role.NAT)
    assert found is not None
    assert found.instance_id == "i-a2"


def test_one_more_than_wanted_is_room() -> None:
    assert not is_full(view(resting("a")))
    standby = resting("a", standby=StandbyMode.RUNNING)
    assert not is_full(view(standby.add(nat("a", role=Role.STANDBY, public=None))))
    assert is_full(view(resting("a").add(nat("a", role=Role.STANDBY, public=None))))


def test_a_launch_that_no_look_has_shown_takes_room() -> None:
    coming = Repair("r", 1, at(-5), is_launched=True, is_accepted=True)
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", number=2, launched=-60))
    assert not is_full(view(world))
    assert is_full(view(world.remember(standby_repair=coming)))
    assert not is_full(view(world.add(nat("a", number=2, launched=-5)).remember(repair=coming, standby_repair=None)))


def test_where_nothing_may_go_the_launch_waits() -> None:
    """A standby that the user does not want any more carries the traffic."""
    world = (
        resting("a").add(nat("a", role=Role.STANDBY, public=None)).change("i-a", state=PENDING, launched_at=at(-900))
    )
    world.route("rtb-a", "eni-as").remember(target="eni-as", proofs=proofs("eni-as"), repair=Repair("r", 1, at(-900)))
    world.network = _with_own_address_on(world, "eni-as", "10.0.0.111")
    plan = world.decide()
    assert (plan.reason, writes(plan)) == (Reason.HEALING, [])
    assert "waiting until there is room" in plan.detail


def test_a_launch_is_unseen_until_an_instance_of_its_time_is_there() -> None:
    memory = resting("a").memories["a"]
    assert not is_unseen(memory, Role.NAT, (), at(0))
    coming = replace(memory, repair=Repair("r", 1, at(-5), is_launched=True, is_accepted=True))
    assert is_unseen(coming, Role.NAT, (nat("a"),), at(0))
    assert not is_unseen(coming, Role.NAT, (nat("a", launched=-6),), at(0))
    assert is_unseen(coming, Role.NAT, (nat("a", launched=-7.5),), at(0))
    assert not is_unseen(coming, Role.NAT, (nat("a", launched=-7),), at(0)), "EC2 dates it in whole seconds"
    assert not is_unseen(coming, Role.NAT, (), at(115))
    assert not may_still_appear(Repair("r", 1, at(0)), at(1))


@pytest.mark.parametrize(("launched", "outstanding"), [(-7.001, True), (-7, False), (-4, False)])
def test_a_launch_that_nobody_heard_of_is_outstanding_until_an_instance_of_its_time_is_there(
    launched: float, outstanding: bool
) -> None:
    asked = Repair("r", 1, at(-5), is_launched=True)
    assert is_outstanding(asked, (nat("a", launched=launched),)) is outstanding


# -- the next type, and quotas


@pytest.mark.parametrize(
    ("last", "is_accepted", "wanted"),
    [
        ("t4g.nano", True, "t4g.micro"),
        ("t4g.micro", True, "t4g.nano"),
        ("t4g.nano", False, "t4g.nano"),
        ("t3.nano", True, "t4g.nano"),
    ],
)
def test_after_a_boot_that_never_proved_itself_the_next_type_is_asked_for(
    last: str, is_accepted: bool, wanted: str
) -> None:
    repair = Repair("r", 1, at(0), is_launched=True, is_accepted=is_accepted, instance_type=last)
    assert type_after(repair, ("t4g.nano", "t4g.micro")) == wanted


def over_quota(**fields: object) -> World:
    """The own NAT hangs, traffic is elsewhere, and the account's quota refused its replacement."""
    world = away().change("i-a", state=RUNNING, public="198.51.100.7", launched_at=at(-9000))
    world.route("rtb-a", "eni-a", CANARY)
    known = {"is_launched": True, "refused_at": at(-5), "refusals": 1, "is_short": True, "is_quota": True, **fields}
    repair = Repair("r", 1, at(-5), instance_type="t4g.micro", **known)  # type: ignore[arg-type]
    return world.remember(canary=Canary("eni-a", at(-9000), addressed_at=at(-9000)), repair=repair)


def test_a_hung_nat_makes_room_for_the_replacement_that_does_not_fit() -> None:
    world = over_quota()
    world.change("i-a", launched_at=at(-9000)).remember(canary=Canary("eni-a", at(-9000), addressed_at=at(-9000)))
    world.remember(repair=Repair("r", 1, at(-600), **_QUOTA))
    plan = world.step()
    assert writes(plan) == [StopInstance("i-a")]
    assert "quota" in plan.detail
    world.change("i-a", state=STOPPED)
    assert [type(each) for each in writes(world.step(now=60))] == [LaunchInstance], "and not started again"


_QUOTA: dict[str, object] = {
    "is_launched": True,
    "refused_at": at(-5),
    "refusals": 1,
    "is_short": True,
    "is_quota": True,
    "instance_type": "t4g.micro",
}


def test_one_that_was_stopped_for_it_is_not_started_again_within_its_time_either() -> None:
    world = over_quota().change("i-a", state=STOPPED).remember(repair=Repair("r", 1, at(-60), **_QUOTA))  # type: ignore[arg-type]
    assert [type(each) for each in writes(world.decide(now=30))] == [LaunchInstance]
    world.remember(repair=Repair("r", 1, at(-60)))
    assert [type(each) for each in writes(world.decide(now=30))] == [StartInstance]


@pytest.mark.parametrize(
    "changes",
    [
        {"is_quota": False},
        {"proofs": ()},
        {"proofs": proofs("eni-b", "eni-a", age=130)},
        {"target": "eni-a"},
    ],
)
def test_nothing_is_stopped_otherwise(changes: dict[str, object]) -> None:
    world = over_quota().remember(repair=Repair("r", 1, at(-600), **{**_QUOTA, "is_quota": "is_quota" not in changes}))
    world.remember(**{name: each for name, each in changes.items() if name != "is_quota"})
    assert StopInstance("i-a") not in writes(world.decide())


def test_which_refusal_was_a_quotas_is_remembered_until_the_next_answer() -> None:
    world = over_quota()
    memory = refused(world.memories["a"], Role.NAT, at(0), is_short=True, is_quota=True)
    assert memory.repair is not None
    assert memory.repair.is_quota
    memory = refused(memory, Role.NAT, at(1), is_short=True)
    assert memory.repair is not None
    assert not memory.repair.is_quota


def test_the_limits_are_those_that_the_documentation_tells() -> None:
    policy = resting("a").policy
    assert (policy.boot_limit, policy.start_limit, policy.address_limit) == (secs(450), secs(240), secs(30))
    assert (policy.address_arrival, policy.propagation) == (secs(11), secs(1))


# -- what is said and remembered of launches


def test_an_answer_to_a_launch_forgets_the_quota_that_refused_the_one_before() -> None:
    world = over_quota()
    memory = accepted(world.memories["a"], Role.NAT)
    assert memory.repair is not None
    assert memory.repair.is_quota is False


def test_of_three_types_the_next_one_is_asked_for() -> None:
    types = ("t4g.nano", "t4g.micro", "t4g.small")
    repair = Repair("r", 1, at(0), is_launched=True, is_accepted=True, instance_type="t4g.nano")
    assert type_after(repair, types) == "t4g.micro"


def test_a_table_that_still_leads_there_forgets_since_when_it_had_an_address() -> None:
    world = away("ab", tables=2, proving=SPARE).change("i-a", state=RUNNING, public=None).route("rtb-a2", "eni-a")
    world.remember(canary=Canary("eni-a", at(-60), addressed_at=at(-50)))
    world.route("rtb-a", "eni-a", CANARY).route("rtb-a2", "eni-a", CANARY)
    plan = lending(world).decide()
    assert plan.memory.canary is not None
    assert plan.memory.canary.addressed_at is None


def test_asking_again_forgets_since_when_it_had_an_address() -> None:
    world = without_address(canary=Canary("eni-a", at(-60), addressed_at=at(-50), asked_at=at(-55)))
    world.route("rtb-a", "eni-a", CANARY)
    plan = world.decide()
    assert plan.memory.canary == Canary("eni-a", at(-60), asked_at=at(0))


def test_a_standby_for_which_nothing_was_asked_is_not_remembered_to_have_been() -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public=None))
    plan = world.decide()
    assert plan.memory.canary is not None
    assert plan.memory.canary.asked_at is None


def test_a_group_of_which_nothing_is_known_lends_nothing() -> None:
    world = lending(without_address("abc"), "eni-c", "10.0.0.90")
    del world.memories["c"]
    assert LENT in writes(world.decide())


def test_a_nat_that_packets_went_through_once_is_not_stopped_for_a_quota() -> None:
    world = over_quota().remember(repair=Repair("r", 1, at(-600), **_QUOTA))  # type: ignore[arg-type]
    world.remember(proofs=(*proofs("eni-b"), *proofs("eni-a", age=130)))
    assert StopInstance("i-a") not in writes(world.decide())


def test_a_nat_that_carries_another_group_is_not_stopped_for_a_quota() -> None:
    world = over_quota().remember(repair=Repair("r", 1, at(-600), **_QUOTA))  # type: ignore[arg-type]
    assert StopInstance("i-a") in writes(world.decide())
    assert StopInstance("i-a") not in writes(world.remember("b", target="eni-a").decide())


def test_what_goes_for_the_next_launch_is_said() -> None:
    world = away().add(nat("a", number=2, public="198.51.100.8", launched=-600)).route("rtb-a", "eni-a2", CANARY)
    world.remember(
        canary=Canary("eni-a2", at(-590), addressed_at=at(-590)),
        repair=Repair("r", 1, at(-600), is_launched=True, is_accepted=True, instance_type="t4g.nano"),
    )
    text = "i-a2 does not forward; i-a2 carries nothing and was never proven; it goes before another is launched"
    assert world.decide().detail == text


def test_of_two_roles_with_too_many_the_wanted_ones_goes() -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", number=2, launched=-9, public=None))
    silent = [nat("a", role=Role.STANDBY, number=number, public=None, launched=-9000 + number) for number in (1, 2)]
    found = failed_one(view(world.add(*silent)), Role.STANDBY)
    assert found is not None
    assert found.role is Role.STANDBY
    assert launch(view(world), Role.STANDBY).stages == ((TerminateInstance(found.instance_id),),)
    assert launch(view(world), Role.NAT).stages == ((TerminateInstance("i-a2"),),)


def test_a_launch_of_the_own_nats_that_no_look_has_shown_takes_room_too() -> None:
    coming = Repair("r", 1, at(-5), is_launched=True, is_accepted=True)
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public=None))
    assert not is_full(view(world))
    assert is_full(view(world.remember(repair=coming)))


def test_asking_meanwhile_says_so_each_time() -> None:
    down = report("xxx", -4)
    said = "waiting for the newest NAT, which may still be booting; asking i-a meanwhile"
    for world in (booting(), booting(checked=True)):
        assert world.decide(down, control=UP).detail.endswith(said)
    known = Canary("eni-a", at(-9000), addressed_at=at(-9000))
    plan = booting().route("rtb-a", "eni-a", CANARY).remember(canary=known).decide(down, control=UP)
    assert plan.detail.endswith(said)
    assert not [stage for stage in plan.stages if not stage]
    mute = booting()
    mute.policy = replace(mute.policy, canary=None)
    assert mute.decide(down, control=UP).detail.endswith(said)
    assert writes(mute.decide(down, control=UP)) == []


@pytest.mark.parametrize(("age", "reason"), [(449.999, Reason.NO_CANDIDATE), (450, Reason.LAST_RESORT)])
def test_another_is_tried_as_soon_as_the_one_that_boots_has_had_its_time(age: float, reason: Reason) -> None:
    world = booting().change("i-a2", launched_at=at(-age)).remember(exclusions=())
    assert world.decide(report("xxx", -4), control=UP).reason is reason


@pytest.mark.parametrize(("age", "is_replaced"), [(450, False), (450.001, True)])
def test_a_standby_is_silent_only_after_its_time(age: float, is_replaced: bool) -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public="198.51.100.8"))
    world.route("rtb-a", "eni-as", CANARY)
    world.remember(canary=Canary("eni-as", at(-9000), addressed_at=at(-9000), failed_since=at(-age)))
    assert bool([each for each in writes(world.decide()) if isinstance(each, LaunchInstance)]) is is_replaced


@pytest.mark.parametrize(("age", "is_replaced"), [(30, False), (30.001, True)])
def test_a_standby_that_has_had_its_address_for_a_moment_is_not_silent(age: float, is_replaced: bool) -> None:
    world = resting("a", standby=StandbyMode.RUNNING).add(nat("a", role=Role.STANDBY, public="198.51.100.8"))
    world.route("rtb-a", "eni-as", CANARY)
    world.remember(canary=Canary("eni-as", at(-9000), addressed_at=at(-age), failed_since=at(-9000)))
    assert bool([each for each in writes(world.decide()) if isinstance(each, LaunchInstance)]) is is_replaced


@pytest.mark.parametrize(("age", "is_replaced"), [(450, False), (450.001, True)])
def test_a_standby_is_stuck_only_after_its_time(age: float, is_replaced: bool) -> None:
    stuck = nat("a", PENDING, role=Role.STANDBY, public=None, launched=-age)
    world = resting("a", standby=StandbyMode.RUNNING).add(stuck)
    assert bool([each for each in writes(world.decide()) if isinstance(each, LaunchInstance)]) is is_replaced
