"""Scenarios with real packets: one that holds, one of which nothing holds, and one that cannot be judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from natkeeper_lab.report import render
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.run import Outcome, play

pytestmark = [pytest.mark.packets, pytest.mark.usefixtures("no_vpc")]
FAST = 10.0


@pytest.fixture
def no_vpc() -> None:
    """Nothing to close here; the name keeps these tests in line with those of tests/lab."""


def run(tmp_path: Path, text: str) -> Outcome:
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    return play(parse(path), FAST, print)


def test_a_stop_is_survived_and_its_record_tells_the_whole_story() -> None:
    library = Path(__file__).parents[2] / "lab" / "natkeeper_lab" / "scenarios"
    outcome = play(parse(library / "stop-the-nat.yaml"), FAST, print)
    assert outcome.passed, [(each.expected, each.seen) for each in outcome.verdicts if not each.passed]
    record = outcome.record
    assert [each["kind"] for each in record["lanes"]["packets"]][:2] == ["first_failed", "first_ok"]
    assert [each["target_name"] for each in record["lanes"]["routes"]] == ["NAT b", "NAT a"]
    assert {"stopping", "running"} <= {each["state"] for each in record["lanes"]["events"]}
    assert "fail-over" in {each["reason_code"] for each in record["lanes"]["decisions"]}
    assert {"ReplaceRoute", "AssociateAddress"} <= {each["operation"] for each in record["lanes"]["api"]}
    (flows,) = record["flows"]
    assert (flows["group"], flows["opened"]) == ("a", 50)
    assert record["topology"]["before"]["groups"]["a"]["carried_by"] == "NAT a"
    (incident,) = [each for each in record["incidents"] if each["cause"] == "instance-stopped"]
    assert incident["low"] <= incident["seen"] <= incident["high"]
    # The report knows the recorder's words for home: its own data once differed, and every NAT was drawn as a stranger.
    page = render(record)
    assert 'class="s home"' in page
    assert page.index('class="s home"') < page.index('class="s out"')
    seen = record["topology"]["after"]["groups"]["a"]["address"].split()[0]
    assert f"zone a is carried by NAT a and seen as {seen}" in page


def test_what_does_not_hold_fails_and_says_what_was_expected_and_seen(tmp_path: Path) -> None:
    broken = [
        "{egress_address: a, is: changed, within: 1}",
        "{route: a, is: away, within: 1}",
        "{route: a, is: none, within: 1}",
        "{incidents: a, count: 2, within: 1}",
        "{metric: Failovers, at_least: 1, within: 1}",
        "{log: fail-over, within: 1}",
        "{instance: nat@a, is: stopped, within: 1}",
        "{instances: a, at_most: 0}",
        "{writes: UpdateItem, at_most: 0}",
        "{writes: 'dynamodb:*', at_most: 0}",
        "{calls: 'Describe*', at_most: 0}",
        "{dark: a, at_most: 0.5}",
        "{egress_addresses: a, at_most: 0}",
        "{message: a, contains: stopped}",
        "{flows: a, surviving_at_least: 1}",
        "{downtime: a, at_most: 0.5}",
        "{never_down: a}",
        "{restored: a, within: 3}",
    ]
    text = "name: nothing-holds\nwhy: every expectation must be able to fail\nzones: [a]\nstack: {StandbyMode: none}\n"
    text += "flows:\n  - {from: a, count: 2}\ntimeline:\n  - {at: 0.5, do: pause}\n"
    text += "  - {at: 1, do: drop_forwarding, target: nat@a}\nexpect:\n" + "".join(f"  - {each}\n" for each in broken)
    outcome = run(tmp_path, text)
    assert not outcome.void
    held = [each.text for each in outcome.verdicts if each.passed]
    assert held == ["invariants"]
    assert all(each.expected and each.seen for each in outcome.verdicts)


def test_a_step_that_cannot_be_made_voids_the_run(tmp_path: Path) -> None:
    text = "name: nobody\nwhy: there is no standby to stop\nzones: [a]\nstack: {StandbyMode: none}\n"
    outcome = run(tmp_path, text + "timeline:\n  - {at: 0, do: stop_instance, target: standby@a}\nexpect: []\n")
    assert outcome.void == "there is no standby@a at this moment"
    assert not outcome.passed
    assert outcome.record["passed"] is False
