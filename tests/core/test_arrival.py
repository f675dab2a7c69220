"""An Elastic IP that is slow to follow: what is waited for, what is not, and what is measured of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper.core.arrival import as_address_answered, as_got_through, is_under_way, settled_at, speaking
from natkeeper.core.incident import AddressMove, Cause, Memory
from natkeeper.core.model import Role
from natkeeper.core.news import Command, Verb
from natkeeper.core.plan import AddressArrived, IncidentClosed, Plan, Reason
from natkeeper.core.policy import Policy, ProvingAddress, StandbyMode
from tests.support.worlds import (
    CANARY,
    RUNNING,
    STOPPED,
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
    secs,
    verified,
)

RULES = Policy("s", ())


def moved(zones: str = "ab", **remembered: object) -> World:
    """Group a's NAT stopped, and its traffic has just been moved to b's."""
    world = resting(zones).change("i-a", state=STOPPED)
    world.step()
    return world.remember(**remembered) if remembered else world


def arrivals(plan: Plan) -> list[AddressArrived]:
    return [each for each in plan.happenings if isinstance(each, AddressArrived)]


# -- waiting


@pytest.mark.parametrize("second", [3, 6, 10.9])
def test_packets_lost_while_the_address_may_be_under_way_condemn_nothing(second: float) -> None:
    world = moved("abc")
    plan = world.step(report("xxx", second - 2, canary="ooo"), now=second + 1)
    assert (plan.memory.is_down, plan.memory.target, plan.memory.exclusions) == (False, "eni-b", ())
    assert plan.memory.stable_since is None
    assert len(plan.memory.failovers) == 1


def test_meanwhile_healing_goes_on_and_what_is_waited_for_is_said() -> None:
    world = moved()
    assert world.decide(verified("xxx", 0.5, canary="ooo"), now=3).reason is Reason.HEALING
    world.change("i-a", state=STOPPED, interface=None)
    quiet = resting("ab", canary=None)
    quiet.remember(
        target="eni-b", moved_at=at(0), address_move=AddressMove("eni-b", at(0), at(0)), proofs=(), recent=()
    )
    quiet.route("rtb-a", "eni-b")
    plan = quiet.decide(verified("xxx", 0.5), now=3)
    assert plan.reason is Reason.CONVERGE, "the Elastic IP is not where it belongs"
    quiet.network = moved().network
    plan = quiet.decide(verified("xxx", 0.5), now=3)
    assert plan.reason is Reason.AWAITING_ADDRESS
    assert plan.detail == "the Elastic IP may be on its way to eni-b until 12:00:11"
    quiet.remember(recent=rounds("xo", -2))
    assert quiet.decide(now=3).reason is not Reason.AWAITING_ADDRESS, "as far as anybody knows nothing is lost"
    assert quiet.decide(verified("xxx", 0.5), now=11).reason is Reason.AWAITING_ADDRESS
    assert quiet.decide(verified("xxx", 0.5), now=11.001).reason is not Reason.AWAITING_ADDRESS


def test_once_it_must_have_come_lost_packets_are_the_paths() -> None:
    world = moved("abc")
    world.remember("c", proofs=proofs("eni-c", now=14))
    plan = world.step(report("xxx", 11.001, canary="ooo"), now=14, control=UP)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-c")
    assert plan.memory.is_excluded("eni-b", at(14))


def test_rounds_of_before_do_not_count_beside_those_of_after() -> None:
    world = moved("abc")
    assert not world.decide(report("xxx", 9.5, canary="ooo"), now=13).memory.is_down
    assert not world.decide(report("xxxx", 9.5, canary="oooo"), now=14).memory.is_down
    assert world.decide(report("xxxxx", 9.5, canary="ooooo"), now=15).memory.is_down


def test_a_canary_from_another_address_of_the_nat_that_fails_too_condemns_it_at_once() -> None:
    world = moved("abc")
    plan = world.step(verified("xxxx", canary="xxxx"), now=3)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-c")


@pytest.mark.parametrize("canary", ["xx", "oxxo", "xxo"])
def test_a_canary_that_did_not_lose_as_many_in_a_row_condemns_nothing(canary: str) -> None:
    assert not moved("abc").decide(verified("xxxx", canary=canary), now=3).memory.is_down


def test_a_canary_of_before_the_move_says_nothing_of_it() -> None:
    world = moved("abc")
    assert not world.decide(verified("xxxx", -0.7, canary="xxxx"), now=3).memory.is_down
    assert not world.decide(verified("xxxx", 0, canary="xxx"), now=3).memory.is_down


def test_a_canary_that_never_passed_there_condemns_nothing() -> None:
    """Its own address may be out of reach."""
    world = moved("abc", proofs=())
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down
    world = moved("abc")
    canary = world.memories["a"].canary
    assert canary is not None
    world.remember(canary=replace(canary, failed_since=at(-9)))
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down


@pytest.mark.parametrize("changes", [{"public": None}, {"interface": None}])
def test_a_canary_that_has_lost_the_address_it_leaves_from_condemns_nothing(changes: dict[str, object]) -> None:
    """The group whose NAT it is has left it in the same seconds, and taken its Elastic IP along."""
    plan = moved("abc").change("i-b", **changes).decide(verified("xxxx", canary="xxxx"), now=3)
    assert not plan.memory.is_down
    assert plan.memory.address_move == AddressMove("eni-b", at(0), at(0), has_canary_of_its_own=False)


def test_a_canary_whose_own_address_is_under_way_condemns_nothing() -> None:
    """The group whose NAT it is came home a moment ago, or proves it with an address that was lent a moment ago."""
    world = moved("abc").remember("b", address_move=AddressMove("eni-b", at(0), at(0)))
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down
    world = moved("abc").change("i-b", public="203.0.113.99")
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down


@pytest.mark.parametrize(("public", "is_apart"), [("198.51.100.7", True), (None, False), ("203.0.113.99", False)])
def test_a_standbys_canary_tells_unless_its_address_is_the_one_that_is_lent(public: str | None, is_apart: bool) -> None:
    spare = ProvingAddress("eip-spare", "203.0.113.99")
    for proving in (spare, None):
        world = resting("a", standby=StandbyMode.RUNNING, proving=proving)
        world.add(nat("a", role=Role.STANDBY, public=public)).change("i-a", state=STOPPED)
        world.remember(proofs=proofs("eni-as"))
        asked = world.decide().memory.address_move
        assert asked is not None
        assert asked.has_canary_of_its_own is (is_apart or (proving is None and public is not None))


def test_a_canary_that_points_elsewhere_condemns_nothing() -> None:
    world = moved("abc")
    canary = world.memories["a"].canary
    assert canary is not None
    world.remember(canary=replace(canary, target="eni-c")).route("rtb-a", "eni-c", CANARY)
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down
    world.remember(canary=None)
    assert not world.decide(verified("xxxx", canary="xxxx"), now=3).memory.is_down


def test_at_home_the_canary_leaves_from_the_address_that_is_waited_for() -> None:
    """So its silence says no more than the rounds'."""
    world = resting("ab").decide(Command(Verb.FAILOVER, "a"))
    assert world.memory.address_move == AddressMove("eni-b", at(0), has_canary_of_its_own=True)
    home = resting("ab").change("i-a", public=None).remember(target="eni-b", stable_since=at(-600))
    home.route("rtb-a", "eni-b").remember(proofs=proofs("eni-b", "eni-a"))
    move = home.decide(Command(Verb.SWITCHOVER, "a", to="home")).memory.address_move
    assert move is None or not move.has_canary_of_its_own
    old = away("ab").change("i-a", state=RUNNING, public="203.0.113.1").remember(proofs=proofs("eni-a", "eni-b"))
    move = old.decide(Command(Verb.SWITCHOVER, "a", to="home")).memory.address_move
    assert move == AddressMove("eni-a", at(0)), "whatever an old look shows of where it is"


