"""How long a group may be without egress while a NAT forwards: of whom that is asked, and what counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natkeeper_lab.simulation import promptness
from natkeeper_lab.simulation.aftermath import groups
from natkeeper_lab.simulation.book import Book
from natkeeper_lab.simulation.faults import FAULTS
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.promptness import CHAINED_FOR, Promptness, is_asked_of, stranded_within
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World


class Idle:
    """A stack that nobody controls."""

    def __init__(self) -> None:
        judge = Invariants()
        self.world = World(0, Setting(), judge)
        judge.watch(self.world)
        self.book: Book = judge.book
        self.promptness = Promptness(self.book)
        self.most = stranded_within(self.world) / SECOND

    def hang(self, *names: str, is_hung: bool = True) -> None:
        for each in names:
            owner = self.world.ec2.owner(self.world.route_of(self.world.policy.group(each).table_ids[0]) or "")
            assert owner is not None
            owner.is_hung = is_hung
        self.world.packets_changed()

    def later(self, seconds: float) -> None:
        hub = self.world.hub
        hub.run(hub.now + int(seconds * SECOND))

    def judged(self) -> list[str]:
        self.promptness.judge()
        return [each.text for each in self.book.violations]


@pytest.fixture
def idle() -> Idle:
    return Idle()


def test_a_group_that_is_left_in_the_dark_beside_a_nat_that_forwards_is_told_of(idle: Idle) -> None:
    idle.hang("a")
    idle.later(idle.most + 1)
    assert idle.judged() == [f"zone a had no egress for {idle.most + 1:.1f} s while a NAT of the stack forwarded"]


def test_it_counts_although_egress_came_back_meanwhile(idle: Idle) -> None:
    idle.hang("a")
    idle.later(idle.most + 1)
    idle.hang("a", is_hung=False)
    idle.later(60)
    assert len(idle.judged()) == 1


def test_more_is_allowed_where_the_ledger_was_down(idle: Idle) -> None:
    idle.world.fired("ledger-down")
    idle.hang("a")
    idle.later(idle.most + 59)
    idle.hang("a", is_hung=False)
    assert idle.judged() == []
    idle.hang("a")
    idle.later(idle.most + 61)
    assert len(idle.judged()) == 1


def test_two_short_ones_are_not_a_long_one(idle: Idle) -> None:
    for _ in range(2):
        idle.hang("a")
        idle.later(idle.most - 1)
        idle.hang("a", is_hung=False)
        idle.later(1)
    assert idle.judged() == []


def test_where_nothing_forwards_nothing_is_asked(idle: Idle) -> None:
    idle.hang(*groups(idle.world))
    idle.later(120)
    assert idle.judged() == []


def test_it_counts_from_when_a_nat_forwards_again_and_while_runs_follow_each_other(idle: Idle) -> None:
    idle.hang(*groups(idle.world))
    idle.later(CHAINED_FOR / SECOND - idle.most)
    idle.hang("b", is_hung=False)
    idle.later(200)
    assert idle.judged() == []


def test_what_is_held_on_purpose_is_not_asked_about(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promptness, "is_held", lambda _book: True)
    idle.hang("a")
    idle.later(100)
    assert idle.judged() == []


@pytest.mark.parametrize(
    ("faults", "is_asked"),
    [
        (["nat-stops", "nat-hangs"], True),
        (["nat-hangs", "ledger-down"], True),
        (["nat-hangs", "nat-stops", "ledger-down"], False),
        (["nat-hangs", "ledger-down", "ledger-down"], False),
        (["nat-hangs", "crash-after-a-call"], False),
        *(([each], False) for each in promptness.UNSEEN),
    ],
)
def test_it_is_asked_where_nothing_is_in_the_way(faults: list[str], is_asked: bool) -> None:
    assert is_asked_of(Setting(), faults) is is_asked
    assert set(faults) <= set(FAULTS)


@pytest.mark.parametrize(
    "setting",
    [replace(Setting(), begins="bare"), replace(Setting(), has_canary=False), replace(Setting(), launches=2)],
)
def test_it_is_not_asked_of_a_stack_that_begins_or_may_do_little(setting: Setting) -> None:
    assert not is_asked_of(setting, ["nat-hangs"])
