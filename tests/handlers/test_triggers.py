"""Triggers: each real payload in events/ is read, each one in events/refused/ is refused by the right name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkeeper.core import news
from natkeeper.triggers import Foreign, Malformed, from_record, parse, parse_report, to_record

EVENTS = Path(__file__).resolve().parents[2] / "events"
INSTANCE = "i-0a1b2c3d4e5f60718"
PROBERS = {"a": "natkeeper-prober-a", "b": "natkeeper-prober-b"}
RUN_ID = "3f6c1a52-8a55-4d0b-9a51-64a3a2f0c7de"

READ: dict[str, news.News] = {
    **{
        f"ec2-state-change-{state}": news.InstanceChanged(INSTANCE, state)
        for state in ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
    },
    "spot-interruption-warning": news.SpotInterruption(INSTANCE, "terminate"),
    "rebalance-recommendation": news.RebalanceRecommended(INSTANCE),
    "health-retirement": news.HealthNotice("AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", (INSTANCE,)),
    "health-maintenance": news.HealthNotice("AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED", (INSTANCE,)),
    "schedule-tick": news.Tick(),
    "schedule-tick-rule": news.Tick(),
    "operator-pause": news.Command(news.Verb.PAUSE, "a", minutes=30),
    "operator-resume": news.Command(news.Verb.RESUME, "a"),
    "operator-failover": news.Command(news.Verb.FAILOVER, "a"),
    "operator-switchover": news.Command(news.Verb.SWITCHOVER, "a", to="home"),
    "probe-not-started": news.ProbeFailed("a", RUN_ID, "EventAgeExceeded"),
}
REPORTS = {
    "probe-report-ended": (news.Verdict.ENDED, 55, 0),
    "probe-report-down": (news.Verdict.DOWN, 12, 3),
    "probe-report-recovered": (news.Verdict.RECOVERED, 12, 1),
}


def load(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def read(event: object) -> news.News:
    return parse(event, account="111122223333", region="us-east-1", probers=PROBERS)


def refusals() -> list[str]:
    return sorted(path.stem for path in (EVENTS / "refused").glob("*.json"))


def test_every_payload_in_events_is_covered() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == {*READ, *REPORTS, "probe-failed"}


@pytest.mark.parametrize("name", READ)
def test_a_real_payload_is_read(name: str) -> None:
    assert read(load(name)) == READ[name]


@pytest.mark.parametrize("name", REPORTS)
def test_a_prober_report_arrives_through_its_destination(name: str) -> None:
    verdict, rounds, failed = REPORTS[name]
    report = read(load(name))
    assert isinstance(report, news.ProbeReport)
    assert (report.group, report.run_id, report.mode) == ("a", RUN_ID, news.RunMode.WATCH)
    assert (report.verdict, len(report.rounds), sum(not one.is_ok for one in report.rounds)) == (
        verdict,
        rounds,
        failed,
    )
    assert all((one.rtt_ms is None) is not one.is_ok for one in report.rounds)
    assert report.egress_address == "203.0.113.20"
    assert len(report.canary) == rounds


def test_the_instant_of_a_round_is_exact_to_the_microsecond() -> None:
    report = read(load("probe-report-down"))
    assert isinstance(report, news.ProbeReport)
    began = datetime(2026, 3, 2, 8, 14, 7, 118203, tzinfo=UTC)
    assert report.rounds[0].sent_at == began + timedelta(microseconds=41)
    assert {one.clock for one in (*report.rounds, *report.canary)} == {"c0a8f3de-5a0e-4c86-9b1e-2f6d7f0f4b11"}


def test_a_crashed_prober_run_is_blindness_and_not_a_report() -> None:
    failed = read(load("probe-failed"))
    assert isinstance(failed, news.ProbeFailed)
    assert failed.run_id == RUN_ID
    assert failed.error.startswith("RetriesExhausted: Unhandled: RequestId: ")
    assert failed.error.endswith("Task timed out after 90.00 seconds")


@pytest.mark.parametrize("name", refusals())
def test_a_foreign_or_malformed_event_is_refused_by_name(name: str) -> None:
    refusal = Foreign if name.startswith("foreign-") else Malformed
    with pytest.raises(refusal) as caught:
        read(load(f"refused/{name}"))
    field, separator, remedy = str(caught.value).partition(":")
    assert field
    assert separator
    assert remedy.strip()


def test_account_and_region_are_not_checked_when_ours_are_unknown() -> None:
    event = load("refused/foreign-account")
    assert parse(event, account=None, region=None, probers={}) == READ["ec2-state-change-stopped"]


def test_fields_that_aws_adds_later_are_no_reason_to_refuse() -> None:
    event = load("ec2-state-change-stopped")
    event["replay-name"] = "again"
    event["detail"]["reason"] = {"code": "Client.UserInitiatedShutdown"}
    assert read(event) == READ["ec2-state-change-stopped"]


def test_a_health_notice_names_each_instance_once_and_nothing_else() -> None:
    event = load("health-retirement")
    event["detail"]["affectedEntities"] = [
        {"entityValue": INSTANCE},
        {"entityValue": INSTANCE},
        {"entityValue": "vol-0a1b2c3d4e5f60718"},
        {"status": "PENDING"},
        None,
    ]
    assert read(event) == READ["health-retirement"]


def test_a_health_notice_about_no_instance_is_still_a_notice() -> None:
    event = load("health-retirement")
    event["detail"]["affectedEntities"] = []
    assert read(event) == news.HealthNotice("AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", ())


@pytest.mark.parametrize("minutes", [1, 1440])
def test_a_pause_lasts_from_a_minute_to_a_day(minutes: int) -> None:
    wish = {"natkeeper": {"command": "pause", "minutes": minutes}}
    assert read(wish) == news.Command(news.Verb.PAUSE, None, minutes=minutes)


def test_a_group_may_be_switched_over_to_another_ones_nat() -> None:
    wish = {"natkeeper": {"command": "switchover", "group": "a", "to": "b"}}
    assert read(wish) == news.Command(news.Verb.SWITCHOVER, "a", to="b")


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"command": "resume", "minutes": 5}, "minutes"),
        ({"command": "failover", "group": "a", "to": "b"}, "to"),
        ({"command": "switchover", "to": "b"}, "to"),
        ({"command": "switchover", "group": "a", "to": ["home"]}, "to"),
        ({"command": "failover", "group": ["a"]}, "group"),
    ],
)
def test_a_wish_that_is_not_understood_in_full_is_refused(wish: dict[str, object], field: str) -> None:
    with pytest.raises(Malformed, match=f"^{field}: "):
        read({"natkeeper": wish})


@pytest.mark.parametrize(
    "field", ["version", "clock", "started_at", "errors", "group", "run_id", "mode", "rounds", "canary"]
)
def test_no_field_of_a_report_has_a_default(field: str) -> None:
    report = load("probe-report-down")["responsePayload"]
    del report[field]
    with pytest.raises(Malformed, match=f"^{field}: "):
        parse_report(report)


@pytest.mark.parametrize("ok", ["000", "", None, True, 2, -1, [], {}])
def test_a_round_is_good_only_if_it_says_one(ok: object) -> None:
    report = load("probe-report-ended")["responsePayload"]
    report["rounds"][4][1] = ok
    with pytest.raises(Malformed, match=r"^rounds\[4\]: ok must be 0 or 1"):
        parse_report(report)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("started_at", "yesterday"),
        ("started_at", "2026-03-02T08:14:07"),
        ("started_at", "0001-01-01T00:00:00+23:59"),
        ("started_at", "9999-12-31T23:59:59-23:59"),
        ("egress_address", ""),
        ("egress_address", "000"),
        ("egress_address", "<html>"),
        ("mode", "verify "),
        ("verdict", "up"),
        ("version", True),
        ("rounds", [[float("nan"), 1, 1.0]]),
        ("rounds", [[-1, 1, 1.0]]),
        ("rounds", [[10**400, 1, 1.0]]),
        ("rounds", [[0.0, 1, float("inf")]]),
        ("rounds", [[0.0, 1]]),
        ("rounds", [[0, 1, 1]] * 20_001),
        ("canary", "none"),
    ],
)
def test_a_report_that_cannot_be_true_is_refused(field: str, value: object) -> None:
    report = {**load("probe-report-ended")["responsePayload"], field: value}
    with pytest.raises(Malformed, match=f"^{field}"):
        parse_report(report)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PAYLOADS = [load(name) for name in (*READ, *REPORTS, "probe-failed")]


@st.composite
def damaged_payloads(draw: st.DrawFn) -> Any:
    """A real payload with one part, at any depth, replaced or removed."""
    event = json.loads(json.dumps(draw(st.sampled_from(PAYLOADS))))
    here: Any = event
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return event
        key = draw(st.sampled_from(keys))
        if isinstance(here[key], (dict, list)) and draw(st.booleans()):
            here = here[key]
            continue
        if draw(st.booleans()):
            here[key] = draw(JSON)
        else:
            del here[key]
        return event


@settings(max_examples=300)
@given(event=JSON | damaged_payloads())
def test_parse_raises_nothing_but_its_two_refusals(event: object) -> None:
    try:
        found = read(event)
    except (Foreign, Malformed):
        return
    assert from_record(json.loads(json.dumps(to_record(found)))) == found


INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ROUNDS = st.lists(
    st.builds(
        news.Round,
        INSTANTS,
        st.sampled_from(["one", "two"]),
        st.booleans(),
        st.none() | st.floats(0, 60_000),
    ),
    max_size=5,
).map(tuple)
NAMES = st.text(max_size=9)
NEWS = st.one_of(
    st.builds(news.Tick),
    st.builds(news.InstanceChanged, NAMES, NAMES),
    st.builds(news.SpotInterruption, NAMES, NAMES),
    st.builds(news.RebalanceRecommended, NAMES),
    st.builds(news.HealthNotice, NAMES, st.lists(NAMES, max_size=3).map(tuple)),
    st.builds(
        news.ProbeReport,
        group=NAMES,
        run_id=NAMES,
        mode=st.sampled_from(news.RunMode),
        verdict=st.sampled_from(news.Verdict),
        rounds=ROUNDS,
        canary=ROUNDS,
        egress_address=st.none() | st.just("203.0.113.20"),
        errors=st.lists(NAMES, max_size=3).map(tuple),
    ),
    st.builds(news.ProbeFailed, NAMES, NAMES, NAMES),
    st.builds(
        news.Command, st.sampled_from(news.Verb), st.none() | NAMES, st.none() | st.integers(1, 1440), st.none() | NAMES
    ),
)


@settings(max_examples=200)
@given(item=NEWS)
def test_news_survives_the_inbox_without_loss(item: news.News) -> None:
    assert from_record(json.loads(json.dumps(to_record(item)))) == item


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "Nonsense"},
        {"type": ["Tick"]},
        {"type": "ProbeReport"},
        {"type": "Command", "verb": "reboot", "group": None, "minutes": None, "to": None},
    ],
)
def test_a_damaged_inbox_is_malformed_and_says_what_to_do(record: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="delete it"):
        from_record(record)


def test_a_command_keeps_its_request_through_an_inbox_and_an_older_releases_has_none() -> None:
    wish = {"natkeeper": {"command": "failover", "group": "a"}}
    found = parse(wish, account=None, region=None, probers={"a": "natkeeper-prober-a"}, request_id="r-1")
    assert found == news.Command(news.Verb.FAILOVER, "a", request_id="r-1")
    record = to_record(found)
    assert from_record(json.loads(json.dumps(record))) == found
    del record["request_id"]
    assert from_record(record) == news.Command(news.Verb.FAILOVER, "a")


# -- from whom a report comes


@pytest.mark.parametrize(
    "function",
    [
        "natkeeper-prober-b",
        "somebody-elses",
        "natkeeper-prober-a-copy",
        "NATKEEPER-PROBER-A",
        "prober",
    ],
)
def test_a_report_counts_only_from_the_groups_own_prober(function: str) -> None:
    """A report moves routes: any function of the account whose destination is the controller could send one."""
    event = load("probe-report-down")
    event["requestContext"]["functionArn"] = f"arn:aws:lambda:us-east-1:111122223333:function:{function}:$LATEST"
    with pytest.raises(Foreign, match="is not the group's prober, natkeeper-prober-a"):
        read(event)


@pytest.mark.parametrize("qualifier", ["", ":$LATEST", ":7", ":live"])
def test_any_version_of_the_prober_may_report(qualifier: str) -> None:
    event = load("probe-report-down")
    event["requestContext"]["functionArn"] = (
        f"arn:aws:lambda:us-east-1:111122223333:function:natkeeper-prober-a{qualifier}"
    )
    assert isinstance(read(event), news.ProbeReport)


@pytest.mark.parametrize(
    "arn",
    ["natkeeper-prober-a", "arn:aws:sqs:us-east-1:111122223333:function:x", "arn:aws:lambda:us-east-1:1:layer:x:1"],
)
def test_what_is_no_functions_arn_is_malformed(arn: str) -> None:
    event = load("probe-report-down")
    event["requestContext"]["functionArn"] = arn
    with pytest.raises(Malformed, match=r"^functionArn: "):
        read(event)


def test_a_verification_never_comes_by_a_destination() -> None:
    event = load("probe-report-down")
    event["requestPayload"]["mode"] = event["responsePayload"]["mode"] = "verify"
    with pytest.raises(Foreign, match=r"^mode: "):
        read(event)


def test_rows_that_are_not_in_order_are_no_probers() -> None:
    event = load("probe-report-down")
    event["responsePayload"]["rounds"].reverse()
    with pytest.raises(Malformed, match=r"^rounds: the rows are not in the order"):
        read(event)


# -- what is refused is quoted briefly, and so that it can be written anywhere


@pytest.mark.parametrize("value", ["\ud800", "a" * 100_000, [[[[[["deep"]]]]]] * 1_000, 10**400, float("nan")])
def test_a_refusal_is_short_and_can_be_encoded(value: object) -> None:
    deep: object = value
    for _ in range(700):
        deep = [deep]
    for event in ({"natkeeper": {"command": value}}, {"x": value}, {str(value)[:9]: 1}, deep, {"natkeeper": deep}):
        with pytest.raises((Foreign, Malformed)) as caught:
            read(event)
        assert len(str(caught.value).encode()) <= 2_000


def test_what_a_prober_says_is_made_plain() -> None:
    event = load("probe-report-down")
    event["responsePayload"]["errors"] = ["tcp://x:1 \ud800", 5, [[[]]]]
    report = read(event)
    assert isinstance(report, news.ProbeReport)
    assert report.errors == ("tcp://x:1 \\ud800", "5", "[[[]]]")
    event = load("probe-failed")
    event["responsePayload"]["errorMessage"] = "\udfff died"
    failed = read(event)
    assert isinstance(failed, news.ProbeFailed)
    assert "\\udfff died" in failed.error


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {"type": ["Tick"]},
        {"type": "InstanceChanged", "instance_id": 5, "state": "stopped"},
        {"type": "SpotInterruption", "instance_id": "i-1", "action": "stop", "asks": "many"},
        {"type": "HealthNotice", "code": "x", "instance_ids": "abc"},
        {"type": "HealthNotice", "code": "\ud800", "instance_ids": []},
        {"type": "Command", "verb": "pause", "group": "a", "minutes": 10**9, "to": None},
        {"type": "Command", "verb": "pause", "group": ["a"], "minutes": 5, "to": None},
        {"type": "ProbeFailed", "group": None, "run_id": "x", "error": "y"},
    ],
)
def test_a_record_that_nobody_of_ours_wrote_is_malformed(record: object) -> None:
    with pytest.raises(Malformed):
        from_record(record)


@pytest.mark.parametrize(
    "change",
    [
        {"started_at": "2026-03-01T12:00:00"},
        {"started_at": "9999-01-01T00:00:00+00:00"},
        {"rounds": [[0, 0, 1, float("nan")]]},
        {"rounds": [[0, 7, 1, None]]},
        {"rounds": [[10**30, 0, 1, None]]},
        {"rounds": [[0, 0, True, None]]},
        {"rounds": "none"},
        {"clocks": [5]},
        {"errors": [5]},
        {"mode": "guess"},
    ],
)
def test_a_reports_record_is_read_whole_or_not_at_all(change: dict[str, Any]) -> None:
    report = read(load("probe-report-down"))
    with pytest.raises(Malformed):
        from_record(to_record(report) | change)
