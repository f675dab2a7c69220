"""A bad parameter is refused before anything is created, with a message that names it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.template.intrinsics import HEX, ONE, THREE, TWO, Stack, zone

TARGET = "tcp://1.1.1.1:443"
HTTPS = "https://checkip.amazonaws.com/"


@pytest.mark.parametrize("parameters", [ONE, TWO, THREE], ids=["one zone", "two zones", "three zones"])
def test_good_parameters_are_accepted(template: dict[str, Any], parameters: dict[str, str]) -> None:
    stack = Stack(template, parameters)
    assert stack.refused_parameters() == {}
    assert stack.broken_rules() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZoneARouteTableIds", ",".join(f"rtb-{number:017x}" for number in range(20))),
        ("ZoneARouteTableIds", "rtb-01234567"),
        ("ZoneAPrivateCidr", "172.31.255.240/28"),
        ("ZoneANatGatewayId", f"nat-{HEX}"),
        ("InstanceTypes", "t4g.small"),
        ("InstanceTypes", "c7gn.medium,c6gn.medium,t4g.nano"),
        ("EgressProfile", "web"),
        ("BastionCidr", "10.0.1.10/32"),
        ("CanaryAddress", ""),
        ("CanaryAddress", "203.0.113.9"),
        ("ProbeTargets", f"{TARGET},{TARGET},{HTTPS}"),
        ("ProbeTargets", "https://example.com:8443/a/b?c=d,tcp://example.com:80,tcp://example.net:443"),
        ("ProbeInterval", "1"),
        ("ProbeInterval", "10"),
        ("ProbeTimeout", "0.8"),
        ("ProbeTimeout", "0.25"),
        ("ProbeRoundsToFail", "2"),
        ("ProbeRunSeconds", "300"),
        ("StandbyMode", "running"),
        ("AlarmEmail", "oncall@example.com"),
        ("LogRetentionDays", "365"),
        ("AmiId", "/my/own/nat-ami"),
        ("ControllerConcurrency", "0"),
        ("ControllerConcurrency", "10"),
        ("ControllerConcurrency", "100"),
        ("ProberConcurrency", "0"),
        ("ProberConcurrency", "3"),
        ("ProberConcurrency", "12"),
    ],
)
def test_a_good_value_is_accepted(template: dict[str, Any], name: str, value: str) -> None:
    assert Stack(template, ONE | {name: value}).refused_parameters() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZoneARouteTableIds", ""),
        ("ZoneARouteTableIds", f"rtb-{HEX}, rtb-{HEX}"),
        ("ZoneARouteTableIds", f"rtb-{HEX},"),
        ("ZoneARouteTableIds", ",".join(f"rtb-{number:017x}" for number in range(21))),
        ("ZoneAPrivateCidr", ""),
        ("ZoneAPrivateCidr", "10.0.2.0"),
        ("ZoneAPrivateCidr", "10.0.2.256/24"),
        ("ZoneAPrivateCidr", "0.0.0.0/0"),
        ("ZoneAPrivateCidr", "10.0.02.0/24"),
        ("ZoneBPrivateCidr", "10.0.4.0/33"),
        ("ZoneCPrivateCidr", "fd00::/64"),
        ("ZoneBPublicSubnetId", "subnet"),
        ("ZoneCRouteTableIds", "rtb-1"),
        ("ZoneANatGatewayId", "igw-0123456789abcdef0"),
        ("InstanceTypes", ""),
        ("InstanceTypes", "t4g"),
        ("InstanceTypes", "t4g.nano t4g.micro"),
        ("AmiId", "ami-0123456789abcdef0"),
        ("EgressProfile", "none"),
        ("BastionCidr", "10.0.1.0/24"),
        ("BastionCidr", "10.0.1.10"),
        ("CanaryAddress", "1.0.0.1/32"),
        ("CanaryAddress", "one.one.one.one"),
        ("ProbeTargets", ""),
        ("ProbeTargets", f"{TARGET},{HTTPS}"),
        ("ProbeTargets", f"{TARGET},{TARGET},icmp://1.1.1.1"),
        ("ProbeTargets", f"{TARGET},{TARGET},http://example.com/"),
        ("ProbeTargets", f"{TARGET}, {TARGET}, {HTTPS}"),
        ("ProbeTargets", f'{TARGET},{TARGET},https://example.com/"'),
        ("ProbeTargets", ",".join([TARGET] * 9)),
        ("ProbeInterval", "0"),
        ("ProbeInterval", "11"),
        ("ProbeTimeout", "0"),
        ("ProbeTimeout", "-1"),
        ("ProbeTimeout", "1"),
        ("ProbeRoundsToFail", "1"),
        ("ProbeRunSeconds", "301"),
        ("ProbeRunSeconds", "9"),
        ("QuietPeriod", "0"),
        ("StandbyMode", "yes"),
        ("MaxFailoversPerHour", "0"),
        ("MaxLaunchesPerDay", "0"),
        ("AlarmEmail", "oncall"),
        ("LogRetentionDays", "0"),
        ("ControllerConcurrency", "1"),
        ("ControllerConcurrency", "9"),
        ("ControllerConcurrency", ""),
        ("ProberConcurrency", "1"),
        ("ProberConcurrency", "2"),
        ("ProberConcurrency", "03"),
    ],
)
def test_a_bad_value_is_refused_with_a_message_that_names_it(template: dict[str, Any], name: str, value: str) -> None:
    refused = Stack(template, THREE | {name: value}).refused_parameters()
    assert list(refused) == [name]
    assert refused[name].startswith(f"{name} must ")


def test_every_parameter_is_described_and_grouped_once(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    assert all(len(each["Description"]) > 20 for each in template["Parameters"].values())


def test_every_constraint_names_its_parameter_and_no_other(template: dict[str, Any]) -> None:
    for name, each in template["Parameters"].items():
        if {"AllowedPattern", "AllowedValues", "MinValue"} & set(each):
            assert each["ConstraintDescription"].startswith(f"{name} must "), name


FIELDS = ("PublicSubnetId", "PrivateSubnetId", "RouteTableIds", "PrivateCidr")


@pytest.mark.parametrize("letter", ["B", "C"])
@pytest.mark.parametrize("missing", FIELDS)
def test_a_zone_with_a_hole_is_refused_by_a_rule_that_names_it(
    template: dict[str, Any], letter: str, missing: str
) -> None:
    broken = Stack(template, THREE | {f"Zone{letter}{missing}": ""}).broken_rules()
    assert any(message.startswith(f"Zone{letter}{missing} is empty") for message in broken)


@pytest.mark.parametrize("given", [*FIELDS, "NatGatewayId"])
def test_one_parameter_of_a_zone_asks_for_the_rest(template: dict[str, Any], given: str) -> None:
    value = zone("B", 2, NatGatewayId=f"nat-{HEX}")[f"ZoneB{given}"]
    broken = Stack(template, ONE | {f"ZoneB{given}": value}).broken_rules()
    assert {message.split()[0] for message in broken} == {f"ZoneB{each}" for each in FIELDS if each != given}


def test_zone_c_without_zone_b_is_refused(template: dict[str, Any]) -> None:
    broken = Stack(template, ONE | zone("C", 3)).broken_rules()
    assert broken == ["ZoneBPublicSubnetId is empty but zone c is given. Fill zone b before zone c."]


@pytest.mark.parametrize("field", ["PublicSubnetId", "PrivateSubnetId", "RouteTableIds", "PrivateCidr"])
@pytest.mark.parametrize(("letter", "twin"), [("B", "A"), ("C", "A"), ("C", "B")])
def test_two_zones_that_share_what_must_differ_are_refused(
    template: dict[str, Any], field: str, letter: str, twin: str
) -> None:
    broken = Stack(template, THREE | {f"Zone{letter}{field}": THREE[f"Zone{twin}{field}"]}).broken_rules()
    assert [message.split()[:2] for message in broken] == [[f"Zone{letter}{field}", "equals"]]


@pytest.mark.parametrize("letter", "ABC")
def test_a_prober_in_the_public_subnet_is_refused(template: dict[str, Any], letter: str) -> None:
    public = THREE[f"Zone{letter}PublicSubnetId"]
    broken = Stack(template, THREE | {f"Zone{letter}PrivateSubnetId": public}).broken_rules()
    assert [message.split()[0] for message in broken] == [f"Zone{letter}PrivateSubnetId"]


@pytest.mark.parametrize(("private", "public"), [(a, b) for a in "ABC" for b in "ABC" if a != b])
def test_a_prober_in_another_zones_public_subnet_is_refused(
    template: dict[str, Any], private: str, public: str
) -> None:
    slip = {f"Zone{private}PrivateSubnetId": THREE[f"Zone{public}PublicSubnetId"]}
    broken = Stack(template, THREE | slip).broken_rules()
    assert [message.split()[0] for message in broken] == [f"Zone{max(private, public)}PrivateSubnetId"]


def test_a_subnet_of_another_vpc_is_refused(template: dict[str, Any]) -> None:
    stack = Stack(template, ONE)
    stack.subnets_elsewhere = {ONE["ZoneAPrivateSubnetId"]}
    assert [message.split()[2] for message in stack.broken_rules()] == ["ZoneAPrivateSubnetId"]
