"""The benchmark's promises, once or twice: the right order keeps connections, and the wrong ones lose them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from natkeeper_lab.bench import play
from natkeeper_lab.bench.event_rows import SURVIVING, told
from natkeeper_lab.bench.keeper import Natkeeper
from natkeeper_lab.bench.orders import RIGHT, WRONG, ByHand, Order
from natkeeper_lab.bench.peer import Peer
from natkeeper_lab.bench.play import FLOWS, Played

pytestmark = [pytest.mark.packets, pytest.mark.usefixtures("no_vpc")]

OWN = 0.8
"""Of the connections that choose their ports, so many have one that nobody else on their side has."""
REFUSAL = "UnauthorizedOperation"
"""One that botocore does not try again."""


@pytest.fixture
def asleep() -> Iterator[Natkeeper]:
    """Two zones with natkeeper deployed and not switched on."""
    with Natkeeper() as rig:
        yield rig


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as rig:
        yield rig


def test_a_planned_move_keeps_every_connection(asleep: Natkeeper) -> None:
    """There and back; then a stop, of which client-driven connections live to tell. How long the gaps are is for `make
    bench` to say, which fails from a tenth of a second on."""
    asleep.switch_on()
    for event in (play.AWAY, play.HOME):
        played = play.play(asleep, event)
        print(event.name, told(played))
        assert_kept(played)
        assert played.addresses == (asleep.stack.groups["a"].address,)
        assert played.apart_ms is not None
        assert played.apart_ms > 0
        assert played.beyond_ms is not None, told(played)
    asleep.recover()
    stopped = play.play(asleep, play.STOP)
    print(told(stopped))
    # Which of them share a source port with another host's is the kernels' choice; those are counted apart.
    assert stopped.client.opened >= FLOWS / 2, told(stopped)
    assert stopped.client.survived >= SURVIVING * stopped.client.opened, told(stopped)
    assert stopped.addresses == (asleep.stack.groups["a"].address,)


def test_every_wrong_order_loses_what_the_right_one_keeps(asleep: Natkeeper) -> None:
    """By plain EC2 calls: so that the test above can fail."""
    hand = ByHand(asleep)
    assert_kept(hand.play(RIGHT))
    for order in WRONG:
        assert_lost(order, hand.play(order))
    assert_kept(hand.play(RIGHT))  # and nothing of them is left behind


def assert_kept(played: Played) -> None:
    """All of those with a source port of their own: which few have another host's as well is the kernels' dice."""
    assert played.flows_lost == 0, told(played)
    assert OWN * 2 * FLOWS <= played.flows <= 2 * FLOWS, told(played)


def assert_lost(order: Order, played: Played) -> None:
    print(order.name, told(played))
    sides = {"client": played.client, "server": played.server}
    for who in order.loses:
        side = sides[who]
        assert side is not None
        assert side.survived == 0, (order.name, told(played))


def test_a_zone_of_three_is_lost_and_only_its_private_subnet_is_without_egress_for_a_while() -> None:
    """How long: `make bench`, which fails from five seconds on."""
    with Natkeeper(zones=3) as rig:
        rig.switch_on()
        played = play.play(rig, play.ZONE_LOSS)
    print(told(played))
    assert played.restored["a"] > 0
    assert (played.restored["b"], played.restored["c"]) == (0, 0)


def test_the_baseline_moves_its_tables_one_by_one_and_keeps_no_connection(peer: Peer) -> None:
    played = play.play(peer, play.STOP)
    print(told(played))
    ended = [each.ended_at for each in peer.moves("a", 0)]
    began = [each.started_at for each in peer.moves("a", 0)]
    assert all(sooner <= later for sooner, later in zip(ended, began[1:], strict=False))
    assert played.client.survived == 0
    assert peer.stack.curl("a", "http://203.0.113.10/")[1].split()[-3] == peer.stack.groups["b"].address
    peer.recover()
    assert peer.address_is_home("a")


def test_the_baseline_gives_up_at_the_first_table_that_refuses(peer: Peer) -> None:
    """Peer mistake 1, on purpose."""
    first, *others = peer.stack.groups["a"].tables
    peer.stack.api.faults.fail("ReplaceRoute", REFUSAL, times=None, where={"RouteTableId": first})
    at = peer.stop("a")
    peer.until("the baseline's try", lambda: bool(refused(peer)), 60)
    time.sleep(1)  # the others would have taken a tenth of that
    assert others
    assert peer.moves("a", at) == []


def refused(peer: Peer) -> list[str]:
    return [each.operation for each in peer.stack.api.calls() if each.error_code == REFUSAL]
