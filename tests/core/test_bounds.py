"""What a memory says of the future is not believed: nothing in the ledger locks a group for longer than a lease."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from datetime import datetime
from typing import Any, get_args, get_type_hints

import pytest

from natkeeper.core.bounds import _PARTS, LEASE, LONGEST_PAUSE, REACHED, SPACED, bounded
from natkeeper.core.downtime import Disturbance
from natkeeper.core.incident import (
    AddressMove,
    BackOff,
    Canary,
    Cause,
    Exclusion,
    Incident,
    Memory,
    Proof,
    Repair,
    Unsupported,
    WatchRun,
)
from natkeeper.core.launches import backed_off
from natkeeper.core.news import Round
from tests.support.worlds import STOPPED, UP, at, incident, memory, policy, report, resting, rounds, secs

HOUR = 3600.0
POLICY = policy("ab")


def bound(**fields: Any) -> Memory:
    return bounded(memory(**fields), at(0), POLICY)


def test_a_memory_of_the_past_is_itself() -> None:
    known = memory(
        incident=Incident("a-1", "a", Cause.PROBES_FAILED, at(-9), "eni-a", rounds("oxxo", -9)),
        canary=Canary("eni-b", at(-9), at(-9), at(-9), at(-9)),
        repair=Repair("a-1", 1, at(-9), refused_at=at(-8), refusals=2),
        exclusions=(Exclusion("eni-b", at(50), at(-10)),),
        paused_until=at(HOUR),
        moved_at=at(-9),
        failovers=(at(-9), at(-8)),
        back_offs=(BackOff("the canary route", at(-9), 3),),
    )
    assert bounded(known, at(0), POLICY) is known


def test_clocks_that_differ_by_a_lease_contradict_nothing() -> None:
    """Also not where something else of the same part is not believed."""
    last = at(0) + LEASE
    late = Round(last, "clock-1", is_ok=True, rtt_ms=8.0)
    kept, unheard = Disturbance(last, last, late), Disturbance(at(HOUR))
    known = memory(
        incident=replace(incident(), opened_at=last, recovered_at=last, rounds=(late,), disturbances=(kept,)),
        canary=Canary("eni-b", last, last, last, last),
        address_move=AddressMove("eni-a", last, last, through_at=last),
        repair=Repair("a-1", 1, last, refused_at=last, refusals=2),
        recent=(late,),
        proofs=(Proof("eni-a", last, at(-9)),),
        back_offs=(BackOff("the canary route", last, 3),),
        throttled_at=last,
        measured_until=last,
        through_at=last,
        is_down=True,
        down_at=last,
        strange_address="198.51.100.9",
        strange_at=last,
        paused_until=last + LONGEST_PAUSE,
        exclusions=(Exclusion("eni-b", last + POLICY.exclusion, last),),
        watch=WatchRun("x", last, secs(55)),
        **dict.fromkeys(SPACED, (last,)),
    )
    assert bounded(known, at(0), POLICY) is known
    assert bounded(replace(known, recent=(late, *rounds("o", HOUR))), at(0), POLICY) == known
    assert known.incident is not None
    for worse in ({"rounds": (late, *rounds("x", HOUR))}, {"disturbances": (kept, unheard)}):
        assert bounded(replace(known, incident=replace(known.incident, **worse)), at(0), POLICY) == known


def test_every_instant_of_a_memory_is_bounded() -> None:
    """A field that is added later is bounded too, or is one of those that lie ahead by their nature."""
    handled = {*REACHED, *SPACED, *_PARTS, "down_at", "paused_until", "exclusions", "watch"}
    assert {name for name, hint in get_type_hints(Memory).items() if has_instants(hint)} - handled == {"dooms"}


def has_instants(hint: Any) -> bool:
    if is_dataclass(hint):
        return any(has_instants(each) for each in get_type_hints(hint).values())
    return hint is datetime or any(has_instants(each) for each in get_args(hint))


@pytest.mark.parametrize("name", REACHED)
def test_an_instant_that_has_not_been_is_now_at_the_latest(name: str) -> None:
    assert getattr(bound(**{name: at(HOUR)}), name) == at(0)
    assert getattr(bound(**{name: at(0) + LEASE}), name) == at(0) + LEASE, "a clock may be a little ahead"


@pytest.mark.parametrize("name", SPACED)
def test_what_has_not_been_is_not_counted_and_nothing_is_twice(name: str) -> None:
    latest = at(0) + LEASE
    assert getattr(bound(**{name: (at(-9), latest, at(HOUR), at(HOUR))}), name) == (at(-9), latest)
    assert getattr(bound(**{name: (at(-9),) * 60}), name) == (at(-9),)


@pytest.mark.parametrize("name", ["throttled_at", "measured_until"])
def test_what_is_waited_for_since_the_future_is_not_waited_for(name: str) -> None:
    assert getattr(bound(**{name: at(HOUR)}), name) is None


@pytest.mark.parametrize(("seen_at", "is_kept"), [(at(-1), True), (None, False), (at(HOUR), False)])
def test_an_address_that_nobody_can_have_seen_excuses_nothing(seen_at: datetime | None, is_kept: bool) -> None:
    found = bound(strange_address="198.51.100.9", strange_at=seen_at)
    assert (found.strange_address is not None, found.strange_at is not None) == (is_kept, is_kept)


def test_a_group_without_a_target_has_never_been_moved() -> None:
    assert bounded(Memory(moved_at=at(HOUR)), at(0), POLICY).moved_at is None


@pytest.mark.parametrize(("target", "is_one"), [("eni-a", True), ("nat-1", True), ("2026-03-01", False), ("", False)])
def test_traffic_belongs_on_an_interface_or_a_gateway(target: str, is_one: bool) -> None:
    assert bounded(Memory(target=target), at(0), POLICY).target == (target if is_one else None)


def test_a_verdict_that_nobody_can_have_heard_is_none() -> None:
    assert not bound(is_down=True, down_at=at(HOUR)).is_down
    assert bound(is_down=True, down_at=at(-1)).is_down


def test_of_a_memory_in_which_all_is_wrong_nothing_is_believed() -> None:
    found = bound(target="?", down_at=at(HOUR), strange_address="198.51.100.9", strange_at=at(HOUR))
    assert (found.target, found.down_at, found.strange_address) == (None, None, None)


def test_a_pause_is_no_longer_than_one_may_be() -> None:
    assert bound(paused_until=at(0) + LONGEST_PAUSE).paused_until == at(0) + LONGEST_PAUSE
    assert bound(paused_until=at(1) + LEASE + LONGEST_PAUSE).paused_until is None


def test_an_exclusion_ends_when_one_of_now_would() -> None:
    known = Exclusion("eni-b", at(60), at(0))
    assert bound(exclusions=(known, Exclusion("eni-c", at(HOUR)), Exclusion("eni-d", at(70), at(HOUR)))).exclusions == (
        known,
    )


def test_a_run_that_nobody_can_have_started_is_none_and_none_is_longer_than_the_users() -> None:
    assert bound(watch=WatchRun("x", at(HOUR), secs(55))).watch is None
    assert bound(watch=WatchRun("x", at(-5), secs(1e6))).watch == WatchRun("x", at(-5), POLICY.watch_run)
    assert bound(watch=WatchRun("x", at(-5), secs(-9))).watch == WatchRun("x", at(-5), secs(0))


def test_parts_keep_what_has_been() -> None:
    late, early = rounds("o", HOUR), rounds("oo", -9)
    found = bound(
        recent=(*late, *early),
        proofs=(Proof("eni-a", at(HOUR), at(-9)), Proof("eni-b", at(-1), at(-9))),
        unsupported=(Unsupported("t4g.nano", at(HOUR)),),
        back_offs=(BackOff("the canary route", at(HOUR), 3), BackOff("x", at(-1), 1)),
        canary=Canary("eni-b", at(HOUR), None, at(-1)),
        address_move=AddressMove("eni-a", at(HOUR), at(HOUR)),
        repair=Repair("a-1", 1, at(HOUR), refused_at=at(HOUR)),
        standby_repair=Repair("a-2", 1, at(-1)),
        incident=Incident("a-1", "a", Cause.PROBES_FAILED, at(HOUR), "eni-a", (*early, *late), recovered_at=at(HOUR)),
    )
    assert found.recent == early
    assert found.proofs == (Proof("eni-b", at(-1), at(-9)),)
    assert found.unsupported == ()
    assert found.back_offs == (BackOff("x", at(-1), 1),)
    assert found.canary == Canary("eni-b", at(0), None, at(-1))
    assert found.address_move == AddressMove("eni-a", at(0), at(0))
    assert found.repair == Repair("a-1", 1, at(0), refused_at=at(0))
    assert found.standby_repair == Repair("a-2", 1, at(-1))
    assert found.incident is not None
    assert (found.incident.opened_at, found.incident.recovered_at, found.incident.rounds) == (at(0), at(0), early)


def test_an_incident_of_the_future_with_rounds_of_the_past_keeps_them() -> None:
    known = Incident("a-1", "a", Cause.PROBES_FAILED, at(HOUR), "eni-a", rounds("ox", -9))
    assert bound(incident=known).incident == replace(known, opened_at=at(0))


def test_more_rounds_than_are_kept_are_cut_and_put_in_order() -> None:
    assert bound(recent=rounds("oooooo", -9)).recent == rounds("oooooo", -9)[-4:]
    assert bound(recent=rounds("oo", -9)[::-1]).recent == rounds("oo", -9)


@pytest.mark.parametrize("refusals", [-5, 0, 1, 1 << 53])
def test_a_wait_is_a_wait_after_any_number_of_refusals(refusals: int) -> None:
    assert secs(15) <= backed_off(refusals) <= secs(120)


@pytest.mark.parametrize(
    "fields",
    [
        {"moved_at": at(HOUR)},
        {"led_since": at(HOUR)},
        {"external_at": at(HOUR), "targets_back_at": at(HOUR)},
        {"failovers": (at(HOUR),) * 6},
        {"watch_starts": (at(HOUR),) * 60, "watch": WatchRun("x", at(HOUR), secs(55))},
        {"paused_until": at(48 * HOUR)},
        {"exclusions": (Exclusion("eni-b", at(HOUR), at(HOUR)),)},
        {"address_move": AddressMove("eni-a", at(HOUR), at(HOUR))},
        {"throttled_at": at(HOUR)},
        {"recent": rounds("oooo", HOUR), "proofs": (Proof("eni-a", at(HOUR), at(HOUR)),)},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_a_group_whose_memory_is_of_the_future_leaves_a_nat_that_stopped(fields: dict[str, Any]) -> None:
    world = resting("ab").remember(**fields).change("i-a", state=STOPPED)
    plan = world.decide()
    assert plan.reason.value == "fail-over"
    assert plan.memory.target == "eni-b"


def test_other_groups_memories_of_the_future_prove_nothing() -> None:
    world = resting("ab").change("i-a", state=STOPPED).remember("b", proofs=(Proof("eni-b", at(HOUR), at(HOUR)),))
    world.remember(proofs=())
    assert world.decide().reason.value == "last-resort"


def test_one_good_report_of_the_future_makes_nobody_deaf() -> None:
    """It is of a prober whose clock is an hour ahead, or forged; the next one that says down is heard all the same."""
    world = resting("ab")
    world.step(report("ooooo", HOUR), now=0)
    assert world.step(report("ooxxx", 30), now=36).reason.value == "fail-over"
    assert UP.is_ok


@pytest.mark.parametrize(
    ("disturbance", "is_kept"),
    [
        (Disturbance(at(-9), at(-8), rounds("o", -7)[0]), True),
        (Disturbance(at(-9)), True),
        (Disturbance(at(HOUR)), False),
        (Disturbance(at(-9), at(HOUR)), False),
        (Disturbance(at(-9), at(-8), rounds("o", HOUR)[0]), False),
    ],
)
def test_a_disturbance_that_has_not_been_widens_no_interval(disturbance: Disturbance, is_kept: bool) -> None:
    known = Incident("a-1", "a", Cause.PROBES_FAILED, at(-9), "eni-a", rounds("ox", -9), disturbances=(disturbance,))
    assert bound(incident=known).incident == (known if is_kept else replace(known, disturbances=()))
