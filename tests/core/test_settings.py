"""Every bad setting is refused by name, with what to do about it, before the first call to AWS."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from natkeeper.core.policy import ProvingAddress, StandbyMode
from natkeeper.settings import BadSettings, parse

GOOD_GROUP = {
    "tables": "rtb-1,rtb-2",
    "cidr": "10.0.2.0/24",
    "subnet": "subnet-1",
    "private": "subnet-3",
    "allocation": "eipalloc-1",
    "address": "203.0.113.1",
    "prober": "test-prober-a",
}
OTHER_GROUP = {
    **GOOD_GROUP,
    "tables": "rtb-3",
    "cidr": "10.0.4.0/24",
    "subnet": "subnet-2",
    "private": "subnet-4",
    "allocation": "eipalloc-2",
    "address": "203.0.113.2",
    "prober": "test-prober-b",
}


def env(**changed: str | None) -> dict[str, str]:
    found: dict[str, str | None] = {
        "NATKEEPER_STACK": "test",
        "NATKEEPER_GROUP_A": json.dumps(GOOD_GROUP),
        "NATKEEPER_PROBE_TARGETS": "tcp://198.51.100.1:443,tcp://198.51.100.2:443,https://198.51.100.3/",
        "NATKEEPER_INSTANCE_TYPES": "t4g.nano, t4g.micro",
        "NATKEEPER_STANDBY": "stopped",
        "NATKEEPER_LAUNCH_TEMPLATE": "lt-1",
        "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
        "NATKEEPER_VPC_ID": "vpc-1",
        "NATKEEPER_SECURITY_GROUP": "sg-1",
        "NATKEEPER_INSTANCE_PROFILE": "arn:aws:iam::111122223333:instance-profile/nat",
        "NATKEEPER_EGRESS_PROFILE": "web",
        "NATKEEPER_LEDGER": "table",
        "NATKEEPER_TOPIC": "arn:aws:sns:eu-central-1:111122223333:topic",
        "NATKEEPER_CANARY_ADDRESS": "1.0.0.1",
    }
    found |= {f"NATKEEPER_{name}": value for name, value in changed.items()}
    return {name: value for name, value in found.items() if value is not None}


def group(base: dict[str, Any] = GOOD_GROUP, **changed: Any) -> str:
    return json.dumps({key: value for key, value in {**base, **changed}.items() if value is not None})


def test_good_settings_are_read() -> None:
    found = parse(env(GROUP_B=group(OTHER_GROUP, gateway="nat-1"), PROBE_INTERVAL="2", QUIET_PERIOD="60"))
    assert [each.name for each in found.policy.groups] == ["a", "b"]
    assert found.policy.groups[0].table_ids == ("rtb-1", "rtb-2")
    assert found.policy.groups[0].gateway_id is None
    assert found.policy.groups[1].gateway_id == "nat-1"
    assert found.policy.interval == timedelta(seconds=2)
    assert found.policy.quiet_period == timedelta(seconds=60)
    assert found.policy.standby is StandbyMode.STOPPED
    assert found.policy.instance_types == ("t4g.nano", "t4g.micro")
    assert found.probers == {"a": "test-prober-a", "b": "test-prober-b"}
    assert found.policy.canary == "1.0.0.1"
    assert found.egress_profile == "web"


def test_an_empty_canary_turns_it_off() -> None:
    assert parse(env(CANARY_ADDRESS="")).policy.canary is None


@pytest.mark.parametrize(
    "name",
    [
        "STACK",
        "PROBE_TARGETS",
        "INSTANCE_TYPES",
        "STANDBY",
        "LAUNCH_TEMPLATE",
        "LAUNCH_TEMPLATE_VERSION",
        "SECURITY_GROUP",
        "EGRESS_PROFILE",
        "LEDGER",
        "TOPIC",
        "GROUP_A",
    ],
)
@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_missing_or_empty_setting_is_named(name: str, value: str | None) -> None:
    """Peer mistake 2: `"".split(",")` is truthy, so a missing-configuration guard never fires."""
    with pytest.raises(BadSettings, match=f"NATKEEPER_{name}: missing"):
        parse(env(**{name: value}))


@pytest.mark.parametrize("value", [",", " , ,"])
@pytest.mark.parametrize("name", ["INSTANCE_TYPES", "PROBE_TARGETS"])
def test_a_list_of_nothing_is_empty(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"NATKEEPER_{name}"):
        parse(env(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROBE_INTERVAL", "0"),
        ("PROBE_INTERVAL", "-1"),
        ("PROBE_INTERVAL", "nan"),
        ("PROBE_INTERVAL", "inf"),
        ("PROBE_INTERVAL", "soon"),
        ("PROBE_INTERVAL", "61"),
        ("PROBE_TIMEOUT", "0"),
        ("PROBE_TIMEOUT", "1"),
        ("PROBE_ROUNDS_TO_FAIL", "1"),
        ("PROBE_ROUNDS_TO_FAIL", "11"),
        ("PROBE_RUN", "2"),
        ("PROBE_RUN", "900"),
        ("QUIET_PERIOD", "-1"),
        ("QUIET_PERIOD", "86401"),
        ("MAX_FAILOVERS_PER_HOUR", "0"),
        ("MAX_LAUNCHES_PER_DAY", "0"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_range(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=rf"NATKEEPER_{name}: .*give a number|NATKEEPER_{name}: .*give one from"):
        parse(env(**{name: value}))


@pytest.mark.parametrize("targets", ["tcp://198.51.100.1:443", "tcp://198.51.100.1:443,tcp://198.51.100.2:443"])
def test_fewer_than_three_targets_have_no_quorum(targets: str) -> None:
    with pytest.raises(BadSettings, match=r"NATKEEPER_PROBE_TARGETS: . given; a quorum needs at least 3"):
        parse(env(PROBE_TARGETS=targets))


def test_one_host_listed_twice_is_no_independent_target() -> None:
    with pytest.raises(BadSettings, match=r"NATKEEPER_PROBE_TARGETS: .*twice"):
        parse(env(PROBE_TARGETS="tcp://198.51.100.1:443,tcp://198.51.100.1:443,tcp://198.51.100.2:443"))


def test_a_malformed_target_is_refused() -> None:
    with pytest.raises(BadSettings, match="ftp"):
        parse(env(PROBE_TARGETS="ftp://198.51.100.1,tcp://198.51.100.1:443,tcp://198.51.100.2:443"))


@pytest.mark.parametrize(
    ("name", "value"), [("STANDBY", "maybe"), ("EGRESS_PROFILE", "some"), ("CANARY_ADDRESS", "one.one")]
)
def test_a_choice_that_is_none_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"NATKEEPER_{name}: '{value}'"):
        parse(env(**{name: value}))


@pytest.mark.parametrize("raw", ["{", "[]", '"a"', "null", "7"])
def test_a_group_that_is_no_object_is_named(raw: str) -> None:
    with pytest.raises(BadSettings, match="NATKEEPER_GROUP_A: "):
        parse(env(GROUP_A=raw))


@pytest.mark.parametrize("field", ["tables", "cidr", "subnet", "private", "allocation", "address", "prober"])
@pytest.mark.parametrize("value", [None, "", " ", 7])
def test_a_group_without_a_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(BadSettings, match=f"NATKEEPER_GROUP_A: `{field}` is missing or empty; zone a needs it"):
        parse(env(GROUP_A=group(**{field: value})))


@pytest.mark.parametrize("tables", [",", "rtb-1,rtb-1"])
def test_a_zone_with_no_table_or_one_twice_is_named(tables: str) -> None:
    with pytest.raises(BadSettings, match="NATKEEPER_GROUP_A: `tables`"):
        parse(env(GROUP_A=group(tables=tables)))


@pytest.mark.parametrize(("field", "value"), [("cidr", "10.0.2.1/24"), ("cidr", "here"), ("address", "203.0.113.256")])
def test_an_address_that_is_none_is_named(field: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"NATKEEPER_GROUP_A: `{field}`"):
        parse(env(GROUP_A=group(**{field: value})))


@pytest.mark.parametrize("cidr", ["10.0.2.0/24", "10.0.0.0/16", "10.0.2.128/25"])
def test_overlapping_cidrs_are_refused_with_both_named(cidr: str) -> None:
    with pytest.raises(BadSettings, match=r"NATKEEPER_GROUP_B: its CIDR .* overlaps zone a's 10\.0\.2\.0/24"):
        parse(env(GROUP_B=group(OTHER_GROUP, cidr=cidr)))


def test_a_table_in_two_zones_is_refused() -> None:
    with pytest.raises(BadSettings, match="NATKEEPER_GROUP_B: route table rtb-2 is zone a's too"):
        parse(env(GROUP_B=group(OTHER_GROUP, tables="rtb-3,rtb-2")))


def test_zones_need_not_be_neighbours_in_the_alphabet() -> None:
    assert [each.name for each in parse(env(GROUP_C=group(OTHER_GROUP))).policy.groups] == ["a", "c"]


@pytest.mark.parametrize("field", ["allocation", "address"])
def test_one_elastic_ip_in_two_zones_is_refused(field: str) -> None:
    """Each tick of one zone would take it from the other, for ever."""
    with pytest.raises(BadSettings, match="NATKEEPER_GROUP_B"):
        parse(env(GROUP_B=group(OTHER_GROUP, **{field: GOOD_GROUP[field]})))


def test_a_proving_address_is_read() -> None:
    found = parse(env(PROVING_ALLOCATION="eipalloc-p", PROVING_ADDRESS="203.0.113.240"))
    assert found.policy.proving == ProvingAddress("eipalloc-p", "203.0.113.240")
    assert parse(env()).policy.proving is None


@pytest.mark.parametrize(
    ("allocation", "address", "said"),
    [
        ("eipalloc-p", None, "NATKEEPER_PROVING_ADDRESS: missing"),
        (None, "203.0.113.240", "NATKEEPER_PROVING_ALLOCATION: missing"),
        ("eipalloc-p", "203.0.113", "NATKEEPER_PROVING_ADDRESS: .*spare Elastic IP"),
        (GOOD_GROUP["allocation"], "203.0.113.240", "NATKEEPER_PROVING_ALLOCATION: it is zone a's Elastic IP"),
        ("eipalloc-p", GOOD_GROUP["address"], "NATKEEPER_PROVING_ALLOCATION: it is zone a's Elastic IP"),
    ],
)
def test_a_proving_address_that_is_half_given_or_a_zones_own_is_refused(
    allocation: str | None, address: str | None, said: str
) -> None:
    with pytest.raises(BadSettings, match=said):
        parse(env(PROVING_ALLOCATION=allocation, PROVING_ADDRESS=address))


def test_a_canary_that_is_a_probe_target_is_refused() -> None:
    """Its /32 route would send that target's probes through the candidate instead of the path that is judged."""
    with pytest.raises(BadSettings, match="NATKEEPER_CANARY_ADDRESS"):
        parse(env(CANARY_ADDRESS="198.51.100.1"))


