"""The rulers' judgement of connections by their source port; with packets: `test_bench_packets`."""

from __future__ import annotations

from typing import Any

from natkeeper_lab.rulers import TWIN_PORTS, _by_port, _kept


def connection(asked: str, seen: str = "", *, survived: bool = True) -> dict[str, Any]:
    return {
        "survived": survived,
        "error": "" if survived else "silent",
        "longest_gap_ms": 20.0,
        "sources": [seen] if seen else [],
        "contiguous": True,
        "asked_from": asked,
    }


def test_connections_of_two_hosts_from_one_port_are_told_from_the_others() -> None:
    first = connection("10.0.2.10:40000", "198.51.100.11:40000")
    second = connection("10.0.2.11:40000", "198.51.100.11:1024", survived=False)
    alone = connection("10.0.2.11:40002", "198.51.100.11:40002")
    found = _by_port([first, second, alone])
    assert (found.own, found.shared, found.changed) == ([alone], [first], [second])


def test_a_port_that_the_nat_still_has_from_an_earlier_connection_is_changed_too() -> None:
    late = connection("10.0.2.10:40000", "198.51.100.11:1024")
    assert _by_port([late]).changed == [late]


def test_a_connection_that_was_never_heard_counts_by_the_port_it_asked_from() -> None:
    silent = connection("10.0.2.10:40000", survived=False)
    assert _by_port([silent]).own == [silent]


def test_what_became_of_connections_is_counted() -> None:
    found = _kept([connection("a:1", "b:1"), connection("a:2", "b:2", survived=False)])
    assert found is not None
    assert (found.opened, found.survived, found.addresses_seen, found.errors) == (2, 1, ("b",), ("silent",))
    assert _kept([]) is None


def test_ports_of_twins_are_not_those_that_the_kernel_chooses() -> None:
    assert {next(TWIN_PORTS) for _ in range(400)} <= set(range(10_000, 30_000))