def test_an_address_that_no_move_left_anywhere_new_is_not_under_way() -> None:
    assert resting("ab").remember(target=None).decide().memory.address_move is None
    leaving = resting("a", gateway="nat-1").change("i-a", state=STOPPED).decide()
    assert (leaving.memory.target, leaving.memory.address_move) == ("nat-1", None)


def test_a_nat_that_its_own_group_loses_too_is_dead_whatever_the_address_does() -> None:
    world = moved("abc")
    world.remember("b", is_down=True, down_at=at(2), proofs=())
    plan = world.step(verified("xxx", 0.5, canary="ooo"), now=3)
    assert (plan.reason, plan.memory.target) == (Reason.FAIL_OVER, "eni-c")


@pytest.mark.parametrize(
    "theirs",
    [{"is_down": False}, {"is_down": True, "target": "eni-c"}, {"is_down": True, "down_at": at(0)}],
)
def test_what_its_own_group_loses_elsewhere_says_nothing(theirs: dict[str, object]) -> None:
    world = moved("abc")
    world.remember("b", **{"down_at": at(2), **theirs})
    assert world.step(verified("xxx", 0.5, canary="ooo"), now=3).memory.target == "eni-b"


@pytest.mark.parametrize(
    ("pattern", "remembered", "heard_at", "target"),
    [
        ("oox", {}, 2, "eni-c"),
        ("xxo", {}, 2, "eni-b"),
        ("", {}, 2, "eni-b"),
        ("oox", {"address_move": None}, 2, "eni-b"),
        ("oox", {"moved_at": None}, 2, "eni-b"),
        ("oox", {}, None, "eni-b"),
    ],
)
def test_both_lose_packets_there_now_and_the_address_is_under_way_or_it_is_no_evidence(
    pattern: str, remembered: dict[str, object], heard_at: float | None, target: str
) -> None:
    world = moved("abc", recent=rounds(pattern, 0.1, 0.9), **remembered)
    world.remember("b", is_down=True, down_at=None if heard_at is None else at(heard_at), proofs=())
    assert world.decide(now=3, control=UP).memory.target == target