@pytest.mark.parametrize(
    ("fields", "named", "why"),
    [
        ({"GROUP_A": group(private="subnet-1")}, "NATKEEPER_GROUP_A: `private` subnet-1", "the zone's public subnet"),
        ({"GROUP_B": group(OTHER_GROUP, private="subnet-3")}, "NATKEEPER_GROUP_B: `private` subnet-3", "zone a's too"),
        (
            {"GROUP_B": group(OTHER_GROUP, private="subnet-1")},
            "NATKEEPER_GROUP_B: `private` subnet-1",
            "zone a's public",
        ),
        ({"GROUP_A": group(private="subnet-2")}, "NATKEEPER_GROUP_A: `private` subnet-2", "zone b's public"),
        ({"GROUP_B": group(OTHER_GROUP, subnet="subnet-1")}, "NATKEEPER_GROUP_B: `subnet` subnet-1", "zone a's too"),
    ],
)
def test_a_probers_subnet_that_is_somebody_elses_is_refused_by_name_with_the_remedy(
    fields: dict[str, str], named: str, why: str
) -> None:
    with pytest.raises(BadSettings) as refused:
        parse(env(**{"GROUP_B": group(OTHER_GROUP), **fields}))
    assert str(refused.value).startswith(named)
    assert why in str(refused.value)
    assert ": give " in str(refused.value)


@pytest.mark.parametrize("name", ["VPC_ID", "SECURITY_GROUP", "INSTANCE_PROFILE"])
def test_what_says_whose_a_machine_is_must_be_set(name: str) -> None:
    with pytest.raises(BadSettings, match=f"NATKEEPER_{name}: missing"):
        parse(env(**{name: None}))
