"""natkeeper as deployed, with real packets: one zone and three, from nothing, and two NATs lost at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from natkeeper_lab import story
from natkeeper_lab.api import ApiOptions
from natkeeper_lab.narrator import Narrator
from natkeeper_lab.stack import Choices, Stack
from natkeeper_lab.story import Story

FAST: dict[str, Any] = {"run": 3.0, "quiet": 2.0, "api": ApiOptions(boot_seconds=1.0, stop_seconds=1.0)}

pytestmark = [pytest.mark.packets, pytest.mark.usefixtures("no_vpc")]


def tell(choices: Choices) -> Iterator[Story]:
    """A stack of that kind; what happened in it is printed when the test fails."""
    with Stack(choices) as stack:
        narrator = Narrator(stack)
        try:
            yield Story(stack, narrator)
        finally:
            narrator.close()


@pytest.fixture
def one_zone() -> Iterator[Story]:
    yield from tell(Choices(zones=1, standby="stopped", **FAST))


@pytest.fixture
def three_zones() -> Iterator[Story]:
    yield from tell(Choices(zones=3, **FAST))


@pytest.fixture
def two_zones() -> Iterator[Story]:
    """The story's beginning: two NATs made by hand, natkeeper switched on."""
    for told in tell(Choices(**FAST)):
        for group in told.stack.groups:
            told.stack.set_source_dest_check(told.stack.launch_nat(group), False)
            told.stack.put_home(group)
        told.stack.switch_on()
        yield told


def nats(story: Story, group: str, role: str = "nat") -> list[dict[str, Any]]:
    found = []
    for reservation in story.stack.ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            tags = {each["Key"]: each["Value"] for each in instance.get("Tags", [])}
            if (tags.get("natkeeper:group"), tags.get("natkeeper:role")) == (group, role):
                found.append(instance)
    return [each for each in found if each["State"]["Name"] != "terminated"]


def test_a_stop_a_return_and_a_black_hole_keep_address_connections_and_promises(two_zones: Story) -> None:
    """The steps of `make demo` with the hardest promises: each checks its own, downtime interval included."""
    for name, step in (("stopped", story.stop), ("home-again", story.come_home), ("black-hole", story.black_hole)):
        result = two_zones.play(name, name, step)
        assert result.passed, result.notes


def test_one_zone_survives_on_its_stopped_standby_and_comes_home(one_zone: Story) -> None:
    told, stack = one_zone, one_zone.stack
    stack.switch_on()
    told.until(
        "a proven standby, stopped",
        lambda: [each["State"]["Name"] for each in nats(told, "a", "standby")] == ["stopped"],
        60,
    )
    address = told.fetch()
    (nat,) = nats(told, "a")
    stack.ec2.stop_instances(InstanceIds=[nat["InstanceId"]])
    told.until("no egress while nothing runs", lambda: told.fetch(seconds=2) is None, 60)
    told.until("egress through the standby", lambda: told.fetch(seconds=1) == address, 60)
    assert stack.route_of("a") == {nats(told, "a", "standby")[0]["NetworkInterfaces"][0]["NetworkInterfaceId"]}
    told.until("traffic at home", lambda: stack.route_of("a") == {stack.interface_of(nat["InstanceId"])}, 60)
    incident = told.wait_for_incident(0)
    assert (incident["cause"], incident["address_after"]) == ("instance-stopped", address)
    told.until("the standby stopped again", lambda: nats(told, "a", "standby")[0]["State"]["Name"] == "stopped", 60)


def test_three_zones_set_themselves_up_and_lose_two_nats_at_once(three_zones: Story) -> None:
    told, stack = three_zones, three_zones.stack
    stack.switch_on()
    told.wait_until_settled(90)
    before = {group: told.fetch(group) for group in "abc"}
    assert before == {group: stack.groups[group].address for group in "abc"}
    assert told.incidents() == []  # setting up is no outage
    lost = [nats(told, group)[0]["InstanceId"] for group in "ab"]
    stack.ec2.terminate_instances(InstanceIds=lost)
    began = time.monotonic()
    for group in "abc":
        told.until(f"egress of zone {group}", lambda group=group: told.fetch(group, 1) is not None, 60)
    print(f"two NATs of three terminated: every zone has egress after {time.monotonic() - began:.2f} s")
    assert {stack.carrier_of(group) for group in "abc"} == {"c"}
    # A t4g.nano has one address to spare: the group before it keeps its address, the one before that does not.
    assert told.fetch("b") == before["b"]
    assert told.fetch("a") == before["c"]
    told.until("everybody at home", lambda: all(stack.carrier_of(each) == each for each in "abc"), 90)
    told.until("the addresses of before", lambda: {each: told.fetch(each) for each in "abc"} == before, 60)
    incident = told.wait_for_incident(0)
    assert (incident["address_before"], incident["address_after"]) == (before["a"], before["c"])
    messages = [each["Message"] for each in stack.api.published()]
    assert any("the egress address changed" in each for each in messages), messages
