"""The probing engine on a virtual clock: its schedule, its verdicts, its report. No socket is opened here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkeeper import probing
from natkeeper.core.news import ProbeReport, RunMode, Verdict
from natkeeper.probing import Target
from natkeeper.triggers import parse_report
from tests.support.virtual_network import Fate, VirtualNetwork, dead, good

TARGETS = ["tcp://192.0.2.10:443", "tcp://198.51.100.10:443", "tcp://203.0.113.10:443"]
CANARY = "203.0.113.9:80"


def request(**fields: Any) -> probing.Request:
    return probing.parse_request({"group": "a", "run_id": "r", "mode": "watch", "targets": TARGETS, **fields})


def run(network: VirtualNetwork, *, limit: float | None = None, **fields: Any) -> dict[str, Any]:
    report = probing.run(request(**fields), network=network, limit=limit)
    assert network.is_closed
    assert parse_report(json.loads(json.dumps(report))).verdict.value == report["verdict"]
    return report


def outcomes(report: dict[str, Any], field: str = "rounds") -> list[int]:
    return [row[1] for row in report[field]]


def down_between(first: float, last: float) -> Callable[[str, float], Fate]:
    return lambda host, at: dead(host, at) if first <= at < last else good(host, at)


# The schedule --------------------------------------------------------------------------------------------------------


def test_rounds_leave_on_schedule_whatever_became_of_earlier_ones() -> None:
    network = VirtualNetwork(dead)
    run(network, interval=0.25, timeout=0.8, run=3, rounds_to_fail=100)
    assert network.sent_rounds()[:12] == [n * 0.25 for n in range(12)]


def test_all_targets_of_a_round_are_probed_at_the_same_instant() -> None:
    network = VirtualNetwork()
    run(network, run=3)
    for instant in network.sent_rounds():
        assert [host for at, host, _ in network.began if at == instant] == [
            "192.0.2.10",
            "198.51.100.10",
            "203.0.113.10",
        ]


def test_an_answer_is_counted_from_the_rounds_own_time_stamp() -> None:
    """A process that is held up between the stamp and the connect sends later than it says, but not after the answer:
    that is what bounds a downtime from above."""

    class HeldUp(VirtualNetwork):
        def address(self, host: str) -> str | None:
            self.clock += 0.01  # before each target's connect, and before the check that all have an address
            return super().address(host)

    rows = run(HeldUp(), run=1)["rounds"]
    assert rows[0][2] == pytest.approx(12 + 20, abs=0.01)  # the second of three answers decides


def test_a_frozen_process_skips_the_rounds_it_missed_instead_of_bursting() -> None:
    network = VirtualNetwork()
    network.freezes = {2.0: 3.3}
    run(network, run=10)
    assert network.sent_rounds() == [0.0, 1.0, 5.3, 6.0, 7.0, 8.0, 9.0]


def test_a_round_is_reported_at_the_instant_it_really_left() -> None:
    network = VirtualNetwork()
    network.freezes = {2.0: 0.3}
    report = run(network, run=4)
    assert [row[0] for row in report["rounds"]] == [0.0, 1000.0, 2300.0, 3000.0]


def test_a_full_get_goes_out_in_the_first_round_and_then_once_in_a_while() -> None:
    network = VirtualNetwork()
    run(network, targets=[*TARGETS[:2], "https://192.0.2.80/ip"], run=40, https_every=15)
    assert [at for at, _, is_full in network.began if is_full] == [0.0, 15.0, 30.0]


# Verdicts ------------------------------------------------------------------------------------------------------------


def test_a_quiet_run_ends_with_every_round_decided() -> None:
    report = run(VirtualNetwork(), canary=CANARY)
    assert report["verdict"] == "ended"
    assert outcomes(report) == outcomes(report, "canary") == [1] * 55
    assert report["errors"] == []


def test_the_last_round_is_decided_before_a_run_ends() -> None:
    network = VirtualNetwork(lambda *_: (0.7, None, None))
    report = run(network, run=5)
    assert outcomes(report) == [1] * 5
    assert network.clock == pytest.approx(1004.7)


def test_down_is_reported_as_soon_as_the_kth_failed_round_is_decided() -> None:
    network = VirtualNetwork(down_between(10.0, 99.0))
    report = run(network, rounds_to_fail=3, timeout=0.8)
    assert (report["verdict"], outcomes(report)) == ("down", [1] * 10 + [0] * 3)
    assert network.clock == pytest.approx(1012.8)


def test_a_run_that_begins_in_an_outage_reports_down_too() -> None:
    report = run(VirtualNetwork(dead))
    assert (report["verdict"], outcomes(report)) == ("down", [0] * 3)


def test_one_lost_round_is_reported_two_rounds_later() -> None:
    network = VirtualNetwork(down_between(4.0, 5.0))
    report = run(network)
    assert (report["verdict"], outcomes(report)) == ("recovered", [1] * 4 + [0, 1, 1])
    assert network.clock < 1007.0


def test_failures_that_are_not_in_a_row_are_no_outage() -> None:
    network = VirtualNetwork(lambda host, at: dead(host, at) if round(at) % 2 else good(host, at))
    report = run(network, run=20)
    assert report["verdict"] == "ended"
    assert sum(outcomes(report)) == 11


def test_a_run_does_not_end_in_the_middle_of_failures() -> None:
    """Its successor would count from one again: a NAT that hangs near the end of a run would be found seconds later."""
    network = VirtualNetwork(down_between(8, 60))
    report = run(network, run=10)
    assert (report["verdict"], outcomes(report)) == ("down", [1] * 8 + [0] * 3)


def test_a_run_that_goes_on_ends_with_the_first_success() -> None:
    network = VirtualNetwork(down_between(9, 10.5))
    report = run(network, run=10)
    assert (report["verdict"], outcomes(report)) == ("ended", [1] * 9 + [0, 0, 1])


def test_a_run_never_goes_on_past_its_limit() -> None:
    network = VirtualNetwork(down_between(9, 60))
    report = run(network, run=10, limit=11)
    assert (report["verdict"], outcomes(report)) == ("ended", [1] * 9 + [0, 0])


def test_a_round_still_on_its_way_does_not_hold_up_a_verdict() -> None:
    """Round 0 hangs in its GET; rounds 1 and 2 are good meanwhile."""

    def fate(_host: str, at: float) -> Fate:
        return (0.01, "timeout", None) if at == 0 else (0.02, None, None)

    network = VirtualNetwork(fate)
    report = run(network, mode="verify", targets=["https://192.0.2.80/"])
    assert (report["verdict"], [row[0] for row in report["rounds"]]) == ("passed", [200.0, 400.0])
    assert network.clock == pytest.approx(1000.42)


def test_a_round_still_on_its_way_interrupts_a_streak() -> None:
    """Round 1 answers last: rounds 0 and 2 alone are not two in a row."""
    network = VirtualNetwork(lambda _, at: (0.7 if round(at, 1) == 0.2 else 0.01, None, None))
    report = run(network, mode="verify", run=0.5)
    assert outcomes(report) == [1, 1]
    assert report["verdict"] == "ended"


def test_verify_passes_after_two_good_rounds_in_a_row() -> None:
    network = VirtualNetwork(down_between(0.0, 0.5))
    report = run(network, mode="verify")
    assert report["verdict"] == "passed"
    assert network.clock < 1001.0


def test_verify_is_down_when_its_time_is_over() -> None:
    network = VirtualNetwork(dead)
    report = run(network, mode="verify", run=3)
    assert report["verdict"] == "down"
    assert network.clock == pytest.approx(1003.0)


def test_verify_without_eyes_is_neither_passed_nor_down() -> None:
    network = VirtualNetwork(unresolved=["one.example", "two.example", "three.example"])
    targets = [f"tcp://{host}:443" for host in sorted(network.unresolved)]
    report = run(network, mode="verify", targets=targets)
    assert (report["verdict"], report["rounds"]) == ("ended", [])


@pytest.mark.parametrize(
    ("quorum", "dead_targets", "is_ok"), [(None, 1, 1), (None, 2, 0), (3, 1, 0), (1, 2, 1), (1, 3, 0)]
)
def test_a_round_needs_its_quorum(quorum: int | None, dead_targets: int, is_ok: int) -> None:
    hosts = ["192.0.2.10", "198.51.100.10", "203.0.113.10"][:dead_targets]
    network = VirtualNetwork(lambda host, at: dead(host, at) if host in hosts else good(host, at))
    assert set(outcomes(run(network, quorum=quorum, run=2))) == {is_ok}


def test_the_round_trip_of_a_round_is_the_slowest_answer_of_its_quorum() -> None:
    delays = {"192.0.2.10": 0.010, "198.51.100.10": 0.020, "203.0.113.10": 0.500}
    report = run(VirtualNetwork(lambda host, _: (delays[host], None, None)), run=1)
    assert report["rounds"] == [[0.0, 1, 20.0]]
    assert report["targets"]["tcp://203.0.113.10:443"]["rtt_ms"] == 500.0


def test_a_round_that_failed_though_a_target_answered_says_so() -> None:
    network = VirtualNetwork(lambda host, at: (0.012, None, None) if host == "192.0.2.10" else dead(host, at))
    report = run(network, run=2)
    assert report["rounds"] == [[0.0, 0, 12.0], [1000.0, 0, 12.0], [2000.0, 0, 12.0]]
    nobody = run(VirtualNetwork(dead), run=2)
    assert nobody["rounds"] == [[0.0, 0, None], [1000.0, 0, None], [2000.0, 0, None]]


def test_the_canary_never_influences_the_verdict() -> None:
    network = VirtualNetwork(lambda host, at: dead(host, at) if host == "203.0.113.9" else good(host, at))
    report = run(network, canary=CANARY, run=10)
    assert (report["verdict"], outcomes(report), outcomes(report, "canary")) == ("ended", [1] * 10, [0] * 10)
    assert report["errors"] == [f"canary {CANARY} timeout"]
    assert CANARY not in report["targets"]


def test_a_good_canary_does_not_hide_an_outage() -> None:
    network = VirtualNetwork(lambda host, at: good(host, at) if host == "203.0.113.9" else dead(host, at))
    report = run(network, canary=CANARY)
    assert (report["verdict"], outcomes(report, "canary")[:3]) == ("down", [1, 1, 1])


# Could not look is unknown -------------------------------------------------------------------------------------------


def test_an_unresolved_name_is_never_counted_against_the_nat() -> None:
    network = VirtualNetwork(unresolved=["down.example"])
    report = run(network, targets=["tcp://down.example:443", *TARGETS[:2]], run=5)
    assert (report["verdict"], outcomes(report)) == ("ended", [1] * 5)
    assert report["targets"]["tcp://down.example:443"] == {
        "ok": 0,
        "failed": 0,
        "last_error": "dns: no down.example",
        "rtt_ms": None,
    }


def test_a_round_that_hinges_on_an_unresolved_name_is_left_out() -> None:
    network = VirtualNetwork(
        lambda host, at: dead(host, at) if host == "192.0.2.10" else good(host, at), unresolved=["down.example"]
    )
    report = run(network, targets=["tcp://down.example:443", *TARGETS[:2]], run=5)
    assert (report["verdict"], report["rounds"]) == ("ended", [])


def test_a_round_fails_when_unresolved_names_could_not_save_it() -> None:
    network = VirtualNetwork(dead, unresolved=["down.example"])
    report = run(network, targets=["tcp://down.example:443", *TARGETS[:2]])
    assert report["verdict"] == "down"


def test_names_are_asked_for_again_only_when_they_failed() -> None:
    network = VirtualNetwork(unresolved=["down.example"])
    run(network, targets=["tcp://down.example:443", *TARGETS[:2]], run=3)
    assert network.asked == [{"down.example", "192.0.2.10", "198.51.100.10"}] + [{"down.example"}] * 3


def test_a_get_that_goes_wrong_after_the_connection_is_no_success_and_no_outage() -> None:
    """The NAT carried packets both ways; when, if ever, it stopped cannot be told from a hanging exchange."""
    network = VirtualNetwork(lambda *_: (0.012, "HTTP status 500", None))
    report = run(network, targets=["https://192.0.2.80/"], run=5, https_every=2)
    assert [row[0] for row in report["rounds"]] == [1000.0, 3000.0]
    assert report["targets"]["https://192.0.2.80/"]["failed"] == 3
    assert report["targets"]["https://192.0.2.80/"]["last_error"] == "HTTP status 500"


def test_a_get_that_cannot_connect_is_a_failure_like_any_other() -> None:
    network = VirtualNetwork(dead)
    report = run(network, targets=["https://192.0.2.80/"])
    assert (report["verdict"], network.clock) == ("down", pytest.approx(1002.8))


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ("203.0.113.20", "203.0.113.20"),
        ("", None),
        ("000", None),
        ("<html>203.0.113.20</html>", None),
        ("1.2.3.256", None),
    ],
)
def test_only_a_body_that_is_an_address_tells_where_we_are_seen_from(body: str, address: str | None) -> None:
    report = run(VirtualNetwork(lambda *_: (0.01, None, body)), targets=["https://192.0.2.80/"], run=1)
    assert report["egress_address"] == address
    assert outcomes(report) == [1]


# Limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-5.0, 0.0, 0.4, 1.0, 7.3])
def test_a_run_is_over_before_its_limit_and_reports_what_it_knows(limit: float) -> None:
    network = VirtualNetwork(down_between(5.0, 6.0))
    report = run(network, limit=limit, canary=CANARY)
    assert network.clock <= 1000.0 + max(0.0, limit)
    assert report["verdict"] in ("ended", "recovered")


@settings(max_examples=60)
@given(
    lost=st.sets(st.integers(0, 30)),
    k=st.integers(1, 4),
    delay=st.floats(0.001, 0.79),
    interval=st.sampled_from([0.1, 0.25, 1.0]),
)
def test_the_verdict_is_what_the_rounds_say(lost: set[int], k: int, delay: float, interval: float) -> None:
    def fate(_host: str, at: float) -> Fate:
        return (float("inf") if round(at / interval) in lost else delay), None, None

    report = run(VirtualNetwork(fate), interval=interval, run=30 * interval, rounds_to_fail=k)
    seen = "".join(map(str, outcomes(report)))
    expected = [position for position in (seen.find("0" * k),) if position >= 0]
    recovered = seen.find("11", seen.find("0")) if "0" in seen else -1
    if report["verdict"] == "down":
        assert expected
    elif report["verdict"] == "recovered":
        assert recovered >= 0
    else:
        assert not expected
        assert recovered < 0
        # A run that would end in the middle of failures goes on to the first success.
        assert len(seen) == 30 or (set(seen[29:-1]) == {"0"} and seen[-1] == "1")


def test_the_report_is_what_the_controller_reads() -> None:
    network = VirtualNetwork(down_between(3.0, 9.0))
    wire = run(network, canary=CANARY)
    report = parse_report(json.loads(json.dumps(wire)))
    assert isinstance(report, ProbeReport)
    assert (report.mode, report.verdict, report.run_id) == (RunMode.WATCH, Verdict.DOWN, "r")
    assert [one.is_ok for one in report.rounds] == [True] * 3 + [False] * 3
    assert (report.rounds[3].sent_at - report.rounds[0].sent_at).total_seconds() == 3.0
    assert report.rounds[0].rtt_ms == 12.0
    assert set(report.errors) == {f"{target} timeout" for target in TARGETS} | {f"canary {CANARY} timeout"}


# The control probe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dead_targets", "is_ok"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_majority_decides_the_control_probe(dead_targets: int, is_ok: bool) -> None:
    hosts = ["192.0.2.10", "198.51.100.10", "203.0.113.10"][:dead_targets]
    network = VirtualNetwork(lambda host, at: dead(host, at) if host in hosts else good(host, at))
    result = probing.control_probe(TARGETS, network=network)
    assert result.is_ok is is_ok
    assert bool(result) is is_ok
    assert list(result.errors.values()) == ["timeout"] * dead_targets + [None] * (3 - dead_targets)
    assert network.clock <= 1000.8


def test_a_control_probe_without_names_could_not_look() -> None:
    network = VirtualNetwork(unresolved=["one.example"])
    result = probing.control_probe(["tcp://one.example:443"], network=network)
    assert (result.is_ok, bool(result)) == (None, False)


def test_the_control_probe_makes_no_get() -> None:
    network = VirtualNetwork()
    assert probing.control_probe(["https://192.0.2.80/"], network=network)
    assert [is_full for _, _, is_full in network.began] == [False]


# What is asked -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tcp://192.0.2.10:443", ("192.0.2.10", 443, None)),
        ("https://checkip.example.com", ("checkip.example.com", 443, "/")),
        ("https://checkip.example.com:8443/a?b=c#d", ("checkip.example.com", 8443, "/a?b=c")),
    ],
)
def test_targets_are_read(text: str, target: tuple[str, int, str | None]) -> None:
    assert probing.parse_target(text) == Target(text, *target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.10:443",
        "tcp://192.0.2.10",
        "tcp://192.0.2.10:",
        "tcp://192.0.2.10:0",
        "tcp://192.0.2.10:65536",
        "tcp://192.0.2.10:4٤3",
        "tcp://:443",
        "tcp://[2001:db8::1]:443",
        "tcp://user@example.com:443",
        "http://example.com/",
        "https:///path",
        "https://example.com:/path",
        "https://example.com/a b",
        "https://example.com/\r\nHost: other",
        "https://.example.com/",
    ],
)
def test_a_bad_target_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^target '") as caught:
        probing.parse_target(text)
    assert repr(text) in str(caught.value)


@settings(max_examples=200)
@given(st.text(max_size=30) | st.text(max_size=20).map("tcp://".__add__) | st.text(max_size=20).map("https://".__add__))
def test_a_target_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        target = probing.parse_target(text)
    except ValueError:
        return
    assert target.host
    assert 1 <= target.port <= 65535


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("group", None),
        ("group", ""),
        ("run_id", 7),
        ("mode", "look"),
        ("mode", None),
        ("targets", None),
        ("targets", []),
        ("targets", ""),
        ("targets", [443]),
        ("targets", TARGETS * 2),
        ("targets", [f"tcp://192.0.2.{n}:443" for n in range(17)]),
        ("canary", 80),
        ("quorum", 0),
        ("quorum", 4),
        ("quorum", 1.5),
        ("quorum", True),
        ("interval", 0),
        ("interval", "1"),
        ("interval", float("nan")),
        ("timeout", 0),
        ("timeout", 1.0),
        ("rounds_to_fail", 0),
        ("run", 0),
        ("run", float("inf")),
        ("run", 10**400),
    ],
)
def test_a_bad_request_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        request(**{field: value})


@pytest.mark.parametrize("canary", ["203.0.113.9", "203.0.113.9:0", ":80"])
def test_a_canary_without_address_or_port_is_refused(canary: str) -> None:
    with pytest.raises(ValueError, match="target '"):
        request(canary=canary)


def test_an_empty_list_out_of_an_empty_setting_is_not_a_list_of_one() -> None:
    """A peer's guard never fires, because "".split(",") is [""], which is truthy."""
    with pytest.raises(ValueError, match="target ''"):
        request(targets=[""])


@pytest.mark.parametrize("event", [None, [], "watch", 7])
def test_a_request_must_be_an_object(event: object) -> None:
    with pytest.raises(ValueError, match="must be an object"):
        probing.parse_request(event)


def test_unknown_fields_are_ignored_and_nulls_mean_the_default() -> None:
    asked = request(colour="green", interval=None, timeout=None, canary=None, quorum=None)
    assert (asked.interval, asked.timeout, asked.canary, asked.quorum, asked.run) == (1.0, 0.8, None, 2, 55.0)
    assert request(mode="verify").interval == 0.2


def test_the_summary_leaves_the_rounds_out() -> None:
    summary = probing.summary(run(VirtualNetwork(dead), canary=CANARY))
    assert (summary["rounds"], summary["failed_rounds"], summary["canary"], summary["verdict"]) == (3, 3, 3, "down")
