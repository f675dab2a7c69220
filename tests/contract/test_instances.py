"""Instances change state as on AWS: slowly, and only from states that allow it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import Start
from tests.contract.scenery import Aws, eventually


def test_launched_instance_is_pending_before_it_runs(aws: Aws) -> None:
    instance = aws.launch()["InstanceId"]
    assert aws.state(instance) == "pending"
    aws.wait_for(instance, "running")


def test_stopped_instance_was_stopping_first(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.stop_instances(InstanceIds=[nat.instance])
    assert aws.state(nat.instance) == "stopping"
    aws.wait_for(nat.instance, "stopped")


def test_terminated_instance_was_shutting_down_first(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.terminate_instances(InstanceIds=[nat.instance])
    assert aws.state(nat.instance) == "shutting-down"
    aws.wait_for(nat.instance, "terminated")


def test_started_instance_is_pending_before_it_runs(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.stop(nat)
    aws.ec2.start_instances(InstanceIds=[nat.instance])
    assert aws.state(nat.instance) == "pending"
    aws.wait_for(nat.instance, "running")


def test_starting_a_stopping_instance_is_refused(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.ec2.stop_instances(InstanceIds=[nat.instance])
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws.ec2.start_instances(InstanceIds=[nat.instance])


def test_starting_a_terminated_instance_is_refused(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.terminate(nat)
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws.ec2.start_instances(InstanceIds=[nat.instance])


def test_stopping_a_pending_instance_is_refused(aws: Aws) -> None:
    instance = aws.launch()["InstanceId"]
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws.ec2.stop_instances(InstanceIds=[instance])


def test_one_wrong_instance_refuses_the_whole_start(aws: Aws) -> None:
    stopped, terminated = aws.launch_running(), aws.launch_running()
    aws.stop(stopped)
    aws.terminate(terminated)
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws.ec2.start_instances(InstanceIds=[stopped.instance, terminated.instance])
    assert aws.state(stopped.instance) == "stopped"


def test_starting_a_running_instance_changes_nothing(aws: Aws) -> None:
    nat = aws.launch_running()
    changed = aws.ec2.start_instances(InstanceIds=[nat.instance])["StartingInstances"][0]
    assert changed["CurrentState"]["Name"] == changed["PreviousState"]["Name"] == "running"


def test_stopping_twice_is_answered_twice(ours: Aws) -> None:
    nat = ours.launch_running()
    for _ in range(2):
        changed = ours.ec2.stop_instances(InstanceIds=[nat.instance])["StoppingInstances"][0]
        assert changed["CurrentState"]["Name"] == "stopping"


def test_terminated_instance_shows_no_interface_and_no_subnet(aws: Aws) -> None:
    nat = aws.launch_running()
    aws.terminate(nat)
    instance = aws.instance(nat.instance)
    assert instance["NetworkInterfaces"] == []
    assert "SubnetId" not in instance
    assert "PrivateIpAddress" not in instance


def test_instance_terminated_while_pending_never_runs(ours: Aws) -> None:
    seen: list[str] = []
    ours.api.on_event(lambda event: seen.append(event["detail"]["state"]))
    instance = ours.launch()["InstanceId"]
    ours.ec2.terminate_instances(InstanceIds=[instance])
    ours.wait_for(instance, "terminated")
    eventually(lambda: "terminated" in seen)
    assert "running" not in seen
    assert ours.packets.guests == {}


def test_dry_run_changes_nothing(aws: Aws) -> None:
    first, second = aws.launch_running(), aws.launch_running()
    aws.route_to(first)
    with pytest.raises(ClientError, match="DryRunOperation") as refusal:
        aws.ec2.replace_route(
            RouteTableId=aws.table,
            DestinationCidrBlock="0.0.0.0/0",
            NetworkInterfaceId=second.interface,
            DryRun=True,
        )
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert aws.route()["NetworkInterfaceId"] == first.interface


def test_guest_dies_when_stopping_begins_or_ends_as_chosen(start: Start) -> None:
    aws = start(power_off_at="end", stop_seconds=0.3)
    nat = aws.launch_running()
    aws.ec2.stop_instances(InstanceIds=[nat.instance])
    assert nat.instance in aws.packets.guests
    aws.wait_for(nat.instance, "stopped")
    assert nat.instance not in aws.packets.guests


def test_running_instance_may_still_be_booting_its_guest(start: Start) -> None:
    aws = start(guest_boot_seconds=0.3)
    nat = aws.launch_running()
    assert nat.instance not in aws.packets.guests
    eventually(lambda: nat.instance in aws.packets.guests)


def test_rebooted_guest_goes_away_and_comes_back_while_the_instance_runs(ours: Aws) -> None:
    nat = ours.launch_running()
    ours.ec2.reboot_instances(InstanceIds=[nat.instance])
    assert nat.instance not in ours.packets.guests
    assert ours.state(nat.instance) == "running"
    eventually(lambda: nat.instance in ours.packets.guests)
