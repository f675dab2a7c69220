"""What the NAT's user data says, without running it."""

from dataclasses import replace

import pytest

from natkeeper.nat_instance import MAX_USER_DATA_BYTES, NatProfile, generation, render_user_data

PROFILE = NatProfile("a", ("10.0.2.0/24",), (("10.0.3.0/24", "10.0.4.0/24"),), "web", "203.0.113.99")


def test_user_data_leaves_room_below_the_limit_of_ec2() -> None:
    assert len(render_user_data(PROFILE).encode()) < MAX_USER_DATA_BYTES * 0.75


def test_user_data_starts_with_an_interpreter_line() -> None:
    assert render_user_data(PROFILE).startswith("#!/bin/bash\n")


def test_source_ports_are_never_random() -> None:
    rules = [line for line in render_user_data(PROFILE).splitlines() if "snat to" in line]
    assert rules
    assert not [line for line in rules if "random" in line]


def test_the_same_profile_is_the_same_generation() -> None:
    assert generation(PROFILE, "1") == generation(replace(PROFILE), "1")


@pytest.mark.parametrize(
    "other",
    [
        replace(PROFILE, own_cidrs=("10.0.9.0/24",)),
        replace(PROFILE, hosted=()),
        replace(PROFILE, egress_profile="all"),
        replace(PROFILE, canary_address=None),
    ],
)
def test_what_changes_the_instance_changes_its_generation(other: NatProfile) -> None:
    assert generation(PROFILE, "1") != generation(other, "1")


def test_a_new_template_version_is_a_new_generation() -> None:
    assert generation(PROFILE, "1") != generation(PROFILE, "2")


def test_order_of_hosted_groups_decides_where_they_land() -> None:
    there = replace(PROFILE, hosted=(("10.0.3.0/24",), ("10.0.4.0/24",)))
    back = replace(PROFILE, hosted=(("10.0.4.0/24",), ("10.0.3.0/24",)))
    assert render_user_data(there) != render_user_data(back)


def test_standby_hosts_its_own_group_on_its_secondary_address() -> None:
    settings = render_user_data(replace(PROFILE, own_cidrs=(), hosted=(("10.0.2.0/24",),))).splitlines()
    assert "OWN=''" in settings
    assert "HOSTED=(10.0.2.0/24)" in settings


@pytest.mark.parametrize(
    "nonsense",
    [
        replace(PROFILE, own_cidrs=(), hosted=()),
        replace(PROFILE, own_cidrs=("10.0.2.1/24",)),
        replace(PROFILE, hosted=(("not a network",),)),
        replace(PROFILE, group="a'; reboot; '"),
        replace(PROFILE, canary_address="$(reboot)"),
        replace(PROFILE, egress_profile="none"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused_before_it_can_boot(nonsense: NatProfile) -> None:
    with pytest.raises(ValueError):
        render_user_data(nonsense)