def test_its_own_groups_loss_is_no_evidence_once_packets_got_through_or_have_not_been_lost() -> None:
    world = moved("abc")
    world.remember("b", is_down=True, down_at=at(2))
    assert world.step(verified("oo", 0.5), now=3).memory.target == "eni-b"
    late = moved("abc").remember("b", is_down=True, down_at=at(12))
    assert late.decide(now=12).reason is not Reason.FAIL_OVER


def test_a_planned_move_is_not_rolled_back_while_its_address_is_under_way() -> None:
    world = resting("ab").change("i-a")
    world.step(Command(Verb.FAILOVER, "a"))
    plan = world.step(report("xxxxx", 1, canary="ooooo"), now=6)
    assert plan.memory.target == "eni-b"
    assert plan.memory.incident is not None
    assert plan.memory.incident.cause is Cause.PLANNED_MOVE


def test_a_refused_call_is_not_waited_for() -> None:
    memory = Memory(target="eni-b", address_move=AddressMove("eni-b", at(0)))
    assert as_address_answered(memory, at(1), is_refused=True).address_move is None
    answered = as_address_answered(memory, at(1), is_refused=False)
    assert answered.address_move == AddressMove("eni-b", at(0), at(1))
    assert as_address_answered(Memory(), at(1), is_refused=False) == Memory()


def test_an_answer_that_nobody_heard_is_given_the_time_of_its_attempts() -> None:
    asked = Memory(target="eni-b", address_move=AddressMove("eni-b", at(0)))
    assert settled_at(asked, RULES) == at(23)
    assert settled_at(as_address_answered(asked, at(1), is_refused=False), RULES) == at(12)
    assert settled_at(replace(asked, target="eni-c"), RULES) is None
    assert settled_at(Memory(target="eni-b"), RULES) is None


@pytest.mark.parametrize(("now", "is_waiting"), [(11, True), (11.001, False)])
def test_it_is_waited_for_until_it_must_have_come(now: float, is_waiting: bool) -> None:
    memory = Memory(target="eni-b", address_move=AddressMove("eni-b", at(-1), at(0)))
    assert is_under_way(memory, at(now), RULES) is is_waiting
    through = replace(memory, address_move=AddressMove("eni-b", at(-1), at(0), through_at=at(1)))
    assert not is_under_way(through, at(now), RULES)
    assert not is_under_way(Memory(target="eni-b"), at(now), RULES)


def test_rounds_that_went_by_a_route_of_before_do_not_speak() -> None:
    lost = rounds("xxx", 1)
    assert speaking(Memory(), lost, RULES) == lost
    assert speaking(Memory(led_since=at(2)), lost, RULES) == lost[2:]


