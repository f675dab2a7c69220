"""What people and alarms see: log lines, metrics as template.yaml asks for them, and one message an incident."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from natkeeper import wiring
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.news import Command, Tick, Verb
from tests.support.cloud import STACK, Cloud, deploying, do_not_wait_between_attempts

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
Deploy = Callable[..., Cloud]


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with deploying() as deploy:
        yield deploy


@pytest.fixture
def cloud(deploy: Deploy) -> Cloud:
    return deploy(2, 1)


PROPAGATION = 1.1
"""Seconds; a little longer than `Policy.propagation`."""


def fail_over_and_close(cloud: Cloud) -> None:
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    cloud.wake(cloud.awaited_report("a"))
    assert cloud.memory("a").incident is None


# -- the contract with template.yaml


def described(document: dict[str, Any]) -> tuple[str, set[str], set[str]]:
    (one,) = document["_aws"]["CloudWatchMetrics"]
    (dimensions,) = one["Dimensions"]
    return one["Namespace"], set(dimensions), {each["Name"] for each in one["Metrics"]}


def wanted_by_template() -> dict[str, set[str]]:
    """Each metric of ours that an alarm or the dashboard names, with the dimensions that it is asked for by."""
    yaml_parse = pytest.importorskip("samtranslator.yaml_helper").yaml_parse
    found: dict[str, set[str]] = {}

    def search(node: Any) -> None:
        if isinstance(node, dict) and node.get("Namespace") == "natkeeper":
            found[node["MetricName"]] = {each["Name"] for each in node["Dimensions"]}
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            search(each)

    text = TEMPLATE.read_text("utf-8")
    search(yaml_parse(text))
    for dimensions, name in re.findall(r"\{natkeeper,([a-z,]+)\}[^']*MetricName=\\*\"(\w+)", text):
        found.setdefault(name, set(dimensions.split(",")))
    assert {"EgressUp", "Passes", "FailoversFailed", "StandbyReady", "DowntimeLow", "Unknown"} <= set(found)
    return found


@pytest.mark.usefixtures("hasty")
def test_everything_that_alarms_and_dashboard_ask_for_is_emitted_with_just_these_dimensions(cloud: Cloud) -> None:
    assert "POWERTOOLS_SERVICE_NAME" not in os.environ
    cloud.api.faults.fail("ReplaceRoute", "UnauthorizedOperation", where={"DestinationCidrBlock": DEFAULT_ROUTE})
    fail_over_and_close(cloud)
    time.sleep(PROPAGATION)  # packets of before may have gone by the old route, so they measure no Elastic IP
    cloud.wake(cloud.report("a", "+"))
    cloud.pass_went_through()
    emitted: dict[str, set[str]] = {}
    for each in cloud.metrics():
        namespace, dimensions, names = described(each)
        assert namespace == "natkeeper"
        assert dimensions == ({"stack"} if names == {"Passes"} else {"stack", "group"})
        assert each["stack"] == STACK
        assert "service" not in each
        emitted |= dict.fromkeys(names, dimensions)
    assert {name: emitted.get(name) for name in wanted_by_template()} == wanted_by_template()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    do_not_wait_between_attempts(monkeypatch)


def test_every_write_to_standard_output_is_a_whole_line(cloud: Cloud) -> None:
    """Groups print side by side: a line in two writes could be torn, and CloudWatch reads no torn metric."""
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    cloud.pass_went_through()
    assert len(cloud.output.writes) > 8
    assert all(each.endswith("\n") and each.count("\n") == 1 for each in cloud.output.writes)


def test_group_at_rest_is_up_home_and_backed(cloud: Cloud) -> None:
    cloud.wake(Tick())
    for group in ("a", "b"):
        gauges = {name: cloud.counted(name, group) for name in ("EgressUp", "Home", "StandbyReady", "Unknown")}
        assert gauges == {"EgressUp": 1, "Home": 1, "StandbyReady": 1, "Unknown": 0}


def test_group_that_cannot_be_looked_at_is_unknown_and_neither_up_nor_down(cloud: Cloud) -> None:
    cloud.api.faults.fail("DescribeInstances", "UnauthorizedOperation", times=None)
    cloud.wake(Tick())
    documents = [each for each in cloud.metrics() if each["group"] == "a"]
    assert [each["Unknown"] for each in documents] == [[1.0]]
    assert not any("EgressUp" in each for each in documents)


def test_failover_is_counted_and_seen_as_an_outage_until_it_is_verified(cloud: Cloud) -> None:
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    assert (cloud.counted("Failovers", "a"), cloud.counted("Failovers", "b")) == (1, 0)
    ups = [each["EgressUp"][0] for each in cloud.metrics() if each.get("group") == "a" and "EgressUp" in each]
    assert (ups[0], ups[-1]) == (0.0, 1.0)
    assert cloud.counted("FailoversFailed", "a") == 0


def test_closed_incident_leaves_its_interval_in_milliseconds(cloud: Cloud) -> None:
    fail_over_and_close(cloud)
    assert cloud.counted("DowntimeHigh", "a") >= cloud.counted("DowntimeLow", "a") > 0
    (document,) = [each for each in cloud.metrics() if "DowntimeLow" in each]
    units = {each["Name"]: each["Unit"] for each in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units == {"DowntimeLow": "Milliseconds", "DowntimeHigh": "Milliseconds"}
    (incident,) = cloud.incidents("a")
    assert cloud.counted("DowntimeLow", "a") == pytest.approx(float(incident["downtime_low_ms"]), abs=1)


# -- log lines


def test_every_decision_is_one_line_with_its_reason_group_and_carrier(cloud: Cloud) -> None:
    cloud.wake(Tick())
    lines = cloud.logged(reason_code="at-rest")
    assert {(each["group"], each["carried_by"]) for each in lines} == {("a", "a"), ("b", "b")}
    assert all(each["level"] == "INFO" and each["service"] == "natkeeper" for each in lines)
    cloud.forget()
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    (line,) = cloud.logged(reason_code="fail-over")
    assert (line["group"], line["carried_by"]) == ("a", "b")
    assert line["target"] == cloud.zones["b"].interface
    assert {each["action"] for each in line["actions"]} == {"PointRoute", "MoveAddress"}
    assert line["incident"] == cloud.incidents("a")[0]["sk"]


def test_every_action_is_one_line_with_how_long_it_took(cloud: Cloud) -> None:
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    (line,) = cloud.logged(message="done", action="PointRoute")
    assert (line["group"], line["table_id"]) == ("a", cloud.zones["a"].tables[0])
    assert line["target"] == cloud.zones["b"].interface
    assert 0 < line["ms"] < 5000


def test_report_of_failed_probes_is_a_warning_with_their_errors(cloud: Cloud) -> None:
    cloud.probe = cloud.deaf_probe
    cloud.stop_nat("a")
    cloud.wake(cloud.stopping("a"))
    line = cloud.logged(message="probe report", verdict="down")[0]
    assert (line["level"], line["group"], line["mode"]) == ("WARNING", "a", "verify")
    assert line["probe_errors"] == ["tcp://192.0.2.1:443 timeout"]


def test_no_secret_is_printed(cloud: Cloud) -> None:
    fail_over_and_close(cloud)
    text = "".join(cloud.output.writes)
    assert "AWS_SECRET_ACCESS_KEY" not in text
    assert "Authorization" not in text


# -- the message


def test_closed_incident_is_published_once_in_one_sentence(cloud: Cloud) -> None:
    fail_over_and_close(cloud)
    cloud.wake(Tick())
    (message,) = cloud.api.published()
    assert message["TopicArn"] == cloud.topic
    assert message["Subject"] == f"natkeeper: {STACK}"
    assert message["Message"].startswith("zone a's NAT stopped, egress was down ")
    assert f"same address {cloud.zones['a'].address}" in message["Message"]


def test_nobody_is_told_of_a_moment_that_mended_itself(cloud: Cloud) -> None:
    cloud.wake(cloud.awaited_report("a", "++-++"))
    (incident,) = cloud.incidents("a")
    assert (incident["cause"], "closed_at" in incident) == ("transient", True)
    assert cloud.counted("DowntimeHigh", "a") > 0
    assert cloud.api.published() == []


def test_nobody_is_told_of_the_gap_of_a_planned_move(cloud: Cloud) -> None:
    assert cloud.wake(Command(Verb.SWITCHOVER, "a", to="b"))["a"][0] == "operator-move"
    moved_at = cloud.memory("a").moved_at
    assert isinstance(moved_at, datetime)
    since = datetime.now(UTC) - moved_at
    cloud.wake(cloud.awaited_report("a", "-+", interval=since / 3))
    (incident,) = cloud.incidents("a")
    assert (incident["cause"], "closed_at" in incident) == ("planned-move", True)
    assert cloud.api.published() == []


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("code", ["AuthorizationError", "InternalError", "NotFound"])
def test_topic_that_refuses_does_not_break_the_pass(code: str, cloud: Cloud) -> None:
    cloud.api.faults.fail("Publish", code, times=None)
    fail_over_and_close(cloud)
    assert [(operation, found) for _, operation, found in cloud.troubles()] == [("Publish", code)]
    assert "closed_at" in cloud.incidents("a")[0]
    assert cloud.counted("Errors", "a") == 1
    cloud.wake(Tick())
    assert cloud.api.published() == []


@pytest.mark.usefixtures("cloud")
def test_topic_is_asked_with_the_same_patience_as_the_others() -> None:
    """A client with botocore's defaults would wait for a minute, and Lambda for 20 s."""
    assert wiring._sns().meta.config.read_timeout == wiring.CALL.read_timeout
