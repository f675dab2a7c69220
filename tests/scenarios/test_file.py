"""The format of scenario files is a contract: what does not belong is named, with its file, its line and what does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from natkeeper_lab.scenario.file import BadScenario, parse

GOOD = """\
name: one
why: because
zones: [a, b]
stack: {ProbeInterval: 1}
flows:
  - {from: a, count: 5, speaks: client, every: 0.2}
timeline:
  - {at: 2, do: stop_instance, target: active@a}
expect:
  - {restored: a, within: 3}
"""
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        return path

    return to_file


def step(text: str) -> str:
    return GOOD.replace("{at: 2, do: stop_instance, target: active@a}", text)


def expectation(text: str) -> str:
    return GOOD.replace("{restored: a, within: 3}", text)


def test_the_contracts_own_example_is_read_as_it_stands() -> None:
    found = parse(Path(__file__).parents[2] / "lab/natkeeper_lab/scenarios/stop-the-nat.yaml")
    assert found.zones == ("a", "b")
    assert [(each.at, each.do, each.target and each.target.text) for each in found.timeline] == [
        (2.0, "stop_instance", "active@a")
    ]
    assert [each.kind for each in found.expect] == [
        "restored",
        "egress_address",
        "flows",
        "route",
        "incidents",
        "route",
    ]
    assert (found.expect[0].within, found.expect[-1].eventually) == (3.0, 120.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty or not a mapping"),
        ("- a\n", 1, "not a mapping"),
        ("name: [\n", None, "is not YAML"),
        (GOOD + "name: two\n", 11, "key 'name' is given twice"),
        (GOOD + "expects: []\n", 11, "unknown key 'expects' in a scenario; did you mean 'expect'?"),
        (GOOD.replace("why: because\n", ""), 1, "key 'why' is missing"),
        (GOOD.replace("why: because", "why: 3"), 2, "why: 3 is not a text"),
        (GOOD.replace("[a, b]", "[b]"), 3, "write [a], [a, b] or [a, b, c]"),
        (GOOD.replace("[a, b]", "[]"), 3, "zones: []"),
        (GOOD.replace("ProbeInterval", "ProbeInterva"), 4, "unknown template parameter 'ProbeInterva'"),
        (GOOD.replace("ProbeInterval", "VpcId"), 4, "the lab makes this itself"),
        (GOOD.replace("ProbeInterval: 1", "ZoneANatGatewayId: nat-1"), 4, "write lab, not 'nat-1'"),
        (GOOD.replace("ProbeInterval: 1", "ZoneCNatGatewayId: lab"), 4, "there is no zone 'c' in this scenario"),
        (GOOD.replace("ProbeInterval: 1", "ZoneAPrivateCidr: lab"), 4, "the lab makes this itself; allowed: Instance"),
        (GOOD.replace("ProbeInterval: 1", "ProbeInterval: {}"), 4, "neither a text nor a number"),
        (GOOD.replace("{ProbeInterval: 1}", "fast"), 4, "stack: expected template parameters"),
        (GOOD.replace("from: a", "from: z"), 6, "from: 'z' is no zone of this scenario; its zones: a, b"),
        (GOOD.replace("count: 5", "count: 0"), 6, "count: 0 is not a whole number of 1 or more"),
        (GOOD.replace("speaks: client", "speaks: nobody"), 6, "allowed: client, server, both"),
        (GOOD.replace("every: 0.2", "every: 0"), 6, "every: a flow that never speaks"),
        (GOOD.replace("every: 0.2", "every: 0.2, port: 70000"), 6, "port: 70000"),
        (GOOD.replace("every: 0.2", "evry: 0.2"), 6, "unknown key 'evry' in a flow"),
        (GOOD.replace("count: 5", "count: 5000"), 6, "2000 at most"),
        (GOOD.replace("count: 5", "count: 99999999999"), 6, "100000 at most"),
        (GOOD.replace("ProbeInterval: 1", "ProbeInterval: soon"), 4, "ProbeInterval: 'soon' is not a number"),
        (GOOD.replace("ProbeInterval: 1", "StandbyMode: maybe"), 4, "StandbyMode: 'maybe' is none of none, stopped"),
        (GOOD.replace("ProbeInterval: 1", "QuietPeriod: -5"), 4, "QuietPeriod: -5 is out of range"),
        (GOOD.replace("[a, b]", "&loop [a, *loop]"), 1, "nested without end"),
        (GOOD.replace("zones: [a, b]", "zones:\n\t- a"), 4, "is not YAML: found character '\\t'"),
        (GOOD + "---\n" + GOOD, 11, "found another document"),
    ],
)
def test_a_file_that_is_wrong_at_the_top_says_where_and_what(
    write: Write, text: str, line: int | None, words: str
) -> None:
    refused(write, text, line, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{at: 2, do: stop_instanc, target: active@a}", "unknown verb 'stop_instanc'; did you mean 'stop_instance'?"),
        ("{at: 2, do: 7}", "unknown verb 7"),
        ("{do: stop_instance, target: active@a}", "a step needs `at` and `do`"),
        ("{at: 2, target: active@a}", "a step needs `at` and `do`"),
        ("{at: -1, do: stop_instance, target: active@a}", "durations are seconds, 0 or more"),
        ("{at: 100000000, do: stop_instance, target: active@a}", "86400 (a day) at most"),
        ("{at: 1, at: 2, do: resume}", "key 'at' is given twice"),
        ("{at: .nan, do: resume}", "at: nan is not a number"),
        ("{at: true, do: resume}", "at: True is not a number"),
        ("{at: 1, do: delete_route, target: 'table@a[99999]'}", "at most 50 tables"),
        ("{at: 1, do: stop_instance, target: 3}", "unknown target 3; allowed"),
        ("{at: soon, do: stop_instance, target: active@a}", "at: 'soon' is not a number"),
        ("{at: 2, do: stop_instance}", "needs a target; it may be active, standby, nat"),
        ("{at: 2, do: stop_instance, target: activ@a}", "unknown target 'activ@a'; allowed: active@a"),
        ("{at: 2, do: stop_instance, target: active@c}", "there is no zone 'c' in this scenario"),
        ("{at: 2, do: stop_instance, target: active}", "write active@a"),
        ("{at: 2, do: stop_instance, target: zone@a}", "does not fit here; allowed: active@a, standby@a, nat@a"),
        ("{at: 2, do: stop_instance, target: 'nat@a[1]'}", "only a table or a probe_target has a number"),
        ("{at: 2, do: block_probe_target, target: probe_target}", "probe_target[0] to probe_target[2]"),
        ("{at: 2, do: block_probe_target, target: 'probe_target[3]'}", "probe_target[0] to probe_target[2]"),
        ("{at: 2, do: lose_events, target: nat@a}", "unknown key 'target' in step lose_events"),
        ("{at: 2, do: lose_events, cuont: 1}", "unknown key 'cuont' in step lose_events; did you mean 'count'?"),
        ("{at: 2, do: packet_loss, target: nat@a}", "key 'percent' is missing"),
        ("{at: 2, do: packet_loss, target: nat@a, percent: 101}", "percent: 101 is not between 0 and 100"),
        ("{at: 2, do: packet_loss, target: nat@a, percent: .inf}", "is not a number"),
        ("{at: 2, do: api_error, operation: ReplaceRout, code: X}", "did you mean 'ReplaceRoute'?"),
        ("{at: 2, do: api_error, operation: 's3:GetObject', code: X}", "service 's3' is unknown"),
        ("{at: 2, do: api_error, operation: ReplaceRoute}", "key 'code' is missing"),
        ("{at: 2, do: replace_route, target: table@a, to: igw}", "to: unknown target 'igw'"),
        ("{at: 2, do: no_capacity, zones: [q]}", "zones: 'q' is no zone of this scenario"),
        ("{at: 2, do: switchover, group: a, to: moon}", "to: 'moon' is unknown"),
        ("{at: 2, do: pause, group: a, minutes: 1.5}", "minutes: 1.5 is not a whole number"),
        ("{at: 2, do: send_event}", "give either file or event"),
        ("{at: 2, do: send_event, file: x, event: {}}", "give either file or event"),
        ("{at: 2, do: send_event, file: nowhere.json}", "neither beside the scenario nor in events/"),
        ("{at: 2, do: send_event, event: hello}", "event: 'hello' is not a mapping"),
        ("{at: 2, do: clock_skew, target: ledger, seconds: 1}", "does not fit here"),
        ("{at: 2, do: address_remap}", "key 'seconds' is missing"),
        ("{at: 2, do: address_remap, seconds: 3, model: dusk}", "model: 'dusk' is unknown"),
        ("{at: 2, do: address_remap, seconds: 3, modl: dark}", "did you mean 'model'?"),
        ("{at: 2, do: address_remap, seconds: 3, target: nat@a}", "unknown key 'target' in step address_remap"),
        ("{at: 2, do: public_address}", "public_address: give either seconds or never"),
        ("{at: 2, do: public_address, seconds: 3, never: true}", "public_address: give either seconds or never"),
        ("{at: 2, do: public_address, never: false}", "never: false says nothing"),
        ("{at: 2, do: public_address, never: 3}", "never: 3 is neither true nor false"),
        ("{at: 2, do: boot, seconds: -1}", "durations are seconds, 0 or more"),
        ("{at: 2, do: start}", "key 'seconds' is missing"),
        ("{at: 2, do: api_time, seconds: 3}", "key 'operation' is missing"),
        ("{at: 2, do: api_time, operation: RunInstance, seconds: 3}", "did you mean 'RunInstances'?"),
        ("{at: 2, do: destination_delay, seconds: soon}", "'soon' is not a number"),
        ("{at: 2, do: cpu_share, percent: 20}", "needs a target; it may be controller, prober"),
        ("{at: 2, do: cpu_share, percent: 0, target: controller}", "0 is not between 1 and 100"),
        ("{at: 2, do: cpu_share, percent: 20, target: nat@a}", "does not fit here"),
        ("{at: 2, do: reboot}", "needs a target"),
        ("{at: 2, do: foreign_events, count: 5}", "key 'per_second' is missing"),
        ("{at: 2, do: foreign_events, count: 5, per_second: 0}", "0 is not between 0.01 and 1000"),
        ("{at: 2, do: health_event, target: nat@a, foreign: 0}", "foreign: 0 is not a whole number of 1 or more"),
        ("{at: 2, do: disassociate_address}", "key 'group' is missing"),
        ("{at: 2, do: release_address}", "key 'group' is missing"),
        ("{at: 2, do: release_address, group: q}", "group: 'q' is no zone of this scenario; its zones: a, b"),
        ("{at: 2, do: release_address, target: nat@a}", "unknown key 'target' in step release_address"),
        ("{at: 2, do: associate_subnet, group: a}", "key 'table' is missing"),
        ("{at: 2, do: associate_subnet, group: a, table: 7}", "table: 7 is unknown; allowed: other, main, none"),
        ("{at: 2, do: block_public_access, group: a}", "unknown key 'group' in step block_public_access"),
        ("{at: 2, do: unblock_public_acces}", "did you mean 'unblock_public_access'?"),
        ("{at: 2, do: forged_report, group: a}", "key 'says' is missing"),
        ("{at: 2, do: forged_report, group: a, says: maybe}", "says: 'maybe' is unknown; allowed: down, up"),
        ("{at: 2, do: forged_report, group: a, says: up, ahead: -1}", "durations are seconds, 0 or more"),
        ("{at: 2, do: tag_foreign_instance, role: nat}", "key 'vpc' is missing"),
        ("{at: 2, do: tag_foreign_instance, role: host, vpc: same}", "role: 'host' is unknown; allowed: nat, standby"),
        ("{at: 2, do: tag_foreign_instance, role: nat, vpc: ours}", "vpc: 'ours' is unknown; allowed: same, other"),
        ("{at: 2, do: poison_ledger, group: a, field: epoch}", "key 'value' is missing"),
        ("{at: 2, do: poison_ledger, group: a, value: 3, field: lease_untl}", "did you mean 'lease_until'?"),
        ("{at: 2, do: poison_ledger, group: a, field: paused_until, value: '+soon'}", "such as +3600"),
        ("{at: 2, do: poison_ledger, group: a, field: epoch, value: null}", "give a text, a number"),
        ("{at: 2, do: poison_ledger, group: a, field: epoch, value: .inf}", "give a text, a number"),
        ("{at: 2, do: poison_ledger, target: zone@a, group: a, field: epoch, value: 3}", "allowed: ledger"),
        ("{at: 2, do: fill_conntrack, target: nat@a}", "key 'percent' is missing"),
        ("{at: 2, do: fill_conntrack, percent: 5}", "needs a target"),
        ("{at: 2, do: fill_conntrack, target: nat@a, percent: 120}", "percent: 120 is not between 0 and 100"),
        ("{at: 2, do: limit_bandwidth, target: nat@a}", "key 'megabits' is missing"),
        ("{at: 2, do: limit_bandwidth, target: nat@a, megabits: 0}", "megabits: 0 is not between 0.01 and 100000"),
        ("{at: 2, do: limit_bandwidth, target: nat@a, megabit: 1}", "did you mean 'megabits'?"),
        ("{at: 2, do: break_user_data, without: shoes}", "without: 'shoes' is unknown; allowed: script, rules"),
        ("{at: 2, do: reboot, target: nat@a, original: 3}", "original: 3 is neither true nor false"),
        ("stop it", "'stop it' is not a mapping"),
    ],
)
def test_a_step_that_is_wrong_says_where_and_what(write: Write, text: str, words: str) -> None:
    refused(write, step(text), None if text == "stop it" else 8, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{restord: a}", "unknown expectation 'restord'; did you mean 'restored'?"),
        ("{within: 3}", "unknown expectation None"),
        ("{restored: a, route: a}", "two expectations in one entry: restored, route"),
        ("{restored: c}", "restored: 'c' is no zone of this scenario"),
        ("{restored: a, withn: 3}", "unknown key 'withn' in expectation restored; did you mean 'within'?"),
        ("{restored: a, within: 3, eventually: 4}", "give either within or eventually, not both"),
        ("{restored: a, after: 2}", "there is no step 2; the timeline has 1"),
        ("{restored: a, after: 0}", "after: 0 is not a whole number"),
        ("{route: a}", "key 'is' is missing"),
        ("{route: a, is: aawy}", "is: 'aawy' is unknown; did you mean 'away'?"),
        ("{egress_address: a, is: gone}", "allowed: same, changed"),
        ("{flows: a, surviving_at_least: 95}", "surviving_at_least: 95 is not between 0 and 1"),
        ("{incidents: a}", "give at least one of count, contain_truth"),
        ("{incidents: a, count: -1}", "count: -1 is not a whole number of 0 or more"),
        ("{incidents: a, contain_truth: 1}", "neither true nor false"),
        ("{downtime: a}", "key 'at_most' is missing"),
        ("{writes: RepalceRoute, at_most: 0}", "did you mean 'ReplaceRoute'?"),
        ("{metric: Failovers}", "give at least one of at_least, at_most"),
        ("{metric: Failover, at_least: 1}", "did you mean 'Failovers'?"),
        ("{alarm: egress-down, is: alarm}", "name: 'egress-down' is unknown"),
        ("{alarm: egress-down-a, is: ringing}", "allowed: ok, alarm, insufficient_data"),
        ("{instance: zone@a, is: running}", "does not fit here"),
        ("{instance: nat@a, is: dead}", "allowed: pending, running, stopping, stopped, terminated, kept"),
        ("{log: fail-ovr}", "did you mean 'fail-over'?"),
        ("{log: {reason: fail-over}}", "unknown key 'reason' in expectation log"),
        ("{invariants: some}", "neither true nor false"),
        ("{dark: a}", "key 'at_most' is missing"),
        ("{dark: z, at_most: 3}", "dark: 'z' is no zone of this scenario"),
        ("{failovers: a, at_most: 1.5}", "at_most: 1.5 is not a whole number"),
        ("{moves: a, at_mots: 1}", "did you mean 'at_most'?"),
        ("{egress_addresses: a}", "key 'at_most' is missing"),
        ("{message: a, contains: ''}", "'' is not a text"),
        ("{messages: a}", "key 'at_most' is missing"),
        ("{calls: DescribeInstance, at_most: 1}", "did you mean 'DescribeInstances'?"),
        ("{calls: ReplaceRoute}", "key 'at_most' is missing"),
    ],
)
def test_an_expectation_that_is_wrong_says_where_and_what(write: Write, text: str, words: str) -> None:
    refused(write, expectation(text), 10, words)


@pytest.mark.parametrize(
    ("text", "subject", "args"),
    [
        ("{log: fail-over}", "", {"reason_code": "fail-over"}),
        ("{log: a, reason_code: fail-over}", "a", {"reason_code": "fail-over"}),
        ("{log: {reason_code: fail-over}}", "", {"reason_code": "fail-over"}),
        ("{writes: ReplaceRoute, at_most: 0}", "", {"operation": "ReplaceRoute", "at_most": 0}),
        ("{writes: {operation: ReplaceRoute, at_most: 0}}", "", {"operation": "ReplaceRoute", "at_most": 0}),
        ("{writes: a, at_most: 0}", "a", {"operation": None, "at_most": 0}),
        ("{writes: all, at_most: 0}", "", {"operation": None, "at_most": 0}),
        ("{metric: Failovers, at_most: 1}", "", {"name": "Failovers", "at_least": None, "at_most": 1.0}),
        ("{metric: {name: Home, group: b, at_least: 1}}", "b", {"name": "Home", "at_least": 1.0, "at_most": None}),
        ("{instances: {group: a, at_most: 2}}", "a", {"at_most": 2}),
        ("{writes: {operation: 'dynamodb:*', at_most: 3}}", "", {"operation": "dynamodb:*", "at_most": 3}),
        ("{calls: DescribeInstances, at_most: 3}", "", {"operation": "DescribeInstances", "at_most": 3}),
        ("{calls: {operation: 'lambda:Invoke', at_most: 3}}", "", {"operation": "lambda:Invoke", "at_most": 3}),
        ("{dark: {group: b, at_most: 2.5}}", "b", {"at_most": 2.5}),
        ("{failovers: {group: a, at_most: 1}}", "a", {"at_most": 1}),
        ("{message: {group: a, contains: stopped}}", "a", {"contains": "stopped"}),
        ("{messages: all, at_most: 0}", "", {"at_most": 0}),
        ("{alarm: {name: failover-failed, is: ALARM}}", "", {"name": "failover-failed", "is": "alarm"}),
        ("{invariants: all}", True, {}),
        ("{invariants: false}", False, {}),
    ],
)
def test_an_expectation_may_be_written_short_or_in_full(
    write: Write, text: str, subject: object, args: dict[str, object]
) -> None:
    (found,) = parse(write(expectation(text))).expect
    assert (found.subject, dict(found.args)) == (subject, args)


def test_steps_are_taken_in_the_order_of_time(write: Write) -> None:
    text = step("{at: 5, do: failover, group: a}\n  - {at: 1, do: resume}")
    assert [each.do for each in parse(write(text)).timeline] == ["resume", "failover"]


def test_a_zone_has_as_many_tables_as_the_file_speaks_of(write: Write) -> None:
    assert parse(write(GOOD)).tables == 1
    assert parse(write(step("{at: 1, do: delete_route, target: 'table@b[2]'}"))).tables == 3


def test_a_file_that_is_not_there_is_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match="cannot be read: No such file"):
        parse(tmp_path / "none.yaml")


def refused(write: Write, text: str, line: int | None, words: str) -> None:
    path = write(text)
    with pytest.raises(BadScenario) as caught:
        parse(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}:")


def test_a_zone_that_is_given_a_gateway_has_one_and_nothing_else_changes(write: Write) -> None:
    found = parse(write(GOOD.replace("ProbeInterval: 1", "ProbeInterval: 1, ZoneBNatGatewayId: lab")))
    assert (found.gateways, dict(found.stack)) == (("b",), {"ProbeInterval": "1"})


def test_a_prober_whose_subnet_is_moved_has_one_of_its_own(write: Write) -> None:
    assert parse(write(GOOD)).zones_with_probers_apart == ()
    text = step("{at: 2, do: associate_subnet, group: b, table: main}")
    assert parse(write(text)).zones_with_probers_apart == ("b",)