# -- measuring


def test_how_long_it_took_is_told_once_and_kept_with_the_incident() -> None:
    world = moved()
    told = []
    told += arrivals(world.step(report("xxxoo", 0.5, run_id="watch-a"), now=5))
    told += arrivals(world.step(report("ooo", 5.5), now=9))
    assert told == [AddressArrived(secs(3.5))]
    memory = world.memories["a"]
    assert (memory.address_move, memory.address_took) == (None, secs(3.5))


def test_the_incident_that_closes_knows_it() -> None:
    world = moved()
    happened = list(world.step(report("xxxoo", 0.5, run_id="watch-a"), now=5).happenings)
    for second in range(30, 300, 30):
        happened += world.step(now=second).happenings
    (over,) = [each for each in happened if isinstance(each, IncidentClosed)]
    assert over.incident.address_took == secs(3.5)


def test_what_got_through_before_the_route_had_propagated_may_have_gone_the_old_way() -> None:
    world = moved()
    first = world.step(verified("oo", 0.2), now=0.5)
    assert arrivals(first) == []
    assert first.memory.address_move is not None
    assert first.memory.address_move.through_at == at(0.2)
    lost = world.step(report("xx", 1, run_id="one"), now=3)
    assert lost.memory.address_move is not None
    assert lost.memory.address_move.through_at is None
    assert arrivals(world.step(report("oo", 4), now=6)) == [AddressArrived(secs(4))]


def test_the_same_time_twice_is_told_twice() -> None:
    world = moved()
    assert arrivals(world.step(report("oo", 2), now=4)) == [AddressArrived(secs(2))]
    world.remember(address_move=AddressMove("eni-b", at(10), at(10)), address_took=None)
    assert arrivals(world.step(report("oo", 12), now=14)) == [AddressArrived(secs(2))]


def test_rounds_of_before_the_answer_measure_nothing() -> None:
    memory = Memory(target="eni-b", address_move=AddressMove("eni-b", at(0), at(5)))
    assert as_got_through(memory, rounds("oo", 1), RULES) is memory
    other = replace(memory, target="eni-c")
    assert as_got_through(other, rounds("oo", 6), RULES) is other
    assert as_got_through(Memory(), rounds("oo", 6), RULES) == Memory()


def test_an_unanswered_call_is_measured_from_when_it_was_asked() -> None:
    memory = Memory(target="eni-b", address_move=AddressMove("eni-b", at(0)))
    assert as_got_through(memory, rounds("oo", 2), RULES).address_took == secs(2)


def test_the_first_measure_of_an_incident_stays() -> None:
    known = incident(address_took=secs(3.5))
    again = Memory(target="eni-b", address_move=AddressMove("eni-b", at(10), at(10)), incident=known)
    found = as_got_through(again, rounds("oo", 16), RULES)
    assert found.address_took == secs(6)
    assert found.incident is not None
    assert found.incident.address_took == secs(3.5)


# -- what is remembered of it


def test_packets_that_got_through_are_remembered_so_that_a_later_loss_excludes_nobody() -> None:
    world = moved("abc")
    assert world.memories["a"].has_carried is False
    assert world.step(verified("oo", 0.5), now=2).memory.has_carried is True
    lost = world.decide(report("xxx", 20), now=24)
    assert (lost.memory.is_down, lost.memory.exclusions) == (True, ())


def test_lost_rounds_end_the_quiet_only_where_they_are_enough() -> None:
    world = moved("abc")
    stable = world.step(verified("oo", 0.5), now=2).memory.stable_since
    assert stable == at(0.5)
    assert world.decide(report("oox", 2, canary="ooo"), now=5).memory.stable_since == stable
    assert world.decide(report("xx", 2.5, canary="oo"), now=5).memory.stable_since == stable
    again = moved("abc")
    again.remember(stable_since=at(0.4))
    assert again.decide(report("xxx", 2.5, canary="ooo"), now=6).memory.stable_since is None


def test_a_path_that_is_condemned_waits_for_no_address_any_more() -> None:
    assert moved("abc").decide(report("xxx", 11.5), now=15).memory.address_move is None


