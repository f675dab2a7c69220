"""What happens to established connections when a group's traffic moves to another NAT: the table in docs, as tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from natkeeper_lab.measure import outages
from natkeeper_lab.packets import SecurityRule
from tests.lab.vpc import ELASTIC_A, EVERYTHING, LANDING_A_ON_B, Vpc, measured

pytestmark = pytest.mark.packets

BETWEEN_CALLS = 0.05  # seconds; about what two EC2 calls are apart
ROUTES, ADDRESS = "routes", "address"
EDGE_NS = 200_000_000
"""A probe is timed before it is sent, and a busy machine does other things in between: so near to an edge of an outage
it may fall on either side."""


def moved(vpc: Vpc, *order: str, between: float = BETWEEN_CALLS) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reports of twenty client-driven and twenty server-driven connections that were there for a planned move, with so
    many seconds between its two calls."""
    # Long enough for the second to begin before the first is over, on a machine that is busy with the other tests.
    watches = [vpc.flows(mode, 5.0) for mode in ("client", "server")]
    time.sleep(0.2)
    for step in order:
        if step == ROUTES:
            vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
        else:
            vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
        time.sleep(between)
    client, server = (watch.report() for watch in watches)
    for report in (client, server):
        print(f"{report['mode']}-driven, {' then '.join(order)}: {summary(report)}")
    return client, server


def summary(report: dict[str, Any]) -> str:
    gap, errors = report["longest_gap_ms"], ", ".join(report["errors"])
    return f"{report['survived']} of {report['opened']} survived, longest gap {gap} ms {errors}"


def assert_unbroken(report: dict[str, Any]) -> None:
    """Every byte came, in order and from the same address. How long the gap was, `make bench` says (`flows`): here it
    would be told by how busy the machine is."""
    assert report["survived"] == report["opened"] == 20
    assert report["addresses_seen"] == [ELASTIC_A]
    assert all(connection["contiguous"] and len(connection["sources"]) == 1 for connection in report["connections"])


def assert_lost(report: dict[str, Any], error: str) -> None:
    assert (report["survived"], report["errors"]) == (0, [error])


def test_a_planned_move_routes_first_breaks_no_connection(vpc: Vpc) -> None:
    client, server = moved(vpc, ROUTES, ADDRESS)
    assert_unbroken(client)
    assert_unbroken(server)


def test_moving_the_address_first_loses_every_server_driven_connection(vpc: Vpc) -> None:
    client, server = moved(vpc, ADDRESS, ROUTES)
    assert_unbroken(client)
    assert_lost(server, "silent")


def test_routes_first_onto_a_landing_that_is_not_bare_resets_every_connection(vpc: Vpc) -> None:
    vpc.network.map_public_address("198.51.100.77", LANDING_A_ON_B)
    # Long enough for every server to speak in between: the answer from a strange address is what is reset.
    for report in moved(vpc, ROUTES, ADDRESS, between=1.0):
        assert_lost(report, "ConnectionResetError")


@pytest.mark.usefixtures("no_vpc")
def test_nothing_survives_where_security_groups_refuse_mid_stream_packets(tmp_path: Path) -> None:
    with Vpc(tmp_path, mid_stream="refuse") as vpc:
        for report in moved(vpc, ROUTES, ADDRESS):
            assert_lost(report, "silent")
        assert vpc.seen_from("eni-db-a")[0] == ELASTIC_A  # new connections are as well off as ever


@pytest.mark.usefixtures("no_vpc")
def test_a_security_group_open_both_ways_has_no_state_to_miss(tmp_path: Path) -> None:
    with Vpc(tmp_path, mid_stream="refuse") as vpc:
        vpc.network.set_security_rules("eni-nat-b", EVERYTHING, EVERYTHING)
        for report in moved(vpc, ROUTES, ADDRESS):
            assert_unbroken(report)


def test_a_security_group_closed_again_still_knows_its_connections(vpc: Vpc) -> None:
    """AWS keeps tracked connections when rules change; new ones obey the new rules."""
    watch = vpc.flows("client", 3.0, connections=3)
    vpc.network.set_security_rules("eni-nat-a", [SecurityRule("10.9.9.9/32", "tcp", 443, 443)], EVERYTHING)
    assert vpc.attempt("eni-db-a") == "silent"
    assert watch.report()["survived"] == 3


def test_client_driven_connections_survive_a_killed_nat_and_the_outage_is_measured(vpc: Vpc) -> None:
    flows, probes = vpc.flows("client", 5.0), vpc.probing()
    time.sleep(0.5)
    killing = time.monotonic_ns()
    vpc.network.power_off("i-nat-a")
    killed = time.monotonic_ns()
    for _ in range(40):
        time.sleep(0.025)  # not at once: while this machine stands still, nobody probes
    restoring = time.monotonic_ns()
    vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    restored = time.monotonic_ns()
    report, rows = flows.report(), measured(probes.stop())
    outage = max(outages(rows), key=lambda each: each.shortest_ns)
    print(
        f"killed: {summary(report)}; down {(restoring - killed) / 1e6:.0f} to {(restored - killing) / 1e6:.0f} ms, "
        f"probes saw {outage.downtime_seen_ns / 1e6:.0f} ms"
    )
    assert_unbroken(report)
    assert killing - EDGE_NS <= outage.first_failed_ns < outage.last_failed_ns <= restored + EDGE_NS
    inside = [each for each in rows if killed + EDGE_NS < each.sent_ns < restoring - EDGE_NS]
    assert inside
    assert not [each for each in inside if each.answered_ns]
