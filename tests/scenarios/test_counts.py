"""What an expectation counts: a move is one however many tables it has, and a pattern counts what it names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from natkeeper_lab.measure import Outage
from natkeeper_lab.scenario import counts
from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.sight import Line, RouteChange, Sight

HOME, AWAY, OTHER = "eni-home", "eni-away", "eni-other"
TABLES = ("rtb-1", "rtb-2")


def sight(
    routes: tuple[RouteChange, ...] = (),
    lines: tuple[Line, ...] = (),
    calls: tuple[Any, ...] = (),
    outages: tuple[Outage, ...] = (),
    addresses: tuple[tuple[float, str], ...] = (),
) -> Sight:
    journal = SimpleNamespace(
        routes=routes,
        decisions=lambda _since=0.0: lines,
        carried_by=str,
        own_calls=lambda since=0.0: [each for each in calls if each.ended_at >= since],
        writes=lambda since=0.0: [each for each in calls if each.service == "ec2" and each.ended_at >= since],
        groups_of=lambda _call: {"a"},
    )
    found = SimpleNamespace(
        journal=journal,
        zero=0.0,
        seconds=lambda at: at,
        tables_of=lambda _group: TABLES,
        before_targets=dict.fromkeys(TABLES, HOME),
        rulers={"a": SimpleNamespace(outages=lambda since: [e for e in outages if e.first_failed_ns / 1e9 >= since])},
        addresses_seen=lambda _group: addresses,
    )
    return cast(Sight, found)


def asked(subject: str = "a", **args: Any) -> Expectation:
    return Expectation("any", subject, args, None, None, None, 1)


def change(at: float, table: str, target: str, is_by_hand: bool = False) -> RouteChange:
    return RouteChange(at, table, "a", target, "away", is_by_hand)


def decision(at: float, reason: str, target: str, table: str = TABLES[0]) -> Line:
    action = {"action": "PointRoute", "table_id": table, "destination": "0.0.0.0/0", "target": target}
    return Line(at, {"group": "a", "reason_code": reason, "actions": [{"action": "MoveAddress"}, action]})


def call(service: str, operation: str, at: float = 1.0, error: str | None = None, **params: Any) -> Any:
    return SimpleNamespace(service=service, operation=operation, ended_at=at, error_code=error, params=params)


AWAY_AND_HOME = (
    *(change(1 + number / 10, table, AWAY) for number, table in enumerate(TABLES)),
    *(change(5 + number / 10, table, HOME) for number, table in enumerate(TABLES)),
)


def test_tables_that_go_to_one_target_are_one_move() -> None:
    assert counts.moves(sight(AWAY_AND_HOME), asked(at_most=2), 0, 9)[0]
    holds, _, seen, at = counts.moves(sight(AWAY_AND_HOME), asked(at_most=1), 0, 9)
    assert (holds, seen, at) == (False, "2: to eni-away at 1.00 s, to eni-home at 5.00 s", 5)
    assert counts.moves(sight(AWAY_AND_HOME), asked(at_most=1), 3, 9)[0]
    assert counts.moves(sight(AWAY_AND_HOME), asked(at_most=1), 0, 4)[0]


def test_a_table_that_goes_there_twice_was_moved_twice() -> None:
    routes = (change(1, TABLES[0], AWAY), change(2, TABLES[0], HOME), change(3, TABLES[0], AWAY))
    assert not counts.moves(sight(routes), asked(at_most=2), 0, 9)[0]


def test_what_changes_nothing_or_was_done_by_hand_is_no_move() -> None:
    routes = (change(1, TABLES[0], HOME), change(2, TABLES[0], OTHER, is_by_hand=True), change(3, TABLES[0], OTHER))
    assert counts.moves(sight(routes), asked(at_most=0), 0, 9)[0]


def test_a_failover_is_a_move_that_was_decided_as_one() -> None:
    lines = (decision(0.9, "fail-over", AWAY), decision(4.9, "go-home", HOME))
    holds, _, seen, _ = counts.failovers(sight(AWAY_AND_HOME, lines), asked(at_most=1), 0, 9)
    assert (holds, seen) == (True, "1: to eni-away at 1.00 s")
    assert not counts.failovers(sight(AWAY_AND_HOME, lines), asked(at_most=0), 0, 9)[0]
    back = (*lines[:1], decision(4.9, "last-resort", HOME))
    assert not counts.failovers(sight(AWAY_AND_HOME, back), asked(at_most=1), 0, 9)[0]


def test_a_decision_about_another_target_or_of_later_explains_no_move() -> None:
    lines = (decision(0.9, "fail-over", OTHER), decision(3.0, "fail-over", AWAY))
    assert counts.failovers(sight(AWAY_AND_HOME, lines), asked(at_most=0), 0, 9)[0]


def test_time_without_egress_goes_on_while_an_outage_is_not_over() -> None:
    over = Outage(1_000_000_000, 2_000_000_000, 990_000_000, 2_010_000_000, 100)
    open_one = Outage(5_000_000_000, 5_500_000_000, 4_990_000_000, None, 50)
    seen = counts.dark(sight(outages=(over, open_one)), asked(at_most=5.0), 0, 9)
    assert seen[0] is False
    assert seen[2].startswith("5.01 s: 1.01 s at 1.00 s, 4.00 s at 5.00 s")
    assert counts.dark(sight(outages=(over, open_one)), asked(at_most=1.1), 0, 4)[0]


def test_the_address_that_was_there_counts_and_the_same_one_again_does_not() -> None:
    seen = ((0.5, "one"), (2.0, "two"), (3.0, "one"), (9.0, "three"))
    assert counts.egress_addresses(sight(addresses=seen), asked(at_most=2), 1, 5)[0]
    holds, _, _, at = counts.egress_addresses(sight(addresses=seen), asked(at_most=1), 1, 5)
    assert (holds, at) == (False, 2.0)
    assert counts.egress_addresses(sight(addresses=seen), asked(at_most=1), 3, 5)[0]


CALLS = (
    call("dynamodb", "GetItem"),
    call("dynamodb", "UpdateItem"),
    call("dynamodb", "TransactGetItems"),
    call("ec2", "DescribeInstances"),
    call("ec2", "ReplaceRoute", error="InternalError"),
    call("ec2", "ReplaceRoute"),
)


def counted(look: Any, operation: str | None) -> int:
    seen = look(sight(calls=CALLS), asked("", operation=operation, at_most=9), 0, 9)[2]
    return int(seen.partition(":")[0])


def test_writes_of_a_service_are_that_services_and_no_reads() -> None:
    assert counted(counts.writes, "dynamodb:*") == 1
    assert counted(counts.writes, "ec2:*") == 1
    assert counted(counts.writes, "*") == 2
    assert counted(counts.writes, "UpdateItem") == 1
    assert counted(counts.writes, "lambda:*") == 0


def test_a_pattern_that_names_reads_counts_them() -> None:
    assert counted(counts.writes, "Describe*") == 1
    assert counted(counts.writes, "dynamodb:GetItem") == 1


def test_calls_are_all_that_were_made() -> None:
    assert counted(counts.calls, "ReplaceRoute") == 2
    assert counted(counts.calls, "dynamodb:*") == 3
    assert counted(counts.calls, "*") == 6


def published(text: str, at: float = 1.0, error: str | None = None) -> Any:
    return call("sns", "Publish", at, error, Message=text)


def test_a_message_is_about_the_zones_that_it_names() -> None:
    told = sight(calls=(published("zone a's NAT stopped"), published("zones b and c are blind"), published("a stack")))
    assert counts.message(told, asked("a", contains="NAT stopped"), 0, 9)[0]
    assert not counts.message(told, asked("b", contains="NAT stopped"), 0, 9)[0]
    assert counts.message(told, asked("c", contains="blind"), 0, 9)[0]
    assert counts.message(told, asked("", contains="stack"), 0, 9)[0]
    assert not counts.message(told, asked("a", contains="stack"), 0, 9)[0]


def test_messages_that_were_refused_or_came_later_are_not_counted() -> None:
    told = sight(
        calls=(published("zone a is up"), published("zone a is up", 8), published("zone a", error="Throttled"))
    )
    assert counts.messages(told, asked("a", at_most=1), 0, 5)[0]
    holds, _, _, at = counts.messages(told, asked("a", at_most=1), 0, 9)
    assert (holds, at) == (False, 8)
    assert counts.messages(told, asked("b", at_most=0), 0, 9)[0]