def test_a_group_without_an_address_of_its_own_on_the_nat_has_no_canary_of_its_own_either() -> None:
    """The canary leaves from the primary address, as the group's packets do at home."""
    world = resting("ab").change("i-a", public=None).remember(target="eni-b", moved_at=at(-600), has_carried=True)
    world.route("rtb-a", "eni-b").remember(proofs=proofs("eni-b", "eni-a"))
    world.network = replace(
        world.seen,
        addresses={
            **world.seen.addresses,
            "eip-a": replace(world.seen.addresses["eip-a"], interface_id="eni-b", private="10.0.0.51"),
        },
    )
    asked = world.decide(Command(Verb.SWITCHOVER, "a", to="home")).memory.address_move
    assert asked == AddressMove("eni-a", at(0), has_canary_of_its_own=False)


def test_a_new_move_forgets_what_the_last_one_took() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember(address_took=secs(4))
    assert world.decide().memory.address_took is None
    assert moved().memories["a"].moving("eni-c", at(9)).address_move is None


def test_a_neighbour_of_whom_nothing_is_known_may_have_a_canary_of_its_own() -> None:
    world = resting("ab").change("i-a", state=STOPPED)
    del world.memories["b"]
    asked = world.decide().memory.address_move
    assert asked is not None
    assert asked.has_canary_of_its_own


def test_a_round_of_the_very_instant_of_the_answer_counts() -> None:
    memory = Memory(target="eni-b", address_move=AddressMove("eni-b", at(0), at(1)))
    assert as_got_through(memory, rounds("oo", 1), RULES).address_took == secs(0)


def test_a_canarys_round_of_the_very_instant_of_the_move_does_not() -> None:
    assert not moved("abc").decide(verified("xxx", 0, canary="xxx"), now=3).memory.is_down


def test_a_failover_is_led_where_it_goes_at_once_and_every_other_move_a_second_later() -> None:
    assert moved().memories["a"].led_since == at(0)
    world = resting("ab")
    world.step(Command(Verb.FAILOVER, "a"))
    assert world.memories["a"].led_since == at(1)
    last = resting("ab").change("i-a", state=STOPPED).remember(proofs=()).remember("b", proofs=())
    assert last.step().reason is Reason.LAST_RESORT
    assert last.memories["a"].led_since == at(1)


def test_tables_that_are_put_back_take_back_what_was_said_of_the_path() -> None:
    world = resting("ab", tables=2).route("rtb-a2", "eni-b")
    plan = world.decide(report("xxx", -4), control=UP)
    assert plan.reason is Reason.CONVERGE
    assert plan.memory.is_down is False


# -- found on its way


def found_there(elastic: str | None = "eni-b") -> World:
    """A pass without a ledger moved group a to b's NAT, so the memory still names its own, which has stopped."""
    world = moved("abc")
    world.remember(target="eni-a", moved_at=None, address_move=None, failovers=(), incident=None)
    if elastic is None:
        address = replace(world.seen.addresses["eip-a"], interface_id=None, private=None)
        world.network = replace(world.seen, addresses={**world.seen.addresses, "eip-a": address})
    world.step(now=2)
    return world


def test_an_address_that_is_found_on_the_new_path_may_be_on_its_way_like_any_other() -> None:
    world = found_there()
    move = world.memories["a"].address_move
    assert move == AddressMove("eni-b", at(2), at(2), has_canary_of_its_own=True, is_found=True)
    plan = world.step(report("xxx", 3), now=6)
    assert (plan.memory.is_down, plan.memory.target) == (False, "eni-b")
    plan = world.step(report("xxx", 14, run_id="later"), now=17)
    assert plan.memory.target != "eni-b"


def test_what_aws_took_to_bring_an_address_that_was_found_is_not_told() -> None:
    plan = found_there().step(report("ooo", 4), now=7)
    assert (plan.memory.address_move, plan.memory.address_took) == (None, None)
    assert arrivals(plan) == []


def test_an_address_that_is_on_nothing_is_asked_for_and_not_found() -> None:
    move = found_there(elastic=None).memories["a"].address_move
    assert move is not None
    assert (move.target, move.is_found) == ("eni-b", False)
