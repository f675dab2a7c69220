"""AWS takes its time: packets follow addresses and routes late, public addresses come late or never, boots are slow."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from natkeeper_lab.api import Faults
from natkeeper_lab.runtime import FunctionResult
from tests.contract.conftest import Start
from tests.contract.scenery import Aws, Nat, eventually
from tests.contract.test_addresses import associate, launch_with_secondary, set_auto


def told_when(aws: Aws) -> list[tuple[float, tuple[Any, ...]]]:
    """Every verb that the packet plane hears from now on, and when."""
    heard: list[tuple[float, tuple[Any, ...]]] = []
    aws.packets.before = lambda *verb: heard.append((time.monotonic(), verb))
    return heard


def mappings(heard: list[tuple[float, tuple[Any, ...]]], public: str) -> list[str | None]:
    return [verb[2] for _, verb in heard if verb[:2] == ("map_public_address", public)]


def private_of(aws: Aws, nat: Nat) -> str:
    return str(aws.interface(nat.instance)["PrivateIpAddress"])


def moved(aws: Aws) -> tuple[list[tuple[float, tuple[Any, ...]]], str, str]:
    """An Elastic IP goes from one NAT to another: what packets were told, the address and its new private address."""
    first, second = aws.launch_running(), aws.launch_running()
    allocation, public = aws.address()
    associate(aws, allocation, first)
    eventually(lambda: aws.packets.public.get(public) == private_of(aws, first))
    heard = told_when(aws)
    associate(aws, allocation, second)
    assert aws.interface(second.instance)["Association"]["PublicIp"] == public
    eventually(lambda: aws.packets.public.get(public) == private_of(aws, second))
    return heard, public, private_of(aws, second)


# -- the remap of an Elastic IP


def test_late_remap_leaves_the_former_mapping_until_the_new_one_takes_over(start: Start) -> None:
    heard, public, new = moved(start(remap_seconds=0.3))
    assert mappings(heard, public) == [new]


def test_dark_remap_takes_the_former_mapping_away_at_once(start: Start) -> None:
    heard, public, new = moved(start(remap_seconds=0.3, remap_model="dark"))
    assert mappings(heard, public) == [None, new]


def test_remap_counts_from_the_answer(start: Start) -> None:
    aws = start(remap_seconds=0.3)
    aws.api.faults.pace(0.4, "AssociateAddress")
    nat = aws.launch_running()
    allocation, public = aws.address()
    heard = told_when(aws)
    associate(aws, allocation, nat)
    eventually(lambda: public in aws.packets.public)
    (call,) = [each for each in aws.api.calls() if each.operation == "AssociateAddress"]
    ((at, _),) = [each for each in heard if each[1][:2] == ("map_public_address", public)]
    assert at >= call.started_at + 0.4 + 0.3


def test_second_move_before_the_first_arrived_starts_where_packets_are(start: Start) -> None:
    aws = start(remap_seconds=0.3)
    first, second, third = (aws.launch_running() for _ in range(3))
    allocation, public = aws.address()
    associate(aws, allocation, first)
    eventually(lambda: public in aws.packets.public)
    heard = told_when(aws)
    associate(aws, allocation, second)
    associate(aws, allocation, third)
    eventually(lambda: aws.packets.public[public] == private_of(aws, third))
    assert private_of(aws, second) not in mappings(heard, public)


def test_disassociated_address_never_arrives(start: Start) -> None:
    aws = start(remap_seconds=0.2)
    nat = aws.launch_running()
    (lost, lost_public), (kept, kept_public) = aws.address(), aws.address()
    other = aws.launch_running()
    heard = told_when(aws)
    association = associate(aws, lost, nat)
    aws.ec2.disassociate_address(AssociationId=association)
    associate(aws, kept, other)
    eventually(lambda: kept_public in aws.packets.public)  # asked for later, so the lost one's time is over too
    assert mappings(heard, lost_public) == []


def test_remap_may_change_while_the_api_runs(ours: Aws) -> None:
    ours.api.paces.remap, ours.api.paces.remap_model = 0.2, "dark"
    heard, public, new = moved(ours)
    assert mappings(heard, public) == [None, new]


# -- routes


def test_packets_follow_a_route_after_a_while(start: Start) -> None:
    aws = start()
    first, second = aws.launch_running(), aws.launch_running()
    aws.route_to(first)
    aws.api.paces.route = 0.3
    heard = told_when(aws)
    aws.ec2.replace_route(RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=second.interface)
    assert aws.route()["NetworkInterfaceId"] == second.interface
    eventually(lambda: aws.packets.routes[aws.table, "0.0.0.0/0"] == second.interface)
    (call,) = [each for each in aws.api.calls() if each.operation == "ReplaceRoute"]
    (at,) = [at for at, verb in heard if verb[0] == "set_route"]
    assert at >= call.started_at + 0.3


def test_late_routes_end_as_the_last_call_says(start: Start) -> None:
    aws = start(route_delay=0.1)
    nats = [aws.launch_running() for _ in range(3)]
    aws.route_to(nats[0])
    for nat in (nats[1], nats[2], nats[0], nats[1]):
        aws.ec2.replace_route(
            RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=nat.interface
        )
    eventually(lambda: aws.packets.routes.get((aws.table, "0.0.0.0/0")) == nats[1].interface)
    aws.ec2.delete_route(RouteTableId=aws.table, DestinationCidrBlock="0.0.0.0/0")
    eventually(lambda: (aws.table, "0.0.0.0/0") not in aws.packets.routes)


# -- auto-assigned public addresses


def test_no_public_address_grows_back_while_a_secondary_has_an_elastic_ip(aws: Aws) -> None:
    nat, primary, secondary = launch_with_secondary(aws, AssociatePublicIpAddress=True)
    (own, _), (guest, public) = aws.address(), aws.address()
    associate(aws, guest, nat, secondary)
    association = associate(aws, own, nat, primary)
    aws.ec2.disassociate_address(AssociationId=association)
    shown = {each["PrivateIpAddress"]: each for each in aws.interface(nat.instance)["PrivateIpAddresses"]}
    assert shown[secondary]["Association"]["PublicIp"] == public
    assert "Association" not in shown[primary]


def test_stopped_nat_that_hosts_an_elastic_ip_starts_without_a_public_address(ours: Aws) -> None:
    nat, primary, secondary = launch_with_secondary(ours, AssociatePublicIpAddress=True)
    guest, public = ours.address()
    associate(ours, guest, nat, secondary)
    ours.stop(nat)
    ours.ec2.start_instances(InstanceIds=[nat.instance])
    ours.wait_for(nat.instance, "running")
    assert set(ours.packets.public) == {public}
    assert primary not in ours.packets.public.values()


def test_attribute_gives_nothing_while_a_secondary_has_an_elastic_ip(ours: Aws) -> None:
    nat, _, secondary = launch_with_secondary(ours)
    guest, public = ours.address()
    associate(ours, guest, nat, secondary)
    set_auto(ours, nat, True)
    assert set(ours.packets.public) == {public}


def test_public_address_comes_at_once_at_a_launch_however_slow_it_is_later(start: Start) -> None:
    aws = start(auto_address_delay=None)
    nat = aws.launch_running(aws.nic(AssociatePublicIpAddress=True))
    assert aws.interface(nat.instance)["Association"]["IpOwnerId"] == "amazon"


def test_public_address_after_the_attribute_comes_late(start: Start) -> None:
    aws = start(auto_address_delay=0.3)
    nat = aws.launch_running()
    began = time.monotonic()
    set_auto(aws, nat, True)
    eventually(lambda: aws.interface(nat.instance).get("Association"))
    assert time.monotonic() >= began + 0.3


def test_public_address_may_never_come(start: Start) -> None:
    aws = start(auto_address_delay=None)
    first, second = aws.launch_running(), aws.launch_running()
    set_auto(aws, first, True)
    aws.api.paces.public_address = 0.2
    set_auto(aws, second, True)
    eventually(lambda: aws.interface(second.instance).get("Association"))
    assert "Association" not in aws.interface(first.instance)


# -- boots and starts


def in_order(aws: Aws) -> list[str]:
    """`running` and `on the wire`, in the order in which they come."""
    seen: list[str] = []
    aws.api.on_event(lambda event: seen.append(str(event["detail"]["state"])))
    aws.packets.before = lambda *verb: seen.append("on the wire") if verb[0] == "boot" else None
    return seen


def test_slow_launch_is_shown_as_running_long_before_its_guest_is_there(start: Start) -> None:
    aws = start(launch_seconds=0.8)
    seen = in_order(aws)
    nat = aws.launch_running()
    eventually(lambda: nat.instance in aws.packets.guests)
    assert seen.index("running") < seen.index("on the wire")


def test_start_has_a_pace_of_its_own(start: Start) -> None:
    aws = start(launch_seconds=0.0)
    nat = aws.launch_running()
    aws.stop(nat)
    aws.api.paces.start = 0.8
    seen = in_order(aws)
    aws.ec2.start_instances(InstanceIds=[nat.instance])
    eventually(lambda: nat.instance in aws.packets.guests)
    assert seen.index("running") < seen.index("on the wire")


def test_instance_stopped_before_its_guest_was_there_boots_none(start: Start) -> None:
    aws = start(launch_seconds=30.0)
    nat = aws.launch_running()
    aws.stop(nat)
    assert nat.instance not in aws.packets.guests


# -- calls and destinations


def test_call_takes_what_was_said_last_and_slow_calls_come_on_top() -> None:
    faults = Faults()
    faults.pace(0.05, "ec2:*")
    faults.pace(8.0, "AssociateAddress")
    assert faults.judge("ec2", "AssociateAddress", {}).delay == 8.0
    assert faults.judge("ec2", "ReplaceRoute", {}).delay == 0.05
    assert faults.judge("dynamodb", "UpdateItem", {}).delay == 0.0
    faults.pace(1.0, "ec2:*")
    faults.delay(2.0, "ReplaceRoute")
    assert faults.judge("ec2", "AssociateAddress", {}).delay == 1.0
    assert faults.judge("ec2", "ReplaceRoute", {}).delay == 3.0


def test_destination_hears_late(start: Start) -> None:
    aws = start(destination_delay=0.3)
    ended: list[float] = []
    heard: list[float] = []

    def work(_payload: bytes) -> FunctionResult:
        ended.append(time.monotonic())
        return FunctionResult(b"null", None)

    def listen(_payload: bytes) -> FunctionResult:
        heard.append(time.monotonic())
        return FunctionResult(b"null", None)

    aws.api.register_function("listens", listen)
    aws.api.register_function("works", work, on_success="listens")
    aws.client("lambda").invoke(FunctionName="works", InvocationType="Event", Payload=b"{}")
    eventually(lambda: heard)
    assert heard[0] >= ended[0] + 0.3


# -- limits, and other people's instances


def test_status_is_told_of_a_hundred_instances_at_most(aws: Aws) -> None:
    nat = aws.launch_running()
    many = [f"i-{number:017x}" for number in range(100)]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.ec2.describe_instance_status(InstanceIds=[nat.instance, *many], IncludeAllInstances=True)


def test_status_of_an_instance_of_ours_is_told_beside_foreign_ones(ours: Aws) -> None:
    nat = ours.launch_running()
    ours.api.know_foreign(["i-0000000000000f00d"])
    asked = [nat.instance, "i-0000000000000f00d"]
    found = ours.ec2.describe_instance_status(InstanceIds=asked, IncludeAllInstances=True)["InstanceStatuses"]
    assert [each["InstanceId"] for each in found] == [nat.instance]


def test_foreign_instances_change_state_on_the_same_bus(ours: Aws) -> None:
    seen: list[dict[str, Any]] = []
    ours.api.on_event(seen.append)
    ours.api.change_state_of_foreign("i-0000000000000f00d", "stopping")
    eventually(lambda: seen)
    assert seen[0]["detail"] == {"instance-id": "i-0000000000000f00d", "state": "stopping"}
